//! The calls of channels.

use herald::rpc::pb::{self, channel_member::Target};
use tonic::{Code, Status};

use super::{Case, Problem, Rows, assert_reason, assert_refused, long};
use crate::support::client::person;
use crate::support::world::{TENANT, World, for_each_database};

const EMPTY: &str = "must not be empty";
const LONG_KEY: &str = "must be at most 128 bytes, was 129";
const LONG_USER: &str = "must be at most 256 bytes, was 257";
const CONTROL: &str = "must not contain '\\n'; allowed are printable characters";
const SLASH: &str = "must not contain '/'; allowed are letters, digits and - _ . :";
const SPACE: &str = "must not contain ' '; allowed are letters, digits and - _ . :";
const NAME: &str = "must be at most 250 bytes, was 251";
const NO_LETTER: &str = "must contain a letter or a digit";
const TIME: &str = "is not a time between the years 1 and 9999";
const STATE: &str = "is not a known state";
const TOKEN: &str = "is not a next_page_token of this list with this filter";
const NEGATIVE: &str = "must not be negative";
const PERMISSION: &str = "is not a known permission";
const NO_TARGET: &str = "must be one of user_id, person";
const KEY: &str = "track:1";

pub(super) const CASES: usize = ENSURED.len()
    + LISTED.len()
    + MEMBERS.len()
    + SET.len()
    + ADDED.len()
    + REMOVED.len()
    + RENAMED.len()
    + KEYS.len() * KEYED
    + FEEDS.len()
    + TOKENS
    + ABSENT
    + PRIVATE;
/// Methods that take a key and nothing more.
const KEYED: usize = 4;
/// Built in the tests: tokens that do not fit, keys that do not exist, and a channel that exists.
const TOKENS: usize = 5;
const ABSENT: usize = 10;
const PRIVATE: usize = 2;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

fn days(days: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: days * 86_400, nanos: 0 }
}

fn wish() -> pb::ChannelWish {
    pb::ChannelWish { name: "Track 1".into(), ..pb::ChannelWish::default() }
}

fn member(user: &str) -> pb::ChannelMember {
    let target = Some(Target::UserId(user.into()));
    pb::ChannelMember { target, roles: Vec::new() }
}

fn ensured() -> pb::EnsureChannelRequest {
    pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: KEY.into(),
        wish: Some(wish()),
        ..pb::EnsureChannelRequest::default()
    }
}

fn wished(request: &mut pb::EnsureChannelRequest) -> &mut pb::ChannelWish {
    request.wish.as_mut().unwrap()
}

fn with(request: &mut pb::EnsureChannelRequest, members: Vec<pb::ChannelMember>) {
    request.members = Some(pb::ChannelMembers { members });
}

fn spoiled(spoil: impl FnOnce(&mut pb::Person)) -> pb::ChannelMember {
    let mut person = person("ada", "ada@demo.example");
    spoil(&mut person);
    pb::ChannelMember { target: Some(Target::Person(person)), roles: Vec::new() }
}

