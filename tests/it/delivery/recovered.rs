//! The store was recovered from a copy: messages sent since the copy are found in Slack.

use herald::delivery::Config;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, SlackUserId};
use herald::slack::{Destination, PostMessage};
use serde_json::json;

use super::{PATIENCE, World, worlds};

impl World {
    /// Posts as a delivery's turn did in the lost time, unknown to the store.
    async fn lost(&self, lane: &str, text: &str, delivery_id: DeliveryId) {
        let member = SlackUserId::parse(lane).unwrap();
        let message = PostMessage {
            destination: Destination::Person(&member),
            text,
            blocks: &json!([]),
            delivery_id,
            thread_ts: None,
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let token = self.workspaces.token(self.installation).await.unwrap();
        let posted = self.workspaces.post(self.installation, lane, &token, &message, deadline);
        posted.await.unwrap();
    }
}

/// In the lost time "one" was not sent (for example because it was canceled) and "two" was. Now
/// "one" is sent, so "two" comes before the conversation's last message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_wherever_it_stands_since_its_acceptance() {
    for world in worlds().await {
        let first = world.post("U1", "one").await;
        let second = world.post("U1", "two").await;
        world.lost("U1", "two", second).await;
        world.store.upkeep().begin_epoch().await.unwrap();
        let running = world.start();
        assert_eq!(world.ended(second).await.state, State::Sent);
        assert_eq!(world.record(second).await.attempt, 0);
        assert_eq!(world.record(first).await.attempt, 1);
        assert_eq!(world.texts(), ["two", "one"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_read_to_its_end() {
    for world in worlds().await {
        world.sandbox.configure(|options| options.max_page = 2);
        let id = world.post("U1", "one").await;
        world.lost("U1", "one", id).await;
        // More than one request for history returns.
        for _ in 0..30 {
            world.lost("U1", "other", DeliveryId(uuid::Uuid::now_v7())).await;
        }
        world.store.upkeep().begin_epoch().await.unwrap();
        let running = world.start();
        assert_eq!(world.ended(id).await.state, State::Sent);
        assert_eq!(world.record(id).await.attempt, 0);
        assert_eq!(world.texts().iter().filter(|text| *text == "one").count(), 1);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_history_cannot_be_read_the_setting_decides() {
    for (resend_unreadable, state, messages) in [(true, State::Sent, 2), (false, State::Parked, 1)]
    {
        for world in worlds().await {
            world.sandbox.set_scopes(&["chat:write", "users:read"]);
            let id = world.post("U1", "one").await;
            world.lost("U1", "one", id).await;
            world.store.upkeep().begin_epoch().await.unwrap();
            let config = Config { resend_unreadable, ..Config::default() };
            let running = world.start_with(&config);
            assert_eq!(world.ended(id).await.state, state);
            assert_eq!(world.texts().len(), messages);
            running.drain().await;
        }
    }
}
