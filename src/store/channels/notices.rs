//! The notice in a channel some time before it is archived.

use super::rows::{COLUMNS, ManagedChannel};
use crate::domain::channels::state::ChannelState;
use crate::domain::ids::ManagedChannelId;
use crate::domain::time::Timestamp;
use crate::store::database::sql::{self, params};
use crate::store::{Channels, Error};

/// The place of a channel among those whose notices are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticePlace {
    due: i64,
    id: String,
}

/// Some channels whose notices are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticesDue {
    /// Without those that cannot be read.
    pub channels: Vec<ManagedChannel>,
    /// There may be more after this place; `None`: there are none.
    pub next: Option<NoticePlace>,
}

impl Channels<'_> {
    /// Up to `limit` channels after a place that exist in Slack and whose notice is due and was not
    /// sent; the longest due first.
    pub async fn notices_due(
        self,
        after: Option<&NoticePlace>,
        limit: u32,
    ) -> Result<NoticesDue, Error> {
        let (later, values) = match after {
            Some(place) => {
                ("AND (notice_due, id) > ($1, $2)", params![place.due, place.id.as_str()])
            }
            None => ("", params![]),
        };
        let text = format!(
            "SELECT {COLUMNS}, notice_due
                FROM channels
                WHERE notice_due <= {{now}} AND state = '{}' AND wants_archived = 0
                    AND archive_after > {{now}} {later}
                ORDER BY notice_due, id
                LIMIT {limit}",
            ChannelState::Ready.code()
        );
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let next = match rows.last() {
            Some(row) if rows.len() == limit as usize => {
                Some(NoticePlace { due: row.named("notice_due")?, id: row.named("id")? })
            }
            _ => None,
        };
        Ok(NoticesDue { channels: self.store.open_channels(&rows).await?, next })
    }

    /// The notice before this end was sent. It changes nothing if the end was moved meanwhile.
    pub async fn note_notice(self, id: ManagedChannelId, end: Timestamp) -> Result<(), Error> {
        const SQL: &str = "UPDATE channels
            SET notice_due = NULL, notice_at = {now}
            WHERE id = $1 AND archive_after = $2";
        sql::execute(self.store.writer(), SQL, params![id.to_string(), end.0]).await.map(drop)
    }
}
