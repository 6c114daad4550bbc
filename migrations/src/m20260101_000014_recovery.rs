//! The records of `herald recover` after a failover to a copy that lags, or a restored backup.
//!
//! The number of a recovery is a time in microseconds. The feed's numbers continue after it, so
//! that no number of the lost time is given twice. Deliveries accepted up to that time may have
//! been sent in the lost time, so history is read before they are sent. A delivery that was looked
//! up stores the recovery that this was done for.

use sea_orm_migration::prelude::*;

use crate::online::add_column;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["deliveries", "deliveries_history"] {
            add_column(manager, table, "looked_up BIGINT").await?;
        }
        crate::run(manager, UP).await
    }

    fn use_transaction(&self) -> Option<bool> {
        Some(false)
    }
}

const UP: &str = "
CREATE TABLE IF NOT EXISTS recoveries (epoch BIGINT NOT NULL PRIMARY KEY);
";
