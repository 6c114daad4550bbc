//! Canaries: secrets, people and words that may appear only in certain places. They are planted in
//! a real process that logs everything it can, and searched for in everything that it writes and
//! sends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use herald::domain::secret::Secret;
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::workspace_service_client::WorkspaceServiceClient;
use herald::sandbox::browser::{self, Decision};
use herald::sandbox::{self, Fault, FaultKind, Sandbox};
use herald::slack::signature;
use sea_orm::Database;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{Request, Status};
use url::Url;

use super::canary_channel::{self, CHANNEL, PlantedChannel};
use super::dump::{dump, found};
use super::planted::Planted;
use crate::crash::service;
use crate::events::caller;
use crate::support::client::fields;
use crate::support::process::{Herald, migrate, until};
use crate::support::store::{KEY, test_configs};
use crate::telemetry::Collector;

pub(super) const TENANT: &str = "acme";
pub(super) const API_KEY: &str = "herald_canaryapikey0123456789";
pub(super) const USER_KEY: &str = "herald_canaryuserkey0123456789";
const WRONG_KEY: &str = "herald_canarywrongkey0123456789";
const CLIENT_SECRET: &str = "canary-client-secret";
const SIGNING_SECRET: &str = "canary-signing-secret";
/// Of a tenant's own app: two of each, because the first is kept beside the second.
const OWN_SECRETS: [&str; 4] =
    ["canary-own-client-1", "canary-own-client-2", "canary-own-signing-1", "canary-own-signing-2"];
/// Also the id of the caller with a key of their own.
const USER: &str = "canary-user@victim.example";
const ABSENT: &str = "canary-absent@victim.example";
pub(super) const EMAIL: &str = "canary.mail@victim.example";
const NAME: &str = "Canary Surname";
const MEMBER: &str = "UCANARY001";
const WORDS: &str = "canary words of a task";
const METADATA: &str = "canary-metadata";
const REQUEST: &str = "canary-request";
const SUBJECT: &str = "canary-subject";

/// Credentials; [`Planted`] has more, which are made when the test runs.
const SECRETS: [&str; 8] =
    [API_KEY, USER_KEY, WRONG_KEY, CLIENT_SECRET, SIGNING_SECRET, KEY, "xoxb-", "canary-own-"];
/// Personal data.
const PEOPLE: [&str; 10] =
    [USER, ABSENT, EMAIL, "victim.example", NAME, MEMBER, WORDS, METADATA, REQUEST, SUBJECT];
/// The personal data that no copy of the database may show. User ids and member ids are readable
/// there, as are the platform's names for requests and subjects (SECURITY.md).
const SEALED: [&str; 4] = [EMAIL, NAME, WORDS, METADATA];

/// A process with canaries, its Slack, database and collector.
struct Coop {
    herald: Herald,
    /// To its gRPC port, over TLS.
    channel: Channel,
    planted: Planted,
    sandbox: Sandbox,
    collector: Collector,
    url: Option<String>,
    data_dir: PathBuf,
    state: String,
    /// The id in the link of a preview, which is a secret.
    preview: String,
    made: PlantedChannel,
    _dirs: [TempDir; 2],
}

fn toml(text: &str) -> String {
    format!("{text:?}")
}

fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().fold(String::new(), |text, b| text + &format!("{b:02x}"))
}

async fn coops() -> Vec<Coop> {
    // Another test may have installed one already; that one works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut coops = Vec::new();
    for (store, dir) in test_configs().await {
        let sandbox = Sandbox::start(sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: false,
            time_scale: 0.01,
            client_secret: Secret::new(CLIENT_SECRET),
            signing_secret: Secret::new(SIGNING_SECRET),
            granted_scopes: Some(canary_channel::earlier_scopes()),
            seed_members: vec![json!({
                "id": MEMBER, "name": "canary", "real_name": NAME,
                "profile": { "email": EMAIL, "display_name": NAME },
            })],
            ..sandbox::Config::default()
        })
        .await
        .unwrap();
        let (collector, otlp) = Collector::start().await;
        let settings = TempDir::new().unwrap();
        let file = settings.path().join("herald.toml");
        let url = store.url.as_ref().map(|url| url.expose().to_owned());
        let planted = Planted::new().await;
        let text = written(&sandbox, otlp, url.as_deref(), &store.data_dir, &planted);
        std::fs::write(&file, text).unwrap();
        if let Some(url) = &url {
            migrate(&[format!("store.url={url}"), format!("store.key={KEY}")]);
        }
        let herald = Herald::serve_file(&file).await;
        let mut coop = Coop {
            channel: planted.channel(herald.rpc),
            herald,
            planted,
            sandbox,
            collector,
            url,
            data_dir: store.data_dir,
            state: String::new(),
            preview: String::new(),
            made: PlantedChannel::default(),
            _dirs: [dir, settings],
        };
        coop.plant().await;
        coops.push(coop);
    }
    coops
}

