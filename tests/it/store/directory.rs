//! The member list: one crawler at a time, checkpoints, and generations that replace each other at
//! once.

use std::time::Duration;

use herald::domain::directory::crawl::{Doubt, PageSize};
use herald::domain::ids::{InstallationId, TenantId};
use herald::domain::secret::Secret;
use herald::domain::time::Timestamp;
use herald::store::{
    CrawlLease, CrawledPage, Error, ListBasis, MemberChange, Merged, NewInstallation, Resume,
    Saved, Store,
};

use sea_orm::ConnectionTrait as _;

use crate::support::store::{connect_tenant, test_stores};

const LONG: Duration = Duration::from_secs(3600);

fn id() -> InstallationId {
    InstallationId::parse("01890000-0000-7000-8000-000000000001").unwrap()
}

fn installation() -> NewInstallation {
    NewInstallation {
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
        installed_by: None,
        app_path: String::new(),
    }
}

fn page(number: i32, next: Option<&str>) -> CrawledPage {
    CrawledPage {
        number,
        body: format!("page {number} ").repeat(1000).into_bytes(),
        members: 100,
        next_cursor: next.map(str::to_owned),
        page_size: PageSize::kept(200, 1, 3),
    }
}

async fn acquire(store: &Store) -> Option<CrawlLease> {
    store.member_lists().acquire_crawl(id(), "a", LONG).await.unwrap()
}

/// Whether it was stored.
async fn save(store: &Store, lease: &CrawlLease, page: CrawledPage) -> bool {
    store.member_lists().save_page(lease, page, LONG).await.unwrap() == Saved::Stored
}

async fn crawl(store: &Store) -> i64 {
    let lease = acquire(store).await.unwrap();
    assert!(save(store, &lease, page(0, Some("c1"))).await);
    assert!(save(store, &lease, page(1, None)).await);
    store.member_lists().publish(&lease, Duration::ZERO).await.unwrap().unwrap()
}

fn change(member: &str, body: &[u8]) -> MemberChange {
    MemberChange { slack_user_id: member.into(), updated: 0, body: body.to_vec() }
}

/// Appends a change; returns the sequence number after it.
async fn append(store: &Store, member: &str, body: &[u8]) -> i64 {
    let basis = ListBasis::of(store.member_lists().state(id()).await.unwrap().as_ref());
    let merged = store
        .member_lists()
        .merge_members(id(), basis, &[change(member, body)], None)
        .await
        .unwrap();
    assert_eq!(merged, Merged::Done { changes: 1 });
    store.member_lists().state(id()).await.unwrap().unwrap().change_sequence
}

