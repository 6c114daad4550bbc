//! The notice in a channel some time before it is archived.

use super::rows::{COLUMNS, ManagedChannel};
use crate::domain::channels::state::ChannelState;
use crate::domain::ids::ManagedChannelId;
use crate::domain::time::Timestamp;
use crate::store::database::sql::{self, params};
use crate::store::{Channels, Error};

impl Channels<'_> {
    /// Up to `limit` channels that exist in Slack and whose notice is due and was not sent; the
    /// longest due first.
    pub async fn notices_due(self, limit: u32) -> Result<Vec<ManagedChannel>, Error> {
        let text = format!(
            "SELECT {COLUMNS} FROM channels WHERE notice_due <= {{now}} AND state = '{}' \
             AND wants_archived = 0 AND archive_after > {{now}} \
             ORDER BY notice_due, id LIMIT {limit}",
            ChannelState::Ready.code()
        );
        let rows = sql::all(self.store.reader(), &text, params![]).await?;
        self.store.open_channels(&rows).await
    }

    /// The notice before this end was sent. It changes nothing if the end was moved meanwhile.
    pub async fn note_notice(self, id: ManagedChannelId, end: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE channels SET notice_due = NULL, notice_at = {now} \
            WHERE id = $1 AND archive_after = $2";
        sql::execute(self.store.writer(), SQL, params![id.to_string(), end.0]).await.map(drop)
    }
}
