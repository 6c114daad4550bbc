//! kill -9 between the acknowledgement of an event and its application: it is applied afterwards,
//! once, by any process.

use herald::rpc::pb;
use herald::sandbox;
use herald::slack::signature;
use sea_orm::{Database, DatabaseConnection, Statement, TransactionTrait as _};
use serde_json::json;

use super::{Site, TENANT, service, sites};
use crate::support::process::{Herald, until};

/// The number of deaths.
const ROUNDS: i64 = 4;

async fn open(site: &Site) -> DatabaseConnection {
    let url = match &site.store.url {
        Some(url) => url.expose().to_owned(),
        None => format!("sqlite:{}", site.store.data_dir.join("herald.db").display()),
    };
    Database::connect(url).await.unwrap()
}

async fn number(db: &impl sea_orm::ConnectionTrait, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// A member joined; the event is acknowledged when this returns.
async fn joined(herald: &Herald, number: i64) {
    let slack = sandbox::Config::default();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let profile = json!({ "email": format!("new{number}@example.com") });
    let user = json!({ "id": format!("UNEW{number}"), "updated": now, "profile": profile });
    let body = json!({ "type": "event_callback", "team_id": slack.team.id,
        "api_app_id": slack.app_id, "event_id": format!("Ev{number}"), "event_time": now,
        "event": { "type": "team_join", "user": user } });
    let (body, timestamp) = (body.to_string().into_bytes(), now.to_string());
    let signature = signature::sign(&slack.signing_secret, &timestamp, &body);
    let answer = crate::events::caller()
        .post(format!("http://{}/slack/events", herald.http))
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signature)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_applied_once_by_whoever_is_there() {
    const TAKEN: &str = "SELECT COUNT(*) FROM seen_events WHERE state = 'waiting'";
    for mut site in sites(1).await {
        // A dead process's claim on an event lasts one minute of Slack's time.
        site.more = vec!["directory.poll_milliseconds=1000".into()];
        let mut herald = site.start_connected().await;
        let db = open(&site).await;
        for round in 0..ROUNDS {
            if site.is_postgres() {
                // Applying waits for this row, so no event is applied before the death.
                let held = db.begin().await.unwrap();
                number(&held, "SELECT change_sequence FROM directory FOR UPDATE").await;
                joined(&herald, round).await;
                herald.kill();
                assert_eq!(number(&held, TAKEN).await, 1);
                held.rollback().await.unwrap();
            } else {
                joined(&herald, round).await;
                herald.kill();
            }
            herald = site.start().await;
            until("the event is applied", async || (number(&db, TAKEN).await == 0).then_some(()))
                .await;
        }
        assert_eq!(number(&db, "SELECT change_sequence FROM directory").await, ROUNDS);
        assert_eq!(number(&db, "SELECT COUNT(*) FROM directory_changes").await, ROUNDS);
        let parked = "SELECT COUNT(*) FROM seen_events WHERE state <> 'done'";
        assert_eq!(number(&db, parked).await, 0);
        for round in 0..ROUNDS {
            let person = pb::Person {
                user_id: "somebody".into(),
                email: format!("new{round}@example.com"),
                ..pb::Person::default()
            };
            let request = pb::ResolveIdentityRequest {
                tenant_id: TENANT.into(),
                subject: Some(pb::resolve_identity_request::Subject::Person(person)),
                actor: None,
            };
            let answer = service(herald.channel()).resolve_identity(request).await.unwrap();
            let member = answer.into_inner().member.unwrap();
            assert_eq!(member.slack_user_id, format!("UNEW{round}"));
        }
        db.close().await.unwrap();
    }
}
