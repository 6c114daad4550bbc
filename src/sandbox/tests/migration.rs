//! Workspaces that move into an Enterprise organization.

use serde_json::{Value, json};

use super::happenings::next;
use super::pushes::app;
use super::{Config, config, start};

#[tokio::test]
async fn methods_are_away_during_a_move_and_people_have_other_ids_after_it() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    let open = json!({ "users": "U0DEMOADA" });
    let opened = slack.json("conversations.open", open.clone()).await;
    assert!(!slack.sandbox.finish_migration(), "no workspace is moving");
    slack.sandbox.migrate_to_org("E0GRID");
    let told = next(&mut received).await;
    assert_eq!(
        (&told["type"], &told["enterprise_id"]),
        (&json!("grid_migration_started"), &json!("E0GRID"))
    );
    for method in ["auth.test", "users.list", "conversations.list"] {
        assert_eq!(slack.form(method, &[]).await["error"], "team_added_to_org", "{method}");
    }
    assert!(slack.sandbox.finish_migration());
    assert_eq!(next(&mut received).await["type"], "grid_migration_finished");

    let test = slack.form("auth.test", &[]).await;
    assert_eq!((&test["ok"], &test["enterprise_id"]), (&json!(true), &json!("E0GRID")));
    let members = slack.form("users.list", &[]).await["members"].take();
    let ids: Vec<_> = members.as_array().unwrap().iter().map(|member| &member["id"]).collect();
    assert!(ids.contains(&&json!("W0DEMOADA")) && !ids.contains(&&json!("U0DEMOADA")));
    assert!(ids.contains(&&json!("USLACKBOT")) && ids.contains(&&json!("U0DEMOBOT")));
    assert_eq!(slack.form("users.info", &[("user", "U0DEMOADA")]).await["error"], "user_not_found");
    let exchange = async |form: &[(&str, &str)]| -> Value {
        slack.form("migration.exchange", form).await["user_id_map"].take()
    };
    let new = json!({ "U0DEMOADA": "W0DEMOADA", "W0DEMOADA": "W0DEMOADA" });
    assert_eq!(exchange(&[("users", "U0DEMOADA,W0DEMOADA,U0NOBODY")]).await, new);
    let old = json!({ "W0DEMOADA": "U0DEMOADA" });
    assert_eq!(exchange(&[("users", "W0DEMOADA"), ("to_old", "true")]).await, old);
    // The direct message is the same one.
    let again = slack.json("conversations.open", json!({ "users": "W0DEMOADA" })).await;
    assert_eq!(again["channel"], opened["channel"]);
    assert_eq!(slack.json("conversations.open", open).await["error"], "user_not_found");
}
