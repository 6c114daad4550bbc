//! The state at a message's turn decides whether it is sent, not the state at its acceptance.

use herald::domain::delivery::State;
use herald::domain::settings::{Preference, Settings};
use herald::store::DeliveryKind;

use super::{tenant, user, worlds};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_turned_messages_off_meanwhile_gets_none() {
    for world in worlds().await {
        let normal = world.post("U1", "normal").await;
        let test = world.post_kind("U1", "test", DeliveryKind::Test).await;
        let (tenant, user) = (tenant(), user("U1"));
        world
            .store
            .people()
            .set_preference(&tenant, &user, None, Preference::Off, "person:test")
            .await
            .unwrap();
        let running = world.start();
        assert_eq!(world.ended(test).await.state, State::Sent);
        let record = world.record(normal).await;
        assert_eq!(record.state, State::Suppressed);
        assert_eq!(record.reason.as_deref(), Some("preference_all_off"));
        assert_eq!(world.texts(), ["test"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tenants_switch_counts_at_the_last_moment() {
    for world in worlds().await {
        let normal = world.post("U1", "normal").await;
        let test = world.post_kind("U2", "test", DeliveryKind::Test).await;
        let trial = world.post_kind("U3", "trial", DeliveryKind::AdministratorTest).await;
        let settings = world.store.tenancy().settings(&tenant()).await.unwrap().unwrap();
        let off = Settings { sending_allowed: false, ..settings };
        world.store.tenancy().save_settings(&tenant(), &off).await.unwrap();
        let running = world.start();
        for held in [normal, test] {
            let record = world.ended(held).await;
            assert_eq!(record.state, State::Suppressed);
            assert_eq!(record.reason.as_deref(), Some("sending_off"));
        }
        assert_eq!(world.ended(trial).await.state, State::Sent);
        assert_eq!(world.texts(), ["trial"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_account_gets_nothing_although_slack_would_say_ok() {
    for world in worlds().await {
        let id = world.post("U1", "one").await;
        world.sandbox.deactivate("U1");
        let running = world.start();
        let record = world.ended(id).await;
        assert_eq!(record.state, State::Failed);
        assert_eq!(record.reason.as_deref(), Some("recipient_deactivated"));
        assert_eq!(world.posts().len(), 0);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrected_identity_gets_the_message_and_the_old_one_does_not() {
    for world in worlds().await {
        let id = world.post("U1", "one").await;
        world.identify("U1", "U2").await;
        let running = world.start();
        let record = world.ended(id).await;
        assert_eq!((record.state, record.lane.as_deref()), (State::Sent, Some("U2")));
        let messages = world.sandbox.messages();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].user.as_deref(), Some("U2"));
        running.drain().await;
    }
}
