//! Slack's direct message conversation of a lane (`D...`). It is stored with the lane and is not
//! the lane's key: the key is the member, whose conversation may not be open yet.

use crate::domain::ids::{ChannelId, InstallationId};
use crate::store::database::sql::{self, params};
use crate::store::{Error, Lanes};

impl Lanes<'_> {
    /// Stores the `D...` id of a lane, which may have no work yet.
    pub async fn save_conversation(
        self,
        installation: InstallationId,
        lane: &str,
        channel: &ChannelId,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO lanes (installation, lane, channel) VALUES ($1, $2, $3)
            ON CONFLICT (installation, lane) DO UPDATE SET channel = excluded.channel";
        let values = params![installation.to_string(), lane, channel.as_str()];
        sql::execute(self.store.writer(), SQL, values).await?;
        Ok(())
    }
}
