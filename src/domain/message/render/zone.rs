//! Times for readers: in the reader's zone, in the language of the message (`Fri 27 Nov 2026, 17:00
//! CET`).
//!
//! The zone database is compiled in and never the machine's, so every replica writes the same text.
//! An unknown zone counts as UTC, and the text says UTC.

use std::sync::LazyLock;

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde_json::Value;

use super::calendar;
use super::language::Language;
use super::region::DateForm;
use crate::domain::time::Timestamp;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A larger number of Unix seconds is after the year 5000, so it must be in milliseconds.
const MAX_UNIX_SECONDS: f64 = 100_000_000_000.0;

/// A point in time or a whole day, as data contain them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Instant(Timestamp),
    /// Only a date: the same day in every zone.
    Day(Date),
}

/// Why a value is not a time. The sentence continues the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    #[error(
        "must be a time: RFC 3339 with an offset (2026-11-27T17:00:00+01:00), Unix seconds, or a \
         date (2026-11-27)"
    )]
    Shape,
    #[error("must be in seconds since 1970, not in milliseconds")]
    Milliseconds,
}

/// How much of a moment to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Date,
    DateTime,
    Time,
}

impl Moment {
    /// RFC 3339 with an offset, whole or fractional Unix seconds, or only a date.
    pub fn parse(value: &Value) -> Result<Self, MomentError> {
        match value {
            Value::String(text) => Self::from_text(text.trim()),
            Value::Number(number) => Self::from_seconds(number.as_f64().unwrap_or(f64::NAN)),
            _ => Err(MomentError::Shape),
        }
    }

    fn from_text(text: &str) -> Result<Self, MomentError> {
        if text.len() == "2026-11-27".len() {
            return text.parse().map(Self::Day).map_err(|_| MomentError::Shape);
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| MomentError::Shape)?;
        Ok(Self::Instant(Timestamp(instant.as_microsecond())))
    }

    fn from_seconds(seconds: f64) -> Result<Self, MomentError> {
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(MomentError::Shape);
        }
        if seconds > MAX_UNIX_SECONDS {
            return Err(MomentError::Milliseconds);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 1e17, far inside i64")]
        let micros = (seconds * 1e6) as i64;
        Ok(Self::Instant(Timestamp(micros)))
    }

    /// In the reader's zone. A moment that is only a date is shown as a date, whatever the style.
    pub(super) fn format(self, style: Style, zone: &str, form: DateForm) -> String {
        match self {
            Self::Day(date) => calendar::date(date, form),
            Self::Instant(at) => {
                let local = local(at, zone);
                let date = calendar::date(local.date(), form);
                match style {
                    Style::Date => date,
                    Style::DateTime => {
                        calendar::date_and_time(&date, &time(&local, form), form.language)
                    }
                    Style::Time => time(&local, form),
                }
            }
        }
    }

    /// From this moment to `end`; the day appears once if both are on it. Only this moment if `end`
    /// is before it.
    pub(super) fn until(self, end: Self, zone: &str, form: DateForm) -> String {
        let language = form.language;
        let from = self.format(Style::DateTime, zone, form);
        let to = end.format(Style::DateTime, zone, form);
        if from == to || end.is_before(self, zone) {
            return from;
        }
        let (day, last) =
            (self.format(Style::Date, zone, form), end.format(Style::Date, zone, form));
        match (self, end) {
            (Self::Instant(from), Self::Instant(to)) if day == last => {
                let from = local(from, zone);
                let from = calendar::clock(from.hour(), from.minute(), form);
                calendar::within_a_day(&day, &from, &time(&local(to, zone), form), language)
            }
            _ => calendar::from_to(&from, &to, language),
        }
    }

    /// A date is compared with the reader's day.
    fn is_before(self, other: Self, zone: &str) -> bool {
        match (self, other) {
            (Self::Instant(this), Self::Instant(other)) => this < other,
            _ => self.day(zone) < other.day(zone),
        }
    }

    fn day(self, zone: &str) -> Date {
        match self {
            Self::Day(day) => day,
            Self::Instant(at) => local(at, zone).date(),
        }
    }

