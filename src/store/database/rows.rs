//! Reading typed values out of rows in the order of the columns, and writing many rows at once.

use sea_orm::sea_query::ArrayType;
use sea_orm::{DbBackend, TryGetable, Value};

use super::sql::Row;
use crate::domain::delivery::State;
use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::ids::{IdError, InstallationId};
use crate::domain::time::Timestamp;
use crate::store::Error;

/// A stored installation id.
pub(in crate::store) fn parse_id(text: &str) -> Result<InstallationId, Error> {
    InstallationId::parse(text).map_err(|_| Error::Bug("a stored installation id".into()))
}

/// Takes the columns of a row one after another, so that a list of columns is easy to compare with
/// the fields read from it.
pub(in crate::store) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(in crate::store) fn of(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next column, unconverted.
    pub(in crate::store) fn take<T: TryGetable>(&mut self) -> Result<T, Error> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(in crate::store) fn time(&mut self) -> Result<Timestamp, Error> {
        self.take().map(Timestamp)
    }

    pub(in crate::store) fn optional_time(&mut self) -> Result<Option<Timestamp>, Error> {
        Ok(self.take::<Option<i64>>()?.map(Timestamp))
    }

    /// A count, which the schema keeps as a bigint.
    pub(in crate::store) fn count(&mut self) -> Result<u32, Error> {
        u32::try_from(self.take::<i64>()?).map_err(|_| self.corrupt())
    }

    /// A text id.
    pub(in crate::store) fn id<T>(
        &mut self,
        parse: impl Fn(String) -> Result<T, IdError>,
    ) -> Result<T, Error> {
        let text = self.take::<String>()?;
        parse(text).map_err(|_| self.corrupt())
    }

    /// A text id, or NULL.
    pub(in crate::store) fn optional_id<T>(
        &mut self,
        parse: impl Fn(String) -> Result<T, IdError>,
    ) -> Result<Option<T>, Error> {
        let text = self.take::<Option<String>>()?;
        text.map(|text| parse(text).map_err(|_| self.corrupt())).transpose()
    }

    /// A delivery's action on its subject; NULL: a new message.
    pub(in crate::store) fn action(&mut self) -> Result<Action, Error> {
        match self.take::<Option<String>>()?.filter(|code| !code.is_empty()) {
            None => Ok(Action::Post),
            Some(code) => Action::from_code(&code).ok_or_else(|| self.corrupt()),
        }
    }

    /// The kind of a delivery's last request; NULL: none was planned or made.
    pub(in crate::store) fn request_kind(&mut self) -> Result<Option<SlackRequestKind>, Error> {
        let code = self.take::<Option<String>>()?.filter(|code| !code.is_empty());
        code.map(|code| SlackRequestKind::from_code(&code).ok_or_else(|| self.corrupt()))
            .transpose()
    }

    /// Like [`Columns::action`], for a row that is only shown: an action that only a newer release
    /// knows counts as a message.
    pub(in crate::store) fn shown_action(&mut self) -> Result<Action, Error> {
        let code = self.take::<Option<String>>()?;
        Ok(code.and_then(|code| Action::from_code(&code)).unwrap_or(Action::Post))
    }

    /// The state of a delivery that is only shown.
    pub(in crate::store) fn shown_state(&mut self) -> Result<State, Error> {
        Ok(State::from_code(&self.take::<String>()?).unwrap_or(State::Newer))
    }

    /// A UUID.
    pub(in crate::store) fn uuid<T>(
        &mut self,
        parse: impl Fn(&str) -> Result<T, IdError>,
    ) -> Result<T, Error> {
        self.id(|text| parse(&text))
    }

    /// One of a closed set of codes.
    pub(in crate::store) fn code<T>(
        &mut self,
        from_code: impl Fn(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let text = self.take::<String>()?;
        from_code(&text).ok_or_else(|| self.corrupt())
    }

    fn corrupt(&self) -> Error {
        Error::Bug(format!("column {} has a value that was never written", self.next - 1))
    }
}

/// The sizes into which `count` rows are split for multi-row statements. There are few distinct
/// ones, so that few statements are prepared, but enough that a small batch takes one or two
/// statements; none exceeds SQLite's 32,766 variables.
fn sizes(mut count: usize) -> Vec<usize> {
    const SIZES: [usize; 12] = [256, 64, 32, 16, 12, 8, 6, 5, 4, 3, 2, 1];
    let mut sizes = Vec::new();
    for size in SIZES {
        while count >= size {
            sizes.push(size);
            count -= size;
        }
    }
    sizes
}

/// Splits rows for multi-row statements, as [`given`] does.
pub(in crate::store) fn chunks<T>(mut rows: &[T]) -> Vec<&[T]> {
    let sizes = sizes(rows.len()).into_iter();
    let chunks = sizes.map(|size| {
        let (chunk, rest) = rows.split_at(size);
        rows = rest;
        chunk
    });
    chunks.collect()
}

/// Parameters for `rows` rows of `columns` columns, from the first parameter on: `($1, $2), ($3,
/// $4), …`, and on SQLite `(?, ?), (?, ?), …`, so a statement must have them only once.
///
/// SQLite keeps the names of parameters in a list, which it searches from the start for each
/// parameter that is parsed or bound: 16 million steps for the 5,632 names of 256 deliveries.
/// Parameters without a name are not in that list.
pub(in crate::store) fn tuples(backend: DbBackend, rows: usize, columns: usize) -> String {
    let mut list = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        list.push_str(if row == 0 { "(" } else { ", (" });
        match backend {
            DbBackend::Sqlite => list.push_str(&vec!["?"; columns].join(", ")),
            _ => list.push_str(&super::sql::placeholders(row * columns + 1, columns)),
        }
        list.push(')');
    }
    list
}

