//! The order of turns: priorities, several tenants, and failures that do not delay others
//! (faults.md 27, I8).

use herald::delivery::Config;
use herald::domain::capacity::priority::Priority;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, InstallationId, TenantId};
use herald::domain::settings::Settings;
use herald::sandbox::{Fault, FaultKind, LogEntry};
use herald::store::{DeliveryKind, NewInstallation, Target};

use super::{HOUR, World, worlds};
use crate::support::process::until;
use crate::support::store::connect_tenant;

/// One worker: the order of posts shows the order of claims.
fn alone() -> Config {
    Config { workers: 1, ..Config::default() }
}

impl World {
    async fn post_as(&self, lane: &str, text: &str, priority: Priority) -> DeliveryId {
        let mut new = self.message(lane, text, DeliveryKind::Normal);
        new.priority = priority;
        self.accept(new, HOUR).await
    }

    /// Another tenant with a workspace of its own, in the same sandbox.
    pub(super) async fn neighbour(&self) -> (TenantId, InstallationId) {
        self.neighbour_called("small").await
    }

    pub(super) async fn neighbour_called(&self, name: &str) -> (TenantId, InstallationId) {
        let tenant = TenantId::parse(name).unwrap();
        self.store.tenancy().ensure_tenant(&tenant).await.unwrap();
        let settings = Settings { sending_allowed: true, ..Settings::default() };
        self.store.tenancy().save_settings(&tenant, &settings).await.unwrap();
        let new = NewInstallation {
            app_id: "A0SANDBOX01".into(),
            enterprise_id: None,
            team_id: Some(format!("T0{}", name.to_uppercase())),
            org_wide: false,
            team_name: "Other".into(),
            bot_user_id: self.sandbox.bot_user_id(),
            bot_name: "herald".into(),
            scopes: super::SCOPES.iter().map(ToString::to_string).collect(),
            token: self.sandbox.install(super::SCOPES),
            refresh_token: None,
            token_expires_at: None,
            installed_by: None,
            app_path: String::new(),
        };
        let installation = connect_tenant(&self.store, &tenant, &new).await;
        (tenant, installation)
    }

    pub(super) async fn post_for(
        &self,
        who: &(TenantId, InstallationId),
        lanes: Vec<String>,
    ) -> DeliveryId {
        let deliveries = lanes.into_iter().map(|lane| {
            let mut new = self.message(&lane, &lane, DeliveryKind::Normal);
            new.target = Target::Lane { installation: who.1, lane };
            new
        });
        let mut accept = super::accept_of(deliveries.collect());
        accept.tenant = who.0.clone();
        let id = accept.deliveries[0].id;
        self.store.outbox().accept(accept).await.unwrap();
        id
    }

    /// Waits until Slack answered that there is no such channel.
    pub(super) async fn asked(&self, who: &(TenantId, InstallationId), id: DeliveryId) {
        let mut ends = self.store.outbox().ended();
        let ended = loop {
            let record = self.store.records().delivery(&who.0, id).await.unwrap().unwrap();
            if record.state.is_terminal() {
                break record;
            }
            ends.recv().await.ok();
        };
        assert_eq!(ended.code.as_deref(), Some("channel_not_found"));
    }

