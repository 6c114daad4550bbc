//! A workspace that was connected before Herald needed the scopes of channels.

use std::collections::BTreeSet;

use herald::rpc::pb::{ChannelObstacle as Obstacle, ChannelState as State, DeliveryState};
use herald::sandbox::browser::{Browser, Decision};
use tonic::Code;
use tonic_types::StatusExt as _;
use url::Url;

use super::support::{Channels, KEY, NAME, acts, by_id, in_slack, people_in, wish};
use crate::support::client::{reason, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// The scopes of Herald before it made channels.
const EARLIER: [&str; 9] = [
    "chat:write",
    "chat:write.public",
    "im:write",
    "users:read",
    "users:read.email",
    "users.profile:read",
    "im:history",
    "channels:history",
    "groups:history",
];
/// The scopes that channels need.
const CHANNELS: [&str; 5] =
    ["channels:manage", "channels:read", "channels:join", "groups:write", "groups:read"];

/// Connects the tenant with the scopes of an earlier release.
async fn connect_as_earlier(world: &World) {
    let earlier: Vec<String> = EARLIER.iter().map(ToString::to_string).collect();
    world.sandbox.configure(|options| options.granted_scopes = Some(earlier));
    world.make_ready().await;
    world.sandbox.configure(|options| options.granted_scopes = None);
}

/// The scopes for which the page behind a connect link asks Slack.
async fn asked(link: &str) -> BTreeSet<String> {
    let page = Browser::new().unwrap().open(&Url::parse(link).unwrap()).await.unwrap();
    let way = page.way_to_slack().unwrap();
    let scope = way.query_pairs().find(|(key, _)| key == "scope").unwrap().1.into_owned();
    scope.split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_wish_without_scopes_is_kept_and_carried_out_after_the_reconnect() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world: &mut World| {
        connect_as_earlier(world).await;
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let status = channels.ensure(KEY, wish(NAME), by_id(&["ben"])).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert_eq!(reason(&status), "MISSING_SCOPES");
        let details = status.get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!(metadata["feature"], "channels");
        let named = metadata["scopes"].split([',', ' ']).filter(|scope| !scope.is_empty());
        assert_eq!(named.collect::<BTreeSet<_>>(), BTreeSet::from(CHANNELS));
        let link = &metadata["connect_url"];
        let all: BTreeSet<String> =
            EARLIER.iter().chain(&CHANNELS).map(ToString::to_string).collect();
        assert_eq!(asked(link).await, all);

        // The wish is kept, and everything else goes on.
        let kept = channels.stopped_by(KEY, Obstacle::MissingScopes).await;
        assert_eq!(kept.state(), State::Blocked);
        let missing: BTreeSet<&str> = kept.missing_scopes.iter().map(String::as_str).collect();
        assert_eq!(missing, BTreeSet::from(CHANNELS));
        assert!(channels.members(KEY).await.contains_key("ben"));
        assert!(world.calls("conversations.create").is_empty());
        let id = world.client.notify(task("meanwhile", &["ben"])).await.unwrap().notification_id;
        assert_eq!(world.client.ended(TENANT, &id).await[0].state(), DeliveryState::Sent);

        let page = world.decide(link, Decision::Allow).await;
        assert_eq!(page.status, 200, "{}", page.html);
        let made = channels.settled(KEY).await;
        assert_eq!((made.state(), made.missing_scopes.len()), (State::Ready, 0));
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
        assert_eq!(acts(world, "create").len(), 1);
        let id = world.client.notify(task("after", &["ben"])).await.unwrap().notification_id;
        assert_eq!(world.client.ended(TENANT, &id).await[0].state(), DeliveryState::Sent);
    })
    .await;
}

#[tokio::test]
async fn a_wish_before_the_first_connect_is_kept() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world: &mut World| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        channels.ensure(KEY, wish(NAME), by_id(&["ben"])).await.unwrap();
        channels.stopped_by(KEY, Obstacle::NotConnected).await;
        world.make_ready().await;
        let made = channels.settled(KEY).await;
        assert_eq!(people_in(world, &made.channel_id).len(), 1);
    })
    .await;
}

/// A token that is revoked stops a wish until the workspace is connected again.
#[tokio::test]
async fn a_dead_token_stops_a_wish_until_the_reconnect() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["ben"])).await;
        world.sandbox.revoke_token(None, "token_revoked");
        let changed = herald::rpc::pb::ChannelWish { topic: "Moved".into(), ..wish(NAME) };
        channels.wish(KEY, changed).await;
        channels.stopped_by(KEY, Obstacle::Reconnect).await;
        assert_eq!(world.connect(TENANT).await.status, 200);
        let again = channels.settled(KEY).await;
        assert_eq!(again.channel_id, made.channel_id);
        assert_eq!(in_slack(world, &made.channel_id)["topic"], "Moved");
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}

/// A policy of the workspace that refuses the app is shown with Slack's code; Herald tries again.
#[tokio::test]
async fn a_policy_of_the_workspace_is_shown() {
    let plan =
        Plan { adjust: |settings| settings.channels.blocked_retry_seconds = 10, ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let code = "restricted_action".to_owned();
        let kind = herald::sandbox::FaultKind::Error { code };
        world.sandbox.script(herald::sandbox::Fault::new("conversations.create", kind));
        channels.ensure(KEY, wish(NAME), Vec::new()).await.unwrap();
        let stopped = channels.stopped_by(KEY, Obstacle::RefusedBySlack).await;
        assert_eq!(stopped.state(), State::Blocked);
        let sentence = &stopped.obstacle_sentence;
        assert!(sentence.contains("restricted_action"), "{sentence}");
        world.sandbox.clear_faults();
        channels.settled(KEY).await;
    })
    .await;
}
