//! Three processes, one list of 20,000 members (I10; faults.md 5): it is read once, whichever
//! process dies or freezes while reading it. PostgreSQL only.

use std::collections::HashMap;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::fixture::generated_member;
use herald::sandbox::{Fault, FaultKind, LogEntry};

use super::{email, id};
use crate::crash::{Site, site_on};
use crate::support::client::person;
use crate::support::process::{Herald, until};

const TENANT: &str = "acme";
const MEMBERS: u64 = 20_000;
/// With three more members of the site, and the bot.
const ALL: i64 = 20_004;
/// Pages of 999 members.
const PAGES: usize = 21;

async fn site() -> Option<Site> {
    let mut site = site_on(true, 3).await?;
    for member in (0..MEMBERS).map(generated_member) {
        site.sandbox.add_member(member);
    }
    site.sandbox.configure(|options| options.rate_limits = true);
    // 3 s: a live replica renews it in time even on a busy machine, and a dead one is replaced
    // soon.
    site.more = vec!["directory.lease_seconds=300".into()];
    Some(site)
}

async fn directory(herald: &Herald) -> pb::Directory {
    let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    let mut admin = AdminServiceClient::new(herald.channel());
    admin.get_workspace(request).await.unwrap().into_inner().directory.unwrap_or_default()
}

pub(super) async fn refresh(herald: &Herald) {
    let request = pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
    AdminServiceClient::new(herald.channel()).refresh_directory(request).await.unwrap();
}

async fn generation(herald: &Herald, generation: i64) -> pb::Directory {
    until("the generation is there", async || {
        let read = directory(herald).await;
        (read.generation >= generation).then_some(read)
    })
    .await
}

/// Waits until this replica finds the member in its own memory.
async fn finds(herald: &Herald, number: u64) {
    let subject = pb::resolve_identity_request::Subject::Person(person("x", &email(number)));
    let request = pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(subject),
        actor: None,
    };
    until("the member is found", async || {
        let mut herald = HeraldServiceClient::new(herald.channel());
        let answer = herald.resolve_identity(request.clone()).await.unwrap().into_inner();
        (answer.member?.slack_user_id == id(number)).then_some(())
    })
    .await;
}

/// The number of requests for pages since `from`, and how many of them requested a page again.
fn asked(site: &Site, from: usize) -> (usize, usize) {
    let calls = site.calls("users.list");
    let refused: Vec<&LogEntry> = calls.iter().filter(|call| call.http_status == 429).collect();
    assert!(refused.is_empty(), "avoidable: {refused:?}");
    let mut pages: HashMap<String, usize> = HashMap::new();
    for call in &calls[from..] {
        let cursor = call.args.get("cursor").map(ToString::to_string).unwrap_or_default();
        *pages.entry(cursor).or_default() += 1;
    }
    (calls.len() - from, pages.values().map(|times| times - 1).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_ask_for_as_many_pages_as_one() {
    let Some(site) = site().await else { return };
    let others = [site.start().await, site.start().await];
    let first = site.start_connected().await;
    for herald in others.iter().chain([&first]) {
        finds(herald, MEMBERS - 1).await;
    }
    assert_eq!(asked(&site, 0), (PAGES, 0));

    // All replicas also learn of the next generation, and none reads it again.
    site.sandbox.add_member(generated_member(MEMBERS));
    refresh(&others[1]).await;
    for herald in others.iter().chain([&first]) {
        finds(herald, MEMBERS).await;
    }
    assert_eq!(asked(&site, PAGES), (PAGES, 0));
    drop(others);

    // With one replica.
    refresh(&first).await;
    generation(&first, 3).await;
    assert_eq!(asked(&site, 2 * PAGES), (PAGES, 0));
}

/// Three replicas in the middle of the second reading; the one that reads comes separately.
async fn in_mid_crawl(site: &Site) -> (Vec<Herald>, Herald) {
    let mut replicas = vec![site.start().await, site.start().await];
    replicas.push(site.start_connected().await);
    assert_eq!(asked(site, 0), (PAGES, 0));
    // Slower than the test polls.
    site.sandbox.script(Fault::new("users.list", FaultKind::Delay { seconds: 0.1 }));
    refresh(&replicas[0]).await;
    let name = until("the reading is under way", async || {
        let crawl = directory(&replicas[0]).await.crawl?;
        (crawl.pages >= 5 && !crawl.holder.is_empty()).then_some(crawl.holder)
    })
    .await;
    let named = format!("\"holder\":\"{name}\"");
    let reader = replicas.iter().position(|herald| herald.log().contains(&named)).unwrap();
    let reader = replicas.remove(reader);
    (replicas, reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_killed_is_replaced_and_asks_for_one_page_again_at_most() {
    let Some(site) = site().await else { return };
    let (others, mut reader) = in_mid_crawl(&site).await;
    reader.kill();
    let read = generation(&others[0], 2).await;
    assert_eq!((read.members, read.generation), (ALL, 2));
    let (calls, again) = asked(&site, PAGES);
    assert!(again <= 1 && calls <= PAGES + 1, "{calls} calls, {again} pages again");
    for herald in &others {
        finds(herald, MEMBERS - 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_frozen_past_its_lease_publishes_nothing() {
    let Some(site) = site().await else { return };
    let (others, reader) = in_mid_crawl(&site).await;
    reader.freeze().await;
    let read = generation(&others[0], 2).await;
    assert_eq!(read.members, ALL);
    let (_, again) = asked(&site, PAGES);
    assert!(again <= 1, "{again} pages again");
    let told = "another replica reads the member list now";
    assert!(!reader.log().contains(told));
    reader.signal("CONT");
    until("the frozen reader finds out", async || reader.log().contains(told).then_some(())).await;
    let after = directory(&others[0]).await;
    assert_eq!((after.generation, after.read_at), (2, read.read_at), "{after:?}");
    assert_eq!((after.crawl, after.last_error), (None, String::new()));
    // Its partial list is not used: a replica that starts afresh reads the complete list.
    let fresh = site.start().await;
    for herald in others.iter().chain([&reader, &fresh]) {
        finds(herald, MEMBERS - 1).await;
    }
}
