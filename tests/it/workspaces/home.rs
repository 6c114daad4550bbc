//! The Home tab of the app: its content for each person, and how often it is published.

use futures_util::future::join_all;
use herald::rpc::pb::{self, DeliveryState};
use herald::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::events::{listen, metric, tell};
use crate::support::client::{demo_person, task};
use crate::support::event_types::{create, training, update};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

const BEN: &str = "U0DEMOBEN";
const ADA: &str = "U0DEMOADA";
/// Her Slack is in German.
const CLARA: &str = "U0DEMOCLA";
/// Another tenant of the workspace.
const OTHER: &str = "globex";

const METHOD: &str = "views.publish";

/// The texts of a view, a line each.
fn text(view: &Value) -> String {
    let texts = view["blocks"].as_array().unwrap().iter().filter_map(|block| {
        block["text"]["text"].as_str().or_else(|| block["elements"][0]["text"].as_str())
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Opens the Home tab and waits for a view that was published since then.
async fn opened(world: &World, member: &str) -> String {
    let before = world.sandbox.home_view(member).map(|view| view["hash"].clone());
    assert!(world.sandbox.open_home(member));
    until("the Home tab is published", async || {
        let view = world.sandbox.home_view(member)?;
        (before.as_ref() != Some(&view["hash"])).then(|| text(&view))
    })
    .await
}

/// An event that sandboxes with a Home tab send.
fn event(member: &str) -> Value {
    json!({ "type": "app_home_opened", "user": member, "channel": "D0HOME", "tab": "home" })
}

/// Waits until this many publications had this result.
async fn results(world: &World, result: &str, count: u64) {
    let label = format!("result=\"{result}\"");
    until(result, async || {
        let counted = metric(world, 0, "herald_home_tabs_total", &label).await;
        (counted >= count).then_some(())
    })
    .await;
}

async fn choose(world: &World, tenant: &str, user: &str, value: pb::PreferenceValue) {
    let request = pb::SetPreferenceRequest {
        tenant_id: tenant.into(),
        user_id: user.into(),
        event_type: "task.due".into(),
        value: value.into(),
        actor: None,
    };
    world.client.set_preference(request).await.unwrap();
}

async fn pin(world: &World, tenant: &str, user: &str, member: &str) {
    let pins = vec![pb::IdentityPin { user_id: user.into(), slack_user_id: member.into() }];
    let request = pb::PinIdentitiesRequest { tenant_id: tenant.into(), pins, actor: None };
    assert_eq!(world.client.pin_identities(request).await.unwrap().pinned, 1);
}

fn named(user: &str, display_name: &str) -> pb::Person {
    pb::Person { display_name: display_name.into(), ..demo_person(user) }
}

#[tokio::test]
async fn a_known_person_sees_the_tenant_and_what_is_on_and_off() {
    for_each_database(async |world| {
        listen(world);
        world.client.upsert(TENANT, vec![named("ben", "<!channel> Ben")]).await;
        // The member is found by a notification, and stored.
        let id = world.client.notify(task("1", &["ben"])).await.unwrap().notification_id;
        assert_eq!(world.client.ended(TENANT, &id).await[0].state(), DeliveryState::Sent);
        choose(world, TENANT, "ben", pb::PreferenceValue::Off).await;
        create(&world.client, training()).await.unwrap();
        let mandatory =
            pb::EventType { name: "case.started".into(), mandatory: true, ..Default::default() };
        update(&world.client, mandatory, &["mandatory"]).await.unwrap();

        let shown = opened(world, BEN).await;
        for line in [
            "Herald",
            "Notifications from Herald arrive in the Messages tab of this app.",
            "*acme*",
            "This Slack account is connected to &lt;!channel&gt; Ben.",
            "🔒 Case started · always on",
            "🔔 Task assigned · on",
            "🔕 Task due · off",
            "🔔 Training cancelled · on",
            "To change this, open the notification settings in Herald.",
        ] {
            assert!(shown.lines().any(|one| one == line), "{line}: {shown}");
        }
        assert!(!shown.contains("switched off"), "{shown}");

        world.client.switch_sending(TENANT, false).await;
        let german = pb::Person { locale: "de-AT".into(), ..named("ben", "Ben") };
        world.client.upsert(TENANT, vec![german]).await;
        let shown = opened(world, BEN).await;
        assert!(shown.contains("für alle ausgeschaltet"), "{shown}");
        assert!(shown.contains("🔕 Aufgabe fällig · aus"), "{shown}");
        assert_eq!(world.calls(METHOD).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_member_that_no_person_has_is_told_in_the_language_of_slack() {
    for_each_database(async |world| {
        listen(world);
        world.client.load(&["ben"]).await;
        let shown = opened(world, CLARA).await;
        assert!(shown.contains("noch mit keiner Person verbunden"), "{shown}");
        assert!(shown.contains("*acme*") && !shown.contains("Aufgabe"), "{shown}");
        // Ben is in the member list, but nothing says yet that he is the person.
        let shown = opened(world, BEN).await;
        assert!(shown.contains("not connected to anyone yet"), "{shown}");
    })
    .await;
}

#[tokio::test]
async fn no_one_sees_a_person_of_another_tenant_or_one_that_is_not_certain() {
    for_each_database(async |world| {
        listen(world);
        assert_eq!(world.connect(OTHER).await.status, 200);
        world.members_read(OTHER, 1).await;
        world.client.upsert(TENANT, vec![named("ben", "Ben of Acme")]).await;
        world.client.upsert(OTHER, vec![named("ada", "Ada of Globex")]).await;
        pin(world, TENANT, "ben", BEN).await;
        pin(world, OTHER, "ada", ADA).await;
        choose(world, OTHER, "ada", pb::PreferenceValue::Off).await;

        let ben = opened(world, BEN).await;
        assert!(ben.contains("Ben of Acme") && ben.contains("🔔 Task due · on"), "{ben}");
        assert!(!ben.contains("Ada") && !ben.contains("🔕"), "{ben}");
        let ada = opened(world, ADA).await;
        assert!(ada.contains("Ada of Globex") && ada.contains("🔕 Task due · off"), "{ada}");
        assert!(!ada.contains("Ben"), "{ada}");
        for (shown, first, second) in [(&ben, TENANT, OTHER), (&ada, OTHER, TENANT)] {
            let place = |tenant| shown.find(&format!("*{tenant}*")).unwrap();
            assert!(place(first) < place(second), "those that know the person come first: {shown}");
        }

        world.client.upsert(OTHER, vec![named("ada2", "Ada the Second")]).await;
        pin(world, OTHER, "ada2", ADA).await;
        let ada = opened(world, ADA).await;
        assert!(ada.contains("connected to several people"), "{ada}");
        assert!(!ada.contains("Ada") && !ada.contains("Task"), "{ada}");
    })
    .await;
}

#[tokio::test]
async fn a_deployment_without_the_feature_publishes_nothing() {
    let adjust = |settings: &mut herald::config::Settings| {
        settings.app.features_off = vec!["app_home".into()];
    };
    let plan = Plan { adjust, ..Plan::default() };
    plan.run(async |world| {
        world.client.load(&["ben"]).await;
        tell(world, "EvHome1", event(BEN)).await;
        let unused = metric(world, 0, "herald_slack_events_total", r#"result="unused""#).await;
        assert_eq!((unused, world.calls(METHOD).len()), (1, 0));
        let request =
            pb::CreateSlackAppManifestRequest { tenant_id: TENANT.into(), ..Default::default() };
        let made = world.client.create_slack_app_manifest(request).await.unwrap();
        let manifest: Value = serde_json::from_str(&made.manifest).unwrap();
        assert_eq!(manifest["features"]["app_home"]["home_tab_enabled"], false);
        assert!(!made.manifest.contains("app_home_opened"));
    })
    .await;
}

#[tokio::test]
async fn refusals_and_limits_do_no_harm() {
    for_each_database(async |world| {
        listen(world);
        world.client.load(&["ben"]).await;
        pin(world, TENANT, "ben", BEN).await;
        // The tab is off in Slack, or was when the view arrived.
        world.sandbox.configure(|options| options.home_tab = false);
        tell(world, "EvHome1", event(BEN)).await;
        results(world, "not_enabled", 1).await;
        world.sandbox.configure(|options| options.home_tab = true);

        let limited =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("1".to_owned()) };
        let conflict = FaultKind::Error { code: "hash_conflict".to_owned() };
        for (number, kind) in [(1, limited), (2, conflict)] {
            world.sandbox.script(Fault::new(METHOD, kind).times(1));
            let shown = opened(world, BEN).await;
            assert!(shown.contains("🔔 Task due · on"), "{shown}");
            results(world, "postponed", number).await;
            results(world, "published", number).await;
        }
        let too_large = FaultKind::Error { code: "view_too_large".to_owned() };
        world.sandbox.script(Fault::new(METHOD, too_large).times(1));
        assert!(world.sandbox.open_home(BEN));
        results(world, "refused", 1).await;
        assert_eq!(world.calls(METHOD).len(), 6, "only what may pass is tried again");
        let id = world.client.notify(task("1", &["ben"])).await.unwrap().notification_id;
        assert_eq!(world.client.ended(TENANT, &id).await[0].state(), DeliveryState::Sent);

        world.sandbox.revoke_token(None, "token_revoked");
        assert!(world.sandbox.open_home(BEN));
        results(world, "disconnected", 1).await;
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert_eq!(workspace.state_reason, "token_revoked");
    })
    .await;
}

#[tokio::test]
async fn a_tab_that_is_opened_fifty_times_at_once_ends_with_the_newest_state() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        pin(world, TENANT, "ben", BEN).await;
        // Slow enough that the others arrive meanwhile.
        let slow = FaultKind::Delay { seconds: 3.0 };
        world.sandbox.script(Fault::new(METHOD, slow).times(1));
        tell(world, "EvHome0", event(BEN)).await;
        let ids: Vec<String> = (1..50).map(|number| format!("EvHome{number}")).collect();
        join_all(ids.iter().map(|id| tell(world, id, event(BEN)))).await;
        choose(world, TENANT, "ben", pb::PreferenceValue::Off).await;
        tell(world, "EvHome50", event(BEN)).await;
        until("the newest state is published", async || {
            let view = world.sandbox.home_view(BEN)?;
            text(&view).contains("🔕 Task due · off").then_some(())
        })
        .await;
        let calls = world.calls(METHOD).len();
        assert!(calls < 25, "each of 51 openings should not be published: {calls} were");
        let taken = metric(world, 0, "herald_slack_events_total", r#"result="taken""#).await;
        assert_eq!(taken, 51);
    })
    .await;
}
