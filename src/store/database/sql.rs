//! Hand-written statements, each in one text for both databases.
//!
//! Parameters are `$1`, `$2`, … on both. Words in braces stand for syntax that differs between
//! the databases: see [`expand`].

use sea_orm::{
    ConnectionTrait, DbBackend, EntityTrait, FromQueryResult, IdenStatic as _, Iterable as _,
    QueryResult, Statement, TryGetable, Value,
};

use crate::store::Error;

/// Parameters of a statement, each converted into a [`Value`].
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        vec![$(sea_orm::Value::from($value)),*]
    };
}
pub(in crate::store) use params;

/// The database's time in microseconds, as an expression.
///
/// PostgreSQL: in a subselect, so that it is read once per statement and an index can be searched
/// with it. SQLite counts milliseconds, and the value is fixed during a statement.
pub(in crate::store) fn now_sql(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => {
            "(SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint))"
        }
        _ => "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) * 1000)",
    }
}

/// A row with the database's time as `clock.now`, for statements that need it more than once.
pub(in crate::store) const CLOCK: &str = "(SELECT {now} AS now) AS clock";

/// Replaces `{now}`, `{greatest}` and `{least}` (of their arguments), `{skip_locked}`,
/// `{for_update}`, `{for_share}` and `{for_key_share}` (row locks; nothing on SQLite, which has one
/// writer).
pub(in crate::store) fn expand(backend: DbBackend, text: &str) -> String {
    let postgres = backend == DbBackend::Postgres;
    text.replace("{now}", now_sql(backend))
        .replace("{greatest}", if postgres { "GREATEST" } else { "MAX" })
        .replace("{least}", if postgres { "LEAST" } else { "MIN" })
        .replace("{skip_locked}", if postgres { "FOR UPDATE SKIP LOCKED" } else { "" })
        .replace("{for_update}", if postgres { "FOR UPDATE" } else { "" })
        .replace("{for_share}", if postgres { "FOR SHARE" } else { "" })
        .replace("{for_key_share}", if postgres { "FOR KEY SHARE" } else { "" })
}

/// `column = value` for a join that must look rows up one by one. PostgreSQL cannot hash or merge
/// by it: if statistics say that a table is empty, reading all of it seems as cheap, and plans are
/// kept after the table has filled.
pub(in crate::store) fn by_key(backend: DbBackend, column: &str, value: &str) -> String {
    match backend {
        DbBackend::Postgres => format!("{column} = ANY (ARRAY[{value}])"),
        _ => format!("{column} = {value}"),
    }
}

/// The columns of an entity, by name. Never `*`: a later release may add one while this one runs,
/// and PostgreSQL then refuses statements prepared before ("cached plan must not change result
/// type").
pub(in crate::store) fn columns<E: EntityTrait>(alias: &str) -> String {
    let columns = E::Column::iter().map(|column| format!("{alias}.{}", column.as_str()));
    columns.collect::<Vec<_>>().join(", ")
}

fn statement(db: &impl ConnectionTrait, text: &str, values: Vec<Value>) -> Statement {
    let backend = db.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, expand(backend, text), values);
    #[cfg(test)]
    crate::store::plans::note(&statement);
    statement
}

/// Runs a statement; returns the number of rows it changed.
pub(in crate::store) async fn execute(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<u64, Error> {
    Ok(db.execute_raw(statement(db, text, values)).await?.rows_affected())
}

/// The first row, if any.
pub(in crate::store) async fn one(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<Option<Row>, Error> {
    Ok(db.query_one_raw(statement(db, text, values)).await?.map(Row))
}

/// All rows.
pub(in crate::store) async fn all(
    db: &impl ConnectionTrait,
    text: &str,
    values: Vec<Value>,
) -> Result<Vec<Row>, Error> {
    let rows = db.query_all_raw(statement(db, text, values)).await?;
    Ok(rows.into_iter().map(Row).collect())
}

/// `$from, $from+1, …`: a list of `count` parameters.
pub(in crate::store) fn placeholders(from: usize, count: usize) -> String {
    let mut list = String::with_capacity(count * 5);
    for number in from..from + count {
        if number > from {
            list.push_str(", ");
        }
        list.push('$');
        list.push_str(&number.to_string());
    }
    list
}

/// One row of an answer.
pub(in crate::store) struct Row(QueryResult);

impl Row {
    /// The column at `index`, counted from 0.
    pub(in crate::store) fn get<T: TryGetable>(&self, index: usize) -> Result<T, Error> {
        Ok(self.0.try_get_by_index(index)?)
    }

    /// The column of this name.
    pub(in crate::store) fn named<T: TryGetable>(&self, name: &str) -> Result<T, Error> {
        Ok(self.0.try_get_by(name)?)
    }

    /// A whole entity.
    pub(in crate::store) fn model<T: FromQueryResult>(&self) -> Result<T, Error> {
        Ok(T::from_query_result(&self.0, "")?)
    }
}
