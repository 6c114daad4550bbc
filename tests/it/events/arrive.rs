//! The endpoint: which requests are accepted, which are stored, and the answers.

use herald::domain::secret::Secret;
use reqwest::StatusCode;
use serde_json::json;

use super::{
    about, address, applied, caller, envelope, knock, knock_as, metric, now, numbers, progress,
    secret, tell,
};
use crate::support::world::for_each_database;

const EVENTS: &str = "herald_slack_events_total";

#[tokio::test]
async fn the_challenge_is_answered_to_slack_alone() {
    for_each_database(async |world| {
        let hello = json!({"token": "t", "type": "url_verification", "challenge": "3eZbrw1aB"});
        let answer = knock(world, 0, &hello).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.text().await.unwrap(), "3eZbrw1aB");
        let body = hello.to_string().into_bytes();
        let forged = knock_as(address(world, 0), body, now(), &Secret::new("guess")).await;
        assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(forged.text().await.unwrap(), "");
    })
    .await;
}

#[tokio::test]
async fn what_is_forged_old_or_too_long_is_refused_and_leaves_no_trace() {
    for_each_database(async |world| {
        let before = progress(world).await;
        let body = envelope("Ev1", about("UNEW", 9, "new")).to_string().into_bytes();
        let post = async |body: Vec<u8>, at: i64, secret: &Secret| {
            let answer = knock_as(address(world, 0), body, at, secret).await;
            let no_retry = answer.headers().get("x-slack-no-retry").cloned();
            assert_eq!(no_retry.unwrap(), "1");
            answer.status()
        };
        let other = Secret::new("another-secret");
        assert_eq!(post(body.clone(), now(), &other).await, StatusCode::UNAUTHORIZED);
        for at in [now() - 310, now() + 310] {
            assert_eq!(post(body.clone(), at, &secret()).await, StatusCode::UNAUTHORIZED);
        }
        let mut long = envelope("Ev2", about("UNEW", 9, "new"));
        long["pad"] = json!("x".repeat(256 * 1024));
        let long = long.to_string().into_bytes();
        assert_eq!(post(long, now(), &secret()).await, StatusCode::PAYLOAD_TOO_LARGE);
        // Signed for another body.
        let signature = herald::slack::signature::sign(&secret(), &now().to_string(), b"{}");
        let swapped = caller()
            .post(address(world, 0))
            .header("x-slack-request-timestamp", now().to_string())
            .header("x-slack-signature", signature)
            .body(body)
            .send();
        assert_eq!(swapped.await.unwrap().status(), StatusCode::UNAUTHORIZED);
        let bare = caller().post(address(world, 0)).send().await.unwrap();
        assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
        let read = reqwest::get(address(world, 0)).await.unwrap();
        assert_eq!(read.status(), StatusCode::METHOD_NOT_ALLOWED);

        assert_eq!(numbers(world, "SELECT COUNT(*) FROM seen_events").await, [0]);
        assert_eq!(progress(world).await, before);
        assert_eq!(metric(world, 0, EVENTS, r#"result="refused""#).await, 5);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_for_us_is_acknowledged_and_counted() {
    for_each_database(async |world| {
        let before = progress(world).await;
        let mut team = envelope("Ev1", about("UNEW", 9, "new"));
        team["team_id"] = json!("T0ELSEWHERE");
        team["authorizations"][0]["team_id"] = json!("T0ELSEWHERE");
        let mut app = envelope("Ev2", about("UNEW", 9, "new"));
        app["api_app_id"] = json!("A0ANOTHER");
        let unused = envelope("Ev3", json!({"type": "reaction_added", "user": "U1"}));
        let broken = envelope("Ev4", json!({"type": "user_change"}));
        for (body, result, count) in [
            (team, "unknown_workspace", 1),
            (app, "unknown_workspace", 2),
            (unused, "unused", 1),
            (broken, "unreadable", 1),
        ] {
            assert_eq!(knock(world, 0, &body).await.status(), StatusCode::OK);
            let label = format!(r#"result="{result}""#);
            assert_eq!(metric(world, 0, EVENTS, &label).await, count, "{result}");
        }
        assert_eq!(numbers(world, "SELECT COUNT(*) FROM seen_events").await, [0]);
        assert_eq!(progress(world).await, before);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_comes_again_counts_once() {
    for_each_database(async |world| {
        let [generation, sequence, _] = progress(world).await;
        for _ in 0..3 {
            tell(world, "Ev1", about("UNEW", 9, "new")).await;
        }
        applied(world, 1).await;
        // Slack may repeat an event for a day, even after it was applied.
        tell(world, "Ev1", about("UNEW", 9, "other")).await;
        applied(world, 1).await;
        assert_eq!(progress(world).await, [generation, sequence + 1, 1]);
        assert_eq!(metric(world, 0, EVENTS, r#"result="taken""#).await, 1);
        assert_eq!(metric(world, 0, EVENTS, r#"result="repeated""#).await, 3);
        assert_eq!(metric(world, 0, EVENTS, r#"result="changed""#).await, 1);
        // Its body is encrypted while it waits, and deleted afterwards.
        assert_eq!(numbers(world, "SELECT COUNT(body) FROM seen_events").await, [0]);
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_applied_is_set_aside_and_holds_up_no_other() {
    for_each_database(async |world| {
        progress(world).await;
        let mut nobody = about("UNEW", 9, "new");
        nobody["user"]["id"] = json!("not an id");
        tell(world, "Ev1", nobody).await;
        tell(world, "Ev2", about("UNEW", 9, "new")).await;
        assert_eq!(applied(world, 2).await, 1);
        super::called(world, "unew@demo.example", "new").await;
        assert_eq!(metric(world, 0, EVENTS, r#"result="parked""#).await, 1);
    })
    .await;
}