#[rustfmt::skip]
const ENSURED: &[Case<pb::EnsureChannelRequest>] = &[
    Case {
        what: "wish without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case {
        what: "wish without key", spoil: |r| r.channel_key.clear(),
        problems: &[("channel_key", EMPTY)] },
    Case {
        what: "long key", spoil: |r| r.channel_key = long(129),
        problems: &[("channel_key", LONG_KEY)] },
    Case {
        what: "key of two lines", spoil: |r| r.channel_key = "a\nb".into(),
        problems: &[("channel_key", CONTROL)] },
    Case { what: "no wish", spoil: |r| r.wish = None, problems: &[("wish", "must be set")] },
    Case {
        what: "no name", spoil: |r| wished(r).name.clear(), problems: &[("wish.name", EMPTY)] },
    Case {
        what: "long name", spoil: |r| wished(r).name = long(251),
        problems: &[("wish.name", NAME)] },
    Case {
        what: "name of emoji", spoil: |r| wished(r).name = "🎉 - 🎉".into(),
        problems: &[("wish.name", NO_LETTER)] },
    Case {
        what: "long topic", spoil: |r| wished(r).topic = long(251),
        problems: &[("wish.topic",
            "must be at most 250 characters (most emoji count as two), was 251")] },
    Case {
        what: "topic of two lines", spoil: |r| wished(r).topic = "a\nb".into(),
        problems: &[("wish.topic", "must not contain line breaks or control characters")] },
    Case {
        what: "long purpose", spoil: |r| wished(r).purpose = long(221),
        problems: &[("wish.purpose",
            "must be at most 220 characters (most emoji count as two), was 221")] },
    Case {
        what: "unknown policy", spoil: |r| wished(r).name_taken = 9,
        problems: &[("wish.name_taken", "must be one of FAIL, SUFFIX, ADOPT")] },
    Case {
        what: "created before the year 1",
        spoil: |r| wished(r).create_not_before = Some(at(i64::MIN)),
        problems: &[("wish.create_not_before", TIME)] },
    Case {
        what: "archived after the year 9999",
        spoil: |r| wished(r).archive_after = Some(at(i64::MAX)),
        problems: &[("wish.archive_after", TIME)] },
    Case {
        what: "archived before it is created",
        spoil: |r| {
            wished(r).create_not_before = Some(at(2_000));
            wished(r).archive_after = Some(at(2_000)); },
        problems: &[("wish.archive_after", "must be later than create_not_before")] },
    Case {
        what: "notice of more than a month",
        spoil: |r| wished(r).archive_notice = Some(days(31)),
        problems: &[("wish.archive_notice", "must be at most 30 days")] },
    Case {
        what: "notice after the end", spoil: |r| wished(r).archive_notice = Some(days(-1)),
        problems: &[("wish.archive_notice", "must be between 0 and 30 days")] },
    Case {
        what: "member of nothing", spoil: |r| with(r, vec![pb::ChannelMember::default()]),
        problems: &[("members.members[0]", NO_TARGET)] },
    Case {
        what: "member with a long id", spoil: |r| with(r, vec![member("ben"), member(&long(257))]),
        problems: &[("members.members[1].user_id", LONG_USER)] },
    Case {
        what: "member with a bad record",
        spoil: |r| with(r, vec![spoiled(|person| person.time_zone = "Mars".into())]),
        problems: &[("members.members[0].person.time_zone",
            "is not an IANA time zone, such as Europe/Vienna")] },
    Case {
        what: "the same member twice",
        spoil: |r| with(r, vec![member("ada"), member("ben"), spoiled(|_| {})]),
        problems: &[("members.members[2]",
            "names the same person as members.members[0]; name each once")] },
    Case {
        what: "role with a space",
        spoil: |r| with(r, vec![
            pb::ChannelMember { roles: vec!["enrolled".into(), "a b".into()], ..member("ben") }]),
        problems: &[("members.members[0].roles[1]", SPACE)] },
    Case {
        what: "too many roles",
        spoil: |r| with(r, vec![
            pb::ChannelMember { roles: vec!["x".into(); 21], ..member("ben") }]),
        problems: &[("members.members[0].roles", "must be at most 20, was 21")] },
    Case {
        what: "too many members", spoil: |r| with(r, vec![member("ben"); 1001]),
        problems: &[("members.members", "must be at most 1000, was 1001")] },
    Case {
        what: "wish with an unknown permission",
        spoil: |r| r.actor = Some(pb::Actor { user_id: "ada".into(), permissions: vec![9] }),
        problems: &[("actor.permissions[0]", PERMISSION)] },
    Case {
        what: "a dry run is checked, too",
        spoil: |r| { r.dry_run = true; wished(r).name.clear(); },
        problems: &[("wish.name", EMPTY)] },
    Case {
        what: "a wish of faults",
        spoil: |r| {
            r.tenant_id = "a/b".into(); r.channel_key.clear(); wished(r).name.clear();
            wished(r).topic = "a\nb".into(); with(r, vec![member("")]); },
        problems: &[("tenant_id", SLASH), ("channel_key", EMPTY), ("wish.name", EMPTY),
            ("wish.topic", "must not contain line breaks or control characters"),
            ("members.members[0].user_id", EMPTY)] },
];

#[rustfmt::skip]
const LISTED: &[Case<pb::ListChannelsRequest>] = &[
    Case {
        what: "channels without tenant", spoil: |r| r.tenant_id.clear(),
        problems: &[("tenant_id", EMPTY)] },
    Case { what: "unknown state", spoil: |r| r.state = 99, problems: &[("state", STATE)] },
    Case {
        what: "negative page of channels", spoil: |r| r.page_size = -1,
        problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "invented token of channels", spoil: |r| r.page_token = "AAAA".into(),
        problems: &[("page_token", TOKEN)] },
];

