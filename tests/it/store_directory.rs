//! The member list: one crawler, checkpoints, generations that switch at once.

use std::time::Duration;

use herald::domain::ids::{InstallationId, TenantId};
use herald::domain::secret::Secret;
use herald::domain::time::Timestamp;
use herald::store::{CrawlLease, CrawledPage, Error, NewInstallation, Resume, Store};

use sea_orm::ConnectionTrait as _;

use crate::support::store::test_stores;

const LONG: Duration = Duration::from_secs(3600);

fn id() -> InstallationId {
    InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap()
}

fn page(number: i32, next: Option<&str>) -> CrawledPage {
    CrawledPage {
        number,
        body: format!("page {number} ").repeat(1000).into_bytes(),
        members: 100,
        next_cursor: next.map(str::to_owned),
        page_size: 200,
    }
}

async fn crawl(store: &Store) -> i64 {
    let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
    assert!(store.save_page(&lease, page(0, Some("c1")), LONG).await.unwrap());
    assert!(store.save_page(&lease, page(1, None), LONG).await.unwrap());
    store.publish(&lease, Duration::ZERO).await.unwrap().unwrap()
}

#[tokio::test]
async fn pages_appear_at_once_and_the_older_ones_go() {
    for store in test_stores().await {
        assert_eq!(store.directory(id()).await.unwrap(), None);
        let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert_eq!(lease.generation, 1);
        assert!(store.acquire_crawl(id(), LONG).await.unwrap().is_none(), "one holder");
        assert!(store.save_page(&lease, page(0, Some("c1")), LONG).await.unwrap());
        // Out of order, or twice: refused.
        assert!(!store.save_page(&lease, page(0, Some("c1")), LONG).await.unwrap());
        assert!(!store.save_page(&lease, page(2, None), LONG).await.unwrap());
        // Nothing to be seen before the end, and no publishing before it.
        assert_eq!(store.publish(&lease, LONG).await.unwrap(), None);
        let state = store.directory(id()).await.unwrap().unwrap();
        assert_eq!((state.generation, state.crawl.unwrap().members), (0, 100));
        assert!(matches!(store.page(id(), 1, 0).await, Err(Error::NotFound(_))));

        assert!(store.save_page(&lease, page(1, Some("")), LONG).await.unwrap());
        assert!(!store.save_page(&lease, page(2, None), LONG).await.unwrap(), "the list had ended");
        assert_eq!(store.publish(&lease, Duration::ZERO).await.unwrap(), Some(1));
        assert_eq!(store.publish(&lease, Duration::ZERO).await.unwrap(), None);
        let state = store.directory(id()).await.unwrap().unwrap();
        assert_eq!((state.generation, state.pages, state.members), (1, 2, 200));
        assert_eq!((state.crawl, state.last_error), (None, None));
        let pages = store.replica().await.pages(id(), 1).await.unwrap();
        assert_eq!(pages, [page(0, None).body, page(1, None).body]);

        assert_eq!(crawl(&store).await, 2);
        assert!(matches!(store.pages(id(), 1).await, Err(Error::NotFound(_))));
        assert_eq!(store.pages(id(), 2).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_new_holder_resumes_and_the_old_one_changes_nothing() {
    for store in test_stores().await {
        let old = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        // Saved with a lease that lapses at once: as if the holder froze right here.
        assert!(store.save_page(&old, page(0, Some("c1")), Duration::ZERO).await.unwrap());
        let new = store.replica().await.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert!(new.epoch > old.epoch);
        assert_eq!(new.checkpoint.cursor.as_deref(), Some("c1"));
        assert_eq!((new.checkpoint.next_page, new.checkpoint.members), (1, 100));
        assert_eq!(new.checkpoint.page_size, Some(200));

        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE directory SET crawl_started_at = 1000").await.unwrap();
        assert!(!store.save_page(&old, page(1, None), LONG).await.unwrap());
        assert!(!store.extend_crawl(&old, LONG).await.unwrap());
        assert!(!store.fail_crawl(&old, "x", LONG, Resume::Start).await.unwrap());
        assert!(store.save_page(&new, page(1, None), LONG).await.unwrap());
        assert_eq!(store.publish(&old, LONG).await.unwrap(), None);
        assert_eq!(store.publish(&new, LONG).await.unwrap(), Some(1));
        let state = store.directory(id()).await.unwrap().unwrap();
        assert_eq!(state.refreshed_at, Some(Timestamp(1000)), "as old as its first page");
        // Published: not due before the interval is over.
        assert!(store.acquire_crawl(id(), LONG).await.unwrap().is_none());
        store.request_refresh(id()).await.unwrap();
        assert!(store.acquire_crawl(id(), LONG).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_failed_crawl_resumes_or_starts_over() {
    for store in test_stores().await {
        let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert!(store.save_page(&lease, page(0, Some("c1")), LONG).await.unwrap());
        let fail = async |lease: &CrawlLease, resume| {
            store.fail_crawl(lease, "ratelimited", Duration::ZERO, resume).await.unwrap()
        };
        assert!(fail(&lease, Resume::Checkpoint).await);
        let state = store.directory(id()).await.unwrap().unwrap();
        assert_eq!(state.last_error.as_deref(), Some("ratelimited"));

        let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert_eq!(lease.checkpoint.next_page, 1);
        assert!(fail(&lease, Resume::Start).await);
        let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert_eq!((lease.checkpoint.next_page, lease.checkpoint.cursor), (0, None));
        // The pages of the first try are gone: the numbers are free again.
        assert_eq!(
            store.fail_crawl(&lease_of(&store).await, "", LONG, Resume::Start).await,
            Ok(false)
        );
    }
}

/// A lease that was never given.
async fn lease_of(store: &Store) -> CrawlLease {
    let other = InstallationId::parse("01890000-0000-7000-8000-000000000002").unwrap();
    let mut lease = store.acquire_crawl(other, LONG).await.unwrap().unwrap();
    lease.installation = id();
    lease.epoch = 999;
    lease
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_replicas_one_crawls() {
    for store in test_stores().await {
        let mut tasks = Vec::new();
        for _ in 0..5 {
            let store = store.replica().await;
            tasks.push(tokio::spawn(async move { store.acquire_crawl(id(), LONG).await.unwrap() }));
        }
        let mut held = 0;
        for task in tasks {
            held += usize::from(task.await.unwrap().is_some());
        }
        assert_eq!(held, 1);
    }
}

#[tokio::test]
async fn changes_are_numbered_and_dropped_once_a_crawl_contains_them() {
    for store in test_stores().await {
        assert_eq!(store.append_change(id(), b"one").await.unwrap(), 1);
        let lease = store.acquire_crawl(id(), LONG).await.unwrap().unwrap();
        assert_eq!(store.append_change(id(), b"two").await.unwrap(), 2);
        let all = store.changes(id(), 0).await.unwrap();
        assert_eq!(all.iter().map(|c| c.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all[1].body, b"two");
        assert_eq!(store.changes(id(), 1).await.unwrap().len(), 1);

        assert!(store.save_page(&lease, page(0, None), LONG).await.unwrap());
        store.publish(&lease, LONG).await.unwrap().unwrap();
        // The second came while the crawl ran: its pages may not show it.
        let left = store.changes(id(), 0).await.unwrap();
        assert_eq!(left.iter().map(|c| c.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(store.directory(id()).await.unwrap().unwrap().change_sequence, 2);
    }
}

#[tokio::test]
async fn changes_are_read_to_the_last() {
    for store in test_stores().await {
        for n in 1..=401 {
            assert_eq!(store.append_change(id(), b"x").await.unwrap(), n);
        }
        for (after, expected) in [(0, 401), (1, 400), (201, 200), (401, 0)] {
            assert_eq!(store.changes(id(), after).await.unwrap().len(), expected);
        }
    }
}

#[tokio::test]
async fn due_are_those_in_use_alive_and_not_being_crawled() {
    for store in test_stores().await {
        let new = NewInstallation {
            app_id: "A1".into(),
            enterprise_id: None,
            team_id: Some("T1".into()),
            org_wide: false,
            team_name: "Demo".into(),
            bot_user_id: "UBOT".into(),
            bot_name: "herald".into(),
            scopes: Vec::new(),
            token: Secret::new("xoxb-one"),
            refresh_token: None,
            token_expires_at: None,
        };
        let id = store.save_installation(&new).await.unwrap();
        let acme = TenantId::parse("acme").unwrap();
        let due = async || store.due_refreshes(10).await.unwrap();
        assert!(due().await.is_empty(), "nobody uses it");
        store.ensure_tenant(&acme).await.unwrap();
        store.link_tenant(&acme, id).await.unwrap();
        assert_eq!(due().await, [id]);
        let lease = store.acquire_crawl(id, LONG).await.unwrap().unwrap();
        assert!(due().await.is_empty(), "being crawled");
        store.fail_crawl(&lease, "x", Duration::ZERO, Resume::Checkpoint).await.unwrap();
        assert_eq!(due().await, [id]);
        store.mark_installation_dead(id, 1, "token_revoked").await.unwrap();
        assert!(due().await.is_empty(), "dead");
    }
}
