//! Tests over a real socket, with a plain HTTP client.

mod apps;
mod channel_events;
mod channel_faults;
mod channels;
mod control;
mod happenings;
mod invitations;
mod messages;
mod methods;
mod migration;
mod org;
mod pictures;
mod pushes;
mod refreshes;
mod teams;
mod templates;
mod threads;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use url::Url;

use super::{Config, Fault, FaultKind, HistoryLimit, Sandbox, fixture};

const ALL: [&str; 19] = [
    "dnd:read",
    "mpim:write",
    "tokens.basic",
    "usergroups:read",
    "chat:write",
    "im:write",
    "im:history",
    "users:read",
    "users:read.email",
    "users.profile:read",
    "team:read",
    "channels:manage",
    "channels:read",
    "channels:history",
    "channels:join",
    "groups:write",
    "groups:read",
    "groups:history",
    "im:read",
];

struct Slack {
    sandbox: Sandbox,
    http: reqwest::Client,
    token: String,
}

fn config() -> Config {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config { addr, rate_limits: false, ..Config::default() }
}

async fn start(config: Config) -> Slack {
    let sandbox = Sandbox::start(config).await.unwrap();
    let no_redirect = reqwest::redirect::Policy::none();
    let http = reqwest::Client::builder().redirect(no_redirect).build().unwrap();
    let token = sandbox.install(&ALL).expose().to_owned();
    Slack { sandbox, http, token }
}

impl Slack {
    fn at(&self, path: &str) -> Url {
        self.sandbox.url().join(path).unwrap()
    }

    async fn send(
        &self,
        method: &str,
        form: &[(&str, &str)],
    ) -> reqwest::Result<reqwest::Response> {
        let url = self.at(&format!("api/{method}"));
        self.http.post(url).bearer_auth(&self.token).form(form).send().await
    }

    async fn form(&self, method: &str, form: &[(&str, &str)]) -> Value {
        self.send(method, form).await.unwrap().json().await.unwrap()
    }

    async fn json(&self, method: &str, body: Value) -> Value {
        let url = self.at(&format!("api/{method}"));
        let request = self.http.post(url).bearer_auth(&self.token).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn installing_by_the_authorize_page() {
    let slack = start(config()).await;
    let redirect = "http://127.0.0.1:9/cb";
    let fields = [
        ("client_id", "1234567890.0987654321"),
        ("scope", "chat:write,users:read"),
        ("redirect_uri", redirect),
        ("state", "s&1"),
    ];
    let mut shown = slack.at("oauth/v2/authorize");
    shown.query_pairs_mut().extend_pairs(fields);
    let page = slack.http.get(shown).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<code>chat:write</code>") && page.contains("Allow"));

    let decide = |decision: &'static str| {
        let form: Vec<_> = fields.into_iter().chain([("decision", decision)]).collect();
        slack.http.post(slack.at("oauth/v2/authorize")).form(&form).send()
    };
    let location = |response: reqwest::Response| {
        assert_eq!(response.status(), 302);
        let text = response.headers()["location"].to_str().unwrap().to_owned();
        let pairs: Vec<_> = Url::parse(&text).unwrap().query_pairs().into_owned().collect();
        move |key: &str| pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone())
    };
    let cancelled = location(decide("cancel").await.unwrap());
    assert_eq!(cancelled("error").as_deref(), Some("access_denied"));
    let allowed = location(decide("allow").await.unwrap());
    assert_eq!(allowed("state").as_deref(), Some("s&1"));
    let code = allowed("code").unwrap();

    let exchange = |secret: &'static str, code: String, redirect: &'static str| {
        let url = slack.at("api/oauth.v2.access");
        let form = [("code", code.as_str()), ("redirect_uri", redirect)];
        slack.http.post(url).basic_auth("1234567890.0987654321", Some(secret)).form(&form).send()
    };
    let read = async |secret, code: &str| -> Value {
        exchange(secret, code.to_owned(), redirect).await.unwrap().json().await.unwrap()
    };
    assert_eq!(read("wrong", &code).await["error"], "bad_client_secret");
    slack.sandbox.revoke_token(None, "token_revoked");
    let answer = read("sandbox-client-secret", &code).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(answer["scope"], "chat:write,users:read");
    assert_ne!(answer["access_token"], slack.token, "uninstalled and installed gives a new one");
    assert_eq!(read("sandbox-client-secret", &code).await["error"], "invalid_code");

    slack.sandbox.configure(|options| options.require_approval = true);
    let asked = decide("allow").await.unwrap();
    assert_eq!((asked.status().as_u16(), asked.headers().get("location")), (200, None));
}