#[rustfmt::skip]
const MEMBERS: &[Case<pb::ListChannelMembersRequest>] = &[
    Case {
        what: "members without key", spoil: |r| r.channel_key.clear(),
        problems: &[("channel_key", EMPTY)] },
    Case {
        what: "unknown state of members", spoil: |r| r.state = -1, problems: &[("state", STATE)] },
    Case {
        what: "negative page of members", spoil: |r| r.page_size = i32::MIN,
        problems: &[("page_size", NEGATIVE)] },
    Case {
        what: "long token of members", spoil: |r| r.page_token = long(1025),
        problems: &[("page_token", "must be at most 1024 bytes")] },
];

#[rustfmt::skip]
const SET: &[Case<pb::SetChannelMembersRequest>] = &[
    Case {
        what: "set members without key", spoil: |r| r.channel_key.clear(),
        problems: &[("channel_key", EMPTY)] },
    Case {
        what: "set a member twice", spoil: |r| r.members = vec![member("ben"); 2],
        problems: &[("members[1]", "names the same person as members[0]; name each once")] },
    Case {
        what: "set too many members", spoil: |r| r.members = vec![member("ben"); 1001],
        problems: &[("members", "must be at most 1000, was 1001")] },
];

#[rustfmt::skip]
const ADDED: &[Case<pb::AddChannelMembersRequest>] = &[
    Case {
        what: "add no members", spoil: |r| r.members.clear(),
        problems: &[("members", "must be between 1 and 1000, was 0")] },
    Case {
        what: "add too many members", spoil: |r| r.members = vec![member("ben"); 1001],
        problems: &[("members", "must be between 1 and 1000, was 1001")] },
    Case {
        what: "add a member of two lines", spoil: |r| r.members = vec![member("a\nb")],
        problems: &[("members[0].user_id", CONTROL)] },
];

#[rustfmt::skip]
const REMOVED: &[Case<pb::RemoveChannelMembersRequest>] = &[
    Case {
        what: "remove no members", spoil: |r| r.user_ids.clear(),
        problems: &[("user_ids", "must be between 1 and 1000, was 0")] },
    Case {
        what: "remove too many members", spoil: |r| r.user_ids = vec!["ben".into(); 1001],
        problems: &[("user_ids", "must be between 1 and 1000, was 1001")] },
    Case {
        what: "remove a member twice", spoil: |r| r.user_ids = vec!["ben".into(); 2],
        problems: &[("user_ids[1]", "names the same person as user_ids[0]; name each once")] },
    Case {
        what: "remove a member without id", spoil: |r| r.user_ids = vec![String::new()],
        problems: &[("user_ids[0]", EMPTY)] },
];

#[rustfmt::skip]
const RENAMED: &[Case<pb::RenameChannelRequest>] = &[
    Case { what: "rename to nothing", spoil: |r| r.name.clear(), problems: &[("name", EMPTY)] },
    Case { what: "rename to much", spoil: |r| r.name = long(251), problems: &[("name", NAME)] },
    Case {
        what: "rename to emoji", spoil: |r| r.name = "🎉".into(),
        problems: &[("name", NO_LETTER)] },
];

/// Tenant, key, problems: for each method that takes nothing more.
#[rustfmt::skip]
const KEYS: &[(&str, &str, &[Problem])] = &[
    ("", KEY, &[("tenant_id", EMPTY)]),
    ("acme", "", &[("channel_key", EMPTY)]),
    ("a/b", "a\nb", &[("tenant_id", SLASH), ("channel_key", CONTROL)]),
];

/// Tenant, position, problems.
#[rustfmt::skip]
const FEEDS: &[(&str, Option<i64>, &[Problem])] = &[
    ("", None, &[("tenant_id", EMPTY)]),
    ("a/b", Some(-1), &[("tenant_id", SLASH), ("after_sequence", NEGATIVE)]),
];

/// A request with the tenant, the key and, otherwise, default values.
macro_rules! about {
    ($request:ident, $tenant:expr, $key:expr $(, $field:ident: $value:expr)*) => {
        pb::$request {
            tenant_id: $tenant.into(),
            channel_key: $key.into(),
            $($field: $value,)*
            ..pb::$request::default()
        }
    };
}

