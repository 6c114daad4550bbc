//! People: the platform's encrypted record of each, and the stored identity.
//!
//! The record and the name are encrypted with the person's key (`person_keys`).
//!
//! Rows are written in the order of their keys, so that calls about the same people do not
//! deadlock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select,
};

use crate::domain::identity::person::Person;
use crate::domain::ids::{SlackUserId, TenantId, UserId};
use crate::domain::settings::{Identity, Rule};
use crate::domain::time::Timestamp;
use crate::store::database::entity::person;
use crate::store::database::rows::{Column, NewCell, NewRows, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell, person_of};
use crate::store::seal::person_keys::{KEY_ATTEMPTS, KeysById, key_lives};
use crate::store::{Error, People, Store};

/// Rows per statement; SQLite takes 32,766 parameters.
const CHUNK: usize = 500;
const TABLE: &str = "people";

/// One person as stored. A value that does not decrypt is empty, for example because the person's
/// key is damaged, except in the answer of [`People::get`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPerson {
    pub person: Person,
    pub identity: Option<Identity>,
    /// When the record or the identity last changed.
    pub updated_at: Timestamp,
}

impl People<'_> {
    /// Stores records, all or none; each replaces the previous one and leaves the identity. Of two
    /// records with one user id, the later counts.
    pub async fn upsert(self, tenant: &TenantId, people: &[Person]) -> Result<(), Error> {
        let users: BTreeSet<_> = people.iter().map(|person| &person.user_id).collect();
        let users: Vec<_> = users.into_iter().collect();
        for _ in 0..KEY_ATTEMPTS {
            let keys = self.store.keys_for(tenant, &users).await?;
            let mut sealed = BTreeMap::new();
            for person in people {
                let record = seal_record(keys.of(Some(&person.user_id))?, person)?;
                sealed.insert(&person.user_id, record);
            }
            let records =
                &sealed.iter().map(|(user, record)| ((tenant, *user), record.as_slice())).collect();
            let written = self.store.transaction(|tx| {
                scoped(async move {
                    write_records(tx, records).await?;
                    self.store.record(tx).await
                })
            });
            match written.await {
                Err(Error::KeyErased) => self.store.forget_keys(tenant, &keys).await?,
                written => {
                    written?;
                    self.store.recorded();
                    return Ok(());
                }
            }
        }
        Err(Error::Contended("person_keys".into()))
    }

    /// [`Error::Sealed`]: a value of the person does not decrypt.
    pub async fn get(
        self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Option<StoredPerson>, Error> {
        let select = person::Entity::find()
            .filter(person::Column::Tenant.eq(tenant.as_str()))
            .filter(person::Column::UserId.eq(user.as_str()));
        match self.store.read_people_of(tenant, &select).await?.pop() {
            Some((_, Some(error))) => Err(error),
            read => Ok(read.map(|(stored, _)| stored)),
        }
    }

    /// Those of `users` that are stored.
    pub async fn get_many(
        self,
        tenant: &TenantId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, StoredPerson>, Error> {
        let mut found = HashMap::with_capacity(users.len());
        for chunk in users.chunks(CHUNK) {
            let select = person::Entity::find()
                .filter(person::Column::Tenant.eq(tenant.as_str()))
                .filter(person::Column::UserId.is_in(chunk.iter().map(UserId::as_str)));
            for (stored, _) in self.store.read_people_of(tenant, &select).await? {
                found.insert(stored.person.user_id.clone(), stored);
            }
        }
        Ok(found)
    }

    /// Up to `limit` people after a user id, in the order of their ids.
    pub async fn list(
        self,
        tenant: &TenantId,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<StoredPerson>, Error> {
        // Every id is larger than the empty text.
        let select = person::Entity::find()
            .filter(person::Column::Tenant.eq(tenant.as_str()))
            .filter(person::Column::UserId.gt(after.map_or("", UserId::as_str)))
            .order_by_asc(person::Column::UserId)
            .limit(u64::from(limit));
        let read = self.store.read_people_of(tenant, &select).await?;
        Ok(read.into_iter().map(|(stored, _)| stored).collect())
    }

    /// Stores the identity of a person, who need not be stored yet. Only a pin replaces a pin.
    /// Returns whether it was stored; `stored_at` becomes the database's time.
    pub async fn store_identity(
        self,
        tenant: &TenantId,
        user: &UserId,
        identity: &Identity,
    ) -> Result<bool, Error> {
        let keys = &self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let stored = self.store.transaction(|tx| {
            scoped(async move {
                let users = BTreeSet::from([user.clone()]);
                let keys = self.store.held_keys(tx, keys, tenant, &users).await?;
                let keys = keys.of(Some(user))?;
                let stored = store_identity_in(tx, keys, tenant, user, identity).await?;
                self.store.record(tx).await?;
                Ok(stored)
            })
        });
        let stored = stored.await?;
        self.store.recorded();
        Ok(stored)
    }

    /// Deletes the identity, pinned or not; returns whether there was one.
    pub async fn clear_identity(self, tenant: &TenantId, user: &UserId) -> Result<bool, Error> {
        const SQL: &str = "UPDATE people
            SET slack_user_id = NULL, identity_name = NULL,
                identity_rule = NULL, installation = NULL, identity_stored_at = NULL,
                updated_at = {now}
            WHERE tenant = $1 AND user_id = $2 AND slack_user_id IS NOT NULL";
        let values = &params![tenant.as_str(), user.as_str()];
        let cleared = self.store.transaction(|tx| {
            scoped(async move {
                let cleared = sql::execute(tx, SQL, values.clone()).await? > 0;
                self.store.record(tx).await?;
                Ok(cleared)
            })
        });
        let cleared = cleared.await?;
        self.store.recorded();
        Ok(cleared)
    }
}

impl Store {
    async fn read_people_of(
        &self,
        tenant: &TenantId,
        select: &Select<person::Entity>,
    ) -> Result<Vec<ReadPerson>, Error> {
        let (mut rows, mut keys) = self.rows_and_keys(tenant, select).await?;
        let lacks = |sealed: &[u8]| person_of(sealed).is_some_and(|id| !keys.contains_key(id));
        let stale = sealed_in(&rows).into_iter().any(lacks);
        if stale {
            // A person was deleted after the rows were read: read again without them.
            (rows, keys) = self.rows_and_keys(tenant, select).await?;
        }
        let mut people = Vec::with_capacity(rows.len());
        for row in rows {
            people.push(self.open_person(tenant, row, &keys).await?);
        }
        Ok(people)
    }

    async fn rows_and_keys(
        &self,
        tenant: &TenantId,
        select: &Select<person::Entity>,
    ) -> Result<(Vec<person::Model>, KeysById), Error> {
        let rows = select.clone().all(self.reader()).await?;
        let keys = self.keys_of_values(tenant, &sealed_in(&rows)).await?;
        Ok((rows, keys))
    }

    /// `known` are the keys that were read with the row, or after it.
    pub(in crate::store) async fn open_person(
        &self,
        tenant: &TenantId,
        row: person::Model,
        known: &KeysById,
    ) -> Result<ReadPerson, Error> {
        let damaged = || Error::Bug("a stored person cannot be parsed".into());
        let user_id = UserId::parse(row.user_id.as_str()).map_err(|_| damaged())?;
        let mut sealed = None;
        let at = place(&row.user_id, "record");
        let record = self.open_personal(tenant, &at, &row.record, known).await;
        let person = match unless_sealed(record, "people.record", &mut sealed)? {
            Some(record) => {
                let record = serde_json::from_slice(&record).map_err(|_| damaged())?;
                Person::from_record(user_id, record)
            }
            None => Person::bare(user_id),
        };
        let identity = match (row.slack_user_id, row.identity_name, row.installation) {
            (Some(slack_user_id), Some(name), Some(installation)) => {
                let at = place(&row.user_id, "identity_name");
                let name = self.open_personal(tenant, &at, &name, known).await;
                let name = unless_sealed(name, "people.identity_name", &mut sealed)?;
                Some(Identity {
                    slack_user_id: SlackUserId::parse(slack_user_id).map_err(|_| damaged())?,
                    display_name: String::from_utf8_lossy(&name.unwrap_or_default()).into_owned(),
                    rule: match row.identity_rule.as_deref() {
                        Some(MATCHED) => Rule::Matched,
                        Some(PINNED) => Rule::Pinned,
                        _ => return Err(damaged()),
                    },
                    installation: parse_id(&installation)?,
                    stored_at: Timestamp(row.identity_stored_at.ok_or_else(damaged)?),
                })
            }
            _ => None,
        };
        if let Some(error) = &sealed {
            tracing::error!(%error, %tenant, "the record of a person cannot be read");
        }
        Ok((StoredPerson { person, identity, updated_at: Timestamp(row.updated_at) }, sealed))
    }
}

/// A person as read, and why a value of theirs is empty that does not decrypt.
pub(in crate::store) type ReadPerson = (StoredPerson, Option<Error>);

/// `None`: the value does not decrypt, and `sealed` is the reason.
fn unless_sealed(
    value: Result<Option<Vec<u8>>, Error>,
    column: &str,
    sealed: &mut Option<Error>,
) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Ok(None) => *sealed = Some(without_key(column)),
        Err(error @ Error::Sealed(_)) => *sealed = Some(error),
        value => return value,
    }
    Ok(None)
}

