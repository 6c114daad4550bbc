//! Sessions with PostgreSQL: how they are opened, their settings, and why opening one fails.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::SqlSafeStr as _;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, SqlxPostgresConnector};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::protection::{self, Protection};
use crate::store::Error;
use crate::store::config::{Config, Pooler};

/// PostgreSQL ends a transaction that its client has left idle for this long, so that a frozen
/// replica does not hold row locks for ever.
const IDLE_IN_TRANSACTION: &str = "5s";
/// The name of sessions, and its start while they may wait for a row only briefly
/// ([`Patience`](super::transaction::Patience)).
const NAME: &str = "herald";
pub(in crate::store) const BRIEFLY: &str = "herald waits briefly";
/// How the server finds out that its client is gone: it tests idle connections, gives up on those
/// that acknowledge nothing, and checks for the client while a statement runs. The driver cannot
/// set the first two on the client's side.
const WATCHED: [(&str, &str); 5] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "15s"),
    ("client_connection_check_interval", "2s"),
];
/// The wait before retrying a server that refused because it is starting.
const AGAIN: Duration = Duration::from_millis(100);
/// The time limit for closing the first connection.
const FAREWELL: Duration = Duration::from_secs(1);

/// The sessions of one pool.
pub(in crate::store) struct Session {
    address: PgConnectOptions,
    pooler: Pooler,
    /// In milliseconds; PostgreSQL takes 0 as no limit.
    statement_timeout: u128,
    /// The URL does not say how the connection is protected.
    implied: bool,
}

impl Session {
    /// For the pool that serves.
    pub(in crate::store) fn serving(url: &str, config: &Config) -> Result<Self, Error> {
        let statement_timeout = config.statement_timeout.as_millis();
        let (address, pooler) = (address(url)?, config.pooler);
        let implied = !protection::names_mode(url);
        Ok(Self { address, pooler, statement_timeout, implied })
    }

    /// For migrations: directly with the database, and without a limit on statements.
    pub(in crate::store) fn migrating(url: &str) -> Result<Self, Error> {
        let (address, pooler) = (address(url)?, Pooler::None);
        let implied = !protection::names_mode(url);
        Ok(Self { address, pooler, statement_timeout: 0, implied })
    }

    /// How its connections are protected in transit.
    pub(in crate::store) fn protection(&self) -> Protection {
        Protection::of(&self.address)
    }

    /// How to connect. A pooler that shares connections between transactions accepts no session
    /// settings and keeps none.
    pub(in crate::store) fn options(&self) -> PgConnectOptions {
        let options = self.address.clone().application_name(NAME).disable_statement_logging();
        match self.pooler {
            Pooler::None => options
                .options(WATCHED)
                .options([("default_transaction_isolation", "read committed")])
                .options(self.bounds()),
            Pooler::Transaction => options.extra_float_digits(None),
        }
    }

    /// The statement that begins a transaction. Settings that the session lacks are set here.
    pub(in crate::store) fn begin(&self) -> String {
        match self.pooler {
            Pooler::None => "BEGIN".to_owned(),
            Pooler::Transaction => {
                let bounds = self.bounds().map(|(name, to)| format!("; SET LOCAL {name} = '{to}'"));
                format!("BEGIN ISOLATION LEVEL READ COMMITTED{}", bounds.concat())
            }
        }
    }

