//! Channels in the store: wishes, leases, members, and events from Slack.

use std::collections::BTreeSet;
use std::time::Duration;

use herald::domain::channels::place::ChannelPlace;
use herald::domain::channels::progress::Progress;
use herald::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use herald::domain::channels::wish::{ChannelWish, NameTaken};
use herald::domain::identity::person::Person;
use herald::domain::ids::{
    ChannelId, ChannelKey, InstallationId, ManagedChannelId, SlackUserId, TenantId, UserId,
};
use herald::domain::secret::Secret;
use herald::domain::time::Timestamp;
use herald::store::{
    ChannelCounts, ChannelEdit, ChannelLease, ChannelObservation, ChannelSave, ChannelSaved,
    ManagedChannel, MemberCounts, MemberUpdate, MembersChange, NewInstallation, Redacted, Store,
    WishedMember,
};
use sea_orm::ConnectionTrait as _;

use crate::support::store::{TestStore, connect_tenant, publish_list, test_stores};

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// The clock as a holder read it. No time is after that plus the present, so it moves none.
pub(super) const NOW: Timestamp = Timestamp(0);

pub(super) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(super) fn key(name: &str) -> ChannelKey {
    ChannelKey::parse(name).unwrap()
}

pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub(super) fn slack(id: &str) -> ChannelId {
    ChannelId::parse(id).unwrap()
}

pub(crate) fn wish(name: &str) -> ChannelWish {
    ChannelWish {
        name: name.into(),
        is_private: false,
        topic: "Autumn".into(),
        purpose: "A track".into(),
        name_taken: NameTaken::Fail,
        follow_name: false,
        remove_unlisted: true,
        create_not_before: None,
        archive_after: None,
        archive_notice: Duration::ZERO,
    }
}

pub(super) fn members(names: &[&str]) -> Vec<WishedMember> {
    let roles = || vec!["enrolled".to_owned()];
    names.iter().map(|name| WishedMember { user: user(name), roles: roles() }).collect()
}

pub(super) async fn ensure(store: &Store, name: &str, people: &[&str]) -> ManagedChannel {
    let change = MembersChange::Replace { members: members(people), remove_unlisted: true };
    store.tenancy().ensure_tenant(&tenant()).await.unwrap();
    let wish = wish(name);
    let ensured = store.channels().ensure(&tenant(), &key(name), &wish, change, Vec::new()).await;
    ensured.unwrap().unwrap()
}

pub(super) async fn claim(store: &Store) -> Option<ChannelLease> {
    store.channels().claim(LONG).await.unwrap()
}

pub(super) fn ready(installation: InstallationId, channel: &str) -> ChannelSave {
    ChannelSave {
        progress: Progress { name: Some("autumn".into()), ..Progress::default() },
        state: ChannelState::Ready,
        obstacle: None,
        place: Some(ChannelPlace { installation, channel: slack(channel) }),
    }
}

pub(super) fn update(name: &str, state: ChannelMemberState) -> MemberUpdate {
    MemberUpdate {
        user: user(name),
        state: Some(state),
        slack_user_id: Some(SlackUserId::parse(format!("U{name}")).unwrap()),
        code: None,
        attempts: 1,
        retry_at: None,
    }
}

pub(super) async fn states(store: &Store, name: &str) -> Vec<(String, ChannelMemberState)> {
    let of = store.channels().members(&tenant(), &key(name), None, None, 100).await.unwrap();
    let shown = |user: &UserId| user.as_str().to_owned();
    of.unwrap().iter().map(|member| (shown(&member.user), member.state)).collect()
}

/// A workspace of a tenant, whose member list was read.
pub(super) async fn workspace(store: &Store, who: &TenantId, team: &str) -> InstallationId {
    let new = NewInstallation {
        app_id: "A1".into(),
        enterprise_id: None,
        team_id: Some(team.into()),
        org_wide: false,
        team_name: "Team".into(),
        bot_user_id: "UBOT".into(),
        bot_name: "herald".into(),
        scopes: vec!["channels:manage".into()],
        token: Secret::new("xoxb-1"),
        refresh_token: None,
        token_expires_at: None,
        installed_by: None,
        app_path: String::new(),
    };
    let id = connect_tenant(store, who, &new).await;
    read(store, id).await;
    id
}

pub(super) async fn read(store: &Store, id: InstallationId) {
    store.member_lists().request_refresh(id).await.unwrap();
    let lease = store.member_lists().acquire_crawl(id, "replica", LONG).await.unwrap().unwrap();
    publish_list(store, &lease, LONG).await;
}

