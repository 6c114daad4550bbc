//! Channels that were released. In Slack they keep their marks, which belong to no row any more:
//! the tenant may adopt them.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::Value;

use crate::domain::ids::{ManagedChannelId, TenantId};
use crate::domain::time::micros;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::{Channels, Error};

/// How long a release is remembered. Afterwards the mark counts as that of another Herald.
const RELEASES_KEPT: Duration = Duration::from_secs(400 * 86_400);

/// Marks that one statement names.
const CHUNK: usize = 500;

impl Channels<'_> {
    /// Those of these marks that are of channels that the tenant released.
    pub async fn released(
        self,
        tenant: &TenantId,
        marks: &[ManagedChannelId],
    ) -> Result<BTreeSet<ManagedChannelId>, Error> {
        let mut released = BTreeSet::new();
        for chunk in marks.chunks(CHUNK) {
            let text = format!(
                "SELECT id FROM channel_releases WHERE tenant = $1 AND id IN ({})",
                placeholders(2, chunk.len())
            );
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|mark| Value::from(mark.to_string())));
            for row in sql::all(self.store.reader(), &text, values).await? {
                released.insert(Columns::of(&row).uuid(ManagedChannelId::parse)?);
            }
        }
        Ok(released)
    }

    /// Forgets up to `limit` releases of more than 400 days ago; returns how many.
    pub async fn forget_releases(self, limit: u32) -> Result<u64, Error> {
        let text = format!(
            "DELETE FROM channel_releases
                WHERE id IN (
                    SELECT id
                    FROM channel_releases
                    WHERE released_at <= {{now}} - $1
                    ORDER BY released_at
                    LIMIT {limit})"
        );
        sql::execute(self.store.writer(), &text, params![micros(RELEASES_KEPT)]).await
    }
}
