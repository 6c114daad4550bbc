//! People: the platform's encrypted record of each, and the stored identity.
//!
//! Rows are written in the order of their keys, so that calls about the same people do not
//! deadlock.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};

use crate::domain::identity::person::Person;
use crate::domain::ids::{SlackUserId, TenantId, UserId};
use crate::domain::settings::{Identity, Rule};
use crate::domain::time::Timestamp;
use crate::store::database::entity::person;
use crate::store::database::rows::{Column, given, numbered, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::seal::data_keys::{Scope, ScopeKeys, SealedCell};
use crate::store::{Error, People, Store};

/// Rows per statement; SQLite takes 32,766 parameters.
const CHUNK: usize = 500;
const TABLE: &str = "people";

/// One person as stored.
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
        let keys = self.store.keys(&Scope::Tenant(tenant.clone())).await?;
        let sealed = people.iter().map(|person| Ok((&person.user_id, seal_record(&keys, person)?)));
        let sealed: BTreeMap<_, _> = sealed.collect::<Result<_, Error>>()?;
        let records =
            &sealed.iter().map(|(user, record)| ((tenant, *user), record.as_slice())).collect();
        let written = self.store.transaction(|tx| {
            scoped(async move {
                write_records(tx, records).await?;
                self.store.record(tx).await
            })
        });
        written.await?;
        self.store.recorded();
        Ok(())
    }

    pub async fn get(
        self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<Option<StoredPerson>, Error> {
        Ok(self.get_many(tenant, std::slice::from_ref(user)).await?.remove(user))
    }

    /// Those of `users` that are stored.
    pub async fn get_many(
        self,
        tenant: &TenantId,
        users: &[UserId],
    ) -> Result<HashMap<UserId, StoredPerson>, Error> {
        let scope = Scope::Tenant(tenant.clone());
        let mut found = HashMap::with_capacity(users.len());
        for chunk in users.chunks(CHUNK) {
            let rows = person::Entity::find()
                .filter(person::Column::Tenant.eq(tenant.as_str()))
                .filter(person::Column::UserId.is_in(chunk.iter().map(UserId::as_str)))
                .all(self.store.reader())
                .await?;
            for row in rows {
                let stored = self.store.open_person(&scope, row).await?;
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
        let scope = Scope::Tenant(tenant.clone());
        // Every id is larger than the empty text.
        let rows = person::Entity::find()
            .filter(person::Column::Tenant.eq(tenant.as_str()))
            .filter(person::Column::UserId.gt(after.map_or("", UserId::as_str)))
            .order_by_asc(person::Column::UserId)
            .limit(u64::from(limit))
            .all(self.store.reader())
            .await?;
        let mut people = Vec::with_capacity(rows.len());
        for row in rows {
            people.push(self.store.open_person(&scope, row).await?);
        }
        Ok(people)
    }

    /// Stores the identity of a person, who need not be stored yet. Only a pin replaces a pin.
    /// Returns whether it was stored; `stored_at` becomes the database's time.
    pub async fn store_identity(
        self,
        tenant: &TenantId,
        user: &UserId,
        identity: &Identity,
    ) -> Result<bool, Error> {
        let keys = &self.store.keys(&Scope::Tenant(tenant.clone())).await?;
        let stored = self.store.transaction(|tx| {
            scoped(async move {
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
        const SQL: &str = "UPDATE people SET slack_user_id = NULL, identity_name = NULL,
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
    pub(in crate::store) async fn open_person(
        &self,
        scope: &Scope,
        row: person::Model,
    ) -> Result<StoredPerson, Error> {
        let damaged = || Error::Bug("a stored person cannot be parsed".into());
        let user_id = UserId::parse(row.user_id.as_str()).map_err(|_| damaged())?;
        let record = self.unseal(scope, &place(&row.user_id, "record"), &row.record).await?;
        let record = serde_json::from_slice(&record).map_err(|_| damaged())?;
        let identity = match (row.slack_user_id, row.identity_name, row.installation) {
            (Some(slack_user_id), Some(name), Some(installation)) => {
                let name = self.unseal(scope, &place(&row.user_id, "identity_name"), &name).await?;
                Some(Identity {
                    slack_user_id: SlackUserId::parse(slack_user_id).map_err(|_| damaged())?,
                    display_name: String::from_utf8_lossy(&name).into_owned(),
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
        Ok(StoredPerson {
            person: Person::from_record(user_id, record),
            identity,
            updated_at: Timestamp(row.updated_at),
        })
    }
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

/// Replaces records, leaving identities as they are.
pub(in crate::store) async fn write_records(
    db: &impl ConnectionTrait,
    records: &BTreeMap<PersonKey<'_>, &[u8]>,
) -> Result<(), Error> {
    let rows = records.iter().map(|((tenant, user), record)| {
        [tenant.as_str().into(), user.as_str().into(), record.to_vec().into()]
    });
    let columns = [Column::Text, Column::Text, Column::Bytes];
    for (table, values) in given(db.get_database_backend(), columns, rows.collect()) {
        let text = format!(
            "INSERT INTO people (tenant, user_id, record, updated_at)
             SELECT column1, column2, column3, {{now}} FROM {table} WHERE TRUE
             ON CONFLICT (tenant, user_id)
             DO UPDATE SET record = excluded.record, updated_at = excluded.updated_at"
        );
        sql::execute(db, &text, values).await?;
    }
    Ok(())
}

/// Stores identities like [`People::store_identity`]; returns how many.
pub(in crate::store) async fn write_identities(
    db: &impl ConnectionTrait,
    identities: &BTreeMap<PersonKey<'_>, &SealedIdentity>,
) -> Result<u64, Error> {
    let rows = identities.iter().map(|((tenant, user), identity)| {
        [
            tenant.as_str().into(),
            user.as_str().into(),
            identity.record.clone().into(),
            identity.slack_user_id.as_str().into(),
            identity.name.clone().into(),
            identity.rule.into(),
            identity.installation.as_str().into(),
        ]
    });
    let columns = [
        Column::Text,
        Column::Text,
        Column::Bytes,
        Column::Text,
        Column::Bytes,
        Column::Text,
        Column::Text,
    ];
    let mut stored = 0;
    for (table, values) in given(db.get_database_backend(), columns, rows.collect()) {
        let text = format!(
            "INSERT INTO people (tenant, user_id, record, slack_user_id, identity_name,
                identity_rule, installation, identity_stored_at, updated_at)
            SELECT {}, {{now}}, {{now}} FROM {table} WHERE TRUE
            ON CONFLICT (tenant, user_id) DO UPDATE SET
                slack_user_id = excluded.slack_user_id, identity_name = excluded.identity_name,
                identity_rule = excluded.identity_rule, installation = excluded.installation,
                identity_stored_at = excluded.identity_stored_at, updated_at = excluded.updated_at
            WHERE people.identity_rule IS NULL OR people.identity_rule <> 'pinned'
                OR excluded.identity_rule = 'pinned'",
            numbered(columns.len())
        );
        stored += sql::execute(db, &text, values).await?;
    }
    Ok(stored)
}

/// [`People::store_identity`] within a transaction; `keys` are the tenant's, fetched before it.
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

const MATCHED: &str = "matched";
const PINNED: &str = "pinned";

pub(in crate::store) fn seal_record(keys: &ScopeKeys, person: &Person) -> Result<Vec<u8>, Error> {
    let json = serde_json::to_vec(&person.record())
        .map_err(|_| Error::Bug("a person cannot be converted to JSON".into()))?;
    keys.seal(&place(person.user_id.as_str(), "record"), &json)
}

fn place<'a>(user: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: TABLE, row: user, column }
}
