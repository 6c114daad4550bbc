//! The store's errors, grouped by the action that a caller should take.
//!
//! Error texts name tables, constraints and SQLSTATEs, but never a value, because values may be
//! personal data (invariant I12). Drivers put values into their messages and details, so these are
//! dropped if they may contain one.

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};

/// SQLSTATE `idle_in_transaction_session_timeout`.
const IDLE: &str = "25P03";
/// SQLSTATE `query_canceled`: by a time-out or by another session.
const CANCELED: &str = "57014";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached or is starting: retry later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// The database answers, but no connection became free in time: send fewer calls at once.
    #[error("no connection to the database became free in time")]
    Busy,
    /// The transaction conflicted with another one: the same work, repeated from its start, is
    /// likely to succeed. Where this can happen, the store has already retried or waited several
    /// times.
    #[error("the transaction conflicted with another one: {0}")]
    Contended(String),
    /// A row stayed locked by another transaction, perhaps of a frozen process: retry later.
    /// Nothing was written.
    #[error("another transaction holds a row: {0}")]
    Locked(String),
    /// A part of a large piece of work is done and committed: repeat the call, which continues it.
    #[error("more work than one call does: {0}")]
    Unfinished(String),
    /// The database has no space left: an operator must act; reads still work.
    #[error("the database is full")]
    Full,
    /// The write contradicts stored data (the constraint or the object is named).
    #[error("conflict: {0}")]
    Conflict(String),
    /// The object would have more parts than it may. Nothing was written.
    #[error("{0}")]
    TooMany(String),
    /// The tenant is being deleted, or was deleted so lately that its name cannot be used again
    /// yet. Nothing was written.
    #[error("the tenant was deleted")]
    TenantDeleted,
    /// The object to change or read does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// An encrypted value does not decrypt: the key is a different one, or the bytes were altered
    /// or moved.
    #[error("cannot decrypt {0}")]
    Sealed(String),
    /// A key of a person was erased after it had encrypted a part of this write: encrypt it again
    /// with the person's new key. Nothing was written. The store does so itself.
    #[error("a person was deleted meanwhile")]
    KeyErased,
    /// The service that holds the key-encryption key does not answer or refuses: retry later, or an
    /// operator must act.
    #[error("the key service: {0}")]
    KeyService(String),
    /// The schema does not match this binary.
    #[error("{0}")]
    Schema(String),
    /// A setting is missing or wrong; the sentence names it.
    #[error("{0}")]
    Config(String),
    /// A bug in Herald.
    #[error("store: {0}")]
    Bug(String),
}

impl Error {
    /// Whether the error would also occur for each part of a batch run by itself, or may hide a
    /// commit that happened. If not, the cause may lie in one part.
    pub(in crate::store) fn concerns_all(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy | Self::Full | Self::Schema(_))
    }
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match &error {
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Self::Busy,
            DbErr::ConnectionAcquire(cause) => Self::Unavailable(cause.to_string()),
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => classify(cause),
            DbErr::Conn(_) => Self::Unavailable("no connection".into()),
            DbErr::RecordNotFound(_) | DbErr::RecordNotUpdated => Self::NotFound("row".into()),
            DbErr::Type(text) | DbErr::Migration(text) | DbErr::Custom(text) => {
                Self::Bug(text.clone())
            }
            _ => Self::Bug("the object mapper refused a statement or a row".into()),
        }
    }
}

/// Whether the connection was lost, so that another connection may help at once.
pub(in crate::store) fn is_lost(error: &DbErr) -> bool {
    use sea_orm::sqlx::error::Error as Sqlx;
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return false;
    };
    match &**cause {
        // A connection that did not answer has used up the caller's time.
        Sqlx::Io(cause) => ![std::io::ErrorKind::TimedOut, HELD_UP].contains(&cause.kind()),
        Sqlx::Protocol(_) | Sqlx::BeginFailed => true,
        // Ended by an administrator or with its server, or idle in a transaction for too long.
        Sqlx::Database(cause) => {
            matches!(cause.code().as_deref(), Some("57P01" | "57P02" | IDLE))
        }
        _ => false,
    }
}

/// Whether the server ended the session because its transaction was idle for too long. It does so
/// only while it waits for the next statement: a COMMIT with this answer was not executed. The
/// server measures by the clock of the day, so a step of that clock can end a transaction early.
/// <https://www.postgresql.org/docs/current/runtime-config-client.html>
pub(in crate::store) fn ended_while_idle(error: &DbErr) -> bool {
    code(error).as_deref() == Some(IDLE)
}

/// Whether the statement was canceled.
pub(in crate::store) fn is_canceled(error: &DbErr) -> bool {
    code(error).as_deref() == Some(CANCELED)
}

/// The error of a statement whose wait for a row was ended by another session: it becomes
/// [`Error::Locked`]. The driver has no error of this meaning.
pub(in crate::store) fn held_up() -> DbErr {
    let cause = sea_orm::sqlx::Error::Io(HELD_UP.into());
    DbErr::Query(RuntimeErr::SqlxError(cause.into()))
}

/// The kind of [`held_up`]. Sockets do not report it: the runtime waits until they are ready.
const HELD_UP: std::io::ErrorKind = std::io::ErrorKind::WouldBlock;

