//! The end of an installation, reported in time or too late (faults.md, 33).

use herald::rpc::pb::{DeliveryState, WorkspaceState};
use serde_json::json;

use super::{applied, envelope, knock, listen, metric, now};
use crate::support::client::notify;
use crate::support::world::{TENANT, World, for_each_database};

const EVENTS: &str = "herald_slack_events_total";

async fn state(world: &World) -> (WorkspaceState, String) {
    let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
    (workspace.state(), workspace.state_reason)
}

#[tokio::test]
async fn the_end_is_noticed_before_the_next_message() {
    for_each_database(async |world| {
        listen(world);
        world.sandbox.uninstall();
        applied(world, 2).await;
        let (state, reason) = state(world).await;
        assert_eq!(state, WorkspaceState::ReconnectRequired);
        assert_eq!(reason, "account_inactive");
        assert_eq!(world.calls("auth.test").len(), 2, "once to connect, once to make sure");
    })
    .await;
}

#[tokio::test]
async fn late_news_of_the_one_before_leaves_a_fresh_installation_unharmed() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // The end goes unnoticed; then the workspace is connected again.
        world.sandbox.uninstall();
        assert_eq!(world.connect(TENANT).await.status, 200);
        super::progress(world).await;
        let asked = world.calls("auth.test").len();
        for (number, inner) in [
            json!({ "type": "tokens_revoked", "tokens": { "oauth": [], "bot": ["U0SANDBOXBOT"] } }),
            json!({ "type": "app_uninstalled" }),
        ]
        .into_iter()
        .enumerate()
        {
            // From just before the connection, as far as clocks can show; twice, in the wrong
            // order.
            for _ in 0..2 {
                let body = envelope(&format!("Ev{number}"), inner.clone());
                assert_eq!(knock(world, 0, &body).await.status(), 200);
            }
            // Certainly older than the connection, so Slack need not be asked.
            let mut old = envelope(&format!("EvOld{number}"), inner);
            old["event_time"] = json!(now() - 3600);
            assert_eq!(knock(world, 0, &old).await.status(), 200);
        }
        assert_eq!(applied(world, 4).await, 0);
        assert_eq!(state(world).await.0, WorkspaceState::Active);
        assert_eq!(world.calls("auth.test").len(), asked + 2);
        assert_eq!(metric(world, 0, EVENTS, r#"result="survived""#).await, 2);
        assert_eq!(metric(world, 0, EVENTS, r#"result="outdated""#).await, 2);
        let answer = world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Sent);
    })
    .await;
}
