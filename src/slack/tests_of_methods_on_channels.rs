//! The requests that create, change and fill channels, and the reading of their answers.

use serde_json::{Value, json};

use super::responder::{Play, Responder, answer};
use super::tests_of_methods::{sent, token, with};
use super::{Client, Error};
use crate::domain::ids::{ChannelId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::telemetry::{Exposition, Metrics, OtlpConfig};

const JSON: &str = "content-type: application/json; charset=utf-8";
const FORM: &str = "content-type: application/x-www-form-urlencoded";

fn channel() -> ChannelId {
    ChannelId::parse("C1").unwrap()
}

fn user(id: &str) -> SlackUserId {
    SlackUserId::parse(id).unwrap()
}

/// The path's last part, and the arguments, of the only request, which has JSON.
fn asked(responder: &Responder) -> (String, Value) {
    let (line, body) = sent(responder, JSON);
    let method = line.strip_prefix("POST /api/").unwrap().strip_suffix(" HTTP/1.1").unwrap();
    (method.to_owned(), serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn a_channel_is_created_and_read_as_slack_describes_it() {
    let (responder, client) = with(&json!({"ok": true, "channel": {
        "id": "C1", "name": "course-7", "creator": "UB", "created": 1_504_554_479,
        "is_private": true, "is_archived": false, "is_member": true, "is_general": false,
        "topic": {"value": "a &amp; b", "creator": "", "last_set": 0}, "purpose": {"value": "p"},
    }}))
    .await;
    let made = client.conversations_create(&token(), "course-7", true, Some("T1")).await.unwrap();
    assert_eq!((made.id.as_str(), made.name.as_str()), ("C1", "course-7"));
    assert_eq!(
        (made.creator, made.created_at),
        (Some(user("UB")), Timestamp(1_504_554_479_000_000))
    );
    assert!(made.is_private && made.is_member && !made.is_archived && !made.is_general);
    assert_eq!((made.topic.as_str(), made.purpose.as_str()), ("a &amp; b", "p"));
    let arguments = json!({"name": "course-7", "is_private": true, "team_id": "T1"});
    assert_eq!(asked(&responder), ("conversations.create".to_owned(), arguments));
}

/// A second channel of the name would be the consequence of trying again.
#[tokio::test]
async fn creating_is_the_only_call_that_may_have_been_made() {
    let lost = |play: fn() -> Play| async move {
        let responder = Responder::start(vec![play(), play()]).await;
        let client = Client::new(&responder.config(), Metrics::unobserved()).unwrap();
        let made = client.conversations_create(&token(), "a", false, None).await.unwrap_err();
        let archived = client.conversations_archive(&token(), &channel()).await.unwrap_err();
        (made, archived)
    };
    let both = |code: &str| {
        let code = code.to_owned();
        (Error::Unknown { code: code.clone() }, Error::Transient { code })
    };
    assert_eq!(lost(|| Play::Reset).await, both("connection_lost"));
    assert_eq!(lost(|| Play::Answer(answer(500, &[], b"<html>"))).await, both("http_500"));
    let failed = || Play::Answer(answer(200, &[], br#"{"ok":false,"error":"internal_error"}"#));
    assert_eq!(lost(failed).await, both("internal_error"));
    // Created, but the answer does not say which.
    let (_responder, client) = with(&json!({"ok": true, "channel": {"name": "a"}})).await;
    let made = client.conversations_create(&token(), "a", false, None).await.unwrap_err();
    assert_eq!(made, both("unreadable_answer").0);
    // A clear refusal: nothing was created.
    let (_responder, client) = with(&json!({"ok": false, "error": "name_taken"})).await;
    let made = client.conversations_create(&token(), "a", false, None).await.unwrap_err();
    assert!(matches!(made, Error::Rejected { code, .. } if code == "name_taken"));
}

#[tokio::test]
async fn a_list_has_archived_channels_and_no_odd_one_hides_the_others() {
    let (responder, client) = with(&json!({"ok": true, "channels": [
        {"id": "C1", "name": "a", "is_archived": true, "created": "1504554479"},
        {"id": "C2"}, {"name": "b"}, {"id": "C-3", "name": "c"}, null, "C4",
        {"id": "G5", "name": "d", "is_private": true, "creator": "", "created": {}, "topic": "t",
         "purpose": {"value": 7}, "is_member": "yes"},
    ], "response_metadata": {"next_cursor": "dGVhbTpD"}}))
    .await;
    let page = client.conversations_list(&token(), Some("a=b"), Some("T1")).await.unwrap();
    let found: Vec<_> = page.channels.iter().map(|one| (one.id.as_str(), &*one.name)).collect();
    assert_eq!(found, [("C1", "a"), ("G5", "d")]);
    let (first, odd) = (&page.channels[0], &page.channels[1]);
    assert!(first.is_archived && odd.is_private && !odd.is_member);
    assert_eq!(first.created_at, Timestamp(1_504_554_479_000_000));
    assert_eq!((&odd.creator, odd.created_at), (&None, Timestamp(0)));
    assert_eq!((odd.topic.as_str(), odd.purpose.as_str()), ("", ""));
    assert_eq!(page.next_cursor.as_deref(), Some("dGVhbTpD"));
    let (line, body) = sent(&responder, FORM);
    assert_eq!(line, "POST /api/conversations.list HTTP/1.1");
    assert_eq!(
        body,
        "limit=999&types=public_channel%2Cprivate_channel&exclude_archived=false\
         &cursor=a%3Db&team_id=T1"
    );
}

#[tokio::test]
async fn members_are_read_page_by_page() {
    let members = json!(["U1", "W2", "", 7, null, "U-3"]);
    let (responder, client) = with(&json!({"ok": true, "members": members})).await;
    let page = client.conversations_members(&token(), &channel(), Some("c")).await.unwrap();
    assert_eq!((page.members, page.next_cursor), (vec![user("U1"), user("W2")], None));
    let (line, body) = sent(&responder, FORM);
    assert_eq!(line, "POST /api/conversations.members HTTP/1.1");
    assert_eq!(body, "channel=C1&limit=999&cursor=c");
    // A list that is missing is no empty list: everyone would seem to have left.
    let (_responder, client) = with(&json!({"ok": true})).await;
    let error = client.conversations_members(&token(), &channel(), None).await.unwrap_err();
    assert_eq!(error, Error::Transient { code: "unreadable_answer".to_owned() });
}

#[tokio::test]
async fn a_channel_is_looked_at() {
    let (responder, client) =
        with(&json!({"ok": true, "channel": {"id": "C1", "name": "a", "is_archived": true}})).await;
    let seen = client.conversations_info(&token(), &channel()).await.unwrap();
    assert!(seen.is_archived);
    let (line, body) = sent(&responder, FORM);
    assert_eq!(
        (line.as_str(), body.as_str()),
        ("POST /api/conversations.info HTTP/1.1", "channel=C1")
    );
}

#[tokio::test]
async fn people_whom_slack_refuses_are_the_answer_of_an_invitation() {
    let people = [user("U1"), user("U2"), user("U3")];
    let errors = json!([
        {"user": "U1", "ok": false, "error": "already_in_channel"},
        {"user": "U3", "ok": false, "error": "user_is_restricted"},
    ]);
    let refused = [
        (user("U1"), "already_in_channel".to_owned()),
        (user("U3"), "user_is_restricted".to_owned()),
    ];
    // The others are in, or no one is; either way Slack says who is not.
    for body in [
        json!({"ok": true, "channel": {"id": "C1"}, "errors": errors}),
        json!({"ok": false, "error": "already_in_channel", "errors": errors}),
    ] {
        let (responder, client) = with(&body).await;
        let found = client.conversations_invite(&token(), &channel(), &people, true).await;
        assert_eq!(found.unwrap(), refused);
        let (line, body) = sent(&responder, FORM);
        assert_eq!(line, "POST /api/conversations.invite HTTP/1.1");
        assert_eq!(body, "channel=C1&users=U1%2CU2%2CU3&force=true");
    }
    let (_responder, client) = with(&json!({"ok": true, "channel": {}, "errors": {}})).await;
    let found = client.conversations_invite(&token(), &channel(), &people, true).await;
    assert!(found.unwrap().is_empty());
}

#[tokio::test]
async fn a_refusal_that_names_no_one_is_an_error_unless_it_can_only_be_one() {
    let both = [user("U1"), user("U2")];
    for (code, one) in [
        ("cant_invite", true),
        ("user_is_restricted", true),
        ("user_not_found", true),
        ("is_archived", false),
        ("not_in_channel", false),
        ("no_permission", false),
        ("internal_error", false),
    ] {
        let body = json!({"ok": false, "error": code});
        let (_responder, client) = with(&body).await;
        let of_both = client.conversations_invite(&token(), &channel(), &both, true).await;
        assert_eq!(of_both.unwrap_err().code(), code);
        let (_responder, client) = with(&body).await;
        let of_one = client.conversations_invite(&token(), &channel(), &both[..1], true).await;
        match of_one {
            Ok(refused) => assert!(one && refused == [(user("U1"), code.to_owned())], "{code}"),
            Err(error) => assert!(!one && error.code() == code, "{code}"),
        }
    }
}

#[tokio::test]
async fn refused_people_count_as_an_answer_and_refused_calls_as_refusals() {
    let exposition = Exposition::new(&OtlpConfig::default()).unwrap();
    let named = br#"{"ok":false,"error":"cant_invite","errors":[{"user":"U1","error":"x"}]}"#;
    let play = |body: &[u8]| Play::Answer(answer(200, &[], body));
    let script = vec![play(named), play(br#"{"ok":false,"error":"is_archived"}"#)];
    let responder = Responder::start(script).await;
    let client = Client::new(&responder.config(), exposition.metrics()).unwrap();
    let people = [user("U1"), user("U2")];
    client.conversations_invite(&token(), &channel(), &people, true).await.unwrap();
    client.conversations_invite(&token(), &channel(), &people, true).await.unwrap_err();
    let text = exposition.text().unwrap();
    for outcome in ["ok", "rejected"] {
        let line = format!(
            r#"herald_slack_requests_total{{method="conversations.invite",outcome="{outcome}"}} 1"#
        );
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn changes_name_the_channel_and_what_becomes_of_it() {
    let (token, channel) = (token(), channel());
    let body = json!({"ok": true, "channel": {"id": "C1", "name": "course-8"}, "errors": {}});
    let (responder, client) = with(&body).await;
    let name = client.conversations_rename(&token, &channel, "Course 8").await.unwrap();
    assert_eq!(name, "course-8", "as Slack stored it");
    let arguments = json!({"channel": "C1", "name": "Course 8"});
    assert_eq!(asked(&responder), ("conversations.rename".to_owned(), arguments));

    let (responder, client) = with(&body).await;
    client.conversations_kick(&token, &channel, &user("U1")).await.unwrap();
    let arguments = json!({"channel": "C1", "user": "U1"});
    assert_eq!(asked(&responder), ("conversations.kick".to_owned(), arguments));

    let (responder, client) = with(&json!({"ok": true})).await;
    client.conversations_set_topic(&token, &channel, "t").await.unwrap();
    let arguments = json!({"channel": "C1", "topic": "t"});
    assert_eq!(asked(&responder), ("conversations.setTopic".to_owned(), arguments));

    let (responder, client) = with(&json!({"ok": true})).await;
    client.conversations_set_purpose(&token, &channel, "p").await.unwrap();
    let arguments = json!({"channel": "C1", "purpose": "p"});
    assert_eq!(asked(&responder), ("conversations.setPurpose".to_owned(), arguments));

    let alone = json!({"channel": "C1"});
    let (responder, client) = with(&json!({"ok": true, "warning": "already_in_channel"})).await;
    client.conversations_join(&token, &channel).await.unwrap();
    assert_eq!(asked(&responder), ("conversations.join".to_owned(), alone.clone()));

    let (responder, client) = with(&json!({"ok": true})).await;
    client.conversations_archive(&token, &channel).await.unwrap();
    assert_eq!(asked(&responder), ("conversations.archive".to_owned(), alone.clone()));

    let (responder, client) = with(&json!({"ok": true})).await;
    client.conversations_unarchive(&token, &channel).await.unwrap();
    assert_eq!(asked(&responder), ("conversations.unarchive".to_owned(), alone));
}

#[tokio::test]
async fn what_is_done_already_is_refused_with_a_code_of_its_own() {
    let (_responder, client) = with(&json!({"ok": false, "error": "already_archived"})).await;
    let error = client.conversations_archive(&token(), &channel()).await.unwrap_err();
    assert!(matches!(error, Error::Rejected { code, .. } if code == "already_archived"));
}