#[tokio::test]
async fn paging_through_the_members() {
    let slack = start(config()).await;
    slack.sandbox.revoke_token(None, "account_inactive");
    assert_eq!(slack.form("users.list", &[]).await["error"], "account_inactive");
    let token = slack.sandbox.install(&["users:read"]).expose().to_owned();
    let slack = Slack { token, ..slack };
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let form = [("limit", "4"), ("cursor", cursor.as_str())];
        let page = slack.form("users.list", &form).await;
        for member in page["members"].as_array().unwrap() {
            assert!(member["profile"].get("email").is_none(), "needs users:read.email");
            assert!(member["profile"]["fields"].is_null());
            let deleted = member["deleted"] == true;
            assert_eq!(deleted, member.get("real_name").is_none());
            ids.push(member["id"].as_str().unwrap().to_owned());
        }
        cursor = page["response_metadata"]["next_cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(ids.len(), fixture::demo_members().len() + 1, "and the bot");
    assert_eq!(
        slack.form("users.list", &[("cursor", "bm9wZQ==")]).await["error"],
        "invalid_cursor"
    );
    for n in 0..1000 {
        slack.sandbox.add_member(fixture::generated_member(n));
    }
    assert_eq!(slack.form("users.list", &[]).await["error"], "limit_required");
    let missing = slack.form("users.lookupByEmail", &[("email", "ada@demo.example")]).await;
    assert_eq!(missing["error"], "missing_scope");
    assert_eq!(missing["needed"], "users:read.email");
    assert_eq!(missing["provided"], "users:read");
}

#[tokio::test]
async fn reading_people_one_by_one() {
    let slack = start(config()).await;
    let by = async |email| slack.form("users.lookupByEmail", &[("email", email)]).await;
    assert_eq!(by("ADA@demo.example").await["user"]["id"], "U0DEMOADA");
    assert_eq!(by("jonas@demo.example").await["error"], "users_not_found");
    let profile = slack.form("users.profile.get", &[("user", "U0DEMOADA")]).await;
    assert_eq!(profile["profile"]["fields"]["XF12345"]["value"], "1001");
    let fields = slack.form("team.profile.get", &[]).await;
    assert_eq!(fields["profile"]["fields"][0]["label"], "Employee ID");
    assert_eq!(slack.form("users.info", &[("user", "U0")]).await["error"], "user_not_found");
    let ignored = slack.json("users.info", json!({"user": "U0DEMOADA"})).await;
    assert_eq!(ignored["error"], "invalid_arguments", "this method reads no JSON");
    assert_eq!(slack.form("no.such", &[]).await["error"], "unknown_method");
}

#[tokio::test]
async fn posting_and_reading_back() {
    let slack = start(config()).await;
    let mut stored = slack.sandbox.stored();
    let blocks = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "hi"}}]);
    let metadata = json!({"event_type": "e", "event_payload": {"id": "42"}});
    let body =
        json!({"channel": "U0DEMOADA", "text": "hi", "blocks": blocks, "metadata": metadata});
    let posted = slack.json("chat.postMessage", body).await;
    assert_eq!(posted["ok"], true, "{posted}");
    assert_eq!(posted["warning"], "missing_charset");
    assert_eq!(*stored.wait_for(|n| *n == 1).await.unwrap(), 1);
    let channel = posted["channel"].as_str().unwrap();
    assert!(channel.starts_with('D'));
    let opened = slack.form("conversations.open", &[("users", "U0DEMOADA")]).await;
    assert_eq!((&opened["channel"]["id"], &opened["no_op"]), (&posted["channel"], &json!(true)));

    let history = slack.form("conversations.history", &[("channel", channel)]).await;
    assert_eq!(history["messages"][0]["metadata"], json!({"event_type": "e"}));
    let all = [("channel", channel), ("include_all_metadata", "true")];
    let history = slack.form("conversations.history", &all).await;
    assert_eq!(history["messages"][0]["metadata"], metadata);
    assert_eq!(history["messages"][0]["ts"], posted["ts"]);

    let ts = posted["ts"].as_str().unwrap();
    let reply = [("channel", channel), ("text", "again"), ("thread_ts", ts)];
    assert_eq!(slack.form("chat.postMessage", &reply).await["message"]["thread_ts"], ts);
    let replies = slack.form("conversations.replies", &[("channel", channel), ("ts", ts)]).await;
    assert_eq!(replies["messages"].as_array().unwrap().len(), 2);
    assert_eq!(replies["messages"][0]["reply_count"], 1);
    let top = slack.form("conversations.history", &[("channel", channel)]).await;
    assert_eq!(top["messages"].as_array().unwrap().len(), 1);

    let update = [("channel", channel), ("ts", ts), ("text", "better")];
    assert_eq!(slack.form("chat.update", &update).await["text"], "better");
    let gone = [("channel", channel), ("ts", ts)];
    assert_eq!(slack.form("chat.delete", &gone).await["ok"], true);
    assert_eq!(slack.form("chat.delete", &gone).await["error"], "message_not_found");
    let messages = slack.sandbox.messages();
    assert_eq!((messages[0].deleted, messages[0].user.as_deref()), (true, Some("U0DEMOADA")));
    assert_eq!(slack.sandbox.log()[0].stored_ts.as_deref(), Some(ts));
}