#[tokio::test]
async fn pages_appear_at_once_and_the_older_ones_go() {
    for store in test_stores().await {
        assert_eq!(store.member_lists().state(id()).await.unwrap(), None);
        let lease = acquire(&store).await.unwrap();
        assert_eq!(lease.generation, 1);
        assert!(acquire(&store).await.is_none(), "one holder");
        assert!(save(&store, &lease, page(0, Some("c1"))).await);
        // Out of order, or twice: refused.
        assert!(!save(&store, &lease, page(0, Some("c1"))).await);
        assert!(!save(&store, &lease, page(2, None)).await);
        // Nothing is visible before the end, and publishing is impossible before it.
        assert_eq!(store.member_lists().publish(&lease, LONG).await.unwrap(), None);
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!((state.generation, state.crawl.unwrap().members), (0, 100));
        assert!(matches!(store.member_lists().page(id(), 1, 0).await, Err(Error::NotFound(_))));

        assert!(save(&store, &lease, page(1, Some(""))).await);
        assert!(!save(&store, &lease, page(2, None)).await, "the list had ended");
        assert_eq!(store.member_lists().publish(&lease, Duration::ZERO).await.unwrap(), Some(1));
        assert_eq!(store.member_lists().publish(&lease, Duration::ZERO).await.unwrap(), None);
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!((state.generation, state.pages, state.members), (1, 2, 200));
        assert_eq!((state.crawl, state.last_error), (None, None));
        let pages = store.replica().await.member_lists().pages(id(), 1).await.unwrap();
        assert_eq!(pages, [page(0, None).body, page(1, None).body]);

        // The previous generation is kept for current readers, until the next one, or until its
        // grace is over.
        assert_eq!(crawl(&store).await, 2);
        assert_eq!(store.member_lists().pages(id(), 1).await.unwrap().len(), 2);
        assert_eq!(crawl(&store).await, 3);
        assert!(matches!(store.member_lists().pages(id(), 1).await, Err(Error::NotFound(_))));
        assert_eq!(store.member_lists().collect(LONG).await.unwrap(), 0);
        assert_eq!(store.member_lists().pages(id(), 2).await.unwrap().len(), 2);
        assert_eq!(store.member_lists().collect(Duration::ZERO).await.unwrap(), 1);
        assert_eq!(store.member_lists().collect(Duration::ZERO).await.unwrap(), 0, "once");
        assert!(matches!(store.member_lists().pages(id(), 2).await, Err(Error::NotFound(_))));
        assert_eq!(store.member_lists().pages(id(), 3).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_new_holder_resumes_and_the_old_one_changes_nothing() {
    for store in test_stores().await {
        let old = acquire(&store).await.unwrap();
        // Saved with a lease that ends at once, as if the holder froze right here.
        let saved = store
            .member_lists()
            .save_page(&old, page(0, Some("c1")), Duration::ZERO)
            .await
            .unwrap();
        assert_eq!(saved, Saved::Stored);
        let new = acquire(&store.replica().await).await.unwrap();
        assert!(new.epoch > old.epoch);
        assert_eq!(new.checkpoint.cursor.as_deref(), Some("c1"));
        assert_eq!((new.checkpoint.next_page, new.checkpoint.members), (1, 100));
        assert_eq!(new.checkpoint.page_size, PageSize::kept(200, 1, 3));

        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE directory SET crawl_started_at = 1000").await.unwrap();
        assert!(!save(&store, &old, page(1, None)).await);
        assert!(!store.member_lists().extend_crawl(&old, LONG).await.unwrap());
        assert!(!store.member_lists().fail_crawl(&old, "x", LONG, Resume::Start).await.unwrap());
        assert!(save(&store, &new, page(1, None)).await);
        assert_eq!(store.member_lists().publish(&old, LONG).await.unwrap(), None);
        assert_eq!(store.member_lists().publish(&new, LONG).await.unwrap(), Some(1));
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!(
            state.refreshed_at,
            Some(Timestamp(1000)),
            "the list is as old as its first page"
        );
        // Published: not due before the interval is over.
        assert!(acquire(&store).await.is_none());
        store.member_lists().request_refresh(id()).await.unwrap();
        assert!(acquire(&store).await.is_some());
    }
}

#[tokio::test]
async fn a_failed_crawl_resumes_or_starts_over() {
    for store in test_stores().await {
        let lease = acquire(&store).await.unwrap();
        assert!(save(&store, &lease, page(0, Some("c1"))).await);
        let fail = async |lease: &CrawlLease, resume| {
            store
                .member_lists()
                .fail_crawl(lease, "ratelimited", Duration::ZERO, resume)
                .await
                .unwrap()
        };
        assert!(fail(&lease, Resume::Checkpoint).await);
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!(state.last_error.as_deref(), Some("ratelimited"));

        let lease = acquire(&store).await.unwrap();
        assert_eq!(lease.checkpoint.next_page, 1);
        assert!(fail(&lease, Resume::Start).await);
        let lease = acquire(&store).await.unwrap();
        assert_eq!((lease.checkpoint.next_page, lease.checkpoint.cursor), (0, None));
        // The pages of the first attempt are gone, so their numbers are free again.
        assert_eq!(
            store.member_lists().fail_crawl(&lease_of(&store).await, "", LONG, Resume::Start).await,
            Ok(false)
        );
    }
}

/// A lease that was never granted.
async fn lease_of(store: &Store) -> CrawlLease {
    let other = InstallationId::parse("01890000-0000-7000-8000-000000000002").unwrap();
    let mut lease = store.member_lists().acquire_crawl(other, "a", LONG).await.unwrap().unwrap();
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
            tasks.push(tokio::spawn(async move {
                store.member_lists().acquire_crawl(id(), "a", LONG).await.unwrap()
            }));
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
        assert_eq!(append(&store, "U1", b"one").await, 1);
        let lease = acquire(&store).await.unwrap();
        assert_eq!(append(&store, "U2", b"two").await, 2);
        let all = store.member_lists().changes(id(), 0).await.unwrap();
        assert_eq!(all.iter().map(|c| c.sequence).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(all[1].body, b"two");
        assert_eq!(store.member_lists().changes(id(), 1).await.unwrap().len(), 1);

        assert!(save(&store, &lease, page(0, None)).await);
        store.member_lists().publish(&lease, Duration::ZERO).await.unwrap().unwrap();
        // The second change came while the crawl ran, so its pages may not show it.
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!((state.changes_base, state.changes_gone, state.change_sequence), (1, 0, 2));
        let left = store.member_lists().changes(id(), state.changes_base).await.unwrap();
        assert_eq!(left.iter().map(|c| c.sequence).collect::<Vec<_>>(), [2]);

        // A reader of this generation can use its changes while the next one is there, and sees
        // when they are gone.
        crawl(&store).await;
        assert_eq!(store.member_lists().changes(id(), state.changes_base).await.unwrap().len(), 1);
        assert_eq!(store.member_lists().state(id()).await.unwrap().unwrap().changes_gone, 1);
        store.member_lists().collect(Duration::ZERO).await.unwrap();
        assert!(store.member_lists().changes(id(), state.changes_base).await.unwrap().is_empty());
        assert_eq!(store.member_lists().state(id()).await.unwrap().unwrap().changes_gone, 2);
    }
}

#[tokio::test]
async fn of_one_member_the_last_change_is_kept_and_a_decision_over_an_older_list_is_not_written() {
    for store in test_stores().await {
        append(&store, "U1", b"one").await;
        append(&store, "U2", b"other").await;
        assert_eq!(append(&store, "U1", b"two").await, 3);
        let all = store.member_lists().changes(id(), 0).await.unwrap();
        assert_eq!(all.iter().map(|c| c.sequence).collect::<Vec<_>>(), [2, 3]);
        let old = ListBasis { generation: 0, change_sequence: 2, crawling: false };
        let merged =
            store.member_lists().merge_members(id(), old, &[change("U1", b"three")], None).await;
        assert_eq!(merged.unwrap(), Merged::Moved);
        let other = ListBasis { change_sequence: 3, crawling: true, ..old };
        let merged =
            store.member_lists().merge_members(id(), other, &[change("U1", b"three")], None).await;
        assert_eq!(merged.unwrap(), Merged::Moved);
        assert_eq!(store.member_lists().changes(id(), 0).await.unwrap(), all);
    }
}

#[tokio::test]
async fn changes_are_read_to_the_last() {
    for store in test_stores().await {
        for n in 1..=401 {
            assert_eq!(append(&store, &format!("U{n}"), b"x").await, n);
        }
        for (after, expected) in [(0, 401), (1, 400), (201, 200), (401, 0)] {
            assert_eq!(store.member_lists().changes(id(), after).await.unwrap().len(), expected);
        }
    }
}

#[tokio::test]
async fn due_are_those_in_use_alive_and_not_being_crawled() {
    for store in test_stores().await {
        let acme = TenantId::parse("acme").unwrap();
        let due = async || store.member_lists().due_refreshes(10).await.unwrap();
        let booked = async || store.member_lists().booked_refreshes(10).await.unwrap();
        let before = NewInstallation { team_id: Some("T2".into()), ..installation() };
        let before = connect_tenant(&store, &acme, &before).await;
        assert_eq!(due().await, [before]);
        assert!(booked().await.is_empty(), "it was never booked");
        store.member_lists().request_refresh(before).await.unwrap();
        assert_eq!(booked().await, [before]);
        let id = connect_tenant(&store, &acme, &installation()).await;
        assert_eq!(due().await, [id], "no tenant uses the other");
        assert!(booked().await.is_empty(), "no tenant uses it");
        let lease = store.member_lists().acquire_crawl(id, "a", LONG).await.unwrap().unwrap();
        assert!(due().await.is_empty() && booked().await.is_empty(), "being crawled");
        store
            .member_lists()
            .fail_crawl(&lease, "x", Duration::ZERO, Resume::Checkpoint)
            .await
            .unwrap();
        assert_eq!((due().await, booked().await), (vec![id], vec![id]));
        store.tenancy().mark_installation_dead(id, 1, "token_revoked").await.unwrap();
        assert!(due().await.is_empty() && booked().await.is_empty(), "dead");
    }
}

#[tokio::test]
async fn a_crawl_that_begins_again_leaves_nothing_of_the_first_try() {
    for store in test_stores().await {
        let lease = acquire(&store).await.unwrap();
        assert!(save(&store, &lease, page(0, Some("c1"))).await);
        assert_eq!(append(&store, "U9", b"one").await, 1);
        assert!(store.member_lists().restart_crawl(&lease, Duration::ZERO).await.unwrap());
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!(state.crawl.map(|crawl| (crawl.pages, crawl.restarts)), Some((0, 1)));

        // The next holder knows of the restart; the holder of the lost lease cannot restart.
        let next = acquire(&store).await.unwrap();
        assert_eq!((next.checkpoint.restarts, next.checkpoint.next_page), (1, 0));
        assert!(!store.member_lists().restart_crawl(&lease, LONG).await.unwrap());
        assert!(save(&store, &next, page(0, None)).await);
        assert_eq!(store.member_lists().publish(&next, Duration::ZERO).await.unwrap(), Some(1));
        let state = store.member_lists().state(id()).await.unwrap().unwrap();
        assert_eq!(state.changes_base, 1, "changes before the second start are on its pages");
        assert_eq!(acquire(&store).await.unwrap().checkpoint.restarts, 0);
    }
}

#[tokio::test]
async fn a_cursor_that_came_before_is_not_stored_again() {
    for store in test_stores().await {
        let lease = acquire(&store).await.unwrap();
        assert!(save(&store, &lease, page(0, Some("c1"))).await);
        assert!(save(&store, &lease, page(1, Some("c2"))).await);
        for cursor in ["c1", "c2"] {
            let saved =
                store.member_lists().save_page(&lease, page(2, Some(cursor)), LONG).await.unwrap();
            assert_eq!(saved, Saved::CursorRepeats);
        }
        assert!(save(&store, &lease, page(2, Some("c3"))).await);
        assert!(save(&store, &lease, page(3, None)).await);
        store.member_lists().publish(&lease, Duration::ZERO).await.unwrap().unwrap();
        // The same cursors in the next crawl are not a repetition.
        assert_eq!(crawl(&store).await, 2);
    }
}

#[tokio::test]
async fn a_loss_is_kept_until_it_is_accepted_or_made_good() {
    for store in test_stores().await {
        assert!(!store.member_lists().accept_shrink(id()).await.unwrap(), "there is no directory");
        crawl(&store).await;
        let mut lease = acquire(&store).await.unwrap();
        assert!(save(&store, &lease, page(0, None)).await);
        lease.checkpoint.members = 100;
        assert!(!store.member_lists().accept_shrink(id()).await.unwrap(), "nothing was refused");
        assert!(store.member_lists().refuse_crawl(&lease, "refused", LONG).await.unwrap());
        assert!(
            !store.member_lists().refuse_crawl(&lease, "refused", LONG).await.unwrap(),
            "the lease is no longer held"
        );
        let doubt = async || {
            let state = store.member_lists().state(id()).await.unwrap().unwrap();
            assert_eq!((state.generation, state.members), (1, 200));
            state.shrink.map(|shrink| shrink.doubt)
        };
        assert_eq!(doubt().await, Some(Doubt { members: 100, accepted: false }));
        assert!(acquire(&store).await.is_none(), "not due yet");
        assert!(store.member_lists().accept_shrink(id()).await.unwrap());
        assert_eq!(doubt().await, Some(Doubt { members: 100, accepted: true }));
        let again = acquire(&store).await.unwrap();
        assert_eq!(again.checkpoint.next_page, 0, "the pages are gone");
        assert!(save(&store, &again, page(0, None)).await);
        assert_eq!(store.member_lists().publish(&again, LONG).await.unwrap(), Some(2));
        assert_eq!(store.member_lists().state(id()).await.unwrap().unwrap().shrink, None);
    }
}

#[tokio::test]
async fn who_waits_for_a_page_keeps_lease_and_page_size() {
    for store in test_stores().await {
        let mut lease =
            store.member_lists().acquire_crawl(id(), "one", Duration::ZERO).await.unwrap().unwrap();
        lease.checkpoint.page_size = lease.checkpoint.page_size.smaller().unwrap();
        assert!(store.member_lists().extend_crawl(&lease, LONG).await.unwrap());
        assert!(acquire(&store).await.is_none(), "held");
        let crawl = store.member_lists().state(id()).await.unwrap().unwrap().crawl.unwrap();
        assert_eq!((crawl.holder.as_deref(), crawl.page_size), (Some("one"), 500));
        assert!(
            store
                .member_lists()
                .fail_crawl(&lease, "x", Duration::ZERO, Resume::Checkpoint)
                .await
                .unwrap()
        );
        assert!(!store.member_lists().extend_crawl(&lease, LONG).await.unwrap(), "given back");
        let next = acquire(&store).await.unwrap();
        assert_eq!(next.checkpoint.page_size, lease.checkpoint.page_size);
        assert_eq!(next.checkpoint.failures, 1);
        assert!(!store.member_lists().extend_crawl(&lease, LONG).await.unwrap(), "taken over");
    }
}

#[tokio::test]
async fn a_list_that_moved_is_told_of() {
    for store in test_stores().await {
        let mut hints = store.member_lists().hints();
        append(&store, "U9", b"one").await;
        crawl(&store).await;
        for _ in 0..2 {
            assert_eq!(hints.recv().await.unwrap(), herald::store::Hint::Moved(id()));
        }
        let pointers = store.member_lists().pointers(&[id()]).await.unwrap();
        assert_eq!(pointers.len(), 1);
        assert_eq!((pointers[0].generation, pointers[0].change_sequence), (1, 1));
        assert!(store.member_lists().pointers(&[]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_statistics_count_lists_in_use() {
    for store in test_stores().await {
        let statistics =
            async || store.member_lists().statistics(Duration::from_secs(60)).await.unwrap();
        assert_eq!(statistics().await, herald::store::DirectoryStatistics::default());
        let id = connect_tenant(&store, &TenantId::parse("acme").unwrap(), &installation()).await;
        assert_eq!((statistics().await.in_use, statistics().await.never_read), (1, 1));
        let lease = store.member_lists().acquire_crawl(id, "a", LONG).await.unwrap().unwrap();
        assert!(save(&store, &lease, page(0, None)).await);
        let under_way = statistics().await;
        assert_eq!((under_way.crawling, under_way.crawl_pages), (1, 1));
        assert_eq!(under_way.crawl_members, 100);
        store.member_lists().publish(&lease, Duration::ZERO).await.unwrap().unwrap();
        let raw = store.raw().await;
        raw.execute_unprepared("UPDATE directory SET refreshed_at = 1000").await.unwrap();
        let lease = store.member_lists().acquire_crawl(id, "a", LONG).await.unwrap().unwrap();
        assert!(store.member_lists().refuse_crawl(&lease, "x", LONG).await.unwrap());
        let after = statistics().await;
        assert_eq!((after.never_read, after.crawling, after.crawl_pages), (0, 0, 0));
        assert_eq!((after.stale, after.failing, after.shrink_pending), (1, 1, 1));
        assert!(after.oldest > LONG && after.overdue.is_zero());
    }
}
