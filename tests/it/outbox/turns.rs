//! Turns at the same time share statements and transactions; each gets its own answer.

use futures_util::future::join_all;
use herald::domain::delivery::State;
use herald::domain::ids::{ChannelId, DeliveryId};
use herald::store::{Backend, LaneClaim, Settle, SettleContext, Store};
use sea_orm::ConnectionTrait as _;

use super::{LEASE, claim_lanes, intend_post, post, record, state};
use crate::support::store::{TestStore, test_stores};

/// A message in each of this many lanes, all claimed, in the order of their lanes.
async fn claimed(store: &Store, lanes: usize) -> Vec<(LaneClaim, DeliveryId)> {
    let mut ids = Vec::new();
    for number in 0..lanes {
        ids.push(post(store, &format!("U{number:02}")).await);
    }
    let mut claims = claim_lanes(store.lanes(), 100, LEASE).await.unwrap();
    claims.sort_by(|one, other| one.lane.cmp(&other.lane));
    claims.into_iter().zip(ids).collect()
}

fn stored(ts: &str) -> Settle {
    Settle::Delivered { channel: ChannelId::parse("D0001").unwrap(), ts: ts.into() }
}

/// Like [`claimed`], and all are being sent.
async fn sending(store: &Store, lanes: usize) -> Vec<(LaneClaim, DeliveryId)> {
    let claimed = claimed(store, lanes).await;
    let intents = claimed.iter().map(|(claim, id)| intend_post(store.outbox(), claim, *id, LEASE));
    let intents = join_all(intents).await;
    assert!(intents.iter().all(|intent| intent == &Ok(Some(1))), "{intents:?}");
    claimed
}

/// Another worker takes the lane.
async fn take_over(store: &TestStore, lane: &str) -> LaneClaim {
    let sql = format!("UPDATE lanes SET lease_until = 0, next_at = 0 WHERE lane = '{lane}'");
    store.raw().await.execute_unprepared(&sql).await.unwrap();
    let mut claims = claim_lanes(store.lanes(), 100, LEASE).await.unwrap();
    assert_eq!(claims.iter().map(|claim| &*claim.lane).collect::<Vec<_>>(), [lane]);
    claims.remove(0)
}

#[tokio::test]
async fn heads_that_are_read_together_are_each_lanes_own() {
    for store in test_stores().await {
        let claimed = claimed(&store, 20).await;
        take_over(&store, "U07").await;
        let heads = join_all(claimed.iter().map(|(claim, _)| store.lanes().head(claim))).await;
        for ((claim, id), head) in claimed.iter().zip(heads) {
            let head = head.unwrap().map(|head| head.delivery);
            assert_eq!(head, (claim.lane != "U07").then_some(*id), "{}", claim.lane);
        }
    }
}

#[tokio::test]
async fn intents_that_are_written_together_are_each_judged_alone() {
    for store in test_stores().await {
        let mut claimed = claimed(&store, 20).await;
        // Behind the head of its lane.
        claimed[3].1 = post(&store, "U03").await;
        take_over(&store, "U07").await;
        let expired = claimed[11].1;
        let sql = format!("UPDATE deliveries SET expires_at = 0 WHERE id = '{expired}'");
        store.raw().await.execute_unprepared(&sql).await.unwrap();
        let intents =
            claimed.iter().map(|(claim, id)| intend_post(store.outbox(), claim, *id, LEASE));
        for ((claim, id), intent) in claimed.iter().zip(join_all(intents).await) {
            let may = !["U03", "U07", "U11"].contains(&&*claim.lane);
            assert_eq!(intent, Ok(may.then_some(1)), "{}", claim.lane);
            let expected = if may { State::Sending } else { State::Pending };
            assert_eq!(state(&store, *id).await, expected, "{}", claim.lane);
        }
        // The refused ones returned their lanes; the lane of another worker stays with that worker.
        let mut back = claim_lanes(store.lanes(), 100, LEASE).await.unwrap();
        back.sort_by(|one, other| one.lane.cmp(&other.lane));
        assert_eq!(back.iter().map(|claim| &*claim.lane).collect::<Vec<_>>(), ["U03", "U11"]);
    }
}

