//! Notify: every field with a fault in turn, and several at once.

use herald::rpc::pb;
use tonic_types::StatusExt as _;

use super::{
    Case, Rows, assert_refused, channel, channel_key, described, long, nested, number, object, user,
};
use crate::support::world::for_each_database;

const EMPTY: &str = "must not be empty";
const NAME: &str = "must not contain ' '; allowed are letters, digits and - _ . :";
const DEEP: &str = "must be nested at most 16 levels deep";
const NAN: &str = "must not hold NaN or an infinite number";
const URL: &str = "must be an absolute http or https URL";
const EXPIRY: &str = "must be between 1 second and 30 days";
const EVENTS: &str = "is not a known event type; known are case.started, task.assigned, task.due, \
    request.canceled, request.completed, process.imported, project.invited, event.invited, \
    event.enrolled, learning.assigned, event.reminder, channel.archiving";
const CHANNEL: &str = "must be a Slack conversation id, such as C012AB3CD";
const ZONE: &str = "is not an IANA time zone, such as Europe/Vienna";

const TIME: &str = "is not a time between the years 1 and 9999";
const PRIORITY: &str = "must be urgent, normal or bulk";
const NEEDS_SUBJECT: &str = "is needed with this subject_action";

pub(super) const CASES: usize = NAMES.len() + RECIPIENTS.len() + CONTENT.len() + LIFE.len();

