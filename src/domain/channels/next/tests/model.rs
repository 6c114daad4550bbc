//! Whole lives, in a small model of Slack: whatever Slack answers and people do, a row has at most
//! one channel, and its steps come to rest.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::happening::{Fate, Happening, NAMES, Origin, any_happening, any_policy};
use super::*;
use crate::domain::ids::SlackUserId;

const GAP: Duration = Duration::from_secs(600);

/// A channel in Slack.
#[derive(Debug, Clone)]
struct Channel {
    workspace: InstallationId,
    seen: SeenChannel,
    /// A request for the row created it.
    ours: bool,
    /// Another row owns it.
    others: bool,
    deleted: bool,
}

fn bot() -> SlackUserId {
    SlackUserId::parse("UBOT").unwrap()
}

fn person() -> SlackUserId {
    SlackUserId::parse("UANN").unwrap()
}

/// A row, Slack, and the requests between them.
struct Life {
    row: Row,
    channels: Vec<Channel>,
    /// Channels that were ever asked for; numbers them.
    made: usize,
    /// Creates that Slack carries out later.
    late: Vec<Channel>,
    /// Looks since a create without a clear answer.
    looks: Option<u32>,
    /// Slack lets the bot open archived channels.
    opens: bool,
}

impl Life {
    fn new(policy: NameTaken) -> Self {
        let mut row = Row::new();
        row.wish.name = NAMES[0].into();
        row.wish.name_taken = policy;
        Self { row, channels: Vec::new(), made: 0, late: Vec::new(), looks: None, opens: true }
    }

    fn channel(&mut self, name: &str, is_private: bool) -> Channel {
        self.made += 1;
        let id = ChannelId::parse(format!("C{}", self.made)).unwrap();
        let created_at = self.row.now;
        let purpose = String::new();
        let creator = Some(bot());
        Channel {
            workspace: self.row.connected.unwrap_or(HERE),
            seen: SeenChannel { id, creator, created_at, is_private, purpose, ..seen(name) },
            ours: true,
            others: false,
            deleted: false,
        }
    }

    fn is_taken(&self, name: &str, workspace: InstallationId) -> bool {
        let has_it = |it: &Channel| it.seen.name == name && it.workspace == workspace;
        self.channels.iter().any(|it| !it.deleted && has_it(it))
    }