    fn bounds(&self) -> [(&'static str, String); 2] {
        [
            ("statement_timeout", self.statement_timeout.to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION.to_owned()),
        ]
    }

    /// A pool of two connections, as SeaORM needs it: one holds the migrators' lock meanwhile.
    pub(in crate::store) async fn connect(&self) -> Result<DatabaseConnection, Error> {
        let pool = PgPoolOptions::new().max_connections(2).connect_with(self.options()).await;
        let pool = pool.map_err(|error| why(error, self.implied))?;
        Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
    }

    /// Whether the database, asked over a new connection, is still working on queries that such
    /// sessions sent a while ago, as when all of them wait for rows. The caller sets the time
    /// limit.
    pub(in crate::store) async fn is_at_work(&self) -> bool {
        // In one message: a pooler may give the parts of a prepared statement to different servers.
        let at_work = format!(
            "SELECT 1
                FROM pg_stat_activity
                WHERE datname = current_database() AND usename = current_user
                    AND application_name IN (current_setting('application_name'), '{BRIEFLY}')
                    AND client_addr IS NOT DISTINCT FROM inet_client_addr() AND state = 'active'
                    AND wait_event_type IS DISTINCT FROM 'Client'
                    AND query_start < clock_timestamp() - interval '500 milliseconds'
                LIMIT 1"
        );
        let Ok(mut connection) = self.options().connect().await else { return false };
        let asked = connection.fetch_optional(AssertSqlSafe(at_work).into_sql_str());
        let found = matches!(asked.await, Ok(Some(_)));
        timeout(FAREWELL, connection.close()).await.ok();
        found
    }

    /// Opens one session and closes it, to find out whether that works and why not. A server that
    /// is starting is retried until `patience` is over.
    pub(in crate::store) async fn reach(&self, patience: Duration) -> Result<(), Error> {
        let options = self.options();
        let ends = Instant::now() + patience;
        loop {
            let error = match timeout_at(ends, options.connect()).await {
                Ok(Ok(connection)) => {
                    timeout(FAREWELL, connection.close()).await.ok();
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            };
            if !passes(&error) || Instant::now() + AGAIN >= ends {
                return Err(why(error, self.implied));
            }
            sleep(AGAIN).await;
        }
    }
}

/// How to connect for LISTEN.
pub(in crate::store) fn listener(url: &str) -> Result<PgConnectOptions, Error> {
    Ok(address(url)?.application_name("herald listens").disable_statement_logging())
}

fn address(url: &str) -> Result<PgConnectOptions, Error> {
    let options = url.parse().map_err(|error: sqlx::Error| {
        Error::from(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
    })?;
    Ok(protection::protect(url, options))
}

/// Whether the server may soon be up, or have room.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(cause) => cause.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(cause) => matches!(cause.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

/// Why TLS failed; `implied`: the URL did not ask for it.
fn untrusted(cause: &dyn std::fmt::Display, implied: bool) -> Error {
    let hint = if implied {
        ". The URL names no sslmode, so the server must prove its identity: add \
         ?sslmode=verify-full&sslrootcert=/path/to/ca.pem with the authority that signed its \
         certificate, or ?sslmode=disable if the database is on a trusted network"
    } else {
        ""
    };
    Error::Config(format!("TLS with the server of store.url failed: {cause}{hint}"))
}

/// Why no session could be opened, in a sentence that names the setting and contains no secret.
fn why(error: sqlx::Error, implied: bool) -> Error {
    use std::io::ErrorKind;
    let away = |text: &str| Error::Unavailable(text.to_owned());
    let wrong = |text: String| Error::Config(text);
    match &error {
        sqlx::Error::Io(cause) => match cause.kind() {
            ErrorKind::ConnectionRefused => away(
                "the host in store.url refuses connections on that port; is PostgreSQL running \
                 there, and is the port right?",
            ),
            ErrorKind::TimedOut => away(
                "store.url was not reached in time: nothing answers there; are host and port \
                 right, and does a firewall let Herald through?",
            ),
            _ if cause.to_string().contains("lookup address") => {
                away("the host name in store.url has no address (DNS); is it spelled right?")
            }
            // Errors of a certificate arrive as this kind.
            ErrorKind::InvalidData => untrusted(cause, implied),
            kind => Error::Unavailable(format!("the connection to store.url failed ({kind})")),
        },
        sqlx::Error::Tls(cause) => untrusted(cause, implied),
        sqlx::Error::Database(cause) => {
            let code = cause.code().unwrap_or_default().into_owned();
            match code.as_str() {
                "28P01" => wrong(format!(
                    "the server of store.url refuses the user name or the password (SQLSTATE \
                     {code})"
                )),
                "28000" => wrong(format!(
                    "the server of store.url does not let this user in (SQLSTATE {code}): the role \
                     is unknown or may not log in, or pg_hba.conf forbids it"
                )),
                "3D000" => wrong(format!(
                    "the database that store.url names does not exist (SQLSTATE {code})"
                )),
                "42501" => wrong(format!(
                    "the user of store.url may not connect to its database (SQLSTATE {code})"
                )),
                "53300" => Error::Unavailable(format!(
                    "the server of store.url has no connection left (SQLSTATE {code})"
                )),
                "08P01" => wrong(format!(
                    "the server of store.url refuses the way Herald begins a session (SQLSTATE \
                     {code}), as a pooler does; set store.pooler, and check the user and database \
                     there"
                )),
                _ => DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))).into(),
            }
        }
        _ => DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))).into(),
    }
}