/// The type of a column of [`given`]. Optional ones may also hold NULL, and never the empty value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Column {
    Text,
    OptionalText,
    Bytes,
    OptionalBytes,
    Number,
}

/// Rows as a table of a statement, named `given`, with columns `column1`, `column2`, …; the
/// parameters begin at `$1`. PostgreSQL gets one table of arrays, so that one statement is prepared
/// for any number of rows; SQLite gets as many tables as [`chunks`] makes, and a statement may name
/// its table once ([`tuples`]). Rows keep their order.
pub(in crate::store) fn given<const N: usize>(
    backend: DbBackend,
    columns: [Column; N],
    rows: Vec<[Value; N]>,
) -> Vec<(String, Vec<Value>)> {
    if rows.is_empty() {
        return Vec::new();
    }
    if backend == DbBackend::Postgres {
        return vec![arrays(columns, rows)];
    }
    let sizes = sizes(rows.len()).into_iter();
    let mut rows = rows.into_iter();
    let tables = sizes.map(|size| {
        let values: Vec<Value> = rows.by_ref().take(size).flatten().collect();
        (format!("(VALUES {}) AS given", tuples(backend, size, N)), values)
    });
    tables.collect()
}

/// [`given`] on PostgreSQL; for any number of rows, even none.
pub(in crate::store) fn arrays<const N: usize>(
    columns: [Column; N],
    rows: Vec<[Value; N]>,
) -> (String, Vec<Value>) {
    let mut arrays: [Vec<Value>; N] = std::array::from_fn(|_| Vec::with_capacity(rows.len()));
    for row in rows {
        for (array, value) in arrays.iter_mut().zip(row) {
            // These arrays hold no NULL: the empty value stands for it.
            array.push(match value {
                Value::String(None) => Value::from(String::new()),
                Value::Bytes(None) => Value::from(Vec::<u8>::new()),
                value => value,
            });
        }
    }
    let (mut names, mut chosen, mut types) = (Vec::new(), Vec::new(), Vec::new());
    let mut values = Vec::with_capacity(N);
    for (number, (column, array)) in (1..).zip(columns.into_iter().zip(arrays)) {
        let (name, kind, empty) = match column {
            Column::Text => ("text", ArrayType::String, None),
            Column::OptionalText => ("text", ArrayType::String, Some("''")),
            Column::Bytes => ("bytea", ArrayType::Bytes, None),
            Column::OptionalBytes => ("bytea", ArrayType::Bytes, Some("''::bytea")),
            Column::Number => ("bigint", ArrayType::BigInt, None),
        };
        names.push(format!("c{number}"));
        // In a subselect: otherwise PostgreSQL takes the array's length into account and plans each
        // execution again.
        types.push(format!("(SELECT ${number}::{name}[])"));
        chosen.push(match empty {
            Some(empty) => format!("NULLIF(c{number}, {empty}) AS column{number}"),
            None => format!("c{number} AS column{number}"),
        });
        values.push(Value::Array(kind, Some(Box::new(array))));
    }
    let (chosen, types, names) = (chosen.join(", "), types.join(", "), names.join(", "));
    // The limit keeps all rows. But PostgreSQL assumes that a limit it does not know beforehand
    // keeps a tenth of the rows, so it expects one row, and looks up the joined rows by key instead
    // of reading their whole table.
    let table = format!(
        "(SELECT {chosen} FROM unnest({types}) AS raw({names})
            LIMIT (SELECT cardinality($1))) AS given"
    );
    (table, values)
}

/// `column1, column2, …` up to a number.
fn numbered(count: usize) -> String {
    let names: Vec<_> = (1..=count).map(|number| format!("column{number}")).collect();
    names.join(", ")
}

/// A column of a new row: its name, its type and its value.
#[derive(Debug, Clone)]
pub(in crate::store) struct NewCell(
    pub(in crate::store) &'static str,
    pub(in crate::store) Column,
    pub(in crate::store) Value,
);

