//! The messages with which a template is tried before it is saved: the type's examples, and data as
//! hostile as the type allows. Data that Notify would refuse proves nothing, so it is not tried.
//!
//! Nothing is known of the parts of an object, so the parts that the template reads are texts, then
//! lists, then objects.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Locale;
use crate::domain::limits;
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::event::{Kind, Spec, insert};
use crate::domain::message::render::{Link, Reader};

/// Characters of the longest text in one field; more than any place of a message holds.
const LONG: usize = 4_100;
/// Characters of the longest texts in all fields together, so that the data has no more bytes than
/// [`limits::DATA_BYTES`].
const LONG_IN_ALL: usize = 24_000;
/// Parts of objects that get values, so that the data has no more bytes than Notify takes.
const PARTS: usize = 30;
/// The longest path of such a part; its value has three levels more.
const PART_DEPTH: usize = limits::JSON_DEPTH - 4;
/// Text that is markup wherever it is not escaped.
const MARKUP: &str = "<!channel> <@U1> <#C1> <https://evil.example|x> <mailto:a@evil.example> `a` \
                      ```b``` *c* _d_ ~e~ &amp; {{ 7 }} {% x %}\n\n> f\r\u{200B}\u{202E}\u{5D0}";
const MARKUP_URL: &str = "https://evil.example/<!channel>?a=1&b=`c`|d#e";

/// One message to try.
pub(super) struct Case {
    /// Completes "with …".
    pub(super) name: &'static str,
    pub(super) data: Value,
    pub(super) reader: Reader,
    pub(super) link: Option<Link>,
}

/// All messages to try with a template that reads these fields; the first has the example data.
pub(super) fn cases(kind: &KnownType<'_>, locale: &Locale, read: &BTreeSet<String>) -> Vec<Case> {
    let case = |name, data, reader: &str| Case {
        name,
        data,
        reader: Reader {
            name: Some(reader).filter(|name| !name.is_empty()).map(Into::into),
            locales: vec![locale.to_string()],
            time_zone: "Europe/Vienna".to_owned(),
        },
        link: Some(Link { url: "https://platform.example/1".to_owned(), label: None }),
    };
    let specs = kind.specs();
    let parts = parts(&specs, read);
    let with_parts = |part: Value| {
        let mut hostile = fields(&specs, hostile);
        for path in &parts {
            insert(&mut hostile, path, part.clone());
        }
        Value::Object(hostile)
    };
    let long = words(LONG.min(LONG_IN_ALL / specs.len().max(1)));
    let mut cases = vec![
        case("the example data", kind.demo_data(), "Kim Example"),
        case("the longest values", fields(&specs, |spec| longest(spec, &long)).into(), &long),
        case("markup in the values", with_parts(MARKUP.into()), MARKUP),
        case("only the required fields", required(kind, &specs), ""),
        case("no data", json!({}), ""),
    ];
    if specs.iter().any(|spec| spec.kind == Kind::Object) {
        cases.push(case("lists in the objects", with_parts(list()), MARKUP));
        cases.push(case("objects in the objects", with_parts(object()), MARKUP));
    }
    if !kind.needs_link() {
        cases.push(Case { link: None, ..case("no link", kind.demo_data(), "Kim Example") });
    }
    cases.retain(|case| kind.data_problems(&case.data).is_empty());
    cases
}

/// Data with these values of the fields.
fn fields(specs: &[Spec<'_>], value: impl Fn(Spec<'_>) -> Value) -> Map<String, Value> {
    let mut data = Map::new();
    for spec in specs {
        insert(&mut data, spec.path, value(*spec));
    }
    data
}

/// The parts of objects that are read.
fn parts<'r>(specs: &[Spec<'_>], read: &'r BTreeSet<String>) -> Vec<&'r str> {
    let is_part = |path: &&str| {
        let is_inside = |spec: &Spec<'_>| {
            let rest = path.strip_prefix(spec.path);
            spec.kind == Kind::Object && rest.is_some_and(|rest| rest.starts_with('.'))
        };
        path.split('.').count() <= PART_DEPTH && specs.iter().any(is_inside)
    };
    read.iter().map(String::as_str).filter(is_part).take(PARTS).collect()
}

/// The examples of the required fields, and of the first of each set of which one is required.
fn required(kind: &KnownType<'_>, specs: &[Spec<'_>]) -> Value {
    let demo = kind.demo_data();
    let first = |spec: &Spec<'_>| kind.any_of().iter().any(|set| set.first() == Some(&spec.path));
    let mut data = Map::new();
    for spec in specs.iter().filter(|spec| spec.required || first(spec)) {
        let pointer = format!("/{}", spec.path.replace('.', "/"));
        if let Some(value) = demo.pointer(&pointer) {
            insert(&mut data, spec.path, value.clone());
        }
    }
    Value::Object(data)
}

