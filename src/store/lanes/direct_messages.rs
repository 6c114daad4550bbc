//! Slack's direct message conversation of a lane (`D...`). It is stored with the lane and is not
//! the lane's key: the key is the member, whose conversation may not be open yet.

use crate::domain::ids::{ChannelId, InstallationId};
use crate::store::database::rows::{Column, NewCell, NewRow};
use crate::store::database::sql;
use crate::store::{Error, Lanes};

impl Lanes<'_> {
    /// Stores the `D...` id of a lane, which may have no work yet.
    pub async fn save_conversation(
        self,
        installation: InstallationId,
        lane: &str,
        channel: &ChannelId,
    ) -> Result<(), Error> {
        let NewRow { names, parameters, values } = NewRow::of([
            NewCell("installation", Column::Text, installation.to_string().into()),
            NewCell("lane", Column::Text, lane.into()),
            NewCell("channel", Column::Text, channel.as_str().into()),
        ]);
        let text = format!(
            "INSERT INTO lanes ({names})
                VALUES ({parameters})
                ON CONFLICT (installation, lane) DO UPDATE
                SET channel = excluded.channel"
        );
        sql::execute(self.store.writer(), &text, values).await.map(drop)
    }
}
