//! Events about members that are out of order or lost, and releases, in the store.

use std::time::Duration;

use herald::domain::channels::state::ChannelMemberState as State;
use herald::domain::ids::{InstallationId, SlackUserId, TenantId};
use herald::domain::time::Timestamp;
use herald::store::{ChannelLease, ChannelObservation, Store};
use sea_orm::ConnectionTrait as _;

use super::channels::{
    LONG, NOW, claim, ensure, key, ready, slack, somewhere, states, tenant, update,
};
use crate::support::store::test_stores;

/// A channel in Slack whose member is ada; her row has just been written.
async fn with_ada(store: &Store) -> ChannelLease {
    ensure(store, "track:1", &["ada"]).await;
    let lease = claim(store).await.unwrap();
    store.channels().save(&lease, &ready(somewhere(), "C1")).await.unwrap();
    let joined = [update("ada", State::Member)];
    assert!(store.channels().save_members(&lease, &joined, NOW).await.unwrap());
    lease
}

async fn observe(store: &Store, seen: ChannelObservation) {
    assert!(store.channels().observe(somewhere(), &slack("C1"), &seen).await.unwrap());
}

fn ada() -> SlackUserId {
    SlackUserId::parse("Uada").unwrap()
}

async fn state(store: &Store) -> State {
    states(store, "track:1").await[0].1
}

fn second(after: Timestamp, count: u64) -> Timestamp {
    after.plus(Duration::from_secs(count))
}

/// Red if an older event counts (`store/channels/observe.rs`, `heard_at`).
#[tokio::test]
async fn of_events_about_one_person_the_later_one_counts_whichever_comes_first() {
    for store in test_stores().await {
        let lease = with_ada(&store).await;
        let now = store.now().await.unwrap();
        observe(&store, ChannelObservation::Left(ada(), second(now, 2))).await;
        assert_eq!(state(&store).await, State::Left);
        let member = store.channels().members(&tenant(), &key("track:1"), None, None, 1).await;
        assert_eq!(member.unwrap().unwrap()[0].code.as_deref(), Some("left"));
        observe(&store, ChannelObservation::Joined(ada(), second(now, 1))).await;
        assert_eq!(state(&store).await, State::Left);
        observe(&store, ChannelObservation::Joined(ada(), second(now, 3))).await;
        assert_eq!(state(&store).await, State::Member);
        observe(&store, ChannelObservation::Left(ada(), second(now, 2))).await;
        assert_eq!(state(&store).await, State::Member);
        // Nothing of it is a doubt.
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_none());
    }
}

/// She was invited again since. Red if the event counts, or leads to no reading.
#[tokio::test]
async fn an_event_from_before_an_invitation_leads_to_a_reading() {
    for store in test_stores().await {
        let lease = with_ada(&store).await;
        let before = store.now().await.unwrap().minus(Duration::from_secs(60));
        observe(&store, ChannelObservation::Left(ada(), before)).await;
        assert_eq!(state(&store).await, State::Member);
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.unwrap().recheck);
    }
}

/// Red without the spread, or if it wakes other workspaces.
#[tokio::test]
async fn after_lost_events_the_channels_of_a_workspace_are_due_at_times_of_their_own() {
    for store in test_stores().await {
        for (name, channel) in [("track:1", "C1"), ("track:2", "C2")] {
            ensure(&store, name, &[]).await;
            let lease = claim(&store).await.unwrap();
            store.channels().save(&lease, &ready(somewhere(), channel)).await.unwrap();
            assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        }
        let elsewhere = InstallationId::parse("018f0000-0000-7000-8000-000000000002").unwrap();
        store.channels().note_lost_events(elsewhere, Duration::ZERO).await.unwrap();
        assert_eq!(store.channels().next_due().await.unwrap(), None);
        store.channels().note_lost_events(somewhere(), LONG).await.unwrap();
        let raw = store.raw().await;
        let text =
            "SELECT COUNT(DISTINCT due_at), COUNT(CASE WHEN recheck > 0 THEN 1 END) FROM channels";
        let text = sea_orm::Statement::from_string(raw.get_database_backend(), text);
        let row = raw.query_one_raw(text).await.unwrap().unwrap();
        let counts = [0, 1].map(|at| row.try_get_by_index::<i64>(at).unwrap());
        assert_eq!(counts, [2, 2]);
        assert!(claim(&store).await.is_none(), "not at once");
        // Events are still being lost: the earlier time stays.
        store.channels().note_lost_events(somewhere(), LONG * 9).await.unwrap();
        assert!(store.channels().next_due().await.unwrap().unwrap() <= LONG);
        store.channels().note_lost_events(somewhere(), Duration::ZERO).await.unwrap();
        for _ in 0..2 {
            assert!(claim(&store).await.unwrap().recheck);
        }
    }
}

#[tokio::test]
async fn a_release_is_remembered_for_its_tenant_and_not_for_ever() {
    for store in test_stores().await {
        let id = with_ada(&store).await.id;
        let never = ensure(&store, "track:2", &[]).await.id;
        for name in ["track:1", "track:2"] {
            store.channels().release(&tenant(), &key(name)).await.unwrap().unwrap();
        }
        let released = async |who: &TenantId| {
            let released = store.channels().released(who, &[id, never]).await.unwrap();
            released.into_iter().collect::<Vec<_>>()
        };
        // The other one never was in Slack.
        assert_eq!(released(&tenant()).await, [id]);
        assert_eq!(released(&TenantId::parse("other").unwrap()).await, []);
        assert_eq!(store.channels().forget_releases(10).await.unwrap(), 0);
        let raw = store.raw().await;
        let aged = "UPDATE channel_releases SET released_at = 0";
        raw.execute_unprepared(aged).await.unwrap();
        assert_eq!(store.channels().forget_releases(10).await.unwrap(), 1);
        assert_eq!(released(&tenant()).await, []);
    }
}
