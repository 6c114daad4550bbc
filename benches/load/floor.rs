//! The two sides of a ratio: a closed loop of callers, and the floor, bare clients that write the
//! same rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use herald::store;
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{PgPool, Postgres, Row as _, Sqlite, SqlitePool, query};

/// Calls per second of `callers` that each begin the next call when the last has ended. The first
/// third of the time is a warm-up and does not count.
pub(crate) async fn closed_loop<F>(
    callers: usize,
    span: Duration,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> f64
where
    F: Future<Output = ()> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + span + span / 2;
    let mut tasks = Vec::new();
    for caller in 0..callers {
        let (done, call) = (Arc::clone(&done), call.clone());
        tasks.push(tokio::spawn(async move {
            while Instant::now() < end {
                call(caller).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(span / 2).await;
    let (before, since) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(span).await;
    let (after, elapsed) = (done.load(Ordering::Relaxed), since.elapsed());
    for task in tasks {
        task.await.unwrap();
    }
    (after - before) as f64 / elapsed.as_secs_f64()
}

/// One accepted call, as stored by Herald.
#[derive(Clone)]
pub(crate) struct Stored {
    notification: (Vec<u8>, Vec<u8>, Option<Vec<u8>>, Vec<u8>),
    content: Vec<u8>,
    pub(crate) installation: String,
}

/// A client that only writes the rows.
#[derive(Clone)]
pub(crate) enum Bare {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

const NOTIFICATION: &str = "INSERT INTO notifications (id, tenant, principal, request_id, \
    fingerprint, event_type, data, link, answer, created_at, expires_at) \
    VALUES ($1, 'acme', 'bare', $1, $2, 'task.assigned', $3, $4, $5, 1, 2)";
const DELIVERY: &str = "INSERT INTO deliveries (id, tenant, notification, user_id, installation, \
    lane, position, state, attempt, probes, crashes, due_at, expires_at, content, priority, kind, \
    event_type, created_at, updated_at) VALUES ($1, 'acme', $2, $3, $4, $5, 1, 'pending', 0, 0, 0, \
    1, 9000000000000000, $6, 0, 'normal', 'task.assigned', 1, 1)";
const LANE: &str = "INSERT INTO lanes (installation, lane, next_at) VALUES ($1, $2, 1) \
    ON CONFLICT (installation, lane) DO UPDATE SET next_at = excluded.next_at \
    WHERE lanes.next_at IS NULL AND lanes.asleep = 0";
const SAMPLE: &str = "SELECT n.fingerprint, n.data, n.link, n.answer, d.content, d.installation \
    FROM notifications n JOIN deliveries d ON d.notification = n.id \
    WHERE d.content IS NOT NULL LIMIT 1";

macro_rules! either {
    ($bare:expr, $pool:ident => $body:expr) => {
        match $bare {
            Bare::Postgres($pool) => $body,
            Bare::Sqlite($pool) => $body,
        }
    };
}

impl Bare {
    pub(crate) async fn connect(config: &store::Config, connections: u32) -> Self {
        if let Some(url) = &config.url {
            let options = PoolOptions::<Postgres>::new().max_connections(connections);
            return Self::Postgres(options.connect(url.expose()).await.unwrap());
        }
        let options = SqliteConnectOptions::new()
            .filename(config.data_dir.join("herald.db"))
            .busy_timeout(Duration::from_secs(30))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // One writer, as with SQLite: more would wait for each other's locks.
        let pool = PoolOptions::<Sqlite>::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(60))
            .connect_with(options);
        Self::Sqlite(pool.await.unwrap())
    }

    pub(crate) async fn sample(&self) -> Stored {
        either!(self, pool => {
            let row = query(SAMPLE).fetch_one(pool).await.unwrap();
            Stored {
                notification: (row.get(0), row.get(1), row.get(2), row.get(3)),
                content: row.get(4),
                installation: row.get(5),
            }
        })
    }

    /// One transaction: the notification, its delivery and its lane.
    pub(crate) async fn accept(&self, stored: &Stored, lane: &str) {
        let id = uuid::Uuid::now_v7().to_string();
        let (fingerprint, data, link, answer) = &stored.notification;
        either!(self, pool => {
            let mut tx = pool.begin().await.unwrap();
            query(NOTIFICATION).bind(&id).bind(fingerprint).bind(data).bind(link).bind(answer)
                .execute(&mut *tx).await.unwrap();
            query(DELIVERY).bind(uuid::Uuid::now_v7().to_string()).bind(&id).bind(lane)
                .bind(&stored.installation).bind(lane).bind(&stored.content)
                .execute(&mut *tx).await.unwrap();
            query(LANE).bind(&stored.installation).bind(lane).execute(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
        });
    }

    /// A table for single-row commits.
    pub(crate) async fn prepare_rows(&self) {
        const SQL: &str = "CREATE TABLE bare (id TEXT NOT NULL PRIMARY KEY, state TEXT NOT NULL)";
        either!(self, pool => drop(query(SQL).execute(pool).await.unwrap()));
    }

    pub(crate) async fn insert_row(&self, id: &str) {
        const SQL: &str = "INSERT INTO bare (id, state) VALUES ($1, 'sending')";
        either!(self, pool => drop(query(SQL).bind(id).execute(pool).await.unwrap()));
    }

    pub(crate) async fn update_row(&self, id: &str) {
        const SQL: &str = "UPDATE bare SET state = 'sent' WHERE id = $1";
        either!(self, pool => drop(query(SQL).bind(id).execute(pool).await.unwrap()));
    }
}
