//! Deliveries for channels that the platform names by its own key. Each delivery keeps the channel
//! and the key; while the channel is not ready in Slack, the delivery is in no lane.
//!
//! Each index has a condition that no other statement contains, so that the planner does not use it
//! for anything else.

use sea_orm_migration::prelude::*;

use crate::online::{add_column, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["deliveries", "deliveries_history"] {
            for column in COLUMNS {
                add_column(manager, table, column).await?;
            }
        }
        index(manager, "deliveries_awaiting", AWAITING).await?;
        index(manager, "deliveries_of_channel", OF_CHANNEL).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const COLUMNS: &[&str] = &[
    // Herald's id of the channel; NULL: not for a channel with a key. It stays when the delivery
    // joins the channel's lane.
    "awaits_channel TEXT",
    // The platform's key of the channel, which outlives the channel.
    "channel_key TEXT",
];

/// Those in no lane: first the scheduled ones, then those in line for the channel, in their order.
const AWAITING: &str = "deliveries
    (awaits_channel, (CASE WHEN due_at >= expires_at THEN 1 ELSE 0 END), position, sequence)
    WHERE (CASE WHEN state = 'pending' AND lane IS NULL THEN awaits_channel END) IS NOT NULL";

/// Those in a lane that follow the channel if its id changes.
const OF_CHANNEL: &str = "deliveries (awaits_channel, lane)
    WHERE (CASE WHEN state = 'pending' AND lane IS NOT NULL \
    AND COALESCE(action, 'post') IN ('post', 'reply', 'replace') \
    THEN awaits_channel END) IS NOT NULL";
