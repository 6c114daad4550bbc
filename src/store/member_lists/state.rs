//! Reading member lists: the state, the pages of the published generation, and the changes since.
//! `crawl` and `changes` write them.

use std::io::Read as _;

use crate::domain::directory::crawl::Doubt;
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::database::entity::directory;
use crate::store::database::rows::parse_id;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Error, MemberLists, Store};

/// The most bytes that one page may have after decompression: 1,000 members of 64 KiB each.
pub(in crate::store) const PAGE_BYTES: usize = 64 * 1024 * 1024;
/// Changes that one statement reads.
const CHUNK: u64 = 200;
/// Lists that one statement names.
const POINTERS: usize = 500;
pub(in crate::store) const CHANGE_TABLE: &str = "directory_changes";

/// The state of an installation's member list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryState {
    /// Grows with every published crawl; 0: never published.
    pub generation: i64,
    /// Pages of that generation, numbered from 0.
    pub pages: i32,
    /// Members in that generation.
    pub members: i64,
    /// The last change appended; see [`MemberLists::changes`].
    pub change_sequence: i64,
    /// The last change that the pages of this generation contain: later changes must be applied to
    /// them.
    pub changes_base: i64,
    /// The last change that was removed. If it exceeds the `changes_base` that a reader began with,
    /// the reader was too slow and must begin again.
    pub changes_gone: i64,
    /// Grows with every batch of custom profile fields; see
    /// [`CustomFields::list_after`](crate::store::CustomFields::list_after).
    pub fields_sequence: i64,
    /// When the crawl of that generation began.
    pub refreshed_at: Option<Timestamp>,
    pub next_refresh_at: Timestamp,
    /// When an event about a member was last applied, to the minute; `None`: never.
    pub event_heard_at: Option<Timestamp>,
    /// Why the last crawl failed; `None` after a success.
    pub last_error: Option<String>,
    /// The crawl under way, with or without a holder.
    pub crawl: Option<CrawlProgress>,
    /// A complete crawl that was refused because it lost too many members.
    pub shrink: Option<PendingShrink>,
    /// The time of this reading.
    pub as_of: Timestamp,
}

/// The progress of a crawl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrawlProgress {
    pub started_at: Timestamp,
    pub pages: i32,
    pub members: i64,
    /// Members requested per page; 0 before the first request.
    pub page_size: i32,
    /// How often it started over.
    pub restarts: i32,
    /// The replica that reads now; `None` if none does.
    pub holder: Option<String>,
}

/// A loss that awaits confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingShrink {
    /// The doubt, and whether an administrator accepted it.
    pub doubt: Doubt,
    /// When it was found.
    pub found_at: Timestamp,
}

/// The latest positions of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryPointer {
    pub installation: InstallationId,
    pub generation: i64,
    pub change_sequence: i64,
    pub fields_sequence: i64,
}

/// One change of a member, to be applied after the pages of the generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryChange {
    pub sequence: i64,
    pub body: Vec<u8>,
}