    /// `in 15 minutes`, counted from `now`; for only a date, days in the reader's calendar. A past
    /// moment is `now`, a past date `today`.
    pub(super) fn how_soon(self, now: Timestamp, zone: &str, language: Language) -> String {
        match self {
            Self::Instant(at) if at < now => calendar::now(language).to_owned(),
            // Rounded up: half a minute before the start is not yet "now".
            Self::Instant(at) => {
                let minutes = at.since(now).as_micros().div_ceil(60_000_000);
                calendar::in_minutes(u64::try_from(minutes).unwrap_or(u64::MAX), language)
            }
            Self::Day(day) => calendar::in_days(days_until(day, now, zone).max(0), language),
        }
    }

    /// [`how_soon`](Self::how_soon), and for the past `3 hours ago`.
    pub(super) fn relative(self, now: Timestamp, zone: &str, language: Language) -> String {
        match self {
            Self::Instant(at) if at < now => {
                let minutes = now.since(at).as_micros() / 60_000_000;
                calendar::minutes_ago(u64::try_from(minutes).unwrap_or(u64::MAX), language)
            }
            Self::Instant(_) => self.how_soon(now, zone, language),
            Self::Day(day) => calendar::in_days(days_until(day, now, zone), language),
        }
    }
}

fn local(at: Timestamp, zone: &str) -> Zoned {
    jiff::Timestamp::from_microsecond(at.0).unwrap_or_default().to_zoned(zone_or_utc(zone))
}

/// `17:00 CET`
fn time(local: &Zoned, form: DateForm) -> String {
    let clock = calendar::clock(local.hour(), local.minute(), form);
    let zone = calendar::zone(&local.strftime("%Z").to_string(), form.language);
    format!("{clock} {zone}")
}

fn days_until(day: Date, now: Timestamp, zone: &str) -> i32 {
    (day - local(now, zone).date()).get_days()
}

fn zone_or_utc(name: &str) -> TimeZone {
    ZONES.get(name).unwrap_or(TimeZone::UTC)
}

