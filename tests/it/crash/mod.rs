//! Processes that are killed, frozen and stopped (faults.md 1 to 4, 8, 24), on every database: the
//! API on one side, the sandbox Slack on the other, judged by the messages that Slack stored.

mod answer_lost;
mod copy;
mod dark;
mod database;
mod drain;
mod events;
mod fields;
mod frozen;
mod judge;
mod kill;
mod pgbouncer;
mod poison;
mod recovery;
mod restart;
mod rolling;
mod said;
mod second;
mod subjects;
mod tokens;
mod upgrade;
mod upkeep;

use std::collections::HashMap;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::browser::{self, Decision};
use herald::sandbox::{self, LogEntry, Sandbox};
use herald::store::Config;
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;
use url::Url;

use crate::support::process::{Herald, migrate, until};
use crate::support::store::test_configs;

const SCALE: f64 = 0.01;
const TENANT: &str = "acme";

/// A database and a Slack that outlive the processes.
pub(crate) struct Site {
    pub(crate) sandbox: Sandbox,
    store: Config,
    people: usize,
    /// The length of one of Slack's seconds, in seconds.
    scale: f64,
    /// Settings in addition to the usual ones.
    pub(crate) more: Vec<String>,
    /// Holds the SQLite file.
    _dir: TempDir,
}

/// A call was refused, which is to be passing: the caller may repeat it.
async fn before_repeating(status: &tonic::Status) {
    let for_good = [Code::InvalidArgument, Code::AlreadyExists, Code::FailedPrecondition];
    assert!(!for_good.contains(&status.code()), "{status:?}");
    tokio::task::yield_now().await;
}

/// One per database.
async fn sites(people: usize) -> Vec<Site> {
    let mut sites = Vec::new();
    for (store, dir) in test_configs().await {
        sites.push(Site::new(store, dir, people, SCALE).await);
    }
    sites
}

pub(crate) async fn site_on(postgres: bool, people: usize) -> Option<Site> {
    site_at(postgres, people, SCALE).await
}

/// The same with another length of Slack's seconds.
async fn site_at(postgres: bool, people: usize, scale: f64) -> Option<Site> {
    let mut configs = test_configs().await.into_iter();
    let (store, dir) = configs.find(|(store, _)| store.url.is_some() == postgres)?;
    Some(Site::new(store, dir, people, scale).await)
}

impl Site {
    async fn new(store: Config, dir: TempDir, people: usize, scale: f64) -> Self {
        let sandbox = Sandbox::start(sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: false,
            time_scale: scale,
            seed_members: (0..people).map(member).collect(),
            ..sandbox::Config::default()
        })
        .await
        .unwrap();
        let site = Self { sandbox, store, people, scale, more: Vec::new(), _dir: dir };
        if site.is_postgres() {
            migrate(&site.settings());
        }
        site
    }

    fn is_postgres(&self) -> bool {
        self.store.url.is_some()
    }

    /// The address of its database, for queries that bypass the store.
    pub(crate) fn database(&self) -> String {
        match &self.store.url {
            Some(url) => url.expose().to_owned(),
            None => format!("sqlite:{}", self.store.data_dir.join("herald.db").display()),
        }
    }

    fn settings(&self) -> Vec<String> {
        let slack = sandbox::Config::default();
        let mut settings = vec![
            "rpc.address=127.0.0.1:0".into(),
            "rpc.health_address=127.0.0.1:0".into(),
            "rpc.insecure=true".into(),
            "http.address=127.0.0.1:0".into(),
            format!("slack.base_url={}", self.sandbox.url()),
            format!("slack.time_scale={}", self.scale),
            format!("app.client_id={}", slack.client_id),
            format!("app.client_secret={}", slack.client_secret.expose()),
            format!("app.signing_secret={}", slack.signing_secret.expose()),
            // At least 2 s: two busy cores must be able to renew it in time. At least twice as
            // long as a request may take.
            format!("delivery.lease_seconds={:.0}", (2.0 / self.scale).max(60.0)),
            // 10 minutes: the list is not read again within a test.
            "directory.refresh_seconds=60000".into(),
            "log.format=json".into(),
            "log.filter=info,herald=debug".into(),
            "process.lame_duck_seconds=0".into(),
            format!("store.data_dir={}", self.store.data_dir.display()),
            format!("store.max_connections={}", self.store.max_connections),
        ];
        if let (Some(url), Some(key)) = (&self.store.url, &self.store.key) {
            settings.push(format!("store.url={}", url.expose()));
            settings.push(format!("store.key={}", key.expose()));
        }
        settings.extend_from_slice(&self.more);
        settings
    }

    pub(crate) async fn start(&self) -> Herald {
        Herald::serve(&self.settings()).await
    }

    /// A first process, with a tenant that may send to all people.
    pub(crate) async fn start_connected(&self) -> Herald {
        let herald = self.start().await;
        // Another test may have installed one already; that one works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut admin = AdminServiceClient::new(herald.channel());
        let request = pb::BeginConnectRequest {
            tenant_id: TENANT.into(),
            ..pb::BeginConnectRequest::default()
        };
        let link = admin.begin_connect(request).await.unwrap().into_inner().authorize_url;
        let page = browser::decide(&Url::parse(&link).unwrap(), Decision::Allow).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.html);
        let request = pb::UpdateSettingsRequest {
            tenant_id: TENANT.into(),
            settings: Some(pb::Settings { sending_allowed: true, ..pb::Settings::default() }),
            ..pb::UpdateSettingsRequest::default()
        };
        admin.update_settings(request).await.unwrap();
        let people = (0..self.people).map(|number| pb::Person {
            user_id: person(number),
            email: email(number),
            ..pb::Person::default()
        });
        let people = people.collect();
        let request = pb::UpsertPeopleRequest { tenant_id: TENANT.into(), people, actor: None };
        admin.upsert_people(request).await.unwrap();
        until("the member list is read", async || {
            let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
            let workspace = admin.get_workspace(request).await.unwrap().into_inner();
            (workspace.directory?.generation > 0).then_some(())
        })
        .await;
        herald
    }

    /// The number of stored messages of each member.
    fn stored(&self) -> HashMap<String, usize> {
        let mut stored = HashMap::new();
        for message in self.sandbox.messages() {
            *stored.entry(message.user.unwrap_or_default()).or_default() += 1;
        }
        stored
    }

    pub(crate) fn calls(&self, method: &str) -> Vec<LogEntry> {
        self.sandbox.log().into_iter().filter(|entry| entry.method == method).collect()
    }
}