pub(super) fn somewhere() -> InstallationId {
    InstallationId::parse("018f0000-0000-7000-8000-000000000001").unwrap()
}

#[tokio::test]
async fn a_wish_is_kept_encrypted_and_replaced_by_the_next() {
    for store in test_stores().await {
        let first = ensure(&store, "track:1", &["ada"]).await;
        assert_eq!((first.state, first.wish_version), (ChannelState::Creating, 1));
        assert_eq!(first.counts, MemberCounts { queued: 1, ..MemberCounts::default() });
        let later = ChannelWish { name: "Winter".into(), ..wish("track:1") };
        let keep = MembersChange::Keep;
        let person = Person { email: Some("bo@example.com".into()), ..Person::bare(user("bo")) };
        let second = store
            .channels()
            .ensure(&tenant(), &key("track:1"), &later, keep, vec![person.clone()])
            .await
            .unwrap()
            .unwrap();
        assert_eq!((second.id, second.wish_version, &second.wish), (first.id, 2, &later));
        assert_eq!(second.counts, first.counts);
        let stored = store.people().get(&tenant(), &user("bo")).await.unwrap().unwrap();
        assert_eq!(stored.person, person);
        // Another replica, with nothing in memory.
        let replica = store.replica().await;
        let got = replica.channels().get(&tenant(), &key("track:1")).await.unwrap();
        assert_eq!(got.unwrap(), second);
        assert_eq!(store.channels().get(&tenant(), &key("track:2")).await.unwrap(), None);
        let unknown = store.channels().change(&tenant(), &key("x"), ChannelEdit::Archive).await;
        assert_eq!(unknown.unwrap(), None);
        let other = ensure(&store, "track:2", &[]).await;
        let listed = store.channels().list(&tenant(), None, Some(&key("track:1")), 10).await;
        assert_eq!(listed.unwrap(), [other]);
        let counts = ChannelCounts { creating: 2, ..ChannelCounts::default() };
        assert_eq!(store.channels().count(&tenant()).await.unwrap(), counts);
        let totals = store.channels().totals().await.unwrap();
        assert!(totals.channels.contains(&(ChannelState::Creating, 2)), "{totals:?}");
        assert!(totals.members.contains(&(ChannelMemberState::Queued, 1)), "{totals:?}");
        assert!(raw_row(&store).await.iter().all(|text| !text.contains("Winter")));
    }
}