    /// The number of posts before the first one to this channel.
    fn place(&self, channel: &str) -> usize {
        self.posts().iter().take_while(|post| post.args["channel"] != channel).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_goes_before_normal_and_normal_before_bulk() {
    for world in worlds().await {
        let bulk = world.post_as("U1", "bulk", Priority::Bulk).await;
        world.post_as("U2", "normal", Priority::Normal).await;
        world.post_as("U3", "urgent", Priority::Urgent).await;
        let running = world.start_with(&alone());
        world.ended(bulk).await;
        assert_eq!(world.texts(), ["urgent", "normal", "bulk"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_as_urgent_as_its_most_urgent_message() {
    for world in worlds().await {
        let normal = world.post_as("U2", "normal", Priority::Normal).await;
        world.post_as("U1", "bulk first", Priority::Bulk).await;
        world.post_as("U1", "urgent", Priority::Urgent).await;
        let last = world.post_as("U1", "bulk last", Priority::Bulk).await;
        let running = world.start_with(&alone());
        world.ended(normal).await;
        world.ended(last).await;
        let texts = world.texts();
        assert_eq!(texts[0], "bulk first", "it comes before the urgent one: {texts:?}");
        let at = |text: &str| texts.iter().position(|one| one == text).unwrap();
        assert!(at("urgent") < at("bulk last") && at("normal") < at("bulk last"), "{texts:?}");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_urgent_message_does_not_wait_for_a_broadcast() {
    for world in worlds().await {
        let large = (super::tenant(), world.installation);
        let lanes = (0..200).map(|number| format!("C{number:04}")).collect();
        world.post_for(&large, lanes).await;
        let running = world.start();
        let posted = world.calls("chat.postMessage").len();
        let urgent = world.post_as("U1", "urgent", Priority::Urgent).await;
        assert_eq!(world.ended(urgent).await.state, State::Sent);
        let posts = world.posts();
        let at = posts.iter().position(|post| post.args["text"] == "urgent").unwrap();
        // Turns that had begun, and posts during its acceptance, come before it.
        assert!(at < 200, "{posted} before it was accepted, {at} before it was sent");
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_tenant_starts_at_once_beside_a_large_one() {
    beside_a_large_one(1_000, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; tests/run --soak"]
async fn soak_a_small_tenant_starts_at_once_beside_a_hundred_thousand() {
    beside_a_large_one(10_000, 10).await;
}

/// A tenant with this many messages to each of this many channels, and a small one with two. Only a
/// handful of the large tenant's messages go before each of the small tenant's, whether the large
/// one has just begun or began long ago. Slack's log shows the order.
async fn beside_a_large_one(channels: usize, each: usize) {
    const WORKERS: usize = 8;
    for world in worlds().await {
        let large = (super::tenant(), world.installation);
        for _ in 0..each {
            for from in (0..channels).step_by(500) {
                let lanes = (from..from + 500).map(|number| format!("C{number:05}")).collect();
                world.post_for(&large, lanes).await;
            }
        }
        let small = world.neighbour().await;
        let first = world.post_for(&small, vec!["C9FIRST".into()]).await;
        let config = Config { workers: u32::try_from(WORKERS).unwrap(), ..Config::default() };
        let running = world.start_with(&config);
        world.asked(&small, first).await;
        let before = world.place("C9FIRST");
        assert!(before <= 2 * WORKERS, "{before} of the large tenant's came first");
        // The large tenant is in full swing.
        while world.posts().len() < 10 * WORKERS {
            world.store.outbox().ended().recv().await.ok();
        }
        let second = world.post_for(&small, vec!["C9SECOND".into()]).await;
        let accepted = world.posts().len();
        world.asked(&small, second).await;
        let before = world.place("C9SECOND").saturating_sub(accepted);
        assert!(before <= 8 * WORKERS, "{before} of the large tenant's came first");
        let left = world.store.counts(&large.0).await;
        let left = left.get(State::Pending.code()).copied().unwrap_or_default();
        assert!(left > 0, "the large tenant was done");
        running.drain().await;
    }
}

/// One tenant gets two of four workers, however many messages it has: at most two of its requests
/// are under way. (A worker whose request takes over a second is replaced; these take less.)
#[tokio::test(flavor = "multi_thread")]
async fn no_tenant_holds_all_workers() {
    const SECOND: i64 = 1_000_000;
    const TRIES: usize = 5;
    for world in worlds().await {
        let short = FaultKind::Delay { seconds: 0.1 };
        world.sandbox.script(Fault::new("chat.postMessage", short));
        let large = (super::tenant(), world.installation);
        let running = world.start_with(&Config { workers: 4, ..Config::default() });
        let mut most = None;
        for number in 0..TRIES {
            let lanes: Vec<_> = (0..12).map(|lane| format!("C{number}X{lane:02}")).collect();
            let (first, before) = (world.post_for(&large, lanes).await, world.posts().len());
            world.asked(&large, first).await;
            let posted = async || (world.posts().len() >= before + 12).then_some(());
            until("all were posted", posted).await;
            let posts = &world.posts()[before..];
            // If the machine was busy for a second, the attempt proves nothing.
            let quick = |post: &LogEntry| post.ended_at_micros - post.started_at_micros < SECOND;
            if posts.iter().all(quick) {
                most = Some(at_once(posts));
                break;
            }
        }
        assert!(most.is_some_and(|most| most <= 2), "{most:?}");
        running.drain().await;
    }
}

/// The most requests that were under way at the same time.
fn at_once(posts: &[LogEntry]) -> usize {
    let spans = || posts.iter().map(|post| post.started_at_micros..post.ended_at_micros);
    let beside = |at: i64| spans().filter(|span| span.contains(&at)).count();
    spans().map(|span| beside(span.start)).max().unwrap_or_default()
}