/// New rows, for `INSERT INTO … SELECT`.
pub(in crate::store) struct NewRows<const N: usize> {
    names: [&'static str; N],
    /// As [`given`] makes them.
    pub(in crate::store) tables: Vec<(String, Vec<Value>)>,
}

impl<const N: usize> NewRows<N> {
    /// `None`: there are no rows. All have the same columns in the same order.
    pub(in crate::store) fn of(backend: DbBackend, rows: Vec<[NewCell; N]>) -> Option<Self> {
        let first = rows.first()?;
        let names = first.each_ref().map(|cell| cell.0);
        let columns = first.each_ref().map(|cell| cell.1);
        let values = rows.into_iter().map(|row| row.map(|NewCell(_, _, value)| value));
        Some(Self { names, tables: given(backend, columns, values.collect()) })
    }

    /// The names of the columns.
    pub(in crate::store) fn names(&self) -> String {
        self.names.join(", ")
    }

    /// The values of the columns in a table, in the order of their names.
    pub(in crate::store) fn values(&self) -> String {
        numbered(self.names.len())
    }

    /// The names of the columns and their values in a table, in one order, without `others`: values
    /// that the statement uses in another way.
    pub(in crate::store) fn without(&self, others: &[&str]) -> (String, String) {
        let kept = self.names.iter().filter(|name| !others.contains(name));
        let (names, values): (Vec<&str>, Vec<String>) =
            kept.map(|name| (*name, self.value(name))).unzip();
        (names.join(", "), values.join(", "))
    }

    /// The value of one of the columns in a table.
    pub(in crate::store) fn value(&self, name: &str) -> String {
        let at = self.names.iter().position(|known| *known == name);
        at.map_or_else(|| name.to_owned(), |at| format!("column{}", at + 1))
    }
}

/// One new row, for `INSERT INTO … VALUES`.
pub(in crate::store) struct NewRow {
    /// The names of the columns.
    pub(in crate::store) names: String,
    /// The parameters of the columns in the order of their names, from `$1` on.
    pub(in crate::store) parameters: String,
    /// The values of the parameters.
    pub(in crate::store) values: Vec<Value>,
}

impl NewRow {
    pub(in crate::store) fn of<const N: usize>(row: [NewCell; N]) -> Self {
        let names = row.each_ref().map(|cell| cell.0).join(", ");
        let values = row.into_iter().map(|NewCell(_, _, value)| value).collect();
        Self { names, parameters: super::sql::placeholders(1, N), values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_new_rows_is_found_by_its_name() {
        let row = |id: i64| {
            [
                NewCell("id", Column::Number, Value::from(id)),
                NewCell("name", Column::OptionalText, Value::String(None)),
            ]
        };
        let rows = NewRows::of(DbBackend::Sqlite, vec![row(1), row(2)]).unwrap();
        assert_eq!(rows.names(), "id, name");
        assert_eq!(rows.values(), "column1, column2");
        assert_eq!(rows.value("name"), "column2");
        assert_eq!(rows.without(&["id"]), ("name".to_owned(), "column2".to_owned()));
        let one = NewRow::of(row(1));
        assert_eq!((one.names.as_str(), one.parameters.as_str()), ("id, name", "$1, $2"));
        assert_eq!(one.values, [Value::from(1_i64), Value::String(None)]);
        let values = [Value::from(1_i64), Value::String(None), Value::from(2_i64)];
        assert_eq!(rows.tables[0].1[..3], values);
        assert!(NewRows::<2>::of(DbBackend::Sqlite, Vec::new()).is_none());
    }

    #[test]
    fn rows_become_one_table_of_arrays_or_tables_of_values() {
        let row = |number: i64| [Value::from("a"), Value::String(None), Value::from(number)];
        let rows: Vec<_> = (0..7).map(row).collect();
        let columns = [Column::Text, Column::OptionalText, Column::Number];
        let tables = given(DbBackend::Postgres, columns, rows.clone());
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(&tables[0].0),
            words(
                "(SELECT c1 AS column1, NULLIF(c2, '') AS column2, c3 AS column3
                    FROM unnest((SELECT $1::text[]), (SELECT $2::text[]),
                    (SELECT $3::bigint[])) AS raw(c1, c2, c3)
                    LIMIT (SELECT cardinality($1))) AS given"
            )
        );
        assert_eq!((tables.len(), tables[0].1.len()), (1, 3));
        let tables = given(DbBackend::Sqlite, columns, rows);
        assert_eq!(tables.iter().map(|table| table.1.len()).collect::<Vec<_>>(), [18, 3]);
        assert_eq!(tables[1].0, "(VALUES (?, ?, ?)) AS given");
        assert!(given(DbBackend::Sqlite, columns, Vec::new()).is_empty());
    }

    #[test]
    fn chunks_keep_every_row_in_order() {
        let rows: Vec<usize> = (0..1000).collect();
        let chunks = chunks(&rows);
        assert_eq!(chunks.concat(), rows);
        assert_eq!(chunks.len(), 3 + 3 + 1 + 1);
    }

    #[test]
    fn tuples_count_on() {
        assert_eq!(tuples(DbBackend::Postgres, 2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(tuples(DbBackend::Sqlite, 2, 3), "(?, ?, ?), (?, ?, ?)");
    }
}
