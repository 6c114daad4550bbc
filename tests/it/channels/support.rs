//! The calls about channels of one tenant, wishes to start from, and the channels that Slack has.

use std::collections::{BTreeMap, BTreeSet};

use herald::rpc::pb::{
    self, ChannelMemberState as MemberState, ChannelObstacle as Obstacle, ChannelState as State,
    channel_member::Target,
};
use herald::sandbox::{ChannelAct, ChannelChange, LogEntry, NewChannel};
use serde_json::Value;
use tonic::{Status, Streaming};
use url::Url;

use crate::support::client::Client;
use crate::support::world::{TENANT, World, until};

/// The platform's key of the channel of most tests.
pub(super) const KEY: &str = "track:2026-autumn";
/// The name that most tests wish for.
pub(super) const NAME: &str = "Track 2026: Autumn";
/// The same in Slack.
pub(super) const LEGAL: &str = "track-2026-autumn";

/// The calls of one tenant at one replica.
#[derive(Clone)]
pub(super) struct Channels {
    client: Client,
    tenant: String,
}

impl Channels {
    /// Those of [`TENANT`] at the first replica.
    pub(super) fn new(world: &World) -> Self {
        Self::of(world, 0, TENANT)
    }

    pub(super) fn of(world: &World, replica: usize, tenant: &str) -> Self {
        Self { client: world.bearing(replica, None), tenant: tenant.into() }
    }

    pub(super) async fn ensure_as(
        &self,
        request: pb::EnsureChannelRequest,
    ) -> Result<pb::Channel, Status> {
        Ok(self.client.ensure_channel(request).await?.channel.unwrap())
    }

