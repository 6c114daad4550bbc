//! The data that an attacker with a copy of the database gets: every column of every table as text,
//! and for SQLite the raw files.

use std::path::Path;

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

/// A table's row, or a file.
pub(crate) type Part = (String, Vec<u8>);

pub(crate) async fn dump(raw: &DatabaseConnection, data_dir: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    if raw.get_database_backend() == DbBackend::Postgres {
        for table in tables(raw).await {
            let text = format!("SELECT CAST(t AS text) FROM {table} t");
            let statement = Statement::from_string(DbBackend::Postgres, text);
            for row in raw.query_all_raw(statement).await.unwrap() {
                let text: String = row.try_get_by_index(0).unwrap();
                // Binary columns are shown as hexadecimal digits.
                let mut bytes = text.clone().into_bytes();
                for part in text.split("\\x").skip(1) {
                    bytes.extend(unhex(part));
                }
                parts.push((table.clone(), bytes));
            }
        }
        assert!(parts.len() > 20);
    } else {
        for name in ["herald.db", "herald.db-wal"] {
            parts.push((name.to_owned(), std::fs::read(data_dir.join(name)).unwrap_or_default()));
        }
        let bytes: usize = parts.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes > 100_000, "{bytes}");
    }
    parts
}

async fn tables(raw: &DatabaseConnection) -> Vec<String> {
    let text = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
    let statement = Statement::from_string(DbBackend::Postgres, text);
    let rows = raw.query_all_raw(statement).await.unwrap();
    let tables: Vec<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert!(tables.len() > 20, "{tables:?}");
    tables
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().take_while(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).filter_map(pair).collect()
}

/// The places that contain a text.
pub(crate) fn found(dump: &[Part], text: &str) -> Vec<String> {
    let contains = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    dump.iter().filter(|(_, bytes)| contains(bytes)).map(|(place, _)| place.clone()).collect()
}
