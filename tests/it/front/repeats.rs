//! The same call again gets the same answer, whatever has changed since.

use sea_orm::ConnectionTrait as _;
use tonic::Code;

use super::overload::{assert_shed, limited};
use crate::support::client::{reason, task};
use crate::support::world::{TENANT, for_each_database};

#[tokio::test]
async fn a_repeat_is_answered_while_the_backlog_is_full() {
    Box::pin(for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        let replica = limited(world, |settings| settings.delivery.max_waiting = 2).await;
        let client = world.client(replica, None).await;
        for member in ["U0DEMOBEN", "U0DEMOADA"] {
            world.throttle(member, 300);
        }
        let first = client.notify(task("one", &["ben", "ada"])).await.unwrap();
        let refused = client.notify(task("two", &["ben"])).await.unwrap_err();
        assert_shed(&refused, "BACKLOG_FULL", "delivery.max_waiting");
        assert_eq!(client.notify(task("one", &["ben", "ada"])).await.unwrap(), first);
        // Another payload under the same id is always a mistake.
        let mut other = task("two", &["ben"]);
        other.request_id = "one".into();
        let refused = client.notify(other).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::AlreadyExists, "REQUEST_ID_REUSED")
        );
        world.sandbox.clear_faults();
        assert_eq!(world.settled().await.len(), 2);
    }))
    .await;
}

#[tokio::test]
async fn a_repeat_is_answered_although_the_settings_refuse_new_calls() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let first = world.client.notify(task("one", &["ben"])).await.unwrap();
        world.settled().await;
        // A mapping that this release cannot compile, but that another release may have stored.
        let raw = world.raw().await;
        let broken = |from: &str, to: &str| {
            format!(
                "UPDATE tenants SET settings = replace(settings, \
                 '\"user_attribute\":\"{from}\"', '\"user_attribute\":\"{to}\"') \
                 WHERE tenant = '{TENANT}'"
            )
        };
        raw.execute_unprepared(&broken("email", "email[")).await.unwrap();
        let refused = world.client.notify(task("two", &["ben"])).await.unwrap_err();
        assert_eq!(reason(&refused), "MAPPING_INVALID");
        assert_eq!(world.client.notify(task("one", &["ben"])).await.unwrap(), first);
        raw.execute_unprepared(&broken("email[", "email")).await.unwrap();
    })
    .await;
}
