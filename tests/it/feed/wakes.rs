//! Which change wakes which watchers, and the cost of waiting.

use futures_util::FutureExt as _;
use herald::domain::ids::TenantId;
use herald::store::{Backend, FeedWatcher, Store};
use sea_orm::ConnectionTrait as _;

use super::number;
use crate::outbox::{call, delivery, lane, tenant, uuid};
use crate::support::store::test_stores;

async fn change(store: &Store, tenant: &TenantId) {
    let mut call = call(&uuid().to_string(), vec![delivery(lane("U1"))]);
    call.tenant = tenant.clone();
    store.outbox().accept(call).await.unwrap();
}

/// Whether it was woken since the last check.
fn woken(watcher: &mut FeedWatcher) -> bool {
    let woken = watcher.changed().now_or_never().is_some();
    watcher.reach();
    woken
}

#[tokio::test]
async fn a_watcher_is_woken_by_its_own_tenant_and_at_any_replica() {
    for store in test_stores().await {
        let other = match store.backend() {
            Backend::Sqlite => store.store.clone(),
            Backend::Postgres => store.replica().await,
        };
        let quiet = TenantId::parse("quiet").unwrap();
        let mut watchers = [store.feed().watch(&tenant()), store.feed().watch(&tenant())];
        let mut quiet_one = store.feed().watch(&quiet);
        for replica in [&store.store, &other] {
            change(replica, &tenant()).await;
            number(replica).await;
            // Numbers from another replica are found at the next poll, for all watchers.
            store.feed().follow().await.unwrap();
            assert!(watchers.iter_mut().all(woken));
            assert!(!woken(&mut quiet_one));
            store.feed().follow().await.unwrap();
            assert!(!watchers.iter_mut().any(woken), "nothing moved");
        }
        assert_eq!(watchers[0].reach().head, 2);
        change(&store, &quiet).await;
        number(&store).await;
        assert!(woken(&mut quiet_one) && !watchers.iter_mut().any(woken));
    }
}

/// The database continues from a copy that has fewer numbers.
#[tokio::test]
async fn a_feed_that_ends_earlier_than_before_is_noticed() {
    for store in test_stores().await {
        for _ in 0..3 {
            change(&store, &tenant()).await;
        }
        number(&store).await;
        let mut watcher = store.feed().watch(&tenant());
        store.feed().follow().await.unwrap();
        assert_eq!((watcher.reach().head, watcher.reach().rewound), (3, 0));
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE feed_heads SET head = 2").await.unwrap();
        store.feed().follow().await.unwrap();
        assert_eq!((watcher.reach().head, watcher.reach().rewound), (2, 1));
        let epoch = store.upkeep().begin_epoch().await.unwrap().epoch;
        store.feed().follow().await.unwrap();
        assert_eq!((watcher.reach().epoch, watcher.reach().rewound), (epoch, 1));
    }
}