fn written(
    sandbox: &Sandbox,
    otlp: SocketAddr,
    url: Option<&str>,
    data_dir: &Path,
    planted: &Planted,
) -> String {
    let (port, issuer) = (planted.port(), planted.issuer());
    let client_id = sandbox::Config::default().client_id;
    let store = match url {
        Some(url) => format!("url = {}", toml(url)),
        None => format!("data_dir = {}", toml(&data_dir.display().to_string())),
    };
    format!(
        "[rpc]\naddress = \"127.0.0.1:0\"\nhealth_address = \"127.0.0.1:0\"\n{port}\
         [[rpc.callers]]\nprincipal = \"platform\"\nkey_sha256 = \"{}\"\n\
         role = \"administrator\"\ntenants = [\"*\"]\nmay_act_for_users = true\n\
         [[rpc.callers]]\nprincipal = \"someone\"\nkey_sha256 = \"{}\"\nrole = \"user\"\n\
         user_id = {}\ntenants = [\"{TENANT}\"]\n{issuer}\
         [http]\naddress = \"127.0.0.1:0\"\n\
         [store]\nkey = \"{KEY}\"\n{store}\n\
         [slack]\nbase_url = \"{}\"\ntime_scale = 0.01\n\
         [app]\nclient_id = \"{client_id}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
         signing_secret = \"{SIGNING_SECRET}\"\n\
         [log]\nformat = \"json\"\nfilter = \"trace\"\n\
         [otlp]\nendpoint = \"http://{otlp}\"\n\
         [process]\nlame_duck_seconds = 0\n",
        hash(API_KEY),
        hash(USER_KEY),
        toml(USER),
        sandbox.url(),
    )
}

