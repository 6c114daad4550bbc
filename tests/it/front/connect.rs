//! Connecting a workspace, and the effects of a dead token.

use herald::rpc::pb::{ConnectState, DeliveryState, VerdictKind, WorkspaceState};
use herald::sandbox::browser::{Browser, Decision};
use sea_orm::ConnectionTrait as _;
use url::Url;

use crate::support::client::{notify, task};
use crate::support::world::{Plan, TENANT, for_each_database, until};

fn fresh() -> Plan {
    Plan { ready: false, ..Plan::default() }
}

#[tokio::test]
async fn an_administrator_connects_and_sending_stays_off() {
    fresh()
        .run(async |world| {
            let missing = world.client.workspace(TENANT).await.unwrap_err();
            assert_eq!(missing.code(), tonic::Code::NotFound);

            let page = world.connect(TENANT).await;
            assert_eq!(page.status, 200, "{}", page.html);
            world.members_read(TENANT, 1).await;
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::Completed);
            assert!(!overview.settings.unwrap().sending_allowed);
            let workspace = overview.workspace.unwrap();
            assert_eq!(workspace.state(), WorkspaceState::Active);
            assert_eq!(workspace.team_id, "T0SANDBOX01");
            assert_eq!(workspace.name, "Demo Workspace");
            assert!(workspace.missing_scopes.is_empty(), "{workspace:?}");
            assert!(!workspace.bot_name.is_empty());
            let members = overview.directory.unwrap();
            assert_eq!(members.members, 15);
            assert_eq!((members.without_email, members.deactivated, members.bots), (1, 1, 3));
            assert_eq!(members.matchable, 10);

            world.client.load(&["ben"]).await;
            let request = notify("1", "case.started", &["ben"]);
            let answer = world.client.notify(request).await.unwrap();
            assert_eq!(answer.verdicts[0].kind(), VerdictKind::Suppressed);
            assert!(world.calls("chat.postMessage").is_empty());
        })
        .await;
}

#[tokio::test]
async fn a_link_that_is_canceled_connects_nothing_and_works_once() {
    fresh()
        .run(async |world| {
            let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
            let page = world.decide(&link, Decision::Cancel).await;
            assert_eq!(page.status, 200, "{}", page.html);
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::Denied);
            assert!(overview.workspace.is_none());

            let again = world.decide(&link, Decision::Allow).await;
            assert_eq!(again.status, 410, "{}", again.html);
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert!(overview.workspace.is_none());
        })
        .await;
}

#[tokio::test]
async fn a_state_is_used_once() {
    fresh()
        .run(async |world| {
            let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
            assert_eq!(world.decide(&link, Decision::Allow).await.status, 200);
            let before = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(world.decide(&link, Decision::Allow).await.status, 410);
            let after = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(before.workspace, after.workspace);
            assert_eq!(before.connect_attempt, after.connect_attempt);
            assert_eq!(world.calls("oauth.v2.access").len(), 1);
        })
        .await;
}

#[tokio::test]
async fn an_approval_leaves_the_attempt_waiting_and_connecting_again_completes_it() {
    Plan { require_approval: true, ..fresh() }
        .run(async |world| {
            world.connect(TENANT).await;
            let overview = world.client.workspace(TENANT).await.unwrap();
            let attempt = overview.connect_attempt.unwrap();
            assert_eq!(attempt.state(), ConnectState::AwaitingCallback);
            assert!(attempt.sentence.contains("approval"), "{}", attempt.sentence);
            assert!(overview.workspace.is_none());

            world.sandbox.configure(|options| options.require_approval = false);
            assert_eq!(world.connect(TENANT).await.status, 200);
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::Completed);
        })
        .await;
}

/// Slack did answer; a report that it did not would send people looking in the wrong place.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_reported_as_late() {
    fresh()
        .run(async |world| {
            let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
            let link = Url::parse(&link).unwrap();
            let mut browser = Browser::new().unwrap();
            let consent = browser.open(&link).await.unwrap().way_to_slack().unwrap();
            let back = browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
            let raw = world.raw().await;
            let expire = "UPDATE connect_attempts SET expires_at = created_at - 1";
            raw.execute_unprepared(expire).await.unwrap();
            assert_eq!(browser.open(&back).await.unwrap().status, 410);
            assert_eq!(
                browser.open(&link).await.unwrap().status,
                410,
                "the link does not work either"
            );
            let attempt = world.client.workspace(TENANT).await.unwrap().connect_attempt.unwrap();
            assert_eq!(attempt.state(), ConnectState::Expired);
            assert!(attempt.sentence.contains("after the link had expired"), "{attempt:?}");
        })
        .await;
}

#[tokio::test]
async fn a_dead_token_stops_sending_without_attempts_until_the_reconnect() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.sandbox.revoke_token(None, "token_revoked");
        let mut accepted = Vec::new();
        for text in ["one", "two", "three"] {
            accepted.push(world.client.notify(task(text, &["ben"])).await.unwrap());
        }
        world.called("chat.postMessage", 1).await;
        let overview = until("the dead token is noticed", async || {
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            (workspace.state() == WorkspaceState::ReconnectRequired).then_some(workspace)
        })
        .await;
        assert_eq!(overview.state_reason, "token_revoked");
        for notify in &accepted {
            // The turn that met the dead token settles its message a moment later.
            let waiting = until("no message is being sent", async || {
                let id = &notify.notification_id;
                let delivery =
                    world.client.notification(TENANT, id).await.unwrap().deliveries.remove(0);
                (delivery.state() == DeliveryState::Pending).then_some(delivery)
            });
            let waiting = waiting.await;
            assert_eq!(waiting.attempts, 0, "{waiting:?}");
        }
        assert!(world.sandbox.messages().is_empty());

        assert_eq!(world.connect(TENANT).await.status, 200);
        let messages = world.settled().await;
        let texts: Vec<_> = messages.iter().map(|message| message.text.as_str()).collect();
        assert_eq!(texts.len(), 3);
        for (text, word) in texts.iter().zip(["one", "two", "three"]) {
            assert!(text.contains(word), "{texts:?}");
        }
        for notify in &accepted {
            let sent = world.client.notification(TENANT, &notify.notification_id).await.unwrap();
            let delivery = &sent.deliveries[0];
            assert_eq!(delivery.state(), DeliveryState::Sent);
            assert_eq!(delivery.attempts, 1, "{delivery:?}");
        }
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(workspace.state(), WorkspaceState::Active);
    })
    .await;
}
