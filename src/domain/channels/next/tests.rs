//! Single decisions. The model beside this file drives whole lives.

use std::time::Duration;

use super::*;
use crate::domain::channels::mark;
use crate::domain::channels::place::ChannelPlace;
use crate::domain::channels::progress::{Progress, SeenChannel};
use crate::domain::channels::wish::ChannelWish;
use crate::domain::ids::{ChannelId, ManagedChannelId};

mod happening;
mod model;

const HERE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
const ELSEWHERE: InstallationId = InstallationId(uuid::Uuid::from_u128(2));
const ID: ManagedChannelId = ManagedChannelId(uuid::Uuid::from_u128(7));
const OTHER: ManagedChannelId = ManagedChannelId(uuid::Uuid::from_u128(8));
const NOW: Timestamp = Timestamp(1_000_000_000);
const AGAIN: Timestamp = Timestamp(1_600_000_000);
const PATIENCE: Duration = Duration::from_secs(60);

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn wish() -> ChannelWish {
    let (topic, purpose) = ("Topic".into(), "Purpose".into());
    ChannelWish { topic, purpose, ..ChannelWish::named("Course 7") }
}

fn granted() -> Vec<String> {
    SCOPES.map(str::to_owned).to_vec()
}

type RowChange = fn(&mut Row);

fn here() -> ChannelPlace {
    ChannelPlace { installation: HERE, channel: ChannelId::parse("C1").unwrap() }
}

fn seen(name: &str) -> SeenChannel {
    SeenChannel {
        id: ChannelId::parse("C1").unwrap(),
        name: name.into(),
        creator: None,
        created_at: NOW,
        is_private: false,
        is_archived: false,
        is_member: true,
        is_general: false,
        topic: String::new(),
        purpose: mark::marked("Purpose", ID),
    }
}

/// A row with everything that `next` asks for.
#[derive(Clone)]
struct Row {
    now: Timestamp,
    wish: ChannelWish,
    progress: Progress,
    wants_archived: bool,
    place: Option<ChannelPlace>,
    connected: Option<InstallationId>,
    dead: Option<&'static str>,
    granted: Vec<String>,
}

impl Row {
    fn new() -> Self {
        Self {
            now: NOW,
            wish: wish(),
            progress: Progress::default(),
            wants_archived: false,
            place: None,
            connected: Some(HERE),
            dead: None,
            granted: granted(),
        }
    }

    /// A channel that is as wished.
    fn ready() -> Self {
        let mut row = Self::new();
        row.progress.created(&seen("course-7"), &row.wish);
        row.place = Some(here());
        row.done(&Step::Mark { purpose: String::new() });
        row.inspect(&seen("course-7"));
        row.done(&Step::SetTopic);
        row.done(&Step::ReadMembers);
        row
    }

    fn facts(&self) -> ChannelFacts<'_> {
        ChannelFacts {
            now: self.now,
            id: ID,
            wish: &self.wish,
            progress: &self.progress,
            wants_archived: self.wants_archived,
            place: self.place.as_ref(),
            connected: self.connected,
            dead: self.dead,
            granted: &self.granted,
            look_again_after: PATIENCE,
        }
    }

    fn next(&self) -> Step {
        next(&self.facts())
    }

    fn done(&mut self, step: &Step) {
        done(step, &self.wish, &mut self.progress);
    }

    fn refused(&mut self, step: &Step, code: &str) -> Refused {
        refused(step, code, &self.wish, &mut self.progress, AGAIN)
    }

    fn inspect(&mut self, seen: &SeenChannel) {
        let ends = self.facts().ends();
        let inspection = Inspection { id: ID, wish: &self.wish, ends, again_at: AGAIN };
        inspected(seen, &inspection, &mut self.progress);
    }

    fn attempt(&mut self, name: &str) {
        let installation = self.connected.unwrap();
        self.progress.attempt(name, self.wish.is_private, ID, installation, self.now);
    }
}

fn rest(state: ChannelState, obstacle: impl Into<Option<ChannelObstacle>>) -> Step {
    Step::Rest { state, obstacle: obstacle.into(), until: None }
}

