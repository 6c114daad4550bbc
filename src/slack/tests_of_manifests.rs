//! The requests of `apps.manifest.*`, and the reading of their answers.

use serde_json::json;

use super::responder::{Play, Responder, answer};
use super::tests_of_methods::{sent, token, with};
use super::{Client, Error, ManifestAnswer, ManifestFault};
use crate::telemetry::Metrics;

const MANIFEST: &str = r#"{"display_information":{"name":"Herald"}}"#;

fn fault(message: &str, pointer: &str) -> ManifestFault {
    ManifestFault { message: message.to_owned(), pointer: pointer.to_owned() }
}

#[tokio::test]
async fn faults_of_a_manifest_are_an_answer() {
    let errors = json!([
        {"message": "must be a secure url", "pointer": "/oauth_config/redirect_urls/0", "x": 1},
        {"message": 7},
    ]);
    let found = vec![fault("must be a secure url", "/oauth_config/redirect_urls/0"), fault("", "")];
    for (body, faults) in [
        (json!({"ok": false, "error": "invalid_manifest", "errors": errors}), found.clone()),
        (json!({"ok": true, "errors": errors}), found),
        (json!({"ok": false, "error": "invalid_app"}), vec![fault("invalid_app", "")]),
        (json!({"ok": true, "errors": []}), vec![]),
        (json!({"ok": true}), vec![]),
    ] {
        let (responder, client) = with(&body).await;
        let read = client.apps_manifest_validate(&token(), MANIFEST).await.unwrap();
        let expected = if faults.is_empty() {
            ManifestAnswer::Accepted(())
        } else {
            ManifestAnswer::Refused(faults)
        };
        assert_eq!(read, expected, "{body}");
        let (line, form) = sent(&responder, "authorization: Bearer xoxb-1");
        assert_eq!(line, "POST /api/apps.manifest.validate HTTP/1.1");
        assert!(form.starts_with("manifest=%7B%22display_information"), "{form}");
    }
}

#[tokio::test]
async fn a_created_app_comes_with_its_credentials() {
    let credentials = json!({"client_id": "1.2", "client_secret": "c", "signing_secret": "s",
        "verification_token": "v"});
    let body = json!({"ok": true, "app_id": "A1", "credentials": credentials});
    let (responder, client) = with(&body).await;
    let created = client.apps_manifest_create(&token(), MANIFEST).await.unwrap();
    let ManifestAnswer::Accepted(app) = created else { panic!("{created:?}") };
    assert_eq!((app.app_id.as_str(), app.client_id.as_str()), ("A1", "1.2"));
    assert_eq!((app.client_secret.expose(), app.signing_secret.expose()), ("c", "s"));
    assert!(!format!("{app:?}").contains("\"s\""));
    let (line, _) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(line, "POST /api/apps.manifest.create HTTP/1.1");
}

/// Slack may have created the app: the call must not be repeated blindly.
#[tokio::test]
async fn an_unclear_answer_to_create_is_unknown_and_one_to_update_is_not() {
    let bodies = [(200, json!({"ok": true, "app_id": "A1"})), (503, json!({"ok": false}))];
    for (status, body) in bodies {
        let bytes = answer(status, &[], body.to_string().as_bytes());
        let responder = Responder::start(vec![Play::Answer(bytes)]).await;
        let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
        let error = client.apps_manifest_create(&token(), MANIFEST).await.unwrap_err();
        assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    }
    let bytes = answer(503, &[], b"{}");
    let responder = Responder::start(vec![Play::Answer(bytes)]).await;
    let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
    let error = client.apps_manifest_update(&token(), "A1", MANIFEST).await.unwrap_err();
    assert!(matches!(error, Error::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn an_export_is_the_manifest_that_the_app_has() {
    let manifest = json!({"display_information": {"name": "Herald"}});
    let (responder, client) = with(&json!({"ok": true, "manifest": manifest})).await;
    let exported = client.apps_manifest_export(&token(), "A1").await.unwrap();
    assert_eq!(exported, ManifestAnswer::Accepted(manifest));
    let (line, form) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(
        (line.as_str(), form.as_str()),
        ("POST /api/apps.manifest.export HTTP/1.1", "app_id=A1")
    );
    let (_responder, client) = with(&json!({"ok": true})).await;
    let error = client.apps_manifest_export(&token(), "A1").await.unwrap_err();
    assert!(matches!(error, Error::Transient { .. }), "{error:?}");
}

#[tokio::test]
async fn an_update_says_whether_permissions_changed() {
    let body = json!({"ok": true, "app_id": "A1", "permissions_updated": true});
    let (responder, client) = with(&body).await;
    let updated = client.apps_manifest_update(&token(), "A1", MANIFEST).await.unwrap();
    assert_eq!(updated, ManifestAnswer::Accepted(true));
    let (line, form) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(line, "POST /api/apps.manifest.update HTTP/1.1");
    assert!(form.starts_with("app_id=A1&manifest="), "{form}");
    for code in ["no_permission", "invalid_app_id"] {
        let (_responder, client) = with(&json!({"ok": false, "error": code})).await;
        let error = client.apps_manifest_update(&token(), "A1", MANIFEST).await.unwrap_err();
        assert!(matches!(error, Error::Rejected { .. }) && error.code() == code, "{error:?}");
    }
}
