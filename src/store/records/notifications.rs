//! Reading accepted notifications with their deliveries.

use super::deliveries::DeliveryRecord;
use crate::domain::ids::{EventType, NotificationId, Principal, RequestId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Error, Records, Store};

/// One accepted Notify.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationRecord {
    pub id: NotificationId,
    pub principal: Principal,
    pub request_id: RequestId,
    pub event_type: EventType,
    /// As given to `accept`.
    pub data: Vec<u8>,
    pub link: Option<String>,
    /// As given to `accept`.
    pub answer: Vec<u8>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// In the order of acceptance.
    pub deliveries: Vec<DeliveryRecord>,
}

/// Binds the encrypted columns of one notification.
pub(in crate::store) fn place<'a>(row: &'a str, column: &'static str) -> SealedCell<'a> {
    SealedCell { table: "notifications", row, column }
}

impl Records<'_> {
    /// One notification of a tenant, with all its deliveries and their attempts.
    pub async fn notification(
        self,
        tenant: &TenantId,
        id: NotificationId,
    ) -> Result<Option<NotificationRecord>, Error> {
        const SQL: &str = "
            SELECT principal, request_id, event_type, data, link, answer, created_at, expires_at
            FROM notifications
            WHERE tenant = $1 AND id = $2";
        let key = id.to_string();
        let values = params![tenant.as_str(), key.as_str()];
        let Some(row) = sql::one(self.store.reader(), SQL, values.clone()).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&row);
        let (principal, request_id) =
            (columns.id(Principal::parse)?, columns.id(RequestId::parse)?);
        let event_type = columns.id(EventType::parse)?;
        let data: Vec<u8> = columns.take()?;
        let link: Option<Vec<u8>> = columns.take()?;
        let answer: Vec<u8> = columns.take()?;
        Ok(Some(NotificationRecord {
            id,
            principal,
            request_id,
            event_type,
            data: self.store.open_column(tenant, &place(&key, "data"), &data).await?,
            link: self.store.open_link(tenant, &key, link.as_deref()).await?,
            answer: self.store.open_column(tenant, &place(&key, "answer"), &answer).await?,
            created_at: columns.time()?,
            expires_at: columns.time()?,
            deliveries: self
                .store
                .read_deliveries(tenant, "tenant = $1 AND notification = $2", values)
                .await?,
        }))
    }
}

impl Store {
    pub(in crate::store) async fn open_link(
        &self,
        tenant: &TenantId,
        notification: &str,
        sealed: Option<&[u8]>,
    ) -> Result<Option<String>, Error> {
        let Some(sealed) = sealed else { return Ok(None) };
        let bytes = self.open_column(tenant, &place(notification, "link"), sealed).await?;
        let link = String::from_utf8(bytes);
        link.map(Some).map_err(|_| Error::Bug("a link that is not text".into()))
    }

    pub(in crate::store) async fn open_column(
        &self,
        tenant: &TenantId,
        place: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let plain = self.unseal(&KeyScope::Tenant(tenant.clone()), place, sealed).await?;
        Ok(plain.to_vec())
    }
}
