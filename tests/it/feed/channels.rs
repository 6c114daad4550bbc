//! The feed of channels: of the same kind as that of deliveries, with numbers of its own.

use std::time::Duration;

use herald::domain::channels::place::ChannelPlace;
use herald::domain::channels::progress::Progress;
use herald::domain::channels::state::{ChannelMemberState, ChannelState};
use herald::domain::channels::wish::ChannelWish;
use herald::domain::ids::{ChannelId, ChannelKey, UserId};
use herald::store::{
    ChannelChange, ChannelChangeKind, ChannelSave, FeedExtent, MemberUpdate, MembersChange,
    Redacted, Store, WishedMember,
};

use crate::outbox::{LEASE, installation, post, tenant};
use crate::store::channels::wish;
use crate::support::store::test_stores;

fn key() -> ChannelKey {
    ChannelKey::parse("track:1").unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// Numbers and returns all changes of channels.
async fn all(store: &Store) -> Vec<ChannelChange> {
    while store.channel_feed().number(100).await.unwrap() > Some(0) {}
    store.channel_feed().changes(&tenant(), 0, 10_000).await.unwrap().changes
}

async fn ensure(store: &Store, people: &[&str]) {
    let wish = ChannelWish { remove_unlisted: false, ..wish("Autumn") };
    let wished = |name: &&str| WishedMember { user: user(name), roles: Vec::new() };
    let members = people.iter().map(wished).collect();
    let change = MembersChange::Replace { members, remove_unlisted: false };
    store.channels().ensure(&tenant(), &key(), &wish, change, Vec::new()).await.unwrap();
}

fn member(name: &str, state: Option<ChannelMemberState>) -> ChannelChangeKind {
    ChannelChangeKind::Member { user: Some(user(name)), state, code: None }
}

fn channel(state: ChannelState, slack_channel: Option<ChannelId>) -> ChannelChangeKind {
    ChannelChangeKind::Channel { state, obstacle: None, slack_channel }
}

#[tokio::test]
async fn every_change_of_a_channel_and_its_members_is_reported_once() {
    for store in test_stores().await {
        ensure(&store, &["ada"]).await;
        // The wish changes, but no state.
        ensure(&store, &["ada"]).await;
        let place = ChannelId::parse("C1").unwrap();
        let lease = store.channels().claim(LEASE).await.unwrap().unwrap();
        let save = ChannelSave {
            progress: Progress::default(),
            state: ChannelState::Ready,
            obstacle: None,
            place: Some(ChannelPlace { installation: installation(), channel: place.clone() }),
        };
        for _ in 0..2 {
            store.channels().save(&lease, &save).await.unwrap();
        }
        let steps = [
            ChannelMemberState::Inviting,
            ChannelMemberState::Queued,
            ChannelMemberState::Inviting,
            ChannelMemberState::Member,
        ];
        for state in steps {
            let update = MemberUpdate {
                user: user("ada"),
                state: Some(state),
                slack_user_id: None,
                code: None,
                attempts: 0,
                retry_at: None,
            };
            let now = store.now().await.unwrap();
            assert!(store.channels().save_members(&lease, &[update], now).await.unwrap());
        }
        ensure(&store, &["bo"]).await;
        store.channels().release(&tenant(), &key()).await.unwrap().unwrap();
        let changes = all(&store).await;
        let numbers: Vec<i64> = changes.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, (1..=7).collect::<Vec<i64>>());
        assert!(changes.iter().all(|change| change.key == key() && change.at.0 > 0));
        let mut found: Vec<_> = changes.into_iter().map(|change| change.what).collect();
        let two = found.split_off(4);
        let expected = [
            channel(ChannelState::Creating, None),
            member("ada", Some(ChannelMemberState::Queued)),
            channel(ChannelState::Ready, Some(place)),
            member("ada", Some(ChannelMemberState::Member)),
        ];
        assert_eq!(found, expected);
        // Two people of one call are reported in any order.
        assert!(two[..2].contains(&member("ada", None)), "{two:?}");
        assert!(two[..2].contains(&member("bo", Some(ChannelMemberState::Queued))), "{two:?}");
        assert_eq!(two[2], ChannelChangeKind::Released);
    }
}

#[tokio::test]
async fn the_numbers_are_its_own_and_continue_after_retention_and_recoveries() {
    for store in test_stores().await {
        post(&store, "U1").await;
        while store.feed().number(100).await.unwrap() > Some(0) {}
        let mut watcher = store.channel_feed().watch(&tenant());
        assert_eq!(watcher.reach().head, 0, "a delivery is no change of a channel");
        ensure(&store, &["ada"]).await;
        assert_eq!(all(&store).await.len(), 2);
        watcher.changed().await;
        assert_eq!(watcher.reach().head, 2);
        let extent = async || store.channel_feed().extent(&tenant()).await.unwrap();
        assert_eq!(extent().await, FeedExtent { epoch: 0, head: 2, pruned: 0 });
        let deliveries = async || store.feed().extent(&tenant()).await.unwrap().head;
        assert_eq!(deliveries().await, 1);

        assert_eq!(store.channel_feed().prune(Duration::ZERO, 100).await.unwrap(), 2);
        assert_eq!(extent().await, FeedExtent { epoch: 0, head: 2, pruned: 2 });
        ensure(&store, &["ada", "bo"]).await;
        assert_eq!(all(&store).await[0].sequence, 3);

        let epoch = store.upkeep().begin_epoch().await.unwrap().epoch;
        assert_eq!((extent().await.head, deliveries().await), (epoch, epoch));
        ensure(&store, &["ada", "bo", "cy"]).await;
        assert_eq!(all(&store).await[1].sequence, epoch + 1);
        let lease = store.channels().claim(LEASE).await.unwrap().unwrap();
        assert!(lease.recheck, "Slack may know more than this copy");
    }
}

#[tokio::test]
async fn a_deleted_person_is_not_in_the_feed() {
    for store in test_stores().await {
        ensure(&store, &["ada"]).await;
        assert_eq!(all(&store).await.len(), 2);
        // Not numbered yet.
        ensure(&store, &["ada", "bo"]).await;
        for name in ["ada", "bo"] {
            let kept = |answer: &[u8], _: &UserId| Redacted {
                answer: answer.to_vec(),
                names_others: true,
            };
            store.ends().erase_person(&tenant(), &user(name), kept).await.unwrap();
        }
        let changes = all(&store).await;
        assert_eq!(changes.len(), 5, "the changes stay");
        for change in changes {
            if let ChannelChangeKind::Member { user, .. } = change.what {
                assert_eq!(user, None);
            }
        }
    }
}
