use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::directory::member::BadMember;
use crate::domain::mapping::{Mapping, Pass, Stop};

pub(super) fn mapping(slack: &str) -> Mapping {
    Mapping::compile("email", slack).unwrap()
}

pub(super) fn snapshot(slack: &str, members: &[Value]) -> Snapshot {
    let mut builder = SnapshotBuilder::new(&mapping(slack), 7);
    for member in members {
        builder.push_json(&serde_json::to_vec(member).unwrap()).unwrap();
    }
    builder.finish()
}

pub(super) fn member(id: &str, email: &str) -> Value {
    json!({"id": id, "name": id.to_lowercase(), "tz": "Europe/Vienna", "locale": "de-AT",
        "profile": {"email": email}})
}

pub(super) fn key(text: &str) -> MatchKey {
    MatchKey::of_text(text).unwrap()
}

fn ids(found: &MatchedMembers<'_>) -> Vec<String> {
    let mut ids: Vec<_> = found.members().map(|member| member.id().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn records_and_slots_are_small() {
    assert_eq!(size_of::<packed::Record>(), 24);
    assert_eq!(size_of::<ValueSlot>(), 20);
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
    assert_eq!(snapshot.counts(), SnapshotCounts::default());
}

#[test]
fn counts() {
    let snapshot = snapshot(
        "length(title) && title",
        &[
            json!({"id": "U1", "title": "same", "profile": {"email": "a@x.org"}}),
            json!({"id": "U2", "title": "same", "profile": {"email": "b@x.org"}}),
            json!({"id": "U3", "title": "", "profile": {"email": "c@x.org"}}),
            json!({"id": "U4", "is_invited_user": true, "profile": {"email": "d@x.org"}}),
            json!({"id": "U5", "is_invited_user": true, "title": "other"}),
            json!({"id": "U6", "title": "same", "deleted": true}),
            json!({"id": "U7", "is_bot": true}),
        ],
    );
    let expected = SnapshotCounts {
        members: 7,
        matchable: 4,
        no_email: 1,
        deactivated: 1,
        bots: 1,
        invited: 1,
        with_value: 2,
        duplicate_keys: 1,
        errors: 1,
        ..SnapshotCounts::default()
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
            json!({"id": "U2", "employee": "gone", "deleted": true, "profile": {"email": "a@x"}}),
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
fn of_several_the_newest_counts_whatever_comes_last() {
    let told = |email: &str, updated: u64| {
        let mut told = member("U1", email);
        told["updated"] = json!(updated);
        told
    };
    for (pushed, expected) in [
        (vec![told("a@x", 5), told("b@x", 7), told("c@x", 6)], "b@x"),
        (vec![told("a@x", 5), told("b@x", 5)], "b@x"),
        (vec![told("a@x", 5), member("U1", "b@x")], "b@x"),
        (vec![told("a@x", 5), member("U1", "b@x"), told("c@x", 4)], "c@x"),
    ] {
        assert_eq!(ids(&snapshot("profile.email", &pushed).find(&key(expected))), ["U1"]);
    }
}

#[test]
fn what_is_news() {
    let mapping = mapping("ids");
    let known = json!({"id": "U1", "updated": 5, "name": "one", "tz": "UTC", "locale": "de-AT",
        "ids": ["a", "b"], "profile": {"email": "a@x.org"}});
    let packed = snapshot("ids", &[known.clone(), member("U2", "b@x.org")]);
    let other = serde_json::to_vec(&member("U3", "c@x.org")).unwrap();
    let none = ProfileFields::default();
    let (above, _) = snapshot("ids", &[member("U2", "b@x.org")]).with_changes(
        &mapping,
        [&*serde_json::to_vec(&known).unwrap(), &other],
        &none,
        &Stop::default(),
    );
    let news = |change: Value| {
        let mut told = known.clone();
        told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let told = serde_json::to_vec(&told).unwrap();
        let one = packed.news(&mapping, &told, &none, &Stop::default());
        let two = above.news(&mapping, &told, &none, &Stop::default());
        assert_eq!(one, two);
        one.unwrap()
    };
    let status = json!({"email": "a@x.org", "status_text": "away", "image_24": "x"});
    for (change, expected) in [
        (json!({}), Difference::Same),
        (json!({"updated": 6, "profile": status}), Difference::Same),
        (json!({"profile": {"email": "other@x.org"}}), Difference::Changed),
        // The attribute in force does not read it, but another may.
        (json!({"updated": 6, "title": "new"}), Difference::Changed),
        (json!({"updated": 6, "ids": ["b", "a", "a"]}), Difference::Changed),
        (json!({"locale": null}), Difference::Same),
        (json!({"locale": "en-US"}), Difference::Changed),
        (json!({"tz": "Europe/Vienna"}), Difference::Changed),
        (json!({"name": "other"}), Difference::Changed),
        (json!({"deleted": true}), Difference::Changed),
        (json!({"profile": {}}), Difference::Changed),
        (json!({"ids": ["a"]}), Difference::Changed),
        (json!({"ids": ["a", "b", "c"]}), Difference::Changed),
        (json!({"ids": ["a", "c"]}), Difference::Changed),
        (json!({"ids": null}), Difference::Changed),
        (json!({"id": "U9"}), Difference::Changed),
        (json!({"updated": 4, "name": "other"}), Difference::Older),
        (json!({"updated": null, "name": "other"}), Difference::Changed),
    ] {
        assert_eq!(news(change.clone()), expected, "{change}");
    }
    assert_eq!(packed.news(&mapping, b"{}", &none, &Stop::default()), Err(BadMember::Id));
}

#[test]
fn a_status_is_news_where_the_attribute_reads_it() {
    let mapping = mapping("profile.status_text");
    let told = |status: &str| {
        let mut told = member("U1", "a@x.org");
        told["profile"]["status_text"] = json!(status);
        told
    };
    let known = snapshot("profile.status_text", &[told("badge 1")]);
    let none = ProfileFields::default();
    for (status, expected) in [("badge 1", Difference::Same), ("badge 2", Difference::Changed)] {
        let told = serde_json::to_vec(&told(status)).unwrap();
        assert_eq!(known.news(&mapping, &told, &none, &Stop::default()), Ok(expected));
    }
}

#[test]
fn fetched_custom_fields_are_news() {
    let mapping = mapping("profile.fields.XF1.value");
    let told = serde_json::to_vec(&member("U1", "a@x.org")).unwrap();
    let fetched = |value: &str| fields(&[("U1", json!({ "XF1": { "value": value } }))]);
    let packed = snapshot("profile.fields.XF1.value", &[member("U1", "a@x.org")]);
    let news = |of: &Snapshot, it: &ProfileFields| of.news(&mapping, &told, it, &Stop::default());
    assert_eq!(news(&packed, &ProfileFields::default()), Ok(Difference::Same));
    assert_eq!(news(&packed, &fetched("E-1")), Ok(Difference::Changed));
    let (above, _) = packed.with_changes(&mapping, [&*told], &fetched("E-1"), &Stop::default());
    assert_eq!(ids(&above.find(&key("E-1"))), ["U1"]);
    assert_eq!((packed.fields_complete(), above.fields_complete()), (false, true));
    assert_eq!(news(&above, &fetched("E-1")), Ok(Difference::Same));
    assert_eq!(news(&above, &fetched("E-2")), Ok(Difference::Changed));
}

#[test]
fn a_bad_member_changes_nothing() {
    let mut builder = SnapshotBuilder::new(&mapping("profile.email"), 1);
    builder.push_value(&member("U1", "a@x.org")).unwrap();
    assert_eq!(builder.push_json(b"{"), Err(BadMember::Json));
    assert_eq!(builder.push_value(&json!({"profile": {"email": "b@x.org"}})), Err(BadMember::Id));
    assert_eq!(builder.finish().counts().members, 1);
}

fn fields(of: &[(&str, Value)]) -> ProfileFields {
    let mut fields = ProfileFields::default();
    for (id, value) in of {
        fields.insert(id, &serde_json::to_vec(value).unwrap());
    }
    fields
}

#[test]
fn custom_fields_stand_where_the_list_has_none() {
    let values = json!({"XF1": {"value": "E-7", "alt": ""}, "Xf1": {"value": "e-8", "alt": ""}});
    for slack in [
        "profile.fields.XF1.value",
        "profile.fields.XF1.value || profile.email",
        "profile.fields.*.value | [?@ == 'E-7']",
        "profile.{v: fields.XF1.value}.v",
        "[@][0].profile.fields.XF1.value",
    ] {
        let mut builder = SnapshotBuilder::new(&mapping(slack), 1);
        builder.set_fields(fields(&[("U1", values.clone()), ("U3", json!({}))]).into());
        for id in ["U1", "U2", "U3"] {
            let mut member = member(id, &format!("{}@x.org", id.to_lowercase()));
            member["profile"]["fields"] = json!(null);
            builder.push_json(&serde_json::to_vec(&member).unwrap()).unwrap();
        }
        let gone = json!({"id": "U4", "deleted": true, "profile": {"email": "a@x.org"}});
        builder.push_value(&gone).unwrap();
        let snapshot = builder.finish();
        assert_eq!(ids(&snapshot.find(&key("E-7"))), ["U1"], "{slack}");
        assert!(snapshot.find(&key("u2@x.org")).is_empty(), "{slack}: not fetched, so no value");
        assert_eq!(snapshot.counts().without_fields, 1, "{slack}");
        assert!(!snapshot.fields_complete());
    }
    let without = snapshot("profile.email", &[member("U1", "a@x.org")]);
    assert!(without.fields_complete());
}

/// Even in an odd object, a path finds the same as it would without the facts.
#[test]
fn paths_are_followed_beside_the_facts() {
    let profile = r#""profile": {"email": "a@x.org", "x": "other"}"#;
    for (slack, json, expected) in [
        ("x", r#""x": "key""#, true),
        ("x", r#""x": "other", "x": "key""#, true),
        ("x", r#""x": "key", "x": null"#, false),
        ("profile.x", r#""profile": {"email": "a@x.org", "x": ["key", 7]}"#, true),
        ("profile.x", r#""profile": {"x": "key", "x": {}, "email": "a@x.org"}"#, false),
        ("profile.x.y", r#""profile": {"x": {"y": "key"}, "email": "a@x.org"}"#, true),
        ("profile.x", r#""profile": {"x": "key"}, "profile": {"email": "a@x.org"}"#, false),
        ("profile.email", r#""profile": {"email": "key"}"#, true),
        ("profile.real_name", r#""profile": {"email": "a@x.org", "real_name": "key"}"#, true),
        ("name", r#""name": "key""#, true),
        ("name.x", r#""name": {"x": "key"}"#, true),
        ("profile", r#""x": "key""#, false),
        ("@", r#""x": "key""#, false),
    ] {
        let rest = if json.contains("profile") { String::new() } else { format!(", {profile}") };
        let mut builder = SnapshotBuilder::new(&mapping(slack), 1);
        builder.push_json(format!(r#"{{"id": "U1", {json}{rest}}}"#).as_bytes()).unwrap();
        let found = builder.finish().find(&key("key")).len();
        assert_eq!(found, usize::from(expected), "{slack} {json}");
    }
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
    let snapshot = builder.finish();
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
    let flag = || prop::bool::weighted(0.15);
    let one = (0..12_u8, value, email, flag(), flag(), 0..3_u8).prop_map(
        |(id, value, email, deleted, bot, updated)| {
            json!({"id": format!("U{id}"), "v": value, "deleted": deleted, "is_bot": bot,
                "updated": updated, "profile": {"email": email}})
        },
    );
    proptest::collection::vec(one, 0..20)
}

/// All data of a snapshot about the members `U0` to `U12` and the values of [`members`].
fn told(snapshot: &Snapshot) -> impl PartialEq + fmt::Debug + use<> {
    let seen = |m: MemberView<'_>| {
        (
            m.id().to_owned(),
            m.display_name.to_owned(),
            m.kind,
            m.updated,
            m.locale.map(str::to_owned),
            m.time_zone.map(str::to_owned),
        )
    };
    let mut all: Vec<_> = snapshot.members().map(seen).collect();
    all.sort();
    let by_id = |id| snapshot.member(&SlackUserId::parse(format!("U{id}")).unwrap()).map(seen);
    let by_value = |text| {
        let found = snapshot.find(&key(text));
        (ids(&found), found.len(), found.excluded)
    };
    let by_value: Vec<_> =
        ["a", "A", "b@x", "1", "true", "null", "c", "p@x.org"].map(by_value).into();
    (snapshot.counts(), snapshot.is_empty(), all, (0..13).map(by_id).collect::<Vec<_>>(), by_value)
}

proptest! {
    #[test]
    fn found_is_what_a_plain_search_finds(
        members in members(), slack in prop::sample::select(vec!["v", "v || v"]),
    ) {
        let mapping = mapping(slack);
        let mut last = BTreeMap::new();
        let mut by_value = SnapshotBuilder::new(&mapping, 1);
        for member in &members {
            let updated = |member: &Value| member["updated"].as_u64().unwrap();
            let id = member["id"].as_str().unwrap();
            let older = |known: &&Value| updated(member) > 0 && updated(member) < updated(known);
            if !last.get(id).is_some_and(older) {
                last.insert(id, member);
            }
            by_value.push_value(member).unwrap();
        }
        let by_value = by_value.finish();
        let by_json = snapshot(slack, &members);
        prop_assert_eq!(by_value.counts(), by_json.counts());
        prop_assert_eq!(by_json.counts().members, last.len());
        for text in ["a", "A", "b@x", "1", "true", "null", "c"] {
            let mut expected = Vec::new();
            let mut excluded = false;
            for (id, member) in &last {
                if mapping.slack.keys(member, &mut Pass::default()).unwrap().contains(&key(text)) {
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

    #[test]
    fn changes_on_top_are_the_same_as_building_anew(
        pages in members(),
        changes in members(),
        chunk in 1..8_usize,
        slack in proptest::sample::select(vec![
            "v", "profile.email", "length(v) && v", "profile.fields.XF1.value",
            "profile.fields.XF1.value || v",
        ]),
    ) {
        let mapping = mapping(slack);
        // Fetched only for some members.
        let fetched = || fields(&[
            ("U1", json!({"XF1": {"value": "a"}})), ("U2", json!({})),
            ("U3", json!({"XF1": {"value": ["a", "b@x"]}})),
        ]);
        let build = |members: &[Value]| {
            let mut builder = SnapshotBuilder::new(&mapping, 7);
            builder.set_fields(fetched().into());
            for member in members {
                builder.push_value(member).unwrap();
            }
            builder.finish()
        };
        let anew = build(&[&*pages, &*changes].concat());
        let mut above = build(&pages);
        for changes in changes.chunks(chunk) {
            let changes: Vec<_> = changes.iter().map(|m| serde_json::to_vec(m).unwrap()).collect();
            let changes = changes.iter().map(Vec::as_slice);
            let (next, bad) = above.with_changes(&mapping, changes, &fetched(), &Stop::default());
            prop_assert_eq!(bad, 0);
            above = next;
        }
        prop_assert_eq!(told(&above), told(&anew));
    }

    #[test]
    fn parts_read_side_by_side_are_the_same_as_one_after_the_other(
        parts in proptest::collection::vec(members(), 1..5),
        zones in proptest::collection::vec(0..4_usize, 1..9),
    ) {
        let mapping = mapping("v");
        let mut zones = zones.into_iter().cycle();
        let builder = || SnapshotBuilder::new(&mapping, 7);
        let (mut together, mut appended) = (builder(), builder());
        for part in parts {
            let mut own = builder();
            for mut member in part {
                let zone = zones.next().unwrap();
                member["tz"] = ["UTC", "Europe/Vienna", "Asia/Tokyo", ""][zone].into();
                member["locale"] = ["de-AT", "en-US", "ja-JP", "fr-FR"][3 - zone].into();
                together.push_value(&member).unwrap();
                own.push_value(&member).unwrap();
            }
            appended.append(own).unwrap();
        }
        prop_assert_eq!(told(&appended.finish()), told(&together.finish()));
    }
}
