//! The requests for the next token, for the workspaces of an organization, and for ids of members.

use serde_json::json;

use super::Error;
use super::tests_of_methods::{sent, token, with};
use crate::domain::ids::SlackUserId;
use crate::domain::secret::Secret;

#[tokio::test]
async fn a_refresh_token_is_exchanged_as_the_app_itself() {
    let (responder, client) = with(&json!({
        "ok": true, "access_token": "xoxe.xoxb-3", "refresh_token": "xoxe-1-3",
        "expires_in": 43200, "token_type": "bot", "team": null, "scope": ["chat:write"],
    }))
    .await;
    let (secret, refresh) = (Secret::new("shh"), Secret::new("xoxe-1-2"));
    let next = client.oauth_v2_refresh("1.2", &secret, &refresh).await.unwrap();
    assert_eq!(next.access_token.expose(), "xoxe.xoxb-3");
    assert_eq!(next.refresh_token.unwrap().expose(), "xoxe-1-3");
    assert_eq!(next.expires_in.unwrap().as_secs(), 43200);
    let (line, body) = sent(&responder, "authorization: Basic MS4yOnNoaA==");
    assert_eq!(line, "POST /api/oauth.v2.access HTTP/1.1");
    assert_eq!(body, "grant_type=refresh_token&refresh_token=xoxe-1-2");
}

#[tokio::test]
async fn a_token_without_an_end_is_exchanged_with_itself() {
    let (responder, client) = with(&json!({
        "ok": true, "access_token": "xoxe.xoxb-1", "refresh_token": "xoxe-1-1",
        "expires_in": "soon",
    }))
    .await;
    let next = client.oauth_v2_exchange("1.2", &Secret::new("shh"), &token()).await.unwrap();
    assert_eq!((next.refresh_token.unwrap().expose(), next.expires_in), ("xoxe-1-1", None));
    let (line, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(line, "POST /api/oauth.v2.exchange HTTP/1.1");
    assert_eq!(body, "client_id=1.2&client_secret=shh");
}

#[tokio::test]
async fn an_answer_without_a_token_is_unclear() {
    let (_responder, client) = with(&json!({"ok": true, "access_token": ""})).await;
    let (secret, refresh) = (Secret::new("shh"), Secret::new("xoxe-1-2"));
    let next = client.oauth_v2_refresh("1.2", &secret, &refresh).await;
    assert_eq!(next.unwrap_err(), Error::Unknown { code: "unreadable_answer".to_owned() });
}

#[tokio::test]
async fn workspaces_come_page_by_page() {
    let (responder, client) = with(&json!({
        "ok": true, "teams": [{"id": "T1", "name": "One"}, {"id": "T2"}],
        "response_metadata": {"next_cursor": "more"},
    }))
    .await;
    let page = client.auth_teams_list(&token(), Some("here")).await.unwrap();
    assert_eq!(page.teams[0].name.as_deref(), Some("One"));
    assert_eq!((page.teams.len(), page.next_cursor.as_deref()), (2, Some("more")));
    let (_, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(body, "limit=200&cursor=here");
}

#[tokio::test]
async fn ids_that_cannot_be_translated_are_absent() {
    let (responder, client) = with(&json!({
        "ok": true, "user_id_map": {"U1": "W1", "U2": ""}, "invalid_user_ids": ["U3"],
    }))
    .await;
    let user = |id: &str| SlackUserId::parse(id).unwrap();
    let asked = [user("U1"), user("U2"), user("U3")];
    let pairs = client.migration_exchange(&token(), &asked, Some("T1")).await.unwrap();
    assert_eq!(pairs, [(user("U1"), user("W1"))]);
    let (_, body) = sent(&responder, "authorization: Bearer xoxb-1");
    assert_eq!(body, "users=U1%2CU2%2CU3&team_id=T1");
}