/// As when the database's clock steps ahead: the lease ends early, and the same process takes the
/// lane again.
#[tokio::test]
async fn of_two_claims_of_one_lane_that_are_written_together_only_the_later_counts() {
    for store in test_stores().await {
        let mut claimed = claimed(&store, 20).await;
        for lane in ["U07", "U08", "U09"] {
            let id = claimed.iter().find(|(claim, _)| claim.lane == lane).unwrap().1;
            let later = take_over(&store, lane).await;
            claimed.push((later, id));
        }
        let late = |number: usize| (7..10).contains(&number);
        let intents =
            claimed.iter().map(|(claim, id)| intend_post(store.outbox(), claim, *id, LEASE));
        for (number, intent) in join_all(intents).await.into_iter().enumerate() {
            assert_eq!(intent, Ok((!late(number)).then_some(1)), "{number}");
        }
        let ends: Vec<_> = (0..claimed.len()).map(|at| stored(&format!("{at}.000100"))).collect();
        let settles = claimed.iter().zip(&ends).map(|((claim, id), end)| {
            store.outbox().settle(claim, *id, end, SettleContext::default())
        });
        for (number, settled) in join_all(settles).await.into_iter().enumerate() {
            assert_eq!(settled, Ok(!late(number)), "{number}");
        }
        for (number, (_, id)) in claimed.iter().enumerate().skip(20) {
            let ts = record(&store, *id).await.ts;
            assert_eq!(ts, Some(format!("{number}.000100")));
        }
    }
}

#[tokio::test]
async fn ends_that_are_written_together_are_each_lanes_own() {
    for store in test_stores().await {
        let sent = sending(&store, 20).await;
        let behind = post(&store, "U03").await;
        take_over(&store, "U07").await;
        // Not being sent, so it must not become sent.
        let sql = format!("UPDATE deliveries SET state = 'pending' WHERE id = '{}'", sent[11].1);
        store.raw().await.execute_unprepared(&sql).await.unwrap();
        let ends: Vec<_> =
            (0..sent.len()).map(|number| stored(&format!("{number}.000100"))).collect();
        let settles = sent.iter().zip(&ends).map(|((claim, id), end)| {
            store.outbox().settle(claim, *id, end, SettleContext::default())
        });
        for (((claim, id), end), settled) in sent.iter().zip(&ends).zip(join_all(settles).await) {
            let own = !["U07", "U11"].contains(&&*claim.lane);
            assert_eq!(settled, Ok(own), "{}", claim.lane);
            let record = record(&store, *id).await;
            assert_eq!(record.state == State::Sent, own, "{}", claim.lane);
            let Settle::Delivered { ts, .. } = end else { unreachable!() };
            assert_eq!(record.ts.as_ref(), own.then_some(ts), "{}", claim.lane);
            assert_eq!(record.attempts.len(), usize::from(own), "{}", claim.lane);
        }
        // The lane with another message is due, and so is the one whose message was not sent.
        let mut due = claim_lanes(store.lanes(), 100, LEASE).await.unwrap();
        due.sort_by(|one, other| one.lane.cmp(&other.lane));
        assert_eq!(due.iter().map(|claim| &*claim.lane).collect::<Vec<_>>(), ["U03", "U11"]);
        assert_eq!(store.lanes().head(&due[0]).await.unwrap().unwrap().delivery, behind);
        assert_eq!(due[0].last_ts.as_deref(), Some("3.000100"));
    }
}

/// Slack chooses the text of its answers.
#[tokio::test]
async fn an_end_that_cannot_be_written_fails_alone() {
    for store in test_stores().await {
        let sent = sending(&store, 3).await;
        let ends = [stored("1.000100"), stored("2\0"), stored("3.000100")];
        let settles = sent.iter().zip(&ends).map(|((claim, id), end)| {
            store.outbox().settle(claim, *id, end, SettleContext::default())
        });
        let settled = join_all(settles).await;
        assert_eq!((&settled[0], &settled[2]), (&Ok(true), &Ok(true)));
        // PostgreSQL's text cannot contain this character.
        assert_eq!(settled[1].is_err(), store.backend() == Backend::Postgres, "{:?}", settled[1]);
    }
}
