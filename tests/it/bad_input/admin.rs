//! AdminService: settings and expressions, people, links.

use herald::rpc::pb;

use super::{Case, Rows, assert_refused, long, object};
use crate::support::world::for_each_database;

const EMPTY: &str = "must not be empty";
const MASK: &str = "\"color\" is not a setting; settings are sending_allowed, user_attribute, \
    slack_attribute, opt_in, locale, time_zone, disabled_event_types, \
    held_event_types, share_workspace";
const ZONE: &str = "is not an IANA time zone, such as Europe/Vienna";

/// Each expression is tried in both attributes; three more are built in the test.
pub(super) const CASES: usize = SETTINGS.len() + PEOPLE.len() + 2 * (EXPRESSIONS.len() + 3);

fn settings(change: impl FnOnce(&mut pb::Settings)) -> pb::UpdateSettingsRequest {
    let mut settings = pb::Settings::default();
    change(&mut settings);
    pb::UpdateSettingsRequest {
        tenant_id: "acme".into(),
        settings: Some(settings),
        update_mask: None,
        actor: None,
    }
}

fn user_attribute(request: &mut pb::UpdateSettingsRequest, expression: &str) {
    *request = settings(|settings| settings.user_attribute = expression.into());
}

#[rustfmt::skip]
const SETTINGS: &[Case<pb::UpdateSettingsRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "no settings", spoil: |r| r.settings = None,
        problems: &[("settings", "must be set")] },
    Case {
        what: "unknown path",
        spoil: |r| r.update_mask = Some(prost_types::FieldMask { paths: vec!["color".into()] }),
        problems: &[("update_mask", MASK)] },
    Case {
        what: "unknown zone", spoil: |r| *r = settings(|s| s.time_zone = "Mars/Olympus".into()),
        problems: &[("settings.time_zone", ZONE)] },
    Case {
        what: "no locale", spoil: |r| *r = settings(|s| s.locale = "de AT".into()),
        problems: &[("settings.locale", "is not a BCP 47 tag, such as de-AT")] },
    Case {
        what: "malformed event type",
        spoil: |r| *r = settings(|s| s.disabled_event_types = vec![
            "task.due".into(), "task".into()]),
        problems: &[("settings.disabled_event_types[1]",
            "must look like task.assigned (words joined by dots)")] },
    Case {
        what: "unknown event type",
        spoil: |r| *r = settings(|s| s.disabled_event_types = vec!["tea.ready".into()]),
        problems: &[("settings.disabled_event_types", "tea.ready is not a known event type")] },
    Case {
        what: "unknown held event type",
        spoil: |r| *r = settings(|s| s.held_event_types = vec!["tea.ready".into()]),
        problems: &[("settings.held_event_types", "tea.ready is not a known event type")] },
    Case {
        what: "too many event types",
        spoil: |r| *r = settings(|s| s.disabled_event_types = vec!["task.due".into(); 201]),
        problems: &[("settings.disabled_event_types", "must be at most 200, was 201")] },
];

/// Expressions that must be refused when they are set, with the fault and its place.
#[rustfmt::skip]
const EXPRESSIONS: &[(&str, &str)] = &[
    ("email.",
        "expected identifier, '*', '{', '[', '&', or '[?', but the expression ends (at byte 6)"),
    ("email[", "expected number, ':', or '*', but the expression ends (at byte 6)"),
    ("[?a==", "a name or a value is expected here, but the expression ends (at byte 5)"),
    ("a || ", "a name or a value is expected here, but the expression ends (at byte 5)"),
    ("'unclosed", "the text that ' opens here is never closed (at byte 0)"),
    ("\"unclosed", "the text that \" opens here is never closed (at byte 0)"),
    ("`{unclosed`",
        "what stands between ` and ` is not JSON: {unclosed: key must be a string at line 1 column \
        2 (at byte 0)"),
    ("lower(email)", "there is no function lower (at byte 0)"),
    ("length()", "length takes 1 argument(s), not 0 (at byte 0)"),
    ("length(a, b)", "length takes 1 argument(s), not 2 (at byte 0)"),
    ("a b", "the expression is complete before this, but a name follows (at byte 2)"),
    ("&", "a name or a value is expected here, but the expression ends (at byte 1)"),
    ("foo(", "a name or a value is expected here, but the expression ends (at byte 4)"),
    ("a.[b", "a name or a value is expected here, but the expression ends (at byte 4)"),
    ("a{b: c}", "an operator is expected here, but { follows (at byte 1)"),
    ("@ @", "the expression is complete before this, but @ follows (at byte 2)"),
    ("[::0]", "a slice's step is between 1 and 1000000, up or down (at byte 4)"),
    ("map(a, b)", "the first argument of map is an expression such as &name (at byte 0)"),
];

