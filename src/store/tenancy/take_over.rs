//! A person's record, identity, preferences, API keys and identity links go to another id. Those
//! that the other has already stay.

use crate::domain::identity::person::Person;
use crate::domain::ids::TenantId;
use crate::store::Error;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::Tx;
use crate::store::seal::data_keys::SealedCell;
use crate::store::seal::person_keys::Heir;
use crate::store::tenancy::{api_keys, people};

/// Within a transaction.
pub(in crate::store) async fn person(tx: &Tx, tenant: &TenantId, heir: &Heir) -> Result<(), Error> {
    const LINKS: &str = "UPDATE identity_links SET user_id = $3 WHERE tenant = $1 AND user_id = $2";
    record(tx, tenant, heir).await?;
    preferences(tx, tenant, heir).await?;
    api_keys::rename(tx, tenant, &heir.from, &heir.to).await?;
    let names = params![tenant.as_str(), heir.from.as_str(), heir.to.as_str()];
    sql::execute(tx, LINKS, names).await.map(drop)
}

/// The record, with the identity.
async fn record(tx: &Tx, tenant: &TenantId, heir: &Heir) -> Result<(), Error> {
    // In the order of their keys, as all rows of people are locked.
    const FIND: &str = "SELECT user_id, record, slack_user_id, identity_name, identity_rule,
            installation, identity_stored_at
        FROM people
        WHERE tenant = $1 AND user_id IN ($2, $3)
        ORDER BY user_id {for_update}";
    const MOVE: &str = "UPDATE people
        SET user_id = $3, record = $4, identity_name = $5, updated_at = {now}
        WHERE tenant = $1 AND user_id = $2";
    const IDENTITY: &str = "UPDATE people
        SET slack_user_id = $3, identity_name = $4,
            identity_rule = $5, installation = $6, identity_stored_at = $7, updated_at = {now}
        WHERE tenant = $1 AND user_id = $2 AND slack_user_id IS NULL";
    const RECORD: &str = "UPDATE people
        SET record = $3, updated_at = {now}
        WHERE tenant = $1 AND user_id = $2";
    const FORGET: &str = "DELETE FROM people WHERE tenant = $1 AND user_id = $2";
    let (from, to) = (heir.from.as_str(), heir.to.as_str());
    let (mut theirs, mut own) = (None, None);
    for row in sql::all(tx, FIND, params![tenant.as_str(), from, to]).await? {
        if row.get::<String>(0)? == from {
            theirs = Some(row);
        } else {
            own = Some(row);
        }
    }
    let Some(theirs) = theirs else { return Ok(()) };
    let name = named(&theirs, heir)?;
    let record = described(&theirs, heir)?;
    let Some(own) = own else {
        let values = params![tenant.as_str(), from, to, record, name];
        return sql::execute(tx, MOVE, values).await.map(drop);
    };
    if is_bare(&own, heir)? {
        sql::execute(tx, RECORD, params![tenant.as_str(), to, record]).await?;
    }
    let (member, rule): (Option<String>, Option<String>) = (theirs.get(2)?, theirs.get(4)?);
    let (workspace, at): (Option<String>, Option<i64>) = (theirs.get(5)?, theirs.get(6)?);
    if member.is_some() {
        let values = params![tenant.as_str(), to, member, name, rule, workspace, at];
        sql::execute(tx, IDENTITY, values).await?;
    }
    sql::execute(tx, FORGET, params![tenant.as_str(), from]).await.map(drop)
}

/// Whether the second id has an identity without a record, or a record that does not decrypt.
fn is_bare(row: &Row, heir: &Heir) -> Result<bool, Error> {
    let sealed: Vec<u8> = row.get(1)?;
    match heir.open_own(&place(heir.to.as_str(), "record"), &sealed) {
        Ok(plain) => Ok(parsed(&plain, heir)? == Person::bare(heir.to.clone())),
        Err(Error::Sealed(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A record, as that of the second id.
fn parsed(plain: &[u8], heir: &Heir) -> Result<Person, Error> {
    let record = serde_json::from_slice(plain)
        .map_err(|_| Error::Bug("a stored person cannot be parsed".into()))?;
    Ok(Person::from_record(heir.to.clone(), record))
}

/// The record for the second id; one that does not decrypt becomes empty.
fn described(row: &Row, heir: &Heir) -> Result<Vec<u8>, Error> {
    let sealed: Vec<u8> = row.get(1)?;
    let person = match heir.open(&place(heir.from.as_str(), "record"), &sealed) {
        Ok(plain) => parsed(&plain, heir)?,
        Err(Error::Sealed(_)) => Person::bare(heir.to.clone()),
        Err(error) => return Err(error),
    };
    people::seal_record(heir.sealing()?, &person)
}

/// The member's name for the second id; one that does not decrypt becomes empty.
fn named(row: &Row, heir: &Heir) -> Result<Option<Vec<u8>>, Error> {
    let Some(sealed) = row.get::<Option<Vec<u8>>>(3)? else { return Ok(None) };
    let plain = match heir.open(&place(heir.from.as_str(), "identity_name"), &sealed) {
        Err(Error::Sealed(_)) => Vec::new(),
        plain => plain?,
    };
    heir.sealing()?.seal(&place(heir.to.as_str(), "identity_name"), &plain).map(Some)
}

/// All preferences, unless the second id has any.
async fn preferences(tx: &Tx, tenant: &TenantId, heir: &Heir) -> Result<(), Error> {
    const HAS: &str = "SELECT 1 FROM preferences WHERE tenant = $1 AND user_id = $2 LIMIT 1";
    const MOVE: &str = "UPDATE preferences SET user_id = $3 WHERE tenant = $1 AND user_id = $2";
    const FORGET: &str = "DELETE FROM preferences WHERE tenant = $1 AND user_id = $2";
    let (from, to) = (heir.from.as_str(), heir.to.as_str());
    if sql::one(tx, HAS, params![tenant.as_str(), to]).await?.is_some() {
        return sql::execute(tx, FORGET, params![tenant.as_str(), from]).await.map(drop);
    }
    sql::execute(tx, MOVE, params![tenant.as_str(), from, to]).await.map(drop)
}

fn place<'a>(user: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: "people", row: user, column }
}