fn until(state: ChannelState, obstacle: impl Into<Option<ChannelObstacle>>, at: Timestamp) -> Step {
    Step::Rest { state, obstacle: obstacle.into(), until: Some(at) }
}

fn create(name: &str) -> Step {
    Step::Create { name: name.into(), is_private: false }
}

#[test]
fn before_it_exists_the_schedule_and_the_workspace_decide() {
    let mut row = Row::new();
    assert_eq!(row.next(), create("course-7"));
    let changes: [(RowChange, ChannelObstacle); 3] = [
        (|row| row.connected = None, ChannelObstacle::NotConnected),
        (|row| row.dead = Some("token_revoked"), ChannelObstacle::Reconnect),
        (|row| row.granted.truncate(4), ChannelObstacle::MissingScopes),
    ];
    for (change, obstacle) in changes {
        let mut changed = row.clone();
        change(&mut changed);
        assert_eq!(changed.next(), rest(ChannelState::Blocked, obstacle));
        // Ahead of time, the obstacle is shown, and the channel is not late yet.
        changed.wish.create_not_before = Some(later(1));
        assert_eq!(changed.next(), until(ChannelState::Scheduled, obstacle, later(1)));
    }
    row.wish.create_not_before = Some(later(1));
    row.wish.archive_after = Some(later(2));
    assert_eq!(row.next(), until(ChannelState::Scheduled, None, later(1)));
    row.now = later(1);
    assert_eq!(row.next(), create("course-7"));
    // The end passed before the channel was created, so it never is, until the wish moves it.
    row.now = later(2);
    assert_eq!(row.next(), rest(ChannelState::Archived, None));
    row.wish.archive_after = Some(later(3));
    assert_eq!(row.next(), create("course-7"));
    row.wants_archived = true;
    assert_eq!(row.next(), rest(ChannelState::Archived, None));
}

#[test]
fn an_unclear_create_is_looked_for_twice_before_it_is_repeated() {
    let mut row = Row::new();
    row.attempt("course-7");
    let look = Step::LookForOwn { name: "course-7".into(), since: NOW };
    assert_eq!(row.next(), look, "a process that died leaves the attempt");
    assert_eq!(unclear(&create("course-7"), &mut row.progress), Refused::Again);
    // Nothing else comes first: not the end of the wish, nor a new wish.
    row.wants_archived = true;
    row.wish.name = "Other".into();
    assert_eq!(row.next(), look);
    row.progress.not_there();
    let again = NOW.plus(PATIENCE);
    assert_eq!(row.next(), until(ChannelState::Creating, None, again));
    row.now = again;
    assert_eq!(row.next(), look);
    row.connected = Some(ELSEWHERE);
    assert_eq!(row.next(), rest(ChannelState::Blocked, ChannelObstacle::OtherWorkspace));
    row.connected = Some(HERE);
    row.progress.not_there();
    assert_eq!(row.next(), rest(ChannelState::Archived, None));
    row.wants_archived = false;
    assert_eq!(row.next(), create("other"));
}

#[test]
fn a_name_taken_after_an_unclear_create_is_looked_for_before_the_policy_counts() {
    let mut row = Row::new();
    row.wish.name_taken = NameTaken::Suffix;
    row.attempt("course-7");
    row.progress.unclear();
    row.progress.not_there();
    row.progress.not_there();
    row.now = later(100);
    assert_eq!(row.next(), create("course-7"));
    row.attempt("course-7");
    assert_eq!(row.refused(&create("course-7"), "name_taken"), Refused::Again);
    assert_eq!(row.next(), Step::LookForOwn { name: "course-7".into(), since: NOW });
    row.progress.not_there();
    row.progress.not_there();
    row.attempt("course-7");
    assert_eq!(row.refused(&create("course-7"), "name_taken"), Refused::Again);
    assert_eq!(row.next(), create("course-7-2"));
}

