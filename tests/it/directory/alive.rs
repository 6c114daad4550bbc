//! Whether an account is in use, if the list that its member was found in is old.

use herald::rpc::pb;

use super::{state, who};
use crate::support::client::task;
use crate::support::world::{Plan, TENANT, until};

#[tokio::test]
async fn who_was_deactivated_since_an_old_list_gets_nothing() {
    // Old after two seconds; read again twenty minutes later.
    let plan = Plan {
        adjust: |settings| {
            settings.directory.refresh_seconds = 60_000;
            settings.delivery.confirm_after_seconds = 100;
        },
        ..Plan::default()
    };
    plan.run(async |world| {
        world.client.load(&["ada", "ben"]).await;
        // No event reports it; Slack accepts messages to closed accounts, and answers ok.
        world.sandbox.deactivate("U0DEMOBEN");
        until("the list is old", async || {
            state(world).await.age.is_some_and(|age| age.seconds >= 3).then_some(())
        })
        .await;
        let asked = || {
            let calls = world.calls("users.info");
            calls.iter().map(|call| call.args["user"].to_string()).collect::<Vec<_>>()
        };
        assert!(asked().is_empty());
        let to_ben = world.client.notify(task("to ben", &["ben"])).await.unwrap();
        assert_eq!(to_ben.verdicts[0].kind(), pb::VerdictKind::Queued, "as far as the list knows");
        let ended = world.client.ended(TENANT, &to_ben.notification_id).await.remove(0);
        assert_eq!(
            (ended.state(), &*ended.reason),
            (pb::DeliveryState::Failed, "recipient_deactivated")
        );
        assert_eq!(asked(), [r#""U0DEMOBEN""#]);
        let to_ada = world.client.notify(task("to ada", &["ada"])).await.unwrap();
        let ended = world.client.ended(TENANT, &to_ada.notification_id).await.remove(0);
        assert_eq!(ended.state(), pb::DeliveryState::Sent);
        assert_eq!(asked(), [r#""U0DEMOBEN""#, r#""U0DEMOADA""#]);
        assert_eq!(world.messages(1).await[0].user.as_deref(), Some("U0DEMOADA"));

        // From then on, Slack's answer is known.
        let known = who(&world.client, "ben@demo.example").await;
        assert_eq!(known.no_match.unwrap().reason(), pb::NoMatchReason::MemberDeactivated);
        let again = world.client.notify(task("again", &["ben"])).await.unwrap();
        assert_eq!(again.verdicts[0].kind(), pb::VerdictKind::Unreachable);
        assert_eq!(asked().len(), 2);
    })
    .await;
}
