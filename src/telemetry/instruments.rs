//! Every instrument, in one table. `docs/metrics.md` repeats its rows and `/metrics` its names,
//! labels and descriptions; tests compare them.
//!
//! Labels are closed: each has a list of values, and a value outside the list is counted as
//! `other`. So no tenant, person or external text can become a time series (invariant I12).

use super::instrument::{CALL_SECONDS, Instrument, InstrumentKind, LATENCY_SECONDS, Label};

const INTERACTION_RESULTS: &[&str] =
    &["acknowledged", "unknown_workspace", "other_app", "unused", "unreadable", "refused"];
const SLACK_METHOD: Label = Label { name: "method", values: &[] };
const RPC_METHOD: Label = Label { name: "method", values: &[] };

pub(super) const SLACK_REQUESTS: Instrument = Instrument {
    name: "herald_slack_requests_total",
    unit: "{request}",
    kind: InstrumentKind::Counter,
    labels: &[
        SLACK_METHOD,
        Label {
            name: "outcome",
            values: &[
                "ok",
                "throttled",
                "unauthorized",
                "missing_scope",
                "rejected",
                "transient",
                "unknown",
            ],
        },
    ],
    description: "Calls to Slack, by method and outcome.",
};
pub(super) const SLACK_SECONDS: Instrument = Instrument {
    name: "herald_slack_request_duration_seconds",
    unit: "s",
    kind: InstrumentKind::Histogram(CALL_SECONDS),
    labels: &[SLACK_METHOD],
    description: "Time of one call to Slack, including the body of its answer.",
};
pub(super) const REFUSALS: Instrument = Instrument {
    name: "herald_refusals_total",
    unit: "{refusal}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "limit",
        values: &[
            "rpc.caller_calls_per_second",
            "rpc.user_calls_per_second",
            "rpc.tenant_calls_per_second",
            "rpc.caller_bytes_per_second",
            "rpc.max_concurrent_calls",
            "rpc.max_watches",
            "rpc.max_waiting_tests",
            "rpc.max_bytes_under_way",
            "rpc.max_request_bytes",
            // These three are fixed, not settings.
            "rpc.open_reflections",
            "rpc.open_health_watches",
            "http.bytes_under_way",
            "listen.max_connections",
            "listen.max_connections_per_address",
            "http.slack_requests_per_second",
            "delivery.max_waiting",
            "store.max_connections",
        ],
    }],
    description: "Refused calls, connections and requests, by the limit.",
};
pub(super) const DELIVERIES: Instrument = Instrument {
    name: "herald_deliveries_total",
    unit: "{delivery}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "state",
        values: &[
            "resolving",
            "held",
            "collected",
            "pending",
            "sending",
            "unknown",
            "sent",
            "failed",
            "expired",
            "suppressed",
            "canceled",
            "parked",
            "unreachable",
        ],
    }],
    description: "Deliveries that entered this state.",
};
pub(super) const NOTIFY: Instrument = Instrument {
    name: "herald_notify_total",
    unit: "{call}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "result",
        values: &["accepted", "replayed", "conflict", "refused", "shed", "failed"],
    }],
    description: "Calls of Notify, by result.",
};
pub(super) const DELIVERY_LATENCY: Instrument = Instrument {
    name: "herald_delivery_latency_seconds",
    unit: "s",
    kind: InstrumentKind::Histogram(LATENCY_SECONDS),
    labels: &[],
    description: "Time from the moment a delivery is due until Slack has stored it.",
};
pub(super) const DIRECTORY_MEMBERS: Instrument = Instrument {
    name: "herald_directory_members",
    unit: "{member}",
    kind: InstrumentKind::Gauge,
    labels: &[Label { name: "kind", values: &["matchable", "no_email", "deactivated", "bot"] }],
    description: "Members in the member lists that this replica has in memory.",
};
pub(super) const DIRECTORY_WORKSPACES: Instrument = Instrument {
    name: "herald_directory_workspaces",
    unit: "{workspace}",
    kind: InstrumentKind::Gauge,
    labels: &[Label {
        name: "condition",
        values: &["in_use", "never_read", "stale", "failing", "shrink_pending", "crawling"],
    }],
    description: "Workspaces of the whole cluster whose member list has this condition; one may \
                  have several.",
};
pub(super) const DIRECTORY_AGE: Instrument = Instrument {
    name: "herald_directory_age_seconds",
    unit: "s",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Age of the oldest member list in use, over the whole cluster.",
};
pub(super) const DIRECTORY_OVERDUE: Instrument = Instrument {
    name: "herald_directory_overdue_seconds",
    unit: "s",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Time by which the most overdue reading of a member list is late, over the whole \
                  cluster.",
};
pub(super) const DIRECTORY_CRAWLS: Instrument = Instrument {
    name: "herald_directory_crawls_total",
    unit: "{crawl}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "result", values: &["published", "refused", "failed", "lost"] }],
    description: "Readings of member lists that ended at this replica, by result.",
};
pub(super) const CRAWL_PAGES: Instrument = Instrument {
    name: "herald_directory_crawl_pages_total",
    unit: "{page}",
    kind: InstrumentKind::Counter,
    labels: &[],
    description: "Pages of member lists that this replica read.",
};
pub(super) const CRAWL_PROGRESS: Instrument = Instrument {
    name: "herald_directory_crawl_progress",
    unit: "{item}",
    kind: InstrumentKind::Gauge,
    labels: &[Label { name: "of", values: &["pages", "members"] }],
    description: "Pages and members that the readings under way have read, over the whole cluster.",
};
pub(super) const DIRECTORY_LOADS: Instrument = Instrument {
    name: "herald_directory_loads_total",
    unit: "{load}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "from", values: &["pages", "changes"] }],
    description: "Updates of member lists in memory, from all stored pages or from single changes.",
};
pub(super) const TOO_COSTLY: Instrument = Instrument {
    name: "herald_mapping_too_costly_total",
    unit: "{value}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "attribute", values: &["user_attribute", "slack_attribute"] }],
    description: "People and Slack members without a value because a mapping expression cost too \
                  much to evaluate.",
};
pub(super) const SLACK_EVENTS: Instrument = Instrument {
    name: "herald_slack_events_total",
    unit: "{event}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "result",
        values: &[
            // On arrival.
            "taken",
            "repeated",
            "unknown_workspace",
            "other_app",
            "unused",
            "unreadable",
            "refused",
            // Applied.
            "changed",
            "unchanged",
            "ended",
            "survived",
            "outdated",
            "lost",
            "parked",
        ],
    }],
    description: "Events from Slack, counted by result when they arrive and again when they are \
                  applied.",
};
pub(super) const SLACK_INTERACTIONS: Instrument = Instrument {
    name: "herald_slack_interactions_total",
    unit: "{interaction}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "result", values: INTERACTION_RESULTS }],
    description: "Interactions from Slack, such as pressed buttons, by result.",
};
pub(super) const CUSTOM_FIELDS: Instrument = Instrument {
    name: "herald_custom_fields_total",
    unit: "{member}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "result", values: &["fetched", "failed"] }],
    description: "Members whose custom profile fields were requested, by result.",
};
pub(super) const CUSTOM_FIELDS_MISSING: Instrument = Instrument {
    name: "herald_custom_fields_missing",
    unit: "{member}",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Members whose custom profile fields this replica has still to fetch.",
};
pub(super) const LANES_CLAIMED: Instrument = Instrument {
    name: "herald_lanes_claimed_total",
    unit: "{lane}",
    kind: InstrumentKind::Counter,
    labels: &[],
    description: "Claims of lanes (conversations) by this replica.",
};
pub(super) const AUDIT_ENTRIES: Instrument = Instrument {
    name: "herald_audit_entries_total",
    unit: "{entry}",
    kind: InstrumentKind::Counter,
    labels: &[],
    description: "Entries of the audit trail that this replica appended to the chain.",
};
pub(super) const UNREADABLE_ROWS: Instrument = Instrument {
    name: "herald_unreadable_rows_total",
    unit: "{row}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "kind",
        values: &[
            "lane",
            "head",
            "waiting",
            "change",
            "subject",
            "dead_letter",
            "api_key",
            "audit",
            "event_type",
            "template",
            "channel",
            "channel_member",
        ],
    }],
    description: "Skipped rows, counted each time: damaged ones, and those that only a newer \
                  release can read.",
};
pub(super) const OUTBOX_READY_SECONDS: Instrument = Instrument {
    name: "herald_outbox_ready_age_seconds",
    unit: "s",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Time for which the conversation that has been due longest has waited for a \
                  worker.",
};
pub(super) const OUTBOX_ROWS: Instrument = Instrument {
    name: "herald_outbox_rows",
    unit: "{row}",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Deliveries that have not moved to the history; on PostgreSQL an estimate.",
};
pub(super) const OUTBOX_DEAD_ROWS: Instrument = Instrument {
    name: "herald_outbox_dead_rows",
    unit: "{row}",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Rows of the deliveries' table that PostgreSQL has not vacuumed yet.",
};
pub(super) const DATABASE_SNAPSHOT_AGE: Instrument = Instrument {
    name: "herald_database_snapshot_age",
    unit: "{transaction}",
    kind: InstrumentKind::Gauge,
    labels: &[],
    description: "Transactions since the oldest snapshot for which PostgreSQL must keep rows.",
};
pub(super) const UPKEEP_FAILURES: Instrument = Instrument {
    name: "herald_upkeep_failures_total",
    unit: "{failure}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "part",
        values: &[
            "lanes",
            "channels",
            "overdue",
            "archive",
            "replays",
            "feed",
            "notifications",
            "idle_lanes",
            "sweeps",
            "previews",
            "keys",
            "unread",
            "health",
        ],
    }],
    description: "Parts of the outbox's upkeep that failed, once a round for each; the other parts \
                  continue.",
};
pub(super) const CHANNELS: Instrument = Instrument {
    name: "herald_channels",
    unit: "{channel}",
    kind: InstrumentKind::Gauge,
    labels: &[Label {
        name: "state",
        values: &["scheduled", "creating", "ready", "blocked", "archived", "deleted"],
    }],
    description: "Channels that callers wished for, by state, over the whole cluster.",
};
pub(super) const CHANNEL_MEMBERS: Instrument = Instrument {
    name: "herald_channel_members",
    unit: "{member}",
    kind: InstrumentKind::Gauge,
    labels: &[Label {
        name: "state",
        values: &["queued", "not_in_slack", "member", "left", "failed", "removing"],
    }],
    description: "People wished for in channels, by state, over the whole cluster.",
};
pub(super) const CHANNEL_STEPS: Instrument = Instrument {
    name: "herald_channel_steps_total",
    unit: "{request}",
    kind: InstrumentKind::Counter,
    labels: &[
        Label {
            name: "step",
            values: &[
                "create",
                "look",
                "inspect",
                "read_members",
                "invite",
                "remove",
                "join",
                "archive",
                "unarchive",
                "rename",
                "topic",
                "purpose",
            ],
        },
        Label { name: "outcome", values: &["done", "refused", "unclear", "waits", "failed"] },
    ],
    description: "Requests to Slack about channels, by step and outcome.",
};
pub(super) const WORKSPACES: Instrument = Instrument {
    name: "herald_workspaces",
    unit: "{connection}",
    kind: InstrumentKind::Gauge,
    labels: &[Label {
        name: "state",
        values: &["active", "degraded", "migrating", "reconnect_required"],
    }],
    description: "Connections of tenants to workspaces, by state, over the whole cluster.",
};
pub(super) const ALERTS: Instrument = Instrument {
    name: "herald_alerts_total",
    unit: "{attempt}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "result", values: &["sent", "failed", "given_up"] }],
    description: "Attempts to post an alert to the webhook, by result.",
};
pub(super) const HOME_TABS: Instrument = Instrument {
    name: "herald_home_tabs_total",
    unit: "{publication}",
    kind: InstrumentKind::Counter,
    labels: &[Label {
        name: "result",
        values: &[
            "published",
            "not_enabled",
            "refused",
            "disconnected",
            "postponed",
            "given_up",
            "failed",
            "dropped",
        ],
    }],
    description: "Home tabs that people opened and Herald was to publish, by result.",
};
pub(super) const DISCARDED_TOKENS: Instrument = Instrument {
    name: "herald_discarded_tokens_total",
    unit: "{token}",
    kind: InstrumentKind::Counter,
    labels: &[Label { name: "result", values: &["revoked", "in_use", "unclear"] }],
    description: "New tokens from Slack that were not stored, by result.",
};
pub(super) const RPC_REQUESTS: Instrument = Instrument {
    name: "herald_rpc_requests_total",
    unit: "{request}",
    kind: InstrumentKind::Counter,
    labels: &[
        RPC_METHOD,
        Label {
            name: "code",
            values: &[
                "OK",
                "CANCELLED",
                "UNKNOWN",
                "INVALID_ARGUMENT",
                "DEADLINE_EXCEEDED",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "PERMISSION_DENIED",
                "RESOURCE_EXHAUSTED",
                "FAILED_PRECONDITION",
                "ABORTED",
                "OUT_OF_RANGE",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS",
                "UNAUTHENTICATED",
            ],
        },
    ],
    description: "gRPC calls, by method and status code.",
};
pub(super) const RPC_SECONDS: Instrument = Instrument {
    name: "herald_rpc_duration_seconds",
    unit: "s",
    kind: InstrumentKind::Histogram(CALL_SECONDS),
    labels: &[RPC_METHOD],
    description: "Time of one gRPC call.",
};

