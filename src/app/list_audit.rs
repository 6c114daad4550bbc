//! ListAudit: the entries of the audit trail, newest first, page by page.

use super::{App, Call, Caller, Error};
use crate::domain::access;
use crate::store::{AuditFilter, AuditPage, AuditPosition};

impl App {
    /// Up to `limit` entries of the call's tenant after a position.
    pub async fn list_audit(
        &self,
        call: &Call,
        filter: &AuditFilter,
        after: Option<AuditPosition>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        call.may(&access::LIST_AUDIT)?;
        Ok(self.store.audit().list(Some(&call.tenant), filter, after, limit).await?)
    }

    /// The same for entries that belong to no tenant: sign-ins, and calls refused before they
    /// reached one.
    pub async fn list_audit_of_none(
        &self,
        caller: &Caller,
        filter: &AuditFilter,
        after: Option<AuditPosition>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        if !caller.administers_all() {
            return Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only an administrator of all tenants may read entries that belong to no tenant",
            ));
        }
        Ok(self.store.audit().list(None, filter, after, limit).await?)
    }
}
