//! Herald's own client and messages against the sandbox: both must mean the same Slack.

use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::{Slack, config, start};
use crate::domain::delivery::Outcome;
use crate::domain::event;
use crate::domain::ids::{DeliveryId, EventType, SlackUserId};
use crate::domain::render::{self, Context, Link, Reader};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::sandbox::{Fault, FaultKind};
use crate::slack::{App, Authorize, Client, Config, Destination, PostMessage, Range};
use crate::telemetry::Metrics;

fn client(slack: &Slack) -> Client {
    let config = Config { base_url: slack.sandbox.url(), ..Config::default() };
    Client::new(&config, Metrics::unobserved()).unwrap()
}

#[tokio::test]
async fn the_client_installs_reads_and_posts() {
    let slack = start(config()).await;
    let client = client(&slack);
    let redirect_uri = "http://127.0.0.1:9/slack/callback";
    let scopes = ["chat:write", "im:write", "im:history", "users:read", "users:read.email"];
    let ask = Authorize {
        client_id: "1234567890.0987654321",
        scopes: &scopes,
        redirect_uri,
        state: "s",
        team_id: None,
    };
    let allow = slack.http.post(client.authorize_url(&ask)).form(&[("decision", "allow")]);
    let location = allow.send().await.unwrap().headers()["location"].clone();
    let location = Url::parse(location.to_str().unwrap()).unwrap();
    let code = location.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let secret = Secret::new("sandbox-client-secret");
    let app = App { client_id: ask.client_id, client_secret: &secret };
    let access = client.oauth_v2_access(app, &code, redirect_uri).await.unwrap();
    let token = access.access_token;
    assert!(client.auth_test(&token).await.is_ok());

    let first = client.users_list(&token, None, 10, None).await.unwrap();
    let cursor = first.next_cursor.unwrap();
    let rest = client.users_list(&token, Some(&cursor), 10, None).await.unwrap();
    assert_eq!((first.members.len(), rest.members.len()), (10, 5));
    assert!(rest.next_cursor.is_none());
    assert!(client.users_lookup_by_email(&token, "ben@demo.example").await.unwrap().is_some());
    assert!(client.users_lookup_by_email(&token, "no@demo.example").await.unwrap().is_none());

    let ada = SlackUserId::parse("U0DEMOADA").unwrap();
    assert!(client.users_info(&token, &ada).await.unwrap().is_some());
    let channel = client.conversations_open(&token, &ada).await.unwrap();
    let delivery_id = DeliveryId(Uuid::from_u128(7));
    let message = PostMessage {
        destination: Destination::Conversation(&channel),
        text: "hello",
        blocks: &json!([]),
        delivery_id,
        thread_ts: None,
    };
    slack.sandbox.script(Fault::new("chat.postMessage", FaultKind::Reset).times(1).after());
    let lost = client.chat_post_message(&token, &message).await;
    assert!(matches!(lost, Outcome::Unknown { .. }), "{lost:?}");
    let range = Range { oldest: None, limit: 15, cursor: None };
    let found = client.conversations_history(&token, &channel, &range).await.unwrap();
    assert_eq!(found.messages[0].delivery_id, Some(delivery_id));
    assert_eq!(found.messages[0].ts, slack.sandbox.messages()[0].ts);
}

#[tokio::test]
async fn every_built_in_message_is_taken() {
    let slack = start(config()).await;
    let zone = "Europe/Berlin".to_owned();
    let reader = Reader { name: Some("Ada".into()), locale: Some("en".into()), time_zone: zone };
    let link = Link { url: "https://app.example/x".into(), label: None };
    for built_in in event::catalogue() {
        let name = EventType::parse(built_in.name).unwrap();
        let data = built_in.demo_data();
        let now = Timestamp(1_760_000_000_000_000);
        let context =
            Context { event: &name, data: &data, reader: &reader, link: Some(&link), now };
        let rendered = render::render(&built_in.template(), &context).unwrap();
        let body: Value =
            json!({"channel": "U0DEMOADA", "text": rendered.text, "blocks": rendered.blocks});
        let posted = slack.json("chat.postMessage", body).await;
        assert_eq!(posted["ok"], true, "{}: {posted}", built_in.name);
    }
    assert_eq!(slack.sandbox.messages().len(), 11);
}
