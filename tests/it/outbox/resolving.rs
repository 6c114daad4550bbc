//! Deliveries that wait for a member.

use herald::domain::delivery::State;
use herald::domain::ids::{SlackUserId, UserId};
use herald::domain::reason::{Failure, NoMatch};
use herald::domain::settings::{Identity, Rule};
use herald::domain::time::Timestamp;
use herald::store::{Accept, End, NewDelivery, ResolveOutcome, Target};
use sea_orm::ConnectionTrait as _;

use super::tenant;
use super::{
    HOUR, LEASE, call, delivered, delivery, head, installation, post, record, resolving_due,
    sending, settled,
};
use crate::support::store::test_stores;

fn unresolved(request: &str) -> Accept {
    let mut call = call(request, vec![delivery(Target::Resolving)]);
    call.deliveries[0].content = None;
    call
}

#[tokio::test]
async fn what_resolved_joins_the_tail_rendered_and_its_identity_is_stored() {
    for store in test_stores().await {
        let call = unresolved("r1");
        let id = call.deliveries[0].id;
        store.outbox().accept(call.clone()).await.unwrap();
        let before = post(&store, "U1").await;
        let due = resolving_due(&store.raw().await, &tenant()).await.unwrap();
        assert!(due <= store.now().await.unwrap(), "it can be claimed at once");
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
        let given = (id, call.data.as_slice(), &call.link);
        assert_eq!((claimed.delivery, &*claimed.data, &claimed.link), given);
        assert!(store.waiting().claim_resolving(10, LEASE).await.unwrap().is_empty());
        let identity = Identity {
            slack_user_id: SlackUserId::parse("U1").unwrap(),
            display_name: "someone".into(),
            rule: Rule::Matched,
            installation: installation(),
            stored_at: Timestamp(0),
        };
        let lane = ResolveOutcome::Lane {
            installation: installation(),
            lane: "U1".into(),
            content: Some(b"rendered now".to_vec()),
            identity: Some(identity),
        };
        let state = store.waiting().settle_resolving(claimed.token, id, &lane, None).await.unwrap();
        assert_eq!(state, Some(State::Pending));
        let (held, first) = sending(&store).await;
        assert_eq!(first, before);
        assert!(settled(&store, &held, first, &delivered()).await);
        let (_, resolved) = head(&store).await;
        assert_eq!(resolved.delivery, id);
        assert_eq!(resolved.content.as_deref(), Some(b"rendered now".as_slice()));
        let user = UserId::parse("someone").unwrap();
        let stored = store.people().get(&tenant(), &user).await.unwrap().unwrap().identity.unwrap();
        assert_eq!(stored.slack_user_id.as_str(), "U1");
    }
}

/// Two recipients of one notification are resolved at the same time, by two workers, and are one
/// member: the second gets no separate message.
#[tokio::test(flavor = "multi_thread")]
async fn two_recipients_who_are_one_member_get_one_message() {
    for store in test_stores().await {
        for round in 0..10 {
            let mut call = unresolved(&format!("r{round}"));
            call.deliveries.push(NewDelivery {
                user: Some(UserId::parse("someone else").unwrap()),
                content: None,
                ..delivery(Target::Resolving)
            });
            store.outbox().accept(call).await.unwrap();
            let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
            let lane = ResolveOutcome::Lane {
                installation: installation(),
                lane: "U1".into(),
                content: Some(b"rendered".to_vec()),
                identity: None,
            };
            let (one, two) = (&claimed[0], &claimed[1]);
            let (first, second) = tokio::join!(
                store.waiting().settle_resolving(one.token, one.delivery, &lane, None),
                store.waiting().settle_resolving(two.token, two.delivery, &lane, None),
            );
            assert!(first.unwrap().is_some() && second.unwrap().is_some());
            let (one, two) =
                (record(&store, one.delivery).await, record(&store, two.delivery).await);
            let (sent, twin) = if one.state == State::Pending { (one, two) } else { (two, one) };
            assert_eq!((sent.state, twin.state), (State::Pending, State::Suppressed));
            assert_eq!(twin.reason.as_deref(), Some("same_member"));
        }
    }
}

#[tokio::test]
async fn not_yet_waits_and_an_end_says_why() {
    for store in test_stores().await {
        let mut ended = store.outbox().ended();
        let call = unresolved("r1");
        let id = call.deliveries[0].id;
        store.outbox().accept(call).await.unwrap();
        let token = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0).token;
        let again = ResolveOutcome::Again { after: HOUR };
        let settled = store.waiting().settle_resolving(token, id, &again, None).await.unwrap();
        assert_eq!(settled, Some(State::Resolving));
        assert!(store.waiting().claim_resolving(10, LEASE).await.unwrap().is_empty());
        let raw = store.raw().await;
        let due = resolving_due(&raw, &tenant()).await.unwrap();
        assert!(due.since(store.now().await.unwrap()) > HOUR / 2);
        raw.execute_unprepared("UPDATE deliveries SET due_at = 0").await.unwrap();
        let token = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0).token;
        let end = ResolveOutcome::End(End::Unreachable(NoMatch::NoMember));
        let settled = store.waiting().settle_resolving(token, id, &end, None).await.unwrap();
        assert_eq!(settled, Some(State::Unreachable));
        let record = record(&store, id).await;
        assert_eq!(
            (record.state, record.reason.as_deref()),
            (State::Unreachable, Some("no_member"))
        );
        assert_eq!(ended.recv().await.unwrap(), id);
    }
}

#[tokio::test]
async fn a_damaged_notification_fails_and_does_not_hold_back_the_others() {
    for store in test_stores().await {
        let (damaged, whole) = (unresolved("r1"), unresolved("r2"));
        let id = whole.deliveries[0].id;
        let sql = format!("UPDATE notifications SET link = data WHERE id = '{}'", damaged.id);
        let other = damaged.deliveries[0].id;
        store.outbox().accept(damaged).await.unwrap();
        store.outbox().accept(whole).await.unwrap();
        store.raw().await.execute_unprepared(&sql).await.unwrap();
        let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap();
        let damage = |id| claimed.iter().find(|one| one.delivery == id).unwrap().damaged;
        assert!(damage(other) && !damage(id));
        let end = ResolveOutcome::End(End::Failed(Failure::Damaged));
        let settled =
            store.waiting().settle_resolving(claimed[0].token, other, &end, None).await.unwrap();
        assert_eq!(settled, Some(State::Failed));
        let failed = record(&store, other).await;
        assert_eq!(failed.state, State::Failed);
        assert_eq!(failed.reason.as_deref(), Some("content_unreadable"));
    }
}
