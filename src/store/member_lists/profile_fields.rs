//! Members' custom profile fields as fetched, one encrypted row per member. `field_pass` writes
//! most of them.

use sea_orm::ConnectionTrait;

use crate::domain::ids::{InstallationId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{CustomFields, Error};

/// Rows that one statement reads.
const CHUNK: i64 = 1000;
/// Members that one statement names.
const NAMED: usize = 500;
const TABLE: &str = "profile_fields";

/// The custom fields of one member, as Slack returned them.
#[derive(Clone)]
pub struct MemberFields {
    pub member: SlackUserId,
    /// The member's `updated` at the request; a member that changed since is fetched again.
    pub member_updated: i64,
    /// A JSON object: field id to `{value, alt}`. Personal.
    pub body: Vec<u8>,
}

/// A member's row, without the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldsRow {
    pub member: String,
    pub member_updated: i64,
    pub fetched_at: Timestamp,
}

impl CustomFields<'_> {
    /// Up to a thousand members after an id, each with the JSON of its custom fields, ordered by
    /// id. An empty list means the end. An empty text sorts before every id.
    pub async fn list_after(
        self,
        installation: InstallationId,
        after: &str,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        const SQL: &str = "SELECT slack_user_id, body FROM profile_fields
            WHERE installation = $1 AND slack_user_id > $2 ORDER BY slack_user_id LIMIT $3";
        let rows =
            sql::all(self.store.reader(), SQL, params![installation.to_string(), after, CHUNK]);
        let rows = rows.await?;
        let scope = KeyScope::Installation(installation);
        let mut fields = Vec::with_capacity(rows.len());
        for row in rows {
            let (member, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let body = self.store.unseal(&scope, &place(&member), &sealed).await?.to_vec();
            fields.push((member, body));
        }
        Ok(fields)
    }

    /// Which of these members' custom fields were fetched, each with the JSON, in no particular
    /// order.
    pub async fn of(
        self,
        installation: InstallationId,
        members: &[String],
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let scope = KeyScope::Installation(installation);
        let mut fields = Vec::new();
        for chunk in members.chunks(NAMED) {
            let text = format!(
                "SELECT slack_user_id, body FROM profile_fields
                    WHERE installation = $1 AND slack_user_id IN ({})",
                sql::placeholders(2, chunk.len())
            );
            let mut values = params![installation.to_string()];
            values.extend(chunk.iter().map(|member| sea_orm::Value::from(member.as_str())));
            for row in sql::all(self.store.reader(), &text, values).await? {
                let (member, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                let body = self.store.unseal(&scope, &place(&member), &sealed).await?.to_vec();
                fields.push((member, body));
            }
        }
        Ok(fields)
    }

    /// Up to a thousand members after an id that have stored fields. An empty list means the end.
    pub async fn index(
        self,
        installation: InstallationId,
        after: &str,
    ) -> Result<Vec<FieldsRow>, Error> {
        const SQL: &str = "SELECT slack_user_id, member_updated, fetched_at FROM profile_fields
            WHERE installation = $1 AND slack_user_id > $2 ORDER BY slack_user_id LIMIT $3";
        let values = params![installation.to_string(), after, CHUNK];
        let rows = sql::all(self.store.reader(), SQL, values).await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                Ok(FieldsRow {
                    member: columns.take()?,
                    member_updated: columns.take()?,
                    fetched_at: columns.time()?,
                })
            })
            .collect()
    }

    /// Stores fields that were fetched by a separate request. Snapshots read them with the change
    /// of the member that is appended afterwards.
    pub async fn put(
        self,
        installation: InstallationId,
        fields: &MemberFields,
    ) -> Result<(), Error> {
        let keys = self.store.keys(&KeyScope::Installation(installation)).await?;
        upsert(self.store.writer(), &keys, installation, fields, WriteIf::Always).await.map(|_| ())
    }
}

/// The condition under which a row is written.
pub(in crate::store) enum WriteIf {
    Always,
    /// The row still has this time (`None`: is still absent), so that an earlier request's answer
    /// never replaces a later one's.
    Unchanged(Option<Timestamp>),
}

/// Writes one row. `false`: the condition does not hold.
pub(in crate::store) async fn upsert(
    db: &impl ConnectionTrait,
    keys: &ScopeKeys,
    installation: InstallationId,
    fields: &MemberFields,
    condition: WriteIf,
) -> Result<bool, Error> {
    const INSERT: &str =
        "INSERT INTO profile_fields (installation, slack_user_id, body, member_updated, fetched_at)
        VALUES ($1, $2, $3, $4, {now})
        ON CONFLICT (installation, slack_user_id) DO UPDATE
        SET body = excluded.body,
            member_updated = excluded.member_updated,
            fetched_at = {greatest}(excluded.fetched_at, profile_fields.fetched_at + 1)";
    let member = fields.member.as_str();
    let body = keys.seal(&place(member), &fields.body)?;
    let mut values = params![installation.to_string(), member, body, fields.member_updated];
    let text = match condition {
        WriteIf::Always => INSERT.to_owned(),
        WriteIf::Unchanged(at) => {
            // No row was ever written before 1970.
            values.push(at.map_or(-1, |at| at.0).into());
            format!("{INSERT} WHERE profile_fields.fetched_at = $5")
        }
    };
    Ok(sql::execute(db, &text, values).await? > 0)
}

/// Makes snapshots read the rows written before.
pub(in crate::store) async fn bump(
    db: &impl ConnectionTrait,
    installation: InstallationId,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE directory
        SET fields_sequence = fields_sequence + 1
        WHERE installation = $1";
    sql::execute(db, SQL, params![installation.to_string()]).await?;
    Ok(())
}

fn place(member: &str) -> SealedCell<'_> {
    SealedCell { table: TABLE, row: member, column: "body" }
}
