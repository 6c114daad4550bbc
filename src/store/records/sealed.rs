//! The encrypted columns of deliveries.

use crate::domain::ids::DeliveryId;
use crate::store::Error;
use crate::store::seal::data_keys::{ScopeKeys, SealedCell};

/// Encrypts the content of one delivery, for either of the two tables of deliveries. `keys` are
/// those of its person or, for a channel, of the tenant.
pub(in crate::store) fn seal_content(
    keys: &ScopeKeys,
    delivery: DeliveryId,
    content: &[u8],
) -> Result<Vec<u8>, Error> {
    let row = delivery.to_string();
    keys.seal(&SealedCell { table: "deliveries", row: &row, column: "content" }, content)
}

/// Encrypts the trace of one delivery, as [`seal_content`] does.
pub(in crate::store) fn seal_trace(
    keys: &ScopeKeys,
    delivery: DeliveryId,
    trace: &[u8],
) -> Result<Vec<u8>, Error> {
    let row = delivery.to_string();
    keys.seal(&SealedCell { table: "deliveries", row: &row, column: "trace" }, trace)
}
