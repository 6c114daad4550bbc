//! The control API, as used by the page and by tests in other processes.

use serde_json::{Value, json};

use super::{Slack, config, start};

impl Slack {
    pub(super) async fn read(&self, path: &str) -> Value {
        self.http.get(self.at(path)).send().await.unwrap().json().await.unwrap()
    }

    pub(super) async fn control(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(self.at(path)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
        let bytes = answer.bytes().await.unwrap();
        if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
    }
}

#[tokio::test]
async fn what_the_page_reads() {
    let slack = start(config()).await;
    let stream = slack.http.get(slack.at("_sandbox/events")).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let posted = slack.form("chat.postMessage", &[("channel", "U0DEMOADA"), ("text", "a")]).await;
    let mut stream = stream;
    let chunk = stream.chunk().await.unwrap().unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let (event, data) = text.trim().split_once('\n').unwrap();
    assert_eq!(event, "event: message");
    let told: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let expected =
        json!({"type": "message", "conversation": posted["channel"], "ts": posted["ts"]});
    assert_eq!(told, expected);

    let state = slack.read("_sandbox/state").await;
    assert_eq!(state["app"]["bot_user_id"], slack.sandbox.bot_user_id());
    assert_eq!(state["members"].as_array().unwrap().len(), 15);
    let conversations = slack.read("_sandbox/conversations").await;
    let direct = &conversations.as_array().unwrap().iter().find(|c| c["kind"] == "im").unwrap();
    assert_eq!((&direct["user_id"], &direct["count"]), (&json!("U0DEMOADA"), &json!(1)));
    let channel = posted["channel"].as_str().unwrap();
    let messages = slack.read(&format!("_sandbox/conversations/{channel}/messages")).await;
    assert_eq!((&messages[0]["text"], &messages[0]["bot_name"]), (&json!("a"), &json!("Herald")));
}

#[tokio::test]
async fn everything_can_be_driven_over_http() {
    let slack = start(config()).await;
    let fault =
        json!({"method": "auth.test", "times": 1, "kind": {"error": {"code": "fatal_error"}}});
    slack.control("_sandbox/faults", fault).await;
    assert_eq!(slack.form("auth.test", &[]).await["error"], "fatal_error");
    let test = slack.form("auth.test", &[]).await;
    assert_eq!((&test["ok"], &test["app_id"]), (&json!(true), &json!("A0SANDBOX01")));

    let member = json!({"id": "U0NEW", "profile": {"email": "new@demo.example"}});
    assert_eq!(slack.control("_sandbox/members", member).await["ids"][0], "U0NEW");
    slack.control("_sandbox/members", json!({"generate": 50})).await;
    let change = slack.http.patch(slack.at("_sandbox/members/U0NEW"));
    let change = change.json(&json!({"profile": {"email": "newer@demo.example"}}));
    assert_eq!(change.send().await.unwrap().status(), 204);
    let by = async |email| slack.form("users.lookupByEmail", &[("email", email)]).await;
    assert_eq!(by("newer@demo.example").await["user"]["id"], "U0NEW");
    assert_eq!(by("new@demo.example").await["error"], "users_not_found");
    assert_eq!(by("person49@generated.example").await["ok"], true);

    let issued =
        slack.control("_sandbox/tokens", json!({"do": "issue", "scopes": ["chat:write"]})).await;
    assert_eq!(issued["token"], slack.token, "the standing token, with more scopes");
    slack.control("_sandbox/tokens", json!({"do": "set_scopes", "scopes": ["chat:write"]})).await;
    assert_eq!(slack.form("users.list", &[]).await["error"], "missing_scope");
    let kill = json!({"do": "kill", "token": "all", "code": "token_expired"});
    slack.control("_sandbox/tokens", kill).await;
    assert_eq!(slack.form("auth.test", &[]).await["error"], "token_expired");

    let log = slack.read("_sandbox/log?after=1").await;
    assert_eq!((&log["dropped"], &log["entries"][0]["seq"]), (&json!(false), &json!(2)));
    assert!(!log.to_string().contains(&slack.token));
    slack
        .http
        .patch(slack.at("_sandbox/settings"))
        .json(&json!({"max_page": 2}))
        .send()
        .await
        .unwrap();
    assert_eq!(slack.read("_sandbox/settings").await["max_page"], 2);
    let addr = slack.sandbox.addr();
    slack.sandbox.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn rotating_tokens_are_refreshed_once() {
    let short = super::Config { token_rotation: true, time_scale: 0.01, ..config() };
    let slack = start(short).await;
    let code = slack.http.post(slack.at("oauth/v2/authorize"));
    let fields = [
        ("client_id", "1234567890.0987654321"),
        ("scope", "chat:write"),
        ("redirect_uri", "https://app.example/cb"),
        ("decision", "allow"),
    ];
    let location = code.form(&fields).send().await.unwrap().headers()["location"].clone();
    let location = url::Url::parse(location.to_str().unwrap()).unwrap();
    let code = location.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let access = async |form: &[(&str, &str)]| {
        let request = slack.http.post(slack.at("api/oauth.v2.access"));
        let request = request.basic_auth("1234567890.0987654321", Some("sandbox-client-secret"));
        request.form(form).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let uri = ("redirect_uri", "https://app.example/cb");
    let granted = access(&[("code", &code), uri]).await;
    assert_eq!(granted["expires_in"], 43_200);
    assert!(granted["access_token"].as_str().unwrap().starts_with("xoxe.xoxb-"));
    let refresh = granted["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    assert_eq!(access(&form).await["ok"], true);
    // It works for a short time after its first use.
    let mut again = access(&form).await;
    assert_eq!(again["ok"], true, "{again}");
    while again["ok"] == true {
        again = access(&form).await;
    }
    assert_eq!(again["error"], "invalid_refresh_token");
    // `start` took the first token, the exchange the second and the refresh the third: the first is
    // dead.
    assert_eq!(slack.form("auth.test", &[]).await["error"], "token_revoked");
}
