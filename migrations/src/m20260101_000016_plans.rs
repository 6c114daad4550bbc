//! Indexes that PostgreSQL cannot take for statements that they are not for.
//!
//! `deliveries_waiting` and `deliveries_expiring` were partial by `state IN (…)`, which follows
//! from `state = 'pending'`: once statistics said that little waits, the planner walked all that
//! waits for each message. Their successors say the same by an expression that only the two
//! statements have which they are for; from a condition on `state` it does not follow.
//!
//! The table keeps its pages when it is empty: a plan that was made while it had none reads all
//! of it, and is kept until the next analysis. (Giving pages back takes a lock that stops
//! all others, too.)

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

use crate::online::{alter, drop_index, index};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        index(manager, "deliveries_open", OPEN).await?;
        index(manager, "deliveries_overdue", OVERDUE).await?;
        drop_index(manager, "deliveries_waiting").await?;
        drop_index(manager, "deliveries_expiring").await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            for table in ["deliveries", "lanes"] {
                let keep = format!("ALTER TABLE {table} SET (vacuum_truncate = off)");
                alter(manager, table, &keep).await?;
            }
        }
        Ok(())
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const OPEN: &str = "deliveries (tenant) WHERE ('' || state) IN \
    ('resolving', 'held', 'collected', 'pending', 'sending', 'unknown')";
const OVERDUE: &str = "deliveries (expires_at) WHERE ('' || state) IN \
    ('resolving', 'held', 'collected', 'pending')";
