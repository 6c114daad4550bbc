//! Retention removes old notifications as fast as they are accepted, and upkeep removes rows that
//! are no longer needed.

use std::time::Duration;

use futures_util::future::join_all;
use herald::store::{DeliveryKind, End, NewDelivery, Target};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use super::{World, accept_of, worlds};
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
            let ended = NewDelivery { target, ..world.message("U1", "old", DeliveryKind::Normal) };
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

async fn is_empty(raw: &DatabaseConnection, table: &str) -> bool {
    let any = format!("SELECT 1 FROM {table} LIMIT 1");
    let any = Statement::from_string(raw.get_database_backend(), any);
    raw.query_one_raw(any).await.unwrap().is_none()
}

/// By the loop itself: a part that it does not work off removes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_and_sweeps_that_are_not_needed_any_more_are_removed() {
    for world in worlds().await {
        let raw = world.store.raw().await;
        // Unused since 1970.
        for row in [
            "INSERT INTO lanes (installation, lane, tenant, class, budget) \
             VALUES ('ffffffff-0000-7000-8000-000000000001', 'C1', 'gone', 2, 0)",
            "INSERT INTO held_sweeps (tenant) VALUES ('gone')",
        ] {
            raw.execute_unprepared(row).await.unwrap();
        }
        let running = world.start();
        for table in ["lanes", "held_sweeps"] {
            until(table, async || is_empty(&raw, table).await.then_some(())).await;
        }
        running.drain().await;
    }
}
