//! Recipients that share a delivery: they turned out to be one Slack member, who gets one message.
//! The delivery names the first of them; this table has the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sea_orm::Value;

use crate::domain::ids::{DeliveryId, TenantId, UserId};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::records::deliveries::ids_of;
use crate::store::seal::data_keys::{ScopeKeys, SealedCell};
use crate::store::seal::person_keys::SealingKeys;
use crate::store::{Error, Store};

/// The rows of a person in the tables of deliveries and of those who share them: all, or those of
/// some notifications.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct PersonRows<'a> {
    pub(in crate::store) tenant: &'a TenantId,
    pub(in crate::store) user: &'a UserId,
    pub(in crate::store) notifications: Option<&'a [String]>,
}

impl PersonRows<'_> {
    /// The condition; `alias` is that of the table with a dot, or empty.
    pub(in crate::store) fn of(&self, alias: &str) -> String {
        match self.notifications {
            None => format!("{alias}tenant = $1 AND {alias}user_id = $2"),
            // Found by the notifications: no index has this text for the person, who may have very
            // many rows.
            Some(some) => format!(
                "{alias}tenant = $1 AND ({alias}user_id || '') = $2 \
                 AND {alias}notification IN ({})",
                placeholders(3, some.len())
            ),
        }
    }

    /// Its values: `$1` the tenant, `$2` the person, and the notifications.
    pub(in crate::store) fn values(&self) -> Vec<Value> {
        let mut values = params![self.tenant.as_str(), self.user.as_str()];
        let some = self.notifications.unwrap_or_default();
        values.extend(some.iter().map(|id| Value::from(id.as_str())));
        values
    }
}

impl Store {
    /// The recipients that share the deliveries matching `filter`.
    pub(in crate::store) async fn sharers(
        &self,
        filter: &str,
        values: Vec<Value>,
    ) -> Result<HashMap<DeliveryId, Vec<UserId>>, Error> {
        let text = format!(
            "SELECT delivery, user_id
                FROM delivery_sharers
                WHERE delivery IN ({})
                ORDER BY user_id",
            ids_of(filter)
        );
        let mut shared = HashMap::<DeliveryId, Vec<UserId>>::new();
        for row in sql::all(self.reader(), &text, values).await? {
            let mut columns = Columns::of(&row);
            let delivery = columns.uuid(DeliveryId::parse)?;
            shared.entry(delivery).or_default().push(columns.id(UserId::parse)?);
        }
        Ok(shared)
    }

    /// The recipients that share these deliveries. `tenant`: whose they are, if all are of one.
    pub(in crate::store) async fn sharers_among(
        &self,
        tenant: Option<&TenantId>,
        deliveries: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<UserId>>, Error> {
        let mut shared = HashMap::<DeliveryId, Vec<UserId>>::new();
        for chunk in deliveries.chunks(500) {
            let (named, values) = among("delivery", tenant, chunk);
            let text = format!(
                "SELECT delivery, user_id FROM delivery_sharers WHERE {named} ORDER BY user_id"
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let delivery = columns.uuid(DeliveryId::parse)?;
                shared.entry(delivery).or_default().push(columns.id(UserId::parse)?);
            }
        }
        Ok(shared)
    }
}

/// The condition that a column names one of these deliveries, and its values. `tenant`: whose they
/// are, if all are of one.
pub(in crate::store) fn among(
    column: &str,
    tenant: Option<&TenantId>,
    deliveries: &[DeliveryId],
) -> (String, Vec<Value>) {
    let mut values: Vec<_> =
        deliveries.iter().map(|delivery| Value::from(delivery.to_string())).collect();
    let named = format!("{column} IN ({})", placeholders(1, deliveries.len()));
    let Some(tenant) = tenant else { return (named, values) };
    values.push(tenant.as_str().into());
    (format!("{named} AND tenant = ${}", values.len()), values)
}

/// Removes a person from those of these deliveries that are shared. A shared delivery that named
/// the person first now names another recipient, so that it is neither canceled nor erased with the
/// person. Its content and trace are encrypted again, with the other's key. `keys` are the
/// tenant's, `theirs` is the person's.
pub(in crate::store) async fn leave(
    store: &Store,
    tx: &Tx,
    keys: &Arc<ScopeKeys>,
    theirs: Option<&Arc<ScopeKeys>>,
    rows: &PersonRows<'_>,
) -> Result<(), Error> {
    const GONE: &str = "DELETE FROM delivery_sharers
        WHERE tenant = $1 AND delivery = $2 AND user_id = $3";
    let (tenant, user, values) = (rows.tenant, rows.user, rows.values());
    let leave = format!("DELETE FROM delivery_sharers WHERE {}", rows.of(""));
    sql::execute(tx, &leave, values.clone()).await?;
    for table in ["deliveries", "deliveries_history"] {
        let find = format!(
            "SELECT s.delivery, MIN(s.user_id)
                FROM delivery_sharers s
                JOIN {table} d ON d.id = s.delivery
                WHERE {} AND s.tenant = $1
                GROUP BY s.delivery",
            rows.of("d.")
        );
        for row in sql::all(tx, &find, values.clone()).await? {
            let mut columns = Columns::of(&row);
            let delivery: String = columns.take()?;
            let heir = columns.id(UserId::parse)?;
            let heirs = BTreeSet::from([heir.clone()]);
            let keys = store.held_keys(tx, keys, tenant, &heirs).await?.and(user, theirs);
            inherit(tx, table, &delivery, user, &heir, &keys).await?;
            let gone = params![tenant.as_str(), delivery, heir.as_str()];
            sql::execute(tx, GONE, gone).await?;
        }
    }
    Ok(())
}

/// Makes the delivery the other person's.
async fn inherit(
    tx: &Tx,
    table: &str,
    delivery: &str,
    user: &UserId,
    heir: &UserId,
    keys: &SealingKeys,
) -> Result<(), Error> {
    let read = format!("SELECT content, trace FROM {table} WHERE id = $1 {{for_update}}");
    let rename = format!("UPDATE {table} SET user_id = $2, content = $3, trace = $4 WHERE id = $1");
    let Some(row) = sql::one(tx, &read, params![delivery]).await? else { return Ok(()) };
    let anew = |column, sealed: Option<Vec<u8>>| -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = sealed else { return Ok(None) };
        let place = SealedCell { table: "deliveries", row: delivery, column };
        let plain = keys.open(Some(user), &place, &sealed);
        match plain.and_then(|plain| keys.of(Some(heir))?.seal(&place, &plain)) {
            // A damaged value, or a damaged key of the other, must not prevent the deletion.
            Err(Error::Sealed(_)) => Ok(Some(sealed)),
            anew => anew.map(Some),
        }
    };
    let (content, trace) = (anew("content", row.get(0)?)?, anew("trace", row.get(1)?)?);
    sql::execute(tx, &rename, params![delivery, heir.as_str(), content, trace]).await.map(drop)
}