#[test]
fn each_policy_does_what_it_says_about_a_taken_name() {
    let taken = |policy| {
        let mut row = Row::new();
        row.wish.name_taken = policy;
        row.attempt("course-7");
        let refused = row.refused(&create("course-7"), "name_taken");
        (row, refused)
    };
    let (mut row, refused) = taken(NameTaken::Fail);
    assert_eq!(refused, Refused::Blocked(ChannelObstacle::NameTaken));
    assert_eq!(row.next(), until(ChannelState::Blocked, ChannelObstacle::NameTaken, AGAIN));
    row.wish.name = "Course 8".into();
    assert_eq!(row.next(), create("course-8"));
    row.wish.name = "Course 7".into();
    row.now = AGAIN;
    assert_eq!(row.next(), create("course-7"));

    let (mut row, _) = taken(NameTaken::Suffix);
    for number in 2..=99 {
        let step = create(&format!("course-7-{number}"));
        assert_eq!(row.next(), step);
        row.refused(&step, "name_taken");
    }
    assert_eq!(row.next(), until(ChannelState::Blocked, ChannelObstacle::NameTaken, AGAIN));
    row.wish.name = "Fresh".into();
    assert_eq!(row.next(), create("fresh"));

    let (mut row, _) = taken(NameTaken::Adopt);
    let look = Step::LookForTaken { name: "course-7".into() };
    assert_eq!(row.next(), look);
    let refused = row.refused(&look, ChannelObstacle::OwnedByAnother.code());
    assert_eq!(refused, Refused::Blocked(ChannelObstacle::OwnedByAnother));
    assert_eq!(row.next(), until(ChannelState::Blocked, ChannelObstacle::OwnedByAnother, AGAIN));
    row.now = AGAIN;
    assert_eq!(row.next(), create("course-7"), "the name may be free by now");
}

#[test]
fn an_adopted_channel_is_opened_joined_marked_and_read_before_anything_else() {
    let mut row = Row::new();
    row.wish.name_taken = NameTaken::Adopt;
    let found = SeenChannel {
        is_archived: true,
        is_member: false,
        purpose: "Q &amp; A".into(),
        ..seen("course-7")
    };
    row.progress.adopt(&found, &row.wish);
    row.place = Some(here());
    assert_eq!(row.next(), Step::Unarchive);

    // An app may not open archived channels: the wish can then go another way.
    let mut stuck = row.clone();
    let refused = stuck.refused(&Step::Unarchive, "not_in_channel");
    assert_eq!(refused, Refused::Blocked(ChannelObstacle::NotAdoptable));
    assert_eq!(stuck.next(), until(ChannelState::Blocked, ChannelObstacle::NotAdoptable, AGAIN));
    stuck.wish.name_taken = NameTaken::Suffix;
    assert_eq!(stuck.next(), create("course-7"));

    row.done(&Step::Unarchive);
    row.inspect(&SeenChannel { is_member: false, purpose: "Q &amp; A".into(), ..seen("course-7") });
    assert_eq!(row.next(), Step::Join);
    row.done(&Step::Join);
    row.wish.purpose.clear();
    let mark = Step::Mark { purpose: mark::marked("Q & A", ID) };
    assert_eq!(row.next(), mark);
    row.done(&mark);
    assert_eq!(row.next(), Step::Inspect);
    // Another Herald was faster.
    let mut late = row.clone();
    late.inspect(&SeenChannel { purpose: mark::marked("", OTHER), ..seen("course-7") });
    assert_eq!(late.next(), until(ChannelState::Blocked, ChannelObstacle::OwnedByAnother, AGAIN));
    late.now = AGAIN;
    assert_eq!(late.next(), Step::Inspect, "it is read again, not marked over");
    row.inspect(&seen("course-7"));
    assert_eq!(row.next(), Step::SetTopic);
}

#[test]
fn a_created_channel_goes_through_all_steps_once() {
    let mut row = Row::new();
    row.attempt("course-7");
    row.progress.created(&SeenChannel { purpose: String::new(), ..seen("course-7") }, &row.wish);
    row.place = Some(here());
    let mark = Step::Mark { purpose: mark::marked("Purpose", ID) };
    for step in [mark, Step::Inspect, Step::SetTopic, Step::ReadMembers] {
        assert_eq!(row.next(), step);
        if step == Step::Inspect {
            row.inspect(&seen("course-7"));
        } else {
            row.done(&step);
        }
    }
    assert_eq!(row.next(), Step::Members);
    row.wish.archive_after = Some(later(5));
    assert_eq!(at_rest(&row.facts()), until(ChannelState::Ready, None, later(5)));
}

