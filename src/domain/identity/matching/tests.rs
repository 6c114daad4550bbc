use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::directory::snapshot::{ProfileFields, SnapshotBuilder};
use crate::domain::identity::person::Person;
use crate::domain::ids::{InstallationId, UserId};
use crate::domain::mapping::Pass;
use crate::domain::time::Timestamp;

fn resolve(snapshot: Option<&Snapshot>, mapping: &Mapping, person: &Person) -> Match {
    let values = mapping.user.values(&person.record(), &mut Pass::default()).unwrap();
    super::resolve(snapshot, mapping, &values)
}

fn mapping(user: &str, slack: &str) -> Mapping {
    Mapping::compile(user, slack).unwrap()
}

fn snapshot(mapping: &Mapping, fields_complete: bool, members: &[Value]) -> Snapshot {
    let mut builder = SnapshotBuilder::new(mapping, 1);
    let mut fields = ProfileFields::default();
    for member in members {
        let inline = &member["profile"]["fields"];
        if fields_complete || inline.is_object() {
            fields.insert(member["id"].as_str().unwrap(), inline.to_string().as_bytes());
        }
    }
    builder.set_fields(fields.into());
    for member in members {
        builder.push_value(member).unwrap();
    }
    builder.finish()
}

fn person(attributes: Value) -> Person {
    Person::from_record(UserId::parse("p1").unwrap(), attributes)
}

fn member(id: &str, email: &str) -> Value {
    json!({"id": id, "name": "n", "tz": "Asia/Tokyo", "profile": {"email": email}})
}

fn reason(
    mapping: &Mapping,
    complete: bool,
    members: &[Value],
    person: &Person,
) -> Option<NoMatch> {
    resolve(Some(&snapshot(mapping, complete, members)), mapping, person).reason()
}

#[test]
fn a_unique_match_by_mail() {
    let mapping = mapping("email", "profile.email");
    let members = [member("U1", "Ada@x.org"), member("U2", "b@x.org")];
    let found = resolve(
        Some(&snapshot(&mapping, true, &members)),
        &mapping,
        &person(json!({"email": " ada@X.org "})),
    );
    let expected = Matched {
        slack_user_id: SlackUserId::parse("U1").unwrap(),
        display_name: "n".into(),
        time_zone: Some("Asia/Tokyo".into()),
        locale: None,
    };
    assert_eq!(found.unique(), Some(&expected));
}

/// A value that all members share: no member is found, and not all members are counted.
#[test]
fn of_many_who_have_a_value_few_are_counted() {
    let mapping = mapping("[id, 'everybody']", "'everybody'");
    let members: Vec<Value> =
        (0..3000).map(|number| member(&format!("U{number}"), "a@x.org")).collect();
    let snapshot = snapshot(&mapping, true, &members);
    let found = resolve(Some(&snapshot), &mapping, &person(json!({"id": "p"})));
    assert_eq!(found.reason(), Some(NoMatch::Ambiguous));
    assert_eq!(found.unmatched().candidates, limits::CANDIDATES);
}

#[test]
fn what_costs_too_much_is_told() {
    let doubled = format!("l|{}", ["[@,@][]"; 5].join("|"));
    let large = person(json!({"l": vec![1; 3000], "email": "a@x.org"}));
    let members = [member("U1", "a@x.org")];
    let user = mapping(&doubled, "profile.email");
    assert_eq!(reason(&user, true, &members, &large), Some(NoMatch::TooCostly));
    let mut heavy = member("U1", "a@x.org");
    heavy["l"] = json!(vec![1; 5000]);
    let slack = mapping("email", &doubled);
    assert_eq!(reason(&slack, true, &[heavy.clone()], &large), Some(NoMatch::TooCostly));
    // Others can be matched: then the better answer is that no member has the value.
    let mut light = member("U2", "b@x.org");
    light["l"] = json!(["b@x.org"]);
    assert_eq!(reason(&slack, true, &[heavy, light], &large), Some(NoMatch::NoMember));
}

