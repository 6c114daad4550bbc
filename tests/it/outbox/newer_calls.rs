//! Rows that a newer release wrote, among other rows that calls and replicas read: they are skipped
//! and left unchanged, and the others are processed.

use std::collections::BTreeSet;

use herald::domain::access::api_key::Hash;
use herald::domain::access::audit::Entry;
use herald::domain::access::caller::{Caller, Reach, Role};
use herald::domain::delivery::State;
use herald::domain::delivery::subject::Action;
use herald::domain::ids::{DeliveryId, Principal, RequestId, SubjectKey};
use herald::domain::reason::Failure;
use herald::store::{
    ApiKeyChange, ApiKeyMade, AuditFilter, NewApiKey, NotificationTerms, Replay, ReplayOutcome,
    ReplaySelection, Settle, SkipReason,
};

use super::newer::run;
use super::{HOUR, call, delivery, lane, post, record, sending, settled, tenant};
use crate::support::store::{TestStore, test_stores};

/// A call about one subject, to one person.
async fn about(store: &TestStore, request: &str, action: Action) -> DeliveryId {
    let mut accept = call(request, vec![delivery(lane("U1"))]);
    let subject = Some(SubjectKey::parse("task:1").unwrap());
    accept.about = NotificationTerms { subject, action, deliver_after: None };
    let id = accept.deliveries[0].id;
    store.outbox().accept(accept).await.unwrap();
    id
}

#[tokio::test]
async fn an_overtaking_call_leaves_a_delivery_that_it_cannot_read() {
    for action in [Action::Replace, Action::Retract, Action::Done] {
        for store in test_stores().await {
            let known = about(&store, "r1", Action::Post).await;
            let unread = about(&store, "r2", Action::Post).await;
            let set = format!("UPDATE deliveries SET action = 'hologram' WHERE id = '{unread}'");
            run(&store, &set).await;
            about(&store, "r3", action).await;
            assert_eq!(record(&store, known).await.state, State::Canceled, "{action:?}");
            assert_eq!(record(&store, unread).await.state, State::Pending, "{action:?}");
        }
    }
}

/// Makes the keys of three callers; the second has a role that only a newer release knows.
async fn keys(store: &TestStore) -> [Hash; 3] {
    let hashes = [[1; 32], [2; 32], [3; 32]];
    let (tenant, created_by) = (tenant(), Principal::parse("admin").unwrap());
    for hash in hashes {
        let caller = Caller {
            principal: Principal::parse(format!("caller-{}", hash[0])).unwrap(),
            role: Role::Service,
            reach: Reach::Only(BTreeSet::from([tenant.clone()])),
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        let new = NewApiKey {
            tenant: Some(&tenant),
            hash,
            caller: &caller,
            created_by: &created_by,
            life: HOUR,
        };
        let made = store.api_keys().create(&new).await.unwrap();
        assert!(matches!(made, ApiKeyMade::Made(_)), "{made:?}");
    }
    run(store, "UPDATE api_keys SET role = 'oracle' WHERE principal = 'caller-2'").await;
    hashes
}

#[tokio::test]
async fn a_key_of_an_unknown_role_hides_no_other_key() {
    for store in test_stores().await {
        let [first, unread, last] = keys(&store).await;
        // Even if it is the only one of a page.
        for limit in [1, 10] {
            let (mut known, mut others) = (Vec::new(), Vec::new());
            let mut after = Some(ApiKeyChange::last_of(0));
            while let Some(from) = after {
                let page = store.api_keys().list_changed(&from, limit).await.unwrap();
                known.extend(page.keys.into_iter().map(|key| key.hash));
                others.extend(page.unread);
                after = page.more_after;
            }
            assert_eq!((known, others), (vec![first, last], vec![unread]));

            let (mut listed, mut after) = (BTreeSet::new(), None);
            loop {
                let page = store.api_keys().list(Some(&tenant()), after, limit).await.unwrap();
                let principals = page.keys.into_iter().map(|listed| listed.key.caller.principal);
                listed.extend(principals.map(String::from));
                after = page.more_after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, BTreeSet::from(["caller-1".to_owned(), "caller-3".to_owned()]));
        }
        assert!(store.api_keys().get(&first).await.unwrap().is_some());
        assert_eq!(store.api_keys().get(&unread).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_entry_of_the_audit_trail_with_an_unknown_outcome_hides_no_other_entry() {
    for store in test_stores().await {
        store.tenancy().ensure_tenant(&tenant()).await.unwrap();
        let entries = ["one", "two", "three"].map(|name| Entry::of_browser(tenant(), name));
        store.audit().write(&entries).await.unwrap();
        run(&store, "UPDATE audit_inbox SET outcome = 'hologram' WHERE action = 'two'").await;
        assert_eq!(store.audit().chain(10).await.unwrap(), Some(3));
        // Even if it is the only one of a page.
        for limit in [1, 10] {
            let (mut listed, mut after) = (BTreeSet::new(), None);
            loop {
                let filter = AuditFilter::default();
                let page =
                    store.audit().list(Some(&tenant()), &filter, after, limit).await.unwrap();
                listed.extend(page.entries.into_iter().map(|entry| entry.action));
                after = page.more_after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(listed, BTreeSet::from(["one".to_owned(), "three".to_owned()]));
        }
        assert_eq!(store.audit().verify().await.unwrap().broken, None);
    }
}

#[tokio::test]
async fn of_named_deliveries_one_in_an_unknown_state_is_not_replayed() {
    for store in test_stores().await {
        let dead = post(&store, "U1").await;
        let (claim, _) = sending(&store).await;
        let failed = Settle::Failed { reason: Failure::Rejected, code: None };
        assert!(settled(&store, &claim, dead, &failed).await);
        let unread = post(&store, "U2").await;
        run(&store, &format!("UPDATE deliveries SET state = 'hologram' WHERE id = '{unread}'"))
            .await;
        let replay = Replay {
            tenant: tenant(),
            principal: Principal::parse("platform").unwrap(),
            request_id: RequestId::parse("replay").unwrap(),
            fingerprint: [8; 32],
            which: ReplaySelection::Deliveries(vec![unread, dead]),
            expires_in: HOUR,
            room: 10,
        };
        let ReplayOutcome::Replayed(replayed) = store.outbox().replay(&replay).await.unwrap()
        else {
            panic!("it was refused");
        };
        let skipped: Vec<_> = replayed.iter().map(|one| (one.delivery, one.skipped)).collect();
        assert_eq!(skipped, [(unread, Some(SkipReason::NotDead)), (dead, None)]);
        assert_eq!(record(&store, unread).await.state, State::Newer);
        assert!(record(&store, dead).await.replayed_as.is_some());
    }
}