impl MemberLists<'_> {
    /// `None` if no crawl was ever tried and nothing was learnt.
    pub async fn state(
        self,
        installation: InstallationId,
    ) -> Result<Option<DirectoryState>, Error> {
        let columns = sql::columns::<directory::Entity>("d");
        let text = format!(
            "SELECT {columns}, {{now}} AS as_of FROM directory d WHERE d.installation = $1"
        );
        let row = sql::one(self.store.reader(), &text, params![installation.to_string()]).await?;
        row.map(|row| Ok(state(row.model()?, Timestamp(row.named("as_of")?)))).transpose()
    }

    /// Generation, last change and last batch of custom fields of the given lists, for a follower
    /// to compare with its own.
    pub async fn pointers(
        self,
        installations: &[InstallationId],
    ) -> Result<Vec<DirectoryPointer>, Error> {
        let mut pointers = Vec::with_capacity(installations.len());
        for chunk in installations.chunks(POINTERS) {
            let sql = format!(
                "SELECT installation, generation, change_sequence, fields_sequence FROM directory
                WHERE installation IN ({})",
                sql::placeholders(1, chunk.len())
            );
            let ids = chunk.iter().map(|id| id.to_string().into()).collect();
            for row in sql::all(self.store.reader(), &sql, ids).await? {
                pointers.push(DirectoryPointer {
                    installation: parse_id(&row.get::<String>(0)?)?,
                    generation: row.get(1)?,
                    change_sequence: row.get(2)?,
                    fields_sequence: row.get(3)?,
                });
            }
        }
        Ok(pointers)
    }

    /// One page, decrypted and decompressed, of the current generation, or of the previous one
    /// while it is kept. [`Error::NotFound`]: it is gone (or was never published); read the state
    /// again and start over.
    pub async fn page(
        self,
        installation: InstallationId,
        generation: i64,
        page: i32,
    ) -> Result<Vec<u8>, Error> {
        const SQL: &str = "SELECT p.body FROM directory_pages p
            JOIN directory d ON d.installation = p.installation AND p.generation <= d.generation
            WHERE p.installation = $1 AND p.generation = $2 AND p.page = $3";
        let values = params![installation.to_string(), generation, page];
        let row = sql::one(self.store.reader(), SQL, values).await?;
        let row = row.ok_or_else(|| Error::NotFound("directory generation".into()))?;
        let sealed: Vec<u8> = row.get(0)?;
        let key = page_row(generation, page);
        let place = SealedCell { table: PAGE_TABLE, row: &key, column: "body" };
        let packed =
            self.store.unseal(&KeyScope::Installation(installation), &place, &sealed).await?;
        // Milliseconds of work for a large page, so not on the runtime's threads.
        tokio::task::spawn_blocking(move || unpack(&packed))
            .await
            .map_err(|_| Error::Bug("decompression stopped".into()))?
    }

    /// All pages of a generation, in order. For large workspaces, read page by page with
    /// [`MemberLists::page`].
    pub async fn pages(
        self,
        installation: InstallationId,
        generation: i64,
    ) -> Result<Vec<Vec<u8>>, Error> {
        const COUNT: &str = "SELECT COUNT(*) FROM directory_pages p
            JOIN directory d ON d.installation = p.installation AND p.generation <= d.generation
            WHERE p.installation = $1 AND p.generation = $2";
        let values = params![installation.to_string(), generation];
        let count: i64 = match sql::one(self.store.reader(), COUNT, values).await? {
            Some(row) => row.get(0)?,
            None => 0,
        };
        if count == 0 {
            return Err(Error::NotFound("directory generation".into()));
        }
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let mut pages = Vec::new();
        for page in 0..count {
            pages.push(self.page(installation, generation, page).await?);
        }
        Ok(pages)
    }

    /// All changes after a sequence number, oldest first.
    pub async fn changes(
        self,
        installation: InstallationId,
        mut after: i64,
    ) -> Result<Vec<DirectoryChange>, Error> {
        let mut changes = Vec::new();
        loop {
            let chunk = self.store.changes_chunk(installation, after).await?;
            let last = (chunk.len() as u64) < CHUNK;
            after = chunk.last().map_or(after, |change| change.sequence);
            changes.extend(chunk);
            if last {
                return Ok(changes);
            }
        }
    }

    /// Connected installations that are in use, due for a crawl and not being crawled; the longest
    /// overdue first.
    pub async fn due_refreshes(self, limit: u32) -> Result<Vec<InstallationId>, Error> {
        const SQL: &str = "SELECT i.id FROM installations i
            LEFT JOIN directory d ON d.installation = i.id
            WHERE i.state = 'active'
                AND EXISTS (SELECT 1 FROM tenant_links l WHERE l.installation = i.id)
                AND COALESCE(d.next_refresh_at, 0) <= {now} AND COALESCE(d.lease_until, 0) <= {now}
            ORDER BY COALESCE(d.next_refresh_at, 0), i.id LIMIT $1";
        let rows = sql::all(self.store.reader(), SQL, params![i64::from(limit)]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// The same of those that have a booked crawl, as nearly all have. However many workspaces
    /// there are, only those that are due are looked up.
    pub async fn booked_refreshes(self, limit: u32) -> Result<Vec<InstallationId>, Error> {
        // As values, which PostgreSQL looks up row by row: it would join whole tables.
        const SQL: &str = "SELECT d.installation FROM directory d
            WHERE d.next_refresh_at <= {now} AND d.lease_until <= {now}
                AND (SELECT i.state FROM installations i WHERE i.id = d.installation) = 'active'
                AND (SELECT MIN(l.tenant) FROM tenant_links l
                    WHERE l.installation = d.installation) IS NOT NULL
            ORDER BY d.next_refresh_at, d.installation LIMIT $1";
        let rows = sql::all(self.store.reader(), SQL, params![i64::from(limit)]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// Makes a crawl due at once, such as after a connect.
    pub async fn request_refresh(self, installation: InstallationId) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO directory (installation, next_refresh_at)
            VALUES ($1, {now}) ON CONFLICT (installation)
            DO UPDATE SET next_refresh_at = excluded.next_refresh_at";
        let values = &params![installation.to_string()];
        let requested = self.store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, SQL, values.clone()).await?;
                self.store.record(tx).await
            })
        });
        requested.await?;
        self.store.recorded();
        Ok(())
    }
}