#[test]
fn a_mark_that_is_never_kept_is_left_for_later() {
    let mut row = Row::ready();
    let blank = SeenChannel { purpose: "Purpose".into(), ..seen("course-7") };
    for _ in 0..3 {
        row.progress.doubt();
        row.inspect(&blank);
        if matches!(row.next(), Step::Mark { .. }) {
            row.done(&row.next());
        }
    }
    assert_eq!(row.next(), Step::ReadMembers);
    row.done(&Step::ReadMembers);
    assert_eq!(row.next(), Step::Members);
    let obstacle = ChannelObstacle::RefusedBySlack;
    assert_eq!(at_rest(&row.facts()), until(ChannelState::Ready, obstacle, AGAIN));
    assert_eq!(row.facts().detail(obstacle), "purpose_not_kept");
}

#[test]
fn a_refused_name_leaves_the_channel_in_use() {
    let mut row = Row::ready();
    row.progress.rename_to = Some("Course 8".into());
    let rename = Step::Rename { name: "course-8".into() };
    assert_eq!(row.next(), rename);
    row.refused(&rename, "name_taken");
    assert_eq!(row.next(), Step::Inspect, "the answer to an earlier request may have been lost");
    let mut lost = row.clone();
    lost.inspect(&seen("course-8"));
    assert_eq!((lost.next(), lost.progress.rename_to), (Step::Members, None));

    row.inspect(&seen("course-7"));
    assert_eq!(row.next(), rename);
    let mut numbered = row.clone();
    numbered.wish.name_taken = NameTaken::Suffix;
    assert_eq!(numbered.refused(&rename, "name_taken"), Refused::Again);
    assert_eq!(numbered.next(), Step::Rename { name: "course-8-2".into() });
    assert_eq!(row.refused(&rename, "name_taken"), Refused::Again);
    assert_eq!(row.next(), Step::Members);
    assert_eq!(
        at_rest(&row.facts()),
        until(ChannelState::Ready, ChannelObstacle::NameTaken, AGAIN)
    );
    row.now = AGAIN;
    assert_eq!(row.next(), rename);
}

#[test]
fn the_name_follows_the_wish_only_if_it_says_so_and_never_undoes_a_persons_rename() {
    let mut row = Row::ready();
    row.wish.name = "Course 8".into();
    assert_eq!(row.next(), Step::Members);
    row.wish.follow_name = true;
    let rename = Step::Rename { name: "course-8".into() };
    assert_eq!(row.next(), rename);
    row.done(&rename);
    row.progress.doubt();
    row.inspect(&seen("by-people"));
    row.done(&Step::ReadMembers);
    assert_eq!(row.next(), Step::Members);
}

#[test]
fn archived_channels_are_opened_only_by_right() {
    let ready = Row::ready();
    let archived = SeenChannel { is_archived: true, ..seen("course-7") };
    let by_person = rest(ChannelState::Archived, ChannelObstacle::ArchivedInSlack);

    let mut row = ready.clone();
    row.wants_archived = true;
    assert_eq!(row.next(), Step::Archive);
    assert_eq!(row.refused(&Step::Archive, "already_archived"), Refused::Again);
    assert_eq!(row.next(), rest(ChannelState::Archived, None));
    row.wants_archived = false;
    assert_eq!(row.next(), Step::Unarchive);
    row.refused(&Step::Unarchive, "not_in_channel");
    let refused = until(ChannelState::Archived, ChannelObstacle::RefusedBySlack, AGAIN);
    assert_eq!(row.next(), refused);

    let mut row = ready;
    row.progress.doubt();
    assert_eq!(row.next(), Step::Inspect);
    row.inspect(&archived);
    assert_eq!(row.next(), by_person);
    row.wish.archive_after = Some(NOW);
    assert_eq!(row.next(), rest(ChannelState::Archived, None));
    row.wish.archive_after = Some(later(9));
    assert_eq!(row.next(), by_person, "a new wish does not overrule a person");
    row.progress.reopen();
    assert_eq!(row.next(), Step::Inspect);
    row.inspect(&archived);
    assert_eq!(row.next(), Step::Unarchive);
    row.done(&Step::Unarchive);
    assert_eq!(row.next(), Step::ReadMembers);
}

