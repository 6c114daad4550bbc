//! Dates, times and durations in words, for each language.

use jiff::civil::Date;

use super::language::Language;
use super::region::{ClockStyle, DateForm, DateStyle};

/// The words of one language. `{}` stands for a duration.
struct Words {
    /// From Monday on.
    weekdays: [&'static str; 7],
    months: [&'static str; 12],
    now: &'static str,
    /// Less than a minute ago.
    just_now: &'static str,
    yesterday: &'static str,
    today: &'static str,
    tomorrow: &'static str,
    ahead: &'static str,
    ago: &'static str,
    /// Each as it stands after one, and after several.
    minute: [&'static str; 2],
    hour: [&'static str; 2],
    day: [&'static str; 2],
    /// Between a number and its unit.
    gap: &'static str,
    /// Between hours and minutes.
    between: &'static str,
}

const ENGLISH: Words = Words {
    weekdays: ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    months: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    now: "now",
    just_now: "just now",
    yesterday: "yesterday",
    today: "today",
    tomorrow: "tomorrow",
    ahead: "in {}",
    ago: "{} ago",
    minute: ["minute", "minutes"],
    hour: ["hour", "hours"],
    day: ["day", "days"],
    gap: " ",
    between: " ",
};

const GERMAN: Words = Words {
    weekdays: ["Mo.", "Di.", "Mi.", "Do.", "Fr.", "Sa.", "So."],
    months: [
        "Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.",
        "Dez.",
    ],
    now: "jetzt",
    just_now: "gerade eben",
    yesterday: "gestern",
    today: "heute",
    tomorrow: "morgen",
    ahead: "in {}",
    ago: "vor {}",
    minute: ["Minute", "Minuten"],
    hour: ["Stunde", "Stunden"],
    // Dative: both prepositions ask for it.
    day: ["Tag", "Tagen"],
    gap: " ",
    between: " und ",
};

const FRENCH: Words = Words {
    weekdays: ["lun.", "mar.", "mer.", "jeu.", "ven.", "sam.", "dim."],
    months: [
        "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.",
        "déc.",
    ],
    now: "maintenant",
    just_now: "à l’instant",
    yesterday: "hier",
    today: "aujourd’hui",
    tomorrow: "demain",
    ahead: "dans {}",
    ago: "il y a {}",
    minute: ["minute", "minutes"],
    hour: ["heure", "heures"],
    day: ["jour", "jours"],
    gap: " ",
    between: " et ",
};

const SPANISH: Words = Words {
    weekdays: ["lun", "mar", "mié", "jue", "vie", "sáb", "dom"],
    months: ["ene", "feb", "mar", "abr", "may", "jun", "jul", "ago", "sept", "oct", "nov", "dic"],
    now: "ahora",
    just_now: "hace un momento",
    yesterday: "ayer",
    today: "hoy",
    tomorrow: "mañana",
    ahead: "dentro de {}",
    ago: "hace {}",
    minute: ["minuto", "minutos"],
    hour: ["hora", "horas"],
    day: ["día", "días"],
    gap: " ",
    between: " y ",
};

const PORTUGUESE: Words = Words {
    weekdays: ["seg.", "ter.", "qua.", "qui.", "sex.", "sáb.", "dom."],
    months: [
        "jan.", "fev.", "mar.", "abr.", "mai.", "jun.", "jul.", "ago.", "set.", "out.", "nov.",
        "dez.",
    ],
    now: "agora",
    just_now: "agora mesmo",
    yesterday: "ontem",
    today: "hoje",
    tomorrow: "amanhã",
    ahead: "em {}",
    ago: "há {}",
    minute: ["minuto", "minutos"],
    hour: ["hora", "horas"],
    day: ["dia", "dias"],
    gap: " ",
    between: " e ",
};

/// From Monday on, as they stand before a date in numbers.
const PORTUGUESE_DAYS: [&str; 7] =
    ["segunda", "terça", "quarta", "quinta", "sexta", "sábado", "domingo"];

const JAPANESE: Words = Words {
    weekdays: ["月", "火", "水", "木", "金", "土", "日"],
    months: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"],
    now: "まもなく",
    just_now: "たった今",
    yesterday: "昨日",
    today: "今日",
    tomorrow: "明日",
    ahead: "{}後",
    ago: "{}前",
    minute: ["分", "分"],
    hour: ["時間", "時間"],
    day: ["日", "日"],
    gap: "",
    between: "",
};

fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::German => &GERMAN,
        Language::French => &FRENCH,
        Language::Spanish => &SPANISH,
        Language::Portuguese => &PORTUGUESE,
        Language::Japanese => &JAPANESE,
    }
}

/// `Fri 27 Nov 2026`.
pub(super) fn date(date: Date, form: DateForm) -> String {
    let words = words(form.language);
    let nth = |one_based: i8| usize::try_from(one_based - 1).unwrap_or_default();
    let weekday = words.weekdays[nth(date.weekday().to_monday_one_offset())];
    let month = match (form.date, form.language, date.month()) {
        (DateStyle::OwnMonths, Language::German, 1) => "Jän.",
        (DateStyle::OwnMonths, Language::German, 9) => "Sep.",
        (DateStyle::OwnMonths, Language::French, 7) => "juill.",
        (_, _, month) => words.months[nth(month)],
    };
    let (day, year) = (date.day(), date.year());
    match form.date {
        DateStyle::Common | DateStyle::OwnMonths => {}
        DateStyle::MonthFirst => return format!("{weekday}, {month} {day}, {year:04}"),
        DateStyle::CommaBeforeYear => return format!("{weekday}, {day} {month}, {year:04}"),
        DateStyle::WithPrepositions => {
            return format!("{weekday}, {day} de {month} de {year:04}");
        }
        DateStyle::Numeric => {
            let weekday = PORTUGUESE_DAYS[nth(date.weekday().to_monday_one_offset())];
            return format!("{weekday}, {day}/{:02}/{year:04}", date.month());
        }
    }
    match form.language {
        Language::English => format!("{weekday} {day} {month} {year:04}"),
        Language::French => {
            let first = if day == 1 { "er" } else { "" };
            format!("{weekday} {day}{first} {month} {year:04}")
        }
        Language::German => format!("{weekday}, {day}. {month} {year:04}"),
        Language::Spanish => format!("{weekday}, {day} {month} {year:04}"),
        Language::Portuguese => {
            let first = if day == 1 { "º" } else { "" };
            format!("{weekday}, {day}{first} de {month} de {year:04}")
        }
        Language::Japanese => format!("{year}年{month}月{day}日({weekday})"),
    }
}

/// `17:00`.
pub(super) fn clock(hour: i8, minute: i8, form: DateForm) -> String {
    let twelve = |am: &str, pm: &str| {
        let half = if hour < 12 { am } else { pm };
        format!("{}:{minute:02} {half}", (hour + 11) % 12 + 1)
    };
    match form.clock {
        ClockStyle::Common => match form.language {
            Language::Spanish | Language::Japanese => format!("{hour}:{minute:02}"),
            _ => format!("{hour:02}:{minute:02}"),
        },
        ClockStyle::Capitals => twelve("AM", "PM"),
        ClockStyle::Small => twelve("am", "pm"),
        ClockStyle::Points => twelve("a.m.", "p.m."),
        ClockStyle::SpacedPoints => twelve("a. m.", "p. m."),
        ClockStyle::Dotted => format!("{hour:02}.{minute:02}"),
        ClockStyle::Hours => format!("{hour:02} h {minute:02}"),
    }
}

/// `Fri 27 Nov 2026, 17:00 CET`; `time` has its zone.
pub(super) fn date_and_time(date: &str, time: &str, language: Language) -> String {
    match language {
        Language::French => format!("{date} à {time}"),
        Language::Japanese => format!("{date} {time}"),
        _ => format!("{date}, {time}"),
    }
}

/// `Thu 3 Dec 2026, 09:00–12:00 CET`: a span within one day.
pub(super) fn within_a_day(date: &str, from: &str, to: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!("{date} {from}～{to}"),
        _ => format!("{date}, {from}–{to}"),
    }
}

/// A span over days, or one whose ends are not both times.
pub(super) fn from_to(from: &str, to: &str, language: Language) -> String {
    match language {
        Language::Japanese => format!("{from} ～ {to}"),
        _ => format!("{from} – {to}"),
    }
}

/// A time zone, by the abbreviation of the zone database. Zones without one have their offset there
/// (`-03`), which gets `UTC` before it.
pub(super) fn zone(abbreviation: &str, language: Language) -> String {
    match (abbreviation, language) {
        ("CET", Language::German) => "MEZ".to_owned(),
        ("CEST", Language::German) => "MESZ".to_owned(),
        ("EET", Language::German) => "OEZ".to_owned(),
        ("EEST", Language::German) => "OESZ".to_owned(),
        ("WET", Language::German) => "WEZ".to_owned(),
        ("WEST", Language::German) => "WESZ".to_owned(),
        (offset, _) if offset.starts_with(['+', '-']) => {
            let (hours, minutes) = offset.split_at(offset.len().min(3));
            let colon = if minutes.is_empty() { "" } else { ":" };
            format!("UTC{hours}{colon}{minutes}")
        }
        (abbreviation, _) => abbreviation.to_owned(),
    }
}

/// A time that is now, or so near that it makes no difference.
pub(super) fn now(language: Language) -> &'static str {
    words(language).now
}

/// `now`, `in 1 minute`, `in 2 hours 5 minutes`, `in 3 days`.
pub(super) fn in_minutes(minutes: u64, language: Language) -> String {
    let words = words(language);
    duration(minutes, words).map_or_else(|| words.now.into(), |it| words.ahead.replace("{}", &it))
}

/// `just now`, `1 minute ago`, `2 hours 5 minutes ago`, `3 days ago`.
pub(super) fn minutes_ago(minutes: u64, language: Language) -> String {
    let words = words(language);
    let ago = duration(minutes, words).map(|it| words.ago.replace("{}", &it));
    ago.unwrap_or_else(|| words.just_now.to_owned())
}

/// `yesterday`, `today`, `tomorrow`, `in 3 days`, `3 days ago`; days before today are negative.
pub(super) fn in_days(days: i32, language: Language) -> String {
    let words = words(language);
    let counted = || count(u64::from(days.unsigned_abs()), words.day, words);
    match days {
        -1 => words.yesterday.to_owned(),
        0 => words.today.to_owned(),
        1 => words.tomorrow.to_owned(),
        2.. => words.ahead.replace("{}", &counted()),
        _ => words.ago.replace("{}", &counted()),
    }
}

/// `None` for no minutes at all.
fn duration(minutes: u64, words: &Words) -> Option<String> {
    let (hours, rest) = (minutes / 60, minutes % 60);
    Some(match minutes {
        0 => return None,
        1..60 => count(minutes, words.minute, words),
        60..1440 if rest != 0 => {
            let minutes = count(rest, words.minute, words);
            format!("{}{}{minutes}", count(hours, words.hour, words), words.between)
        }
        60..2880 => count(hours, words.hour, words),
        _ => count(minutes / 1440, words.day, words),
    })
}

fn count(n: u64, unit: [&str; 2], words: &Words) -> String {
    format!("{n}{}{}", words.gap, unit[usize::from(n != 1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_each_language_writes_them() {
        let day: Date = "2026-03-06".parse().unwrap();
        for (language, written) in [
            (Language::English, "Fri 6 Mar 2026, 09:05 CET"),
            (Language::German, "Fr., 6. März 2026, 09:05 MEZ"),
            (Language::French, "ven. 6 mars 2026 à 09:05 CET"),
            (Language::Spanish, "vie, 6 mar 2026, 9:05 CET"),
            (Language::Portuguese, "sex., 6 de mar. de 2026, 09:05 CET"),
            (Language::Japanese, "2026年3月6日(金) 9:05 CET"),
        ] {
            assert_eq!(date_at(day, 9, language.into()), written);
        }
    }

    /// A date at five minutes past this hour.
    fn date_at(day: Date, hour: i8, form: DateForm) -> String {
        let time = format!("{} {}", clock(hour, 5, form), zone("CET", form.language));
        date_and_time(&date(day, form), &time, form.language)
    }

    /// As Unicode CLDR 48 has them.
    #[test]
    fn dates_are_written_as_each_region_writes_them() {
        for (locale, day, hour, written) in [
            ("en-US", "2026-11-27", 17, "Fri, Nov 27, 2026, 5:05 PM CET"),
            ("en-PH", "2026-03-06", 0, "Fri, Mar 6, 2026, 12:05 AM CET"),
            ("en-CA", "2026-11-27", 12, "Fri, Nov 27, 2026, 12:05 p.m. CET"),
            ("en-GB", "2026-11-27", 17, "Fri 27 Nov 2026, 17:05 CET"),
            ("en-IE", "2026-11-27", 17, "Fri 27 Nov 2026, 17:05 CET"),
            ("en-AU", "2026-11-27", 11, "Fri 27 Nov 2026, 11:05 am CET"),
            ("en-AE", "2026-11-27", 17, "Fri 27 Nov 2026, 5:05 PM CET"),
            ("en-BI", "2026-11-27", 17, "Fri, Nov 27, 2026, 17:05 CET"),
            ("en-FI", "2026-11-27", 17, "Fri 27 Nov 2026, 17.05 CET"),
            ("en-IN", "2026-11-27", 17, "Fri, 27 Nov, 2026, 5:05 pm CET"),
            ("en-ZW", "2026-11-27", 17, "Fri, 27 Nov, 2026, 17:05 CET"),
            ("de-DE", "2026-01-09", 9, "Fr., 9. Jan. 2026, 09:05 MEZ"),
            ("de-AT", "2026-01-09", 9, "Fr., 9. Jän. 2026, 09:05 MEZ"),
            ("de-AT", "2026-09-04", 9, "Fr., 4. Sep. 2026, 09:05 MEZ"),
            ("de-CH", "2026-09-04", 9, "Fr., 4. Sept. 2026, 09:05 MEZ"),
            ("fr-FR", "2026-07-03", 9, "ven. 3 juil. 2026 à 09:05 CET"),
            ("fr-CA", "2026-07-03", 9, "ven. 3 juill. 2026 à 09 h 05 CET"),
            ("fr-TN", "2026-07-03", 17, "ven. 3 juil. 2026 à 5:05 PM CET"),
            ("es-ES", "2026-11-27", 9, "vie, 27 nov 2026, 9:05 CET"),
            ("es-MX", "2026-11-27", 17, "vie, 27 de nov de 2026, 5:05 p.m. CET"),
            ("es-US", "2026-11-27", 9, "vie, 27 de nov de 2026, 9:05 a.m. CET"),
            ("es-419", "2026-11-27", 17, "vie, 27 nov 2026, 5:05 p.m. CET"),
            ("es-AR", "2026-11-27", 17, "vie, 27 nov 2026, 5:05 p. m. CET"),
            ("pt-BR", "2026-11-27", 17, "sex., 27 de nov. de 2026, 17:05 CET"),
            ("pt-PT", "2026-03-06", 17, "sexta, 6/03/2026, 17:05 CET"),
            ("pt-MO", "2026-11-27", 17, "sexta, 27/11/2026, 5:05 p.m. CET"),
            ("ja-JP", "2026-11-27", 9, "2026年11月27日(金) 9:05 CET"),
        ] {
            let language = Language::of(locale).unwrap();
            let form = DateForm::preferred(language, &[locale.to_owned()]);
            assert_eq!(date_at(day.parse().unwrap(), hour, form), written, "{locale}");
        }
    }

    #[test]
    fn the_first_of_a_month_is_an_ordinal_where_the_language_asks_for_it() {
        let first: Date = "2026-08-01".parse().unwrap();
        for (language, written) in [
            (Language::English, "Sat 1 Aug 2026"),
            (Language::French, "sam. 1er août 2026"),
            (Language::Spanish, "sáb, 1 ago 2026"),
            (Language::Portuguese, "sáb., 1º de ago. de 2026"),
        ] {
            assert_eq!(date(first, language.into()), written);
        }
        let eleventh: Date = "2026-08-11".parse().unwrap();
        assert_eq!(date(eleventh, Language::French.into()), "mar. 11 août 2026");
    }

    #[test]
    fn a_zone_without_a_name_is_an_offset_from_utc() {
        assert_eq!(zone("-03", Language::Portuguese), "UTC-03");
        assert_eq!(zone("+0545", Language::English), "UTC+05:45");
        for (abbreviation, german) in [
            ("CET", "MEZ"),
            ("CEST", "MESZ"),
            ("EET", "OEZ"),
            ("EEST", "OESZ"),
            ("WET", "WEZ"),
            ("WEST", "WESZ"),
        ] {
            assert_eq!(zone(abbreviation, Language::German), german);
        }
        assert_eq!(zone("CEST", Language::French), "CEST");
    }

    #[test]
    fn less_than_a_minute_ago_is_past() {
        let just_now = Language::ALL.map(|language| minutes_ago(0, language));
        let ahead = Language::ALL.map(|language| in_minutes(0, language));
        for (just_now, ahead) in just_now.iter().zip(&ahead) {
            assert_ne!(just_now, ahead);
        }
        assert_eq!(minutes_ago(0, Language::Spanish), "hace un momento");
        assert_eq!(minutes_ago(0, Language::Portuguese), "agora mesmo");
        assert_eq!(minutes_ago(0, Language::Japanese), "たった今");
    }

    #[test]
    fn durations_ahead_and_ago_agree_with_their_number() {
        for (language, ahead, ago) in [
            (Language::English, "in 1 hour 30 minutes", "3 days ago"),
            (Language::German, "in 1 Stunde und 30 Minuten", "vor 3 Tagen"),
            (Language::French, "dans 1 heure et 30 minutes", "il y a 3 jours"),
            (Language::Spanish, "dentro de 1 hora y 30 minutos", "hace 3 días"),
            (Language::Portuguese, "em 1 hora e 30 minutos", "há 3 dias"),
            (Language::Japanese, "1時間30分後", "3日前"),
        ] {
            assert_eq!(in_minutes(90, language), ahead);
            assert_eq!(minutes_ago(3 * 1440 + 5, language), ago);
            assert_eq!(in_days(-3, language), ago);
        }
        assert_eq!(in_minutes(1, Language::German), "in 1 Minute");
        assert_eq!(in_minutes(30 * 60 + 1, Language::English), "in 30 hours");
        assert_eq!(in_minutes(0, Language::Spanish), "ahora");
        assert_eq!(in_minutes(0, Language::Portuguese), "agora");
        assert_eq!(in_days(1, Language::French), "demain");
        assert_eq!(in_days(-1, Language::Japanese), "昨日");
        assert_eq!(in_days(2, Language::German), "in 2 Tagen");
    }
}
