//! Reading typed values out of rows in the order of the columns, and writing many rows at once.

use sea_orm::TryGetable;

use super::Error;
use super::sql::Row;
use crate::domain::ids::IdError;
use crate::domain::time::Timestamp;

/// Takes the columns of a row one after the other, so that a list of columns and the fields read
/// from it can be compared at a glance.
pub(in crate::store) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(in crate::store) fn of(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The next column as it is.
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
        Error::Bug(format!("column {} holds what was never written", self.next - 1))
    }
}

/// Splits rows for multi-row inserts: few distinct sizes, so that few statements are prepared,
/// and never more than SQLite's 32,766 variables in one.
pub(in crate::store) fn chunks<T>(mut rows: &[T]) -> Vec<&[T]> {
    const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
    let mut chunks = Vec::new();
    for size in SIZES {
        while rows.len() >= size {
            let (chunk, rest) = rows.split_at(size);
            chunks.push(chunk);
            rows = rest;
        }
    }
    chunks
}

/// `($1, $2), ($3, $4), …`: parameters for `rows` rows of `columns` columns.
pub(in crate::store) fn tuples(rows: usize, columns: usize) -> String {
    let mut list = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        list.push_str(if row == 0 { "(" } else { ", (" });
        list.push_str(&super::sql::placeholders(row * columns + 1, columns));
        list.push(')');
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_every_row_in_order() {
        let rows: Vec<usize> = (0..1000).collect();
        let chunks = chunks(&rows);
        assert_eq!(chunks.concat(), rows);
        assert_eq!(chunks.len(), 3 + 3 + 2 + 2);
    }

    #[test]
    fn tuples_count_on() {
        assert_eq!(tuples(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
