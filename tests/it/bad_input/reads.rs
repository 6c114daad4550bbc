//! Lists, watches, and calls about one person, notification or workspace.

use herald::rpc::pb;
use tonic::{Code, Status};

use super::{Case, Problem, Rows, assert_reason, assert_refused, long, object, user};
use crate::support::client::person;
use crate::support::world::{World, for_each_database};

const EMPTY: &str = "must not be empty";
const LONG: &str = "must be at most 256 bytes, was 257";
const SLASH: &str = "must not contain '/'; allowed are letters, digits and - _ . :";
const CONTROL: &str = "must not contain '\\n'; allowed are printable characters";
const EVENT: &str = "must look like task.assigned (words joined by dots)";
const TOKEN: &str = "is not a next_page_token of this list with this filter";
const NEGATIVE: &str = "must not be negative";
const STATE: &str = "is not a known state";
const TIME: &str = "is not a time between the years 1 and 9999";
const RANGE: &str = "must be later than created_from";
const UUID: &str = "must look like a UUID";
const PERMISSION: &str = "is not a known permission";
const NOBODY: &str = "01900000-0000-7000-8000-000000000000";

pub(super) const CASES: usize = LISTED.len()
    + PEOPLE.len()
    + CHOICES.len()
    + PINNED.len()
    + CLEARED.len()
    + DELETED.len()
    + CANCELED.len()
    + REFRESHED.len()
    + EVENT_TYPES.len()
    + WATCHED.len()
    + FEEDS.len()
    + TOKENS
    + ABSENT;
/// Page tokens that do not fit, and ids that do not exist: built in the test.
const TOKENS: usize = 6;
const ABSENT: usize = 5;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

#[rustfmt::skip]
const LISTED: &[Case<pb::ListNotificationsRequest>] = &[
    Case {
        what: "list without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "negative page", spoil: |r| r.page_size = -1, problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "most negative page", spoil: |r| r.page_size = i32::MIN,
        problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "invented token", spoil: |r| r.page_token = "AAAA".into(),
        problems: &[("page_token", TOKEN)] },
    Case {
        what: "token that is no base64", spoil: |r| r.page_token = "' OR 1=1 --".into(),
        problems: &[("page_token", TOKEN)] },
    Case {
        what: "long token", spoil: |r| r.page_token = long(100_000),
        problems: &[("page_token", "must be at most 1024 bytes")] },
    Case { what: "unknown state", spoil: |r| r.state = 99, problems: &[("state", STATE)] },
    Case { what: "negative state", spoil: |r| r.state = -1, problems: &[("state", STATE)] },
    Case {
        what: "event type without dot", spoil: |r| r.event_type = "task".into(),
        problems: &[("event_type", EVENT)] },
    Case { what: "long user", spoil: |r| r.user_id = long(257), problems: &[("user_id", LONG)] },
    Case {
        what: "user of two lines", spoil: |r| r.user_id = "a\nb".into(),
        problems: &[("user_id", CONTROL)] },
    Case {
        what: "before the year 1", spoil: |r| r.created_from = Some(at(-62_135_596_801)),
        problems: &[("created_from", TIME)] },
    Case {
        what: "after the year 9999", spoil: |r| r.created_before = Some(at(i64::MAX)),
        problems: &[("created_before", TIME)] },
    Case {
        what: "negative nanoseconds",
        spoil: |r| r.created_from = Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        problems: &[("created_from", TIME)] },
    Case {
        what: "range upside down",
        spoil: |r| { r.created_from = Some(at(2_000)); r.created_before = Some(at(1_000)); },
        problems: &[("created_before", RANGE)] },
    Case {
        what: "range of nothing",
        spoil: |r| { r.created_from = Some(at(1_000)); r.created_before = Some(at(1_000)); },
        problems: &[("created_before", RANGE)] },
    Case {
        what: "a list of faults",
        spoil: |r| {
            r.tenant_id = "a/b".into(); r.page_size = -5; r.page_token = "?".into(); r.state = 14;
            r.event_type = "task".into(); },
        problems: &[("page_size", NEGATIVE), ("page_token", TOKEN), ("tenant_id", SLASH),
            ("state", STATE), ("event_type", EVENT)] },
];