/// The sealed values of rows.
fn sealed_in(rows: &[person::Model]) -> Vec<&[u8]> {
    let names = rows.iter().filter_map(|row| row.identity_name.as_deref());
    rows.iter().map(|row| row.record.as_slice()).chain(names).collect()
}

/// The person that a row belongs to; rows are written in this order.
pub(in crate::store) type PersonKey<'a> = (&'a TenantId, &'a UserId);

/// An identity, ready to be written.
pub(in crate::store) struct SealedIdentity {
    /// The record of a person that is not stored yet.
    record: Vec<u8>,
    slack_user_id: String,
    name: Vec<u8>,
    rule: &'static str,
    installation: String,
}

/// Replaces records, leaving identities as they are. [`Error::KeyErased`]: a key of one of these
/// people was erased.
pub(in crate::store) async fn write_records(
    db: &impl ConnectionTrait,
    records: &BTreeMap<PersonKey<'_>, &[u8]>,
) -> Result<(), Error> {
    let rows = records.iter().map(|((tenant, user), record)| {
        [
            NewCell("tenant", Column::Text, tenant.as_str().into()),
            NewCell("user_id", Column::Text, user.as_str().into()),
            NewCell("record", Column::Bytes, record.to_vec().into()),
        ]
    });
    let backend = db.get_database_backend();
    let Some(rows) = NewRows::of(backend, rows.collect()) else { return Ok(()) };
    let (names, values) = (rows.names(), rows.values());
    let alive = key_lives(backend, &rows.value("tenant"), &rows.value("record"));
    let mut written = 0;
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO people ({names}, updated_at)
                SELECT {values}, {{now}}
                FROM {table}
                WHERE {alive}
                ON CONFLICT (tenant, user_id) DO UPDATE
                SET record = excluded.record,
                    updated_at = excluded.updated_at"
        );
        written += sql::execute(db, &text, parameters).await?;
    }
    if written == records.len() as u64 { Ok(()) } else { Err(Error::KeyErased) }
}

