//! Upkeep: nothing is lost when deliveries move to the history (I1).

use std::time::Duration;

use herald::domain::delivery::State;
use herald::store::{Accepted, Target};

use super::{
    HOUR, call, delivered, delivery, lane, post, record, sending, settled, state, tenant, total,
};
use crate::support::store::test_stores;

#[tokio::test]
async fn history_reads_like_the_present() {
    for store in test_stores().await {
        let call = call("r1", vec![delivery(lane("U1")), delivery(lane("U1"))]);
        store.outbox().accept(call.clone()).await.unwrap();
        let (claim, id) = sending(&store).await;
        assert!(settled(&store, &claim, id, &delivered()).await);
        let before = store.records().notification(&tenant(), call.id).await.unwrap().unwrap();
        let counts = store.counts(&tenant()).await;
        assert_eq!(store.ends().archive(HOUR, 10).await.unwrap(), 0);
        assert_eq!(store.ends().archive(Duration::ZERO, 10).await.unwrap(), 1);
        assert_eq!(store.ends().archive(Duration::ZERO, 10).await.unwrap(), 0);
        let after = store.records().notification(&tenant(), call.id).await.unwrap().unwrap();
        assert_eq!(after, before);
        assert_eq!(record(&store, id).await.attempts.len(), 1);
        assert_eq!(store.counts(&tenant()).await, counts);
        assert!(matches!(store.outbox().accept(call).await.unwrap(), Accepted::Replayed { .. }));
    }
}

#[tokio::test]
async fn archiving_is_bounded_and_shared() {
    for store in test_stores().await {
        let many = (0..20).map(|_| delivery(Target::Ended(herald::store::End::Expired))).collect();
        store.outbox().accept(call("r1", many)).await.unwrap();
        assert_eq!(store.ends().archive(Duration::ZERO, 6).await.unwrap(), 6);
        let (one, two) = tokio::join!(
            store.ends().archive(Duration::ZERO, 50),
            store.ends().archive(Duration::ZERO, 50)
        );
        let rest = store.ends().archive(Duration::ZERO, 50).await.unwrap();
        assert_eq!(one.unwrap() + two.unwrap() + rest, 14);
        assert_eq!(total(&store).await, 20);
    }
}

#[tokio::test]
async fn expiry_reaches_the_middle_of_a_lane_and_leaves_what_is_under_way() {
    for store in test_stores().await {
        let under_way = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        let mut short = call("short", vec![delivery(lane("U1")), delivery(Target::Resolving)]);
        short.expires_in = Duration::ZERO;
        let late: Vec<_> = short.deliveries.iter().map(|new| new.id).collect();
        store.outbox().accept(short).await.unwrap();
        let last = post(&store, "U1").await;
        assert_eq!(store.ends().expire_overdue(100).await.unwrap(), 2);
        for id in late {
            assert_eq!(state(&store, id).await, State::Expired);
        }
        assert_eq!(state(&store, under_way).await, State::Sending);
        assert!(settled(&store, &claim, under_way, &delivered()).await);
        assert_eq!(sending(&store).await.1, last);
    }
}