    pub(super) fn ensuring(
        &self,
        key: &str,
        wish: pb::ChannelWish,
        members: Option<Vec<pb::ChannelMember>>,
    ) -> pb::EnsureChannelRequest {
        pb::EnsureChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            wish: Some(wish),
            members: members.map(|members| pb::ChannelMembers { members }),
            ..pb::EnsureChannelRequest::default()
        }
    }

    /// The wish with these members.
    pub(super) async fn ensure(
        &self,
        key: &str,
        wish: pb::ChannelWish,
        members: Vec<pb::ChannelMember>,
    ) -> Result<pb::Channel, Status> {
        self.ensure_as(self.ensuring(key, wish, Some(members))).await
    }

    /// The wish, with the members of earlier calls.
    pub(super) async fn wish(&self, key: &str, wish: pb::ChannelWish) -> pb::Channel {
        self.ensure_as(self.ensuring(key, wish, None)).await.unwrap()
    }

    /// The channel of [`KEY`] once it is as wished.
    pub(super) async fn made(
        &self,
        wish: pb::ChannelWish,
        members: Vec<pb::ChannelMember>,
    ) -> pb::Channel {
        self.ensure(KEY, wish, members).await.unwrap();
        self.settled(KEY).await
    }

    pub(super) async fn get(&self, key: &str) -> Result<pb::Channel, Status> {
        let request = pb::GetChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            actor: None,
        };
        Ok(self.client.get_channel(request).await?.channel.unwrap())
    }

    /// All channels, page by page.
    pub(super) async fn list(&self) -> Vec<pb::Channel> {
        let mut all = Vec::new();
        let mut request = pb::ListChannelsRequest {
            tenant_id: self.tenant.clone(),
            page_size: 100,
            ..pb::ListChannelsRequest::default()
        };
        loop {
            let page = self.client.list_channels(request.clone()).await.unwrap();
            all.extend(page.channels);
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Everyone who is wished for, page by page.
    pub(super) async fn members(&self, key: &str) -> BTreeMap<String, pb::ChannelMemberStatus> {
        let mut all = BTreeMap::new();
        let mut request = pb::ListChannelMembersRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            page_size: 100,
            ..pb::ListChannelMembersRequest::default()
        };
        loop {
            let page = self.client.list_channel_members(request.clone()).await.unwrap();
            all.extend(page.members.into_iter().map(|one| (one.user_id.clone(), one)));
            if page.next_page_token.is_empty() {
                return all;
            }
            request.page_token = page.next_page_token;
        }
    }

    pub(super) async fn set_members(&self, key: &str, members: Vec<pb::ChannelMember>) {
        let request = pb::SetChannelMembersRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            members,
            actor: None,
        };
        self.client.set_channel_members(request).await.unwrap();
    }

    pub(super) async fn add_members(&self, key: &str, members: Vec<pb::ChannelMember>) {
        let request = pb::AddChannelMembersRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            members,
            actor: None,
        };
        self.client.add_channel_members(request).await.unwrap();
    }

    pub(super) async fn remove_members(&self, key: &str, users: &[&str]) {
        let request = pb::RemoveChannelMembersRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            user_ids: users.iter().map(ToString::to_string).collect(),
            actor: None,
        };
        self.client.remove_channel_members(request).await.unwrap();
    }

    pub(super) async fn rename(&self, key: &str, name: &str) -> pb::Channel {
        let request = pb::RenameChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            name: name.into(),
            actor: None,
        };
        self.client.rename_channel(request).await.unwrap().channel.unwrap()
    }

    pub(super) async fn archive(&self, key: &str) {
        let request = pb::ArchiveChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            actor: None,
        };
        self.client.archive_channel(request).await.unwrap();
    }

    pub(super) async fn unarchive(&self, key: &str) {
        let request = pb::UnarchiveChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            actor: None,
        };
        self.client.unarchive_channel(request).await.unwrap();
    }

    pub(super) async fn release(&self, key: &str) -> Result<pb::ReleaseChannelResponse, Status> {
        let request = pb::ReleaseChannelRequest {
            tenant_id: self.tenant.clone(),
            channel_key: key.into(),
            actor: None,
        };
        self.client.release_channel(request).await
    }

    pub(super) async fn watch(
        &self,
        after_sequence: Option<i64>,
    ) -> Result<Streaming<pb::WatchChannelsResponse>, Status> {
        self.client.watch_channels(&self.tenant, after_sequence).await
    }

    /// Waits until the channel is as wanted.
    pub(super) async fn until(
        &self,
        key: &str,
        what: &str,
        wanted: impl Fn(&pb::Channel) -> bool,
    ) -> pb::Channel {
        let seen = std::cell::RefCell::new(String::new());
        let what = format!("{key}: {what}");
        until(&what, async || {
            let channel = self.get(key).await.unwrap();
            if wanted(&channel) {
                return Some(channel);
            }
            let shown = format!("{channel:?}");
            if seen.replace(shown.clone()) != shown {
                println!("{what}, but {shown}");
            }
            None
        })
        .await
    }

    /// Waits until the wish is carried out.
    pub(super) async fn settled(&self, key: &str) -> pb::Channel {
        self.until(key, "settled", |channel| channel.settled).await
    }

    pub(super) async fn in_state(&self, key: &str, state: State) -> pb::Channel {
        self.until(key, state.as_str_name(), |channel| channel.state() == state).await
    }

    /// Waits until this is in the way; the sentence says what to do.
    pub(super) async fn stopped_by(&self, key: &str, obstacle: Obstacle) -> pb::Channel {
        let is = |channel: &pb::Channel| channel.obstacle() == obstacle;
        let channel = self.until(key, obstacle.as_str_name(), is).await;
        assert!(!channel.obstacle_sentence.is_empty(), "{channel:?}");
        assert!(!channel.settled, "{channel:?}");
        channel
    }

    /// Waits until this member is in that state.
    pub(super) async fn member_in(
        &self,
        key: &str,
        user: &str,
        state: MemberState,
    ) -> pb::ChannelMemberStatus {
        until(&format!("{user} is {}", state.as_str_name()), async || {
            let member = self.members(key).await.remove(user)?;
            (member.state() == state).then_some(member)
        })
        .await
    }
}

/// A wish for a public channel.
pub(super) fn wish(name: &str) -> pb::ChannelWish {
    pb::ChannelWish {
        name: name.into(),
        topic: "Starts on 5 October".into(),
        purpose: "Everyone in the autumn track".into(),
        ..pb::ChannelWish::default()
    }
}

