//! The books of a test: the accepted deliveries, as answers named them, are compared with the store
//! and Slack when the test ends.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, NotificationId, TenantId};
use herald::rpc::pb;
use herald::sandbox::Sandbox;

use super::store::TestStore;
use super::world::until;

/// Deliveries that are read at once.
const READS: usize = 8;

/// Everything that was accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// Tenant and notification.
    pub(crate) notifications: BTreeSet<(String, String)>,
    /// Deliveries that answers named, with their tenant.
    deliveries: BTreeMap<String, String>,
    /// Deliveries that may be under way at the end.
    pub(crate) may_stay: BTreeSet<String>,
    /// Deliveries of tenants that were deleted: the store has forgotten them, Slack has not.
    erased: BTreeSet<String>,
}

impl Books {
    pub(crate) fn notified(&mut self, tenant: &str, answer: &pb::NotifyResponse) {
        // A dry run.
        if answer.notification_id.is_empty() {
            return;
        }
        self.notifications.insert((tenant.to_owned(), answer.notification_id.clone()));
        for verdict in &answer.verdicts {
            if matches!(verdict.kind(), pb::VerdictKind::Queued | pb::VerdictKind::Held) {
                self.deliveries.insert(verdict.delivery_id.clone(), tenant.to_owned());
            }
        }
    }

    pub(crate) fn tested(&mut self, tenant: &str, answer: &pb::TestSlackResponse) {
        let delivery = answer.delivery.as_ref().map(|delivery| &delivery.delivery_id);
        if let Some(delivery) = delivery.filter(|delivery| !delivery.is_empty()) {
            self.deliveries.insert(delivery.clone(), tenant.to_owned());
        }
    }

    /// Records that this delivery replays a dead letter.
    pub(crate) fn replayed(&mut self, tenant: &str, delivery: &str) {
        self.deliveries.insert(delivery.to_owned(), tenant.to_owned());
    }

    /// Records that this tenant was deleted, with everything that was accepted for it.
    pub(crate) fn erased(&mut self, tenant: &str) {
        self.notifications.retain(|(of, _)| of != tenant);
        let erased = self.deliveries.extract_if(.., |_, of| of == tenant);
        self.erased.extend(erased.map(|(delivery, _)| delivery));
    }

    /// Each accepted delivery must exist and have ended, unless it may stay; it must be in Slack
    /// exactly once if sent and not at all otherwise; and Slack must have nothing else.
    pub(crate) async fn balance(&self, store: &TestStore, sandbox: &Sandbox) {
        self.settled(store).await;
        let mut in_slack: BTreeMap<String, usize> = BTreeMap::new();
        for message in sandbox.messages() {
            let id = &message.metadata["event_payload"]["delivery_id"];
            *in_slack.entry(id.as_str().unwrap().to_owned()).or_default() += 1;
        }
        for (tenant, notification) in &self.notifications {
            let id = NotificationId::parse(notification).unwrap();
            let kept = store.records().notification(&parse(tenant), id).await.unwrap().unwrap();
            assert!(!kept.deliveries.is_empty());
            for delivery in kept.deliveries {
                let (id, state) = (delivery.id.to_string(), delivery.state);
                let explained = state.is_terminal() || self.may_stay.contains(&id);
                assert!(explained, "left behind: {delivery:?}");
                let named = self.deliveries.contains_key(&id);
                let final_from_the_start = matches!(state, State::Suppressed | State::Unreachable);
                assert!(named || final_from_the_start, "no answer named it: {delivery:?}");
            }
        }
        let read = |(id, tenant): (&String, &String)| {
            let (id, tenant) = (id.clone(), parse(tenant));
            async move {
                let parsed = id.parse().map(DeliveryId).unwrap();
                let kept = store.records().delivery(&tenant, parsed).await.unwrap();
                let kept = kept.unwrap_or_else(|| panic!("accepted and gone: {id}"));
                (id, kept)
            }
        };
        let mut all = stream::iter(self.deliveries.iter().map(read)).buffer_unordered(READS);
        while let Some((id, kept)) = all.next().await {
            let posts = in_slack.remove(&id).unwrap_or(0);
            // A delivery that changed or deleted a message posted none.
            let changed = kept.attempts.iter().rev().find(|attempt| attempt.outcome == "sent");
            let changed = changed.and_then(|attempt| attempt.method.as_deref());
            let posted = !matches!(changed, Some("chat.update" | "chat.delete"));
            assert_eq!(posts, usize::from(kept.state == State::Sent && posted), "{kept:?}");
        }
        in_slack.retain(|id, posts| !(self.erased.contains(id) && *posts == 1));
        assert!(in_slack.is_empty(), "never accepted, or twice: {in_slack:?}");
    }

    /// Waits until deliveries being sent have ended: Slack has a message a moment before Herald
    /// knows.
    async fn settled(&self, store: &TestStore) {
        for (tenant, notification) in &self.notifications {
            let (tenant, id) = (parse(tenant), NotificationId::parse(notification).unwrap());
            until("what was being sent is settled", async || {
                let kept = store.records().notification(&tenant, id).await.unwrap()?;
                let mut sending = kept.deliveries.iter().filter(|one| one.state == State::Sending);
                sending.all(|one| self.may_stay.contains(&one.id.to_string())).then_some(())
            })
            .await;
        }
    }
}

fn parse(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}
