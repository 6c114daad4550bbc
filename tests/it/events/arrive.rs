//! The endpoint: which requests are accepted, which are stored, and the answers.

use herald::config::Settings;
use herald::domain::secret::Secret;
use herald::domain::time::Timestamp;
use reqwest::StatusCode;
use serde_json::json;

use super::{
    about, address, applied, caller, envelope, knock, knock_as, metric, now, numbers, progress,
    secret, tell,
};
use crate::support::world::{Plan, TENANT, for_each_database};

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
            // An exchanged secret may be known by the next try; a long body stays too long.
            let stops = answer.headers().contains_key("x-slack-no-retry");
            assert_eq!(stops, answer.status() == StatusCode::PAYLOAD_TOO_LARGE);
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

/// The settings while the secrets of the deployment's app are exchanged; Slack has the old ones.
fn exchanging(settings: &mut Settings) {
    let app = &mut settings.app;
    app.previous_client_secret = std::mem::replace(&mut app.client_secret, Secret::new("new-c"));
    app.previous_signing_secret = std::mem::replace(&mut app.signing_secret, Secret::new("new-s"));
    app.previous_until = Some(Timestamp(i64::MAX));
}

#[tokio::test]
async fn the_deployment_accepts_both_secrets_until_their_end() {
    let plan = Plan { adjust: exchanging, ..Plan::default() };
    // Its tenant was connected with the old client secret.
    plan.run(async |world| {
        for (id, secret) in [("Ev1", Secret::new("new-s")), ("Ev2", secret())] {
            let body = envelope(id, about("UNEW", 9, "new")).to_string().into_bytes();
            let answer = knock_as(address(world, 0), body, now(), &secret).await;
            assert_eq!(answer.status(), StatusCode::OK, "{id}");
        }
        assert_eq!(numbers(world, "SELECT COUNT(*) FROM seen_events").await, [2]);
    })
    .await;

    let adjust = |settings: &mut Settings| {
        exchanging(settings);
        settings.app.previous_until = Some(Timestamp(1));
    };
    let plan = Plan { ready: false, adjust, ..Plan::default() };
    plan.run(async |world| {
        let body = json!({"type": "url_verification", "challenge": "c"}).to_string().into_bytes();
        let late = knock_as(address(world, 0), body.clone(), now(), &secret()).await;
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
        let new = knock_as(address(world, 0), body, now(), &Secret::new("new-s")).await;
        assert_eq!(new.status(), StatusCode::OK);
        let page = world.connect(TENANT).await;
        assert!(page.html.contains("bad_client_secret"), "{}", page.html);
    })
    .await;
}