#[test]
fn a_channel_that_a_holder_archived_before_it_died_is_opened_again() {
    let mut row = Row::ready();
    row.wants_archived = true;
    assert!(begun(&row.next(), &mut row.progress));
    row.wants_archived = false;
    row.progress.doubt();
    row.inspect(&SeenChannel { is_archived: true, ..seen("course-7") });
    assert_eq!(row.next(), Step::Unarchive);
}

#[test]
fn what_slack_contradicts_is_read_before_it_is_believed() {
    let mut row = Row::ready();
    row.wish.topic = "New".into();
    assert_eq!(row.refused(&Step::SetTopic, "channel_not_found"), Refused::Again);
    assert_eq!(row.next(), Step::Inspect);
    let mut private = row.clone();
    private.progress.seen_private = true;
    assert_eq!(row.refused(&Step::Inspect, "channel_not_found"), Refused::Again);
    assert_eq!(row.next(), rest(ChannelState::Deleted, ChannelObstacle::DeletedInSlack));
    row.progress.doubt();
    row.inspect(&SeenChannel { is_member: false, ..seen("course-7") });
    assert_eq!(row.next(), Step::Join);

    private.refused(&Step::Inspect, "channel_not_found");
    assert_eq!(private.next(), until(ChannelState::Blocked, ChannelObstacle::AppRemoved, AGAIN));
    private.progress.doubt();
    assert_eq!(private.next(), Step::Inspect);
}

#[test]
fn the_workspace_counts_also_for_a_channel_that_exists() {
    let ready = Row::ready();
    let with = |change: fn(&mut Row)| {
        let mut row = ready.clone();
        change(&mut row);
        row.next()
    };
    let blocked = |obstacle| rest(ChannelState::Blocked, obstacle);
    assert_eq!(with(|row| row.connected = None), blocked(ChannelObstacle::NotConnected));
    let elsewhere = with(|row| row.connected = Some(ELSEWHERE));
    assert_eq!(elsewhere, blocked(ChannelObstacle::OtherWorkspace));
    assert_eq!(with(|row| row.dead = Some("x")), blocked(ChannelObstacle::Reconnect));
    // Messages still go to it.
    let unscoped = with(|row| row.granted.clear());
    assert_eq!(unscoped, rest(ChannelState::Ready, ChannelObstacle::MissingScopes));
    // Members of a private channel are not invited to a public one.
    assert_eq!(with(|row| row.wish.is_private = true), blocked(ChannelObstacle::NotAdoptable));
}

#[test]
fn a_channel_never_changes_its_kind() {
    let mut row = Row::new();
    let private = ChannelWish { is_private: true, ..wish() };
    assert_eq!(private.conflicts(&row.progress), None);
    row.attempt("course-7");
    assert!(private.conflicts(&row.progress).is_some_and(|it| it.contains("public")));
    row.progress.not_there();
    row.progress.not_there();
    assert_eq!(private.conflicts(&row.progress), None);
    row.progress.adopt(&seen("course-7"), &row.wish);
    assert_eq!(private.conflicts(&row.progress), None, "it is not this row's own yet");
    row.inspect(&seen("course-7"));
    assert!(private.conflicts(&row.progress).is_some());
    assert_eq!(row.wish.conflicts(&row.progress), None);
    row.progress.deleted = true;
    assert_eq!(private.conflicts(&row.progress), None);
}

#[test]
fn a_record_of_an_older_release_is_read() {
    let old = serde_json::json!({ "name": "course-7", "marked": true });
    let read: Progress = serde_json::from_value(old).unwrap();
    assert_eq!((read.name.as_deref(), read.marked), (Some("course-7"), true));
    let mut row = Row::ready();
    row.attempt("x");
    row.refused(&create("x"), "restricted_action");
    let stored = serde_json::to_string(&row.progress).unwrap();
    assert_eq!(serde_json::from_str::<Progress>(&stored).unwrap(), row.progress);
}
