//! Slack's requests to `/slack/events`, and their effects: over real sockets, on every database,
//! with one replica or several.

mod arrive;
mod audience;
mod channels;
mod installation;
mod members;
mod miss;

use herald::domain::secret::Secret;
use herald::rpc::pb::{Person, ResolveIdentityRequest, resolve_identity_request::Subject};
use herald::sandbox;
use herald::slack::signature;
use reqwest::StatusCode;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};

use crate::support::client::person;
use crate::support::world::{TENANT, World, until};

/// The address at which the replica takes events.
fn address(world: &World, replica: usize) -> url::Url {
    url::Url::parse(&format!("http://{}/slack/events", world.replicas[replica].http)).unwrap()
}

/// From now on the sandbox sends its events to the first replica.
pub(crate) fn listen(world: &World) {
    world.sandbox.send_events_to(address(world, 0));
}

/// Unix seconds of the machine, which is the database's too.
fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The body of an event of the sandbox's workspace.
fn envelope(id: &str, inner: Value) -> Value {
    let slack = sandbox::Config::default();
    json!({
        "token": "t", "team_id": slack.team.id, "api_app_id": slack.app_id,
        "type": "event_callback", "event_id": id, "event_time": now(), "event": inner,
        "authorizations": [{ "team_id": slack.team.id, "is_bot": true }],
    })
}

/// A member event. A member with an address gets `told` merged into it.
pub(crate) fn about(id: &str, updated: i64, name: &str) -> Value {
    json!({
        "type": "user_change", "event_ts": format!("{}.000100", now()),
        "user": { "id": id, "updated": updated, "name": name,
            "profile": { "email": format!("{}@demo.example", id.to_lowercase()),
                "display_name": name } },
    })
}

/// A client that may be Slack or not.
#[expect(clippy::disallowed_methods, reason = "the other side of the socket")]
pub(crate) fn caller() -> reqwest::Client {
    reqwest::Client::new()
}

/// Posts a body that may be an event; a forger may choose `timestamp` and `secret`.
async fn knock_as(
    url: url::Url,
    body: Vec<u8>,
    timestamp: i64,
    secret: &Secret,
) -> reqwest::Response {
    let timestamp = timestamp.to_string();
    let signature = signature::sign(secret, &timestamp, &body);
    caller()
        .post(url)
        .header("content-type", "application/json")
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signature)
        .body(body)
        .send()
        .await
        .unwrap()
}

fn secret() -> Secret {
    sandbox::Config::default().signing_secret
}

/// Posts as Slack does.
async fn knock(world: &World, replica: usize, body: &Value) -> reqwest::Response {
    let body = body.to_string().into_bytes();
    knock_as(address(world, replica), body, now(), &secret()).await
}

/// Posts an event that must be acknowledged.
pub(crate) async fn tell(world: &World, id: &str, inner: Value) {
    let answer = knock(world, 0, &envelope(id, inner)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

/// The numbers of one row, read without Herald.
pub(crate) async fn numbers<const N: usize>(world: &World, sql: &str) -> [i64; N] {
    let db = world.raw().await;
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    let numbers = std::array::from_fn(|at| row.try_get_by_index(at).unwrap());
    db.close().await.unwrap();
    numbers
}

/// Waits until this many events were taken and none waits; returns how many were parked.
async fn applied(world: &World, events: i64) -> i64 {
    const SQL: &str = "SELECT COUNT(*), COUNT(CASE WHEN state = 'waiting' THEN 1 END),
        COUNT(CASE WHEN state = 'parked' THEN 1 END) FROM seen_events";
    until("events are applied", async || {
        let [all, waiting, parked] = numbers(world, SQL).await;
        (all == events && waiting == 0).then_some(parked)
    })
    .await
}

/// The generation, the number of the last change, and how many changes are kept, once no reading is
/// under way or due: connecting may cause two.
async fn progress(world: &World) -> [i64; 3] {
    const SQL: &str = "SELECT generation, change_sequence,
        (SELECT COUNT(*) FROM directory_changes), COALESCE(crawl_started_at, 0), next_refresh_at
        FROM directory";
    until("the member list is at rest", async || {
        let [generation, sequence, kept, crawl, next] = numbers(world, SQL).await;
        (crawl == 0 && next > now() * 1_000_000).then_some([generation, sequence, kept])
    })
    .await
}

/// The sum of a metric's samples that carry this label, at one replica.
pub(crate) async fn metric(world: &World, replica: usize, name: &str, label: &str) -> u64 {
    let url = format!("http://{}/metrics", world.replicas[replica].http);
    let page = reqwest::get(url).await.unwrap().text().await.unwrap();
    let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let value = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
    let sum: f64 = page.lines().filter(of).map(value).sum();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let sum = sum as u64;
    sum
}

/// The id and name of the member with this address, from one replica's memory.
async fn member_at(world: &World, replica: usize, email: &str) -> Option<(String, String)> {
    let client = world.client(replica, None).await;
    member_by(&client, person("somebody", email)).await
}

/// Waits until a replica has this name for the person with this address: it learns of a change
/// after the store has it.
async fn called(world: &World, email: &str, name: &str) {
    until(&format!("{email} is called {name}"), async || {
        let (_, known) = member_at(world, 0, email).await?;
        (known == name).then_some(())
    })
    .await;
}

async fn member_by(
    client: &crate::support::client::Client,
    person: Person,
) -> Option<(String, String)> {
    let request = ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(Subject::Person(person)),
        actor: None,
    };
    let member = client.resolve_identity(request).await.unwrap().member?;
    Some((member.slack_user_id, member.display_name))
}