/// The same with this policy.
pub(super) fn wish_or(name: &str, name_taken: pb::NameTaken) -> pb::ChannelWish {
    pb::ChannelWish { name_taken: name_taken.into(), ..wish(name) }
}

/// People whose records Herald has.
pub(super) fn by_id(users: &[&str]) -> Vec<pb::ChannelMember> {
    let member = |user: &&str| pb::ChannelMember {
        target: Some(Target::UserId((*user).into())),
        roles: vec!["enrolled".into()],
    };
    users.iter().map(member).collect()
}

/// People with their records.
pub(super) fn with_records(people: Vec<pb::Person>) -> Vec<pb::ChannelMember> {
    let member = |person| pb::ChannelMember {
        target: Some(Target::Person(person)),
        roles: vec!["enrolled".into()],
    };
    people.into_iter().map(member).collect()
}

/// The number of members in each state.
pub(super) fn counts(channel: &pb::Channel) -> &pb::ChannelMemberCounts {
    channel.members.as_ref().unwrap()
}

/// From now on the sandbox sends its events to the first replica.
pub(super) fn listen(world: &World) {
    let address = format!("http://{}/slack/events", world.replicas[0].http);
    world.sandbox.send_events_to(Url::parse(&address).unwrap());
}

/// A person makes a public channel with these members.
pub(super) fn people_make(world: &World, name: &str, members: &[&str]) -> String {
    world.sandbox.make_channel(&NewChannel {
        name: name.into(),
        members: members.iter().map(ToString::to_string).collect(),
        ..NewChannel::default()
    })
}

/// A person changes a channel.
pub(super) fn people_change(world: &World, id: &str, change: &ChannelChange) {
    assert!(world.sandbox.change_channel(id, change), "no channel {id}");
}

/// The channel as it is in Slack.
pub(super) fn in_slack(world: &World, id: &str) -> Value {
    world.sandbox.channel(id).unwrap_or_else(|| panic!("no channel {id}"))
}

/// Waits until the channel in Slack is as wanted.
pub(super) async fn slack_until(
    world: &World,
    id: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(what, async || Some(in_slack(world, id)).filter(&wanted)).await
}

/// The people in the channel, without the app's bot.
pub(super) fn people_in(world: &World, id: &str) -> BTreeSet<String> {
    let channel = in_slack(world, id);
    let ids = channel["members"].as_array().unwrap().iter();
    let ids = ids.map(|member| member["id"].as_str().unwrap().to_owned());
    let bot = world.sandbox.bot_user_id();
    ids.filter(|id| *id != bot).collect()
}

/// The changes of this kind that the app made to channels, in Slack's order.
pub(super) fn acts(world: &World, kind: &str) -> Vec<ChannelAct> {
    let acts = world.sandbox.log().into_iter().filter_map(|entry| entry.act);
    acts.filter(|act| act.act == kind).collect()
}

/// The calls of a method about this channel, in Slack's order.
pub(super) fn calls_about(world: &World, method: &str, id: &str) -> Vec<LogEntry> {
    let about = |entry: &LogEntry| entry.args.get("channel").is_some_and(|it| it == id);
    world.calls(method).into_iter().filter(about).collect()
}

/// No request invited a person that an earlier one had brought into the channel. Works for up to
/// forty people: the log shortens longer lists.
pub(super) fn assert_each_invited_once(world: &World, id: &str) {
    let mut inside = BTreeSet::new();
    for entry in calls_about(world, "conversations.invite", id) {
        let users = entry.args["users"].as_str().unwrap();
        for user in users.split(',') {
            assert!(!inside.contains(user), "{user} was invited again: {entry:?}");
        }
        inside.extend(entry.act.unwrap_or_default().joined);
    }
}

/// Slack enforced its limits, and no request exceeded one.
pub(super) fn assert_no_limit_exceeded(world: &World) {
    let log = world.sandbox.log();
    let exceeded = |entry: &&LogEntry| entry.http_status == 429 && entry.fault.is_none();
    let exceeded: Vec<&LogEntry> = log.iter().filter(exceeded).collect();
    assert!(exceeded.is_empty(), "{exceeded:?}");
}
