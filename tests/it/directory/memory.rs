//! How much of member lists is kept: in memory as much as the setting allows, in the store the
//! present generation and the previous one.

use herald::sandbox::fixture::generated_member;

use super::{LAST, MEMBERS, email, id, member, plan, refresh};
use crate::events::{metric, numbers};
use crate::support::world::{Plan, Replica, TENANT, World, until};

/// The oldest and the newest generation whose pages are in the store.
const KEPT: &str = "SELECT MIN(generation), MAX(generation) FROM directory_pages";

/// How often a replica built a list from the stored pages.
async fn loads(world: &World, replica: usize) -> u64 {
    metric(world, replica, "herald_directory_loads_total", r#"from="pages""#).await
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_not_kept_there() {
    // Less than one list takes.
    let small = Plan { adjust: |settings| settings.directory.memory_bytes = 64, ..plan() };
    small
        .run(async |world| {
            let before = loads(world, 0).await;
            // With repeated lookups, the member is found each time and the list is built again.
            until("it is built again", async || {
                assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)));
                (loads(world, 0).await >= before + 3).then_some(())
            })
            .await;

            let mut settings = world.settings();
            settings.directory.memory_bytes = 1 << 20;
            world.replicas.push(Replica::start(settings).await);
            let roomy = world.client(1, None).await;
            // All at once, and the list is built once for all of them.
            let all = (0..MEMBERS).map(|number| {
                let roomy = roomy.clone();
                async move { (member(&roomy, &email(number)).await, Some(id(number))) }
            });
            for (found, wanted) in futures_util::future::join_all(all).await {
                assert_eq!(found, wanted);
            }
            assert_eq!(loads(world, 1).await, 1);
        })
        .await;
}

#[tokio::test]
async fn only_the_generation_before_is_kept_besides() {
    plan()
        .run(async |world| {
            for generation in 2..=5 {
                world.sandbox.add_member(generated_member(MEMBERS + generation));
                refresh(world).await;
                world.members_read(TENANT, i64::try_from(generation).unwrap()).await;
            }
            assert_eq!(numbers(world, KEPT).await, [4, 5]);
        })
        .await;
}
