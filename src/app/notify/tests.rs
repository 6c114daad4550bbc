//! Only a few large calls are planned at a time, and no recipient of a call is lost.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use serde_json::json;
use url::Url;

use super::recipients::{Named, To};
use super::*;
use crate::app::tenant::Known;
use crate::app::{AuditConfig, Caller, Config, Reach, Role};
use crate::directory::{Directory, TurnGuard};
use crate::domain::channels::place::ChannelPlace;
use crate::domain::delivery::verdict::Addressee;
use crate::domain::ids::{InstallationId, ManagedChannelId, Principal, TenantId};
use crate::domain::mapping::Values;
use crate::slack;
use crate::store::{KeyedChannel, Store};
use crate::telemetry::Metrics;
use crate::workspace::Workspaces;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn app(store: Store) -> App {
    let base_url = Url::parse("http://127.0.0.1:1/").unwrap();
    let slack = slack::Config { base_url: base_url.clone(), ..slack::Config::default() };
    let client = slack::Client::new(&slack, Metrics::unobserved()).unwrap();
    let workspaces = Workspaces::new(store.clone(), client, crate::workspace::Config::default());
    let config = crate::directory::Config::default();
    let directory =
        Directory::new(store.clone(), workspaces.clone(), Metrics::unobserved(), config);
    let config = Config {
        redirect_url: base_url.clone(),
        events_url: base_url.clone(),
        interactions_url: base_url.clone(),
        apps_url: base_url.clone(),
        connect_url: base_url.clone(),
        identity_url: base_url.clone(),
        preview_url: base_url,
        return_origins: Vec::new(),
        display_name: "Herald".to_owned(),
        connect_link_lifetime: Duration::from_secs(60),
        max_waiting: 1_000,
        audit: AuditConfig::default(),
    };
    App::new(store, workspaces, directory, Metrics::unobserved(), config)
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn request(recipients: Vec<Recipient>) -> Request {
    Request {
        request_id: RequestId::parse("once").unwrap(),
        event: EventType::parse("request.completed").unwrap(),
        recipients,
        roles: Some(Roles::new()),
        actor: None,
        data: json!({ "request": { "name": "New monitor" } }),
        link: Some("https://platform.example/requests/12".into()),
        content_id: None,
        expires_in: Duration::from_secs(60),
        subject: None,
        action: Action::Post,
        deliver_after: None,
        hold: None,
        decide_within: None,
        priority: None,
    }
}

/// A call to this many unknown people, so that nothing is sent.
async fn plan(app: &App, people: usize) -> usize {
    let acme = tenant("acme");
    let caller = Caller {
        principal: Principal::parse("platform").unwrap(),
        role: Role::Service,
        reach: Reach::Only(BTreeSet::from([acme.clone()])),
        may_act_for_users: false,
        may_administer_for_users: false,
    };
    let call = Call { caller, tenant: acme, actor: None };
    let people = (0..people).map(|number| Recipient::Known(user(&format!("user-{number}"))));
    let request = request(people.collect());
    app.try_notify(&call, request).await.unwrap().details.len()
}

/// Also the folder of its store.
async fn with_store() -> (App, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    store.tenancy().ensure_tenant(&tenant("acme")).await.unwrap();
    (app(store), dir)
}

/// All turns that are free.
fn free_turns(app: &App) -> Vec<TurnGuard> {
    std::iter::from_fn(|| app.turns.take_free()).collect()
}

#[tokio::test]
async fn a_large_call_waits_for_its_turn_and_a_small_one_does_not() {
    let (app, _dir) = with_store().await;
    // Other calls hold all turns.
    let turns = free_turns(&app);
    let large = tokio::spawn({
        let app = app.clone();
        async move { plan(&app, 65).await }
    });
    // A large call that needed no turn would be done long before all of these are.
    for _ in 0..50 {
        assert_eq!(plan(&app, 64).await, 64);
    }
    assert!(!large.is_finished());
    drop(turns);
    assert_eq!(large.await.unwrap(), 65);
}

#[tokio::test]
async fn a_check_of_a_template_has_a_turn_until_it_ends() {
    let (app, _dir) = with_store().await;
    let acme = tenant("acme");
    let turns = free_turns(&app);
    let all = turns.len();
    let mut check = Box::pin(app.checking(&acme, || 7));
    assert!(check.as_mut().now_or_never().is_none(), "it has no turn");
    drop(turns);
    assert_eq!(check.await.unwrap(), 7);
    let (start, started) = tokio::sync::oneshot::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let mut given_up = Box::pin(app.checking(&acme, move || {
        start.send(()).unwrap();
        ended.recv().ok();
    }));
    tokio::select! {
        _ = &mut given_up => panic!("it cannot have ended"),
        begun = started => begun.unwrap(),
    }
    drop(given_up);
    assert_eq!(free_turns(&app).len(), all - 1, "it still runs");
    drop(end);
}

#[test]
fn each_recipient_has_its_entry_or_the_call_is_refused() {
    let channel = ChannelId::parse("C1").unwrap();
    let key = ChannelKey::parse("track:1").unwrap();
    let request = request(vec![
        Recipient::Known(user("ada")),
        Recipient::Channel(channel.clone()),
        Recipient::Known(user("ada")),
        Recipient::Described(Person::bare(user("grace"))),
        Recipient::ChannelKey(key.clone()),
    ]);
    let named = |id: &str| {
        let known = Known { person: Person::bare(user(id)), identity: None };
        (user(id), Named { known, values: Values::TooCostly })
    };
    let mut people = HashMap::from(["ada", "grace"].map(named));
    let [id, workspace] = [1, 2].map(uuid::Uuid::from_u128);
    let ready =
        Some(ChannelPlace { installation: InstallationId(workspace), channel: channel.clone() });
    let track = KeyedChannel { id: ManagedChannelId(id), ready };
    let mut channels = HashMap::from([(key.clone(), track)]);
    let addressees = in_order(&request, &people, &channels)
        .map(|recipients| recipients.iter().map(To::addressee).collect::<Vec<_>>());
    let person = |id: &str| Addressee::Person(user(id));
    let expected = [
        person("ada"),
        Addressee::Channel(channel),
        person("ada"),
        person("grace"),
        Addressee::ChannelKey(key.clone()),
    ];
    assert_eq!(addressees.unwrap(), expected);
    let track = channels.remove(&key).unwrap();
    assert!(matches!(in_order(&request, &people, &channels), Err(Error::Internal(_))));
    channels.insert(key, track);
    people.remove(&user("grace"));
    assert!(matches!(in_order(&request, &people, &channels), Err(Error::Internal(_))));
}
