//! Messages accepted before the member list was read.

use herald::domain::capacity::priority::Priority;
use herald::domain::delivery::State;
use herald::domain::identity::person::Person;
use herald::domain::ids::{DeliveryId, TenantId};
use herald::domain::message::stored;
use herald::store::{Accept, DeliveryKind, NewDelivery, Target};
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{HOUR, World, accept_of, tenant, user, worlds};

async fn accept(world: &World, lane: &str, email: &str) -> DeliveryId {
    accept_for(world, &tenant(), lane, email).await
}

pub(super) async fn accept_for(
    world: &World,
    who: &TenantId,
    lane: &str,
    email: &str,
) -> DeliveryId {
    let person = Person { email: Some(email.into()), ..Person::bare(user(lane)) };
    world.store.people().upsert(who, &[person]).await.unwrap();
    let id = DeliveryId(uuid::Uuid::now_v7());
    let new = NewDelivery {
        id,
        user: Some(user(lane)),
        channel: None,
        target: Target::Resolving,
        content: None,
        kind: DeliveryKind::Normal,
        priority: Priority::Normal,
        also: Vec::new(),
        trace: None,
    };
    let accept = Accept { tenant: who.clone(), ..accept_of(vec![new]) };
    world.store.outbox().accept(accept).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_out_once_the_list_is_there() {
    for world in worlds().await {
        let known = accept(&world, "U1", "Person1@example.com").await;
        let unknown = accept(&world, "U2", "nobody@example.com").await;
        let running = world.start();
        let stop = CancellationToken::new();
        let refresher = tokio::spawn(world.directory.clone().run_refresher(stop.clone()));
        world.directory.refresh_soon(world.installation).await.unwrap();
        let record = world.ended(known).await;
        assert_eq!((record.state, record.lane.as_deref()), (State::Sent, Some("U1")));
        let messages = world.sandbox.messages();
        assert_eq!(messages[0].user.as_deref(), Some("U1"));
        assert!(messages[0].text.contains("Sign"), "{}", messages[0].text);
        let record = world.ended(unknown).await;
        assert_eq!(record.state, State::Unreachable);
        assert_eq!(record.reason.as_deref(), Some("no_member"));
        let person = world.store.people().get(&tenant(), &user("U1")).await.unwrap().unwrap();
        assert_eq!(person.identity.unwrap().slack_user_id.as_str(), "U1");
        stop.cancel();
        refresher.await.unwrap();
        running.drain().await;
    }
}

/// The next check is due in an hour; once the list is there, nothing waits that long.
#[tokio::test(flavor = "multi_thread")]
async fn the_arrival_of_a_list_is_answered_at_once() {
    for world in worlds().await {
        let raw = world.store.raw().await;
        let waits = accept(&world, "U1", "Person1@example.com").await;
        let running = world.start();
        world.until(waits, |record| record.updated_at > record.created_at).await;
        let later = format!(
            "UPDATE deliveries SET due_at = due_at + {}, lease_token = NULL",
            HOUR.as_micros()
        );
        raw.execute_unprepared(&later).await.unwrap();
        let stop = CancellationToken::new();
        let follower = tokio::spawn(world.directory.clone().run_follower(stop.clone()));
        let refresher = tokio::spawn(world.directory.clone().run_refresher(stop.clone()));
        world.directory.refresh_soon(world.installation).await.unwrap();
        assert_eq!(world.ended(waits).await.state, State::Sent);
        stop.cancel();
        follower.await.unwrap();
        refresher.await.unwrap();
        running.drain().await;
    }
}

/// The words of a tenant are stored with a notification only if a message is written later.
#[tokio::test(flavor = "multi_thread")]
async fn a_written_message_whose_workspace_changes_keeps_its_words() {
    for world in worlds().await {
        let (_, elsewhere) = world.neighbour().await;
        let email = Some("Person1@example.com".to_owned());
        let person = Person { email, ..Person::bare(user("U1")) };
        world.store.people().upsert(&tenant(), &[person]).await.unwrap();
        let new = NewDelivery {
            user: Some(user("U1")),
            target: Target::Lane { installation: elsewhere, lane: "U9".into() },
            ..world.message("U1", "The words of the tenant", DeliveryKind::Normal)
        };
        let id = new.id;
        let data = stored::all_written(&json!({ "task": { "name": "Sign" } })).unwrap();
        let accept = Accept { data, ..accept_of(vec![new]) };
        world.store.outbox().accept(accept).await.unwrap();
        let running = world.start();
        let stop = CancellationToken::new();
        let refresher = tokio::spawn(world.directory.clone().run_refresher(stop.clone()));
        world.directory.refresh_soon(world.installation).await.unwrap();
        let record = world.ended(id).await;
        assert_eq!((record.state, record.lane.as_deref()), (State::Sent, Some("U1")));
        assert_eq!(world.texts(), ["The words of the tenant"]);
        stop.cancel();
        refresher.await.unwrap();
        running.drain().await;
    }
}