pub(super) fn with<M>(key: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn person(user_id: &str) -> pb::Person {
    pb::Person {
        user_id: user_id.into(),
        email: EMAIL.into(),
        display_name: NAME.into(),
        metadata: Some(fields(json!({ "note": METADATA }))),
        ..pb::Person::default()
    }
}

fn notify(request_id: &str, target: pb::recipient::Target) -> pb::NotifyRequest {
    let data = json!({ "task": { "name": WORDS }, "process": { "name": WORDS } });
    pb::NotifyRequest {
        tenant_id: TENANT.into(),
        request_id: request_id.into(),
        event_type: "task.assigned".into(),
        recipients: vec![pb::Recipient { target: Some(target), roles: Vec::new() }],
        data: Some(fields(data)),
        link: "https://platform.example/canary-words".into(),
        subject_key: SUBJECT.into(),
        ..pb::NotifyRequest::default()
    }
}

impl Coop {
    /// Normal use, and failures.
    async fn plant(&mut self) {
        self.connect().await;
        self.own_app().await;
        let mut herald = service(self.channel.clone());
        let known = || pb::recipient::Target::UserId(USER.into());
        let described = || pb::recipient::Target::Person(person(USER));
        for (number, target) in [described(), known()].into_iter().enumerate() {
            let request = notify(&format!("{REQUEST}-{number}"), target);
            herald.notify(with(API_KEY, request)).await.unwrap();
        }
        let absent = pb::recipient::Target::UserId(ABSENT.into());
        herald.notify(with(API_KEY, notify(REQUEST, absent))).await.unwrap();
        let mut stored = self.sandbox.stored();
        stored.wait_for(|count| *count == 2).await.unwrap();
        let actor = Some(pb::Actor {
            user_id: USER.into(),
            permissions: vec![pb::Permission::EditOwnProfile.into()],
        });
        let off = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: USER.into(),
            event_type: "task.due".into(),
            value: pb::PreferenceValue::Off.into(),
            actor,
        };
        herald.set_preference(with(API_KEY, off)).await.unwrap();
        let test = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId(USER.into())),
            actor: None,
        };
        herald.test_slack(with(USER_KEY, test)).await.unwrap();
        self.made = canary_channel::plant(&self.channel, &self.sandbox, person(USER)).await;
        self.tell_nothing(&self.made.refused);
        self.preview().await;
        self.fail(known).await;
        self.send_events().await;
        let refused = self.planted.present(&self.channel).await;
        self.tell_nothing(&refused);
        self.planted.spoil(&self.herald).await;
    }

    /// Another tenant has an app of its own, whose secrets are exchanged; one call is refused.
    async fn own_app(&self) {
        let mut workspaces = WorkspaceServiceClient::new(self.channel.clone());
        let [client, next_client, signing, next_signing] = OWN_SECRETS;
        let app = |app_id: &str, client: &str, signing: &str| pb::SetSlackAppRequest {
            tenant_id: "canary-tenant".into(),
            app_id: app_id.into(),
            client_id: "123.456".into(),
            client_secret: client.into(),
            signing_secret: signing.into(),
            ..pb::SetSlackAppRequest::default()
        };
        for app in [app("A0OWN", client, signing), app("A0OWN", next_client, next_signing)] {
            let answer = workspaces.set_slack_app(with(API_KEY, app)).await.unwrap().into_inner();
            let said = format!("{answer:?}");
            assert!(!said.contains("canary-own-"), "{said}");
        }
        let refused = workspaces.set_slack_app(with(API_KEY, app("no id", client, signing))).await;
        self.tell_nothing(&[refused.unwrap_err()]);
    }

    /// A message that a browser can show.
    async fn preview(&mut self) {
        let data = json!({ "task": { "name": WORDS }, "process": { "name": NAME } });
        let request = pb::PreviewTemplateRequest {
            tenant_id: TENANT.into(),
            event_type: "task.assigned".into(),
            source: Some(pb::preview_template_request::Source::Data(fields(data))),
            user_id: USER.into(),
            open_in_browser: true,
            check_with_slack: true,
            ..pb::PreviewTemplateRequest::default()
        };
        let mut admin = AdminServiceClient::new(self.channel.clone());
        let shown = admin.preview_template(with(API_KEY, request)).await.unwrap().into_inner();
        let id = shown.browser_url.rsplit('/').next().unwrap();
        id.clone_into(&mut self.preview);
        let message = self.page(&format!("/slack/preview/{id}/message.json")).await;
        assert!(message.contains(WORDS), "{message}");
    }

    async fn connect(&mut self) {
        let mut admin = AdminServiceClient::new(self.channel.clone());
        let begin = pb::BeginConnectRequest {
            tenant_id: TENANT.into(),
            ..pb::BeginConnectRequest::default()
        };
        let link = admin.begin_connect(with(API_KEY, begin)).await.unwrap().into_inner();
        let link = Url::parse(&link.authorize_url).unwrap();
        let state = link.query_pairs().find(|(name, _)| name == "state");
        self.state = state.unwrap().1.into_owned();
        let page = browser::decide(&link, Decision::Allow).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.html);
        let allow = pb::AllowSendingRequest { tenant_id: TENANT.into(), actor: None };
        admin.allow_sending(with(API_KEY, allow)).await.unwrap();
        until("the member list is read", async || {
            let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
            let workspace = admin.get_workspace(with(API_KEY, request)).await.unwrap();
            (workspace.into_inner().directory?.generation > 0).then_some(())
        })
        .await;
    }

    /// Slack and callers that misbehave; no answer quotes data that is not the caller's.
    async fn fail(&self, known: impl Fn() -> pb::recipient::Target) {
        let bodies = [
            FaultKind::Status { code: 500, body: format!("{WORDS} {EMAIL}"), retry_after: None },
            FaultKind::Error { code: "fatal_error".into() },
            FaultKind::Truncate,
            FaultKind::Reset,
        ];
        let mut herald = service(self.channel.clone());
        for (number, kind) in bodies.into_iter().enumerate() {
            self.sandbox.script(Fault::new("chat.postMessage", kind));
            let request = notify(&format!("{REQUEST}-bad-{number}"), known());
            let id = herald.notify(with(API_KEY, request)).await.unwrap().into_inner();
            until("the delivery was tried", async || {
                let request = pb::GetNotificationRequest {
                    tenant_id: TENANT.into(),
                    notification_id: id.notification_id.clone(),
                    actor: None,
                };
                let found = herald.get_notification(with(API_KEY, request)).await.unwrap();
                let found = found.into_inner().notification.unwrap();
                found.deliveries.iter().all(|one| one.attempts > 0).then_some(())
            })
            .await;
            self.sandbox.clear_faults();
        }
        let mut refused: Vec<Status> = Vec::new();
        refused.extend(herald.notify(with(WRONG_KEY, notify(REQUEST, known()))).await.err());
        refused.extend(herald.notify(with(USER_KEY, notify(REQUEST, known()))).await.err());
        // The same id for a different request.
        let mut other = notify(&format!("{REQUEST}-0"), known());
        other.event_type = "task.due".into();
        refused.extend(herald.notify(with(API_KEY, other)).await.err());
        let mut admin = AdminServiceClient::new(self.channel.clone());
        let get =
            pb::GetPersonRequest { tenant_id: TENANT.into(), user_id: ABSENT.into(), actor: None };
        refused.extend(admin.get_person(with(API_KEY, get.clone())).await.err());
        refused.extend(admin.get_person(with(USER_KEY, get)).await.err());
        let pin = pb::PinIdentityRequest {
            tenant_id: TENANT.into(),
            user_id: USER.into(),
            slack_user_id: "UCANARY002".into(),
            actor: None,
        };
        refused.extend(admin.pin_identity(with(API_KEY, pin)).await.err());
        assert_eq!(refused.len(), 6, "{refused:?}");
        self.tell_nothing(&refused);
    }

    /// No answer has a canary.
    fn tell_nothing(&self, answers: &[Status]) {
        for status in answers {
            let told = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
            let canaries = SECRETS.into_iter().chain(PEOPLE).chain(CHANNEL);
            let canaries = canaries.chain(self.planted.secrets());
            nothing("the answer", &told, canaries);
        }
    }

    /// Events from Slack about a member and a channel, each also with a forged signature.
    async fn send_events(&self) {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let of_member = json!({
            "type": "user_change", "event_ts": format!("{now}.000100"),
            "user": { "id": MEMBER, "updated": now, "name": "canary",
                "profile": { "email": EMAIL, "display_name": NAME } },
        });
        let name = format!("{}-winter", canary_channel::NAME);
        let of_channel = json!({
            "type": "channel_rename", "event_ts": format!("{now}.000200"),
            "channel": { "id": self.made.id, "is_channel": true, "name": name, "created": now },
        });
        self.send_event("Ev1", now, of_member).await;
        self.send_event("Ev2", now, of_channel).await;
    }

    async fn send_event(&self, id: &str, now: i64, event: serde_json::Value) {
        let slack = sandbox::Config::default();
        let body = json!({
            "token": "t", "team_id": slack.team.id, "api_app_id": slack.app_id,
            "type": "event_callback", "event_id": id, "event_time": now, "event": event,
            "authorizations": [{ "team_id": slack.team.id, "is_bot": true }],
        })
        .to_string();
        for (secret, status) in [(SIGNING_SECRET, 200), ("another", 401)] {
            let signed = signature::sign(&Secret::new(secret), &now.to_string(), body.as_bytes());
            let answer = caller()
                .post(format!("http://{}/slack/events", self.herald.http))
                .header("x-slack-request-timestamp", now.to_string())
                .header("x-slack-signature", signed)
                .body(body.clone())
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status().as_u16(), status);
        }
    }

    async fn page(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.herald.http);
        caller().get(url).send().await.unwrap().text().await.unwrap()
    }

    async fn dump(&self) -> Vec<super::dump::Part> {
        let url = self.url.clone();
        let file = format!("sqlite:{}", self.data_dir.join("herald.db").display());
        let raw = Database::connect(url.unwrap_or(file)).await.unwrap();
        dump(&raw, &self.data_dir).await
    }
}

