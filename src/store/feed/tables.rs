//! The two feeds: of deliveries, and of channels with their members. Each has tables and numbers of
//! its own, and both are numbered, followed and pruned in the same way.

/// One of the feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum FeedOf {
    Deliveries,
    Channels,
}

/// The tables of a feed.
pub(in crate::store) struct FeedTables {
    /// Changes that triggers wrote and that have no number yet.
    pub(in crate::store) inbox: &'static str,
    /// Numbered changes.
    pub(in crate::store) changes: &'static str,
    /// The last number of each tenant.
    pub(in crate::store) heads: &'static str,
    /// One row, whose lock is the turn to give numbers.
    pub(in crate::store) sequencer: &'static str,
    /// The columns of a change in both tables.
    pub(in crate::store) columns: &'static str,
    /// The column of a change's number among those of all tenants; `None`: the feed is read by
    /// tenant only.
    pub(in crate::store) position: Option<&'static str>,
}

/// The name under which `heads` has the last number of all tenants. No tenant has it.
pub(in crate::store) const ALL: &str = "";

const DELIVERIES: FeedTables = FeedTables {
    inbox: "feed_inbox",
    changes: "delivery_changes",
    heads: "feed_heads",
    sequencer: "feed_sequencer",
    columns: "tenant, delivery, notification, user_id, event_type, state, reason, code, channel, \
        ts, at",
    position: Some("position"),
};

const CHANNELS: FeedTables = FeedTables {
    inbox: "channel_feed_inbox",
    changes: "channel_changes",
    heads: "channel_feed_heads",
    sequencer: "channel_feed_sequencer",
    columns: "tenant, channel_key, kind, user_id, state, obstacle, code, slack_channel, at",
    position: None,
};

impl FeedOf {
    pub(in crate::store) fn tables(self) -> &'static FeedTables {
        match self {
            Self::Deliveries => &DELIVERIES,
            Self::Channels => &CHANNELS,
        }
    }
}
