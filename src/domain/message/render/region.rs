//! Dates and times by region: where the readers of a region put the month first, count twelve
//! hours, or have other names of months than most readers of their language.
//!
//! The forms are those of Unicode CLDR 48, of a short date with its weekday (`yMMMEd`) and of a
//! short time: <https://cldr.unicode.org/>. Special spaces are plain ones here. A region that
//! differs only in punctuation or in the abbreviation of a month (`June` in en-AU, `Sept` in en-GB,
//! `sep` in es-MX) has the form of its language, except those listed as [`DateStyle::OwnMonths`].

use super::language::Language;

/// How the readers of a region write dates and times in a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateForm {
    pub(super) language: Language,
    pub(super) date: DateStyle,
    pub(super) clock: ClockStyle,
    /// The first region that has this form; empty: that of most readers of the language.
    region: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DateStyle {
    /// That of most readers of the language.
    Common,
    /// `Fri, Nov 27, 2026`.
    MonthFirst,
    /// `Fri, 27 Nov, 2026`.
    CommaBeforeYear,
    /// `vie, 27 de nov de 2026`.
    WithPrepositions,
    /// `sexta, 27/11/2026`.
    Numeric,
    /// With the months of Austria, or of French in Canada.
    OwnMonths,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClockStyle {
    /// That of most readers of the language: 24 hours.
    Common,
    /// `5:05 PM`.
    Capitals,
    /// `5:05 pm`.
    Small,
    /// `5:05 p.m.`.
    Points,
    /// `5:05 p. m.`.
    SpacedPoints,
    /// `17.05`.
    Dotted,
    /// `17 h 05`.
    Hours,
}

/// Regions with one form.
struct Regions {
    language: Language,
    /// Separated by spaces.
    names: &'static str,
    date: DateStyle,
    clock: ClockStyle,
}

const fn regions(
    language: Language,
    names: &'static str,
    date: DateStyle,
    clock: ClockStyle,
) -> Regions {
    Regions { language, names, date, clock }
}

/// The regions whose form is not that of their language.
static REGIONS: [Regions; 16] = [
    regions(
        Language::English,
        "US AS GU MH MP PH PR UM VI",
        DateStyle::MonthFirst,
        ClockStyle::Capitals,
    ),
    regions(Language::English, "CA", DateStyle::MonthFirst, ClockStyle::Points),
    regions(Language::English, "BI", DateStyle::MonthFirst, ClockStyle::Common),
    regions(
        Language::English,
        "AU NZ SG 001 AG BB BM BS CY DM ER FJ FM GD GH GM GY HK JM KI KN KY LC LR LS MO MW MY NA \
         PG PK PW SB SD SL SS SZ TC TO TT VC VG VU WS ZM",
        DateStyle::Common,
        ClockStyle::Small,
    ),
    regions(Language::English, "AE", DateStyle::Common, ClockStyle::Capitals),
    regions(Language::English, "DK FI", DateStyle::Common, ClockStyle::Dotted),
    regions(Language::English, "IN", DateStyle::CommaBeforeYear, ClockStyle::Small),
    regions(Language::English, "ZW", DateStyle::CommaBeforeYear, ClockStyle::Common),
    regions(Language::German, "AT", DateStyle::OwnMonths, ClockStyle::Common),
    regions(Language::French, "CA", DateStyle::OwnMonths, ClockStyle::Hours),
    regions(Language::French, "DJ DZ MR SY TD TN VU", DateStyle::Common, ClockStyle::Capitals),
    regions(Language::Spanish, "MX US", DateStyle::WithPrepositions, ClockStyle::Points),
    regions(Language::Spanish, "419 CU", DateStyle::Common, ClockStyle::Points),
    regions(
        Language::Spanish,
        "AR BO CL CO CR DO EC GT HN NI PA PE PH PR PY SV UY VE",
        DateStyle::Common,
        ClockStyle::SpacedPoints,
    ),
    regions(
        Language::Portuguese,
        "PT AO CH CV GQ GW LU MZ ST TL",
        DateStyle::Numeric,
        ClockStyle::Common,
    ),
    regions(Language::Portuguese, "MO", DateStyle::Numeric, ClockStyle::Points),
];

impl From<Language> for DateForm {
    /// That of most readers of the language.
    fn from(language: Language) -> Self {
        let (date, clock) = (DateStyle::Common, ClockStyle::Common);
        Self { language, date, clock, region: "" }
    }
}

impl DateForm {
    /// For readers of this language in this region, such as `US`.
    pub(super) fn in_region(language: Language, region: &str) -> Self {
        let has = |row: &&Regions| {
            row.language == language
                && row.names.split(' ').any(|known| known.eq_ignore_ascii_case(region))
        };
        let Some(row) = REGIONS.iter().find(has) else { return language.into() };
        let first = row.names.split(' ').next().unwrap_or_default();
        Self { language, date: row.date, clock: row.clock, region: first }
    }

    /// For a reader with these locales: the first that is of the language decides.
    pub(super) fn preferred(language: Language, locales: &[String]) -> Self {
        let own = locales.iter().find(|locale| Language::of(locale) == Some(language));
        let region = own.and_then(|locale| locale.trim().split(['-', '_']).nth(1));
        Self::in_region(language, region.unwrap_or_default())
    }

    /// The first region that has this form; empty: that of most readers of the language.
    pub(super) fn region(self) -> &'static str {
        self.region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_known_once_and_stands_for_those_of_its_form() {
        for row in &REGIONS {
            for region in row.names.split(' ') {
                let form = DateForm::in_region(row.language, region);
                assert_eq!((form.date, form.clock), (row.date, row.clock), "{region}");
                assert!(row.names.starts_with(form.region()), "{region}");
                assert_ne!(form, DateForm::from(row.language), "{region}");
                let locale = format!("{}-{}", row.language.tag(), form.region());
                assert_eq!(DateForm::preferred(row.language, &[locale]), form);
            }
        }
    }

    #[test]
    fn the_first_locale_of_the_language_decides() {
        let form = |locales: &[&str]| {
            let locales: Vec<String> = locales.iter().map(ToString::to_string).collect();
            DateForm::preferred(Language::English, &locales).region()
        };
        assert_eq!(form(&["de-AT", "en_us", "en-GB"]), "US");
        assert_eq!(form(&["en-PH"]), "US");
        for other in [&["en", "en-US"][..], &["en-GB", "en-US"], &["fr-CA"], &["en-Latn-US"], &[]] {
            assert_eq!(form(other), "", "{other:?}");
        }
    }
}