#[tokio::test]
async fn posting_where_slack_says_no_and_where_it_does_not() {
    let slack = start(config()).await;
    let to = async |channel| {
        slack.form("chat.postMessage", &[("channel", channel), ("text", "a")]).await
    };
    assert_eq!(to("U0DEMOJON").await["ok"], true, "deactivated people answer ok");
    assert_eq!(to("USLACKBOT").await["error"], "cannot_dm_bot");
    assert_eq!(to("C0NONE").await["error"], "channel_not_found");
    assert_eq!(to("#general").await["error"], "not_in_channel");
    let open = slack.form("conversations.open", &[("users", "U0DEMOJON")]).await;
    assert_eq!(open["error"], "user_disabled");
    let empty = slack.form("chat.postMessage", &[("channel", "U0DEMOADA")]).await;
    assert_eq!(empty["error"], "no_text");
    let metadata = [("channel", "U0DEMOADA"), ("text", "a"), ("metadata", "{\"a\":1}")];
    let refused = slack.form("chat.postMessage", &metadata).await;
    assert_eq!(refused["error"], "invalid_metadata_schema");
    let long = "x".repeat(4001);
    let split = slack.form("chat.postMessage", &[("channel", "U0DEMOADA"), ("text", &long)]).await;
    assert_eq!(split["ok"], true);
    assert_eq!(slack.sandbox.messages().len(), 3, "one to Jonas, two to Ada");
    let bearer = slack.at("api/auth.test");
    let plain =
        slack.http.post(bearer.clone()).send().await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(plain["error"], "not_authed");
    let wrong =
        slack.http.get(bearer).header(AUTHORIZATION, "Bearer xoxb-no").send().await.unwrap();
    assert_eq!(wrong.json::<Value>().await.unwrap()["error"], "invalid_auth");
}

#[tokio::test]
async fn channels_and_partial_invitations() {
    let slack = start(config()).await;
    let made = slack.json("conversations.create", json!({"name": "ops", "is_private": true})).await;
    let channel = made["channel"]["id"].as_str().unwrap();
    let again = slack.json("conversations.create", json!({"name": "ops"})).await;
    assert_eq!(again["error"], "name_taken");
    let invite = async |users, force| {
        let form = [("channel", channel), ("users", users), ("force", force)];
        slack.form("conversations.invite", &form).await
    };
    let mixed = invite("U0DEMOADA,U0NOBODY", "false").await;
    assert_eq!((&mixed["ok"], &mixed["error"]), (&json!(false), &json!("user_not_found")));
    assert_eq!(mixed["errors"][0]["user"], "U0NOBODY");
    assert_eq!(invite("U0DEMOADA,U0NOBODY", "true").await["ok"], true);
    assert_eq!(invite("U0DEMOADA", "false").await["error"], "already_in_channel");
    let members = slack.form("conversations.members", &[("channel", channel)]).await;
    assert_eq!(members["members"], json!(["U0DEMOADA", slack.sandbox.bot_user_id()]));
    assert_eq!(slack.form("conversations.archive", &[("channel", channel)]).await["ok"], true);
    let late = slack.form("chat.postMessage", &[("channel", channel), ("text", "a")]).await;
    assert_eq!(late["error"], "is_archived");
}

#[tokio::test]
async fn limits_answer_429_with_retry_after() {
    let history_limit = HistoryLimit::OnePerMinute15;
    let slack = start(Config { rate_limits: true, history_limit, ..config() }).await;
    let form = [("channel", "U0DEMOADA"), ("text", "a")];
    for _ in 0..3 {
        assert_eq!(slack.form("chat.postMessage", &form).await["ok"], true);
    }
    let limited = slack.send("chat.postMessage", &form).await.unwrap();
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    assert_eq!(
        limited.json::<Value>().await.unwrap(),
        json!({"ok": false, "error": "ratelimited"})
    );
    let other = [("channel", "U0DEMOBEN"), ("text", "a")];
    assert_eq!(slack.form("chat.postMessage", &other).await["ok"], true);
    let channel = slack.sandbox.messages()[0].conversation.clone();
    let history = [("channel", channel.as_str())];
    assert_eq!(slack.form("conversations.history", &history).await["ok"], true);
    assert_eq!(slack.send("conversations.history", &history).await.unwrap().status(), 429);
}