/// The encrypted columns, as text.
async fn raw_row(store: &TestStore) -> Vec<String> {
    let raw = store.raw().await;
    let text = sea_orm::Statement::from_string(
        raw.get_database_backend(),
        "SELECT wish, progress FROM channels",
    );
    let rows = raw.query_all_raw(text).await.unwrap();
    let column = |row: &sea_orm::QueryResult, index| {
        let bytes: Vec<u8> = row.try_get_by_index(index).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    rows.iter().flat_map(|row| [column(row, 0), column(row, 1)]).collect()
}

#[tokio::test]
async fn a_holder_whose_lease_was_taken_over_changes_nothing() {
    for store in test_stores().await {
        ensure(&store, "track:1", &["ada"]).await;
        let channels = store.channels();
        let old = channels.claim(Duration::ZERO).await.unwrap().unwrap();
        let new = claim(&store).await.unwrap();
        assert_eq!((old.id, old.epoch + 1), (new.id, new.epoch));
        assert!(claim(&store).await.is_none(), "one holder");
        let save = ready(somewhere(), "C1");
        assert_eq!(channels.save(&old, &save).await.unwrap(), ChannelSaved::Lost);
        let queued = [update("ada", ChannelMemberState::Member)];
        assert!(!channels.save_members(&old, &queued, NOW).await.unwrap());
        assert!(!channels.wake_members(&old).await.unwrap());
        assert!(!channels.extend(&old, LONG).await.unwrap());
        assert!(!channels.end(&old, None, NOW, true).await.unwrap());
        assert_eq!(states(&store, "track:1").await, [("ada".into(), ChannelMemberState::Queued)]);

        assert!(channels.extend(&new, LONG).await.unwrap());
        assert_eq!(channels.save(&new, &save).await.unwrap(), ChannelSaved::Kept);
        assert!(channels.save_members(&new, &queued, NOW).await.unwrap());
        let got = channels.get(&tenant(), &key("track:1")).await.unwrap().unwrap();
        assert_eq!((got.state, got.place, got.counts.members), (save.state, save.place, 1));
        assert!(channels.end(&new, None, NOW, true).await.unwrap());
        assert!(!channels.end(&new, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_none(), "nothing is left to do");
        assert_eq!(channels.next_due().await.unwrap(), None);
    }
}

#[tokio::test]
async fn one_row_owns_a_channel_of_slack() {
    for store in test_stores().await {
        for name in ["track:1", "track:2"] {
            ensure(&store, name, &[]).await;
        }
        let (one, two) = (claim(&store).await.unwrap(), claim(&store).await.unwrap());
        let save = ready(somewhere(), "C1");
        assert_eq!(store.channels().save(&one, &save).await.unwrap(), ChannelSaved::Kept);
        assert_eq!(store.channels().save(&two, &save).await.unwrap(), ChannelSaved::PlaceTaken);
        let seen = [slack("C1"), slack("C2")];
        let owned = async |id: ManagedChannelId| {
            store.channels().owned(id, somewhere(), &seen).await.unwrap()
        };
        assert_eq!(owned(two.id).await, BTreeSet::from([slack("C1")]));
        assert_eq!(owned(one.id).await, BTreeSet::new());
        let released = store.channels().release(&tenant(), &one.channel.key).await.unwrap();
        assert_eq!(released.unwrap().slack_channel, Some(slack("C1")));
        assert_eq!(store.channels().release(&tenant(), &one.channel.key).await.unwrap(), None);
        assert_eq!(store.channels().save(&one, &save).await.unwrap(), ChannelSaved::Lost);
        assert_eq!(store.channels().save(&two, &save).await.unwrap(), ChannelSaved::Kept);
    }
}

#[tokio::test]
async fn a_wish_or_an_event_during_a_lease_keeps_the_channel_due() {
    for store in test_stores().await {
        ensure(&store, "track:1", &[]).await;
        let lease = claim(&store).await.unwrap();
        let rename = ChannelEdit::Rename("Winter".into());
        store.channels().change(&tenant(), &key("track:1"), rename).await.unwrap().unwrap();
        assert!(claim(&store).await.is_none(), "the lease stays");
        let save = ready(somewhere(), "C1");
        assert_eq!(store.channels().save(&lease, &save).await.unwrap(), ChannelSaved::Kept);
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        let lease = claim(&store).await.unwrap();
        // It was created with the earlier name.
        assert_eq!(lease.channel.progress.rename_to.as_deref(), Some("winter"));
        assert!(!lease.recheck);

        let place = slack("C1");
        let changed = ChannelObservation::Changed;
        assert!(store.channels().observe(somewhere(), &place, &changed).await.unwrap());
        assert!(!store.channels().observe(somewhere(), &slack("C9"), &changed).await.unwrap());
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        let lease = claim(&store).await.unwrap();
        assert!(lease.recheck);
        assert!(store.channels().end(&lease, Some(Timestamp(1)), NOW, false).await.unwrap());
        let lease = claim(&store).await.unwrap();
        assert!(lease.recheck, "it was not followed up");
        assert!(store.channels().end(&lease, Some(Timestamp(1)), NOW, true).await.unwrap());
        assert!(!claim(&store).await.unwrap().recheck);
    }
}

#[tokio::test]
async fn people_who_appear_make_their_channel_due() {
    for store in test_stores().await {
        let id = workspace(&store, &tenant(), "T1").await;
        ensure(&store, "track:1", &["ada", "bo"]).await;
        let absent = [update("ada", ChannelMemberState::NotInSlack)];
        let lease = claim(&store).await.unwrap();
        assert!(store.channels().save_members(&lease, &absent, NOW).await.unwrap());
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_none());

        read(&store, id).await;
        let lease = claim(&store).await.unwrap();
        assert!(lease.appeared);
        let waits = [ChannelMemberState::NotInSlack];
        let to_do = async |lease: &ChannelLease| {
            let found = store.channels().members_to_do(lease, &waits, None, 10).await.unwrap();
            found.into_iter().map(|member| member.user).collect::<Vec<_>>()
        };
        assert_eq!(to_do(&lease).await, []);
        assert!(store.channels().wake_members(&lease).await.unwrap());
        assert_eq!(to_do(&lease).await, [user("ada")]);
        // The list changes again before it is known that this person is missing from it.
        read(&store, id).await;
        assert!(store.channels().save_members(&lease, &absent, NOW).await.unwrap());
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        let lease = claim(&store).await.unwrap();
        assert!(lease.appeared);
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_none());
    }
}

