//! kill -9 of the replica that fetches custom fields: the fetched ones are the checkpoint, so
//! another replica continues with the rest, and only lookups that were under way are repeated.

use std::collections::HashMap;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use super::{Site, TENANT, service, sites};
use crate::support::process::{Herald, until};

const GET: &str = "users.profile.get";
const MEMBERS: usize = 60;
/// Lookups under way at a time.
const BATCH: usize = 3;

/// How often each member was looked up in Slack.
fn asked(site: &Site) -> HashMap<String, usize> {
    let mut asked = HashMap::new();
    for call in site.calls(GET) {
        *asked.entry(call.args["user"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    asked
}

async fn map(herald: &Herald) {
    let settings = pb::Settings {
        user_attribute: "user_id".into(),
        slack_attribute: "profile.fields.XF1.value".into(),
        ..pb::Settings::default()
    };
    let paths = vec!["user_attribute".into(), "slack_attribute".into()];
    let request = pb::UpdateSettingsRequest {
        tenant_id: TENANT.into(),
        settings: Some(settings),
        update_mask: Some(prost_types::FieldMask { paths }),
        actor: None,
    };
    AdminServiceClient::new(herald.channel()).update_settings(request).await.unwrap();
}

/// Waits until all are fetched and the pass has ended.
async fn complete(herald: &Herald) {
    let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    until("all custom fields are fetched", async || {
        let mut admin = AdminServiceClient::new(herald.channel());
        let workspace = admin.get_workspace(request.clone()).await.unwrap().into_inner();
        let progress = workspace.directory?.custom_fields?;
        (progress.complete && progress.fetching_since.is_none()).then_some(())
    })
    .await;
}

async fn finds(herald: &Herald, number: usize) {
    let person = pb::Person { user_id: format!("E-{number}"), ..pb::Person::default() };
    let request = pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::resolve_identity_request::Subject::Person(person)),
        actor: None,
    };
    until("the value is in use", async || {
        let answer = service(herald.channel()).resolve_identity(request.clone()).await.unwrap();
        let member = answer.into_inner().member?;
        (member.slack_user_id == format!("UF{number}")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_goes_on_with_the_rest() {
    for mut site in sites(1).await {
        for number in 0..MEMBERS {
            let profile = json!({ "email": format!("f{number}@example.com") });
            site.sandbox.add_member(json!({ "id": format!("UF{number}"), "profile": profile,
                "_fields": { "XF1": format!("E-{number}") } }));
        }
        // Slower than the test polls; after 3 s another replica may take over.
        site.sandbox.script(Fault::new(GET, FaultKind::Delay { seconds: 0.05 }));
        site.more = vec!["directory.lease_seconds=300".into()];
        let mut replicas = Vec::new();
        if site.is_postgres() {
            replicas.push(site.start().await);
        }
        replicas.push(site.start_connected().await);
        map(&replicas[0]).await;
        until("some are fetched", async || (asked(&site).len() >= 20).then_some(())).await;
        let told = "custom fields are being fetched";
        let fetches = replicas.iter().position(|herald| herald.log().contains(told)).unwrap();
        let mut reader = replicas.remove(fetches);
        assert!(asked(&site).len() < MEMBERS, "the pass is not finished");
        reader.kill();
        let survivor = match replicas.pop() {
            Some(survivor) => survivor,
            None => site.start().await,
        };
        complete(&survivor).await;
        for number in [0, 1, MEMBERS / 2, MEMBERS - 1] {
            finds(&survivor, number).await;
        }
        let asked = asked(&site);
        // One more for the member that every site has.
        assert_eq!(asked.len(), MEMBERS + 1);
        assert!(asked.values().all(|times| *times <= 2), "{asked:?}");
        let again = asked.values().filter(|times| **times > 1).count();
        assert!(again <= BATCH, "{again} lookups repeated: {asked:?}");
    }
}
