//! Reads the messages that arrived from the fake Slack's store and compares them with the expected
//! ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

use super::cast::{EXPECTED, Expected, UNREACHABLE};
use super::platform::{AcceptedNotification, TENANT};
use super::say;
use crate::rpc::pb::verdict::Recipient;
use crate::rpc::pb::{self, DeliveryState, VerdictKind};
use crate::sandbox::{Sandbox, StoredMessage};

/// Compares messages as they arrive.
pub(super) struct Report {
    stored: watch::Receiver<u64>,
    /// The event type of each delivery, from the answers.
    events: HashMap<String, &'static str>,
    /// Messages of the fake Slack that have been examined.
    seen: usize,
    /// For each expected message, whether it arrived.
    arrived: Vec<bool>,
    /// For each person who must get nothing, whether Herald reported that.
    unreachable: Vec<bool>,
    /// Messages and refusals that were not expected.
    extra: Vec<String>,
}

impl Report {
    pub(super) fn begin(sandbox: &Sandbox) -> Self {
        say(&row("EVENT TYPE", "PERSON", "SLACK USER", "CONVERSATION", "TS"));
        Self {
            stored: sandbox.stored(),
            events: HashMap::new(),
            seen: sandbox.messages().len(),
            arrived: vec![false; EXPECTED.len()],
            unreachable: vec![false; UNREACHABLE.len()],
            extra: Vec::new(),
        }
    }

    /// Records an answer and prints each person who gets nothing, with the reason.
    pub(super) fn accepted(&mut self, accepted: AcceptedNotification) {
        for verdict in accepted.verdicts {
            if verdict.kind() == VerdictKind::Queued {
                self.events.insert(verdict.delivery_id, accepted.event);
            } else if let Some(Recipient::UserId(user)) = verdict.recipient {
                self.nothing(accepted.event, &user, &verdict.sentence);
            }
        }
    }

    /// Reports a person who gets no message. The answer and the feed may both say so.
    fn nothing(&mut self, event: &str, user: &str, sentence: &str) {
        let place = UNREACHABLE.iter().position(|expected| *expected == (event, user));
        let mark = match place.and_then(|place| self.unreachable.get_mut(place)) {
            Some(true) => return,
            Some(said) => {
                *said = true;
                ""
            }
            None => {
                self.extra.push(format!("nothing for {user} about {event}: {sentence}"));
                "  UNEXPECTED"
            }
        };
        say(&format!("{event:<20}{user:<11}nothing: {sentence}{mark}"));
    }

    fn changed(&mut self, changes: pb::WatchDeliveriesResponse) {
        for change in changes.changes {
            let ended = change.state();
            if matches!(
                ended,
                DeliveryState::Unreachable | DeliveryState::Failed | DeliveryState::Suppressed
            ) {
                self.nothing(&change.event_type, &change.user_id, &change.sentence);
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.arrived.iter().chain(&self.unreachable).all(|done| *done)
    }

    /// Prints each message that arrives and each delivery that ends without one, until all have
    /// arrived and a little longer, to notice a surplus message.
    pub(super) async fn watch(
        &mut self,
        sandbox: &Sandbox,
        mut feed: tonic::Streaming<pb::WatchDeliveriesResponse>,
        patience: Duration,
    ) {
        const QUIET: Duration = Duration::from_millis(300);
        let until = tokio::time::Instant::now() + patience;
        loop {
            self.look(sandbox);
            let quiet = tokio::time::Instant::now() + QUIET;
            let wait = if self.is_settled() { quiet.min(until) } else { until };
            tokio::select! {
                () = tokio::time::sleep_until(wait) => return,
                stored = self.stored.changed() => if stored.is_err() { return },
                changes = feed.message() => match changes {
                    Ok(Some(changes)) => self.changed(changes),
                    // The verdict lists the missing messages.
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    fn look(&mut self, sandbox: &Sandbox) {
        let messages = sandbox.messages();
        for message in messages.iter().skip(self.seen) {
            self.compare(message);
        }
        self.seen = messages.len();
    }

    fn compare(&mut self, message: &StoredMessage) {
        let delivery = message.metadata["event_payload"]["delivery_id"].as_str();
        let event = delivery.and_then(|id| self.events.get(id)).copied().unwrap_or("unknown");
        let user = message.user.as_deref().unwrap_or_default();
        let fits = |expected: &Expected| {
            expected.event == event && expected.slack_user == user && shows(message, expected)
        };
        let open = EXPECTED.iter().zip(&mut self.arrived);
        let fitting = open.into_iter().find(|(expected, arrived)| !**arrived && fits(expected));
        let (person, mark) = if let Some((expected, arrived)) = fitting {
            *arrived = true;
            (expected.person, "")
        } else {
            self.extra.push(format!("{event} to {user}: {}", message.text));
            ("?", "  UNEXPECTED")
        };
        say(&format!("{}{mark}", row(event, person, user, &message.conversation, &message.ts)));
    }

    /// Prints the result.
    pub(super) fn verdict(&self) {
        let arrived = self.arrived.iter().filter(|arrived| **arrived).count();
        say(&format!("\n{arrived} of {} expected messages arrived.", EXPECTED.len()));
        let nobody = self.unreachable.iter().filter(|said| **said).count();
        say(&format!(
            "{nobody} of {} people without a reachable account got nothing.",
            UNREACHABLE.len()
        ));
        for (expected, arrived) in EXPECTED.iter().zip(&self.arrived) {
            if !arrived {
                say(&format!("MISSING: {} to {}", expected.event, expected.slack_user));
            }
        }
        for extra in &self.extra {
            say(&format!("UNEXPECTED: {extra}"));
        }
    }

    /// Whether exactly the expected messages arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.extra.is_empty() && self.is_settled()
    }
}

/// Whether the message contains all its required words.
fn shows(message: &StoredMessage, expected: &Expected) -> bool {
    let mut shown = message.blocks.to_string();
    shown.push_str(&message.text);
    expected.shows.iter().all(|words| shown.contains(words))
}

fn row(event: &str, person: &str, user: &str, conversation: &str, ts: &str) -> String {
    format!("{event:<20}{person:<11}{user:<13}{conversation:<14}{ts}")
}

/// Commands to try next.
pub(super) fn invitation(rpc: SocketAddr, inbox: &Url) -> String {
    format!(
        r#"
See the messages: {inbox}

Try it yourself (in another terminal):

  grpcurl -plaintext -d '{{"tenant_id": "{TENANT}", "user_id": "u-ben"}}' \
    {rpc} herald.v1.HeraldService/TestSlack

  grpcurl -plaintext -d '{{"tenant_id": "{TENANT}", "user_id": "u-jonas"}}' \
    {rpc} herald.v1.HeraldService/ResolveIdentity

  grpcurl -plaintext -d '{{"tenant_id": "{TENANT}", "request_id": "mine-1",
      "event_type": "request.completed", "recipients": [{{"user_id": "u-gita"}}],
      "data": {{"request": {{"name": "My first notification"}}}},
      "link": "https://platform.example/requests/99"}}' \
    {rpc} herald.v1.HeraldService/Notify

Stop with Ctrl-C."#
    )
}
