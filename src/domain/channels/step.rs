//! The facts that decide the next step of a channel, and the steps.

use std::time::Duration;

use super::name::legal;
use super::place::ChannelPlace;
use super::progress::Progress;
use super::refusal::{INSPECT, MARK, StepKey};
use super::state::{ChannelObstacle, ChannelState};
use super::wish::{ChannelWish, NameTaken};
use crate::domain::ids::{InstallationId, ManagedChannelId};
use crate::domain::time::Timestamp;

/// The bot scopes without which channels are not created and kept: all of them, because the list of
/// channels has public and private ones.
pub const SCOPES: [&str; 5] =
    ["channels:manage", "channels:read", "channels:join", "groups:write", "groups:read"];

/// The code of [`Step::Create`].
const CREATE: &str = "create";

/// The scopes that `granted` lacks.
#[must_use]
pub fn missing_scopes(granted: &[String]) -> Vec<&'static str> {
    SCOPES.into_iter().filter(|scope| !granted.iter().any(|it| it == scope)).collect()
}

/// Everything that the next step depends on.
#[derive(Debug, Clone, Copy)]
pub struct ChannelFacts<'a> {
    pub now: Timestamp,
    pub id: ManagedChannelId,
    pub wish: &'a ChannelWish,
    pub progress: &'a Progress,
    /// ArchiveChannel was called. The end of the wish's time counts as well.
    pub wants_archived: bool,
    /// Where the channel exists.
    pub place: Option<&'a ChannelPlace>,
    /// The tenant's workspace.
    pub connected: Option<InstallationId>,
    /// Slack's code, if the token of that workspace no longer works.
    pub dead: Option<&'a str>,
    pub granted: &'a [String],
    /// The time that Slack gets after an unclear create before its channel counts as absent.
    pub look_again_after: Duration,
}

impl ChannelFacts<'_> {
    /// Whether the channel is to be archived now.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.wants_archived || self.wish.archive_after.is_some_and(|end| end <= self.now)
    }

    /// The time at which the wish ends, if it is still to come.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.wish.archive_after.filter(|end| *end > self.now)
    }

    /// The detail that `ChannelObstacle::sentence` mentions with this obstacle.
    #[must_use]
    pub fn detail(&self, obstacle: ChannelObstacle) -> String {
        match obstacle {
            ChannelObstacle::MissingScopes => {
                let missing = missing_scopes(self.granted);
                if missing.is_empty() { SCOPES.join(" ") } else { missing.join(" ") }
            }
            ChannelObstacle::Reconnect => self.dead.unwrap_or_default().to_owned(),
            ChannelObstacle::RefusedBySlack => {
                let refusals = &self.progress.refusals;
                let of_it = refusals.iter().rfind(|refusal| refusal.obstacle == obstacle);
                of_it.map_or_else(|| self.progress.obstacle_detail.clone(), |it| it.code.clone())
            }
            _ => String::new(),
        }
    }
}

/// The next step of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time (`None`: until something changes).
    Rest { state: ChannelState, obstacle: Option<ChannelObstacle>, until: Option<Timestamp> },
    /// Commit `Progress::attempt`, then conversations.create.
    Create { name: String, is_private: bool },
    /// An earlier create is not settled: list all channels, then `settled_by_look`.
    LookForOwn { name: String, since: Timestamp },
    /// The name is taken and the wish says to adopt: list all channels, then `adoptable`.
    LookForTaken { name: String },
    /// conversations.join.
    Join,
    /// conversations.unarchive.
    Unarchive,
    /// conversations.rename.
    Rename { name: String },
    /// conversations.setTopic with the wish's topic.
    SetTopic,
    /// conversations.setPurpose with exactly this text, which has the mark.
    Mark { purpose: String },
    /// conversations.info, then `inspected`: name, mark, archived or not.
    Inspect,
    /// conversations.members.
    ReadMembers,
    /// The channel is as wished: the turn of its members. Afterwards it rests as `at_rest` says.
    Members,
    /// conversations.archive.
    Archive,
}

