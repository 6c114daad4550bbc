//! Recipients that share a delivery: they turned out to be one Slack member, who gets one message.
//! The delivery names the first of them; this table has the others.

use std::collections::HashMap;

use sea_orm::Value;

use crate::domain::ids::{DeliveryId, TenantId, UserId};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::{Error, Store};

impl Store {
    /// The recipients that share the deliveries matching `filter`.
    pub(in crate::store) async fn sharers(
        &self,
        filter: &str,
        values: Vec<Value>,
    ) -> Result<HashMap<DeliveryId, Vec<UserId>>, Error> {
        let text = format!(
            "SELECT delivery, user_id FROM delivery_sharers WHERE delivery IN \
             (SELECT id FROM deliveries WHERE {filter} \
             UNION ALL SELECT id FROM deliveries_history WHERE {filter}) ORDER BY user_id"
        );
        let mut shared = HashMap::<DeliveryId, Vec<UserId>>::new();
        for row in sql::all(self.reader(), &text, values).await? {
            let mut columns = Columns::of(&row);
            let delivery = columns.uuid(DeliveryId::parse)?;
            shared.entry(delivery).or_default().push(columns.id(UserId::parse)?);
        }
        Ok(shared)
    }

    /// The recipients that share these deliveries.
    pub(in crate::store) async fn sharers_among(
        &self,
        tenant: &TenantId,
        deliveries: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Vec<UserId>>, Error> {
        let mut shared = HashMap::<DeliveryId, Vec<UserId>>::new();
        for chunk in deliveries.chunks(500) {
            let text = format!(
                "SELECT delivery, user_id FROM delivery_sharers \
                 WHERE tenant = $1 AND delivery IN ({}) ORDER BY user_id",
                placeholders(2, chunk.len())
            );
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|delivery| Value::from(delivery.to_string())));
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let delivery = columns.uuid(DeliveryId::parse)?;
                shared.entry(delivery).or_default().push(columns.id(UserId::parse)?);
            }
        }
        Ok(shared)
    }
}

/// Removes a person from shared deliveries. A shared delivery that named the person first now names
/// another recipient, so that it is neither canceled nor erased with the person.
pub(in crate::store) async fn leave(
    tx: &Tx,
    tenant: &TenantId,
    user: &UserId,
) -> Result<(), Error> {
    const LEAVE: &str = "DELETE FROM delivery_sharers WHERE tenant = $1 AND user_id = $2";
    const GONE: &str = "DELETE FROM delivery_sharers WHERE tenant = $1 AND delivery = $2 \
        AND user_id = $3";
    let key = params![tenant.as_str(), user.as_str()];
    sql::execute(tx, LEAVE, key.clone()).await?;
    for table in ["deliveries", "deliveries_history"] {
        let find = format!(
            "SELECT s.delivery, MIN(s.user_id) FROM delivery_sharers s JOIN {table} d \
             ON d.id = s.delivery WHERE d.tenant = $1 AND d.user_id = $2 AND s.tenant = $1 \
             GROUP BY s.delivery"
        );
        let rename = format!("UPDATE {table} SET user_id = $2 WHERE id = $1");
        for row in sql::all(tx, &find, key.clone()).await? {
            let (delivery, heir): (String, String) = (row.get(0)?, row.get(1)?);
            sql::execute(tx, &rename, params![delivery.as_str(), heir.as_str()]).await?;
            sql::execute(tx, GONE, params![tenant.as_str(), delivery, heir]).await?;
        }
    }
    Ok(())
}