fn good() -> pb::NotifyRequest {
    pb::NotifyRequest {
        tenant_id: "acme".into(),
        request_id: "bad-input".into(),
        event_type: "task.assigned".into(),
        recipients: vec![user("ben")],
        data: Some(object(r#"{"task": {"name": "T"}, "process": {"name": "P"}}"#)),
        link: "https://platform.example/1".into(),
        ..pb::NotifyRequest::default()
    }
}

fn person(change: impl FnOnce(&mut pb::Person)) -> Vec<pb::Recipient> {
    let mut person = pb::Person { user_id: "ben".into(), ..pb::Person::default() };
    change(&mut person);
    vec![described(person)]
}

fn actor(user_id: &str, permission: i32) -> pb::Actor {
    pb::Actor { user_id: user_id.into(), permissions: vec![permission] }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[rustfmt::skip]
const NAMES: &[Case<pb::NotifyRequest>] = &[
    Case { what: "no tenant", spoil: |r| r.tenant_id.clear(), problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "long tenant", spoil: |r| r.tenant_id = long(129),
        problems: &[("tenant_id", "must be at most 128 bytes, was 129")] },
    Case {
        what: "tenant with space", spoil: |r| r.tenant_id = "a b".into(),
        problems: &[("tenant_id", NAME)] },
    Case {
        what: "tenant with umlaut", spoil: |r| r.tenant_id = "ä".into(),
        problems: &[("tenant_id",
            "must not contain 'ä'; allowed are letters, digits and - _ . :")] },
    Case {
        what: "no request id", spoil: |r| r.request_id.clear(),
        problems: &[("request_id", EMPTY)] },
    Case {
        what: "long request id", spoil: |r| r.request_id = long(129),
        problems: &[("request_id", "must be at most 128 bytes, was 129")] },
    Case {
        what: "request id with newline", spoil: |r| r.request_id = "a\nb".into(),
        problems: &[("request_id", r"must not contain '\n'; allowed are printable characters")] },
    Case {
        what: "no event type", spoil: |r| r.event_type.clear(),
        problems: &[("event_type", EMPTY)] },
    Case {
        what: "long event type", spoil: |r| r.event_type = long(65),
        problems: &[("event_type", "must be at most 64 bytes, was 65")] },
    Case {
        what: "capital event type", spoil: |r| r.event_type = "Task.assigned".into(),
        problems: &[("event_type",
            "must not contain 'T'; allowed are lower-case letters, digits, _ and .")] },
    Case {
        what: "event type without dot", spoil: |r| r.event_type = "task".into(),
        problems: &[("event_type", "must look like task.assigned (words joined by dots)")] },
    Case {
        what: "event type with empty word", spoil: |r| r.event_type = "task..due".into(),
        problems: &[("event_type", "must look like task.assigned (words joined by dots)")] },
    Case {
        what: "unknown event type", spoil: |r| r.event_type = "tea.ready".into(),
        problems: &[("event_type", EVENTS)] },
    Case {
        what: "the test message's event type", spoil: |r| r.event_type = "herald.test".into(),
        problems: &[("event_type", EVENTS)] },
    Case {
        what: "long content id", spoil: |r| r.content_id = long(257),
        problems: &[("content_id", "must be at most 256 bytes, was 257")] },
    Case {
        what: "content id with tab", spoil: |r| r.content_id = "a\tb".into(),
        problems: &[("content_id", r"must not contain '\t'; allowed are printable characters")] },
    Case {
        what: "actor without user", spoil: |r| r.actor = Some(actor("", 2)),
        problems: &[("actor.user_id", EMPTY)] },
    Case {
        what: "actor with unset permission", spoil: |r| r.actor = Some(actor("ada", 0)),
        problems: &[("actor.permissions[0]", "is not a known permission")] },
    Case {
        what: "actor with unknown permission", spoil: |r| r.actor = Some(actor("ada", 99)),
        problems: &[("actor.permissions[0]", "is not a known permission")] },
];

#[rustfmt::skip]
const RECIPIENTS: &[Case<pb::NotifyRequest>] = &[
    Case {
        what: "no recipients", spoil: |r| r.recipients.clear(),
        problems: &[("recipients", "must be between 1 and 1000, was 0")] },
    Case {
        what: "too many recipients", spoil: |r| r.recipients = vec![user("ben"); 1001],
        problems: &[("recipients", "must be between 1 and 1000, was 1001")] },
    Case {
        what: "recipient without target", spoil: |r| r.recipients = vec![pb::Recipient::default()],
        problems: &[("recipients[0]", "must be one of user_id, person, channel_id, channel_key")] },
    Case {
        what: "empty channel key", spoil: |r| r.recipients = vec![channel_key("")],
        problems: &[("recipients[0].channel_key", EMPTY)] },
    Case {
        what: "long channel key",
        spoil: |r| r.recipients = vec![user("ben"), channel_key(&long(129))],
        problems: &[("recipients[1].channel_key", "must be at most 128 bytes, was 129")] },
    Case {
        what: "channel key with newline", spoil: |r| r.recipients = vec![channel_key("track:1\n")],
        problems: &[("recipients[0].channel_key",
            r"must not contain '\n'; allowed are printable characters")] },
    Case {
        what: "channel key with roles",
        spoil: |r| {
            r.recipients = vec![channel_key("track:1")];
            r.recipients[0].roles = vec!["x".into()];
        },
        problems: &[("recipients[0].roles", "must be empty for a channel")] },
    Case {
        what: "empty user", spoil: |r| r.recipients = vec![user("ben"), user("")],
        problems: &[("recipients[1].user_id", EMPTY)] },
    Case {
        what: "long user", spoil: |r| r.recipients = vec![user(&long(257))],
        problems: &[("recipients[0].user_id", "must be at most 256 bytes, was 257")] },
    Case {
        what: "user with NUL", spoil: |r| r.recipients = vec![user("a\0")],
        problems: &[("recipients[0].user_id",
            r"must not contain '\0'; allowed are printable characters")] },
    Case {
        what: "person without id", spoil: |r| r.recipients = person(|p| p.user_id.clear()),
        problems: &[("recipients[0].person.user_id", EMPTY)] },
    Case {
        what: "long e-mail", spoil: |r| r.recipients = person(|p| p.email = long(321)),
        problems: &[("recipients[0].person.email", "must be at most 320 bytes")] },
    Case {
        what: "e-mail with newline",
        spoil: |r| r.recipients = person(|p| p.email = "a@b\n".into()),
        problems: &[("recipients[0].person.email", "must not contain control characters")] },
    Case {
        what: "long name", spoil: |r| r.recipients = person(|p| p.display_name = long(321)),
        problems: &[("recipients[0].person.display_name", "must be at most 320 bytes")] },
    Case {
        what: "locale with escape",
        spoil: |r| r.recipients = person(|p| p.locale = "de\u{1b}".into()),
        problems: &[("recipients[0].person.locale", "must not contain control characters")] },
    Case {
        what: "unknown time zone",
        spoil: |r| r.recipients = person(|p| p.time_zone = "Mars/Olympus".into()),
        problems: &[("recipients[0].person.time_zone", ZONE)] },
    Case {
        what: "reserved attribute",
        spoil: |r| r.recipients = person(|p| p.attributes = Some(object(r#"{"email": "x"}"#))),
        problems: &[("recipients[0].person.attributes.email",
            "is the name of a field of its own")] },
    Case {
        what: "deep metadata", spoil: |r| r.recipients = person(|p| p.metadata = Some(nested(17))),
        problems: &[("recipients[0].person.metadata", DEEP)] },
    Case {
        what: "NaN in attributes",
        spoil: |r| r.recipients = person(|p| p.attributes = Some(number(f64::NAN))),
        problems: &[("recipients[0].person.attributes", NAN)] },
    Case {
        what: "infinity in metadata",
        spoil: |r| r.recipients = person(|p| p.metadata = Some(number(f64::INFINITY))),
        problems: &[("recipients[0].person.metadata", NAN)] },
    Case {
        what: "large attributes",
        spoil: |r| r.recipients = person(
            |p| p.attributes = Some(object(&format!(r#"{{"x": "{}"}}"#, long(16 * 1024))))),
        problems: &[("recipients[0].person.attributes",
            "must be at most 16384 bytes as JSON, was 16392")] },
    Case {
        what: "large person in small parts",
        spoil: |r| r.recipients = person(|p| {
            p.metadata = Some(object(&format!(r#"{{"x": "{}"}}"#, long(9_000))));
            p.attributes = p.metadata.clone(); }),
        problems: &[("recipients[0].person", "must be at most 16384 bytes as JSON, was 18044")] },
    Case {
        what: "empty channel", spoil: |r| r.recipients = vec![channel("")],
        problems: &[("recipients[0].channel_id", EMPTY)] },
    Case {
        what: "channel by name", spoil: |r| r.recipients = vec![channel("#general")],
        problems: &[("recipients[0].channel_id", CHANNEL)] },
    Case {
        what: "a member as channel", spoil: |r| r.recipients = vec![channel("U0DEMOBEN")],
        problems: &[("recipients[0].channel_id", CHANNEL)] },
    Case {
        what: "channel with space", spoil: |r| r.recipients = vec![channel("C 1")],
        problems: &[("recipients[0].channel_id",
            "must not contain ' '; allowed are letters and digits")] },
    Case {
        what: "long channel", spoil: |r| r.recipients = vec![channel(&format!("C{}", long(32)))],
        problems: &[("recipients[0].channel_id", "must be at most 32 bytes, was 33")] },
];

#[rustfmt::skip]
const CONTENT: &[Case<pb::NotifyRequest>] = &[
    Case {
        what: "no data", spoil: |r| r.data = None,
        problems: &[("data.task.name", "is required"), ("data.process.name", "is required")] },
    Case {
        what: "data of the wrong kind",
        spoil: |r| r.data = Some(object(r#"{"task": {"name": {}}, "process": {"name": "P"}}"#)),
        problems: &[("data.task.name", "must be text")] },
    Case {
        what: "a bad time",
        spoil: |r| r.data = Some(
            object(r#"{"task": {"name": "T"}, "process": {"name": "P"}, "due_at": "soon"}"#)),
        problems: &[("data.due_at",
            "must be a time: RFC 3339 with an offset (2026-11-27T17:00:00+01:00), Unix seconds, or \
            a date (2026-11-27)")] },
    Case { what: "deep data", spoil: |r| r.data = Some(nested(17)), problems: &[("data", DEEP)] },
    Case {
        what: "NaN in data", spoil: |r| r.data = Some(number(f64::NAN)),
        problems: &[("data", NAN)] },
    Case {
        what: "large data",
        spoil: |r| r.data = Some(object(&format!(r#"{{"x": "{}"}}"#, long(32 * 1024)))),
        problems: &[("data", "must be at most 32768 bytes as JSON, was 32776")] },
    Case {
        what: "no link", spoil: |r| r.link.clear(),
        problems: &[("link", "task.assigned needs a link to the thing itself")] },
    Case {
        what: "relative link", spoil: |r| r.link = "/tasks/1".into(), problems: &[("link", URL)] },
    Case {
        what: "file link", spoil: |r| r.link = "file:///etc/passwd".into(),
        problems: &[("link", URL)] },
    Case {
        what: "script link", spoil: |r| r.link = "javascript:alert(1)".into(),
        problems: &[("link", URL)] },
    Case {
        what: "link without host", spoil: |r| r.link = "https://".into(),
        problems: &[("link", URL)] },
    Case {
        what: "link with space", spoil: |r| r.link = "https://a.example/ b".into(),
        problems: &[("link", URL)] },
    Case {
        what: "link that ends the markup", spoil: |r| r.link = "https://a.example/|evil>".into(),
        problems: &[("link", URL)] },
    Case {
        what: "link with a user name", spoil: |r| r.link = "https://a.example@b.example/".into(),
        problems: &[("link", "must not have a user name or a password")] },
    Case {
        what: "long link", spoil: |r| r.link = format!("https://a.example/{}", long(3000)),
        problems: &[("link", "must be at most 3000 bytes")] },
    Case {
        what: "no time to live", spoil: |r| r.expires_in = Some(seconds(0)),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "unknown hold policy", spoil: |r| r.hold = 7,
        problems: &[("hold", "must be one of HOLD, DO_NOT_HOLD")] },
    Case {
        what: "expired before", spoil: |r| r.expires_in = Some(seconds(-5)),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "too long a life", spoil: |r| r.expires_in = Some(seconds(31 * 24 * 3600)),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "hostile duration",
        spoil: |r| r.expires_in = Some(prost_types::Duration {
            seconds: i64::MAX, nanos: i32::MAX }),
        problems: &[("expires_in", EXPIRY)] },
    Case {
        what: "everything at once",
        spoil: |r| {
            r.tenant_id.clear(); r.request_id.clear(); r.link = "x".into(); r.recipients.clear();
            r.expires_in = Some(seconds(0)); },
        problems: &[("tenant_id", EMPTY), ("request_id", EMPTY),
            ("recipients", "must be between 1 and 1000, was 0"), ("link", URL),
            ("expires_in", EXPIRY)] },
];

/// Subject, time, priority and holding.
#[rustfmt::skip]
const LIFE: &[Case<pb::NotifyRequest>] = &[
    Case {
        what: "long subject", spoil: |r| r.subject_key = long(257),
        problems: &[("subject_key", "must be at most 256 bytes, was 257")] },
    Case {
        what: "subject of two lines", spoil: |r| r.subject_key = "a\nb".into(),
        problems: &[("subject_key", r"must not contain '\n'; allowed are printable characters")] },
    Case {
        what: "unknown action",
        spoil: |r| { r.subject_key = "task:1".into(); r.subject_action = 77; },
        problems: &[("subject_action", "is not a known action")] },
    Case {
        what: "negative action",
        spoil: |r| { r.subject_key = "task:1".into(); r.subject_action = -1; },
        problems: &[("subject_action", "is not a known action")] },
    Case {
        what: "reply about nothing", spoil: |r| r.subject_action = pb::SubjectAction::Reply.into(),
        problems: &[("subject_key", NEEDS_SUBJECT)] },
    Case {
        what: "done with nothing", spoil: |r| r.subject_action = pb::SubjectAction::Done.into(),
        problems: &[("subject_key", NEEDS_SUBJECT)] },
    Case {
        what: "a replacement without words",
        spoil: |r| {
            r.subject_key = "task:1".into(); r.subject_action = pb::SubjectAction::Replace.into();
            r.data = None; r.link.clear(); },
        problems: &[("data.task.name", "is required"), ("data.process.name", "is required"),
            ("link", "task.assigned needs a link to the thing itself")] },
    Case {
        what: "a new message about a subject without recipients",
        spoil: |r| { r.subject_key = "task:1".into(); r.recipients.clear(); },
        problems: &[("recipients", "must be between 1 and 1000, was 0")] },
    Case {
        what: "after the year 9999",
        spoil: |r| r.deliver_after = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        problems: &[("deliver_after", TIME)] },
    Case {
        what: "negative nanoseconds",
        spoil: |r| r.deliver_after = Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        problems: &[("deliver_after", TIME)] },
    Case {
        what: "after it expires",
        spoil: |r| r.deliver_after = Some(prost_types::Timestamp {
            seconds: 4_102_444_800, nanos: 0 }),
        problems: &[("deliver_after", "must be earlier than the expiry")] },
    Case {
        what: "unknown priority", spoil: |r| r.priority = 4, problems: &[("priority", PRIORITY)] },
    Case {
        what: "negative priority", spoil: |r| r.priority = -1,
        problems: &[("priority", PRIORITY)] },
    Case {
        what: "negative hold policy", spoil: |r| r.hold = -1,
        problems: &[("hold", "must be one of HOLD, DO_NOT_HOLD")] },
    Case {
        what: "a whole life at once",
        spoil: |r| {
            r.subject_key = long(300); r.subject_action = 9;
            r.deliver_after = Some(prost_types::Timestamp { seconds: 0, nanos: -1 }); r.hold = 9;
            r.priority = 9; },
        problems: &[("subject_key", "must be at most 256 bytes, was 300"),
            ("subject_action", "is not a known action"), ("deliver_after", TIME),
            ("hold", "must be one of HOLD, DO_NOT_HOLD"), ("priority", PRIORITY)] },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_notify_names_every_field_and_stores_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        for case in [NAMES, RECIPIENTS, CONTENT, LIFE].into_iter().flatten() {
            // A dry run refuses the same requests.
            for dry_run in [false, true] {
                let mut request = pb::NotifyRequest { dry_run, ..good() };
                (case.spoil)(&mut request);
                let answer = world.client.notify(request).await.map(drop);
                assert_refused(case.what, answer, case.problems);
            }
        }
        // More faults than fit into the header for details: they are counted, and the first ones
        // named.
        let crowd = pb::NotifyRequest { recipients: vec![user(""); 1000], ..good() };
        let status = world.client.notify(crowd).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
        let counted = "1000 invalid fields (showing 40), first: recipients[0].user_id: ";
        assert!(status.message().starts_with(counted), "{}", status.message());
        assert_eq!(status.get_error_details().bad_request().unwrap().field_violations.len(), 40);
        // A dry run of a good request stores nothing either.
        let dry = pb::NotifyRequest { dry_run: true, ..good() };
        world.client.notify(dry).await.unwrap();
        rows.assert_unchanged("Notify").await;
        // Without the faults the request is good, so the cases prove something.
        world.client.notify(good()).await.unwrap();
    })
    .await;
}
