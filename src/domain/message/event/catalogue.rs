//! The table of built-in event types. Their words are in
//! [`wording`](crate::domain::message::wording).

use super::{BuiltIn, Field, Kind};

const fn required(
    path: &'static str,
    kind: Kind,
    meaning: &'static str,
    demo: &'static str,
) -> Field {
    Field { path, kind, required: true, meaning, demo }
}

const fn optional(
    path: &'static str,
    kind: Kind,
    meaning: &'static str,
    demo: &'static str,
) -> Field {
    Field { path, kind, required: false, meaning, demo }
}

/// The notice before a channel is archived.
pub(super) const CHANNEL_ARCHIVING: &str = "channel.archiving";

pub(super) static CATALOGUE: [BuiltIn; 12] = [
    BuiltIn {
        name: "case.started",
        summary: "A requested case has started.",
        recipients: "the requester",
        fields: &[
            required(
                "process.name",
                Kind::Text,
                "The process the case runs.",
                r#""New hire onboarding""#,
            ),
            optional(
                "case.name",
                Kind::Text,
                "The name that distinguishes this case from others.",
                r#""Lee Sample, Vienna""#,
            ),
            optional("started_at", Kind::Time, "When it started.", r#""2026-11-23T09:00:00Z""#),
        ],
        any_of: &[],
        opens: "the case",
    },
    BuiltIn {
        name: "task.assigned",
        summary: "A task was assigned to a person.",
        recipients: "the assignees",
        fields: &[
            required("task.name", Kind::Text, "The task.", r#""Prepare the workplace""#),
            required(
                "process.name",
                Kind::Text,
                "The process the task belongs to.",
                r#""New hire onboarding""#,
            ),
            optional("assigner.name", Kind::Text, "Who assigned it.", r#""Kim Example""#),
            optional("due_at", Kind::Time, "When the task is due.", r#""2026-11-27T16:00:00Z""#),
        ],
        any_of: &[],
        opens: "the task summary",
    },
    BuiltIn {
        name: "task.due",
        summary: "A task is due.",
        recipients: "the assignees, or the participants of the case",
        fields: &[
            required("task.name", Kind::Text, "The task.", r#""Prepare the workplace""#),
            required("due_at", Kind::Time, "When the task is due.", r#""2026-11-27T16:00:00Z""#),
            optional(
                "process.name",
                Kind::Text,
                "The process the task belongs to.",
                r#""New hire onboarding""#,
            ),
        ],
        any_of: &[],
        opens: "the task",
    },
    BuiltIn {
        name: "request.canceled",
        summary: "A request was canceled.",
        recipients: "the requester",
        fields: &[
            required("request.name", Kind::Text, "The request.", r#""Second monitor""#),
            optional("canceled_by.name", Kind::Text, "Who canceled it.", r#""Kim Example""#),
            optional(
                "reason",
                Kind::Text,
                "Why it was canceled.",
                r#""Already in stock at your office""#,
            ),
        ],
        any_of: &[],
        opens: "the request summary",
    },
    BuiltIn {
        name: "request.completed",
        summary: "A request is completed.",
        recipients: "the requester",
        fields: &[
            required("request.name", Kind::Text, "The request.", r#""Travel to the Graz office""#),
            optional(
                "completed_at",
                Kind::Time,
                "When it was completed.",
                r#""2026-11-23T14:30:00Z""#,
            ),
        ],
        any_of: &[],
        opens: "the request details",
    },
    BuiltIn {
        name: "process.imported",
        summary: "A process was imported.",
        recipients: "the named people",
        fields: &[
            required("process.name", Kind::Text, "The process.", r#""Invoice approval""#),
            optional("imported_by.name", Kind::Text, "Who imported it.", r#""Kim Example""#),
        ],
        any_of: &[],
        opens: "the process",
    },
    BuiltIn {
        name: "project.invited",
        summary: "A person was invited to a project.",
        recipients: "the invited members",
        fields: &[
            required("project.name", Kind::Text, "The project.", r#""Office move 2027""#),
            required("inviter.name", Kind::Text, "Who invited.", r#""Kim Example""#),
            optional(
                "role",
                Kind::Text,
                "The invited person's role in the project.",
                r#""Contributor""#,
            ),
        ],
        any_of: &[],
        opens: "the project",
    },
    BuiltIn {
        name: "event.invited",
        summary: "A person was invited to an event.",
        recipients: "the invited people",
        fields: &[
            required("event.name", Kind::Text, "The event.", r#""First aid course""#),
            required("starts_at", Kind::Time, "When it starts.", r#""2026-12-03T08:00:00Z""#),
            required("place", Kind::Text, "Where it takes place.", r#""Room 4, Vienna""#),
            optional("ends_at", Kind::Time, "When it ends.", r#""2026-12-03T11:00:00Z""#),
            optional("inviter.name", Kind::Text, "Who invited.", r#""Kim Example""#),
        ],
        any_of: &[],
        opens: "the event",
    },
    BuiltIn {
        name: "event.enrolled",
        summary: "A person was enrolled in an event.",
        recipients: "the enrolled person",
        fields: &[
            required("event.name", Kind::Text, "The event.", r#""First aid course""#),
            required("starts_at", Kind::Time, "When it starts.", r#""2026-12-03T08:00:00Z""#),
            optional("ends_at", Kind::Time, "When it ends.", r#""2026-12-03T11:00:00Z""#),
            optional("place", Kind::Text, "Where it takes place.", r#""Room 4, Vienna""#),
        ],
        any_of: &[],
        opens: "the event",
    },
    BuiltIn {
        name: "learning.assigned",
        summary: "A learning item was assigned to a person.",
        recipients: "the assigned people",
        fields: &[
            required("item.name", Kind::Text, "The learning item.", r#""Data protection basics""#),
            required("due_at", Kind::Time, "The date by which to finish it.", r#""2026-12-11""#),
            optional("assigner.name", Kind::Text, "Who assigned it.", r#""Kim Example""#),
        ],
        any_of: &[],
        opens: "the item",
    },
    BuiltIn {
        name: "event.reminder",
        summary: "An event starts soon.",
        recipients: "the enrolled people",
        fields: &[
            required("event.name", Kind::Text, "The event.", r#""First aid course""#),
            optional(
                "starts_in_minutes",
                Kind::Minutes,
                "How soon it starts; outranks starts_at.",
                "15",
            ),
            optional(
                "starts_at",
                Kind::Time,
                "When it starts; shown as the time left, counted from the notification.",
                "null",
            ),
            optional("place", Kind::Text, "Where it takes place.", r#""Room 4, Vienna""#),
        ],
        any_of: &[&["starts_in_minutes", "starts_at"]],
        opens: "the event",
    },
    BuiltIn {
        name: CHANNEL_ARCHIVING,
        summary: "A channel will be archived soon.",
        recipients: "the channel itself; Herald sends it",
        fields: &[
            required("channel.name", Kind::Text, "The channel.", r#""first-aid-course""#),
            required(
                "archive_at",
                Kind::Time,
                "When it will be archived.",
                r#""2026-11-27T16:00:00Z""#,
            ),
        ],
        any_of: &[],
        opens: "nothing, unless the call has a link",
    },
];
