//! Changing a schema that is in use on PostgreSQL: every lock is held, or waited for, only briefly.
//! The steps here run outside a transaction of the whole migration, so each must be safe to repeat:
//! a migration that was killed is run again from its first step.
//!
//! On SQLite, and on a new database, there are no other users: the same steps are plain statements
//! inside one transaction.

use std::time::{Duration, Instant};

use sea_orm_migration::sea_orm::{
    ConnectionTrait as _, DbBackend, DbErr, RuntimeErr, Statement, sqlx,
};
use sea_orm_migration::{SchemaManager, SchemaManagerConnection};

/// How long a statement may wait for a lock. All statements that use the table meanwhile wait
/// behind it, for as long, and then until the statement has run.
pub const LOCK_TIMEOUT: Duration = Duration::from_millis(50);
/// How often a step is tried if its lock is taken; with the pauses about ten minutes.
const TRIES: u32 = 3_000;
/// The pause between two attempts, in the database, because this crate has no timer.
const REST: &str = "SELECT 1 FROM pg_sleep(0.15)";
/// The intended duration of a batch of rows. Row locks are held for as long.
const BATCH_TAKES: Duration = Duration::from_millis(20);
const BATCH_ROWS: std::ops::RangeInclusive<u64> = 50..=5_000;

/// Whether others may be using the tables: PostgreSQL, and no transaction around the migration.
fn in_use(manager: &SchemaManager<'_>) -> bool {
    matches!(manager.get_connection(), SchemaManagerConnection::Connection(_))
        && manager.get_database_backend() == DbBackend::Postgres
}

/// Runs one statement that briefly takes a strong lock on a table. It must be repeatable (`IF
/// EXISTS`).
pub(crate) async fn alter(
    manager: &SchemaManager<'_>,
    table: &str,
    sql: &str,
) -> Result<(), DbErr> {
    if in_use(manager) {
        // Writers do not wait behind this lock. An autovacuum of the table gives way to it after a
        // second; it would not give way to a lock that is requested only briefly.
        let calm = format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE");
        return shortly(manager, Some(calm), &[sql.to_owned()]).await;
    }
    crate::run(manager, sql).await
}

/// Adds a column. Its default must be a constant, or PostgreSQL rewrites the table.
pub(crate) async fn add_column(
    manager: &SchemaManager<'_>,
    table: &str,
    column: &str,
) -> Result<(), DbErr> {
    let unless = match manager.get_database_backend() {
        DbBackend::Postgres => "IF NOT EXISTS ",
        _ => "",
    };
    alter(manager, table, &format!("ALTER TABLE {table} ADD COLUMN {unless}{column}")).await
}

/// Creates an index: `on` is the text after its name, from the table on. On a database in use it is
/// built concurrently, which takes a while.
pub(crate) async fn index(manager: &SchemaManager<'_>, name: &str, on: &str) -> Result<(), DbErr> {
    if !in_use(manager) {
        return crate::run(manager, &format!("CREATE INDEX {name} ON {on}")).await;
    }
    // A build that was killed leaves an index that is kept up to date but never used.
    let invalid = format!(
        "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('{name}') AND NOT indisvalid"
    );
    if is(manager, &invalid).await? {
        drop_index(manager, name).await?;
    }
    let build = format!("CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}");
    insist(manager, &build).await
}

/// Drops an index if it is there.
pub(crate) async fn drop_index(manager: &SchemaManager<'_>, name: &str) -> Result<(), DbErr> {
    let beside = if in_use(manager) { "CONCURRENTLY " } else { "" };
    let sql = format!("DROP INDEX {beside}IF EXISTS {name}");
    insist(manager, &sql).await
}

/// Gives an index another definition under its name; on a database in use, one of the two exists at
/// any time.
pub(crate) async fn replace_index(
    manager: &SchemaManager<'_>,
    table: &str,
    name: &str,
    on: &str,
) -> Result<(), DbErr> {
    if !in_use(manager) {
        drop_index(manager, name).await?;
        return index(manager, name, on).await;
    }
    let new = format!("{name}_new");
    index(manager, &new, on).await?;
    drop_index(manager, name).await?;
    alter(manager, table, &format!("ALTER INDEX IF EXISTS {new} RENAME TO {name}")).await
}

