//! Canaries of a channel: its names, topic, purpose, key and roles, and the link in the refusal for
//! missing scopes.

use herald::rpc::pb::channel_service_client::ChannelServiceClient;
use herald::rpc::pb::{self, channel_member::Target};
use herald::sandbox::browser::{self, Decision};
use herald::sandbox::{Fault, FaultKind, Sandbox};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use url::Url;

use super::canaries::{API_KEY, TENANT, USER_KEY, with};
use crate::support::client::reason;
use crate::support::process::until;

/// In all names, and spelt alike in Slack.
pub(super) const NAME: &str = "kanarienvogel";
const TOPIC: &str = "canary topic of a track";
const PURPOSE: &str = "canary purpose of a track";
pub(super) const KEY: &str = "canary-track";
const ROLE: &str = "canary-role";

/// Everything that may be in the database and in answers only.
pub(super) const CHANNEL: [&str; 5] = [NAME, TOPIC, PURPOSE, KEY, ROLE];
/// The part of it that no copy of the database may show either (SECURITY.md).
pub(super) const SEALED: [&str; 3] = [NAME, TOPIC, PURPOSE];

/// The scopes that Slack grants until [`plant`].
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

pub(super) fn earlier_scopes() -> Vec<String> {
    EARLIER.iter().map(ToString::to_string).collect()
}

/// The channel once it is made.
#[derive(Default)]
pub(super) struct PlantedChannel {
    /// Slack's id.
    pub(super) id: String,
    /// The state in the link that a refusal returned, which is a secret.
    pub(super) state: String,
    /// Answers that must not quote data.
    pub(super) refused: Vec<Status>,
}

type Service = ChannelServiceClient<Channel>;

fn ensuring(wish: pb::ChannelWish, person: pb::Person) -> pb::EnsureChannelRequest {
    let target = Some(Target::Person(person));
    let members = vec![pb::ChannelMember { target, roles: vec![ROLE.into()] }];
    pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: KEY.into(),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    }
}

fn get(key: &str) -> pb::GetChannelRequest {
    pb::GetChannelRequest { tenant_id: TENANT.into(), channel_key: key.into(), actor: None }
}

async fn shown(
    service: &mut Service,
    what: &str,
    wanted: impl Fn(&pb::Channel) -> bool,
) -> pb::Channel {
    until(what, async || {
        let answer = service.get_channel(with(API_KEY, get(KEY))).await.unwrap();
        answer.into_inner().channel.filter(&wanted)
    })
    .await
}

/// A channel with this member, from the refusal for missing scopes to another name.
pub(super) async fn plant(to: &Channel, sandbox: &Sandbox, person: pb::Person) -> PlantedChannel {
    let mut service = ChannelServiceClient::new(to.clone());
    let wish = pb::ChannelWish {
        name: format!("{NAME}: Autumn"),
        topic: TOPIC.into(),
        purpose: PURPOSE.into(),
        ..pb::ChannelWish::default()
    };
    let request = ensuring(wish.clone(), person.clone());
    let lacking = service.ensure_channel(with(API_KEY, request)).await.unwrap_err();
    assert_eq!(reason(&lacking), "MISSING_SCOPES");
    let link = lacking.get_error_details().error_info().unwrap().metadata["connect_url"].clone();
    let link = Url::parse(&link).unwrap();
    let state = link.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    // Clients print the message of an error; the link is for the caller's code.
    assert!(!lacking.message().contains(&state), "{}", lacking.message());

    sandbox.configure(|options| options.granted_scopes = None);
    let broken =
        FaultKind::Status { code: 500, body: format!("{NAME} {TOPIC}"), retry_after: None };
    sandbox.script(Fault::new("conversations.create", broken).times(1));
    let page = browser::decide(&link, Decision::Allow).await.unwrap();
    assert_eq!(page.status, 200, "{}", page.html);
    let made = shown(&mut service, "the channel has its member", |channel| {
        channel.settled && channel.members.as_ref().is_some_and(|counts| counts.members == 1)
    })
    .await;
    let rename = pb::RenameChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: KEY.into(),
        name: format!("{NAME}: Winter"),
        actor: None,
    };
    service.rename_channel(with(API_KEY, rename)).await.unwrap();
    shown(&mut service, "the channel is renamed", |channel| {
        channel.settled && channel.name == format!("{NAME}-winter")
    })
    .await;
    let refused = refusals(&mut service, wish, person).await;
    PlantedChannel { id: made.channel_id, state, refused }
}

async fn refusals(service: &mut Service, wish: pb::ChannelWish, person: pb::Person) -> Vec<Status> {
    let absent = format!("{KEY}-absent");
    let absent = service.get_channel(with(API_KEY, get(&absent))).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let unpermitted = service.get_channel(with(USER_KEY, get(KEY))).await.unwrap_err();
    assert_eq!(unpermitted.code(), Code::PermissionDenied);
    let wish = pb::ChannelWish { is_private: true, ..wish };
    let request = ensuring(wish, person);
    let contrary = service.ensure_channel(with(API_KEY, request)).await.unwrap_err();
    assert_eq!(contrary.code(), Code::InvalidArgument);
    vec![absent, unpermitted, contrary]
}
