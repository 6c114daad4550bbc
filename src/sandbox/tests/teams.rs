//! Several workspaces in one sandbox.

use serde_json::{Value, json};

use super::apps::{by_app, code};
use super::happenings::next;
use super::pushes::app;
use super::{ALL, Config, Slack, config, start};
use crate::sandbox::NewChannel;

const OWN: &str = "A0SANDBOX01";
const FIRST: &str = "T0SANDBOX01";
const SECOND: &str = "T0SBX000002";

/// The same sandbox, as seen with another token.
fn with(slack: Slack, token: String) -> Slack {
    Slack { token, ..slack }
}

#[tokio::test]
async fn the_person_chooses_the_workspace_and_each_has_its_own_token_and_channels() {
    let slack = start(Config { teams: 3, ..config() }).await;
    let ids: Vec<_> = slack.sandbox.teams().into_iter().map(|team| team.id).collect();
    assert_eq!(ids, [FIRST, SECOND, "T0SBX000003"]);
    let own = slack.sandbox.apps().swap_remove(0);
    let client = own.client_id.as_str();
    let uri = ("redirect_uri", "https://app.example/cb");
    let asked = [("client_id", client), ("scope", "chat:write,channels:read"), uri];
    let page = url::Url::parse_with_params(slack.at("oauth/v2/authorize").as_str(), asked).unwrap();
    let page = slack.http.get(page).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<option value=\"T0SBX000002\">Demo Workspace 2</option>"), "{page}");
    let chosen = code(&slack, &[&asked[..], &[("team", SECOND)]].concat()).await;
    let granted = by_app(&slack, &own, "oauth.v2.access", &[("code", &chosen), uri]).await;
    assert_eq!(granted["team"], json!({ "id": SECOND, "name": "Demo Workspace 2" }));
    // As in Slack, a workspace that the person is not in is ignored.
    let ignored = code(&slack, &[&asked[..], &[("team", "T0NONE")]].concat()).await;
    let first = by_app(&slack, &own, "oauth.v2.access", &[("code", &ignored), uri]).await;
    assert_eq!(
        (&first["team"]["id"], &first["access_token"]),
        (&json!(FIRST), &json!(slack.token))
    );

    let first_token = slack.token.clone();
    let second = with(slack, granted["access_token"].as_str().unwrap().to_owned());
    assert_eq!(second.form("auth.test", &[]).await["team_id"], SECOND);
    let made = second.sandbox.make_channel(&NewChannel {
        name: "second".into(),
        team: Some(SECOND.into()),
        ..NewChannel::default()
    });
    let names = |listed: Value| {
        let channels = listed["channels"].as_array().unwrap().clone();
        channels.into_iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(second.form("conversations.list", &[]).await), ["general", "second"]);
    let posted = [("channel", "U0DEMOADA"), ("text", "a")];
    let there = second.form("chat.postMessage", &posted).await;
    assert_eq!(second.sandbox.messages_in(SECOND).len(), 1);
    assert_eq!(second.sandbox.messages_in(FIRST).len(), 0);

    let slack = with(second, first_token);
    assert_eq!(names(slack.form("conversations.list", &[]).await), ["general"]);
    let info = slack.form("conversations.info", &[("channel", &made)]).await;
    assert_eq!(info["error"], "channel_not_found");
    let here = slack.form("chat.postMessage", &posted).await;
    assert_ne!(here["channel"], there["channel"]);
    assert!(slack.sandbox.uninstall_at([OWN, SECOND]));
    assert_eq!(slack.form("auth.test", &[]).await["ok"], true);
}

#[tokio::test]
async fn events_name_the_workspace() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { teams: 2, events_url: Some(url), ..config() }).await;
    slack.sandbox.install_at([OWN, SECOND], &ALL).unwrap();
    slack.sandbox.deactivate("U0DEMOADA");
    let mut teams = Vec::new();
    for _ in 0..2 {
        let (_, body) = received.recv().await.unwrap();
        let mut told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(told["event"]["type"], "user_change");
        assert_eq!(told["event"]["user"]["team_id"], told["team_id"]);
        teams.push(told["team_id"].take());
    }
    assert_eq!(teams, [FIRST, SECOND], "the workspaces share the members");
    let (name, team) = ("second".to_owned(), Some(SECOND.to_owned()));
    slack.sandbox.make_channel(&NewChannel { name, team, ..NewChannel::default() });
    assert_eq!(next(&mut received).await["channel"]["context_team_id"], SECOND);
    slack.sandbox.push_event_at([OWN, SECOND], json!({ "type": "team_rename" })).unwrap();
    assert_eq!(next(&mut received).await["type"], "team_rename");
    slack.sandbox.delivery_attempts().wait_for(|n| *n == 4).await.unwrap();
    let told = slack.sandbox.deliveries().pop();
    assert_eq!(
        told.map(|told| [told.app_id, told.team_id]),
        Some([OWN, SECOND].map(str::to_owned))
    );
}