/// Whether the compiled-in database knows this IANA name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    ZONES.get(name).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: Value, style: Style, zone: &str) -> String {
        Moment::parse(&value).unwrap().format(style, zone, Language::English.into())
    }

    #[test]
    fn times_are_told_in_the_readers_zone() {
        let due = json!("2026-11-27T16:00:00Z");
        assert_eq!(
            shown(due.clone(), Style::DateTime, "Europe/Vienna"),
            "Fri 27 Nov 2026, 17:00 CET"
        );
        assert_eq!(
            shown(due.clone(), Style::DateTime, "America/New_York"),
            "Fri 27 Nov 2026, 11:00 EST"
        );
        assert_eq!(shown(due.clone(), Style::DateTime, "Mars/Base"), "Fri 27 Nov 2026, 16:00 UTC");
        assert_eq!(shown(due, Style::Time, "Asia/Tokyo"), "01:00 JST");
        assert_eq!(
            shown(json!("2026-07-01T23:30:00Z"), Style::Date, "Europe/Vienna"),
            "Thu 2 Jul 2026"
        );
        assert_eq!(shown(json!("2026-12-11"), Style::DateTime, "Pacific/Apia"), "Fri 11 Dec 2026");
        assert_eq!(
            shown(json!(1_795_795_200.0), Style::DateTime, "UTC"),
            "Fri 27 Nov 2026, 16:00 UTC"
        );
    }

    #[test]
    fn a_span_tells_its_day_once() {
        let at = |text: &str| Moment::parse(&json!(text)).unwrap();
        let until = |from: &str, to: &str| {
            at(from).until(at(to), "Europe/Vienna", Language::English.into())
        };
        assert_eq!(
            until("2026-12-03T08:00:00Z", "2026-12-03T11:00:00Z"),
            "Thu 3 Dec 2026, 09:00–12:00 CET"
        );
        assert_eq!(
            until("2026-12-03T22:00:00Z", "2026-12-03T23:30:00Z"),
            "Thu 3 Dec 2026, 23:00 CET – Fri 4 Dec 2026, 00:30 CET"
        );
        assert_eq!(until("2026-12-03", "2026-12-04"), "Thu 3 Dec 2026 – Fri 4 Dec 2026");
        assert_eq!(until("2026-12-03", "2026-12-03"), "Thu 3 Dec 2026");
        for (from, before) in [
            ("2026-12-03T11:00:00Z", "2026-12-03T08:00:00Z"),
            ("2026-12-03T11:00:00Z", "2026-12-02T11:00:00Z"),
            ("2026-12-03T11:00:00Z", "2026-12-02"),
        ] {
            assert_eq!(until(from, before), "Thu 3 Dec 2026, 12:00 CET");
        }
        assert_eq!(until("2026-12-03", "2026-12-02"), "Thu 3 Dec 2026");
        assert_eq!(
            until("2026-12-03T11:00:00Z", "2026-12-03"),
            "Thu 3 Dec 2026, 12:00 CET – Thu 3 Dec 2026"
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            json!("soon"),
            json!("2026-11-27T16:00:00"),
            json!(-1),
            json!(true),
            json!("2026-13-01"),
        ] {
            assert_eq!(Moment::parse(&bad), Err(MomentError::Shape), "{bad}");
        }
        assert_eq!(Moment::parse(&json!(1_795_795_200_000_u64)), Err(MomentError::Milliseconds));
    }

    #[test]
    fn how_soon_reads_well() {
        let now = Timestamp(1_795_795_200_000_000);
        let soon = |seconds: i64| {
            let at = Moment::Instant(Timestamp(now.0 + seconds * 1_000_000));
            at.how_soon(now, "UTC", Language::English)
        };
        assert_eq!(soon(-5), "now");
        assert_eq!(soon(20), "in 1 minute");
        assert_eq!(soon(15 * 60), "in 15 minutes");
        assert_eq!(soon(3600), "in 1 hour");
        assert_eq!(soon(3600 + 1800), "in 1 hour 30 minutes");
        assert_eq!(soon(30 * 3600 + 60), "in 30 hours");
        assert_eq!(soon(3 * 86400), "in 3 days");
        let day = |text: &str| Moment::Day(text.parse().unwrap());
        assert_eq!(day("2026-11-28").how_soon(now, "UTC", Language::English), "tomorrow");
        assert_eq!(day("2026-11-20").how_soon(now, "UTC", Language::English), "today");
    }

    #[test]
    fn a_relative_time_has_a_past() {
        let now = Timestamp(1_795_795_200_000_000);
        let at = |seconds: i64| {
            let at = Moment::Instant(Timestamp(now.0 + seconds * 1_000_000));
            at.relative(now, "UTC", Language::English)
        };
        assert_eq!(at(-59), "just now");
        assert_eq!(at(-3 * 3600), "3 hours ago");
        assert_eq!(at(3 * 3600), "in 3 hours");
        let day = Moment::Day("2026-11-26".parse().unwrap());
        assert_eq!(day.relative(now, "UTC", Language::English), "yesterday");
        assert_eq!(day.relative(now, "UTC", Language::German), "gestern");
    }

    #[test]
    fn a_span_is_written_in_the_readers_language() {
        let at = |text: &str| Moment::parse(&json!(text)).unwrap();
        let until = |to: &str, language: Language| {
            at("2026-12-03T08:00:00Z").until(at(to), "Europe/Vienna", language.into())
        };
        let (noon, next) = ("2026-12-03T11:00:00Z", "2026-12-04T11:00:00Z");
        assert_eq!(until(noon, Language::German), "Do., 3. Dez. 2026, 09:00–12:00 MEZ");
        assert_eq!(until(noon, Language::Japanese), "2026年12月3日(木) 9:00～12:00 CET");
        assert_eq!(
            until(next, Language::French),
            "jeu. 3 déc. 2026 à 09:00 CET – ven. 4 déc. 2026 à 12:00 CET"
        );
        let american = DateForm::in_region(Language::English, "US");
        let span = at("2026-12-03T08:00:00Z").until(at(noon), "Europe/Vienna", american);
        assert_eq!(span, "Thu, Dec 3, 2026, 9:00 AM–12:00 PM CET");
    }
}
