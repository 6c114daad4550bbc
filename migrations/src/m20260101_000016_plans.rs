//! Indexes that PostgreSQL cannot use for statements that they are not meant for.
//!
//! `deliveries_waiting` and `deliveries_expiring` were partial by `state IN (…)`, which follows
//! from `state = 'pending'`: once statistics said that few deliveries wait, the planner scanned all
//! waiting deliveries for each message. Their successors state the same condition by an expression
//! that only the two intended statements contain; it does not follow from a condition on `state`.
//!
//! The table keeps its pages when it is empty: a plan made while it had none reads the whole table,
//! and is kept until the next analysis. (Giving pages back also takes a lock that stops all other
//! work.)

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
