use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::mapping::Mapping;
use super::super::member::BadMember;
use super::*;

fn mapping(slack: &str) -> Mapping {
    Mapping::compile("email", slack).unwrap()
}

fn snapshot(slack: &str, members: &[Value]) -> Snapshot {
    let mut builder = SnapshotBuilder::new(&mapping(slack), 7);
    for member in members {
        builder.push_json(&serde_json::to_vec(member).unwrap()).unwrap();
    }
    builder.finish(true)
}

fn member(id: &str, email: &str) -> Value {
    json!({"id": id, "name": id.to_lowercase(), "tz": "Europe/Vienna", "locale": "de-AT", "profile": {"email": email}})
}

fn key(text: &str) -> MatchKey {
    MatchKey::of_text(text).unwrap()
}

fn ids(found: &Found<'_>) -> Vec<String> {
    let mut ids: Vec<_> = found.members().map(|member| member.id().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn records_and_slots_are_small() {
    assert_eq!(size_of::<Record>(), 12);
    assert_eq!(size_of::<Slot>(), 20);
}

#[test]
fn a_member_is_found_by_value_and_by_id() {
    let snapshot = snapshot("profile.email", &[member("U1", "Ada@x.org"), member("U2", "b@x.org")]);
    assert_eq!(ids(&snapshot.find(&key("ada@X.ORG "))), ["U1"]);
    assert!(snapshot.find(&key("nobody@x.org")).is_empty());
    let found = snapshot.member(&SlackUserId::parse("U2").unwrap()).unwrap();
    assert_eq!((found.display_name, found.kind), ("u2", MemberKind::Matchable));
    assert_eq!((found.time_zone, found.locale), (Some("Europe/Vienna"), Some("de-AT")));
    assert_eq!(snapshot.member(&SlackUserId::parse("U3").unwrap()), None);
    assert_eq!(snapshot.member(&SlackUserId::parse("u2").unwrap()), None);
    assert_eq!((snapshot.generation(), snapshot.is_empty()), (7, false));
}

#[test]
fn an_empty_directory() {
    let snapshot = snapshot("profile.email", &[]);
    assert!(snapshot.is_empty() && snapshot.find(&key("a")).is_empty());
    assert_eq!(snapshot.member(&SlackUserId::parse("U1").unwrap()), None);
    assert_eq!(snapshot.counts(), Counts::default());
}

#[test]
fn counts() {
    let snapshot = snapshot(
        "length(title) && title",
        &[
            json!({"id": "U1", "title": "same", "profile": {"email": "a@x.org"}}),
            json!({"id": "U2", "title": "same", "profile": {"email": "b@x.org"}}),
            json!({"id": "U3", "title": "", "profile": {"email": "c@x.org"}}),
            json!({"id": "U4", "profile": {"email": "d@x.org"}}),
            json!({"id": "U5", "title": "other"}),
            json!({"id": "U6", "title": "same", "deleted": true}),
            json!({"id": "U7", "is_bot": true}),
        ],
    );
    let expected = Counts {
        members: 7,
        matchable: 4,
        no_email: 1,
        deactivated: 1,
        bots: 1,
        with_value: 2,
        duplicate_keys: 1,
        errors: 1,
    };
    assert_eq!(snapshot.counts(), expected);
    assert_eq!(ids(&snapshot.find(&key("same"))), ["U1", "U2"]);
}

#[test]
fn the_excluded_are_never_found_but_told_of() {
    let snapshot = snapshot(
        "employee",
        &[
            json!({"id": "U1", "employee": "bot", "is_bot": true, "profile": {"email": "a@x.org"}}),
            json!({"id": "U2", "employee": "gone", "deleted": true, "profile": {"email": "a@x.org"}}),
            json!({"id": "U3", "employee": "mute"}),
            json!({"id": "U4", "employee": ["bot", "gone", "mute"], "is_bot": true}),
            json!({"id": "U5", "employee": "shared", "profile": {"email": "b@x.org"}}),
            json!({"id": "U6", "employee": "shared", "deleted": true}),
        ],
    );
    let kind = |text| {
        let found = snapshot.find(&key(text));
        assert!(found.is_empty());
        found.excluded
    };
    assert_eq!(kind("bot"), Some(MemberKind::Bot));
    assert_eq!(kind("gone"), Some(MemberKind::Deactivated));
    assert_eq!(kind("mute"), Some(MemberKind::NoEmail));
    assert_eq!(kind("nobody"), None);
    let shared = snapshot.find(&key("shared"));
    assert_eq!((ids(&shared), shared.excluded), (vec!["U5".to_owned()], None));
}

#[test]
fn a_list_and_a_repeated_value() {
    let members =
        [json!({"id": "U1", "ids": ["a", "b", "a", 42], "profile": {"email": "a@x.org"}})];
    let snapshot = snapshot("ids", &members);
    for text in ["a", "b", "42"] {
        assert_eq!(snapshot.find(&key(text)).len(), 1, "{text}");
    }
    assert_eq!(snapshot.counts().duplicate_keys, 0);
}

#[test]
fn a_later_push_replaces_all_of_the_earlier() {
    let members = [member("U1", "old@x.org"), member("U2", "b@x.org"), member("U1", "new@x.org")];
    let replaced = snapshot("profile.email", &members);
    assert!(replaced.find(&key("old@x.org")).is_empty());
    assert_eq!(ids(&replaced.find(&key("new@x.org"))), ["U1"]);
    assert_eq!(replaced.counts().members, 2);
    let gone = json!({"id": "U1", "deleted": true, "profile": {"email": "new@x.org"}});
    let gone = snapshot("profile.email", &[members[2].clone(), gone]);
    assert_eq!(gone.find(&key("new@x.org")).excluded, Some(MemberKind::Deactivated));
    assert_eq!((gone.counts().with_value, gone.counts().deactivated), (0, 1));
}

#[test]
fn a_bad_member_changes_nothing() {
    let mut builder = SnapshotBuilder::new(&mapping("profile.email"), 1);
    builder.push_value(&member("U1", "a@x.org")).unwrap();
    assert_eq!(builder.push_json(b"{"), Err(BadMember::Json));
    assert_eq!(builder.push_value(&json!({"profile": {"email": "b@x.org"}})), Err(BadMember::Id));
    assert_eq!(builder.finish(true).counts().members, 1);
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let members = [json!({"id": "U1", "name": "é".repeat(1000)})];
    let snapshot = snapshot("id", &members);
    assert_eq!(snapshot.members().next().unwrap().display_name, "é".repeat(160));
}

#[test]
fn a_member_takes_less_than_96_bytes() {
    let given = ["Alexandra", "Bartholomew", "Chandrasekhar", "Ada", "Maximilian"];
    let family = ["Konstantinopoulos", "Lovelace", "von Neumann", "Ng", "Featherstonehaugh"];
    let mut builder = SnapshotBuilder::new(&mapping("profile.email"), 1);
    for n in 0..20_000_usize {
        let (given, family) = (given[n % 5], family[n / 5 % 5]);
        let mut member = member(&format!("U{n:010}"), &format!("{given}.{family}{n}@example.com"));
        member["profile"]["display_name"] = json!(format!("{given} {family}"));
        builder.push_value(&member).unwrap();
    }
    let snapshot = builder.finish(true);
    assert!(snapshot.bytes() / 20_000 < 96, "{}", snapshot.bytes() / 20_000);
}

fn members() -> impl Strategy<Value = Vec<Value>> {
    let value = proptest::sample::select(vec![
        json!("a"),
        json!("A"),
        json!(" a "),
        json!("b@x"),
        json!("B@X"),
        json!(1),
        json!(1.0),
        json!("1"),
        json!(null),
        json!(""),
        json!(true),
        json!({"a": 1}),
        json!(["a", "b@x"]),
        json!([null, "", true]),
    ]);
    let email = proptest::sample::select(vec![
        json!("p@x.org"),
        json!("p@x.org"),
        json!("p@x.org"),
        json!(null),
        json!(""),
    ]);
    let one = (0..12_u8, value, email, prop::bool::weighted(0.15), prop::bool::weighted(0.15)).prop_map(
        |(id, value, email, deleted, bot)| {
            json!({"id": format!("U{id}"), "v": value, "deleted": deleted, "is_bot": bot, "profile": {"email": email}})
        },
    );
    proptest::collection::vec(one, 0..20)
}

proptest! {
    #[test]
    fn found_is_what_a_plain_search_finds(members in members(), slack in proptest::sample::select(vec!["v", "v || v"])) {
        let mapping = mapping(slack);
        let mut last = BTreeMap::new();
        let mut by_value = SnapshotBuilder::new(&mapping, 1);
        for member in &members {
            last.insert(member["id"].as_str().unwrap(), member);
            by_value.push_value(member).unwrap();
        }
        let by_value = by_value.finish(true);
        let by_json = snapshot(slack, &members);
        prop_assert_eq!(by_value.counts(), by_json.counts());
        prop_assert_eq!(by_json.counts().members, last.len());
        for text in ["a", "A", "b@x", "1", "true", "null", "c"] {
            let mut expected = Vec::new();
            let mut excluded = false;
            for (id, member) in &last {
                if mapping.slack.keys(member).unwrap().contains(&key(text)) {
                    let alive = member["deleted"] == false && member["is_bot"] == false;
                    if alive && member["profile"]["email"] == "p@x.org" {
                        expected.push((*id).to_owned());
                    } else {
                        excluded = true;
                    }
                }
            }
            expected.sort();
            for snapshot in [&by_value, &by_json] {
                let found = snapshot.find(&key(text));
                prop_assert_eq!(&ids(&found), &expected);
                prop_assert_eq!(found.excluded.is_some(), excluded && expected.is_empty());
            }
        }
        for id in last.keys() {
            prop_assert!(by_json.member(&SlackUserId::parse(*id).unwrap()).is_some());
        }
    }
}
