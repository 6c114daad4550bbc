//! Herald's schema: an ordered, append-only list of migrations.
//!
//! Rules: a released migration is never edited; changes expand first and contract a release later,
//! so that the binary before and the binary after run side by side. Each file says its tables in
//! SQL, once for both databases: `BLOB` stands for the binary type of either.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

mod m20260101_000001_foundation;
mod m20260101_000002_outbox;
mod m20260101_000003_directory;
mod m20260101_000004_feed;
mod m20260101_000005_crawl;
mod m20260101_000006_events;
mod m20260101_000007_fields;
mod m20260101_000008_lanes;
mod m20260101_000009_retention;
mod m20260101_000010_life;
mod m20260101_000011_patience;
mod m20260101_000012_changes;

/// The list, oldest first.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20260101_000001_foundation::Migration),
            Box::new(m20260101_000002_outbox::Migration),
            Box::new(m20260101_000003_directory::Migration),
            Box::new(m20260101_000004_feed::Migration),
            Box::new(m20260101_000005_crawl::Migration),
            Box::new(m20260101_000006_events::Migration),
            Box::new(m20260101_000007_fields::Migration),
            Box::new(m20260101_000008_lanes::Migration),
            Box::new(m20260101_000009_retention::Migration),
            Box::new(m20260101_000010_life::Migration),
            Box::new(m20260101_000011_patience::Migration),
            Box::new(m20260101_000012_changes::Migration),
        ]
    }
}

/// Runs statements that are written with `BLOB` for the binary type; PostgreSQL calls it `BYTEA`.
pub(crate) async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => sql.replace("BLOB", "BYTEA"),
        _ => sql.to_owned(),
    };
    db.execute_unprepared(&sql).await.map(|_| ())
}
