//! The Slack client against the sandbox over a real socket: both must agree about Slack.

use std::net::{Ipv4Addr, SocketAddr};

use herald::domain::channels::next::SCOPES;
use herald::domain::delivery::Outcome;
use herald::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use herald::domain::secret::Secret;
use herald::sandbox::{self, Fault, FaultKind, Sandbox};
use herald::slack::{AppCredentials, Authorize, Client, Config, Destination, PostMessage, Range};
use herald::telemetry::Metrics;
use serde_json::json;
use url::Url;
use uuid::Uuid;

#[tokio::test]
async fn it_installs_reads_posts_and_finds_what_was_lost() {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sandbox = Sandbox::start(sandbox::Config { addr, ..Default::default() }).await.unwrap();
    let config = Config { base_url: sandbox.url(), ..Config::default() };
    let client = Client::new(&config, Metrics::unobserved()).unwrap();

    let redirect_uri = "http://127.0.0.1:9/slack/callback";
    let scopes = ["chat:write", "im:write", "im:history", "users:read", "users:read.email"];
    let client_id = "1234567890.0987654321";
    let (state, scopes) = ("s", &scopes[..]);
    let ask = Authorize { client_id, scopes, redirect_uri, state, team_id: None, challenge: None };
    let no_redirect = reqwest::redirect::Policy::none();
    let browser = reqwest::Client::builder().redirect(no_redirect).build().unwrap();
    let allow = browser.post(client.authorize_url(&ask)).form(&[("decision", "allow")]);
    let location = allow.send().await.unwrap().headers()["location"].clone();
    let location = Url::parse(location.to_str().unwrap()).unwrap();
    let code = location.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let app = AppCredentials {
        client_id: client_id.to_owned(),
        client_secret: Secret::new("sandbox-client-secret"),
        previous_client_secret: None,
    };
    let access = client.oauth_v2_access(&app, &code, redirect_uri, None).await;
    let token = access.unwrap().access_token;
    assert_eq!(client.auth_test(&token).await.unwrap().team_id.as_deref(), Some("T0SANDBOX01"));

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
    let later = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
    let delivery_id = DeliveryId(Uuid::from_u128(7));
    let message = PostMessage {
        destination: Destination::Conversation(&channel),
        text: "hello",
        blocks: &json!([]),
        delivery_id,
        thread_ts: None,
    };
    sandbox.script(Fault::new("chat.postMessage", FaultKind::Reset).times(1).after());
    let lost = client.chat_post_message(&token, &message, later).await.unwrap();
    assert!(matches!(lost, Outcome::Unknown { .. }), "{lost:?}");
    let range = Range { oldest: None, limit: 15, cursor: None };
    let found = client.conversations_history(&token, &channel, &range).await.unwrap();
    assert_eq!(found.messages[0].delivery_id, Some(delivery_id));
    assert_eq!(found.messages[0].ts, sandbox.messages()[0].ts);

    for _ in 0..2 {
        let sent = client.chat_post_message(&token, &message, later).await.unwrap();
        assert!(matches!(sent, Outcome::Sent { .. }), "{sent:?}");
    }
    let limited = client.chat_post_message(&token, &message, later).await.unwrap();
    assert!(matches!(limited, Outcome::Throttled { .. }), "{limited:?}");
    sandbox.revoke_token(None, "account_inactive");
    let refused = client.chat_post_message(&token, &message, later).await.unwrap();
    assert!(matches!(refused, Outcome::Unauthorized { .. }), "{refused:?}");
}

/// With the scopes of the feature, and no others.
#[tokio::test]
async fn it_creates_fills_changes_and_ends_channels() {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sandbox = Sandbox::start(sandbox::Config { addr, ..Default::default() }).await.unwrap();
    let config = Config { base_url: sandbox.url(), ..Config::default() };
    let client = Client::new(&config, Metrics::unobserved()).unwrap();
    let token = sandbox.install(&SCOPES);
    let user = |id: &str| SlackUserId::parse(id).unwrap();
    let bot = user(&sandbox.bot_user_id());

    let private = client.conversations_create(&token, "planning", true, None).await.unwrap();
    assert!(private.is_private && private.is_member);
    let made = client.conversations_create(&token, "course-7", false, None).await.unwrap();
    assert!(made.is_member && !made.is_private && made.created_at.0 > 0);
    assert_eq!((made.name.as_str(), made.creator.as_ref()), ("course-7", Some(&bot)));
    let again = client.conversations_create(&token, "course-7", false, None).await.unwrap_err();
    assert_eq!(again.code(), "name_taken");
    let channel = &made.id;

    let stranger = user("U0UNKNOWN");
    let all = [user("U0DEMOADA"), stranger.clone(), user("U0DEMOBEN")];
    let refused = client.conversations_invite(&token, channel, &all, true).await.unwrap();
    assert_eq!(refused, [(stranger, "user_not_found".to_owned())]);
    let again = client.conversations_invite(&token, channel, &all[..1], false).await.unwrap();
    assert_eq!(again, [(user("U0DEMOADA"), "already_in_channel".to_owned())]);
    client.conversations_kick(&token, channel, &user("U0DEMOBEN")).await.unwrap();
    let page = client.conversations_members(&token, channel, None).await.unwrap();
    let mut members = page.members;
    members.sort_unstable();
    let mut expected = vec![bot, user("U0DEMOADA")];
    expected.sort_unstable();
    assert_eq!((members, page.next_cursor), (expected, None));

    client.conversations_join(&token, channel).await.unwrap();
    client.conversations_set_topic(&token, channel, "a topic").await.unwrap();
    client.conversations_set_purpose(&token, channel, "a purpose").await.unwrap();
    let renamed = client.conversations_rename(&token, channel, "course-8").await.unwrap();
    let seen = client.conversations_info(&token, channel).await.unwrap();
    assert_eq!((seen.name.as_str(), renamed.as_str()), ("course-8", "course-8"));
    assert_eq!((seen.topic.as_str(), seen.purpose.as_str()), ("a topic", "a purpose"));

    client.conversations_archive(&token, channel).await.unwrap();
    let again = client.conversations_archive(&token, channel).await.unwrap_err();
    assert_eq!(again.code(), "already_archived");
    let page = client.conversations_list(&token, None, None).await.unwrap();
    let listed = |id: &ChannelId| page.channels.iter().find(|found| found.id == *id).unwrap();
    assert!(listed(channel).is_archived && listed(&private.id).is_private);
    let refused = client.conversations_unarchive(&token, channel).await.unwrap_err();
    assert_eq!(refused.code(), "not_in_channel", "bots cannot do it at present");
}
