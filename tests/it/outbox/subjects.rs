//! A call about a subject and the worker that sends an earlier message meet at that message: one of
//! them waits, and then sees the other's result.

use herald::domain::delivery::State;
use herald::domain::delivery::subject::Action;
use herald::domain::ids::{DeliveryId, SubjectKey};
use herald::store::{Accept, Backend, NotificationTerms};
use sea_orm::{ConnectionTrait as _, Statement, TransactionTrait as _};

use super::{call, delivery, intend_post, lane, record};
use crate::support::process::until;
use crate::support::store::test_stores;

/// A message to one person about one subject.
fn about(request: &str, action: Action) -> (Accept, DeliveryId) {
    let mut accept = call(request, vec![delivery(lane("U1"))]);
    let subject = Some(SubjectKey::parse("task:1").unwrap());
    accept.about = NotificationTerms { subject, action, deliver_after: None };
    let id = accept.deliveries[0].id;
    (accept, id)
}

/// The intent of a request is uncommitted when a replacement is accepted. The replacement must see
/// it; otherwise the text comes twice, as a separate message beside the one to replace.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_waits_for_who_is_about_to_send() {
    for store in test_stores().await {
        if store.backend() == Backend::Sqlite {
            continue; // One writer at a time.
        }
        let (first, old) = about("r1", Action::Post);
        store.outbox().accept(first).await.unwrap();
        let raw = store.raw().await;
        let intent = raw.begin().await.unwrap();
        let sql =
            format!("UPDATE deliveries SET state = 'sending', attempt = 1 WHERE id = '{old}'");
        intent.execute_unprepared(&sql).await.unwrap();
        let (second, new) = about("r2", Action::Replace);
        let other = store.store.clone();
        let accepting = tokio::spawn(async move { other.outbox().accept(second).await });
        until("the replacement waits", async || {
            let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                AND datname = current_database()";
            let query = Statement::from_string(raw.get_database_backend(), sql);
            raw.query_one_raw(query).await.unwrap().map(drop)
        })
        .await;
        intent.commit().await.unwrap();
        accepting.await.unwrap().unwrap();
        assert_eq!(record(&store, old).await.state, State::Sending);
        assert_eq!(record(&store, new).await.action, Action::Replace);
    }
}

/// The reverse: an overtaken message is not sent, though its lane was claimed before.
#[tokio::test]
async fn what_was_overtaken_after_the_claim_is_not_sent() {
    for store in test_stores().await {
        let (first, old) = about("r1", Action::Post);
        store.outbox().accept(first).await.unwrap();
        let (claim, head) = super::head(&store).await;
        assert_eq!(head.delivery, old);
        let (second, new) = about("r2", Action::Replace);
        store.outbox().accept(second).await.unwrap();
        assert_eq!(intend_post(store.outbox(), &claim, old, super::LEASE).await.unwrap(), None);
        assert_eq!(record(&store, old).await.state, State::Canceled);
        assert_eq!(record(&store, new).await.action, Action::Post);
    }
}