fn longest(spec: Spec<'_>, long: &str) -> Value {
    match spec.kind {
        Kind::Text => long.into(),
        Kind::Time => "2026-11-27".into(),
        Kind::Minutes => 999_999_999.into(),
        Kind::Url => {
            let start = "https://platform.example/";
            let room = limits::URL_BYTES.min(long.len()).saturating_sub(start.len());
            format!("{start}{}", "a".repeat(room)).into()
        }
        Kind::Object => json!({}),
    }
}

fn hostile(spec: Spec<'_>) -> Value {
    match spec.kind {
        Kind::Text => MARKUP.into(),
        // Unix seconds.
        Kind::Time => 1_795_420_800.into(),
        Kind::Minutes => 0.into(),
        Kind::Url => MARKUP_URL.into(),
        Kind::Object => object(),
    }
}

/// A list of values of all kinds.
fn list() -> Value {
    json!([MARKUP, { "<!channel>": MARKUP, "name": MARKUP }, [MARKUP, []], null, true, -1.5e300])
}

/// An object of values of all kinds.
fn object() -> Value {
    json!({ "<!channel>": MARKUP, "name": [MARKUP, { "url": MARKUP }], "": null })
}

/// Words of this length together.
fn words(length: usize) -> String {
    "long words ".chars().cycle().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EventType;
    use crate::domain::message::event::catalogue;
    use crate::domain::message::event::definition::{Definition, Own, OwnField};
    use crate::domain::message::event::tenant_types::TenantTypes;

    fn names(kind: &KnownType<'_>) -> Vec<&'static str> {
        let locale = Locale::parse("de").unwrap();
        cases(kind, &locale, &BTreeSet::new()).iter().map(|case| case.name).collect()
    }

    #[test]
    fn built_in_types_are_tried_with_all_data_that_they_allow() {
        for built_in in catalogue() {
            let event = EventType::parse(built_in.name).unwrap();
            let types = TenantTypes::default();
            let tried = names(&types.find(&event).unwrap());
            let mut expected = vec![
                "the example data",
                "the longest values",
                "markup in the values",
                "only the required fields",
            ];
            // The others need a link.
            if built_in.name == "channel.archiving" {
                expected.push("no link");
            }
            assert_eq!(tried, expected, "{event}");
        }
    }

    #[test]
    fn the_largest_own_type_is_tried_with_all_data_too() {
        let kinds = [Kind::Text, Kind::Time, Kind::Minutes, Kind::Url, Kind::Object];
        let field = |number: usize| OwnField {
            path: format!("{}.field_{number}", "x".repeat(80)),
            kind: kinds[number % kinds.len()],
            required: false,
            meaning: String::new(),
            example: None,
        };
        for kind in [None, Some(Kind::Text)] {
            let mut fields: Vec<OwnField> = (0..limits::EVENT_FIELDS).map(field).collect();
            if let Some(kind) = kind {
                for field in &mut fields {
                    field.kind = kind;
                }
            }
            let own = Own { display_name: "Own".into(), fields, ..Own::default() };
            let event = EventType::parse("own.type").unwrap();
            let definition = Definition { own: Some(own), ..Definition::default() };
            let types = TenantTypes::new([(event.clone(), definition)]);
            let tried = names(&types.find(&event).unwrap());
            let count = if kind.is_some() { 6 } else { 8 };
            assert_eq!(tried.len(), count, "{tried:?}");
        }
    }

    #[test]
    fn the_parts_of_objects_that_are_read_get_values() {
        let specs = ["more.parts", "name"].map(|path| {
            let kind = if path == "name" { Kind::Text } else { Kind::Object };
            Spec { path, kind, required: true }
        });
        let deep = format!("more.parts{}", ".x".repeat(limits::JSON_DEPTH));
        let read = ["more", "more.parts", "more.parts.a", "more.partsa", "name.b", &*deep];
        let read = BTreeSet::from(read.map(str::to_owned));
        assert_eq!(parts(&specs, &read), ["more.parts.a"]);
        let many: BTreeSet<String> = (0..99).map(|at| format!("more.parts.p{at}")).collect();
        assert_eq!(parts(&specs, &many).len(), PARTS);
        let values = PARTS * list().to_string().len().max(object().to_string().len());
        assert!(values + 2 * LONG <= limits::DATA_BYTES, "{values}");
    }

    #[test]
    fn long_texts_are_longer_than_any_part_of_a_message() {
        let specs = [Spec { path: "a", kind: Kind::Text, required: true }];
        let long = words(LONG);
        let data = fields(&specs, |spec| longest(spec, &long));
        assert!(data["a"].as_str().is_some_and(|text| text.len() > 4_000));
    }
}
