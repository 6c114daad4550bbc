//! A person gets another id, or two ids turn out to be one person: everything stored about the
//! first id goes to the second.
//!
//! First, in one transaction, everything that decides on messages: the key, the record, the
//! identity, the preferences, the channels, and the messages that have not ended. Then, in parts,
//! the rest: ended messages, answers to calls, and the feeds. A repeated call continues.
//!
//! The first id's key becomes the second one's, if that has none: no value is encrypted again, and
//! the audit trail stays readable. Otherwise values are encrypted again with the second one's key,
//! and the first one's is removed at the end.

use std::sync::Arc;

use sea_orm::{ConnectionTrait as _, Value};

use super::erase::{lock_lanes, out_of};
use crate::domain::ids::{TenantId, UserId};
use crate::store::channels;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql::{self, by_key, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::ENDED;
use crate::store::records::notifications::place;
use crate::store::records::sharers::PersonRows;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::seal::person_keys::{self, Heir};
use crate::store::tenancy::take_over;
use crate::store::{Ends, Error, Store};

/// Rows of a feed that one transaction changes, as in `erase`.
const BATCH: u64 = 500;
/// Notifications that one transaction takes from each table that names the person.
const NOTIFICATIONS: u32 = 50;
/// Notifications that one statement names.
const CHUNK: usize = 500;
/// Such transactions of one call; a repeated call continues.
const TRANSACTIONS: usize = 200;

/// A stored answer, which is opaque here, with the second person in place of the first.
pub type RenameIn = fn(answer: &[u8], from: &UserId, to: &UserId) -> Vec<u8>;

/// One person in place of another.
#[derive(Debug, Clone, Copy)]
pub struct Succession<'a> {
    pub tenant: &'a TenantId,
    /// The id that ends.
    pub from: &'a UserId,
    /// The id that remains.
    pub to: &'a UserId,
    pub rename: RenameIn,
}

/// The outcome of [`Ends::rename_person`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameOutcome {
    /// With the number of messages that have not ended.
    Renamed(u64),
    /// Nothing is stored about the id.
    Unknown,
    /// Something is stored about the new id. Nothing was changed.
    Occupied,
}

/// Whether the second id may be that of a known person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    New,
    Any,
}

impl Ends<'_> {
    /// Gives a person another id. [`Error::Unfinished`]: a repeated call continues.
    pub async fn rename_person(self, of: &Succession<'_>) -> Result<RenameOutcome, Error> {
        let work = &self.store.succession(of).await?;
        match work.first(Terms::New).await? {
            RenameOutcome::Renamed(waiting) => {
                work.rest().await?;
                Ok(RenameOutcome::Renamed(waiting))
            }
            refused => Ok(refused),
        }
    }

    /// Makes two ids one person; returns the number of messages that have not ended.
    /// [`Error::Unfinished`]: a repeated call continues.
    pub async fn merge_people(self, of: &Succession<'_>) -> Result<u64, Error> {
        let work = &self.store.succession(of).await?;
        let RenameOutcome::Renamed(waiting) = work.first(Terms::Any).await? else {
            return Ok(0);
        };
        work.rest().await?;
        Ok(waiting)
    }
}

impl Store {
    async fn succession<'a>(&'a self, of: &'a Succession<'a>) -> Result<Succeeding<'a>, Error> {
        let keys = self.keys(&KeyScope::Tenant(of.tenant.clone())).await?;
        Ok(Succeeding { store: self, keys, of })
    }
}

/// A succession under way.
struct Succeeding<'a> {
    store: &'a Store,
    /// The tenant's.
    keys: Arc<ScopeKeys>,
    of: &'a Succession<'a>,
}

