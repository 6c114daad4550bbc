//! Herald's schema: an ordered, append-only list of migrations.
//!
//! Rules: changes expand first and contract a release later, so that the previous and the next
//! binary run side by side. Each file defines its tables in SQL, once for both databases: `BLOB`
//! stands for the binary type of either.
//!
//! The effect of a released migration is never edited: a database records it by name, and a
//! database that already has it must have the same schema as one that gets it today. The way to get
//! there may change. (The twelfth was rewritten for that: it used to change all lanes in one
//! transaction.)
//!
//! No migration holds a lock, or makes others wait for one, for longer than 200 ms on a million
//! rows. A table that is in use gets its columns, rows and indexes by the steps of `online`, and
//! such a migration returns `Some(false)` from `use_transaction`: on PostgreSQL its steps commit by
//! themselves, and it must be safe to run again from its first step. New tables need none of this.
//! `tests/it/store/migrations.rs` fills the tables, migrates them while writers run, and fails if
//! a writer waits for too long.

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
mod m20260101_000014_recovery;
mod m20260101_000015_order;
mod m20260101_000016_plans;
mod m20260101_000017_floor;
mod m20260101_000018_pauses;
mod m20260101_000020_audit;
mod m20260101_000022_connecting;
mod m20260101_000023_costly;
mod m20260101_000024_api_keys;
mod m20260101_000025_unused_keys;
mod m20260101_000026_event_types;
mod m20260101_000027_templates;
mod m20260101_000028_previews;
mod m20260101_000029_channels;
mod m20260101_000030_awaiting;
mod m20260101_000031_connect_scopes;
mod m20260101_000032_slack_apps;
mod m20260101_000033_connections;
mod m20260101_000034_leaving;
mod m20260101_000035_keeping;
mod m20260101_000036_checkups;
mod m20260101_000037_feed_of_all;
mod m20260101_000038_identity_links;
mod m20260101_000039_revoking;
pub mod online;

/// Called by a migration that removes something that binaries before the migration `known` use.
///
/// ```text
/// crate::needs(manager, "m20260101_000017_floor").await?;
/// ```
#[expect(dead_code, reason = "nothing was taken away so far")]
pub(crate) async fn needs(manager: &SchemaManager<'_>, known: &str) -> Result<(), DbErr> {
    let note = "INSERT INTO schema_floor (migration) VALUES ('{}') ON CONFLICT DO NOTHING";
    run(manager, &note.replace("{}", known)).await
}

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
            Box::new(m20260101_000014_recovery::Migration),
            Box::new(m20260101_000015_order::Migration),
            Box::new(m20260101_000016_plans::Migration),
            Box::new(m20260101_000017_floor::Migration),
            Box::new(m20260101_000018_pauses::Migration),
            Box::new(m20260101_000020_audit::Migration),
            Box::new(m20260101_000022_connecting::Migration),
            Box::new(m20260101_000023_costly::Migration),
            Box::new(m20260101_000024_api_keys::Migration),
            Box::new(m20260101_000025_unused_keys::Migration),
            Box::new(m20260101_000026_event_types::Migration),
            Box::new(m20260101_000027_templates::Migration),
            Box::new(m20260101_000028_previews::Migration),
            Box::new(m20260101_000029_channels::Migration),
            Box::new(m20260101_000030_awaiting::Migration),
            Box::new(m20260101_000031_connect_scopes::Migration),
            Box::new(m20260101_000032_slack_apps::Migration),
            Box::new(m20260101_000033_connections::Migration),
            Box::new(m20260101_000034_leaving::Migration),
            Box::new(m20260101_000035_keeping::Migration),
            Box::new(m20260101_000036_checkups::Migration),
            Box::new(m20260101_000037_feed_of_all::Migration),
            Box::new(m20260101_000038_identity_links::Migration),
            Box::new(m20260101_000039_revoking::Migration),
        ]
    }
}

/// Runs statements written with `BLOB` for the binary type; PostgreSQL calls it `BYTEA`.
pub(crate) async fn run(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let db = manager.get_connection();
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => sql.replace("BLOB", "BYTEA"),
        _ => sql.to_owned(),
    };
    db.execute_unprepared(&sql).await.map(|_| ())
}
