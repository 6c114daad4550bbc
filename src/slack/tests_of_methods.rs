//! The request that each method writes, and its reading of the answer.

use serde_json::{Value, json};

use super::responder::{Play, Responder, answer};
use super::{AppCredentials, Authorize, Client, Destination, Error, PostMessage, Range};
use crate::domain::delivery::Outcome;
use crate::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use crate::domain::secret::Secret;
use crate::telemetry::Metrics;

const DELIVERY: &str = "0197a3c0-0000-7000-8000-000000000001";

pub(super) async fn with(body: &Value) -> (Responder, Client) {
    let headers = [("x-oauth-scopes", "users:read,chat:write")];
    let bytes = answer(200, &headers, body.to_string().as_bytes());
    let responder = Responder::start(vec![Play::Answer(bytes)]).await;
    let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
    (responder, client)
}

pub(super) fn token() -> Secret {
    Secret::new("xoxb-1")
}

/// First line, whether the head has `header`, and the body of the only request.
pub(super) fn sent(responder: &Responder, header: &str) -> (String, String) {
    let requests = responder.requests();
    assert_eq!(requests.len(), 1);
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(head.lines().any(|line| line.eq_ignore_ascii_case(header)), "{header}\n{head}");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_post_is_json_with_metadata_and_without_previews() {
    let (responder, client) = with(&json!({"ok": true, "channel": "C1", "ts": "1.2"})).await;
    let blocks = json!([{"type": "divider"}]);
    let message = PostMessage {
        destination: Destination::Conversation(&ChannelId::parse("C1").unwrap()),
        text: "héllo",
        blocks: &blocks,
        delivery_id: DeliveryId::parse(DELIVERY).unwrap(),
        thread_ts: Some("1.1"),
    };
    let later = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
    let sent_at = client.chat_post_message(&token(), &message, later).await;
    assert!(matches!(sent_at, Ok(Outcome::Sent { .. })));
    let (line, body) = sent(&responder, "content-type: application/json; charset=utf-8");
    assert_eq!(line, "POST /api/chat.postMessage HTTP/1.1");
    sent(&responder, "authorization: Bearer xoxb-1");
    let expected = json!({
        "channel": "C1", "text": "héllo", "blocks": [{"type": "divider"}], "thread_ts": "1.1",
        "metadata": {"event_type": "herald_delivery", "event_payload": {"delivery_id": DELIVERY}},
        "unfurl_links": false, "unfurl_media": false,
    });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn a_home_tab_is_published_as_a_view() {
    let (responder, client) = with(&json!({"ok": true, "view": {"id": "V1", "hash": "1.a"}})).await;
    let (user, blocks) = (SlackUserId::parse("U1").unwrap(), json!([{"type": "divider"}]));
    client.views_publish(&token(), &user, &blocks).await.unwrap();
    let (line, body) = sent(&responder, "content-type: application/json; charset=utf-8");
    assert_eq!(line, "POST /api/views.publish HTTP/1.1");
    let expected = json!({"user_id": "U1", "view": {"type": "home", "blocks": blocks}});
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn an_answer_outside_its_thread_is_noticed() {
    for (message, unthreaded) in [
        (json!({"ts": "1.2", "thread_ts": "1.1"}), false),
        (json!({"ts": "1.2"}), true),
        (json!({"ts": "1.2", "thread_ts": ""}), true),
        // Missing information means nothing.
        (json!(null), false),
        (json!("odd"), false),
    ] {
        let body = json!({"ok": true, "channel": "C1", "ts": "1.2", "message": message});
        for thread_ts in [Some("1.1"), None] {
            let (_responder, client) = with(&body).await;
            let post = PostMessage {
                destination: Destination::Conversation(&ChannelId::parse("C1").unwrap()),
                text: "a",
                blocks: &json!([]),
                delivery_id: DeliveryId::parse(DELIVERY).unwrap(),
                thread_ts,
            };
            let later = tokio::time::Instant::now() + std::time::Duration::from_secs(3600);
            let Ok(Outcome::Sent { unthreaded: said, .. }) =
                client.chat_post_message(&token(), &post, later).await
            else {
                panic!("{body}")
            };
            assert_eq!(said, unthreaded && thread_ts.is_some(), "{body}");
        }
    }
}

#[tokio::test]
async fn a_name_with_half_a_character_can_be_read() {
    let body = json!({"ok": true, "members": [{"id": "U1", "name": "HALF"}]}).to_string();
    let bytes = answer(200, &[], body.replace("HALF", r"a\ud83d").as_bytes());
    let responder = Responder::start(vec![Play::Answer(bytes)]).await;
    let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
    let page = client.users_list(&token(), None, 200, None).await.unwrap();
    let member: Value = serde_json::from_str(page.members[0].get()).unwrap();
    assert_eq!(member["name"], "a\u{fffd}");
}

#[tokio::test]
async fn an_odd_message_does_not_hide_the_others_of_its_page() {
    let page = json!({"ok": true, "messages": [
        {"ts": "3.0", "user": {"id": "U1"}, "thread_ts": 7}, {"ts": 2.0}, {"ts": "1.0"}]});
    let (_responder, client) = with(&page).await;
    let range = Range { oldest: None, limit: 15, cursor: None };
    let channel = ChannelId::parse("D7").unwrap();
    let read = client.conversations_history(&token(), &channel, &range).await.unwrap();
    let found: Vec<_> = read.messages.iter().map(|m| m.ts.as_str()).collect();
    assert_eq!(found, ["3.0", "1.0"]);
}

#[tokio::test]
async fn a_page_of_members_keeps_every_key_as_it_came() {
    let members = json!([{"id": "U1", "profile": {"odd": [1, {"x": null}]}}, {"id": "U2"}]);
    let (responder, client) = with(&json!({
        "ok": true, "members": members, "cache_ts": 1,
        "response_metadata": {"next_cursor": "dXNlcjpVMg=="},
    }))
    .await;
    let page = client.users_list(&token(), Some("a=b"), 200, Some("T1")).await.unwrap();
    assert_eq!(page.next_cursor.as_deref(), Some("dXNlcjpVMg=="));
    let kept: Vec<Value> =
        page.members.iter().map(|m| serde_json::from_str(m.get()).unwrap()).collect();
    assert_eq!(Value::from(kept), members);
    assert!(!format!("{page:?}").contains("odd"), "members are personal");
    let (line, body) = sent(&responder, "content-type: application/x-www-form-urlencoded");
    assert_eq!(line, "POST /api/users.list HTTP/1.1");
    assert_eq!(body, "limit=200&include_locale=true&cursor=a%3Db&team_id=T1");
}

#[tokio::test]
async fn a_list_ends_with_an_empty_cursor_a_null_or_none() {
    for metadata in
        [json!({"next_cursor": ""}), json!({"next_cursor": null}), json!({}), json!(null)]
    {
        let body = json!({"ok": true, "members": [], "response_metadata": metadata});
        let (_responder, client) = with(&body).await;
        let page = client.users_list(&token(), None, 200, None).await.unwrap();
        assert_eq!(page.next_cursor, None, "{metadata}");
    }
}

#[tokio::test]
async fn a_list_without_members_is_no_empty_list() {
    let (_responder, client) = with(&json!({"ok": true})).await;
    let error = client.users_list(&token(), None, 200, None).await.unwrap_err();
    assert_eq!(error, Error::Transient { code: "unreadable_answer".to_owned() });
}

#[tokio::test]
async fn nobody_found_is_none() {
    let (responder, client) = with(&json!({"ok": false, "error": "users_not_found"})).await;
    let found = client.users_lookup_by_email(&token(), "a+b@example.com").await.unwrap();
    assert!(found.is_none());
    let (_, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(body, "email=a%2Bb%40example.com");

    let (_responder, client) = with(&json!({"ok": false, "error": "user_not_found"})).await;
    let user = SlackUserId::parse("U1").unwrap();
    assert!(client.users_info(&token(), &user).await.unwrap().is_none());
    let (_responder, client) = with(&json!({"ok": true, "user": {"id": "U1"}})).await;
    let found = client.users_info(&token(), &user).await.unwrap().unwrap();
    assert_eq!(found.get(), r#"{"id":"U1"}"#);
}

#[tokio::test]
async fn opening_a_conversation_gives_its_id() {
    let (responder, client) = with(&json!({"ok": true, "channel": {"id": "D7"}})).await;
    let user = SlackUserId::parse("U1").unwrap();
    let channel = client.conversations_open(&token(), &user).await.unwrap();
    assert_eq!(channel.as_str(), "D7");
    let (_, body) = sent(&responder, "content-type: application/json; charset=utf-8");
    assert_eq!(body, r#"{"users":"U1"}"#);
}

#[tokio::test]
async fn a_history_is_read_with_metadata() {
    let metadata =
        json!({"event_type": "herald_delivery", "event_payload": {"delivery_id": DELIVERY}});
    let page = json!({"ok": true, "has_more": false, "messages": [
        {"ts": "3.0", "bot_id": "B1", "app_id": "A1", "metadata": metadata},
        {"ts": "2.0", "user": "U1", "text": "a person"}, {"subtype": "odd"},
    ]});
    let channel = ChannelId::parse("D7").unwrap();
    let range = Range { oldest: Some("1.5"), limit: 15, cursor: None };
    let (responder, client) = with(&page).await;
    let read = client.conversations_history(&token(), &channel, &range).await.unwrap();
    let ids: Vec<_> = read.messages.iter().map(|m| (m.ts.as_str(), m.delivery_id)).collect();
    assert_eq!(ids, [("3.0", DeliveryId::parse(DELIVERY).ok()), ("2.0", None)]);
    assert_eq!(read.messages[0].app_id.as_deref(), Some("A1"));
    let (_, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(body, "channel=D7&limit=15&include_all_metadata=true&oldest=1.5");

    let (responder, client) = with(&page).await;
    client.conversations_replies(&token(), &channel, "1.0", &range).await.unwrap();
    let (line, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(line, "POST /api/conversations.replies HTTP/1.1");
    assert!(body.contains("&ts=1.0&"), "{body}");
}

#[tokio::test]
async fn the_code_is_exchanged_as_the_app_itself() {
    let app = &app(None);
    let (responder, client) = with(&json!({
        "ok": true, "access_token": "xoxb-new", "scope": "chat:write,users:read", "app_id": "A1",
        "bot_user_id": "UB", "token_type": "bot", "team": {"id": "T1", "name": "Team"},
        "enterprise": null, "is_enterprise_install": false, "authed_user": {"id": "U1"},
    }))
    .await;
    let access = client.oauth_v2_access(app, "c0de", "https://a.example/cb", None).await.unwrap();
    assert_eq!(access.access_token.expose(), "xoxb-new");
    assert_eq!(access.scopes, ["chat:write", "users:read"]);
    assert_eq!(access.team.as_ref().unwrap().id, "T1");
    assert!(access.enterprise.is_none() && access.refresh_token.is_none());
    assert!(!format!("{access:?}").contains("xoxb-new"));
    // "1.2:shh" in base64.
    let (_, body) = sent(&responder, "authorization: Basic MS4yOnNoaA==");
    assert_eq!(body, "code=c0de&redirect_uri=https%3A%2F%2Fa.example%2Fcb");
}

/// An app of which Slack has exchanged the secret, or not yet.
fn app(previous: Option<&str>) -> AppCredentials {
    AppCredentials {
        client_id: "1.2".to_owned(),
        client_secret: Secret::new("shh"),
        previous_client_secret: previous.map(Secret::new),
    }
}

#[tokio::test]
async fn a_refused_secret_is_followed_by_the_one_before() {
    let said = |body: Value| Play::Answer(answer(200, &[], body.to_string().as_bytes()));
    let script = [
        said(json!({"ok": false, "error": "bad_client_secret"})),
        said(json!({"ok": true, "access_token": "xoxb-new"})),
    ];
    let responder = Responder::start(Vec::from(script)).await;
    let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
    let redirect = "https://a.example/cb";
    let access = client.oauth_v2_access(&app(Some("old")), "c0de", redirect, None).await.unwrap();
    assert_eq!(access.access_token.expose(), "xoxb-new");
    // "1.2:shh" and "1.2:old" in base64.
    for (request, secret) in responder.requests().iter().zip(["MS4yOnNoaA==", "MS4yOm9sZA=="]) {
        assert!(request.contains(&format!("Basic {secret}")) && request.contains("code=c0de"));
    }
    assert_eq!(responder.requests().len(), 2);

    let (responder, client) = with(&json!({"ok": false, "error": "invalid_code"})).await;
    let refused = client.oauth_v2_access(&app(Some("old")), "c0de", redirect, None).await;
    assert_eq!(refused.unwrap_err().code(), "invalid_code");
    assert_eq!(responder.requests().len(), 1, "any other refusal is final");
}

#[tokio::test]
async fn a_code_may_give_a_token_that_expires() {
    let app = &app(None);
    let (_responder, client) = with(&json!({
        "ok": true, "access_token": "xoxe.xoxb-2", "refresh_token": "xoxe-1-2", "team": null,
        "expires_in": 43200, "enterprise": {"id": "E1"}, "is_enterprise_install": true,
    }))
    .await;
    let redirect = "https://herald.example/slack/oauth/callback";
    let access = client.oauth_v2_access(app, "code", redirect, None).await.unwrap();
    assert_eq!(access.expires_in.unwrap().as_secs(), 43200);
    assert_eq!(access.refresh_token.unwrap().expose(), "xoxe-1-2");
    assert!(access.is_enterprise_install && access.team.is_none());
}

#[tokio::test]
async fn whose_a_token_is_and_what_it_holds() {
    let (_responder, client) = with(&json!({
        "ok": true, "url": "https://t.example/", "team": "Team", "team_id": "T1", "user": "bot",
        "user_id": "UB", "bot_id": "B1", "enterprise_id": null,
    }))
    .await;
    let test = client.auth_test(&token()).await.unwrap();
    assert_eq!(test.team_id.as_deref(), Some("T1"));
    assert_eq!(test.scopes.unwrap(), ["chat:write", "users:read"]);
    assert!(test.enterprise_id.is_none() && !test.is_enterprise_install);
}

/// Keys that Herald does not depend on must not keep a workspace from being connected.
#[tokio::test]
async fn an_unused_key_of_another_type_loses_only_itself() {
    let (_responder, client) = with(&json!({
        "ok": true, "url": 7, "team": {"name": "Team"}, "team_id": "T1", "user": ["bot"],
        "user_id": "UB", "bot_id": false, "enterprise_id": {}, "is_enterprise_install": "no",
    }))
    .await;
    let test = client.auth_test(&token()).await.unwrap();
    assert_eq!((test.team_id.as_deref(), test.user_id.as_deref()), (Some("T1"), Some("UB")));
    assert_eq!((test.url, test.team, test.user, test.bot_id), (None, None, None, None));
    assert!(test.enterprise_id.is_none() && !test.is_enterprise_install);

    let app = &app(None);
    let (_responder, client) = with(&json!({
        "ok": true, "access_token": "xoxb-new", "scope": ["chat:write"], "app_id": 7,
        "bot_user_id": "UB", "team": {"id": "T1", "name": {"text": "Team"}}, "enterprise": "none",
        "authed_user": {"id": "U1", "name": 7},
    }))
    .await;
    let access = client.oauth_v2_access(app, "c0de", "https://a.example/cb", None).await.unwrap();
    let team = access.team.unwrap();
    assert_eq!((team.id.as_str(), team.name), ("T1", None));
    assert_eq!((access.app_id, access.enterprise, access.scopes), (None, None, Vec::new()));
    assert_eq!(access.authed_user.as_deref(), Some("U1"));
}

#[tokio::test]
async fn the_consent_page_is_asked_in_slacks_words() {
    let (responder, client) = with(&json!({})).await;
    let url = client.authorize_url(&Authorize {
        client_id: "1.2",
        scopes: &["chat:write", "users:read"],
        redirect_uri: "https://a.example/cb",
        state: "s&t",
        team_id: None,
        challenge: None,
    });
    let expected = format!(
        "{}oauth/v2/authorize?client_id=1.2&scope=chat%3Awrite%2Cusers%3Aread\
         &redirect_uri=https%3A%2F%2Fa.example%2Fcb&state=s%26t",
        responder.url
    );
    assert_eq!(url.as_str(), expected);
}

#[tokio::test]
async fn objections_to_blocks_are_an_answer_and_other_refusals_are_errors() {
    let blocks = json!([{"type": "divider"}]);
    let (responder, client) = with(&json!({"ok": true})).await;
    assert!(client.blocks_validate(&token(), &blocks).await.unwrap().is_empty());
    let (line, body) = sent(&responder, "content-type: application/x-www-form-urlencoded");
    assert_eq!(line, "POST /api/blocks.validate HTTP/1.1");
    assert_eq!(body, "blocks=%5B%7B%22type%22%3A%22divider%22%7D%5D");

    let rule = json!({"type": "max_length", "expected": 3000});
    let long = "a".repeat(10_000);
    let errors = json!([
        {"code": "failed_constraint", "message": "too long", "pointer": "/0/text/text",
         "constraint": rule, "field": "text"},
        {"code": 7, "message": long},
    ]);
    let refused = json!({"ok": false, "error": "invalid_blocks", "errors": errors});
    let (_responder, client) = with(&refused).await;
    let objections = client.blocks_validate(&token(), &blocks).await.unwrap();
    let first = &objections[0];
    assert_eq!(
        (first.code.as_str(), first.message.as_str(), first.pointer.as_str()),
        ("failed_constraint", "too long", "/0/text/text")
    );
    assert_eq!(serde_json::from_str::<Value>(&first.constraint).unwrap(), rule);
    assert_eq!((objections.len(), objections[1].code.as_str()), (2, ""));
    assert_eq!(objections[1].message.len(), 500);

    let (_responder, client) = with(&json!({"ok": false, "error": "invalid_blocks"})).await;
    let objections = client.blocks_validate(&token(), &blocks).await.unwrap();
    assert_eq!((objections.len(), objections[0].code.as_str()), (1, "invalid_blocks"));

    for code in ["invalid_arguments", "fatal_error"] {
        let (_responder, client) = with(&json!({"ok": false, "error": code})).await;
        let refused = client.blocks_validate(&token(), &blocks).await.map(|found| found.len());
        assert_eq!(refused.unwrap_err().code(), code);
    }
}
