//! The feed of all tenants: each change once, in the order of each delivery, with one position.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use herald::domain::access::caller::Reach;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, TenantId};
use herald::store::{Backend, ChangePageOfAll, DeliveryChange, FeedExtent, Store};
use sea_orm::ConnectionTrait as _;

use super::number;
use crate::outbox::{call, delivery, lane, tenant, uuid};
use crate::support::store::test_stores;

fn other() -> TenantId {
    TenantId::parse("other").unwrap()
}

/// A delivery of a tenant that is canceled at once: two changes.
async fn canceled(store: &Store, tenant: &TenantId) -> DeliveryId {
    let mut call = call(&uuid().to_string(), vec![delivery(lane("U1"))]);
    call.tenant = tenant.clone();
    let (notification, id) = (call.id, call.deliveries[0].id);
    store.outbox().accept(call).await.unwrap();
    store.ends().cancel_notification(tenant, notification).await.unwrap().unwrap();
    id
}

/// Everything in reach after a position, in pages of this size.
async fn read(store: &Store, reach: &Reach, mut after: i64, limit: u32) -> Vec<DeliveryChange> {
    let mut changes = Vec::new();
    loop {
        let page = store.feed().changes_of_all(reach, after, limit).await.unwrap();
        let Some(last) = page.last else { return changes };
        assert!(last > after);
        after = last;
        changes.extend(page.changes);
    }
}

fn positions(changes: &[DeliveryChange]) -> Vec<i64> {
    changes.iter().map(|change| change.position.unwrap()).collect()
}

#[tokio::test]
async fn every_change_of_every_tenant_has_one_position() {
    for store in test_stores().await {
        let tenants = [tenant(), other()];
        let mut written = Vec::new();
        for round in 0..10 {
            for tenant in &tenants {
                written.push(canceled(&store, tenant).await);
            }
            // Some batches have changes of one tenant, some of both.
            if round % 3 == 0 {
                number(&store).await;
            }
        }
        number(&store).await;
        let extent = store.feed().extent_of_all().await.unwrap();
        assert_eq!(extent, FeedExtent { epoch: 0, head: 40, pruned: 0 });
        for limit in [1, 7, 1_000] {
            let all = read(&store, &Reach::All, 0, limit).await;
            assert_eq!(positions(&all), (1..=40).collect::<Vec<_>>());
            let mut told: HashMap<DeliveryId, Vec<State>> = HashMap::new();
            for change in &all {
                told.entry(change.delivery).or_default().push(change.state);
            }
            for id in &written {
                assert_eq!(told[id], [State::Pending, State::Canceled]);
            }
            for tenant in &tenants {
                let of = all.iter().filter(|change| change.tenant == *tenant).cloned();
                let own = store.feed().changes(tenant, 0, 100).await.unwrap().changes;
                assert_eq!(of.collect::<Vec<_>>(), own, "a tenant's own feed is another one");
            }
        }
        let resumed = read(&store, &Reach::All, 33, 100).await;
        assert_eq!(positions(&resumed), (34..=40).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_reader_gets_only_tenants_in_reach_and_passes_over_the_others() {
    for store in test_stores().await {
        canceled(&store, &other()).await;
        canceled(&store, &tenant()).await;
        canceled(&store, &other()).await;
        number(&store).await;
        let reach = Reach::Only(BTreeSet::from([tenant()]));
        let mine = read(&store, &reach, 0, 2).await;
        assert_eq!(mine.iter().filter(|change| change.tenant == tenant()).count(), 2);
        assert_eq!(mine.len(), 2);
        let nothing = Reach::Only(BTreeSet::new());
        let page = store.feed().changes_of_all(&nothing, 0, 100).await.unwrap();
        assert_eq!(page, ChangePageOfAll { changes: Vec::new(), last: Some(6), pruned: 0 });
    }
}

#[tokio::test]
async fn retention_says_how_far_it_came_and_a_recovery_begins_anew() {
    for store in test_stores().await {
        for tenant in [tenant(), other()] {
            canceled(&store, &tenant).await;
        }
        number(&store).await;
        assert!(store.feed().prune(Duration::ZERO, 3).await.unwrap() >= 3);
        let page = store.feed().changes_of_all(&Reach::All, 0, 100).await.unwrap();
        assert!(page.pruned >= 3, "{page:?}");
        while store.feed().prune(Duration::ZERO, 100).await.unwrap() > 0 {}
        let page = store.feed().changes_of_all(&Reach::All, 0, 100).await.unwrap();
        assert_eq!(page, ChangePageOfAll { changes: Vec::new(), last: None, pruned: 4 });
        let epoch = store.upkeep().begin_epoch().await.unwrap().epoch;
        canceled(&store, &tenant()).await;
        number(&store).await;
        let anew = read(&store, &Reach::All, 4, 100).await;
        assert_eq!(positions(&anew), [epoch + 1, epoch + 2]);
    }
}

#[tokio::test]
async fn a_watcher_of_all_is_woken_by_any_tenant() {
    for store in test_stores().await {
        let mut all = store.feed().watch_all();
        let mut one = store.feed().watch(&tenant());
        canceled(&store, &other()).await;
        number(&store).await;
        assert_eq!((all.reach().head, one.reach().head), (2, 0));
        // Numbered by another process.
        drop(all);
        let mut all = store.feed().watch_all();
        store.feed().follow().await.unwrap();
        assert_eq!(all.reach().head, 2);
    }
}

/// A sequencer of the previous release knows no positions.
#[tokio::test]
async fn changes_numbered_by_the_previous_release_have_a_position() {
    const INSERT: &str = "INSERT INTO delivery_changes (sequence, tenant, delivery, notification,
        user_id, event_type, state, at, sequenced_at) SELECT sequence + 100, tenant, delivery,
        notification, user_id, event_type, state, at, sequenced_at FROM delivery_changes
        ORDER BY tenant, sequence";
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue; // The one process that uses it is of this release.
        }
        canceled(&store, &tenant()).await;
        number(&store).await;
        store.raw().await.execute_unprepared(INSERT).await.unwrap();
        canceled(&store, &tenant()).await;
        number(&store).await;
        let all = read(&store, &Reach::All, 0, 100).await;
        assert_eq!(positions(&all), (1..=6).collect::<Vec<_>>());
        let numbers: Vec<i64> = all.iter().map(|change| change.sequence).collect();
        assert_eq!(numbers, [1, 2, 101, 102, 3, 4]);
    }
}
