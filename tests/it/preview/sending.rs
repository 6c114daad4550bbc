//! A preview that one person gets in Slack.

use std::time::Duration;

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind, StoredMessage};
use tonic::Code;

use super::{data, preview, request, shows, simple};
use crate::support::client::{demo_person, person, reason, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

fn to(user: &str) -> pb::PreviewTemplateRequest {
    pb::PreviewTemplateRequest {
        source: Some(data("Sign the contract")),
        send_to_user_id: user.into(),
        ..request()
    }
}

/// The delivery of the message, by its metadata.
fn delivery(message: &StoredMessage) -> &str {
    message.metadata["event_payload"]["delivery_id"].as_str().unwrap()
}

async fn sent(world: &World, user: &str, count: usize) -> (pb::SentPreview, StoredMessage) {
    let shown = preview(world, to(user)).await;
    let message = world.messages(count).await.pop().unwrap();
    // The answer does not name the delivery.
    world.replayed(delivery(&message));
    (shown.sent.unwrap(), message)
}

#[tokio::test]
async fn it_is_marked_and_arrives_whatever_is_switched_off() {
    for_each_database(async |world| {
        let mut german = demo_person("ben");
        german.locale = "de".into();
        world.client.upsert(TENANT, vec![german, demo_person("ada")]).await;
        world.client.switch_sending(TENANT, false).await;
        let off = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            event_type: String::new(),
            value: pb::PreferenceValue::Off.into(),
            actor: None,
        };
        world.client.set_preference(off).await.unwrap();
        let (sent_to, message) = sent(world, "ben", 1).await;
        assert_eq!(sent_to.slack_user_id, "U0DEMOBEN");
        assert_eq!(message.user.as_deref(), Some("U0DEMOBEN"));
        assert_eq!((sent_to.channel_id, sent_to.ts), (message.conversation, message.ts));
        let mark = "Vorschau von task.assigned · nicht an andere gesendet";
        assert_eq!(message.blocks[0]["type"], "context");
        assert_eq!(message.blocks[0]["elements"][0]["text"], mark);
        assert!(message.text.starts_with(mark), "{}", message.text);
        // The message itself is the one that the request asks for: in the tenant's language.
        assert!(message.text.contains("New task for you: Sign the contract"), "{}", message.text);
        assert!(message.blocks.to_string().contains("Open task"));

        let (_, message) = sent(world, "ada", 2).await;
        let mark = "Preview of task.assigned · not sent to anyone else";
        assert_eq!(message.blocks[0]["elements"][0]["text"], mark);
    })
    .await;
}

#[tokio::test]
async fn a_deactivated_member_is_named_and_not_mentioned() {
    for_each_database(async |world| {
        let ben = pb::Person { display_name: "Ben Sample".into(), ..demo_person("ben") };
        world.client.upsert(TENANT, vec![ben, demo_person("ada")]).await;
        let found = world.client.notify(task("Find ben", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &found.notification_id).await;
        let by_ben = || pb::PreviewTemplateRequest {
            template: Some(simple("en", "Task", "By {{ task.name | mention }}")),
            source: Some(data("ben")),
            ..to("ada")
        };
        let mentioned = preview(world, by_ben()).await;
        assert!(shows(&mentioned, "By <@U0DEMOBEN>"), "{:?}", mentioned.blocks);
        let message = world.messages(2).await.pop().unwrap();
        world.replayed(delivery(&message));
        assert!(message.text.contains("By <@U0DEMOBEN>"), "{}", message.text);

        world.sandbox.deactivate("U0DEMOBEN");
        // A test looks up the one person in Slack, and all replicas learn the answer.
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("ben".into())),
            actor: None,
        };
        world.client.test_slack(request).await.unwrap();
        let named = preview(world, by_ben()).await;
        assert!(shows(&named, "By Ben Sample") && !shows(&named, "<@"), "{:?}", named.blocks);
        let message = world.messages(3).await.pop().unwrap();
        world.replayed(delivery(&message));
        let text = &message.text;
        assert!(text.contains("By Ben Sample") && !text.contains("<@"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_person_without_a_member_is_an_error_that_says_why() {
    for_each_database(async |world| {
        world.client.upsert(TENANT, vec![person("gone", "gone@demo.example")]).await;
        let refused = world.client.preview_template(to("gone")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "NO_SLACK_MEMBER");
        let sentence = "No member of the connected workspace has this value.";
        assert!(refused.message().ends_with(sentence), "{refused}");
        let stranger = world.client.preview_template(to("nobody")).await.unwrap_err();
        assert_eq!(stranger.code(), Code::NotFound);
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_message_that_slack_refuses_is_an_error_with_its_code() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let kind = FaultKind::Error { code: "messages_tab_disabled".into() };
        world.sandbox.script(Fault::new("chat.postMessage", kind).times(1));
        let refused = world.client.preview_template(to("ben")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "PREVIEW_NOT_SENT");
        assert!(refused.message().contains("messages_tab_disabled"), "{refused}");
    })
    .await;
}

/// The caller makes such a call again, and the person must not get the preview twice.
#[tokio::test]
async fn nothing_is_sent_if_the_page_cannot_be_stored() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.execute("ALTER TABLE previews RENAME TO previews_away").await.unwrap();
        let wanted = pb::PreviewTemplateRequest { open_in_browser: true, ..to("ben") };
        assert!(world.client.preview_template(wanted.clone()).await.is_err());
        world.execute("ALTER TABLE previews_away RENAME TO previews").await.unwrap();
        let shown = world.client.preview_template(wanted).await.unwrap();
        assert!(!shown.browser_url.is_empty() && !shown.sent.unwrap().ts.is_empty());
        let message = world.messages(1).await.remove(0);
        world.replayed(delivery(&message));
    })
    .await;
}

#[tokio::test]
async fn without_a_workspace_nothing_is_sent() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, vec![demo_person("ben")]).await;
        let refused = world.client.preview_template(to("ben")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "NOT_CONNECTED");
    })
    .await;
}

#[tokio::test]
async fn within_its_deadline_it_says_that_the_message_waits() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // At this scale, an hour takes more than a minute.
        world.throttle("U0DEMOBEN", 3600);
        let mut call = tonic::Request::new(to("ben"));
        call.set_timeout(Duration::from_secs(3));
        let shown = world.client.preview_template(call).await.unwrap();
        let sent = shown.sent.unwrap();
        assert_eq!(sent.slack_user_id, "U0DEMOBEN");
        assert!(sent.channel_id.is_empty() && sent.ts.is_empty(), "{sent:?}");
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}
