//! AdminService: settings and expressions, people, links.

use herald::rpc::pb;

use super::{Case, Rows, assert_refused, long, object};
use crate::support::world::for_each_database;

const EMPTY: &str = "must not be empty";
const MASK: &str = "\"color\" is not a setting; settings are sending_allowed, user_attribute, \
    slack_attribute, opt_in, locale, time_zone, disabled_event_types";
const ZONE: &str = "is not an IANA time zone, such as Europe/Vienna";

/// Each expression is tried as either attribute; three more are made in the test.
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
    Case { what: "no settings", spoil: |r| r.settings = None, problems: &[("settings", "must be set")] },
    Case { what: "unknown path", spoil: |r| r.update_mask = Some(prost_types::FieldMask { paths: vec!["color".into()] }), problems: &[("update_mask", MASK)] },
    Case { what: "unknown zone", spoil: |r| *r = settings(|s| s.time_zone = "Mars/Olympus".into()), problems: &[("settings.time_zone", ZONE)] },
    Case { what: "no locale", spoil: |r| *r = settings(|s| s.locale = "de AT".into()), problems: &[("settings.locale", "is not a BCP 47 tag, such as de-AT")] },
    Case { what: "malformed event type", spoil: |r| *r = settings(|s| s.disabled_event_types = vec!["task.due".into(), "task".into()]), problems: &[("settings.disabled_event_types[1]", "must look like task.assigned (words joined by dots)")] },
    Case { what: "unknown event type", spoil: |r| *r = settings(|s| s.disabled_event_types = vec!["tea.ready".into()]), problems: &[("settings.disabled_event_types", "tea.ready is not a known event type")] },
    Case { what: "too many event types", spoil: |r| *r = settings(|s| s.disabled_event_types = vec!["task.due".into(); 201]), problems: &[("settings.disabled_event_types", "must be at most 200")] },
];

/// Expressions that must be refused when they are set, with the field and the position.
const EXPRESSIONS: &[&str] = &[
    "email.",
    "email[",
    "[?a==",
    "a || ",
    "'unclosed",
    "\"unclosed",
    "`{unclosed`",
    "lower(email)",
    "length()",
    "length(a, b)",
    "a b",
    "&",
    "foo(",
    "a.[b",
    "a{b: c}",
    "@ @",
    "[::0]",
    "map(a, b)",
];

fn people(change: impl FnOnce(&mut pb::Person)) -> pb::UpsertPeopleRequest {
    let mut person = pb::Person { user_id: "ben".into(), ..pb::Person::default() };
    change(&mut person);
    pb::UpsertPeopleRequest { tenant_id: "acme".into(), people: vec![person], actor: None }
}

#[rustfmt::skip]
const PEOPLE: &[Case<pb::UpsertPeopleRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case { what: "nobody", spoil: |r| r.people.clear(), problems: &[("people", "must be between 1 and 1000, was 0")] },
    Case { what: "too many", spoil: |r| r.people = vec![r.people[0].clone(); 1001], problems: &[("people", "must be between 1 and 1000, was 1001")] },
    Case { what: "without id", spoil: |r| r.people[0].user_id.clear(), problems: &[("people[0].user_id", EMPTY)] },
    Case { what: "the second one", spoil: |r| r.people.push(pb::Person { user_id: "x".into(), email: "a\u{7}".into(), ..pb::Person::default() }), problems: &[("people[1].email", "must not contain control characters")] },
    Case { what: "reserved name", spoil: |r| *r = people(|p| p.attributes = Some(object(r#"{"metadata": 1}"#))), problems: &[("people[0].attributes.metadata", "is the name of a field of its own")] },
    Case { what: "two faults of one person", spoil: |r| *r = people(|p| { p.time_zone = "Nowhere".into(); p.display_name = long(321); }), problems: &[("people[0].display_name", "must be at most 320 bytes"), ("people[0].time_zone", ZONE)] },
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

/// The field, and where in the expression the fault is; set on either side.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_expression_is_refused_when_it_is_set_with_its_position() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let deep = "[".repeat(65) + &"]".repeat(65);
        let (not, long) = ("!".repeat(400) + "a", "a".repeat(1025));
        let hostile = [deep.as_str(), not.as_str(), long.as_str()];
        for expression in EXPRESSIONS.iter().copied().chain(hostile) {
            let mut request = settings(|_| ());
            user_attribute(&mut request, expression);
            let status = world.client.update_settings(request).await.unwrap_err();
            assert_named(&status, expression, "settings.user_attribute");
            let other = settings(|settings| settings.slack_attribute = expression.into());
            let status = world.client.update_settings(other).await.unwrap_err();
            assert_named(&status, expression, "settings.slack_attribute");
        }
        rows.assert_unchanged("expressions").await;
    })
    .await;
}

fn assert_named(status: &tonic::Status, expression: &str, field: &str) {
    use tonic_types::StatusExt as _;
    let short: String = expression.chars().take(40).collect();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{short}: {status}");
    let details = status.get_error_details();
    let bad = details.bad_request().unwrap();
    assert_eq!(bad.field_violations.len(), 1, "{short}");
    let violation = &bad.field_violations[0];
    assert_eq!(violation.field, field, "{short}");
    let told = &violation.description;
    assert!(told.contains("at byte "), "{short}: no position in {told:?}");
}
