//! The rate at which retention removes old notifications, within the part of its time that upkeep
//! gives it, compared with the rate at which they are accepted.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use herald::store::{Accept, End, Store, Target};

use super::claims::call;
use super::stage::{Database, store_config};
use super::{Effort, tell_ratio};

/// Calls under way at the same time.
const CALLERS: usize = 64;
/// Notifications of one step, and the part of the time that upkeep spends on them: the same as in
/// `src/delivery/upkeep.rs`.
const STEP: u32 = 200;
const SHARE: f64 = 6.0;

pub(crate) async fn run(database: Database, effort: Effort) {
    let (config, _dir) = store_config(database).await;
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    let count = effort.count(20_000, 4_000);
    let since = Instant::now();
    for _ in 0..count / CALLERS {
        for accepted in join_all((0..CALLERS).map(|_| store.outbox().accept(ended()))).await {
            accepted.unwrap();
        }
    }
    let accepted = count as f64 / since.elapsed().as_secs_f64();
    while store.ends().archive(Duration::ZERO, 1_000).await.unwrap() > 0 {}
    let (since, mut removed) = (Instant::now(), 0);
    loop {
        let some = store.ends().forget_notifications(Duration::ZERO, STEP).await.unwrap();
        if some == 0 {
            break;
        }
        removed += some;
    }
    let removed = removed as f64 / since.elapsed().as_secs_f64() / SHARE;
    tell_ratio("notifications removed of those accepted", database.name(), removed, accepted, "-");
}

/// A call with one recipient, whose delivery has ended.
fn ended() -> Accept {
    let mut call = call(vec!["U0"]);
    for delivery in &mut call.deliveries {
        delivery.target = Target::Ended(End::Expired);
    }
    call
}
