//! Conversations that cannot be claimed: the cost of one that is due and whose row another
//! transaction has locked, and the delay of a message beside thousands of queues that have nothing
//! due.

use std::time::Duration;

use sea_orm::sqlx::raw_sql;

use super::latency::{measure, percentiles};
use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell};

const PEOPLE: usize = 100;
const QUEUES: usize = 5_000;

pub(crate) async fn run(database: Database, effort: Effort) {
    // SQLite locks no rows, and its file belongs to one process.
    if database == Database::Sqlite {
        return;
    }
    locked(database, effort).await;
    beside_queues(database, effort).await;
}

async fn start(database: Database) -> Stage {
    // The limit of a workspace must not matter here.
    let settings = vec!["app.posts_per_minute=60000".to_owned()];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    Stage::start(database, &plan).await
}

async fn locked(database: Database, effort: Effort) {
    let stage = start(database).await;
    let span = 2 * effort.span;
    let idle = stage.transactions(tokio::time::sleep(span)).await;
    let mut stored = stage.sandbox.stored();
    stage.herald().notify(message("first", [0])).await.unwrap();
    let first = stored.wait_for(|count| *count == 1);
    tokio::time::timeout(Duration::from_secs(60), first).await.unwrap().unwrap();
    // The conversation's pace lets it wait for a second, in which its row is locked.
    stage.herald().notify(message("second", [0])).await.unwrap();
    let mut connection = stage.connection().await;
    let lock = "BEGIN; SELECT 1 FROM lanes WHERE lane = 'U000000' FOR UPDATE";
    raw_sql(lock).execute(&mut connection).await.unwrap();
    let busy = stage.transactions(tokio::time::sleep(span)).await;
    assert_eq!(*stored.borrow(), 1, "the lock came too late");
    raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    let (measured, floor) = (format!("{busy:.0}/s"), format!("{idle:.0}/s, idle"));
    let more = format!("{:.0}/s more", busy - idle);
    let row = "transactions with one due conversation locked";
    tell(row, database.name(), &measured, &floor, &more, "<= 40/s more");
}

async fn beside_queues(database: Database, effort: Effort) {
    let stage = start(database).await;
    // Due in a hundred years.
    let idle = format!(
        "INSERT INTO lanes (installation, lane, tenant, class, budget, next_at) \
         SELECT 'ffffffff-0000-7000-8000-000000000001', 'C' || n, 't' || n, 2, 0, \
         4102444800000000 FROM generate_series(1, {QUEUES}) AS n"
    );
    let idle = sea_orm::sqlx::AssertSqlSafe(idle);
    raw_sql(idle).execute(&mut stage.connection().await).await.unwrap();
    let sent = percentiles(measure(&stage, effort, PEOPLE).await.sent);
    let row = format!("commit to Slack request beside {QUEUES} queues");
    tell(&row, database.name(), &sent, "-", "-", "p90 <= 100 ms");
}
