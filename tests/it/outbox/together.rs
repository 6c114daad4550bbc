//! Calls that share a transaction: each has its own answer or its own error (I1, I3).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use herald::domain::identity::person::Person;
use herald::domain::ids::UserId;
use herald::store::{Accept, Accepted, Error, Store};

use super::{call, claim_lanes, delivery, lane, tenant, total};
use crate::support::store::test_stores;

/// Accepts all calls at once; returns the outcomes in order.
async fn accept_all(store: &Store, calls: Vec<Accept>) -> Vec<Result<Accepted, Error>> {
    let calls = calls.into_iter().map(|call| {
        let store = store.clone();
        tokio::spawn(async move { store.outbox().accept(call).await })
    });
    join_all(calls).await.into_iter().map(Result::unwrap).collect()
}

fn is_new(outcome: &Result<Accepted, Error>) -> bool {
    matches!(outcome, Ok(Accepted::New { .. }))
}

#[tokio::test]
async fn one_bad_call_fails_alone() {
    const CALLS: usize = 60;
    for store in test_stores().await {
        let mut calls: Vec<_> = (0..CALLS)
            .map(|number| call(&format!("r{number}"), vec![delivery(lane(&format!("U{number}")))]))
            .collect();
        // Two deliveries with one id: the database refuses the second.
        let twice = calls[30].deliveries[0].clone();
        calls[30].deliveries.push(twice);
        let outcomes = accept_all(&store, calls.clone()).await;
        for (number, (outcome, call)) in outcomes.iter().zip(&calls).enumerate() {
            let stored = store.records().notification(&tenant(), call.id).await.unwrap();
            if number == 30 {
                assert!(matches!(outcome, Err(Error::Conflict(_))), "{outcome:?}");
                assert!(stored.is_none());
            } else {
                assert!(is_new(outcome), "{number}: {outcome:?}");
                assert_eq!(stored.unwrap().deliveries.len(), 1);
            }
        }
        assert_eq!(claim_lanes(store.lanes(), 100, super::LEASE).await.unwrap().len(), CALLS - 1);
    }
}

#[tokio::test]
async fn each_call_has_its_own_answer() {
    for store in test_stores().await {
        store.outbox().accept(call("old", vec![delivery(lane("U1"))])).await.unwrap();
        let mut calls = Vec::new();
        for number in 0..20 {
            // A new call, another payload that races it, and a repeat of an earlier call.
            calls.push(call(&format!("r{number}"), vec![delivery(lane("U1"))]));
            let mut other = call(&format!("r{number}"), vec![delivery(lane("U2"))]);
            other.fingerprint = [8; 32];
            calls.push(other);
            calls.push(call("old", vec![delivery(lane("U3"))]));
        }
        let many = (0..1000).map(|number| delivery(lane(&format!("U{number}")))).collect();
        calls.push(call("large", many));
        let outcomes = accept_all(&store, calls).await;
        for three in outcomes.chunks_exact(3) {
            let first = three[..2].iter().filter(|outcome| is_new(outcome)).count();
            let mismatch = three[..2].contains(&Ok(Accepted::Mismatch));
            assert!(first == 1 && mismatch, "{three:?}");
            let replayed = Accepted::Replayed { answer: b"answer to old".to_vec() };
            assert_eq!(three[2], Ok(replayed));
        }
        assert!(is_new(&outcomes[60]));
        assert_eq!(total(&store).await, 1 + 20 + 1000);
    }
}

#[tokio::test]
async fn calls_about_the_same_people_share_a_transaction() {
    for store in test_stores().await {
        let user = |number: usize| UserId::parse(format!("user-{number}")).unwrap();
        let calls = (0..50).map(|number| {
            let mut call = call(&format!("r{number}"), vec![delivery(lane("U1"))]);
            // In mixed order, with each person in several calls.
            let people = [number % 7, number % 3, number % 5].map(|number| Person {
                email: Some(format!("{number}@example.com")),
                ..Person::bare(user(number))
            });
            call.people = people.into();
            call
        });
        let outcomes = accept_all(&store, calls.collect()).await;
        assert!(outcomes.iter().all(is_new), "{outcomes:?}");
        let users: Vec<_> = (0..7).map(user).collect();
        let facts = store.people().facts(&tenant(), &users).await.unwrap();
        let known: BTreeSet<_> = facts.people.keys().cloned().collect();
        assert_eq!(known, users.iter().cloned().collect());
        for (user, stored) in facts.people {
            let email = stored.person.email.unwrap();
            assert_eq!(format!("user-{}", email.split('@').next().unwrap()), user.as_str());
        }
    }
}