impl Step {
    pub(super) fn blocked(obstacle: ChannelObstacle, until: Option<Timestamp>) -> Self {
        Self::Rest { state: ChannelState::Blocked, obstacle: Some(obstacle), until }
    }

    /// The code in stored refusals.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rest { .. } => "rest",
            Self::Create { .. } => CREATE,
            Self::LookForOwn { .. } => "look_for_own",
            Self::LookForTaken { .. } => "look_for_taken",
            Self::Join => "join",
            Self::Unarchive => "unarchive",
            Self::Rename { .. } => "rename",
            Self::SetTopic => "set_topic",
            Self::Mark { .. } => MARK,
            Self::Inspect => INSPECT,
            Self::ReadMembers => "read_members",
            Self::Members => "members",
            Self::Archive => "archive",
        }
    }

    /// The key of a refusal of this step: another key is another step, which may be tried at once.
    pub(super) fn key(&self, wish: &ChannelWish) -> StepKey {
        let policy = wish.name_taken.code();
        let depends_on = match self {
            Self::Create { name, is_private } => format!("{policy} {is_private} {name}"),
            Self::LookForTaken { name } => {
                // It takes the place of the create, and of its refusal.
                let depends_on = format!("{policy} {} {name}", wish.is_private);
                return StepKey::with(CREATE, depends_on);
            }
            Self::Rename { name } => format!("{policy} {name}"),
            Self::SetTopic => wish.topic.clone(),
            Self::Mark { purpose } => purpose.clone(),
            other => return StepKey::plain(other.code()),
        };
        StepKey::with(self.code(), depends_on)
    }
}

/// The obstacle if this very step was refused before and may be tried again by now: it is shown
/// until the answer is known.
#[must_use]
pub fn repeated(step: &Step, wish: &ChannelWish, progress: &Progress) -> Option<ChannelObstacle> {
    let key = step.key(wish);
    let refusal = progress.refusals.iter().find(|refusal| refusal.key == key);
    refusal.map(|refusal| refusal.obstacle)
}

/// The step that creates the channel, or looks for the one to adopt. `None`: the wish has no legal
/// name, which only a wish of another release can lack.
pub(super) fn creation(wish: &ChannelWish, progress: &Progress) -> Option<Step> {
    let base = legal(&wish.name)?;
    if wish.name_taken == NameTaken::Adopt && progress.taken.as_deref() == Some(base.as_str()) {
        return Some(Step::LookForTaken { name: base });
    }
    let name = progress.candidate(&base, wish.name_taken);
    Some(Step::Create { name, is_private: wish.is_private })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::channels::refusal::StepRefusal;

    #[test]
    fn a_call_lifts_refusals_and_the_step_stays_known_as_refused() {
        let (taken, mut progress) = (ChannelWish::named("Course"), Progress::default());
        let step = creation(&taken, &progress).unwrap();
        assert_eq!(repeated(&step, &taken, &progress), None);
        progress.note_refusal(StepRefusal {
            key: step.key(&taken),
            obstacle: ChannelObstacle::NameTaken,
            code: "name_taken".into(),
            until: Timestamp(2),
        });
        let refusal = |progress: &Progress| {
            progress.refusal(&step.key(&taken), Timestamp(1)).map(|it| it.obstacle)
        };
        assert_eq!(refusal(&progress), Some(ChannelObstacle::NameTaken));
        progress.try_again();
        assert_eq!((refusal(&progress), progress.asked), (None, 1));
        assert_eq!(repeated(&step, &taken, &progress), Some(ChannelObstacle::NameTaken));
        let other = ChannelWish::named("Other");
        let step = creation(&other, &progress).unwrap();
        assert_eq!(repeated(&step, &other, &progress), None, "another wish begins anew");
    }
}
