//! Changes of messages wait for the budgets of `chat.update` and `chat.delete`, by priority and
//! tenant, as posts do for theirs (faults.md 15 and 27, I5, I8).

use std::time::Duration;

use herald::domain::capacity::priority::Priority;
use herald::domain::delivery::State;
use herald::domain::delivery::subject::Action;
use herald::domain::ids::{DeliveryId, SubjectKey, TenantId};
use herald::domain::settings::Settings;
use herald::domain::time::micros;
use herald::sandbox::{Fault, FaultKind};
use herald::store::{Accept, DeliveryKind, NotificationTerms};

use super::{Running, SCOPES, World, accept_of, installed, tenant, worlds};
use crate::outbox::posting_of;
use crate::support::store::{connect_tenant, test_stores};

/// Conversations with a change that waits.
const MANY: usize = 40;
/// Slow enough that a busy machine does not use up the backlog: a change every 120 ms.
const SLOW: f64 = 0.1;
/// The part of the backlog that may be changed while one change is accepted and has its turn.
const BETWEEN: usize = 15;

impl World {
    /// A message about the conversation's own subject.
    async fn about(
        &self,
        who: &TenantId,
        lane: &str,
        action: Action,
        priority: Priority,
    ) -> DeliveryId {
        let mut new = self.message(lane, "words", DeliveryKind::Normal);
        new.priority = priority;
        let id = new.id;
        let subject = Some(SubjectKey::parse(format!("task:{lane}")).unwrap());
        let about = NotificationTerms { subject, action, deliver_after: None };
        let accept = Accept { tenant: who.clone(), about, ..accept_of(vec![new]) };
        self.store.outbox().accept(accept).await.unwrap();
        id
    }

    async fn ended_for(&self, who: &TenantId, id: DeliveryId) -> State {
        let mut ends = self.store.outbox().ended();
        loop {
            let record = self.store.records().delivery(who, id).await.unwrap().unwrap();
            if record.state.is_terminal() {
                return record.state;
            }
            ends.recv().await.ok();
        }
    }

    /// Posts a message about its subject in each of these conversations.
    async fn posted(&self, who: &TenantId, lanes: &[String]) {
        let mut ids = Vec::new();
        for lane in lanes {
            ids.push(self.about(who, lane, Action::Post, Priority::Normal).await);
        }
        let running = self.start();
        for id in ids {
            assert_eq!(self.ended_for(who, id).await, State::Sent);
        }
        running.drain().await;
    }

    fn changed(&self) -> usize {
        self.calls("chat.update").len()
    }

    /// A backlog of changes that takes over a minute, and its delivery, which has begun.
    async fn backlog(&self) -> Running {
        let mut first = None;
        for lane in lanes() {
            let id = self.about(&tenant(), &lane, Action::Done, Priority::Bulk).await;
            first.get_or_insert(id);
        }
        let running = self.start();
        assert_eq!(self.ended(first.unwrap()).await.state, State::Sent);
        running
    }
}

fn lanes() -> Vec<String> {
    (1..=MANY).map(|number| format!("U{number}")).collect()
}

