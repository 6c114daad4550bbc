//! Slack's own check of the blocks.

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;
use tonic::Code;

use super::{preview, request};
use crate::support::client::{demo_person, reason};
use crate::support::world::{Plan, TENANT, for_each_database};

fn checked() -> pb::PreviewTemplateRequest {
    pb::PreviewTemplateRequest { check_with_slack: true, ..request() }
}

#[tokio::test]
async fn slack_accepts_a_good_message() {
    for_each_database(async |world| {
        let check = preview(world, checked()).await.slack_check.unwrap();
        assert!(check.accepted && check.objections.is_empty(), "{check:?}");
        assert_eq!(world.calls("blocks.validate").len(), 1);
        assert!(preview(world, request()).await.slack_check.is_none());
        assert_eq!(world.calls("blocks.validate").len(), 1);
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

#[tokio::test]
async fn objections_are_passed_on_as_slack_has_them() {
    for_each_database(async |world| {
        let body = json!({
            "ok": false,
            "error": "invalid_blocks",
            "errors": [{
                "code": "failed_constraint",
                "message": "must be less than 3001 characters",
                "pointer": "/0/text/text",
                "constraint": { "type": "max_length", "expected": 3000 },
            }],
        });
        let body = FaultKind::Body { body: body.to_string().as_str().into(), headers: [].into() };
        world.sandbox.script(Fault::new("blocks.validate", body));
        let check = preview(world, checked()).await.slack_check.unwrap();
        assert!(!check.accepted);
        let [objection] = check.objections.as_slice() else { panic!("one: {check:?}") };
        assert_eq!(objection.code, "failed_constraint");
        assert_eq!(objection.message, "must be less than 3001 characters");
        assert_eq!(objection.pointer, "/0/text/text");
        let constraint: serde_json::Value = serde_json::from_str(&objection.constraint).unwrap();
        assert_eq!(constraint, json!({ "type": "max_length", "expected": 3000 }));
    })
    .await;
}

#[tokio::test]
async fn silence_is_not_an_objection_and_nothing_is_sent_after_it() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        for (kind, code) in [
            (
                FaultKind::Status { code: 503, body: String::new(), retry_after: None },
                Code::Unavailable,
            ),
            (FaultKind::Reset, Code::Unavailable),
            (FaultKind::Error { code: "invalid_arguments".into() }, Code::FailedPrecondition),
        ] {
            world.sandbox.script(Fault::new("blocks.validate", kind));
            let both = pb::PreviewTemplateRequest { send_to_user_id: "ben".into(), ..checked() };
            let failed = world.client.preview_template(both).await.unwrap_err();
            assert_eq!(failed.code(), code, "{failed:?}");
            world.sandbox.clear_faults();
        }
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

#[tokio::test]
async fn without_a_workspace_slack_cannot_be_asked() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, vec![demo_person("ben")]).await;
        let refused = world.client.preview_template(checked()).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(reason(&refused), "NOT_CONNECTED");
    })
    .await;
}