fn people(change: impl FnOnce(&mut pb::Person)) -> pb::UpsertPeopleRequest {
    let mut person = pb::Person { user_id: "ben".into(), ..pb::Person::default() };
    change(&mut person);
    pb::UpsertPeopleRequest { tenant_id: "acme".into(), people: vec![person], actor: None }
}

#[rustfmt::skip]
const PEOPLE: &[Case<pb::UpsertPeopleRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "no people", spoil: |r| r.people.clear(),
        problems: &[("people", "must be between 1 and 1000, was 0")] },
    Case {
        what: "too many", spoil: |r| r.people = vec![r.people[0].clone(); 1001],
        problems: &[("people", "must be between 1 and 1000, was 1001")] },
    Case {
        what: "without id", spoil: |r| r.people[0].user_id.clear(),
        problems: &[("people[0].user_id", EMPTY)] },
    Case {
        what: "the second one",
        spoil: |r| r.people.push(pb::Person {
            user_id: "x".into(), email: "a\u{7}".into(), ..pb::Person::default() }),
        problems: &[("people[1].email", "must not contain control characters")] },
    Case {
        what: "reserved name",
        spoil: |r| *r = people(|p| p.attributes = Some(object(r#"{"metadata": 1}"#))),
        problems: &[("people[0].attributes.metadata", "is the name of a field of its own")] },
    Case {
        what: "two faults of one person",
        spoil: |r| *r = people(|p| {
            p.time_zone = "Nowhere".into(); p.display_name = long(321); }),
        problems: &[("people[0].display_name", "must be at most 320 bytes"),
            ("people[0].time_zone", ZONE)] },
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_administration_names_every_field_and_stores_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        for case in SETTINGS {
            let mut request = settings(|settings| settings.opt_in = true);
            (case.spoil)(&mut request);
            let answer = client.update_settings(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        for case in PEOPLE {
            let mut request = people(|_| ());
            (case.spoil)(&mut request);
            let answer = client.upsert_people(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        for tenant in ["", "a/b"] {
            let problem = if tenant.is_empty() {
                EMPTY
            } else {
                "must not contain '/'; allowed are letters, digits and - _ . :"
            };
            let link = client.begin_connect(tenant).await.map(drop);
            assert_refused("BeginConnect", link, &[("tenant_id", problem)]);
            let workspace = client.workspace(tenant).await.map(drop);
            assert_refused("GetWorkspace", workspace, &[("tenant_id", problem)]);
        }
        let nobody = client.person("acme", "").await.map(drop);
        assert_refused("GetPerson", nobody, &[("user_id", EMPTY)]);
        rows.assert_unchanged("AdminService").await;
    })
    .await;
}

/// The field, the fault, and its place in the expression; in either attribute.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_expression_is_refused_when_it_is_set_with_its_position() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let deep = "[".repeat(65) + &"]".repeat(65);
        let (not, long) = ("!".repeat(400) + "a", "a".repeat(1025));
        let hostile = [
            (deep.as_str(), "must nest at most 64 levels (at byte 64)"),
            (not.as_str(), "must nest at most 64 levels (at byte 64)"),
            (long.as_str(), "must be at most 1024 bytes, was 1025 (at byte 1024)"),
        ];
        for (expression, sentence) in EXPRESSIONS.iter().copied().chain(hostile) {
            let mut request = settings(|_| ());
            user_attribute(&mut request, expression);
            let answer = world.client.update_settings(request).await.map(drop);
            assert_refused(expression, answer, &[("settings.user_attribute", sentence)]);
            let other = settings(|settings| settings.slack_attribute = expression.into());
            let answer = world.client.update_settings(other).await.map(drop);
            assert_refused(expression, answer, &[("settings.slack_attribute", sentence)]);
        }
        rows.assert_unchanged("expressions").await;
    })
    .await;
}
