//! Bad input of the methods of HeraldService other than Notify.

use herald::rpc::pb;

use super::{Case, Rows, assert_refused, long};
use crate::support::world::for_each_database;

const EMPTY: &str = "must not be empty";
const SUBJECT: &str = "must be one of user_id, person";
const VALUE: &str = "must be one of ON, OFF, INHERIT";
const UUID: &str = "must look like a UUID";
const ZONE: &str = "is not an IANA time zone, such as Europe/Vienna";

pub(super) const CASES: usize = RESOLVE.len() + TEST.len() + PREFERENCE.len() + NOTIFICATION.len();

fn resolve() -> pb::ResolveIdentityRequest {
    use pb::resolve_identity_request::Subject;
    let subject = Some(Subject::UserId("ben".into()));
    pb::ResolveIdentityRequest { tenant_id: "acme".into(), subject, actor: None }
}

#[rustfmt::skip]
const RESOLVE: &[Case<pb::ResolveIdentityRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case { what: "no subject", spoil: |r| r.subject = None, problems: &[("subject", SUBJECT)] },
    Case {
        what: "empty user",
        spoil: |r| r.subject = Some(pb::resolve_identity_request::Subject::UserId(String::new())),
        problems: &[("user_id", EMPTY)] },
    Case {
        what: "long user",
        spoil: |r| r.subject = Some(pb::resolve_identity_request::Subject::UserId(long(257))),
        problems: &[("user_id", "must be at most 256 bytes, was 257")] },
    Case {
        what: "person in no zone",
        spoil: |r| r.subject = Some(pb::resolve_identity_request::Subject::Person(pb::Person {
            user_id: "ben".into(), time_zone: "Nowhere".into(), ..pb::Person::default() })),
        problems: &[("person.time_zone", ZONE)] },
    Case {
        what: "actor without user", spoil: |r| r.actor = Some(pb::Actor::default()),
        problems: &[("actor.user_id", EMPTY)] },
];

fn test() -> pb::TestSlackRequest {
    use pb::test_slack_request::Subject;
    let subject = Some(Subject::UserId("ben".into()));
    pb::TestSlackRequest { tenant_id: "acme".into(), subject, actor: None }
}

#[rustfmt::skip]
const TEST: &[Case<pb::TestSlackRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case { what: "no subject", spoil: |r| r.subject = None, problems: &[("subject", SUBJECT)] },
    Case {
        what: "empty user",
        spoil: |r| r.subject = Some(pb::test_slack_request::Subject::UserId(String::new())),
        problems: &[("user_id", EMPTY)] },
    Case {
        what: "person without id",
        spoil: |r| r.subject = Some(
            pb::test_slack_request::Subject::Person(pb::Person::default())),
        problems: &[("person.user_id", EMPTY)] },
    Case {
        what: "unknown permission",
        spoil: |r| r.actor = Some(pb::Actor { user_id: "ada".into(), permissions: vec![7] }),
        problems: &[("actor.permissions[0]", "is not a known permission")] },
];

fn preference() -> pb::SetPreferenceRequest {
    pb::SetPreferenceRequest {
        tenant_id: "acme".into(),
        user_id: "ben".into(),
        event_type: String::new(),
        value: pb::PreferenceValue::Off.into(),
        actor: None,
    }
}

#[rustfmt::skip]
const PREFERENCE: &[Case<pb::SetPreferenceRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case { what: "no user", spoil: |r| r.user_id.clear(), problems: &[("user_id", EMPTY)] },
    Case {
        what: "long user", spoil: |r| r.user_id = long(257),
        problems: &[("user_id", "must be at most 256 bytes, was 257")] },
    Case { what: "no value", spoil: |r| r.value = 0, problems: &[("value", VALUE)] },
    Case { what: "unknown value", spoil: |r| r.value = 9, problems: &[("value", VALUE)] },
    Case {
        what: "event type without dot", spoil: |r| r.event_type = "task".into(),
        problems: &[("event_type", "must look like task.assigned (words joined by dots)")] },
    Case {
        what: "unknown event type", spoil: |r| r.event_type = "tea.ready".into(),
        problems: &[("event_type", "tea.ready is not a known event type")] },
    Case {
        what: "all of it", spoil: |r| *r = pb::SetPreferenceRequest::default(),
        problems: &[("tenant_id", EMPTY), ("user_id", EMPTY), ("value", VALUE)] },
];

fn notification() -> pb::GetNotificationRequest {
    pb::GetNotificationRequest {
        tenant_id: "acme".into(),
        notification_id: "01900000-0000-7000-8000-000000000000".into(),
        actor: None,
    }
}

#[rustfmt::skip]
const NOTIFICATION: &[Case<pb::GetNotificationRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "no id", spoil: |r| r.notification_id.clear(),
        problems: &[("notification_id", EMPTY)] },
    Case {
        what: "no UUID", spoil: |r| r.notification_id = "4711".into(),
        problems: &[("notification_id", UUID)] },
    Case {
        what: "SQL for an id", spoil: |r| r.notification_id = "' OR 1=1 --".into(),
        problems: &[("notification_id", UUID)] },
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_name_every_field_and_store_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        for case in RESOLVE {
            let mut request = resolve();
            (case.spoil)(&mut request);
            let answer = client.resolve_identity(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        for case in TEST {
            let mut request = test();
            (case.spoil)(&mut request);
            let answer = client.test_slack(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        for case in PREFERENCE {
            let mut request = preference();
            (case.spoil)(&mut request);
            let answer = client.set_preference(request).await.map(drop);
            assert_refused(case.what, answer, case.problems);
        }
        for case in NOTIFICATION {
            let mut request = notification();
            (case.spoil)(&mut request);
            let answer = client.notification(&request.tenant_id, &request.notification_id).await;
            assert_refused(case.what, answer.map(drop), case.problems);
        }
        rows.assert_unchanged("HeraldService").await;
        client.resolve_identity(resolve()).await.unwrap();
        client.set_preference(preference()).await.unwrap();
    })
    .await;
}
