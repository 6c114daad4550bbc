//! Accepting: durable, whole, idempotent (I1, I2, I3).

use futures_util::future::join_all;
use herald::domain::identity::person::Person;
use herald::domain::ids::{Principal, SlackUserId, UserId};
use herald::domain::reason::{Failure, NoMatch, Suppression};
use herald::domain::settings::{Identity, Rule};
use herald::domain::time::Timestamp;
use herald::store::{Accepted, End, Settle, Target};
use sea_orm::{ConnectionTrait as _, Statement};

use super::{
    call, claim_lanes, delivery, installation, lane, next_due, post, settled, tenant, total,
};
use crate::support::store::test_stores;

#[tokio::test]
async fn the_same_call_twice_is_one_notification_and_one_answer() {
    for store in test_stores().await {
        let first = call("r1", vec![delivery(lane("U1"))]);
        let again = call("r1", vec![delivery(lane("U2"))]);
        assert!(matches!(store.outbox().accept(first).await.unwrap(), Accepted::New { .. }));
        let replayed = store.outbox().accept(again).await.unwrap();
        assert_eq!(replayed, Accepted::Replayed { answer: b"answer to r1".to_vec() });
        assert_eq!(total(&store).await, 1);
        assert_eq!(claim_lanes(store.lanes(), 10, super::LEASE).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn another_payload_is_a_mismatch_and_stores_nothing() {
    for store in test_stores().await {
        store.outbox().accept(call("r1", vec![delivery(lane("U1"))])).await.unwrap();
        let user = UserId::parse("newcomer").unwrap();
        let mut other = call("r1", vec![delivery(lane("U2"))]);
        other.fingerprint = [8; 32];
        other.people = vec![Person::bare(user.clone())];
        assert_eq!(store.outbox().accept(other).await.unwrap(), Accepted::Mismatch);
        assert_eq!(total(&store).await, 1);
        assert!(store.people().get(&tenant(), &user).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn people_and_identities_commit_with_the_call() {
    for store in test_stores().await {
        let user = UserId::parse("newcomer").unwrap();
        let mut call = call("r1", vec![delivery(lane("U1"))]);
        call.people =
            vec![Person { email: Some("n@example.com".into()), ..Person::bare(user.clone()) }];
        let identity = Identity {
            slack_user_id: SlackUserId::parse("U1").unwrap(),
            display_name: "newcomer".into(),
            rule: Rule::Matched,
            installation: installation(),
            stored_at: Timestamp(0),
        };
        call.identities = vec![(user.clone(), identity)];
        store.outbox().accept(call).await.unwrap();
        let stored = store.people().get(&tenant(), &user).await.unwrap().unwrap();
        assert_eq!(stored.person.email.as_deref(), Some("n@example.com"));
        assert_eq!(stored.identity.unwrap().slack_user_id.as_str(), "U1");
    }
}

#[tokio::test]
async fn request_ids_belong_to_their_principal() {
    for store in test_stores().await {
        let one = call("r1", vec![delivery(lane("U1"))]);
        let mut two = call("r1", vec![delivery(lane("U1"))]);
        two.principal = Principal::parse("batch").unwrap();
        for call in [one, two] {
            assert!(matches!(store.outbox().accept(call).await.unwrap(), Accepted::New { .. }));
        }
        assert_eq!(total(&store).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_from_two_replicas_are_one() {
    for store in test_stores().await {
        let replicas = [store.store.clone(), store.replica().await];
        let calls = (0..50).map(|number| {
            let replica = replicas[number % 2].clone();
            let mut call = call("raced", vec![delivery(lane("U1")), delivery(lane("C1"))]);
            call.answer = number.to_string().into_bytes();
            tokio::spawn(async move {
                (call.answer.clone(), replica.outbox().accept(call).await.unwrap())
            })
        });
        let outcomes: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let new = |(_, accepted): &&(Vec<u8>, Accepted)| matches!(accepted, Accepted::New { .. });
        let winners: Vec<_> = outcomes.iter().filter(new).collect();
        assert_eq!(winners.len(), 1);
        for (_, accepted) in outcomes.iter().filter(|outcome| !new(outcome)) {
            assert_eq!(*accepted, Accepted::Replayed { answer: winners[0].0.clone() });
        }
        assert_eq!(total(&store).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_tears_nothing() {
    const CALLS: usize = 40;
    for store in test_stores().await {
        let calls: Vec<_> = (0..CALLS)
            .map(|number| {
                let recipients = (0..3).map(|to| delivery(lane(&format!("U{to}")))).collect();
                call(&format!("r{number}"), recipients)
            })
            .collect();
        for (polls, call) in calls.iter().enumerate() {
            let goes_away = async {
                for _ in 0..polls {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                accepted = store.outbox().accept(call.clone()) => drop(accepted.unwrap()),
                () = goes_away => {}
            }
        }
        // Each is completely there or not at all; the same call again completes it.
        for call in &calls {
            store.outbox().accept(call.clone()).await.unwrap();
            let stored = store.records().notification(&tenant(), call.id).await.unwrap().unwrap();
            assert_eq!(stored.deliveries.len(), 3);
        }
        assert_eq!(total(&store).await, 3 * i64::try_from(CALLS).unwrap());
    }
}

#[tokio::test]
async fn a_thousand_recipients_each_with_a_verdict() {
    for store in test_stores().await {
        let recipients = (0..1000)
            .map(|number| {
                let mut new = delivery(match number % 4 {
                    0 => lane(&format!("U{number}")),
                    1 => Target::Resolving,
                    2 => Target::Ended(End::Suppressed(Suppression::OptIn)),
                    _ => Target::Ended(End::Unreachable(NoMatch::NoMember)),
                });
                new.user = Some(UserId::parse(format!("user-{number}")).unwrap());
                new
            })
            .collect();
        let mut call = call("many", recipients);
        call.people = call
            .deliveries
            .iter()
            .filter_map(|delivery| delivery.user.clone().map(Person::bare))
            .collect();
        store.outbox().accept(call.clone()).await.unwrap();
        let counts = store.counts(&tenant()).await;
        let expected =
            [("pending", 250), ("resolving", 250), ("suppressed", 250), ("unreachable", 250)];
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
        let stored = store.records().notification(&tenant(), call.id).await.unwrap().unwrap();
        let kept: Vec<_> = stored.deliveries.iter().map(|delivery| delivery.id).collect();
        let given: Vec<_> = call.deliveries.iter().map(|delivery| delivery.id).collect();
        assert_eq!(kept, given);
        assert_eq!(stored.deliveries[2].reason.as_deref(), Some("opt_in"));
        assert_eq!(claim_lanes(store.lanes(), 2000, super::LEASE).await.unwrap().len(), 250);
    }
}

#[tokio::test]
async fn what_is_personal_is_sealed() {
    for store in test_stores().await {
        let call = call("r1", vec![delivery(lane("U1"))]);
        store.outbox().accept(call.clone()).await.unwrap();
        let raw = store.raw().await;
        for (sql, secrets) in [
            ("SELECT data FROM notifications", b"the data".as_slice()),
            ("SELECT answer FROM notifications", b"answer"),
            ("SELECT link FROM notifications", b"platform.example"),
            ("SELECT content FROM deliveries", b"rendered"),
        ] {
            let query = Statement::from_string(raw.get_database_backend(), sql);
            let row = raw.query_one_raw(query).await.unwrap().unwrap();
            let bytes: Vec<u8> = row.try_get_by_index(0).unwrap();
            assert!(!bytes.windows(secrets.len()).any(|window| window == secrets), "{sql}");
        }
        let stored = store.records().notification(&tenant(), call.id).await.unwrap().unwrap();
        assert_eq!((stored.data, stored.link, stored.answer), (call.data, call.link, call.answer));
    }
}

#[tokio::test]
async fn content_that_was_moved_does_not_open_and_does_not_block() {
    for store in test_stores().await {
        let (one, two) = (post(&store, "U1").await, post(&store, "U2").await);
        let sql = format!(
            "UPDATE deliveries SET content = (SELECT content FROM deliveries WHERE id = '{one}') \
             WHERE id = '{two}'"
        );
        store.raw().await.execute_unprepared(&sql).await.unwrap();
        for claim in claim_lanes(store.lanes(), 10, super::LEASE).await.unwrap() {
            let head = store.lanes().head(&claim).await.unwrap().unwrap();
            assert_eq!(
                (head.damaged, head.content.is_none()),
                (head.delivery == two, head.damaged)
            );
            let failed = Settle::Failed { reason: Failure::Template, code: None };
            assert!(settled(&store, &claim, head.delivery, &failed).await);
        }
        assert_eq!(next_due(store.lanes()).await, None);
    }
}
