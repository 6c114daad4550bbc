//! Channels after the database's clock stepped back.

use std::time::Duration;

use herald::domain::channels::state::ChannelMemberState;
use herald::domain::ids::InstallationId;
use herald::store::{ClockPass, MemberUpdate};
use sea_orm::ConnectionTrait as _;

use super::channels::{LONG, NOW, claim, ensure, key, tenant, update};
use crate::support::store::test_stores;

const STEP: Duration = Duration::from_secs(86_400);

/// All stored times are ahead, as if the clock had stepped back by that.
const AHEAD: [&str; 3] = [
    "UPDATE channels SET due_at = due_at + {}, touched_at = touched_at + {}",
    "UPDATE channels SET lease_until = lease_until + {} WHERE lease_until > 0",
    "UPDATE channel_members SET due_at = due_at + {}, touched_at = touched_at + {}",
];

#[tokio::test]
async fn after_a_step_back_channels_and_members_are_due_when_they_were_to_be() {
    for store in test_stores().await {
        ensure(&store, "track:1", &["ada"]).await;
        // A holder that dies, and one that waits.
        store.channels().claim(LONG / 2).await.unwrap().unwrap();
        ensure(&store, "track:2", &["ada"]).await;
        let lease = claim(&store).await.unwrap();
        let retry_at = Some(store.now().await.unwrap().plus(LONG));
        let waits = MemberUpdate { retry_at, ..update("ada", ChannelMemberState::Queued) };
        assert!(store.channels().save_members(&lease, &[waits], NOW).await.unwrap());
        assert!(store.channels().end(&lease, retry_at, NOW, true).await.unwrap());
        let raw = store.raw().await;
        for text in AHEAD {
            let text = text.replace("{}", &STEP.as_micros().to_string());
            raw.execute_unprepared(&text).await.unwrap();
        }
        assert!(store.channels().next_due().await.unwrap().unwrap() > LONG);

        let mut pass = ClockPass::default();
        assert!(store.upkeep().follow_clock(LONG, &mut pass).await.unwrap().moved > 0);
        let again = store.upkeep().follow_clock(LONG, &mut pass).await.unwrap();
        assert_eq!((again.moved, again.left), (0, 0), "once is enough");
        let now = store.now().await.unwrap();
        assert!(store.channels().next_due().await.unwrap().unwrap() <= LONG / 2);
        let due = "SELECT MAX(due_at), MAX(lease_until) FROM channels";
        let due = sea_orm::Statement::from_string(raw.get_database_backend(), due);
        let due = raw.query_one_raw(due).await.unwrap().unwrap();
        let latest: i64 = due.try_get_by_index(0).unwrap();
        let leased: i64 = due.try_get_by_index(1).unwrap();
        assert!(latest <= now.plus(LONG).0 && leased <= now.plus(LONG / 2).0);
        let members = store.channels().members(&tenant(), &key("track:2"), None, None, 10).await;
        let retry_at = members.unwrap().unwrap()[0].retry_at.unwrap();
        assert!(retry_at <= now.plus(LONG));
    }
}

/// A wish, or an event, for a channel whose holder died with a lease by the clock as it was. Red
/// with `lease_until` in place of `LEASE` in `store/channels`: the channel was due only when the
/// clock had gone that way again.
#[tokio::test]
async fn a_call_after_a_step_back_waits_for_no_lease_by_the_clock_before() {
    for store in test_stores().await {
        let raw = store.raw().await;
        ensure(&store, "track:1", &["ada"]).await;
        ensure(&store, "track:2", &["ada"]).await;
        for _ in 0..2 {
            store.channels().claim(LONG / 2).await.unwrap().unwrap();
        }
        let workspace = InstallationId(uuid::Uuid::now_v7());
        let place = format!(
            "UPDATE channels SET installation = '{workspace}', slack_channel = 'C2'
                WHERE channel_key = 'track:2'"
        );
        raw.execute_unprepared(&place).await.unwrap();
        for text in AHEAD {
            let text = text.replace("{}", &STEP.as_micros().to_string());
            raw.execute_unprepared(&text).await.unwrap();
        }
        ensure(&store, "track:1", &["ada", "bo"]).await;
        store.channels().note_lost_events(workspace, LONG / 4).await.unwrap();
        let now = store.now().await.unwrap();
        let due = "SELECT MAX(due_at), MAX(lease_until), MIN(lease_until) FROM channels";
        let due = sea_orm::Statement::from_string(raw.get_database_backend(), due);
        let due = raw.query_one_raw(due).await.unwrap().unwrap();
        let [latest, leased, first] = [0, 1, 2].map(|of| due.try_get_by_index::<i64>(of).unwrap());
        let most = now.plus(LONG / 2).0;
        assert!(latest <= most && leased <= most, "{latest} {leased}");
        assert!(first > now.0, "the leases still last");
    }
}

/// A turn that began before the clock was set back names times by the clock as it was.
#[tokio::test]
async fn a_turn_that_ends_after_a_step_back_waits_no_longer_than_it_meant_to() {
    for store in test_stores().await {
        ensure(&store, "track:1", &["ada", "bo"]).await;
        let lease = claim(&store).await.unwrap();
        let before = store.now().await.unwrap().plus(STEP);
        let retry_at = Some(before.plus(LONG));
        let waits = MemberUpdate { retry_at, ..update("ada", ChannelMemberState::Queued) };
        let done = update("bo", ChannelMemberState::Member);
        assert!(store.channels().save_members(&lease, &[waits, done], before).await.unwrap());
        assert!(store.channels().end(&lease, retry_at, before, true).await.unwrap());
        let wait = store.channels().next_due().await.unwrap().unwrap();
        assert!(wait > LONG / 2 && wait <= LONG, "{wait:?}");
        let members = store.channels().members(&tenant(), &key("track:1"), None, None, 10).await;
        let members = members.unwrap().unwrap();
        let now = store.now().await.unwrap();
        let retry_at = members[0].retry_at.unwrap();
        assert!(retry_at > now.plus(LONG / 2) && retry_at <= now.plus(LONG));
        assert_eq!(members[1].retry_at, None);
    }
}