macro_rules! refused {
    ($client:ident.$method:ident, $cases:ident, $good:expr) => {
        for case in $cases {
            let mut request = $good;
            (case.spoil)(&mut request);
            assert_refused(case.what, $client.$method(request).await.map(drop), case.problems);
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_of_channels_name_every_field_and_store_nothing() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        refused!(client.ensure_channel, ENSURED, ensured());
        let listed = || pb::ListChannelsRequest { tenant_id: TENANT.into(), ..Default::default() };
        refused!(client.list_channels, LISTED, listed());
        let members = || about!(ListChannelMembersRequest, TENANT, KEY);
        refused!(client.list_channel_members, MEMBERS, members());
        let set = || about!(SetChannelMembersRequest, TENANT, KEY, members: vec![member("ben")]);
        refused!(client.set_channel_members, SET, set());
        let added = || about!(AddChannelMembersRequest, TENANT, KEY, members: vec![member("ben")]);
        refused!(client.add_channel_members, ADDED, added());
        let removed =
            || about!(RemoveChannelMembersRequest, TENANT, KEY, user_ids: vec!["ben".into()]);
        refused!(client.remove_channel_members, REMOVED, removed());
        let renamed = || about!(RenameChannelRequest, TENANT, KEY, name: "Track".into());
        refused!(client.rename_channel, RENAMED, renamed());
        for (tenant, key, problems) in KEYS {
            let refused = |what, answer| assert_refused(what, answer, problems);
            let get = about!(GetChannelRequest, *tenant, *key);
            refused("get", client.get_channel(get).await.map(drop));
            let archive = about!(ArchiveChannelRequest, *tenant, *key);
            refused("archive", client.archive_channel(archive).await.map(drop));
            let unarchive = about!(UnarchiveChannelRequest, *tenant, *key);
            refused("unarchive", client.unarchive_channel(unarchive).await.map(drop));
            let release = about!(ReleaseChannelRequest, *tenant, *key);
            refused("release", client.release_channel(release).await.map(drop));
        }
        for (tenant, after, problems) in FEEDS {
            let feed = client.watch_channels(tenant, *after).await.map(drop);
            assert_refused("WatchChannels", feed, problems);
        }
        rows.assert_unchanged("channels").await;
        // Without the faults the requests are good.
        client.ensure_channel(ensured()).await.unwrap();
        client.list_channels(listed()).await.unwrap();
        client.list_channel_members(members()).await.unwrap();
        client.set_channel_members(set()).await.unwrap();
        client.add_channel_members(added()).await.unwrap();
        client.remove_channel_members(removed()).await.unwrap();
        client.rename_channel(renamed()).await.unwrap();
    })
    .await;
}

