//! People who cannot be reached, with the reason; people who cannot be reached yet; and channels.

use herald::rpc::pb::recipient::Target;
use herald::rpc::pb::{
    DeliveryState, NoMatchReason, NotifyRequest, Settings, Verdict, VerdictKind,
};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::support::client::{fields, notify, notify_targets, person, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// The verdict on one user.
async fn verdict(world: &World, request_id: &str, user: &str) -> Verdict {
    let request = notify(request_id, "case.started", &[user]);
    world.client.notify(request).await.unwrap().verdicts.remove(0)
}

async fn map(world: &World, user: &str, slack: &str) {
    let settings = Settings {
        user_attribute: user.into(),
        slack_attribute: slack.into(),
        ..Settings::default()
    };
    let paths = ["user_attribute", "slack_attribute"];
    world.client.set(TENANT, settings, &paths).await.unwrap();
}

#[tokio::test]
async fn every_reason_is_told() {
    for_each_database(async |world| {
        let badge = |user: &str, badge: &str| {
            let attributes = Some(fields(json!({ "badge": badge })));
            herald::rpc::pb::Person { attributes, ..person(user, "") }
        };
        let people = vec![
            person("nobody", "nobody@demo.example"),
            person("empty", ""),
            badge("ida", "ida.demo"),
            badge("jonas", "jonas.demo"),
            badge("bot", "deploybot"),
            badge("engineer", "Engineer"),
        ];
        world.client.upsert(TENANT, people).await;
        // A person with an address is looked up in Slack first; from then on the answer is known.
        let asked = world.client.notify(notify("asked", "case.started", &["nobody"])).await;
        world.client.ended(TENANT, &asked.unwrap().notification_id).await;
        let cases = [
            ("email", "profile.email", "nobody", NoMatchReason::NoMember),
            ("email", "profile.email", "stranger", NoMatchReason::NoUserValue),
            ("email", "profile.email", "empty", NoMatchReason::NoUserValue),
            ("badge", "name", "ida", NoMatchReason::MemberWithoutEmail),
            ("badge", "name", "jonas", NoMatchReason::MemberDeactivated),
            ("badge", "name", "bot", NoMatchReason::MemberIsBot),
            ("badge", "profile.title", "engineer", NoMatchReason::Ambiguous),
            ("badge", "profile.nothing", "ida", NoMatchReason::SlackAttributeEmpty),
        ];
        for (number, (user, slack, who, reason)) in cases.into_iter().enumerate() {
            map(world, user, slack).await;
            let verdict = verdict(world, &number.to_string(), who).await;
            assert_eq!(verdict.kind(), VerdictKind::Unreachable, "{who}");
            let told = verdict.no_match.unwrap();
            assert_eq!(told.reason(), reason, "{who}");
            assert_eq!(told.members_without_email, 1, "Ida");
            assert_eq!(told.sentence, verdict.sentence);
        }
        world.settled().await;
        assert!(world.calls("chat.postMessage").is_empty());

        world.client.switch_sending("unconnected", true).await;
        let elsewhere = NotifyRequest {
            tenant_id: "unconnected".into(),
            ..notify("1", "case.started", &["nobody"])
        };
        let verdict = world.client.notify(elsewhere).await.unwrap().verdicts.remove(0);
        assert_eq!(verdict.no_match.unwrap().reason(), NoMatchReason::NotConnected);
    })
    .await;
}

#[tokio::test]
async fn what_is_accepted_before_the_members_were_read_is_delivered_after() {
    Plan { ready: false, ..Plan::default() }
        .run(async |world| {
            let kind = FaultKind::Status { code: 503, body: String::new(), retry_after: None };
            world.sandbox.script(Fault::new("users.list", kind));
            assert_eq!(world.connect(TENANT).await.status, 200);
            world.client.switch_sending(TENANT, true).await;
            world.client.load(&["ben", "ida"]).await;
            world.called("users.list", 1).await;
            let answer = world.client.notify(task("early", &["ben", "ida"])).await.unwrap();
            for verdict in &answer.verdicts {
                assert_eq!(verdict.kind(), VerdictKind::Queued);
                assert!(verdict.member.is_none());
            }
            let id = &answer.notification_id;
            let told = world.client.notification(TENANT, id).await.unwrap();
            for delivery in &told.deliveries {
                assert_eq!(delivery.state(), DeliveryState::Resolving);
            }
            world.sandbox.clear_faults();
            let deliveries = world.client.ended(TENANT, id).await;
            let state = |user: &str| {
                deliveries.iter().find(|delivery| delivery.user_id == user).unwrap().state()
            };
            assert_eq!(state("ben"), DeliveryState::Sent);
            assert_eq!(state("ida"), DeliveryState::Unreachable);
            let messages = world.messages(1).await;
            assert_eq!(messages[0].user.as_deref(), Some("U0DEMOBEN"));
        })
        .await;
}

#[tokio::test]
async fn a_channel_gets_posts_where_the_bot_is_in_it() {
    for_each_database(async |world| {
        let scopes = world.client.workspace(TENANT).await.unwrap().workspace.unwrap().scopes;
        let narrow: Vec<_> = scopes.iter().map(String::as_str).collect();
        let narrow: Vec<_> = narrow.into_iter().filter(|it| *it != "chat:write.public").collect();
        world.sandbox.set_scopes(&narrow);
        let bot = world.sandbox.bot_user_id();
        let with = world.sandbox.create_channel("news", false, &[&bot]);
        let without = world.sandbox.create_channel("elsewhere", false, &["U0DEMOBEN"]);
        let private = world.sandbox.create_channel("secret", true, &["U0DEMOBEN"]);
        let to = [&with, &without, &private].map(|id| Target::ChannelId(id.clone()));
        let request = notify_targets("1", "process.imported", to);
        let answer = world.client.notify(request).await.unwrap();
        let deliveries = world.client.ended(TENANT, &answer.notification_id).await;
        let of = |channel: &str| {
            deliveries.iter().find(|delivery| delivery.slack_target == channel).unwrap()
        };
        assert_eq!(of(&with).state(), DeliveryState::Sent);
        assert!(of(&with).user_id.is_empty());
        for (channel, code) in [(&without, "not_in_channel"), (&private, "channel_not_found")] {
            let delivery = of(channel);
            assert_eq!(delivery.state(), DeliveryState::Failed);
            assert_eq!((delivery.reason.as_str(), delivery.code.as_str()), ("rejected", code));
            assert!(delivery.sentence.contains("invite the bot"), "{}", delivery.sentence);
            assert_eq!(delivery.attempts, 1);
        }
        let messages = world.messages(1).await;
        assert_eq!(messages[0].conversation, with);
    })
    .await;
}
