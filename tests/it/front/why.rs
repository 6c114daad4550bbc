//! The trace of a delivery, and the answer of a dry run.

use std::collections::BTreeMap;

use herald::rpc::pb::{
    self, DecisionRule, DecisionStage, DeliveryState, PreferenceValue, WaitCause,
};
use herald::sandbox::{Fault, FaultKind, Raw};
use serde_json::json;

use crate::support::client::{notify, task};
use crate::support::world::{TENANT, World, for_each_database};

async fn prefer(world: &World, user: &str, value: PreferenceValue) {
    let request = pb::SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: user.into(),
        value: value.into(),
        ..pb::SetPreferenceRequest::default()
    };
    world.client.set_preference(request).await.unwrap();
}

fn trace(delivery: &pb::Delivery) -> pb::Trace {
    delivery.trace.clone().unwrap()
}

#[tokio::test]
async fn a_delivery_tells_its_decisions_waits_and_requests() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        prefer(world, "ben", PreferenceValue::On).await;
        let throttled =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("3".into()) };
        world.sandbox.script(Fault::new("chat.postMessage", throttled).times(1));
        world.sandbox.script(Fault::new("chat.postMessage", FaultKind::Reset).times(1).after());
        let answer = world.client.notify(task("explained", &["ben"])).await.unwrap();
        let sent = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(sent[0].state(), DeliveryState::Sent);
        let told = trace(&sent[0]);
        let accepted = &told.decisions[0];
        assert_eq!((accepted.stage(), &*accepted.verdict), (DecisionStage::Accepted, "send"));
        assert_eq!(accepted.template, "task.assigned");
        let switches = accepted.switches.unwrap();
        assert!(switches.sending_allowed && switches.event_type_on && !switches.opt_in);
        let choice = accepted.choice.clone().unwrap();
        assert_eq!((choice.value(), choice.everything), (PreferenceValue::On, true));
        assert!(choice.set_by.starts_with("administrator:"), "{choice:?}");
        let identity = accepted.identity.unwrap();
        assert_eq!(identity.rule(), DecisionRule::Matched);
        assert!(identity.directory_generation > 0 && identity.directory_read_at.is_some());
        let causes: Vec<_> = told.waits.iter().map(pb::Wait::cause).collect();
        assert!(causes.ends_with(&[WaitCause::Throttled, WaitCause::Unknown]), "{causes:?}");
        let log: Vec<_> = sent[0]
            .attempt_log
            .iter()
            .map(|attempt| (&*attempt.method, &*attempt.outcome, attempt.took.is_some()))
            .collect();
        assert_eq!(
            log,
            [
                ("chat.postMessage", "throttled", true),
                ("chat.postMessage", "unknown", true),
                ("", "probe_sent", false),
            ]
        );
        // Switched off while it waited.
        world.throttle("U0DEMOBEN", 5);
        let late = world.client.notify(task("late", &["ben"])).await.unwrap();
        world.called("chat.postMessage", 3).await;
        prefer(world, "ben", PreferenceValue::Off).await;
        world.sandbox.clear_faults();
        let late = world.client.ended(TENANT, &late.notification_id).await;
        let verdicts: Vec<_> = trace(&late[0]).decisions.into_iter().map(|d| d.verdict).collect();
        assert_eq!(verdicts.last().map(String::as_str), Some("preference_all_off"), "{verdicts:?}");
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_does_nothing() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        prefer(world, "clara", PreferenceValue::Off).await;
        let dry = pb::NotifyRequest { dry_run: true, ..task("dry", &["ben", "clara", "nobody"]) };
        let tried = world.client.notify(dry.clone()).await.unwrap();
        assert!(tried.notification_id.is_empty());
        let kinds: Vec<_> = tried.verdicts.iter().map(pb::Verdict::kind).collect();
        let wanted =
            [pb::VerdictKind::Queued, pb::VerdictKind::Suppressed, pb::VerdictKind::Unreachable];
        assert_eq!(kinds, wanted);
        let preview = tried.verdicts[0].preview.clone().unwrap();
        assert!(preview.text.contains("dry") && !preview.blocks.unwrap().values.is_empty());
        assert!(tried.verdicts.iter().all(|verdict| verdict.delivery_id.is_empty()));
        let verdict =
            |at: usize| tried.verdicts[at].trace.clone().unwrap().decisions[0].verdict.clone();
        assert_eq!(
            [verdict(0), verdict(1), verdict(2)],
            ["send", "preference_all_off", "no_user_value"]
        );
        assert!(tried.verdicts[1].preview.is_none());
        // The dry run used nothing up, and a real call has neither preview nor trace.
        let real = pb::NotifyRequest { dry_run: false, ..dry };
        let answer = world.client.notify(real).await.unwrap();
        assert!(answer.verdicts.iter().all(|v| v.preview.is_none() && v.trace.is_none()));
        world.client.ended(TENANT, &answer.notification_id).await;
        world.messages(1).await;
        // A dry run refuses invalid requests too.
        let mut bad = notify("bad", "task.assigned", &["ben"]);
        (bad.dry_run, bad.link) = (true, String::new());
        world.client.notify(bad).await.unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn what_slack_says_about_a_refusal_is_kept_with_the_delivery() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let said = "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]";
        let body = json!({ "ok": false, "error": "invalid_blocks",
            "response_metadata": { "messages": [said] } });
        let body = Raw::from(body.to_string().as_str());
        let kind = FaultKind::Body { body, headers: BTreeMap::new() };
        world.sandbox.script(Fault::new("chat.postMessage", kind).times(1));
        let answer = world.client.notify(task("one", &["ben"])).await.unwrap();
        let failed = world.client.ended(TENANT, &answer.notification_id).await.remove(0);
        assert_eq!(
            (failed.state(), failed.code.as_str()),
            (DeliveryState::Failed, "invalid_blocks")
        );
        assert_eq!(failed.detail, said);
        assert!(!failed.sentence.contains("3001"), "{}", failed.sentence);
        let listed =
            pb::ListFailedRequest { tenant_id: TENANT.into(), ..pb::ListFailedRequest::default() };
        let listed = world.client.list_failed(listed).await.unwrap().deliveries.remove(0);
        assert_eq!(listed.delivery.unwrap().detail, said);
        // A successful delivery has no detail.
        let answer = world.client.notify(task("two", &["ben"])).await.unwrap();
        let sent = world.client.ended(TENANT, &answer.notification_id).await.remove(0);
        assert_eq!((sent.state(), sent.detail.as_str()), (DeliveryState::Sent, ""));
    })
    .await;
}