pub(super) const BUILD_INFO: Instrument = Instrument {
    name: "herald_build_info",
    unit: "{build}",
    kind: InstrumentKind::Gauge,
    labels: &[Label { name: "version", values: &[] }],
    description: "Always 1; the label has the version of this build.",
};

/// All instruments.
pub const INSTRUMENTS: &[Instrument] = &[
    SLACK_REQUESTS,
    SLACK_SECONDS,
    REFUSALS,
    DELIVERIES,
    NOTIFY,
    DELIVERY_LATENCY,
    DIRECTORY_MEMBERS,
    DIRECTORY_WORKSPACES,
    DIRECTORY_AGE,
    DIRECTORY_OVERDUE,
    DIRECTORY_CRAWLS,
    CRAWL_PAGES,
    CRAWL_PROGRESS,
    DIRECTORY_LOADS,
    TOO_COSTLY,
    SLACK_EVENTS,
    SLACK_INTERACTIONS,
    CUSTOM_FIELDS,
    CUSTOM_FIELDS_MISSING,
    LANES_CLAIMED,
    UNREADABLE_ROWS,
    AUDIT_ENTRIES,
    OUTBOX_READY_SECONDS,
    OUTBOX_ROWS,
    OUTBOX_DEAD_ROWS,
    DATABASE_SNAPSHOT_AGE,
    UPKEEP_FAILURES,
    CHANNELS,
    CHANNEL_MEMBERS,
    CHANNEL_STEPS,
    WORKSPACES,
    ALERTS,
    HOME_TABS,
    DISCARDED_TOKENS,
    RPC_REQUESTS,
    RPC_SECONDS,
    BUILD_INFO,
];
