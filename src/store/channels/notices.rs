//! The notice in a channel some time before it is archived.

use super::rows::{COLUMNS, ManagedChannel};
use crate::domain::channels::state::ChannelState;
use crate::domain::ids::ManagedChannelId;
use crate::domain::time::Timestamp;
use crate::store::database::sql::{self, params};
use crate::store::{Channels, Error};

/// Where a look at the channels whose notice is due continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticePlace {
    due: i64,
    channel: String,
}

/// Some of the channels whose notice is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticesDue {
    pub channels: Vec<ManagedChannel>,
    /// `None`: there are no more.
    pub next: Option<NoticePlace>,
}

impl Channels<'_> {
    /// Up to `limit` channels that exist in Slack and whose notice is due and was not sent; the
    /// longest due first, after the place where an earlier look ended.
    pub async fn notices_due(
        self,
        after: Option<&NoticePlace>,
        limit: u32,
    ) -> Result<NoticesDue, Error> {
        let text = format!(
            "SELECT {COLUMNS}, notice_due FROM channels WHERE notice_due <= {{now}} \
             AND state = '{}' AND wants_archived = 0 AND archive_after > {{now}} \
             AND notice_due >= $1 AND (notice_due > $1 OR id > $2) \
             ORDER BY notice_due, id LIMIT {limit}",
            ChannelState::Ready.code()
        );
        // Every id is larger than the empty text.
        let (due, channel) =
            after.map_or((i64::MIN, ""), |place| (place.due, place.channel.as_str()));
        let rows = sql::all(self.store.reader(), &text, params![due, channel]).await?;
        let next = match rows.last() {
            Some(row) if rows.len() >= limit as usize => {
                Some(NoticePlace { due: row.named("notice_due")?, channel: row.named("id")? })
            }
            _ => None,
        };
        Ok(NoticesDue { channels: self.store.open_channels(&rows).await?, next })
    }

    /// The notice before this end was sent. It changes nothing if the end was moved meanwhile.
    pub async fn noticed(self, id: ManagedChannelId, end: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE channels SET notice_due = NULL, notice_at = {now} \
            WHERE id = $1 AND archive_after = $2";
        sql::execute(self.store.writer(), SQL, params![id.to_string(), end.0]).await.map(drop)
    }
}
