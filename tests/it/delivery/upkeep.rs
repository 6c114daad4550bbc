//! Retention removes old notifications as fast as they are accepted.

use std::time::Duration;

use futures_util::future::join_all;
use herald::store::{End, Kind, NewDelivery, Target};
use sea_orm::{ConnectionTrait as _, Statement};

use super::{World, accept_of};
use crate::support::process::until;
use crate::support::store::test_stores;

/// The next round of upkeep begins five minutes later.
const SCALE: f64 = 10.0;
/// Far more than one step removes.
const NOTIFICATIONS: usize = 2_100;

#[tokio::test(flavor = "multi_thread")]
async fn one_round_removes_all_that_is_old_in_as_many_steps_as_needed() {
    for store in test_stores().await {
        let world = World::scaled(store, SCALE).await;
        let accepted = (0..NOTIFICATIONS).map(|_| {
            let target = Target::Ended(End::Expired);
            let ended = NewDelivery { target, ..world.message("U1", "old", Kind::Normal) };
            world.store.outbox().accept(accept_of(vec![ended]))
        });
        for accepted in join_all(accepted).await {
            accepted.unwrap();
        }
        while world.store.ends().archive(Duration::ZERO, 1_000).await.unwrap() > 0 {}
        let raw = world.store.raw().await;
        // By 400 days; 300 are kept at this scale.
        let age = "UPDATE notifications SET created_at = created_at - 34560000000000";
        raw.execute_unprepared(age).await.unwrap();
        let running = world.start();
        until("all are removed", async || {
            let left = "SELECT 1 FROM notifications LIMIT 1";
            let left = Statement::from_string(raw.get_database_backend(), left);
            raw.query_one_raw(left).await.unwrap().is_none().then_some(())
        })
        .await;
        running.drain().await;
    }
}
