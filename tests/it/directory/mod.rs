//! The member list: how it is read through every fault, how replicas learn of it, and how long it
//! counts (faults.md 5, 10, 15, 18, 19).

mod alive;
mod cluster;
mod cursors;
mod cut;
mod fields;
mod garbage;
mod hints;
mod memory;
mod pages;
mod shrink;
mod stale;
mod throttled;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use herald::rpc::pb;
use herald::sandbox::fixture::generated_member;
use herald::sandbox::{FaultKind, Raw};
use serde_json::{Value, json};

use crate::support::client::{Client, person};
use crate::support::world::{Plan, TENANT, World, until};

/// People of the made-up workspace; the app's bot is one more member, the last one.
const MEMBERS: u64 = 59;
/// The last of them.
const LAST: u64 = MEMBERS - 1;
/// Members of one page.
const PAGE: u64 = 10;

/// Sixty members on six pages, read once.
fn plan() -> Plan {
    Plan { members: Some((0..MEMBERS).map(generated_member).collect()), ..Plan::default() }
}

fn small_pages(world: &World) {
    world.sandbox.configure(|options| options.max_page = usize::try_from(PAGE).unwrap());
}

fn email(number: u64) -> String {
    format!("person{number}@generated.example")
}

fn id(number: u64) -> String {
    format!("UG{number:09}")
}

/// Slack's cursor of the page that begins with this member.
fn cursor(number: u64) -> String {
    STANDARD.encode(format!("user:{}", id(number)))
}

/// A page of these members, and the cursor after it; `None` ends the list.
fn page(members: impl IntoIterator<Item = Value>, cursor: Option<String>) -> FaultKind {
    let members: Vec<Value> = members.into_iter().collect();
    let next_cursor = cursor.unwrap_or_default();
    let body = json!({
        "ok": true, "members": members, "response_metadata": { "next_cursor": next_cursor },
    });
    let headers = [("content-type".to_owned(), "application/json".to_owned())].into();
    FaultKind::Body { body: Raw::Text(body.to_string()), headers }
}

async fn state(world: &World) -> pb::Directory {
    world.client.workspace(TENANT).await.unwrap().directory.unwrap()
}

/// Waits until the list in memory is as wanted; it follows the one in the store.
async fn counted(world: &World, wanted: impl Fn(&pb::Directory) -> bool) {
    until("the members are counted", async || wanted(&state(world).await).then_some(())).await;
}

/// Requests a reading of the list.
async fn refresh(world: &World) {
    let request = pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
    world.client.refresh_directory(request).await.unwrap();
}

/// Requests a reading, and waits until it has ended with an error.
async fn refresh_in_vain(world: &World) -> pb::Directory {
    let calls = world.calls("users.list").len();
    refresh(world).await;
    until("the reading ends", async || {
        let state = state(world).await;
        let asked = world.calls("users.list").len() > calls;
        let held = state.crawl.as_ref().is_some_and(|crawl| !crawl.holder.is_empty());
        (asked && !held && !state.last_error.is_empty() && is_later(&state)).then_some(state)
    })
    .await
}

/// Whether the next reading is not due yet.
fn is_later(state: &pb::Directory) -> bool {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let next = state.next_refresh_at.unwrap();
    next.seconds.cast_unsigned() > now.as_secs()
        || next.seconds.cast_unsigned() == now.as_secs()
            && next.nanos.cast_unsigned() > now.subsec_nanos()
}

/// The member of the person with this address.
async fn who(client: &Client, email: &str) -> pb::ResolveIdentityResponse {
    let subject = pb::resolve_identity_request::Subject::Person(person("somebody", email));
    let request = pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(subject),
        actor: None,
    };
    client.resolve_identity(request).await.unwrap()
}

/// The id of the member with this address, if one is found.
async fn member(client: &Client, email: &str) -> Option<String> {
    who(client, email).await.member.map(|member| member.slack_user_id)
}
