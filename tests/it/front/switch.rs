//! A tenant's switch for sending: one call turns it off, also for waiting messages, and one turns
//! it on.

use herald::rpc::pb;
use herald::rpc::pb::{DeliveryState, SuppressionReason, VerdictKind};
use tonic::Code;

use crate::support::client::task;
use crate::support::world::{TENANT, World, for_each_database};

async fn stop(world: &World) -> pb::Settings {
    let request = pb::StopSendingRequest { tenant_id: TENANT.into(), actor: None };
    world.client.stop_sending(request).await.unwrap().settings.unwrap()
}

async fn allow(world: &World) -> pb::Settings {
    let request = pb::AllowSendingRequest { tenant_id: TENANT.into(), actor: None };
    world.client.allow_sending(request).await.unwrap().settings.unwrap()
}

#[tokio::test]
async fn stopping_holds_back_what_is_queued_and_allowing_sends_again() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // The pace delays the conversation, so the second message waits.
        world.client.notify(task("first", &["ben"])).await.unwrap();
        world.messages(1).await;
        world.throttle("U0DEMOBEN", 1);
        let waiting = world.client.notify(task("waiting", &["ben"])).await.unwrap();
        assert!(!stop(world).await.sending_allowed);
        let refused = world.client.notify(task("refused", &["ben"])).await.unwrap();
        assert_eq!(refused.verdicts[0].kind(), VerdictKind::Suppressed);
        assert_eq!(refused.verdicts[0].suppression(), SuppressionReason::SendingOff);
        let ended = world.client.ended(TENANT, &waiting.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Suppressed);

        world.sandbox.clear_faults();
        let settings = allow(world).await;
        assert!(settings.sending_allowed);
        world.client.notify(task("again", &["ben"])).await.unwrap();
        let texts: Vec<_> = world.messages(2).await.into_iter().map(|sent| sent.text).collect();
        assert!(texts[1].contains("again"), "{texts:?}");
        // Repeating it changes nothing, not even the version.
        assert_eq!(allow(world).await, settings);
        world.settled().await;
    })
    .await;
}

/// `{"sending_allowed": false}` without a mask changes nothing; the answer OK would be a lie.
#[tokio::test]
async fn a_change_that_names_nothing_is_refused() {
    for_each_database(async |world| {
        let off = pb::Settings { sending_allowed: false, ..pb::Settings::default() };
        let refused = world.client.set(TENANT, off, &[]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("StopSending"), "{refused}");
        let workspace = world.client.workspace(TENANT).await.unwrap();
        assert!(workspace.settings.unwrap().sending_allowed);
    })
    .await;
}