impl Succeeding<'_> {
    /// Everything that decides on messages, in one transaction, with the entry of the audit trail.
    async fn first(&self, terms: Terms) -> Result<RenameOutcome, Error> {
        let Succession { tenant, from, to, .. } = *self.of;
        let done = self.store.transaction(|tx| {
            scoped(async move {
                lock_lanes(tx, &self.rows(None)).await?;
                if terms == Terms::New
                    && let Some(refused) = self.standing(tx).await?
                {
                    return Ok(refused);
                }
                person_keys::hand_on(tx, &self.keys, tenant, from, to).await?;
                let heir = &self.heir(tx).await?;
                let named = self.open_notifications(tx).await?;
                let waiting = self.deliveries(tx, heir, "deliveries", None).await?;
                for some in named.chunks(CHUNK) {
                    self.answers(tx, some).await?;
                    self.sharers(tx, some).await?;
                }
                take_over::person(tx, tenant, heir).await?;
                channels::rename(tx, tenant, from, to).await?;
                self.store.record(tx).await?;
                Ok(RenameOutcome::Renamed(waiting))
            })
        });
        let done = done.await?;
        self.store.recorded();
        for user in [from, to] {
            self.store.forget_key(tenant, &self.keys, user, None).await?;
        }
        Ok(done)
    }

    /// Why the id cannot be given, if it cannot. Other rows, without a record, an identity or a
    /// preference, are left from a call that did not end.
    async fn standing(&self, tx: &Tx) -> Result<Option<RenameOutcome>, Error> {
        const KNOWN: &str = "SELECT 1 FROM people WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM preferences WHERE tenant = $1 AND user_id = $2 LIMIT 1";
        const LEFT: &str = "SELECT 1 FROM deliveries WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM deliveries_history WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM delivery_sharers WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM delivery_changes WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM channel_members WHERE tenant = $1 AND user_id = $2 LIMIT 1";
        let Succession { tenant, from, to, .. } = *self.of;
        let names = |user: &UserId| params![tenant.as_str(), user.as_str()];
        if sql::one(tx, KNOWN, names(from)).await?.is_none() {
            let left = sql::one(tx, LEFT, names(from)).await?;
            return Ok(left.is_none().then_some(RenameOutcome::Unknown));
        }
        let occupied = sql::one(tx, KNOWN, names(to)).await?;
        Ok(occupied.map(|_| RenameOutcome::Occupied))
    }

    /// The first person's rows: all, or those of some notifications.
    fn rows<'a>(&'a self, notifications: Option<&'a [String]>) -> PersonRows<'a> {
        PersonRows { tenant: self.of.tenant, user: self.of.from, notifications }
    }

    async fn heir(&self, tx: &Tx) -> Result<Heir, Error> {
        let Succession { tenant, from, to, .. } = *self.of;
        self.store.heir(tx, &self.keys, tenant, from, to).await
    }

    /// The notifications of the first person's deliveries that have not ended.
    async fn open_notifications(&self, tx: &Tx) -> Result<Vec<String>, Error> {
        let rows = self.rows(None);
        let text = format!(
            "SELECT DISTINCT notification FROM deliveries WHERE {} AND NOT ({ENDED})",
            rows.of("")
        );
        let found = sql::all(tx, &text, rows.values()).await?;
        found.iter().map(|row| row.get(0)).collect()
    }

    /// Makes deliveries of a table the second person's: those of some notifications, or all that
    /// have not ended. Returns how many. One that is being resolved is looked at once more, because
    /// its worker has read the first person's record.
    async fn deliveries(
        &self,
        tx: &Tx,
        heir: &Heir,
        table: &str,
        some: Option<&[String]>,
    ) -> Result<u64, Error> {
        // Without its due time, it would wait for the end of the worker's lease; without the time
        // of this change, it would look like one that is new, and lose its place.
        const AGAIN: &str = ", due_at = CASE WHEN state = 'resolving' AND lease_token IS NOT NULL
                THEN {now} ELSE due_at END,
            updated_at = CASE WHEN state = 'resolving' AND lease_token IS NOT NULL
                THEN {now} ELSE updated_at END,
            lease_token = CASE WHEN state = 'resolving' THEN NULL ELSE lease_token END";
        let rows = self.rows(some);
        let which = match some {
            Some(_) => rows.of(""),
            None => format!("{} AND NOT ({ENDED})", rows.of("")),
        };
        let again = if table == "deliveries" { AGAIN } else { "" };
        let mut values = rows.values();
        if !heir.seals {
            values.push(self.of.to.as_str().into());
            let text =
                format!("UPDATE {table} SET user_id = ${}{again} WHERE {which}", values.len());
            return sql::execute(tx, &text, values).await;
        }
        let find = format!(
            "SELECT id, content, trace FROM {table} WHERE {which} ORDER BY sequence {{for_update}}"
        );
        let change = format!(
            "UPDATE {table}
                SET user_id = $2, content = $3, trace = $4{again}
                WHERE id = $1"
        );
        let found = sql::all(tx, &find, values).await?;
        for row in &found {
            let id: String = row.get(0)?;
            let at = |column| SealedCell { table: "deliveries", row: &id, column };
            let content = heir.anew(&at("content"), row.get(1)?)?;
            let trace = heir.anew(&at("trace"), row.get(2)?)?;
            let to = self.of.to.as_str();
            sql::execute(tx, &change, params![id.as_str(), to, content, trace]).await?;
        }
        Ok(found.len() as u64)
    }

    /// Everything else, in parts; then the first person's key.
    async fn rest(&self) -> Result<(), Error> {
        for _ in 0..TRANSACTIONS {
            let some = self.some_notifications().await?;
            if some.is_empty() {
                self.in_feeds().await?;
                return self.end().await;
            }
            let some = some.as_slice();
            let part = self.store.transaction(|tx| {
                scoped(async move {
                    lock_lanes(tx, &self.rows(Some(some))).await?;
                    let heir = &self.heir(tx).await?;
                    self.answers(tx, some).await?;
                    for table in ["deliveries", "deliveries_history"] {
                        self.deliveries(tx, heir, table, Some(some)).await?;
                    }
                    self.sharers(tx, some).await
                })
            });
            part.await?;
        }
        Err(Error::Unfinished("a person has more messages".into()))
    }

    /// Some of the notifications that name the first person.
    async fn some_notifications(&self) -> Result<Vec<String>, Error> {
        let rows = self.rows(None);
        let of = rows.of("");
        let some = |table: &str| {
            format!(
                "SELECT notification
                    FROM (SELECT notification
                        FROM {table}
                        WHERE {of}
                        LIMIT {NOTIFICATIONS}) AS {table}_found"
            )
        };
        let text = format!(
            "{} UNION {} UNION {}",
            some("deliveries"),
            some("deliveries_history"),
            some("delivery_sharers")
        );
        let rows = sql::all(self.store.reader(), &text, rows.values()).await?;
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Renames the person in the answers to calls.
    async fn answers(&self, tx: &Tx, some: &[String]) -> Result<(), Error> {
        let rows = some.iter().map(|id| [self.of.tenant.as_str().into(), id.as_str().into()]);
        let backend = tx.get_database_backend();
        let mut answers: Vec<[Value; 2]> = Vec::new();
        for (table, values) in given(backend, [Column::Text; 2], rows.collect()) {
            let find = format!(
                "SELECT id, answer
                    FROM notifications
                    WHERE (tenant, id) IN (SELECT column1, column2 FROM {table})
                    ORDER BY id {{for_update}}"
            );
            for row in sql::all(tx, &find, values).await? {
                let (id, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let at = place(&id, "answer");
                let plain = self.keys.open(&at, &sealed)?;
                let renamed = (self.of.rename)(&plain, self.of.from, self.of.to);
                let sealed = self.keys.seal(&at, &renamed)?;
                answers.push([id.as_str().into(), sealed.into()]);
            }
        }
        let row = by_key(backend, "notifications.id", "column1");
        for (table, values) in given(backend, [Column::Text, Column::Bytes], answers) {
            let text =
                format!("UPDATE notifications SET answer = column2 FROM {table} WHERE {row}");
            sql::execute(tx, &text, values).await?;
        }
        Ok(())
    }

    /// The first person's shares of deliveries become the second one's. A delivery names a person
    /// once.
    async fn sharers(&self, tx: &Tx, some: &[String]) -> Result<(), Error> {
        let rows = self.rows(Some(some));
        let mut values = rows.values();
        values.push(self.of.to.as_str().into());
        let (of, to) = (rows.of(""), values.len());
        let named = |table: &str| {
            format!(
                "EXISTS (SELECT 1
                    FROM {table} d
                    WHERE d.id = delivery_sharers.delivery
                        AND d.tenant = $1 AND d.user_id = ${to})"
            )
        };
        let (live, ended) = (named("deliveries"), named("deliveries_history"));
        let twice = format!(
            "DELETE FROM delivery_sharers
                WHERE {of} AND ({live} OR {ended}
                    OR EXISTS (SELECT 1
                        FROM delivery_sharers o
                        WHERE o.tenant = $1 AND o.user_id = ${to}
                            AND o.delivery = delivery_sharers.delivery))"
        );
        let moved = format!("UPDATE delivery_sharers SET user_id = ${to} WHERE {of}");
        // Those of the second person, whose delivery was the first one's until now.
        let both = PersonRows { user: self.of.to, ..rows };
        let mut own = both.values();
        own.push(self.of.to.as_str().into());
        let theirs =
            format!("DELETE FROM delivery_sharers WHERE {} AND ({live} OR {ended})", both.of(""));
        sql::execute(tx, &twice, values.clone()).await?;
        sql::execute(tx, &moved, values).await?;
        sql::execute(tx, &theirs, own).await.map(drop)
    }

    /// Renames the person in the feeds, a few rows at a time, as `erase` does.
    async fn in_feeds(&self) -> Result<(), Error> {
        let Succession { tenant, from, to, .. } = *self.of;
        for inbox in ["feed_inbox", "channel_feed_inbox"] {
            let values = params![tenant.as_str(), from.as_str(), to.as_str()];
            self.store.change_inbox(inbox, "user_id = $3", &values).await?;
        }
        for table in ["delivery_changes", "channel_changes"] {
            let text = &out_of(table, "sequence", "user_id = $3");
            loop {
                let values = &params![tenant.as_str(), from.as_str(), to.as_str()];
                let work =
                    self.store.transaction(|tx| scoped(sql::execute(tx, text, values.clone())));
                if work.await? < BATCH {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Removes the first person's key, unless new data about that person came meanwhile.
    async fn end(&self) -> Result<(), Error> {
        const LEFT: &str = "SELECT 1 FROM people WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM deliveries WHERE tenant = $1 AND user_id = $2
            UNION ALL SELECT 1 FROM deliveries_history WHERE tenant = $1 AND user_id = $2 LIMIT 1";
        let Succession { tenant, from, .. } = *self.of;
        let ended = self.store.transaction(|tx| {
            scoped(async move {
                // First: writes with this key that are under way end, and their rows are found.
                person_keys::lock(tx, &self.keys, tenant, from).await?;
                let values = params![tenant.as_str(), from.as_str()];
                if sql::one(tx, LEFT, values).await?.is_some() {
                    return Ok(None);
                }
                Ok(Some(person_keys::erase(tx, &self.keys, tenant, from).await?))
            })
        });
        let Some(key) = ended.await? else {
            return Err(Error::Unfinished("the person was named again meanwhile".into()));
        };
        self.store.forget_key(tenant, &self.keys, from, key.as_deref()).await
    }
}