#[tokio::test]
async fn a_channel_without_a_workspace_is_due_when_there_is_one() {
    for store in test_stores().await {
        ensure(&store, "track:1", &[]).await;
        let lease = claim(&store).await.unwrap();
        let blocked = ChannelSave {
            progress: Progress::default(),
            state: ChannelState::Blocked,
            obstacle: Some(ChannelObstacle::NotConnected),
            place: None,
        };
        assert_eq!(store.channels().save(&lease, &blocked).await.unwrap(), ChannelSaved::Kept);
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_none());
        workspace(&store, &tenant(), "T1").await;
        let lease = claim(&store).await.unwrap();
        // Connected again, perhaps with more scopes, while the channel is looked at.
        workspace(&store, &tenant(), "T1").await;
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        assert!(claim(&store).await.is_some());
    }
}

#[tokio::test]
async fn workspaces_take_turns() {
    let other = TenantId::parse("other").unwrap();
    for store in test_stores().await {
        workspace(&store, &tenant(), "T1").await;
        workspace(&store, &other, "T2").await;
        for name in ["a", "b", "c"] {
            ensure(&store, name, &[]).await;
        }
        let (last, keep) = (key("last"), MembersChange::Keep);
        store.channels().ensure(&other, &last, &wish("last"), keep, Vec::new()).await.unwrap();
        let mut turns = Vec::new();
        while let Some(lease) = claim(&store).await {
            turns.push(lease.channel.tenant.as_str().to_owned());
        }
        // The first depends on the time of the channels only.
        assert_eq!(turns.len(), 4);
        assert!(turns[..2].contains(&"other".to_owned()), "{turns:?}");
    }
}

#[tokio::test]
async fn an_outcome_for_an_earlier_wish_does_not_undo_a_later_one() {
    for store in test_stores().await {
        ensure(&store, "track:1", &["ada", "bo", "cy"]).await;
        let joined = ["ada", "bo", "cy"].map(|name| update(name, ChannelMemberState::Member));
        let lease = claim(&store).await.unwrap();
        assert!(store.channels().save_members(&lease, &joined, NOW).await.unwrap());
        let remove = MembersChange::Remove(vec![user("ada"), user("stranger")]);
        let edit = ChannelEdit::Members(remove, Vec::new());
        let edited = store.channels().change(&tenant(), &key("track:1"), edit).await.unwrap();
        assert_eq!((edited.unwrap().counts.removing, lease.channel.wish_version), (1, 1));
        // The holder read the members before.
        let gone = MemberUpdate { state: None, ..update("cy", ChannelMemberState::Member) };
        let updates = [joined[0].clone(), update("bo", ChannelMemberState::Left), gone];
        assert!(store.channels().save_members(&lease, &updates, NOW).await.unwrap());
        let expected = [
            ("ada".to_owned(), ChannelMemberState::Removing),
            ("bo".to_owned(), ChannelMemberState::Left),
        ];
        assert_eq!(states(&store, "track:1").await, expected);
        assert!(store.channels().end(&lease, None, NOW, true).await.unwrap());
        let lease = claim(&store).await.unwrap();
        let kicked = [MemberUpdate { state: None, ..joined[0].clone() }];
        assert!(store.channels().save_members(&lease, &kicked, NOW).await.unwrap());
        assert_eq!(states(&store, "track:1").await, expected[1..]);
    }
}

