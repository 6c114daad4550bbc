//! Events about channels: most of them are about channels that Herald does not keep.

use herald::slack::channel_events::KINDS;
use serde_json::{Value, json};

use super::{applied, metric, numbers, progress, tell};
use crate::support::world::{for_each_database, until};

const EVENTS: &str = "herald_slack_events_total";

/// An event of this kind, about a channel that no key has.
fn about_channel(kind: &str) -> Value {
    let renamed = kind.ends_with("_rename");
    let channel = if renamed { json!({"id": "C0OTHERS", "name": "n"}) } else { json!("C0OTHERS") };
    json!({ "type": kind, "channel": channel, "user": "U0DEMOBEN",
        "old_channel_id": "C0OTHERS", "new_channel_id": "C0OTHERS2" })
}

#[tokio::test]
async fn every_one_is_applied_and_changes_nothing_elsewhere() {
    for_each_database(async |world| {
        let before = progress(world).await;
        assert_eq!(KINDS.len(), 13);
        for kind in KINDS {
            tell(world, &format!("Ev{kind}"), about_channel(kind)).await;
        }
        assert_eq!(applied(world, 13).await, 0);
        until("all are counted", async || {
            (metric(world, 0, EVENTS, r#"result="unchanged""#).await == 13).then_some(())
        })
        .await;
        // Their bodies name people, and are deleted when they were applied.
        assert_eq!(numbers(world, "SELECT COUNT(body) FROM seen_events").await, [0]);
        assert_eq!(progress(world).await, before);
    })
    .await;
}

#[tokio::test]
async fn one_without_its_channel_is_acknowledged_and_counted() {
    for_each_database(async |world| {
        tell(world, "Ev1", json!({"type": "channel_archive", "channel": {"name": "n"}})).await;
        tell(world, "Ev2", json!({"type": "member_left_channel", "channel": "C0OTHERS"})).await;
        assert_eq!(metric(world, 0, EVENTS, r#"result="unreadable""#).await, 2);
        assert_eq!(numbers(world, "SELECT COUNT(*) FROM seen_events").await, [0]);
    })
    .await;
}
