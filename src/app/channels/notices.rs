//! The notice before a channel is archived (`channel.archiving`): an ordinary notification to the
//! channel, sent by Herald itself.
//!
//! Its request id is made from the channel and the time of archiving. Replicas that find the same
//! channel, and one that continues after a crash, therefore make the same call, which is accepted
//! once. A wish with another time gets another notice.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::notify::{Recipient, Request, Roles};
use crate::app::{App, Call, Caller, Error, Reach, Role};
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{IdError, Principal, RequestId};
use crate::domain::limits;
use crate::domain::message::event;
use crate::domain::time::Timestamp;
use crate::store::ManagedChannel;
use crate::telemetry::Rounds;

/// The caller in whose name Herald sends.
const PRINCIPAL: &str = "herald";
/// How often to look for channels whose notice is due.
const LOOK: Duration = Duration::from_secs(60);
/// Channels that are read at once.
const BATCH: u32 = 200;
/// The longest time that one notice takes in good health.
const STEP: Duration = Duration::from_secs(60);
/// The shortest time that a notice may wait to be sent.
const LEAST: Duration = Duration::from_secs(1);

impl App {
    /// Sends notices until stopped. Every replica does.
    pub async fn run_notices(self, stop: CancellationToken) {
        let rest = LOOK.mul_f64(self.workspaces.time_scale());
        let rounds = self.metrics.watchdog().watch("channel notices", rest + STEP);
        let mut troubled = false;
        while !stop.is_cancelled() {
            rounds.next();
            let sent = self.send_notices(&rounds, &stop).await;
            if let Err(error) = &sent
                && !troubled
            {
                tracing::warn!(%error, "notices of channels cannot be sent; retrying");
            }
            troubled = sent.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One look. However many notices cannot be sent, they do not hold back the others; they are
    /// tried again at the next look, and the last error is returned.
    async fn send_notices(&self, rounds: &Rounds, stop: &CancellationToken) -> Result<(), Error> {
        let (mut outcome, mut after) = (Ok(()), None);
        loop {
            let due = self.store.channels().notices_due(after.as_ref(), BATCH).await?;
            for channel in due.channels {
                if stop.is_cancelled() {
                    return outcome;
                }
                rounds.next();
                if let Err(error) = self.send_notice(&channel).await {
                    outcome = Err(error);
                }
            }
            let Some(next) = due.next else { return outcome };
            after = Some(next);
        }
    }

    async fn send_notice(&self, channel: &ManagedChannel) -> Result<(), Error> {
        let Some(archive_at) = channel.wish.archive_after else { return Ok(()) };
        let now = self.store.now().await?;
        // It is about to be archived: nothing is left to announce.
        if archive_at > now {
            let (call, request) = notice(channel, archive_at, now)
                .map_err(|error| Error::Internal(Box::new(error)))?;
            match self.notify(&call, request).await {
                // Accepted before, under another name of the channel.
                Ok(_) | Err(Error::RequestIdReused) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.store.channels().note_notice(channel.id, archive_at).await?)
    }
}

/// The call of a notice. It is worthless once the channel is archived, and expires then.
fn notice(
    channel: &ManagedChannel,
    archive_at: Timestamp,
    now: Timestamp,
) -> Result<(Call, Request), IdError> {
    let event = event::channel_archiving();
    let name = channel.progress.name.as_ref().unwrap_or(&channel.wish.name);
    let caller = Caller {
        principal: Principal::parse(PRINCIPAL)?,
        role: Role::Service,
        reach: Reach::Only(BTreeSet::from([channel.tenant.clone()])),
        may_act_for_users: false,
        may_administer_for_users: false,
    };
    let request = Request {
        request_id: RequestId::parse(format!("{event}:{}:{}", channel.id, archive_at.0))?,
        event,
        recipients: vec![Recipient::ChannelKey(channel.key.clone())],
        roles: Some(Roles::new()),
        actor: None,
        data: json!({
            "channel": { "name": name },
            "archive_at": archive_at.0.div_euclid(1_000_000),
        }),
        link: None,
        content_id: None,
        expires_in: archive_at.since(now).clamp(LEAST, limits::MAX_EXPIRY),
        subject: None,
        action: Action::Post,
        deliver_after: None,
        hold: None,
        decide_within: None,
        priority: None,
    };
    Ok((Call { caller, tenant: channel.tenant.clone(), actor: None }, request))
}