/// Stores identities like [`People::store_identity`]; returns how many. The rows of these people's
/// keys are locked.
pub(in crate::store) async fn write_identities(
    db: &impl ConnectionTrait,
    identities: &BTreeMap<PersonKey<'_>, &SealedIdentity>,
) -> Result<u64, Error> {
    let rows = identities.iter().map(|((tenant, user), identity)| {
        [
            NewCell("tenant", Column::Text, tenant.as_str().into()),
            NewCell("user_id", Column::Text, user.as_str().into()),
            NewCell("record", Column::Bytes, identity.record.clone().into()),
            NewCell("slack_user_id", Column::Text, identity.slack_user_id.as_str().into()),
            NewCell("identity_name", Column::Bytes, identity.name.clone().into()),
            NewCell("identity_rule", Column::Text, identity.rule.into()),
            NewCell("installation", Column::Text, identity.installation.as_str().into()),
        ]
    });
    let Some(rows) = NewRows::of(db.get_database_backend(), rows.collect()) else { return Ok(0) };
    let (names, values) = (rows.names(), rows.values());
    let mut stored = 0;
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO people ({names}, identity_stored_at, updated_at)
                SELECT {values}, {{now}}, {{now}}
                FROM {table}
                WHERE TRUE
                ON CONFLICT (tenant, user_id) DO UPDATE
                SET slack_user_id = excluded.slack_user_id,
                    identity_name = excluded.identity_name,
                    identity_rule = excluded.identity_rule,
                    installation = excluded.installation,
                    identity_stored_at = excluded.identity_stored_at,
                    updated_at = excluded.updated_at
                WHERE people.identity_rule IS NULL OR people.identity_rule <> 'pinned'
                    OR excluded.identity_rule = 'pinned'"
        );
        stored += sql::execute(db, &text, parameters).await?;
    }
    Ok(stored)
}

/// [`People::store_identity`] within a transaction; `keys` are the person's, whose row is locked.
pub(in crate::store) async fn store_identity_in(
    db: &impl ConnectionTrait,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
    identity: &Identity,
) -> Result<bool, Error> {
    let sealed = seal_identity(keys, user, identity)?;
    Ok(write_identities(db, &BTreeMap::from([((tenant, user), &sealed)])).await? > 0)
}

pub(in crate::store) fn seal_identity(
    keys: &ScopeKeys,
    user: &UserId,
    identity: &Identity,
) -> Result<SealedIdentity, Error> {
    let name = identity.display_name.as_bytes();
    Ok(SealedIdentity {
        record: seal_record(keys, &Person::bare(user.clone()))?,
        slack_user_id: identity.slack_user_id.as_str().to_owned(),
        name: keys.seal(&place(user.as_str(), "identity_name"), name)?,
        rule: match identity.rule {
            Rule::Matched => MATCHED,
            Rule::Pinned => PINNED,
        },
        installation: identity.installation.to_string(),
    })
}

impl SealedIdentity {
    /// A value that the person's key sealed.
    pub(in crate::store) fn sealed(&self) -> &[u8] {
        &self.name
    }
}

const MATCHED: &str = "matched";
const PINNED: &str = "pinned";

pub(in crate::store) fn seal_record(keys: &ScopeKeys, person: &Person) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(&person.record())
        .map_err(|_| Error::Bug("a person cannot be converted to JSON".into()))?;
    keys.seal(&place(person.user_id.as_str(), "record"), &json)
}

fn without_key(column: &str) -> Error {
    Error::Sealed(format!(
        "{column}: its person's key was erased or is damaged, or the value was moved"
    ))
}

fn place<'a>(user: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: TABLE, row: user, column }
}