#[tokio::test]
async fn events_of_members_are_applied_once_and_spare_a_removal() {
    for store in test_stores().await {
        ensure(&store, "track:1", &["ada", "bo"]).await;
        let lease = claim(&store).await.unwrap();
        store.channels().save(&lease, &ready(somewhere(), "C1")).await.unwrap();
        let updates = [
            update("ada", ChannelMemberState::Inviting),
            update("bo", ChannelMemberState::Removing),
        ];
        assert!(store.channels().save_members(&lease, &updates, NOW).await.unwrap());
        let observe = async |channel: &str, seen: ChannelObservation| {
            store.channels().observe(somewhere(), &slack(channel), &seen).await.unwrap()
        };
        let of = |name: &str| SlackUserId::parse(format!("U{name}")).unwrap();
        let state = async |at: usize| states(&store, "track:1").await[at].1;
        let now = store.now().await.unwrap();
        for _ in 0..2 {
            assert!(observe("C1", ChannelObservation::Joined(of("ada"), now)).await);
            assert_eq!(state(0).await, ChannelMemberState::Member);
        }
        for name in ["ada", "bo", "stranger"] {
            assert!(observe("C1", ChannelObservation::Left(of(name), now)).await);
        }
        assert_eq!(state(0).await, ChannelMemberState::Left);
        assert_eq!(state(1).await, ChannelMemberState::Removing);
        assert!(observe("C1", ChannelObservation::IdChanged(slack("C2"))).await);
        assert!(!observe("C1", ChannelObservation::Changed).await);
        let got = store.channels().get(&tenant(), &key("track:1")).await.unwrap().unwrap();
        let moved = ChannelPlace { installation: somewhere(), channel: slack("C2") };
        assert_eq!(got.place, Some(moved));
        assert_eq!((got.counts.left, got.counts.removing), (1, 1));
    }
}

#[tokio::test]
async fn a_notice_is_due_once_for_each_end() {
    for store in test_stores().await {
        ensure(&store, "track:1", &[]).await;
        let end = store.now().await.unwrap().plus(LONG);
        let ends = |archive_after| ChannelWish {
            archive_after: Some(archive_after),
            archive_notice: LONG * 2,
            ..wish("track:1")
        };
        let (key, keep) = (&key("track:1"), || MembersChange::Keep);
        let channels = store.channels();
        channels.ensure(&tenant(), key, &ends(end), keep(), Vec::new()).await.unwrap();
        let due = async || store.channels().notices_due(None, 10).await.unwrap().channels.len();
        assert_eq!(due().await, 0, "it does not exist in Slack yet");
        let lease = claim(&store).await.unwrap();
        store.channels().save(&lease, &ready(somewhere(), "C1")).await.unwrap();
        assert_eq!(due().await, 1);
        channels.note_notice(lease.id, Timestamp(1)).await.unwrap();
        assert_eq!(due().await, 1, "that was another end");
        channels.note_notice(lease.id, end).await.unwrap();
        channels.ensure(&tenant(), key, &ends(end), keep(), Vec::new()).await.unwrap();
        assert_eq!(due().await, 0);
        let later = ends(end.plus(LONG / 2));
        channels.ensure(&tenant(), key, &later, keep(), Vec::new()).await.unwrap();
        assert_eq!(due().await, 1);
        channels.change(&tenant(), key, ChannelEdit::Archive).await.unwrap();
        assert_eq!(due().await, 0);
    }
}

#[tokio::test]
async fn a_channel_of_a_newer_release_is_left_to_it_and_shown() {
    for store in test_stores().await {
        for name in ["track:1", "track:2"] {
            ensure(&store, name, &["ada", "bo"]).await;
        }
        let raw = store.raw().await;
        for text in [
            "UPDATE channels SET state = 'frozen', obstacle = 'ice' WHERE channel_key = 'track:1'",
            "UPDATE channel_members SET state = 'frozen' WHERE user_id = 'ada'",
        ] {
            raw.execute_unprepared(text).await.unwrap();
        }
        assert_eq!(claim(&store).await.unwrap().channel.key, key("track:2"));
        assert!(claim(&store).await.is_none());
        let listed = store.channels().list(&tenant(), None, None, 10).await.unwrap();
        assert_eq!((listed[0].state, listed[0].obstacle), (ChannelState::Newer, None));
        assert_eq!(listed.len(), 2);
        // Even if the page begins with it.
        let page = store.channels().members(&tenant(), &key("track:2"), None, None, 1).await;
        assert_eq!(page.unwrap().unwrap()[0].user, user("bo"));
    }
}

#[tokio::test]
async fn a_deleted_person_is_no_longer_wished_for_anywhere() {
    for store in test_stores().await {
        for name in ["track:1", "track:2"] {
            ensure(&store, name, &["ada", "bo"]).await;
        }
        let kept =
            |answer: &[u8], _: &UserId| Redacted { answer: answer.to_vec(), names_others: true };
        store.ends().erase_person(&tenant(), &user("ada"), kept).await.unwrap();
        for name in ["track:1", "track:2"] {
            assert_eq!(states(&store, name).await, [("bo".into(), ChannelMemberState::Queued)]);
            let got = store.channels().get(&tenant(), &key(name)).await.unwrap().unwrap();
            assert_eq!(got.counts.queued, 1);
        }
    }
}
