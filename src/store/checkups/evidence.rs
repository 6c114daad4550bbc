//! Stored facts about the parts of a connection: direct messages and their outcomes, events and
//! their repetitions.

use crate::domain::checkup::{DirectMessages, EventFacts, SlackRetries, TAB_OFF, retry_reason};
use crate::domain::delivery::State;
use crate::domain::ids::{ChannelId, InstallationId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Checkups, Error};

/// The latest deliveries of a tenant that are looked at.
const DELIVERIES: u32 = 100;
/// Microseconds without a repetition after which the next one is counted from 1.
const PAUSE: i64 = 3_600_000_000;

/// The stored facts about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckEvidence {
    pub events: EventFacts,
    pub direct_messages: DirectMessages,
    /// A direct message conversation of the workspace.
    pub conversation: Option<ChannelId>,
}

impl Checkups<'_> {
    /// The evidence about a tenant's connection to an installation, whose events arrive at the
    /// address of the app with this path.
    pub async fn evidence(
        self,
        tenant: &TenantId,
        installation: InstallationId,
        app_path: &str,
    ) -> Result<CheckEvidence, Error> {
        Ok(CheckEvidence {
            events: self.events(installation, app_path).await?,
            direct_messages: self.direct_messages(tenant, installation).await?,
            conversation: self.conversation(installation).await?,
        })
    }

    /// Records that Slack sent an event to the address of this app again. `reason` is the code that
    /// Slack gave; only known ones are stored.
    pub async fn note_retry(self, app_path: &str, reason: &str) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO slack_retries (app_path, at, times, reason)
            VALUES ($1, {now}, 1, $2)
            ON CONFLICT (app_path) DO UPDATE
            SET at = excluded.at, reason = excluded.reason,
                times = CASE
                    WHEN slack_retries.at < excluded.at - $3 THEN 1
                    ELSE slack_retries.times + 1 END";
        let values = params![app_path, retry_reason(reason), PAUSE];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    async fn events(
        self,
        installation: InstallationId,
        app_path: &str,
    ) -> Result<EventFacts, Error> {
        const HEARD: &str = "SELECT event_heard_at FROM directory WHERE installation = $1";
        const RETRIES: &str = "SELECT at, times, reason FROM slack_retries WHERE app_path = $1";
        let reader = self.store.reader();
        let heard = sql::one(reader, HEARD, params![installation.to_string()]).await?;
        let heard_at = heard.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten();
        let retries = match sql::one(reader, RETRIES, params![app_path]).await? {
            Some(row) => {
                let mut columns = Columns::of(&row);
                let (at, times) = (columns.time()?, columns.count()?);
                Some(SlackRetries { at, times, reason: columns.take()? })
            }
            None => None,
        };
        Ok(EventFacts { heard_at: heard_at.map(Timestamp), retries })
    }

    /// By the tenant's latest deliveries, including those in the history. Ids of notifications are
    /// in the order of time.
    async fn direct_messages(
        self,
        tenant: &TenantId,
        installation: InstallationId,
    ) -> Result<DirectMessages, Error> {
        let mut found = DirectMessages::default();
        for table in ["deliveries", "deliveries_history"] {
            let text = format!(
                "SELECT state, COALESCE(installation, ''), COALESCE(slack_channel, ''),
                        COALESCE(code, ''), updated_at
                    FROM {table}
                    WHERE tenant = $1
                    ORDER BY notification DESC
                    LIMIT {DELIVERIES}"
            );
            for row in sql::all(self.store.reader(), &text, params![tenant.as_str()]).await? {
                let mut columns = Columns::of(&row);
                let state = columns.shown_state()?;
                let here = columns.take::<String>()? == installation.to_string();
                let (channel, code): (String, String) = (columns.take()?, columns.take()?);
                let at = Some(columns.time()?);
                if here && state == State::Sent && channel.starts_with('D') {
                    found.sent_at = found.sent_at.max(at);
                } else if here && state == State::Failed && code == TAB_OFF {
                    found.refused_at = found.refused_at.max(at);
                }
            }
        }
        Ok(found)
    }

    async fn conversation(self, installation: InstallationId) -> Result<Option<ChannelId>, Error> {
        const SQL: &str = "SELECT channel
            FROM lanes
            WHERE installation = $1 AND channel LIKE 'D%'
            LIMIT 1";
        let values = params![installation.to_string()];
        let row = sql::one(self.store.reader(), SQL, values).await?;
        row.map(|row| Columns::of(&row).id(ChannelId::parse)).transpose()
    }
}
