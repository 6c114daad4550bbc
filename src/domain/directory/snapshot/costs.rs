//! Tests with members for which the Slack attribute costs too much.

use serde_json::{Value, json};

use super::tests::{key, mapping, member, snapshot};
use super::{ProfileFields, SnapshotBuilder};
use crate::domain::mapping::Stop;

/// Doubles a list so often that each of its `count` elements takes some 64 steps.
const DOUBLED: &str = "(l|[@,@][]|[@,@][]|[@,@][]|[@,@][]|[@,@][]|[0]) || profile.email";

fn with_list(number: usize, count: usize) -> Value {
    let mut member = member(&format!("U{number:05}"), &format!("u{number}@x.org"));
    if count > 0 {
        member["l"] = json!(vec!["v"; count]);
    }
    member
}

#[test]
fn who_is_too_costly_has_no_value_and_others_have() {
    let members = [with_list(1, 0), with_list(2, 10_000), with_list(3, 10)];
    let snapshot = snapshot(DOUBLED, &members);
    let counts = snapshot.counts();
    assert_eq!((counts.with_value, counts.too_costly, counts.errors), (2, 1, 0));
    assert_eq!((snapshot.find(&key("u1@x.org")).len(), snapshot.find(&key("v")).len()), (1, 1));
    let many: Vec<String> = (0..200).map(|n| format!("v{n}")).collect();
    let members = [json!({"id": "U1", "l": many, "profile": {"email": "a@x.org"}})];
    for slack in ["l", "l[*]"] {
        let counts = super::tests::snapshot(slack, &members).counts();
        assert_eq!((counts.with_value, counts.too_costly), (0, 1), "{slack}");
    }
}

/// Each member costs less than its limit, but all together more: then no member has a value,
/// neither the first ones nor a member in the overlay.
#[test]
fn a_list_that_is_too_costly_as_a_whole_has_no_values() {
    let members: Vec<Value> = (0..200).map(|number| with_list(number, 500)).collect();
    let list = snapshot(DOUBLED, &members);
    let counts = list.counts();
    assert_eq!((counts.matchable, counts.too_costly, counts.with_value), (200, 200, 0));
    assert!(list.find(&key("v")).is_empty());
    let told = serde_json::to_vec(&with_list(900, 0)).unwrap();
    let none = ProfileFields::default();
    let (above, _) = list.with_changes(&mapping(DOUBLED), [&*told], &none, &Stop::default());
    assert_eq!(above.counts().too_costly, 201);
    // Also if a part was read in parallel.
    let builder = |members: &[Value]| {
        let mut builder = SnapshotBuilder::new(&mapping(DOUBLED), 7);
        for member in members {
            builder.push_value(member).unwrap();
        }
        builder
    };
    let mut first = builder(&[with_list(901, 0)]);
    first.append(builder(&members)).unwrap();
    assert_eq!(first.finish().counts().too_costly, 201);
}

#[test]
fn a_stopped_builder_evaluates_nothing() {
    let stop = Stop::default();
    stop.set();
    let mut builder = SnapshotBuilder::new(&mapping(DOUBLED), 7);
    builder.set_stop(stop);
    builder.push_value(&with_list(1, 0)).unwrap();
    assert_eq!(builder.finish().counts().with_value, 0);
}