#[tokio::test]
async fn history_of_a_distributed_app_is_slow_also_without_other_limits() {
    let history_limit = HistoryLimit::OnePerMinute15;
    let slack = start(Config { history_limit, ..config() }).await;
    let bot = slack.sandbox.bot_user_id();
    let channel = slack.sandbox.create_channel("news", false, &[&bot]);
    let form = [("channel", channel.as_str())];
    assert_eq!(slack.form("conversations.history", &form).await["ok"], true);
    let limited = slack.send("conversations.history", &form).await.unwrap();
    assert_eq!(limited.status(), 429);
    assert!(limited.headers().contains_key("retry-after"));
    assert_eq!(slack.form("conversations.info", &form).await["ok"], true);
}

#[tokio::test]
async fn faults_before_and_after_storing() {
    let slack = start(config()).await;
    let form = [("channel", "U0DEMOADA"), ("text", "a")];
    let post = async || slack.send("chat.postMessage", &form).await;
    let count = || slack.sandbox.messages().len();
    let fault = |kind| Fault::new("chat.postMessage", kind).times(1);

    slack.sandbox.script(fault(FaultKind::Reset));
    assert!(post().await.is_err());
    assert_eq!(count(), 0);
    slack.sandbox.script(fault(FaultKind::Reset).after());
    assert!(post().await.is_err());
    assert_eq!(count(), 1);
    let retry_after = Some("later".to_owned());
    let status = FaultKind::Status { code: 503, body: "<html>".into(), retry_after };
    slack.sandbox.script(fault(status).after());
    let answer = post().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"later".parse().unwrap())
    );
    assert_eq!(count(), 2);
    slack.sandbox.script(fault(FaultKind::Error { code: "fatal_error".into() }).after());
    assert_eq!(post().await.unwrap().json::<Value>().await.unwrap()["error"], "fatal_error");
    assert_eq!(count(), 3);
    slack.sandbox.script(fault(FaultKind::Truncate).after());
    assert!(post().await.unwrap().bytes().await.is_err());
    slack.sandbox.script(fault(FaultKind::Huge { bytes: 1000 }));
    assert!(post().await.unwrap().bytes().await.unwrap().len() > 1000);
    slack.sandbox.script(fault(FaultKind::Slow { bytes_per_second: 100_000 }).after());
    assert_eq!(post().await.unwrap().json::<Value>().await.unwrap()["ok"], true);
    slack.sandbox.script(fault(FaultKind::Hang { seconds: 0.01 }));
    assert!(post().await.is_err());
    slack.sandbox.script(fault(FaultKind::Delay { seconds: 0.01 }));
    assert_eq!(post().await.unwrap().json::<Value>().await.unwrap()["ok"], true);
    slack
        .sandbox
        .script(fault(FaultKind::Body { body: "{\"ok\":tr".into(), headers: BTreeMap::new() }));
    assert!(post().await.unwrap().json::<Value>().await.is_err());
    let log = slack.sandbox.log();
    let told: Vec<_> = log.iter().map(|e| (e.fault.as_deref(), e.stored_ts.is_some())).collect();
    assert_eq!(told[..2], [(Some("reset"), false), (Some("reset"), true)]);
    assert_eq!(count(), 6);
}

#[tokio::test]
async fn headers_say_which_scopes_there_are() {
    let slack = start(config()).await;
    slack.sandbox.set_scopes(&["im:write"]);
    let answer = slack.send("chat.postMessage", &[("channel", "U0DEMOADA")]).await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-oauth-scopes"), "im:write");
    assert_eq!(header("x-accepted-oauth-scopes"), "chat:write");
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    assert!(!header("x-slack-req-id").is_empty());
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "missing_scope");
}

#[tokio::test]
async fn a_home_view_is_published_with_its_hash() {
    let slack = start(config()).await;
    let publish = async |hash: Option<&str>| {
        let view = json!({"type": "home", "blocks": [{"type": "divider"}]});
        let body = json!({"user_id": "U0DEMOADA", "view": view, "hash": hash});
        slack.json("views.publish", body).await
    };
    let first = publish(None).await;
    assert_eq!(first["ok"], true, "{first}");
    let hash = first["view"]["hash"].as_str().unwrap();
    let second = publish(Some(hash)).await;
    assert_eq!(second["view"]["id"], first["view"]["id"]);
    assert_eq!(publish(Some(hash)).await["error"], "hash_conflict");
    assert_eq!(slack.sandbox.home_view("U0DEMOADA"), Some(second["view"].clone()));
    slack.sandbox.configure(|options| options.home_tab = false);
    assert_eq!(publish(None).await["error"], "not_enabled");
}
