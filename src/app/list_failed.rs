//! ListFailed: a tenant's dead letters, most recently ended first, page by page.

use super::{App, Call, Error};
use crate::domain::access;
use crate::store::{FailedFilter, FailedPage, FailedPosition};

impl App {
    /// Up to `limit` dead letters after a position.
    pub async fn list_failed(
        &self,
        call: &Call,
        filter: &FailedFilter,
        after: Option<FailedPosition>,
        limit: u32,
    ) -> Result<FailedPage, Error> {
        call.may(&access::LIST_FAILED)?;
        Ok(self.store.records().list_failed(&call.tenant, filter, after, limit).await?)
    }
}