fn member(number: usize) -> serde_json::Value {
    json!({
        "id": member_id(number), "name": format!("person{number}"),
        "profile": { "email": email(number) },
    })
}

pub(crate) fn member_id(number: usize) -> String {
    format!("U{number:03}")
}

pub(crate) fn person(number: usize) -> String {
    format!("person-{number}")
}

pub(crate) fn email(number: usize) -> String {
    format!("person{number}@example.com")
}

/// Message `number` to the first `people` people.
pub(crate) fn message(number: usize, people: usize) -> pb::NotifyRequest {
    let task = format!("No {number:03}.");
    let data = json!({ "task": { "name": task }, "due_at": "2026-11-27T16:00:00Z" });
    let recipients = (0..people).map(|number| pb::Recipient {
        target: Some(pb::recipient::Target::UserId(person(number))),
        roles: Vec::new(),
    });
    pb::NotifyRequest {
        tenant_id: TENANT.into(),
        request_id: format!("message-{number}"),
        event_type: "task.due".into(),
        recipients: recipients.collect(),
        data: Some(herald::rpc::to_struct(data.as_object().cloned().unwrap())),
        link: "https://platform.example/task/1".into(),
        ..pb::NotifyRequest::default()
    }
}

pub(crate) fn service(channel: Channel) -> HeraldServiceClient<Channel> {
    HeraldServiceClient::new(channel)
}

/// The number in a message's text.
fn number_in(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("No ")?;
    let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The deliveries of a notification; the call is repeated while the database is down.
async fn deliveries(channel: Channel, notification: &str) -> Vec<pb::Delivery> {
    let request = pb::GetNotificationRequest {
        tenant_id: TENANT.into(),
        notification_id: notification.into(),
        actor: None,
    };
    let answer = until("the notification is returned", async || {
        match service(channel.clone()).get_notification(request.clone()).await {
            Ok(answer) => Some(answer.into_inner()),
            // Down, or busy with the test's own load.
            Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                None
            }
            Err(status) => panic!("{status:?}"),
        }
    })
    .await;
    answer.notification.unwrap().deliveries
}

/// Waits until each of the notifications reached every recipient.
pub(crate) async fn all_sent(channel: &Channel, notifications: &[String]) {
    for notification in notifications {
        let deliveries = until("every delivery ends", async || {
            let deliveries = deliveries(channel.clone(), notification).await;
            let ended = |delivery: &pb::Delivery| {
                use pb::DeliveryState::{Pending, Resolving, Sending, Unknown};
                ![Resolving, Pending, Sending, Unknown].contains(&delivery.state())
            };
            deliveries.iter().all(ended).then_some(deliveries)
        })
        .await;
        for delivery in deliveries {
            assert_eq!(delivery.state(), pb::DeliveryState::Sent, "{delivery:?}");
        }
    }
}
