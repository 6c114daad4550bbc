//! Events between their acknowledgement and their application: taken once, claimed with a lease,
//! settled by its token.

use std::time::Duration;

use herald::domain::ids::InstallationId;
use herald::domain::time::Timestamp;
use herald::store::{
    ClaimedEvent, EventDone, ListBasis, MemberChange, Merged, NewEvent, Settlement, Store,
};
use sea_orm::ConnectionTrait as _;

use crate::support::store::test_stores;

const LONG: Duration = Duration::from_secs(3600);

fn id(number: u128) -> InstallationId {
    format!("01890000-0000-7000-8000-{number:012}").parse().map(InstallationId).unwrap()
}

async fn take(store: &Store, installation: u128, event_id: &str) -> bool {
    let event = NewEvent {
        installation: id(installation),
        event_id: event_id.into(),
        kind: "user_change",
        happened_at: Timestamp(7),
        body: b"who it is about".to_vec(),
    };
    store.slack_events().take(&event).await.unwrap()
}

fn ids(claimed: &[ClaimedEvent]) -> Vec<&str> {
    let mut ids: Vec<_> = claimed.iter().map(|event| event.event_id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn merge(store: &Store, event: &ClaimedEvent, updated: i64) -> Merged {
    let basis =
        ListBasis::of(store.member_lists().state(event.installation).await.unwrap().as_ref());
    let member = Some(("U1".to_owned(), updated));
    let events = vec![EventDone { event_id: event.event_id.clone(), member }];
    let settlement = Settlement { token: event.token, events, put_off: LONG, at_most: LONG };
    let change = MemberChange { slack_user_id: "U1".into(), updated, body: b"x".to_vec() };
    let merged = store
        .member_lists()
        .merge_members(event.installation, basis, &[change], Some(&settlement))
        .await;
    merged.unwrap()
}

#[tokio::test]
async fn an_event_is_taken_once_for_each_installation_and_claimed_by_one() {
    for store in test_stores().await {
        assert!(take(&store, 1, "Ev1").await);
        assert!(!take(&store, 1, "Ev1").await);
        assert!(take(&store, 1, "Ev2").await);
        assert!(take(&store, 2, "Ev1").await);
        let first = store.slack_events().claim(LONG).await.unwrap();
        let second = store.slack_events().claim(LONG).await.unwrap();
        assert_eq!(first.len() + second.len(), 3);
        for claimed in [&first, &second] {
            let of = claimed[0].installation;
            assert!(claimed.iter().all(|event| event.installation == of), "one at a time");
        }
        let event = &first[0];
        assert_eq!(event.body.as_deref(), Some(&b"who it is about"[..]));
        assert_eq!((event.kind.as_str(), event.happened_at), ("user_change", Timestamp(7)));
        assert!(store.slack_events().claim(LONG).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_event_of_a_newer_release_is_left_to_it() {
    for store in test_stores().await {
        for event_id in ["Ev1", "Ev2"] {
            assert!(take(&store, 1, event_id).await);
        }
        let newer = "UPDATE seen_events SET kind = 'hologram' WHERE event_id = 'Ev1'";
        store.raw().await.execute_unprepared(newer).await.unwrap();
        assert_eq!(ids(&store.slack_events().claim(LONG).await.unwrap()), ["Ev2"]);
        let known = "UPDATE seen_events SET kind = 'user_change'";
        store.raw().await.execute_unprepared(known).await.unwrap();
        let claimed = store.slack_events().claim(LONG).await.unwrap();
        assert_eq!((ids(&claimed), claimed[0].attempts), (vec!["Ev1"], 1), "nothing was changed");
    }
}

#[tokio::test]
async fn a_claim_that_was_taken_over_changes_nothing() {
    for store in test_stores().await {
        take(&store, 1, "Ev1").await;
        let old = store.slack_events().claim(Duration::ZERO).await.unwrap().remove(0);
        let new = store.slack_events().claim(LONG).await.unwrap().remove(0);
        assert_eq!((old.attempts, new.attempts), (1, 2));
        assert_eq!(merge(&store, &old, 5).await, Merged::Fenced);
        assert!(store.member_lists().changes(id(1), 0).await.unwrap().is_empty());
        let state = store.member_lists().state(id(1)).await.unwrap();
        assert!(state.is_none_or(|state| state.change_sequence == 0));
        assert!(!store.slack_events().finish(&old).await.unwrap());
        assert!(!store.slack_events().park(&old, "x").await.unwrap());
        store.slack_events().release(old.token, Duration::ZERO).await.unwrap();
        assert!(
            store.slack_events().claim(LONG).await.unwrap().is_empty(),
            "the other still holds it"
        );
        assert_eq!(merge(&store, &new, 5).await, Merged::Done { changes: 1 });
        assert_eq!(merge(&store, &new, 6).await, Merged::Fenced, "it is done");
        assert_eq!(store.member_lists().changes(id(1), 0).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_is_older_than_an_event_that_was_applied_is_not_written() {
    for store in test_stores().await {
        for (event, updated, expected) in
            [("Ev1", 5, 1), ("Ev2", 4, 0), ("Ev3", 5, 1), ("Ev4", 0, 1)]
        {
            take(&store, 1, event).await;
            let claimed = store.slack_events().claim(LONG).await.unwrap().remove(0);
            let merged = merge(&store, &claimed, updated).await;
            assert_eq!(merged, Merged::Done { changes: expected }, "{event}");
        }
    }
}

#[tokio::test]
async fn one_that_a_lease_ran_out_under_is_claimed_alone() {
    for store in test_stores().await {
        take(&store, 1, "Ev1").await;
        let lapsed = store.slack_events().claim(Duration::ZERO).await.unwrap();
        assert_eq!(ids(&lapsed), ["Ev1"]);
        take(&store, 1, "Ev2").await;
        take(&store, 1, "Ev3").await;
        let (one, two) = (
            store.slack_events().claim(LONG).await.unwrap(),
            store.slack_events().claim(LONG).await.unwrap(),
        );
        let mut claims = [ids(&one), ids(&two)];
        claims.sort_unstable();
        assert_eq!(claims, [vec!["Ev1"], vec!["Ev2", "Ev3"]]);
        // A claim that is returned in order does not count as an attempt.
        store.slack_events().release(one[0].token, Duration::ZERO).await.unwrap();
        store.slack_events().release(two[0].token, Duration::ZERO).await.unwrap();
        let again = store.slack_events().claim(LONG).await.unwrap();
        assert!(again.iter().all(|event| event.attempts <= 2));
    }
}

#[tokio::test]
async fn ids_are_forgotten_after_their_time_and_what_waited_so_long_is_set_aside() {
    for store in test_stores().await {
        take(&store, 1, "Ev1").await;
        let claimed = store.slack_events().claim(LONG).await.unwrap().remove(0);
        assert!(store.slack_events().finish(&claimed).await.unwrap());
        take(&store, 1, "Ev2").await;
        store.slack_events().prune(LONG).await.unwrap();
        assert!(!take(&store, 1, "Ev1").await, "remembered");
        store.slack_events().prune(Duration::ZERO).await.unwrap();
        assert!(take(&store, 1, "Ev1").await, "forgotten");
        assert_eq!(
            ids(&store.slack_events().claim(LONG).await.unwrap()),
            ["Ev1"],
            "the other is parked"
        );
    }
}