/// The SQLSTATE of the server's answer.
fn code(error: &DbErr) -> Option<std::borrow::Cow<'_, str>> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return None;
    };
    cause.as_database_error().and_then(sea_orm::sqlx::error::DatabaseError::code)
}

/// Whether the error is an answer of the server, for example that a statement used up its time.
pub(in crate::store) fn is_answer(error: &DbErr) -> bool {
    matches!(
        error,
        DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))
            if matches!(&**cause, sea_orm::sqlx::error::Error::Database(_)) || is_held_up(cause)
    )
}

fn is_held_up(error: &sea_orm::SqlxError) -> bool {
    matches!(error, sea_orm::SqlxError::Io(cause) if cause.kind() == HELD_UP)
}

fn classify(error: &sea_orm::SqlxError) -> Error {
    use sea_orm::sqlx::error::Error as Sqlx;
    match error {
        Sqlx::Database(cause) => {
            let code = cause.code().unwrap_or_default().into_owned();
            let about = cause.constraint().or(cause.table()).unwrap_or_default().to_owned();
            if cause.try_downcast_ref::<sea_orm::SqlxPostgresError>().is_some() {
                postgres(&code, &about, cause.message())
            } else {
                sqlite(&code, cause.message())
            }
        }
        Sqlx::PoolTimedOut => Error::Busy,
        _ if is_held_up(error) => Error::Locked("a wait was ended".into()),
        Sqlx::Io(cause) => Error::Unavailable(format!("connection lost ({})", cause.kind())),
        Sqlx::Tls(_) => Error::Unavailable("TLS failed".into()),
        Sqlx::Protocol(_) | Sqlx::PoolClosed | Sqlx::WorkerCrashed | Sqlx::BeginFailed => {
            Error::Unavailable("the connection broke".into())
        }
        Sqlx::Configuration(_) => Error::Config(
            "store.url is not a database address; it looks like postgres://user@host/database"
                .into(),
        ),
        Sqlx::ColumnDecode { index, .. } => Error::Bug(format!("column {index} does not decode")),
        Sqlx::ColumnNotFound(name) => Error::Bug(format!("no column {name}")),
        _ => Error::Bug("the driver refused a statement".into()),
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn postgres(code: &str, about: &str, message: &str) -> Error {
    let named = || format!("SQLSTATE {code} {about}").trim_end().to_owned();
    match code {
        // Serialization failure, deadlock.
        "40001" | "40P01" => Error::Contended(named()),
        // Lock time-out.
        "55P03" => Error::Locked(named()),
        "53100" => Error::Full,
        // Undefined table, column, schema.
        "42P01" | "42703" | "3F000" => Error::Schema(NEEDS_MIGRATE.into()),
        // First: a server that became a standby; a database that accepts no connections now; a
        // statement or session that was ended. Then: wrong password, no such database, no right to
        // connect. Waiting does not always help with these, but the same codes appear while a
        // server is being set up.
        "25006" | "55000" | CANCELED | IDLE | "28P01" | "28000" | "3D000" => {
            Error::Unavailable(named())
        }
        _ => match code.get(..2) {
            Some("23") => Error::Conflict(named()),
            Some("08" | "53" | "57" | "58") => Error::Unavailable(named()),
            // Messages about syntax and access rules contain our own statements, not values.
            Some("42") => Error::Bug(format!("{}: {message}", named())),
            _ => Error::Bug(named()),
        },
    }
}

/// <https://www.sqlite.org/rescode.html>; the low byte is the primary code. SQLite's messages name
/// tables and columns, not values.
fn sqlite(code: &str, message: &str) -> Error {
    let primary = code.parse::<u32>().unwrap_or(0) & 0xff;
    match primary {
        5 | 6 => Error::Contended("the database file is locked".into()),
        13 => Error::Full,
        19 => Error::Conflict(message.to_owned()),
        1 if message.starts_with("no such table") || message.starts_with("no such column") => {
            Error::Schema(NEEDS_MIGRATE.into())
        }
        // Read-only, I/O error, cannot open.
        8 | 10 | 14 => Error::Unavailable(message.to_owned()),
        _ => Error::Bug(format!("SQLite {code}: {message}")),
    }
}

pub(in crate::store) const NEEDS_MIGRATE: &str =
    "the database's schema is not up to date; run `herald migrate`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_to_do() {
        assert!(matches!(postgres("40P01", "", ""), Error::Contended(_)));
        assert!(matches!(postgres("55P03", "", ""), Error::Locked(_)));
        assert!(matches!(postgres("53300", "", ""), Error::Unavailable(_)));
        assert!(matches!(postgres("57P01", "", ""), Error::Unavailable(_)));
        assert!(matches!(postgres("55000", "", ""), Error::Unavailable(_)));
        assert_eq!(postgres("53100", "", ""), Error::Full);
        assert!(matches!(postgres("42P01", "", ""), Error::Schema(_)));
        assert!(matches!(sqlite("517", "busy"), Error::Contended(_)));
        assert!(matches!(sqlite("2067", "UNIQUE"), Error::Conflict(_)));
        assert_eq!(sqlite("13", ""), Error::Full);
    }

    #[test]
    fn values_in_messages_are_not_passed_on() {
        let error =
            postgres("22P02", "", "invalid input syntax for type bigint: \"ada@example.com\"");
        assert!(!error.to_string().contains("ada"), "{error}");
    }
}
