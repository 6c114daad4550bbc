//! Notify with one recipient, 64 in flight, compared with the same rows written by a bare client,
//! one transaction for each notification, over 64 connections.
//!
//! The workspace's token is dead, so lanes sleep and nothing is delivered meanwhile: only accepting
//! is measured, including the feed's numbering.

use std::time::Duration;

use super::floor::{Bare, closed_loop};
use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell_ratio};

const CALLERS: usize = 64;
const PEOPLE: usize = 1000;

pub(crate) async fn run(database: Database, effort: Effort) {
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings: Vec::new() };
    let stage = Stage::start(database, &plan).await;
    put_to_sleep(&stage).await;
    let bare = Bare::connect(&stage.store, 64).await;
    let stored = bare.sample().await;
    // Alternating, so that both meet the same noise.
    let (mut notify, mut floor) = (0.0, 0.0);
    let turns = if effort.quick { 1 } else { 3 };
    for _ in 0..turns {
        notify += notify_rate(&stage, CALLERS, effort.span).await;
        let (bare, stored) = (bare.clone(), stored.clone());
        floor += closed_loop(CALLERS, effort.span, move |_| {
            let (bare, stored) = (bare.clone(), stored.clone());
            async move {
                let lane = format!("U{:06}", rand::random_range(0..PEOPLE));
                bare.accept(&stored, &lane).await;
            }
        })
        .await;
    }
    let turns = f64::from(turns);
    tell_ratio("Notify, 64 in flight", database.name(), notify / turns, floor / turns, ">= 2 x");
    let one = notify_rate(&stage, 1, effort.span).await;
    let (bare, stored) = (bare.clone(), stored.clone());
    let alone = closed_loop(1, effort.span, move |_| {
        let (bare, stored) = (bare.clone(), stored.clone());
        async move { bare.accept(&stored, "U000001").await }
    });
    tell_ratio("Notify, alone", database.name(), one, alone.await, "-");
}

/// Kills the token and sends each person one message, so that every lane notices.
pub(crate) async fn put_to_sleep(stage: &Stage) {
    stage.sandbox.revoke_token(None, "token_revoked");
    let call = message("everybody", 0..PEOPLE);
    stage.herald().notify(call).await.unwrap();
    // Waits until their lanes sleep; a lane costs no request once the installation is known to be
    // dead.
    tokio::time::sleep(Duration::from_secs(3)).await;
}

pub(crate) async fn notify_rate(stage: &Stage, callers: usize, span: Duration) -> f64 {
    let herald = stage.herald();
    closed_loop(callers, span, move |_| {
        let mut herald = herald.clone();
        async move {
            let person = rand::random_range(0..PEOPLE);
            let id = uuid::Uuid::now_v7().to_string();
            herald.notify(message(&id, [person])).await.unwrap();
        }
    })
    .await
}
