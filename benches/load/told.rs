//! The delay until another replica knows a change of the member list: a single member, counted from
//! the call to Slack about them, and a new generation, counted from its publication. Both are
//! observed from outside, by querying the other replica without a pause.

use std::time::{SystemTime, UNIX_EPOCH};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use serde_json::json;
use tonic::transport::Channel;

use super::latency::percentiles;
use super::stage::{Database, Plan, Stage, TENANT, described, email, until};
use super::{Effort, tell};

const PEOPLE: usize = 900;

pub(crate) async fn run(database: Database, effort: Effort) {
    // A SQLite file belongs to a single process.
    if database == Database::Sqlite {
        return;
    }
    for (listens, name, reach) in [
        (true, "by NOTIFY", "<= 100 ms"),
        (false, "by a look every 3 s", "<= 3 s, and the time to load it"),
    ] {
        let settings = vec![format!("store.listen={listens}")];
        let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
        let stage = Stage::start(database, &plan).await;
        let (mut process, other) = stage.another().await;
        // Slack allows 50 lookups by address a minute, and 20 readings of the list.
        let count = if listens { effort.count(50, 10) } else { effort.count(10, 3) };
        let single = changes(&stage, &other, count).await;
        let published = generations(&stage, &other, count.min(10)).await;
        process.kill().ok();
        process.wait().ok();
        let row = format!("another replica knows a member, {name}");
        tell(&row, database.name(), &percentiles(single), "-", "-", reach);
        let row = format!("another replica has a new list of {PEOPLE}, {name}");
        tell(&row, database.name(), &percentiles(published), "-", "-", reach);
    }
}

/// A person joins: one replica looks them up in Slack, the other is notified.
async fn changes(stage: &Stage, other: &HeraldServiceClient<Channel>, count: usize) -> Vec<u128> {
    let mut times = Vec::new();
    for number in PEOPLE..PEOPLE + count {
        join(stage, number);
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::Person(described(number))),
            ..pb::TestSlackRequest::default()
        };
        let mut herald = stage.herald();
        let asking = tokio::spawn(async move { herald.test_slack(request).await.unwrap() });
        let seen = appears(other, number).await;
        asking.await.unwrap();
        let log = stage.sandbox.log();
        let asked = log.iter().rev().find(|call| call.method == "users.lookupByEmail").unwrap();
        times.push(u128::try_from(seen - asked.started_at_micros).unwrap_or(0));
    }
    times
}

/// A new reading: the replica that reads the list publishes it, and the other loads it. Counted
/// from the moment when the store has it according to the first replica, which is also queried
/// without a pause.
async fn generations(
    stage: &Stage,
    other: &HeraldServiceClient<Channel>,
    count: usize,
) -> Vec<u128> {
    let admin = AdminServiceClient::new(stage.channel.clone());
    let mut times = Vec::new();
    for number in 2 * PEOPLE..2 * PEOPLE + count {
        join(stage, number);
        let before = generation(&admin).await;
        let request =
            pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
        admin.clone().refresh_directory(request).await.unwrap();
        let publishing = async {
            until("it is published", async || generation(&admin).await > before).await;
            now()
        };
        let (published, seen) = tokio::join!(publishing, appears(other, number));
        times.push(u128::try_from(seen - published).unwrap_or(0));
    }
    times
}

async fn generation(admin: &AdminServiceClient<Channel>) -> i64 {
    let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    let workspace = admin.clone().get_workspace(request).await.unwrap().into_inner();
    workspace.directory.unwrap().generation
}

fn join(stage: &Stage, number: usize) {
    let name = format!("person{number}");
    let profile = json!({ "email": email(number), "display_name": name });
    stage
        .sandbox
        .add_member(json!({ "id": format!("U{number:06}"), "name": name, "profile": profile }));
}

/// The time at which the replica knew, in microseconds since 1970: both processes use the same
/// clock.
async fn appears(other: &HeraldServiceClient<Channel>, number: usize) -> i64 {
    until("the other replica knows", async || {
        let request = pb::ResolveIdentityRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::resolve_identity_request::Subject::Person(described(number))),
            actor: None,
        };
        other.clone().resolve_identity(request).await.unwrap().into_inner().member.is_some()
    })
    .await;
    now()
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's log has the clock of this process")]
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}