fn nothing<'a>(place: &str, text: &str, canaries: impl IntoIterator<Item = &'a str>) {
    for canary in canaries {
        if let Some(at) = text.find(canary) {
            let from = text[..at].rfind('\n').map_or(0, |at| at + 1);
            let line = text[from..].lines().next().unwrap_or_default();
            panic!("{canary} is in {place}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_is_in_logs_spans_metrics_arguments_or_copies_of_the_database() {
    for mut coop in coops().await {
        let metrics = coop.page("/metrics").await;
        assert!(metrics.contains("herald_notify_total"));
        let arguments = std::fs::read(format!("/proc/{}/cmdline", coop.herald.id())).unwrap();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        assert!(arguments.contains("serve"));
        let copy = coop.dump().await;
        coop.herald.signal("TERM");
        assert_eq!(coop.herald.ended().await.code(), Some(0));
        let (log, sent) = (coop.herald.log(), coop.collector.everything());
        // The filter lets everything through; Herald itself logs nothing below this level.
        assert!(log.contains("\"level\":\"DEBUG\""));
        assert!(log.contains("\"target\":\"audit\""));
        assert!(sent.contains("slack.call"));
        let secrets = || {
            let links = [&coop.state, &coop.preview, &coop.made.state].map(String::as_str);
            SECRETS.into_iter().chain(coop.planted.secrets()).chain(links)
        };
        let all = || secrets().chain(PEOPLE).chain(CHANNEL);
        nothing("the log", &log, all());
        nothing("spans and metrics", &sent, all());
        nothing("the metrics", &metrics, all());
        nothing("the arguments", &arguments, all());
        for canary in secrets().chain(SEALED).chain(canary_channel::SEALED) {
            assert_eq!(found(&copy, canary), Vec::<String>::new(), "{canary}");
        }
        // Otherwise nothing was planted.
        for readable in [USER, canary_channel::KEY] {
            assert!(!found(&copy, readable).is_empty(), "{readable}");
        }
        coop.sandbox.stop().await;
    }
}