impl Store {
    async fn changes_chunk(
        &self,
        installation: InstallationId,
        after: i64,
    ) -> Result<Vec<DirectoryChange>, Error> {
        const SQL: &str = "SELECT sequence, body FROM directory_changes
            WHERE installation = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
        let scope = KeyScope::Installation(installation);
        let mut changes = Vec::new();
        let values = params![installation.to_string(), after, CHUNK.cast_signed()];
        for row in sql::all(self.reader(), SQL, values).await? {
            let (sequence, sealed): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let key = sequence.to_string();
            let place = SealedCell { table: CHANGE_TABLE, row: &key, column: "body" };
            let body = self.unseal(&scope, &place, &sealed).await?.to_vec();
            changes.push(DirectoryChange { sequence, body });
        }
        Ok(changes)
    }

    pub(in crate::store) async fn ensure_directory(
        &self,
        installation: InstallationId,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO directory (installation, next_refresh_at)
            VALUES ($1, {now}) ON CONFLICT DO NOTHING";
        sql::execute(self.writer(), SQL, params![installation.to_string()]).await?;
        Ok(())
    }
}

pub(in crate::store) const PAGE_TABLE: &str = "directory_pages";

/// A page's row within its installation.
pub(in crate::store) fn page_row(generation: i64, page: i32) -> String {
    format!("{generation}/{page}")
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, Error> {
    let damaged = |_| Error::Bug("a stored directory page does not decompress".into());
    let mut bytes = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(damaged)?;
    decoder.take(PAGE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() > PAGE_BYTES {
        return Err(Error::Bug("a stored directory page is too long".into()));
    }
    Ok(bytes)
}

fn state(row: directory::Model, as_of: Timestamp) -> DirectoryState {
    let held = row.lease_until > as_of.0;
    DirectoryState {
        generation: row.generation,
        pages: row.pages,
        members: row.members,
        change_sequence: row.change_sequence,
        changes_base: row.changes_base,
        changes_gone: row.changes_gone,
        fields_sequence: row.fields_sequence,
        refreshed_at: row.refreshed_at.map(Timestamp),
        next_refresh_at: Timestamp(row.next_refresh_at),
        event_heard_at: row.event_heard_at.map(Timestamp),
        last_error: row.last_error,
        crawl: row.crawl_started_at.map(|at| CrawlProgress {
            started_at: Timestamp(at),
            pages: row.crawl_pages,
            members: row.crawl_members,
            page_size: row.crawl_page_size,
            restarts: row.crawl_restarts,
            holder: row.holder.filter(|_| held),
        }),
        shrink: row.shrink_members.map(|members| PendingShrink {
            doubt: Doubt { members, accepted: row.shrink_accepted != 0 },
            found_at: Timestamp(row.shrink_at.unwrap_or_default()),
        }),
        as_of,
    }
}