#[test]
fn every_reason_in_its_order() {
    let mail = mapping("email", "profile.email");
    let ada = person(json!({"email": "ada@x.org"}));
    let other = member("U9", "other@x.org");
    assert_eq!(resolve(None, &mail, &ada).reason(), Some(NoMatch::DirectoryNotReady));
    assert_eq!(resolve(None, &mail, &person(json!({}))).reason(), Some(NoMatch::DirectoryNotReady));

    for nobody in [json!({}), json!({"email": ""}), json!({"email": null})] {
        assert_eq!(reason(&mail, true, &[], &person(nobody)), Some(NoMatch::NoUserValue));
    }
    let failing = mapping("length(title)", "profile.email");
    assert_eq!(reason(&failing, true, &[], &ada), Some(NoMatch::NoUserValue));

    let by_name = mapping("email", "name");
    let mute = json!({"id": "U1", "name": "ada@x.org"});
    let gone =
        json!({"id": "U2", "name": "ada@x.org", "deleted": true, "profile": {"email": "q@x.org"}});
    let bot = json!({"id": "U3", "name": "ada@x.org", "is_bot": true});
    let check = |members: &[Value]| reason(&by_name, true, members, &ada);
    assert_eq!(check(&[mute.clone(), gone.clone(), bot.clone()]), Some(NoMatch::NoEmail));
    assert_eq!(check(&[gone.clone(), bot.clone(), other.clone()]), Some(NoMatch::Deactivated));
    assert_eq!(check(std::slice::from_ref(&bot)), Some(NoMatch::Bot));
    let alive = json!({"id": "U4", "name": "ada@x.org", "profile": {"email": "z@x.org"}});
    assert_eq!(check(&[mute, gone, bot, alive]), None);

    let missing = mapping("email", "profile.nothing");
    assert_eq!(
        reason(&missing, true, std::slice::from_ref(&other), &ada),
        Some(NoMatch::SlackAttributeEmpty)
    );
    assert_eq!(
        reason(&missing, false, std::slice::from_ref(&other), &ada),
        Some(NoMatch::SlackAttributeEmpty)
    );
    assert_eq!(reason(&mail, false, &[other], &ada), Some(NoMatch::NoMember));
    let twins = [member("U1", "ada@x.org"), member("U2", "ADA@x.org")];
    assert_eq!(reason(&mail, true, &twins, &ada), Some(NoMatch::Ambiguous));
}

#[test]
fn custom_fields_that_are_not_fetched_yet() {
    let fields = mapping("employee_id", "profile.fields.XF1.value");
    let person = person(json!({"employee_id": "E-1"}));
    let bare = member("U1", "a@x.org");
    let mut known = member("U2", "b@x.org");
    known["profile"]["fields"] = json!({"XF1": {"value": "E-2"}});
    let check = |complete, members: &[Value]| reason(&fields, complete, members, &person);
    assert_eq!(check(false, std::slice::from_ref(&bare)), Some(NoMatch::FieldsNotFetched));
    assert_eq!(check(false, &[bare.clone(), known.clone()]), Some(NoMatch::FieldsNotFetched));
    assert_eq!(check(true, std::slice::from_ref(&bare)), Some(NoMatch::SlackAttributeEmpty));
    assert_eq!(check(true, &[bare.clone(), known.clone()]), Some(NoMatch::NoMember));
    known["profile"]["fields"]["XF1"]["value"] = json!("E-1");
    assert_eq!(check(false, &[bare, known]), None);
}

#[test]
fn several_values_of_a_person() {
    let mapping = mapping("metadata.mails", "profile.email");
    let members = [member("U1", "a@x.org"), member("U2", "b@x.org"), json!({"id": "U3"})];
    let snapshot = snapshot(&mapping, true, &members);
    let of = |mails: Value| {
        resolve(Some(&snapshot), &mapping, &person(json!({"metadata": {"mails": mails}})))
    };
    assert!(of(json!(["a@x.org", "A@X.org", "nobody@x.org"])).unique().is_some());
    let several = Unmatched { reason: NoMatch::Ambiguous, candidates: 2, without_email: 1 };
    assert_eq!(of(json!(["a@x.org", "b@x.org"])), Match::None(several));
    let nobody = Unmatched { reason: NoMatch::NoMember, candidates: 0, without_email: 1 };
    assert_eq!(of(json!(["c@x.org"])), Match::None(nobody));
}

fn identity(rule: Rule) -> Identity {
    Identity {
        slack_user_id: SlackUserId::parse("USTORED").unwrap(),
        display_name: "stored".into(),
        rule,
        installation: InstallationId(uuid::Uuid::nil()),
        stored_at: Timestamp(0),
    }
}

fn unique() -> Match {
    Match::Unique(Matched {
        slack_user_id: SlackUserId::parse("UNEW").unwrap(),
        display_name: "new".into(),
        time_zone: None,
        locale: None,
    })
}

fn basis(decision: &MemberDecision) -> Result<(&str, MatchBasis), NoMatch> {
    match decision {
        MemberDecision::Reach { slack_user_id, basis, .. } => Ok((slack_user_id.as_str(), *basis)),
        MemberDecision::Unreachable { reason } => Err(*reason),
    }
}

const LIVENESS: [Option<MemberKind>; 5] = [
    None,
    Some(MemberKind::Matchable),
    Some(MemberKind::NoEmail),
    Some(MemberKind::Deactivated),
    Some(MemberKind::Bot),
];