#[tokio::test]
async fn an_org_wide_token_is_for_the_workspaces_to_which_the_app_was_added() {
    let slack = start(Config { teams: 5, ..config() }).await;
    slack.sandbox.configure(|options| (options.org_wide, options.team_access) = (true, false));
    let token = slack.sandbox.install(&ALL).expose().to_owned();
    let slack = with(slack, token);
    assert_eq!(slack.form("auth.teams.list", &[]).await["teams"], json!([]));
    for team in [FIRST, SECOND, "T0SBX000004"] {
        assert!(slack.sandbox.grant_team_at([OWN, team], true));
    }
    assert!(!slack.sandbox.grant_team_at([OWN, "T0NONE"], true));
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let form = [("limit", "2"), ("cursor", cursor.as_str())];
        let page = slack.form("auth.teams.list", &form).await;
        let teams = page["teams"].as_array().unwrap();
        ids.extend(teams.iter().map(|team| team["id"].as_str().unwrap().to_owned()));
        cursor = page["response_metadata"]["next_cursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(ids, [FIRST, SECOND, "T0SBX000004"]);
    let list = async |team| slack.form("users.list", &[("team_id", team)]).await;
    assert_eq!(list(SECOND).await["members"][0]["team_id"], SECOND);
    assert_eq!(list("T0SBX000003").await["error"], "team_access_not_granted");
    assert_eq!(list("T0NONE").await["error"], "team_not_found");
    let body = json!({ "name": "fourth", "team_id": "T0SBX000004" });
    let made = slack.json("conversations.create", body).await;
    assert_eq!(made["channel"]["context_team_id"], "T0SBX000004", "{made}");
    let channel = made["channel"]["id"].as_str().unwrap();
    // The channel says which workspace it is.
    let post = [("channel", channel), ("text", "a")];
    assert_eq!(slack.form("chat.postMessage", &post).await["ok"], true);
    slack.sandbox.grant_team_at([OWN, "T0SBX000004"], false);
    assert_eq!(slack.form("chat.postMessage", &post).await["error"], "team_access_not_granted");
}

#[tokio::test]
async fn an_administrator_decides_on_a_page_and_the_app_is_not_told() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { teams: 2, events_url: Some(url), ..config() }).await;
    slack.sandbox.configure(|options| options.require_approval = true);
    let own = slack.sandbox.apps().swap_remove(0);
    let form = [
        ("client_id", own.client_id.as_str()),
        ("scope", "chat:write"),
        ("redirect_uri", "https://app.example/cb"),
        ("team", SECOND),
    ];
    let request = [&form[..], &[("decision", "request")]].concat();
    let page = slack.http.post(slack.at("oauth/v2/authorize")).form(&request);
    let page = page.send().await.unwrap();
    assert_eq!((page.status().as_u16(), page.headers().get("location")), (200, None));
    assert!(page.text().await.unwrap().contains("/admin/apps"));
    let admin = slack.http.get(slack.at("admin/apps")).send().await.unwrap().text().await.unwrap();
    assert!(admin.contains("Herald for Demo Workspace 2"), "{admin}");
    let action = admin.split("action=\"/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let press = async |decision| {
        let form = [("decision", decision)];
        slack.http.post(slack.at(&action)).form(&form).send().await.unwrap().status().as_u16()
    };
    assert_eq!(press("perhaps").await, 400);
    assert_eq!(press("approve").await, 303);
    code(&slack, &form).await;
    let elsewhere = [&form[..3], &[("team", FIRST), ("decision", "allow")]].concat();
    let page = slack.http.post(slack.at("oauth/v2/authorize")).form(&elsewhere);
    assert_eq!(page.send().await.unwrap().status(), 200, "the other workspace did not approve");
    // No event came before this one.
    slack.sandbox.push_event(json!({ "type": "team_rename" })).unwrap();
    assert_eq!(next(&mut received).await["type"], "team_rename");
}