    fn make(&mut self, channel: Channel) -> Result<(), &'static str> {
        if self.is_taken(&channel.seen.name, channel.workspace) {
            return Err("name_taken");
        }
        self.channels.push(channel);
        Ok(())
    }

    /// The row's channel.
    fn place(&mut self) -> Option<&mut Channel> {
        let place = self.row.place.as_ref()?;
        self.channels.iter_mut().find(|it| it.seen.id == place.channel)
    }

    /// The channels that the bot sees in the tenant's workspace.
    fn visible(&self) -> Vec<&Channel> {
        let here = |it: &&Channel| Some(it.workspace) == self.row.connected && !it.deleted;
        let seen = |it: &&Channel| it.seen.is_member || !it.seen.is_private;
        self.channels.iter().filter(here).filter(seen).collect()
    }

    fn listed(&self) -> Vec<SeenChannel> {
        self.visible().into_iter().map(|it| it.seen.clone()).collect()
    }

    fn others(&self) -> BTreeSet<ChannelId> {
        self.channels.iter().filter(|it| it.others).map(|it| it.seen.id.clone()).collect()
    }

    fn refused(&mut self, step: &Step, code: &str) {
        let again = self.row.now.plus(GAP);
        refused(step, code, &self.row.wish, &mut self.row.progress, again);
    }

    fn failed(&mut self, step: &Step) {
        failed(step, &mut self.row.progress);
    }

    fn take(&mut self, seen: &SeenChannel) {
        self.row.place = ChannelPlace::of(self.row.connected, Some(seen.id.clone()));
        self.looks = None;
    }

    fn turn(&mut self, fate: Fate) -> Step {
        let step = self.row.next();
        match (&step, fate) {
            (Step::Create { name, is_private }, _) => self.create(&step, name, *is_private, fate),
            (Step::Rest { .. }, _) | (_, Fate::Dropped) => {}
            (_, Fate::Limited) => self.failed(&step),
            (_, Fate::Restricted) => self.refused(&step, "restricted_action"),
            (Step::LookForOwn { .. }, _) => self.look_for_own(),
            (Step::LookForTaken { name }, _) => self.look_for_taken(&step, name),
            (Step::Inspect, _) => self.inspect(),
            (_, Fate::Lost) => {
                self.change(&step).ok();
                unclear(&step, &mut self.row.progress);
            }
            // The row learns nothing, as after a crash.
            (_, Fate::Late) => {
                self.change(&step).ok();
            }
            (_, Fate::Answered) => match self.change(&step) {
                Ok(()) => self.row.done(&step),
                Err(code) => self.refused(&step, code),
            },
        }
        step
    }

    fn create(&mut self, step: &Step, name: &str, is_private: bool, fate: Fate) {
        assert_ne!(self.looks, Some(0), "created again without a look");
        self.row.attempt(name);
        let channel = self.channel(name, is_private);
        self.looks = None;
        match fate {
            Fate::Limited => self.failed(step),
            Fate::Restricted => self.refused(step, "restricted_action"),
            Fate::Answered => match self.make(channel.clone()) {
                Ok(()) => {
                    self.row.progress.created(&channel.seen, &self.row.wish);
                    self.take(&channel.seen);
                }
                Err(code) => self.refused(step, code),
            },
            Fate::Lost => {
                self.make(channel).ok();
                self.looks = Some(0);
            }
            Fate::Dropped => {
                unclear(step, &mut self.row.progress);
                self.looks = Some(0);
            }
            Fate::Late => {
                self.late.push(channel);
                self.looks = Some(0);
            }
        }
    }

    fn look_for_own(&mut self) {
        let attempt = self.row.progress.attempt.clone().unwrap();
        match settled_by_look(&attempt, &bot(), &self.listed(), &self.others()) {
            OwnLook::Ours(seen) => {
                self.row.progress.created(&seen, &self.row.wish);
                self.take(&seen);
            }
            OwnLook::NotThere => {
                self.row.progress.not_there();
                self.looks = self.looks.map(|looks| looks + 1);
            }
            OwnLook::Several { .. } => panic!("two channels of one row"),
        }
    }

    fn look_for_taken(&mut self, step: &Step, name: &str) {
        let released = BTreeSet::new();
        match adoptable(&self.listed(), name, &self.row.wish, &self.others(), &released, ID) {
            Ok(seen) => {
                let mark = mark::read(&seen.purpose);
                assert!(mark.is_none_or(|mark| mark == ID), "adopted a marked channel: {seen:?}");
                assert!(!self.others().contains(&seen.id), "adopted another row's: {seen:?}");
                assert!(!seen.is_general && seen.is_private == self.row.wish.is_private);
                self.row.progress.adopt(&seen, &self.row.wish);
                self.take(&seen);
            }
            Err(obstacle) => self.refused(step, obstacle.code()),
        }
    }

    fn inspect(&mut self) {
        let id = self.row.place.clone().unwrap().channel;
        let found = self.listed().into_iter().find(|seen| seen.id == id);
        let Some(mut seen) = found else {
            self.refused(&Step::Inspect, "channel_not_found");
            return;
        };
        seen.purpose = seen.purpose.replace('&', "&amp;");
        let (ends, again_at) = (self.row.facts().ends(), self.row.now.plus(GAP));
        let inspection = Inspection { id: ID, wish: &self.row.wish, ends, again_at };
        inspected(&seen, &inspection, &mut self.row.progress);
    }

    /// Slack carries out a step in the row's channel, or refuses it.
    fn change(&mut self, step: &Step) -> Result<(), &'static str> {
        let topic = self.row.wish.topic.clone();
        let id = self.row.place.clone().unwrap().channel;
        let opens = self.opens;
        let workspace = self.row.connected.unwrap();
        let is_taken = matches!(step, Step::Rename { name } if self.is_taken(name, workspace));
        let visible = self.visible().iter().any(|it| it.seen.id == id);
        let channel = self.place().filter(|_| visible).ok_or("channel_not_found")?;
        let seen = &mut channel.seen;
        match step {
            Step::Join if seen.is_private => return Err("method_not_supported_for_channel_type"),
            Step::Join if seen.is_archived => return Err("is_archived"),
            Step::Join => seen.is_member = true,
            Step::Unarchive if !seen.is_archived => return Err("not_archived"),
            Step::Unarchive if !opens => return Err("not_in_channel"),
            Step::Unarchive => (seen.is_archived, seen.is_member) = (false, true),
            Step::ReadMembers => {}
            _ if !seen.is_member => return Err("not_in_channel"),
            Step::Archive if seen.is_archived => return Err("already_archived"),
            Step::Archive => seen.is_archived = true,
            _ if seen.is_archived => return Err("is_archived"),
            Step::Rename { .. } if seen.creator != Some(bot()) => return Err("not_authorized"),
            Step::Rename { .. } if is_taken => return Err("name_taken"),
            Step::Rename { name } => seen.name.clone_from(name),
            Step::SetTopic => seen.topic = topic,
            Step::Mark { purpose } => seen.purpose.clone_from(purpose),
            Step::Members => {}
            other => panic!("not a step in a channel: {other:?}"),
        }
        Ok(())
    }

    fn land(&mut self) {
        for channel in std::mem::take(&mut self.late) {
            // Slack refuses it if the name was taken meanwhile.
            self.make(channel).ok();
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Turn(fate) => {
                self.turn(fate);
            }
            Happening::Pass(seconds) => {
                self.land();
                self.row.now = self.row.now.plus(Duration::from_secs(seconds));
            }
            Happening::Doubt => self.row.progress.doubt(),
            Happening::Connect(to) => {
                self.row.connected = to.map(|here| if here { HERE } else { ELSEWHERE });
            }
            Happening::Dead(is_dead) => self.row.dead = is_dead.then_some("token_revoked"),
            Happening::Scopes(all) => {
                self.row.granted = if all { granted() } else { granted().split_off(2) };
            }
            Happening::Bots(opens) => self.opens = opens,
            Happening::Free(name) => {
                let name = legal(NAMES[name]).unwrap();
                let free = |it: &&mut Channel| it.seen.name == name && !it.ours;
                self.channels.iter_mut().filter(free).for_each(|it| it.deleted = true);
            }
            Happening::Make { name, origin, is_private, is_archived, is_member } => {
                let mut channel = self.channel(&legal(NAMES[name]).unwrap(), is_private);
                channel.ours = false;
                channel.others = origin == Origin::Row;
                let seen = &mut channel.seen;
                (seen.is_archived, seen.is_member) = (is_archived, is_member);
                match origin {
                    Origin::Person => seen.creator = Some(person()),
                    Origin::General => (seen.creator, seen.is_general) = (None, true),
                    Origin::Row => {}
                    Origin::Marked => seen.purpose = mark::marked("p", OTHER),
                    Origin::Old => seen.created_at = NOW.minus(Duration::from_secs(900)),
                }
                self.make(channel).ok();
            }
            other => self.people_or_wish(other),
        }
    }

    fn people_or_wish(&mut self, happening: Happening) {
        let now = self.row.now;
        let soon = |seconds: u64| now.plus(Duration::from_secs(seconds));
        let (wish, progress) = (&mut self.row.wish, &mut self.row.progress);
        match happening {
            Happening::Name(name) => wish.name = NAMES[name].into(),
            Happening::RenameTo(name) => {
                wish.name = NAMES[name].into();
                progress.rename_to = Some(NAMES[name].into());
            }
            Happening::Policy(policy) => wish.name_taken = policy,
            Happening::Follow(follows) => wish.follow_name = follows,
            Happening::Private(is_private) => {
                let changed = ChannelWish { is_private, ..wish.clone() };
                if changed.conflicts(progress).is_none() {
                    *wish = changed;
                }
            }
            Happening::Texts(some) => {
                wish.purpose = if some { "P & Q".into() } else { String::new() };
                wish.topic = if some { "Topic".into() } else { "Other".into() };
            }
            Happening::Begin(at) => wish.create_not_before = at.map(soon),
            Happening::End(at) => wish.archive_after = at.map(soon),
            Happening::WishArchived(is_wished) => {
                self.row.wants_archived = is_wished;
                if !is_wished {
                    progress.reopen();
                }
            }
            other => self.people(&other),
        }
    }

    fn people(&mut self, happening: &Happening) {
        let Some(channel) = self.place() else { return };
        let workspace = channel.workspace;
        let seen = &mut channel.seen;
        match happening {
            Happening::Archive(is_archived) => seen.is_archived = *is_archived,
            Happening::Delete => channel.deleted = true,
            Happening::Kick => seen.is_member = false,
            Happening::Invite => seen.is_member = true,
            Happening::Convert(is_private) => seen.is_private = *is_private,
            Happening::Purpose(foreign) => {
                seen.purpose = if *foreign { mark::marked("", OTHER) } else { "Ours".into() };
            }
            Happening::Rename(name) => {
                let name = legal(NAMES[*name]).unwrap();
                if !self.is_taken(&name, workspace)
                    && let Some(channel) = self.place()
                {
                    channel.seen.name = name;
                }
            }
            other => panic!("not an act of people in the channel: {other:?}"),
        }
    }

    fn check(&self) {
        let progress = &self.row.progress;
        let owned = self.row.place.as_ref().filter(|_| progress.owned).map(|place| &place.channel);
        let kept = |it: &&Channel| !it.deleted && (it.ours || Some(&it.seen.id) == owned);
        let kept: Vec<&Channel> = self.channels.iter().filter(kept).collect();
        assert!(kept.len() <= 1, "{kept:#?}");
    }

    /// Nothing more happens, and everything is answered.
    fn settle(&mut self) {
        self.land();
        let attempted = self.row.progress.attempt.as_ref().and_then(|it| it.installation);
        let placed = self.row.place.as_ref().map(|place| place.installation);
        self.row.connected = placed.or(attempted).or(Some(HERE));
        (self.row.dead, self.row.granted) = (None, granted());
        self.row.now = self.row.now.plus(GAP * 2);
        self.row.progress.doubt();
        for _ in 0..200 {
            let step = self.turn(Fate::Answered);
            self.check();
            match step {
                Step::Members => return self.check_members(),
                Step::Rest { state: ChannelState::Creating, until: Some(until), .. } => {
                    self.row.now = until;
                }
                Step::Rest { state, obstacle, .. } => return self.check_rest(state, obstacle),
                _ => {}
            }
        }
        panic!("it does not come to rest: {:?}, {:#?}", self.row.next(), self.row.progress);
    }

    fn check_members(&mut self) {
        let Step::Rest { obstacle, .. } = at_rest(&self.row.facts()) else {
            panic!("it does not rest after the members' turn")
        };
        assert_eq!(self.row.progress.is_private, self.row.wish.is_private);
        let channel = self.place().unwrap();
        assert!(!channel.deleted && !channel.others && !channel.seen.is_general);
        assert!(!channel.seen.is_archived && channel.seen.is_member);
        if obstacle.is_none() {
            assert_eq!(mark::read(&channel.seen.purpose), Some(ID));
        }
    }

    fn check_rest(&mut self, state: ChannelState, obstacle: Option<ChannelObstacle>) {
        let ends = self.row.facts().ends();
        let owned = self.row.progress.owned;
        // Slack does not distinguish a deleted channel from a private one without the bot.
        let hidden = |it: &Channel| it.deleted || (it.seen.is_private && !it.seen.is_member);
        let is_hidden = self.place().is_some_and(|it| hidden(it));
        let archived = self.place().is_some_and(|it| it.seen.is_archived);
        match state {
            ChannelState::Deleted => assert!(is_hidden),
            ChannelState::Archived if owned => assert!(archived || is_hidden),
            ChannelState::Archived => assert!(ends || archived || is_hidden),
            ChannelState::Blocked | ChannelState::Ready => assert!(obstacle.is_some()),
            ChannelState::Scheduled => assert_eq!(obstacle, None),
            ChannelState::Creating | ChannelState::Newer => panic!("not a rest: {state:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_row_has_one_channel_at_most_and_comes_to_rest(
        policy in any_policy(),
        happenings in prop::collection::vec(any_happening(), 0..80),
    ) {
        let mut life = Life::new(policy);
        for happening in happenings {
            life.happen(happening);
            life.check();
        }
        life.settle();
    }
}