/// One world per database, with a posted message in each conversation, and in `also`.
async fn slow_worlds(also: &str) -> Vec<World> {
    let mut worlds = Vec::new();
    for store in test_stores().await {
        let world = World::scaled(store, SLOW).await;
        let mut lanes = lanes();
        lanes.push(also.to_owned());
        world.posted(&tenant(), &lanes).await;
        worlds.push(world);
    }
    worlds
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_change_does_not_wait_for_those_of_a_broadcast() {
    for world in slow_worlds("U50").await {
        let running = world.backlog().await;
        let before = world.changed();
        let urgent = world.about(&tenant(), "U50", Action::Done, Priority::Urgent).await;
        assert_eq!(world.ended(urgent).await.state, State::Sent);
        let between = world.changed() - before;
        assert!(between <= BETWEEN, "{between} changes came between");
        running.drain().await;
    }
}

/// A conversation is as urgent as its most urgent message, even if its first one is a change that
/// waits.
#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_takes_the_change_before_it_along() {
    for world in slow_worlds("U50").await {
        let running = world.backlog().await;
        let change = world.about(&tenant(), "U50", Action::Done, Priority::Bulk).await;
        let before = world.changed();
        let urgent = world.about(&tenant(), "U50", Action::Post, Priority::Urgent).await;
        assert_eq!(world.ended(urgent).await.state, State::Sent);
        assert_eq!(
            world.record(change).await.state,
            State::Sent,
            "the change comes before the urgent message"
        );
        let between = world.changed() - before;
        assert!(between <= BETWEEN, "{between} changes came between");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_one_workspace_take_turns_with_changes() {
    for world in slow_worlds("U49").await {
        let small = TenantId::parse("small").unwrap();
        world.store.tenancy().ensure_tenant(&small).await.unwrap();
        let settings = Settings { sending_allowed: true, ..Settings::default() };
        world.store.tenancy().save_settings(&small, &settings).await.unwrap();
        let same = installed(&world.sandbox, SCOPES);
        assert_eq!(connect_tenant(&world.store, &small, &same).await, world.installation);
        world.posted(&small, &["U50".to_owned()]).await;
        let running = world.backlog().await;
        let before = world.changed();
        let theirs = world.about(&small, "U50", Action::Done, Priority::Bulk).await;
        assert_eq!(world.ended_for(&small, theirs).await, State::Sent);
        let between = world.changed() - before;
        assert!(between <= BETWEEN, "{between} changes of the large tenant came between");
        running.drain().await;
    }
}

/// Changes that wait for `chat.update` delay nothing else, and other work continues.
#[tokio::test(flavor = "multi_thread")]
async fn a_429_on_a_change_holds_back_changes_of_its_kind_alone() {
    let retry_after = 300;
    for world in worlds().await {
        world.posted(&tenant(), &["U1", "U2", "U3"].map(str::to_owned)).await;
        let kind = FaultKind::Status {
            code: 429,
            body: String::new(),
            retry_after: Some(retry_after.to_string()),
        };
        world.sandbox.script(Fault::new("chat.update", kind).times(1));
        let running = world.start();
        let limited = world.about(&tenant(), "U1", Action::Done, Priority::Normal).await;
        world.until(limited, |record| record.code.is_some()).await;
        let other = world.about(&tenant(), "U2", Action::Done, Priority::Urgent).await;
        for (lane, action) in [("U3", Action::Retract), ("U4", Action::Post)] {
            let id = world.about(&tenant(), lane, action, Priority::Bulk).await;
            assert_eq!(world.ended(id).await.state, State::Sent, "{lane}");
        }
        assert_eq!(world.record(other).await.state, State::Pending);
        for id in [limited, other] {
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        let calls = world.calls("chat.update");
        assert_eq!(calls.iter().filter(|call| call.http_status == 429).count(), 1);
        // No other turn was taken meanwhile.
        for (id, outcomes) in [(limited, &["throttled", "sent"][..]), (other, &["sent"])] {
            let attempts = world.record(id).await.attempts;
            let told: Vec<_> = attempts.iter().map(|attempt| &*attempt.outcome).collect();
            assert_eq!(told, outcomes);
        }
        for call in &calls[1..] {
            let waited = call.started_at_micros - calls[0].ended_at_micros;
            assert!(waited >= micros(super::SECOND * retry_after), "{waited} µs");
        }
        running.drain().await;
    }
}

/// If there is nothing to replace, a replacement is a new message and uses the budget of posts.
/// Otherwise it waits for the budget of changes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replacement_waits_for_depends_on_what_is_there() {
    for world in worlds().await {
        let running = world.start();
        let new = world.about(&tenant(), "U1", Action::Replace, Priority::Normal).await;
        let record = world.ended(new).await;
        assert_eq!((record.state, record.attempt), (State::Sent, 1));
        assert_eq!((world.changed(), world.posts().len()), (0, 1));
        let posting = posting_of(&world.store, world.installation).await;
        assert_eq!(posting.window_posts, 1, "taken from the budget of posts");
        world.store.budgets().pause(world.installation, "chat.update", super::HOUR).await.unwrap();
        let waits = world.about(&tenant(), "U1", Action::Replace, Priority::Normal).await;
        let next = world.post("U2", "next").await;
        assert_eq!(world.ended(next).await.state, State::Sent);
        assert_eq!(world.record(waits).await.state, State::Pending);
        assert_eq!((world.changed(), world.posts().len()), (0, 2));
        running.drain().await;
    }
}

/// The start reserved for a change that turned out not to be one goes to another change.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_not_used_is_given_back() {
    for store in test_stores().await {
        // In real time: a start that was kept would be 1.2 s away.
        let world = World::scaled(store, 1.0).await;
        let running = world.start();
        let nothing = world.about(&tenant(), "U1", Action::Done, Priority::Normal).await;
        assert_eq!(world.ended(nothing).await.state, State::Canceled);
        running.drain().await;
        let (update, none) = ("chat.update", Duration::ZERO);
        let next =
            world.store.budgets().reserve(world.installation, update, none, none).await.unwrap();
        assert!(next.taken, "{next:?}");
    }
}

/// Lanes are claimed a little before their start, and no request begins before it.
#[tokio::test(flavor = "multi_thread")]
async fn changes_keep_the_pace_of_their_method() {
    const CHANGES: u32 = 20;
    let interval = super::SECOND * 60 / 50;
    for world in worlds().await {
        let lanes: Vec<String> = (1..=CHANGES).map(|number| format!("U{number}")).collect();
        world.posted(&tenant(), &lanes).await;
        let began = world.store.now().await.unwrap();
        let mut ids = Vec::new();
        for lane in &lanes {
            ids.push(world.about(&tenant(), lane, Action::Done, Priority::Normal).await);
        }
        let (first, second) = (world.start(), world.replica().await);
        for id in ids {
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        let calls = world.calls("chat.update");
        let last = calls.iter().map(|call| call.started_at_micros).max().unwrap();
        assert_eq!(calls.len(), lanes.len());
        assert!(last - began.0 >= micros(interval * (CHANGES - 1)), "{} µs", last - began.0);
        first.drain().await;
        second.drain().await;
    }
}