/// Changes the rows of a table, one batch after another, in the order of its key. In each statement
/// `{batch}` stands for a condition that selects the rows of the batch; a batch is one transaction.
/// A batch that has already run must change nothing when repeated.
pub(crate) async fn in_batches(
    manager: &SchemaManager<'_>,
    table: &str,
    key: &[&str],
    statements: &[&str],
) -> Result<(), DbErr> {
    if !in_use(manager) {
        for statement in statements {
            crate::run(manager, &statement.replace("{batch}", "1 = 1")).await?;
        }
        return Ok(());
    }
    let columns = key.join(", ");
    let mut after = String::from("TRUE");
    let mut rows = 500;
    while let Some(last) = last_of_batch(manager, table, key, &after, rows).await? {
        let batch = format!("({after} AND ({columns}) <= {last})");
        let statements: Vec<_> =
            statements.iter().map(|statement| statement.replace("{batch}", &batch)).collect();
        let since = Instant::now();
        shortly(manager, None, &statements).await?;
        rows = next_size(rows, since.elapsed());
        after = format!("({columns}) > {last}");
    }
    Ok(())
}

/// The key of the last row of the next batch, as SQL; `None`: there are no more rows.
async fn last_of_batch(
    manager: &SchemaManager<'_>,
    table: &str,
    key: &[&str],
    after: &str,
    rows: u64,
) -> Result<Option<String>, DbErr> {
    let columns = key.join(", ");
    let texts: Vec<_> = key.iter().map(|name| format!("quote_literal({name})")).collect();
    let backwards: Vec<_> = key.iter().map(|name| format!("{name} DESC")).collect();
    let sql = format!(
        "SELECT '(' || {} || ')' FROM (SELECT {columns} FROM {table} WHERE {after} \
         ORDER BY {columns} LIMIT {rows}) AS batch ORDER BY {} LIMIT 1",
        texts.join(" || ', ' || "),
        backwards.join(", ")
    );
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    let row = manager.get_connection().query_one_raw(statement).await?;
    row.map(|row| row.try_get_by_index(0)).transpose()
}

/// The number of rows that would have taken [`BATCH_TAKES`].
fn next_size(rows: u64, took: Duration) -> u64 {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let wanted = u64::try_from(BATCH_TAKES.as_micros()).unwrap_or(u64::MAX);
    // At most twice as many: one quick batch says little.
    let fit = Ord::min(rows.saturating_mul(wanted) / took, rows.saturating_mul(2));
    fit.clamp(*BATCH_ROWS.start(), *BATCH_ROWS.end())
}

/// One short transaction. If a lock is not free in time, it gives back its locks, pauses, and tries
/// again.
async fn shortly(
    manager: &SchemaManager<'_>,
    before: Option<String>,
    statements: &[String],
) -> Result<(), DbErr> {
    let mut tries = 0;
    loop {
        match short(manager, before.as_deref(), statements).await {
            Err(error) => rest(manager, error, &mut tries).await?,
            Ok(()) => return Ok(()),
        }
    }
}

async fn short(
    manager: &SchemaManager<'_>,
    before: Option<&str>,
    statements: &[String],
) -> Result<(), DbErr> {
    let short = manager.begin().await?;
    if let Some(before) = before {
        crate::run(&short, before).await?;
    }
    let wait = format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis());
    crate::run(&short, &wait).await?;
    for statement in statements {
        crate::run(&short, statement).await?;
    }
    short.commit().await
}

/// Runs a statement that waits for others and blocks none, until it is not refused.
async fn insist(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    let mut tries = 0;
    loop {
        match crate::run(manager, sql).await {
            Err(error) => rest(manager, error, &mut tries).await?,
            Ok(()) => return Ok(()),
        }
    }
}

/// Waits before the next attempt; returns the error if another attempt is pointless.
async fn rest(manager: &SchemaManager<'_>, error: DbErr, tries: &mut u32) -> Result<(), DbErr> {
    *tries += 1;
    if !is_contended(&error) || *tries >= TRIES || !in_use(manager) {
        return Err(error);
    }
    is(manager, REST).await.map(drop)
}

async fn is(manager: &SchemaManager<'_>, sql: &str) -> Result<bool, DbErr> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    Ok(manager.get_connection().query_one_raw(statement).await?.is_some())
}

/// A lock that was not free in time, a deadlock, a serialization failure.
pub fn is_contended(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return false;
    };
    match &**cause {
        sqlx::Error::Database(cause) => {
            matches!(cause.code().as_deref(), Some("55P03" | "40P01" | "40001"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_about_as_long_as_it_should() {
        assert_eq!(next_size(500, BATCH_TAKES), 500);
        assert_eq!(next_size(500, BATCH_TAKES * 4), 125);
        assert_eq!(next_size(500, Duration::ZERO), 1000);
        assert_eq!(next_size(50, BATCH_TAKES * 100), 50);
        assert_eq!(next_size(5_000, Duration::ZERO), 5_000);
    }
}
