//! Which installations an event is for, if companies share channels or an app is installed for a
//! whole organisation.

use serde_json::{Value, json};

use super::{about, applied, envelope, knock, member_at, metric, numbers, progress};
use crate::support::world::{World, for_each_database, until};

const EVENTS: &str = "herald_slack_events_total";

/// An event about a member who belongs to an organisation.
fn of_org(event: &str, id: &str, enterprise: &str) -> Value {
    let mut inner = about(id, 9, "org");
    inner["user"]["team_id"] = json!("T0SOMEWHERE");
    inner["user"]["enterprise_user"] =
        json!({ "id": id, "enterprise_id": enterprise, "teams": ["T0SOMEWHERE"] });
    let mut body = envelope(event, inner);
    body["team_id"] = json!("T0SOMEWHERE");
    body["enterprise_id"] = json!(enterprise);
    body["authorizations"] = json!([{ "enterprise_id": enterprise, "team_id": null,
        "is_bot": true, "is_enterprise_install": true }]);
    body
}

async fn acknowledged(world: &World, body: &Value) {
    assert_eq!(knock(world, 0, body).await.status(), 200);
}

#[tokio::test]
async fn an_organisations_event_is_for_its_installation_alone() {
    for_each_database(async |world| {
        let before = progress(world).await;
        // The event does not concern an installation in one workspace.
        acknowledged(world, &of_org("Ev1", "UORGONE", "E0ORG")).await;
        assert_eq!(metric(world, 0, EVENTS, r#"result="unknown_workspace""#).await, 1);
        assert_eq!(numbers(world, "SELECT COUNT(*) FROM seen_events").await, [0]);
        // The same app, for all workspaces of an organisation.
        let all = "UPDATE installations SET org_wide = TRUE, enterprise_id = 'E0ORG', team_id = ''";
        world.execute(all).await.unwrap();
        acknowledged(world, &of_org("Ev2", "UORGTWO", "E0OTHER")).await;
        assert_eq!(metric(world, 0, EVENTS, r#"result="unknown_workspace""#).await, 2);
        assert_eq!(progress(world).await, before);
        acknowledged(world, &of_org("Ev3", "UORGTHREE", "E0ORG")).await;
        // The event does not name the place, only the authorization that sees it.
        let mut bare = of_org("Ev4", "UORGFOUR", "E0ORG");
        bare["enterprise_id"] = json!(null);
        bare["team_id"] = json!("");
        acknowledged(world, &bare).await;
        assert_eq!(applied(world, 2).await, 0);
        for id in ["uorgthree", "uorgfour"] {
            until(id, async || member_at(world, 0, &format!("{id}@demo.example")).await).await;
        }
        for id in ["uorgone", "uorgtwo"] {
            assert_eq!(member_at(world, 0, &format!("{id}@demo.example")).await, None, "{id}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_stranger_who_shares_a_channel_gets_into_no_list() {
    for_each_database(async |world| {
        let before = progress(world).await;
        let ours = herald::sandbox::Config::default().team.id;
        let mut stranger = about("USTRANGER", 9, "stranger");
        stranger["user"]["team_id"] = json!("T0ANOTHER");
        // The workspace where it happened; the authorizations name ours.
        let mut body = envelope("Ev1", stranger);
        body["team_id"] = json!("T0ANOTHER");
        body["is_ext_shared_channel"] = json!(true);
        acknowledged(world, &body).await;
        assert_eq!(metric(world, 0, EVENTS, r#"result="unknown_workspace""#).await, 1);
        assert_eq!(progress(world).await, before);
        // One of our members, though the event names another company's workspace first.
        let mut own = about("UOWN", 9, "own");
        own["user"]["team_id"] = json!(ours);
        body["event"] = own;
        body["event_id"] = json!("Ev2");
        acknowledged(world, &body).await;
        until("the member is known", async || member_at(world, 0, "uown@demo.example").await).await;
        assert_eq!(member_at(world, 0, "ustranger@demo.example").await, None);
    })
    .await;
}