/// Two channels in each of two tenants, with two members each.
async fn two_each(world: &World) {
    for tenant in [TENANT, "globex"] {
        for key in [KEY, "track:2"] {
            let members = vec![member("ada"), member("ben")];
            let members = Some(pb::ChannelMembers { members });
            let request = pb::EnsureChannelRequest {
                tenant_id: tenant.into(),
                channel_key: key.into(),
                members,
                ..ensured()
            };
            world.client.ensure_channel(request).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_list_of_channels_is_refused() {
    for_each_database(async |world| {
        two_each(world).await;
        let client = &world.client;
        let list = |tenant: &str, state: i32, token: &str| pb::ListChannelsRequest {
            tenant_id: tenant.into(),
            state,
            page_size: 1,
            page_token: token.into(),
            actor: None,
        };
        let first = client.list_channels(list(TENANT, 0, "")).await.unwrap();
        assert_eq!(first.channels[0].channel_key, KEY);
        let token = first.next_page_token;
        let members = |tenant: &str, key: &str, token: &str| {
            about!(ListChannelMembersRequest, tenant, key, page_size: 1, page_token: token.into())
        };
        let of_members = client.list_channel_members(members(TENANT, KEY, "")).await.unwrap();
        let of_members = of_members.next_page_token;
        assert!(!token.is_empty() && !of_members.is_empty());
        let spoiled = [
            ("of another tenant", list("globex", 0, &token)),
            ("of another state", list(TENANT, 3, &token)),
            ("of members", list(TENANT, 0, &of_members)),
        ];
        for (what, request) in spoiled {
            let answer = client.list_channels(request).await.map(drop);
            assert_refused(what, answer, &[("page_token", TOKEN)]);
        }
        let spoiled = [
            ("of another tenant's members", members("globex", KEY, &of_members)),
            ("of another channel", members(TENANT, "track:2", &of_members)),
        ];
        for (what, request) in spoiled {
            let answer = client.list_channel_members(request).await.map(drop);
            assert_refused(what, answer, &[("page_token", TOKEN)]);
        }
        let second = client.list_channels(list(TENANT, 0, &token)).await.unwrap();
        assert_eq!(second.channels[0].channel_key, "track:2");
        assert_eq!((second.channels.len(), second.next_page_token.as_str()), (1, ""));
        let second = client.list_channel_members(members(TENANT, KEY, &of_members)).await.unwrap();
        assert_eq!(second.members[0].user_id, "ben");
    })
    .await;
}

fn assert_absent(what: &str, answer: Result<(), Status>) {
    let Err(status) = answer else { panic!("{what}: was found") };
    assert_eq!(status.code(), Code::NotFound, "{what}: {status}");
    assert_reason(what, &status, "NOT_FOUND");
    assert_eq!(status.message(), "there is no such channel", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_no_call_wished_for_is_not_there() {
    for_each_database(async |world| {
        let rows = Rows::of(world).await;
        let client = &world.client;
        let set = about!(SetChannelMembersRequest, TENANT, KEY);
        let members = vec![member("ben")];
        let add = about!(AddChannelMembersRequest, TENANT, KEY, members: members);
        let remove = about!(RemoveChannelMembersRequest, TENANT, KEY, user_ids: vec!["a".into()]);
        let rename = about!(RenameChannelRequest, TENANT, KEY, name: "Track".into());
        let get = about!(GetChannelRequest, TENANT, KEY);
        assert_absent("get", client.get_channel(get).await.map(drop));
        let list = about!(ListChannelMembersRequest, TENANT, KEY);
        assert_absent("list", client.list_channel_members(list).await.map(drop));
        assert_absent("set", client.set_channel_members(set).await.map(drop));
        assert_absent("add", client.add_channel_members(add).await.map(drop));
        assert_absent("remove", client.remove_channel_members(remove).await.map(drop));
        assert_absent("rename", client.rename_channel(rename).await.map(drop));
        let archive = about!(ArchiveChannelRequest, TENANT, KEY);
        assert_absent("archive", client.archive_channel(archive).await.map(drop));
        let unarchive = about!(UnarchiveChannelRequest, TENANT, KEY);
        assert_absent("unarchive", client.unarchive_channel(unarchive).await.map(drop));
        let release = about!(ReleaseChannelRequest, TENANT, KEY);
        assert_absent("release", client.release_channel(release).await.map(drop));
        let feed = client.watch_channels(TENANT, Some(i64::MAX)).await.map(drop).unwrap_err();
        assert_eq!(feed.code(), Code::OutOfRange);
        assert_reason("feed", &feed, "FEED_POSITION_UNKNOWN");
        assert!(feed.message().contains("compare with ListChannels"), "{feed:?}");
        rows.assert_unchanged("absent keys").await;
    })
    .await;
}

/// Whether a channel is private can be changed until it exists.
#[tokio::test(flavor = "multi_thread")]
async fn an_existing_channel_stays_private_or_public() {
    for_each_database(async |world| {
        let client = &world.client;
        let mut feed = client.watch_channels(TENANT, Some(0)).await.unwrap();
        client.ensure_channel(ensured()).await.unwrap();
        let is_ready = |change: &pb::ChannelChange| match &change.change {
            Some(pb::channel_change::Change::Channel(it)) => it.state() == pb::ChannelState::Ready,
            _ => false,
        };
        while !feed.message().await.unwrap().unwrap().changes.iter().any(is_ready) {}
        let rows = Rows::of(world).await;
        for dry_run in [true, false] {
            let wish = Some(pb::ChannelWish { is_private: true, ..wish() });
            let private = pb::EnsureChannelRequest { wish, dry_run, ..ensured() };
            let answer = client.ensure_channel(private).await.map(drop);
            let problem = "cannot change once the channel exists, and it is public; release it \
                with ReleaseChannel to make another";
            assert_refused("private", answer, &[("wish.is_private", problem)]);
        }
        rows.assert_unchanged("privacy").await;
    })
    .await;
}
