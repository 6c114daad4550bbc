//! The variables that a template of an event type may use.

use crate::domain::ids::EventType;
use crate::domain::message::event::{Kind, Spec};
use crate::domain::message::render::names::{Name, NameKind};

/// Variables that every message has.
const GIVEN: [&str; 11] = [
    "data",
    "event_type",
    "link",
    "link.label",
    "link.url",
    "now",
    "reader",
    "reader.language",
    "reader.locale",
    "reader.name",
    "reader.time_zone",
];
/// Characters of a variable that a problem shows, and that are compared with others.
const SHOWN: usize = 100;
/// Fields that a problem lists.
const LISTED: usize = 10;

/// Whether a type with these fields has one at this path. Of the parts of an object, nothing is
/// known: each may be used.
#[must_use]
pub fn has_field(specs: &[Spec<'_>], path: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    specs.iter().any(|spec| {
        inside(spec.path, path) || (spec.kind == Kind::Object && inside(path, spec.path))
    })
}

/// The sentence about a variable that messages of this type do not have.
pub(super) fn unknown(name: &Name, specs: &[Spec<'_>], event: &EventType) -> Option<String> {
    let whole = name.path.join(".");
    let known = match name.field() {
        Some(path) => has_field(specs, &path),
        None => name.kind != NameKind::Variable || GIVEN.contains(&whole.as_str()),
    };
    if known {
        return None;
    }
    let shown: String = whole.chars().take(SHOWN).collect();
    let in_data = name.path[0] == "data";
    let advice = match nearest(&shown, specs, in_data) {
        Some(near) => format!("did you mean {near}?"),
        None => listed(specs),
    };
    Some(format!("uses {shown}, which {event} does not have; {advice}"))
}

/// The variable that is spelled most like this one, if one is.
fn nearest(shown: &str, specs: &[Spec<'_>], in_data: bool) -> Option<String> {
    let prefix = if in_data { "data." } else { "" };
    let fields = specs.iter().map(|spec| format!("{prefix}{}", spec.path));
    let all = fields.chain(GIVEN.map(str::to_owned));
    let near = all.map(|name| (distance(shown, &name), name)).min()?;
    (near.0 <= 1 + shown.chars().count() / 4).then_some(near.1)
}

/// The number of characters to change between two texts.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(SHOWN).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, c) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (at, d) in other.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[at + 1];
            row[at + 1] = changed.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn listed(specs: &[Spec<'_>]) -> String {
    if specs.is_empty() {
        return "it has no fields".to_owned();
    }
    let paths: Vec<&str> = specs.iter().map(|spec| spec.path).take(LISTED).collect();
    let more = match specs.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("its fields are {}{more}", paths.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::render::Template;

    const FIELDS: [(&str, Kind); 3] =
        [("course.name", Kind::Text), ("starts_at", Kind::Time), ("more.parts", Kind::Object)];

    fn specs() -> Vec<Spec<'static>> {
        FIELDS.map(|(path, kind)| Spec { path, kind, required: false }).into()
    }

    #[test]
    fn fields_the_objects_around_them_and_parts_of_objects_may_be_used() {
        for path in ["course", "course.name", "starts_at", "more", "more.parts", "more.parts.a.b"] {
            assert!(has_field(&specs(), path), "{path}");
        }
        for path in ["cours", "course.names", "course.name.x", "starts_at.x", "more.other", "x"] {
            assert!(!has_field(&specs(), path), "{path}");
        }
    }

    #[test]
    fn an_unknown_variable_is_named_with_its_neighbour() {
        let event = EventType::parse("training.cancelled").unwrap();
        let problem = |text: &str| -> Option<String> {
            let template = Template { text: text.into(), blocks: "[]".into() };
            unknown(&template.names()[0].name, &specs(), &event)
        };
        let known = ["{{ course }}", "{{ data.starts_at }}", "{{ data }}", "{{ link.url }}"];
        for known in known.into_iter().chain(["{{ now }}", "{{ 1 | date }}"]) {
            assert_eq!(problem(known), None, "{known}");
        }
        for (text, expected) in [
            ("{{ corse.name }}", "uses corse.name, .*; did you mean course.name?"),
            ("{{ data.start_at }}", "uses data.start_at, .*; did you mean data.starts_at?"),
            ("{{ reader.nam }}", "uses reader.nam, .*; did you mean reader.name?"),
            ("{{ now.hour }}", "uses now.hour, .* fields are course.name, starts_at, more.parts"),
        ] {
            let (start, end) = expected.split_once(".*").unwrap();
            let problem = problem(text).unwrap();
            assert!(problem.starts_with(start) && problem.ends_with(end), "{problem}");
        }
        assert_eq!(listed(&[]), "it has no fields");
    }

    #[test]
    fn the_distance_counts_characters() {
        for (one, other, apart) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("é", "e", 1), ("ab", "ba", 2)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (apart, apart));
        }
    }
}
