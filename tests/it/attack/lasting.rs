//! The audit trail over hours and days: a key that is used after a silence signs in again, and old
//! entries are removed, each after the time in the settings.

use std::time::Duration;

use herald::config::Settings;
use herald::rpc::{RoleConfig, pb};
use sea_orm::ConnectionTrait as _;

use super::audit::verified;
use super::changes::change_everything;
use crate::support::client::reason;
use crate::support::store::test_stores;
use crate::support::world::{Plan, Replica, TENANT, caller, until};

const HOUR: i64 = 3_600_000_000;

#[tokio::test]
async fn a_key_signs_in_again_after_its_silence_only() {
    let silence = Duration::from_secs(24 * 3600);
    for store in test_stores().await {
        let raw = store.raw().await;
        let used = async || store.audit().note_use("importer", "01234567", silence).await.unwrap();
        assert!(used().await, "never used before");
        assert!(!used().await);
        // The last use is longer ago each time; a use that is no sign-in counts as one, too.
        for (hours, signs_in) in [(23, false), (2, false), (24, true), (1, false)] {
            let ago = format!("UPDATE key_uses SET seen_at = seen_at - {}", hours * HOUR);
            raw.execute_unprepared(&ago).await.unwrap();
            assert_eq!(used().await, signs_in, "after {hours} hours");
        }
        assert!(
            store.audit().note_use("importer", "89abcdef", silence).await.unwrap(),
            "another key"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silence_is_that_of_the_settings() {
    let callers = vec![caller("plain", RoleConfig::Service, &[TENANT])];
    let adjust = |settings: &mut Settings| settings.audit.silence_hours = 2;
    Plan { callers, adjust, ready: false, ..Plan::default() }
        .run(async |world| {
            for (hours, sign_ins) in [(0, 1), (1, 1), (2, 2)] {
                let ago = format!("UPDATE key_uses SET seen_at = seen_at - {}", hours * HOUR);
                world.execute(&ago).await.unwrap();
                // A replica that has just started remembers no uses.
                world.drain().await;
                world.replicas.push(Replica::start(world.settings()).await);
                let plain = world.client(0, Some("plain")).await;
                let list = pb::ListPeopleRequest { tenant_id: TENANT.into(), ..Default::default() };
                let refused = plain.list_people(list).await.unwrap_err();
                assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
                world.drain().await;
                let told = "SELECT COUNT(*) FROM audit_log WHERE action = 'SignIn'";
                assert_eq!(world.count(told).await, sign_ins, "after {hours} hours");
                world.replicas.push(Replica::start(world.settings()).await);
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_older_than_the_settings_keep_go_by_themselves() {
    let adjust = |settings: &mut Settings| settings.audit.keep_days = 1;
    Plan { adjust, ..Plan::default() }
        .run(async |world| {
            change_everything(&world.client).await;
            world.drain().await;
            // The first three become 25 hours old; the table refuses UPDATE.
            let age = format!("UPDATE kept SET at = at - {}", 25 * HOUR);
            for step in [
                "CREATE TABLE kept AS SELECT * FROM audit_log WHERE sequence <= 3",
                age.as_str(),
                "DELETE FROM audit_log WHERE sequence <= 3",
                "INSERT INTO audit_log SELECT * FROM kept",
            ] {
                world.execute(step).await.unwrap();
            }
            world.replicas.push(Replica::start(world.settings()).await);
            until("the old entries are removed", async || {
                let old = "SELECT COUNT(*) FROM audit_log WHERE sequence <= 3";
                (world.count(old).await == 0).then_some(())
            })
            .await;
            let next = "SELECT COUNT(*) FROM audit_log WHERE sequence = 4";
            assert_eq!(world.count(next).await, 1);
            assert_eq!(verified(world).await.broken, None);
        })
        .await;
}