#[rustfmt::skip]
const PEOPLE: &[Case<pb::ListPeopleRequest>] = &[
    Case {
        what: "people without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "negative page of people", spoil: |r| r.page_size = -1,
        problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "invented token of people", spoil: |r| r.page_token = "?".into(),
        problems: &[("page_token", TOKEN)] },
    Case {
        what: "all of it",
        spoil: |r| *r = pb::ListPeopleRequest {
            page_size: -1, page_token: "x".into(), ..pb::ListPeopleRequest::default() },
        problems: &[("page_size", NEGATIVE), ("page_token", TOKEN), ("tenant_id", EMPTY)] },
];

#[rustfmt::skip]
const CHOICES: &[Case<pb::GetPreferencesRequest>] = &[
    Case {
        what: "choices without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "choices, no user", spoil: |r| r.user_id.clear(), problems: &[("user_id", EMPTY)] },
    Case {
        what: "choices of a long id", spoil: |r| r.user_id = long(257),
        problems: &[("user_id", LONG)] },
    Case {
        what: "choices, actor without user", spoil: |r| r.actor = Some(pb::Actor::default()),
        problems: &[("actor.user_id", EMPTY)] },
];

#[rustfmt::skip]
const PINNED: &[Case<pb::PinIdentityRequest>] = &[
    Case {
        what: "pin without member", spoil: |r| r.slack_user_id.clear(),
        problems: &[("slack_user_id", EMPTY)] },
    Case {
        what: "pin to a name", spoil: |r| r.slack_user_id = "@ben".into(),
        problems: &[("slack_user_id", "must not contain '@'; allowed are letters and digits")] },
    Case {
        what: "pin to a long id", spoil: |r| r.slack_user_id = long(33),
        problems: &[("slack_user_id", "must be at most 32 bytes, was 33")] },
    Case { what: "pin, no user", spoil: |r| r.user_id.clear(), problems: &[("user_id", EMPTY)] },
    Case {
        what: "pin to a stranger", spoil: |r| r.slack_user_id = "U0NOBODY".into(),
        problems: &[("slack_user_id", "is not a member of the connected workspace")] },
    Case {
        what: "pin to a channel", spoil: |r| r.slack_user_id = "C0GENERAL".into(),
        problems: &[("slack_user_id", "is not a member of the connected workspace")] },
    Case {
        what: "pin to a deactivated member", spoil: |r| r.slack_user_id = "U0DEMOJON".into(),
        problems: &[("slack_user_id", "is a deactivated member")] },
    Case {
        what: "pin to Slackbot", spoil: |r| r.slack_user_id = "USLACKBOT".into(),
        problems: &[("slack_user_id", "is a bot")] },
    Case {
        what: "empty pin", spoil: |r| *r = pb::PinIdentityRequest::default(),
        problems: &[("tenant_id", EMPTY), ("user_id", EMPTY), ("slack_user_id", EMPTY)] },
];

#[rustfmt::skip]
const CLEARED: &[Case<pb::ClearIdentityRequest>] = &[
    Case {
        what: "clear without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case { what: "clear, no user", spoil: |r| r.user_id.clear(), problems: &[("user_id", EMPTY)] },
    Case {
        what: "clear two lines", spoil: |r| r.user_id = "a\nb".into(),
        problems: &[("user_id", CONTROL)] },
];

#[rustfmt::skip]
const DELETED: &[Case<pb::DeletePersonRequest>] = &[
    Case {
        what: "delete without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case { what: "delete, no user", spoil: |r| r.user_id.clear(), problems: &[("user_id", EMPTY)] },
    Case {
        what: "delete a long id", spoil: |r| r.user_id = long(257),
        problems: &[("user_id", LONG)] },
    Case {
        what: "delete, permission unset",
        spoil: |r| r.actor = Some(pb::Actor { user_id: "ada".into(), permissions: vec![0] }),
        problems: &[("actor.permissions[0]", PERMISSION)] },
];

#[rustfmt::skip]
const CANCELED: &[Case<pb::CancelNotificationRequest>] = &[
    Case {
        what: "cancel without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "cancel nothing", spoil: |r| r.notification_id.clear(),
        problems: &[("notification_id", EMPTY)] },
    Case {
        what: "cancel a number", spoil: |r| r.notification_id = "4711".into(),
        problems: &[("notification_id", UUID)] },
    Case {
        what: "cancel a long id", spoil: |r| r.notification_id = long(10_000),
        problems: &[("notification_id", UUID)] },
];

#[rustfmt::skip]
const REFRESHED: &[Case<pb::RefreshDirectoryRequest>] = &[
    Case {
        what: "refresh without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "refresh a path", spoil: |r| r.tenant_id = "a/b".into(),
        problems: &[("tenant_id", SLASH)] },
];

#[rustfmt::skip]
const EVENT_TYPES: &[Case<pb::ListEventTypesRequest>] = &[
    Case {
        what: "event types without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "event types, unknown permission",
        spoil: |r| r.actor = Some(pb::Actor { user_id: "ada".into(), permissions: vec![1, 9] }),
        problems: &[("actor.permissions[1]", PERMISSION)] },
];

/// Tenant, notification, problems.
#[rustfmt::skip]
const WATCHED: &[(&str, &str, &[Problem])] = &[
    ("", NOBODY, &[("tenant_id", EMPTY)]),
    ("acme", "", &[("notification_id", EMPTY)]),
    ("acme", "4711", &[("notification_id", UUID)]),
    ("a/b", "4711", &[("tenant_id", SLASH), ("notification_id", UUID)]),
];

/// Tenant, position, problems.
#[rustfmt::skip]
const FEEDS: &[(&str, Option<i64>, &[Problem])] = &[
    ("", Some(-1), &[("after_sequence", NEGATIVE)]),
    ("acme", Some(-1), &[("after_sequence", NEGATIVE)]),
    ("acme", Some(i64::MIN), &[("after_sequence", NEGATIVE)]),
    ("a/b", Some(-1), &[("tenant_id", SLASH), ("after_sequence", NEGATIVE)]),
];

fn listed() -> pb::ListNotificationsRequest {
    pb::ListNotificationsRequest { tenant_id: "acme".into(), ..Default::default() }
}

fn people() -> pb::ListPeopleRequest {
    pb::ListPeopleRequest { tenant_id: "acme".into(), ..Default::default() }
}

fn pin() -> pb::PinIdentityRequest {
    pb::PinIdentityRequest {
        tenant_id: "acme".into(),
        user_id: "ben".into(),
        slack_user_id: "U0DEMOBEN".into(),
        actor: None,
    }
}

macro_rules! refused {
    ($client:ident.$method:ident, $cases:ident, $good:expr) => {
        for case in $cases {
            let mut request = $good;
            (case.spoil)(&mut request);
            assert_refused(case.what, $client.$method(request).await.map(drop), case.problems);
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_and_changes_name_every_field_and_store_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        let (tenant_id, user_id) = (|| "acme".to_owned(), || "ben".to_owned());
        refused!(client.list_notifications, LISTED, listed());
        refused!(client.list_people, PEOPLE, people());
        let choices = || pb::GetPreferencesRequest {
            tenant_id: tenant_id(),
            user_id: user_id(),
            actor: None,
        };
        refused!(client.get_preferences, CHOICES, choices());
        refused!(client.pin_identity, PINNED, pin());
        let cleared =
            || pb::ClearIdentityRequest { tenant_id: tenant_id(), user_id: user_id(), actor: None };
        refused!(client.clear_identity, CLEARED, cleared());
        let deleted =
            || pb::DeletePersonRequest { tenant_id: tenant_id(), user_id: user_id(), actor: None };
        refused!(client.delete_person, DELETED, deleted());
        let canceled = || pb::CancelNotificationRequest {
            tenant_id: tenant_id(),
            notification_id: NOBODY.into(),
            actor: None,
        };
        refused!(client.cancel_notification, CANCELED, canceled());
        let refreshed = || pb::RefreshDirectoryRequest {
            tenant_id: tenant_id(),
            ..pb::RefreshDirectoryRequest::default()
        };
        refused!(client.refresh_directory, REFRESHED, refreshed());
        let event_types =
            || pb::ListEventTypesRequest { tenant_id: tenant_id(), ..Default::default() };
        refused!(client.list_event_types, EVENT_TYPES, event_types());
        for (tenant, id, problems) in WATCHED {
            let watch = client.watch_notification(tenant, id).await.map(drop);
            assert_refused("WatchNotification", watch, problems);
        }
        for (tenant, after, problems) in FEEDS {
            let feed = client.watch_deliveries(tenant, *after).await.map(drop);
            assert_refused("WatchDeliveries", feed, problems);
        }
        rows.assert_unchanged("reads").await;
        // Without the faults the requests are good, and a page size above the limit is reduced.
        let large = pb::ListNotificationsRequest { page_size: i32::MAX, ..listed() };
        client.list_notifications(large).await.unwrap();
        client.list_people(people()).await.unwrap();
        client.get_preferences(choices()).await.unwrap();
        client.pin_identity(pin()).await.unwrap();
        client.clear_identity(cleared()).await.unwrap();
        client.delete_person(deleted()).await.unwrap();
        client.list_event_types(event_types()).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_list_is_refused() {
    for_each_database(async |world| {
        let (notifications, persons) = tokens(world).await;
        let rows = Rows::of(world).await;
        let client = &world.client;
        let other = |tenant: &str, token: &str| pb::ListNotificationsRequest {
            tenant_id: tenant.into(),
            page_token: token.into(),
            ..Default::default()
        };
        let next = || other("acme", &notifications);
        let spoiled = [
            ("of another tenant", other("globex", &notifications)),
            ("of another state", pb::ListNotificationsRequest { state: 7, ..next() }),
            (
                "of another time",
                pb::ListNotificationsRequest { created_from: Some(at(0)), ..next() },
            ),
            ("of people", other("acme", &persons)),
        ];
        for (what, request) in spoiled {
            let answer = client.list_notifications(request).await.map(drop);
            assert_refused(what, answer, &[("page_token", TOKEN)]);
        }
        let spoiled = [
            ("of another tenant's people", "globex", &persons),
            ("of notifications", "acme", &notifications),
        ];
        for (what, tenant, token) in spoiled {
            let (tenant_id, page_token) = (tenant.to_owned(), token.clone());
            let request = pb::ListPeopleRequest { tenant_id, page_token, ..Default::default() };
            let answer = client.list_people(request).await.map(drop);
            assert_refused(what, answer, &[("page_token", TOKEN)]);
        }
        rows.assert_unchanged("tokens").await;
        client.list_notifications(next()).await.unwrap();
    })
    .await;
}

/// The page tokens after the first notification and the first person.
async fn tokens(world: &World) -> (String, String) {
    let client = &world.client;
    for request_id in ["one", "two"] {
        let request = pb::NotifyRequest {
            tenant_id: "acme".into(),
            request_id: request_id.into(),
            event_type: "task.assigned".into(),
            recipients: vec![user("nobody")],
            data: Some(object(r#"{"task": {"name": "T"}, "process": {"name": "P"}}"#)),
            link: "https://platform.example/1".into(),
            ..Default::default()
        };
        client.notify(request).await.unwrap();
    }
    client.upsert("acme", vec![person("p1", ""), person("p2", "")]).await;
    let first = pb::ListNotificationsRequest { page_size: 1, ..listed() };
    let notifications = client.list_notifications(first).await.unwrap().next_page_token;
    let first = pb::ListPeopleRequest { page_size: 1, ..people() };
    let persons = client.list_people(first).await.unwrap().next_page_token;
    assert!(!notifications.is_empty() && !persons.is_empty());
    (notifications, persons)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_not_to_be() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        let cancel = |tenant: &str| pb::CancelNotificationRequest {
            tenant_id: tenant.into(),
            notification_id: NOBODY.into(),
            actor: None,
        };
        let notification = |what: &str, answer: Result<(), Status>| {
            let status = assert_status(what, answer, Code::NotFound, "NOT_FOUND");
            assert_eq!(status.message(), "there is no such notification", "{what}");
        };
        notification("cancel", client.cancel_notification(cancel("acme")).await.map(drop));
        notification("stranger", client.cancel_notification(cancel("globex")).await.map(drop));
        notification("watch", client.watch_notification("acme", NOBODY).await.map(drop));
        let feed = client.watch_deliveries("globex", None).await.map(drop);
        let status = assert_status("feed", feed, Code::NotFound, "NOT_FOUND");
        assert_eq!(status.message(), "there is no such tenant");
        let feed = client.watch_deliveries("acme", Some(i64::MAX)).await.map(drop);
        let status = assert_status("feed", feed, Code::OutOfRange, "FEED_POSITION_UNKNOWN");
        let sentence = "the feed does not reach this sequence number";
        assert!(status.message().starts_with(sentence), "{status:?}");
        rows.assert_unchanged("absent ids").await;
    })
    .await;
}

fn assert_status(what: &str, answer: Result<(), Status>, code: Code, reason: &str) -> Status {
    let Err(status) = answer else { panic!("{what}: was taken") };
    assert_eq!(status.code(), code, "{what}: {status}");
    assert_reason(what, &status, reason);
    status
}