#[test]
fn a_pin_outranks_the_rules_while_its_member_lives() {
    let pin = identity(Rule::Pinned);
    let reasons = NoMatch::ALL.iter().filter(|reason| **reason != NoMatch::NotConnected);
    for matched in reasons.map(|reason| Match::none(*reason)).chain([unique()]) {
        for kind in LIVENESS {
            let expected = match kind {
                Some(MemberKind::Deactivated) => Err(NoMatch::Deactivated),
                Some(MemberKind::Bot) => Err(NoMatch::Bot),
                _ => Ok(("USTORED", MatchBasis::Pinned)),
            };
            assert_eq!(basis(&decide(Some(&pin), &matched, kind)), expected);
        }
    }
}

#[test]
fn nobody_is_reached_without_a_connection() {
    for stored in [None, Some(identity(Rule::Matched)), Some(identity(Rule::Pinned))] {
        for kind in LIVENESS {
            let decision = decide(stored.as_ref(), &Match::none(NoMatch::NotConnected), kind);
            assert_eq!(basis(&decision), Err(NoMatch::NotConnected));
        }
    }
}

#[test]
fn a_unique_match_outranks_an_earlier_one() {
    let mut stored = identity(Rule::Matched);
    let new = Ok(("UNEW", MatchBasis::Matched { is_new: true }));
    for kind in LIVENESS {
        assert_eq!(basis(&decide(Some(&stored), &unique(), kind)), new);
    }
    assert_eq!(basis(&decide(None, &unique(), None)), new);
    stored.slack_user_id = SlackUserId::parse("UNEW").unwrap();
    assert_eq!(basis(&decide(Some(&stored), &unique(), None)), new, "the name changed");
    stored.display_name = "new".into();
    let same = Ok(("UNEW", MatchBasis::Matched { is_new: false }));
    assert_eq!(basis(&decide(Some(&stored), &unique(), None)), same);
}

#[test]
fn an_earlier_match_stands_in_while_its_member_lives() {
    let stored = identity(Rule::Matched);
    for reason in NoMatch::ALL.iter().copied().filter(|reason| *reason != NoMatch::NotConnected) {
        for kind in LIVENESS {
            let decision = decide(Some(&stored), &Match::none(reason), kind);
            let lives = kind.is_some_and(MemberKind::is_alive);
            let not_known = reason == NoMatch::DirectoryNotReady && kind.is_none();
            let falls_back = reason != NoMatch::Ambiguous && (lives || not_known);
            let expected = if falls_back {
                Ok(("USTORED", MatchBasis::Stale { reason }))
            } else {
                Err(reason)
            };
            assert_eq!(basis(&decision), expected, "{reason:?} {kind:?}");
            assert_eq!(basis(&decide(None, &Match::none(reason), kind)), Err(reason));
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(""),
        json!("  "),
        json!([]),
        json!({}),
        json!(true),
        json!(false),
        json!([null, ""]),
        json!({"null": null}),
        json!(0.5),
    ])
}

proptest! {
    #[test]
    fn nothing_never_matches_nothing(user in value(), slack in value(), count in 1..4_usize) {
        let mapping = mapping("v", "v");
        let members: Vec<_> = (0..count)
            .map(|n| json!({"id": format!("U{n}"), "v": slack, "profile": {"email": "a@x.org"}}))
            .collect();
        prop_assert_eq!(
            reason(&mapping, true, &members, &person(json!({"v": user}))),
            Some(NoMatch::NoUserValue)
        );
        prop_assert_eq!(
            reason(&mapping, true, &members, &person(json!({"v": "x"}))),
            Some(NoMatch::SlackAttributeEmpty)
        );
    }

    #[test]
    fn two_members_with_one_value_are_ambiguous(
        value in "[a-zA-Z0-9@. ]{1,8}",
        count in 2..5_usize,
    ) {
        prop_assume!(!value.trim().is_empty());
        let mapping = mapping("v", "v");
        let members: Vec<_> = (0..count)
            .map(|n| json!({"id": format!("U{n}"), "v": value, "profile": {"email": "a@x.org"}}))
            .collect();
        let snapshot = snapshot(&mapping, true, &members);
        let found = resolve(Some(&snapshot), &mapping, &person(json!({"v": value})));
        let reason = NoMatch::Ambiguous;
        let several = Unmatched { reason, candidates: count, without_email: 0 };
        prop_assert_eq!(found, Match::None(several));
    }

    #[test]
    fn the_excluded_are_never_matched(
        value in "[a-z0-9@.]{1,8}",
        deleted: bool,
        bot: bool,
        email in proptest::option::of(Just("a@x.org")),
    ) {
        prop_assume!(deleted || bot || email.is_none());
        let mapping = mapping("v", "v");
        let profile = json!({"email": email});
        let members = [json!({"id": "U1", "v": value, "deleted": deleted, "is_bot": bot,
            "profile": profile})];
        let expected = match (bot, deleted) {
            (true, _) => NoMatch::Bot,
            (false, true) => NoMatch::Deactivated,
            (false, false) => NoMatch::NoEmail,
        };
        let found = reason(&mapping, true, &members, &person(json!({"v": value})));
        prop_assert_eq!(found, Some(expected));
    }
}
