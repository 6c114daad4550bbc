//! The notifications that the demo sends and, written independently of the sending code, the
//! messages that must arrive.

/// The contents of one Notify call.
pub(super) struct Sending {
    pub(super) event: &'static str,
    /// Platform user ids.
    pub(super) to: &'static [&'static str],
    pub(super) data: &'static str,
    pub(super) link: &'static str,
}

/// The platform's users: id, e-mail, name, time zone (empty: Slack's). The fake workspace has the
/// same people under its own ids.
pub(super) const PEOPLE: &[(&str, &str, &str, &str)] = &[
    ("u-ada", "Ada@demo.example", "Ada", ""),
    ("u-ben", "ben@demo.example", "Ben", ""),
    ("u-clara", "clara@demo.example", "Clara", "Europe/Vienna"),
    ("u-daichi", "daichi@demo.example", "Daichi", ""),
    ("u-elif", "elif@demo.example", "Elif", ""),
    ("u-fabio", "fabio@demo.example", "Fabio", ""),
    ("u-gita", "gita@demo.example", "Gita", ""),
    ("u-hugo", "hugo@demo.example", "Hugo", ""),
    ("u-ida", "ida@demo.example", "Ida", ""),
    ("u-jonas", "jonas@demo.example", "Jonas", ""),
];

/// One notification of each built-in type for people. Ida has no e-mail address in Slack and Jonas
/// is deactivated there: both must be distinguished from the others and get nothing.
pub(super) const SENDINGS: &[Sending] = &[
    Sending {
        event: "case.started",
        to: &["u-ada"],
        data: r#"{"process": {"name": "Vacation request"},
            "case": {"name": "Ada, 14 to 18 December"}}"#,
        link: "https://platform.example/cases/4711",
    },
    Sending {
        event: "task.assigned",
        to: &["u-ben", "u-clara", "u-jonas"],
        data: r#"{"task": {"name": "Approve the purchase of 12 laptops"},
            "process": {"name": "Procurement"}, "assigner": {"name": "Ada"},
            "due_at": "2026-11-27T16:00:00Z"}"#,
        link: "https://platform.example/tasks/81",
    },
    Sending {
        event: "task.due",
        to: &["u-daichi"],
        data: r#"{"task": {"name": "Sign the lease"}, "process": {"name": "Office move"},
            "due_at": "2026-11-25T08:30:00Z"}"#,
        link: "https://platform.example/tasks/82",
    },
    Sending {
        event: "request.canceled",
        to: &["u-elif"],
        data: r#"{"request": {"name": "New monitor"}, "canceled_by": {"name": "Hugo"},
            "reason": "Ordered twice"}"#,
        link: "https://platform.example/requests/12",
    },
    Sending {
        event: "request.completed",
        to: &["u-fabio"],
        data: r#"{"request": {"name": "Access to the billing system"}}"#,
        link: "https://platform.example/requests/13",
    },
    Sending {
        event: "process.imported",
        to: &["u-ada", "u-ida"],
        data: r#"{"process": {"name": "Onboarding 2027"}, "imported_by": {"name": "Gita"}}"#,
        link: "https://platform.example/processes/9",
    },
    Sending {
        event: "project.invited",
        to: &["u-gita"],
        data: r#"{"project": {"name": "Atlas"}, "inviter": {"name": "Clara"}, "role": "Reviewer"}"#,
        link: "https://platform.example/projects/atlas",
    },
    Sending {
        event: "event.invited",
        to: &["u-hugo", "u-elif"],
        data: r#"{"event": {"name": "Budget review"}, "starts_at": "2026-12-02T13:00:00Z",
            "ends_at": "2026-12-02T14:30:00Z", "place": "Room Lise Meitner"}"#,
        link: "https://platform.example/events/31",
    },
    Sending {
        event: "event.enrolled",
        to: &["u-ben"],
        data: r#"{"event": {"name": "Rust for reviewers"}, "starts_at": "2026-12-09T15:00:00Z",
            "place": "Online"}"#,
        link: "https://platform.example/events/32",
    },
    Sending {
        event: "learning.assigned",
        to: &["u-clara"],
        data: r#"{"item": {"name": "Security basics <& friends>"}, "due_at": "2026-12-18"}"#,
        link: "https://platform.example/learning/5",
    },
    Sending {
        event: "event.reminder",
        to: &["u-daichi", "u-fabio"],
        data: r#"{"event": {"name": "All hands"}, "starts_in_minutes": 15, "place": "Town hall"}"#,
        link: "https://platform.example/events/33",
    },
];

/// The event type and the platform user of each message that must end as unreachable.
pub(super) const UNREACHABLE: &[(&str, &str)] =
    &[("task.assigned", "u-jonas"), ("process.imported", "u-ida")];

/// A message that must arrive: event type, platform user, Slack user, and words that it must
/// contain.
pub(super) struct Expected {
    pub(super) event: &'static str,
    pub(super) person: &'static str,
    pub(super) slack_user: &'static str,
    pub(super) shows: &'static [&'static str],
}

const fn expected(
    event: &'static str,
    person: &'static str,
    slack_user: &'static str,
    shows: &'static [&'static str],
) -> Expected {
    Expected { event, person, slack_user, shows }
}

/// All messages that must arrive; no other may. Times are in the reader's zone, and the words in
/// their language.
pub(super) const EXPECTED: &[Expected] = &[
    expected("case.started", "u-ada", "U0DEMOADA", &["Vacation request", "/cases/4711"]),
    expected(
        "task.assigned",
        "u-ben",
        "U0DEMOBEN",
        &["Approve the purchase of 12 laptops", "Procurement", "11:00", "/tasks/81"],
    ),
    expected(
        "task.assigned",
        "u-clara",
        "U0DEMOCLA",
        &["Approve the purchase of 12 laptops", "Procurement", "17:00", "/tasks/81"],
    ),
    expected("task.due", "u-daichi", "U0DEMODAI", &["Sign the lease", "17:30", "/tasks/82"]),
    expected("request.canceled", "u-elif", "U0DEMOELI", &["New monitor", "/requests/12"]),
    expected(
        "request.completed",
        "u-fabio",
        "U0DEMOFAB",
        &["Access to the billing system", "/requests/13"],
    ),
    expected("process.imported", "u-ada", "U0DEMOADA", &["Onboarding 2027", "/processes/9"]),
    expected("project.invited", "u-gita", "U0DEMOGIT", &["Atlas", "Clara", "/projects/atlas"]),
    expected(
        "event.invited",
        "u-hugo",
        "U0DEMOHUG",
        &["Budget review", "14:00", "Room Lise Meitner", "/events/31"],
    ),
    expected(
        "event.invited",
        "u-elif",
        "U0DEMOELI",
        &["Budget review", "14:00", "Room Lise Meitner", "/events/31"],
    ),
    expected(
        "event.enrolled",
        "u-ben",
        "U0DEMOBEN",
        &["Rust for reviewers", "10:00", "/events/32"],
    ),
    expected(
        "learning.assigned",
        "u-clara",
        "U0DEMOCLA",
        &["Security basics &lt;&amp; friends&gt;", "18. Dez.", "/learning/5"],
    ),
    expected("event.reminder", "u-daichi", "U0DEMODAI", &["All hands", "15分", "/events/33"]),
    expected("event.reminder", "u-fabio", "U0DEMOFAB", &["All hands", "15 min", "/events/33"]),
];
