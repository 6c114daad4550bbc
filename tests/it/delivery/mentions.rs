//! The people that a message mentions are named as they are when it is sent.

use herald::domain::delivery::State;
use herald::domain::delivery::subject::Action;
use herald::domain::identity::person::Person;
use herald::domain::ids::{EventType, InstallationId, SlackUserId, SubjectKey, TenantId};
use herald::domain::message::render::{Context, Reader, Template, render};
use herald::domain::settings::{Identity, Rule};
use herald::domain::time::Timestamp;
use herald::store::{Accept, DeliveryKind, NotificationTerms};
use serde_json::json;

use super::{World, accept_of, tenant, user, worlds};

/// A mention of this lane's user, as a template writes it.
fn mention(lane: &str) -> String {
    let text = "{{ id | mention('Nora') }}".to_owned();
    let context = Context {
        event: &EventType::parse("own.type").unwrap(),
        data: &json!({ "id": user(lane).as_str() }),
        reader: &Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() },
        link: None,
        button: "Open",
        now: Timestamp(0),
    };
    render(&Template { text, blocks: "[]".into() }, &context).unwrap().text
}

/// Stores the member `U30` for this lane's user.
async fn identify(world: &World, tenant: &TenantId, lane: &str, installation: InstallationId) {
    let identity = Identity {
        slack_user_id: SlackUserId::parse("U30").unwrap(),
        display_name: "Member".into(),
        rule: Rule::Matched,
        installation,
        stored_at: Timestamp(0),
    };
    world.store.people().store_identity(tenant, &user(lane), &identity).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mention_is_a_member_of_this_workspace_or_a_name() {
    for world in worlds().await {
        let text = format!("By {}, {} and {}", mention("U2"), mention("U3"), mention("U4"));
        let id = world.post("U1", &text).await;
        // All of this is known after the message was accepted.
        world.identify("U2", "U20").await;
        let named = Person { display_name: Some("Cy <!here>".into()), ..Person::bare(user("U3")) };
        world.store.people().upsert(&tenant(), &[named]).await.unwrap();
        let elsewhere = InstallationId(uuid::Uuid::from_u128(7));
        identify(&world, &tenant(), "U3", elsewhere).await;
        let other = TenantId::parse("other").unwrap();
        world.store.tenancy().ensure_tenant(&other).await.unwrap();
        identify(&world, &other, "U4", world.installation).await;
        let running = world.start();
        assert_eq!(world.ended(id).await.state, State::Sent);
        assert_eq!(world.texts(), ["By <@U20>, Cy ‹!here› and Nora"]);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_struck_through_names_people_anew() {
    for world in worlds().await {
        let text = format!("By {}", mention("U2"));
        let about = async |action: Action| {
            let new = world.message("U1", &text, DeliveryKind::Normal);
            let id = new.id;
            let subject = Some(SubjectKey::parse("task:1").unwrap());
            let about = NotificationTerms { subject, action, deliver_after: None };
            world.store.outbox().accept(Accept { about, ..accept_of(vec![new]) }).await.unwrap();
            id
        };
        let running = world.start();
        let posted = about(Action::Post).await;
        assert_eq!(world.ended(posted).await.state, State::Sent);
        assert_eq!(world.texts(), ["By Nora"]);
        world.identify("U2", "U20").await;
        let done = about(Action::Done).await;
        assert_eq!(world.ended(done).await.state, State::Sent);
        assert_eq!(world.texts(), ["✔ ~By <@U20>~"]);
        running.drain().await;
    }
}
