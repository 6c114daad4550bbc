//! Threads whose messages are deleted, as Slack treats them.

use serde_json::{Value, json};

use super::{Slack, config, start};

async fn post(slack: &Slack, text: &str, thread: Option<&Value>) -> Value {
    let mut body = json!({ "channel": "U0DEMOBEN", "text": text });
    if let Some(ts) = thread {
        body["thread_ts"] = ts.clone();
    }
    let answer = slack.json("chat.postMessage", body).await;
    assert_eq!(answer["ok"], true, "{answer}");
    answer
}

async fn delete(slack: &Slack, message: &Value) {
    let body = json!({ "channel": message["channel"], "ts": message["ts"] });
    assert_eq!(slack.json("chat.delete", body).await["ok"], true);
}

async fn replies(slack: &Slack, message: &Value) -> Value {
    let form = [
        ("channel", message["channel"].as_str().unwrap()),
        ("ts", message["ts"].as_str().unwrap()),
    ];
    slack.form("conversations.replies", &form).await
}

#[tokio::test]
async fn an_answer_to_a_deleted_message_is_posted_at_the_root() {
    let slack = start(config()).await;
    let root = post(&slack, "root", None).await;
    delete(&slack, &root).await;
    let answer = post(&slack, "answer", Some(&root["ts"])).await;
    assert!(answer["message"].get("thread_ts").is_none(), "{answer}");
    assert_eq!(replies(&slack, &root).await["error"], "thread_not_found");
    let never = post(&slack, "never there", Some(&json!("1.000000"))).await;
    assert!(never["message"].get("thread_ts").is_none());
}

#[tokio::test]
async fn a_deleted_message_with_answers_stays_as_a_tombstone() {
    let slack = start(config()).await;
    let root = post(&slack, "root", None).await;
    let first = post(&slack, "first", Some(&root["ts"])).await;
    delete(&slack, &root).await;
    let second = post(&slack, "second", Some(&root["ts"])).await;
    assert_eq!(second["message"]["thread_ts"], root["ts"]);
    let thread = replies(&slack, &root).await;
    let head = &thread["messages"][0];
    assert_eq!((&head["subtype"], &head["user"]), (&json!("tombstone"), &json!("USLACKBOT")));
    assert_eq!((&head["ts"], &head["reply_count"]), (&root["ts"], &json!(2)));
    assert_eq!(thread["messages"][1]["parent_user_id"], "USLACKBOT");
    let channel = root["channel"].as_str().unwrap();
    let history = slack.form("conversations.history", &[("channel", channel)]).await;
    assert_eq!(history["messages"][0]["subtype"], "tombstone");
    // Deleting the last reply removes the tombstone too.
    delete(&slack, &first).await;
    delete(&slack, &second).await;
    assert_eq!(replies(&slack, &root).await["error"], "thread_not_found");
    let third = post(&slack, "third", Some(&root["ts"])).await;
    assert!(third["message"].get("thread_ts").is_none());
}
