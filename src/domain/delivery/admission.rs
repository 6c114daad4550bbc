//! Whether a message may go, and to which member or channel.
//!
//! This is asked three times, each time about the facts of that moment: when Notify accepts the
//! message, when its member is found later, and when its turn comes. The callers gather the facts
//! and act on the answer; all rules are here. The first rule that applies decides:
//!
//! 1. The message has expired, its content cannot be read, or its record names no person
//!    ([`Message::recipient`]).
//! 2. The tenant is gone.
//! 3. A switch of the tenant or a choice of the person holds it back ([`switch`]).
//! 4. No workspace is connected. If it was disconnected on purpose, [`Departure`] says what happens
//!    to messages that were accepted before. A message that passes these rules is [`Admitted`]
//!    ([`admit`]).
//! 5. In no lane yet: the person's member, or the reason why there is none now
//!    ([`Admitted::to_person`]).
//! 6. In a lane: it follows a channel that the platform names by its key ([`Admitted::follows`])
//!    and the person's identity, a closed account gets nothing, a dead token delays it
//!    ([`Admitted::in_lane`]).
//!
//! Rules that end a message come before rules that only delay it. When Notify accepts a message,
//! the question whether it is meant for the person at all comes before all of these
//! ([`PersonPart::concerns`]).

use std::collections::BTreeSet;

use super::subject::Action;
use super::{DeliveryKind, End};
use crate::domain::directory::member::MemberKind;
use crate::domain::identity::matching::{MatchBasis, MemberDecision};
use crate::domain::ids::{AudienceRole, EventType, InstallationId, SlackUserId};
use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};
use crate::domain::settings::{Identity, Preferences, Settings, suppression};
use crate::domain::time::Timestamp;

const NOT_CONNECTED: End = End::Unreachable(NoMatch::NotConnected);
const DEACTIVATED: End = End::Failed(Failure::Deactivated);

/// The fate of the messages that wait when a tenant's connection is ended on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They end.
    Ends,
    /// They wait until a workspace is connected again, or until they expire.
    Keeps,
}

impl Departure {
    /// The code in the store.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ends => "ends",
            Self::Keeps => "keeps",
        }
    }

    /// `None` also for a code of a newer release.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Ends, Self::Keeps].into_iter().find(|one| one.code() == code)
    }

    /// Decides on an accepted message that may not go for the reason `end`: `Ok`, it waits for
    /// another connection; otherwise how it ends. `departure` is that of a tenant that is connected
    /// to no workspace now.
    pub fn waits(departure: Option<Self>, end: End) -> Result<(), End> {
        match departure {
            Some(Self::Keeps) if end == NOT_CONNECTED => Ok(()),
            Some(Self::Ends) if end == NOT_CONNECTED => {
                Err(End::Canceled(Cancellation::Disconnected))
            }
            _ => Err(end),
        }
    }
}

/// A message to one recipient.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// The earliest time of delivery; `None` also for messages that have become due.
    pub deliver_after: Option<Timestamp>,
    pub kind: DeliveryKind,
    pub action: Action,
    pub event: &'a EventType,
    /// Whether it waits for a person who is not in Slack yet; `None`: according to the settings.
    pub hold: Option<bool>,
    /// Its content cannot be decrypted.
    pub damaged: bool,
}

/// A person's part in the event, as the call and the event type describe it. Known only when Notify
/// accepts the message.
#[derive(Debug, Clone, Copy)]
pub struct PersonPart<'a> {
    /// The roles that the event type is for; empty: people in any role.
    pub audience: &'a BTreeSet<AudienceRole>,
    /// The person's roles; `None`: the call names no recipients, and this is one of those of
    /// earlier messages about the subject.
    pub roles: Option<&'a BTreeSet<AudienceRole>>,
    /// The person caused the event, and the event type leaves that person out.
    pub is_own_act: bool,
}

/// The facts on which the first four rules depend. `W` is the caller's record of the workspace.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a, W> {
    pub message: Message<'a>,
    /// `None`: the tenant is gone.
    pub settings: Option<&'a Settings>,
    /// The choices of the person; `None` for a channel, which has none.
    pub preferences: Option<&'a Preferences>,
    /// The workspace that the tenant is connected to now.
    pub connected: Option<(InstallationId, W)>,
}

/// A message that may go. Only [`admit`] makes one, so no destination is found without the rules.
#[derive(Debug, Clone, Copy)]
pub struct Admitted<'a, W> {
    pub settings: &'a Settings,
    /// The connected workspace, as the caller knows it.
    pub workspace: W,
    connected: InstallationId,
    message: Message<'a>,
}

/// The search for the member of a person whose message is in no lane yet.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The answer of the rules and of the stored identity.
    pub decision: &'a MemberDecision,
    /// An earlier message for the person is in no lane yet. The caller may also leave this order to
    /// the store.
    pub is_behind: bool,
    /// The person is missing from the list, but Slack may know them and is going to be asked.
    pub slack_may_know: bool,
}

/// The member that a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached<'a> {
    pub slack_user_id: &'a SlackUserId,
    pub display_name: &'a str,
    pub basis: MatchBasis,
}

impl Reached<'_> {
    /// The identity to store for the person, if the match is new.
    #[must_use]
    pub fn new_identity(&self, installation: InstallationId, now: Timestamp) -> Option<Identity> {
        let is_new = self.basis == MatchBasis::Matched { is_new: true };
        let (member, name) = (self.slack_user_id, self.display_name);
        is_new.then(|| Identity::matched(member, name, installation, now))
    }
}

/// The next place of a message that is in no lane yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// The tail of this member's lane.
    Member(Reached<'a>),
    /// The same lane, after the person's earlier messages: it must not overtake them (invariant
    /// I4).
    Behind(Reached<'a>),
    /// It waits for the member list.
    AwaitList,
    /// It waits for Slack's answer about the person, who is missing from the list for this reason.
    AskSlack(NoMatch),
    /// It waits until the person appears in Slack.
    Hold(NoMatch),
}

/// The lane of a conversation: of a member (`U...`) or a channel (`C...`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneAddress {
    pub installation: InstallationId,
    pub lane: String,
}

impl LaneAddress {
    /// `None` unless both parts are known.
    #[must_use]
    pub fn of(installation: Option<InstallationId>, lane: Option<String>) -> Option<Self> {
        let (installation, lane) = installation.zip(lane)?;
        Some(Self { installation, lane })
    }
}

/// A channel's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLane<'a> {
    pub installation: InstallationId,
    pub lane: &'a str,
}

/// A message at the head of its lane.
#[derive(Debug, Clone, Copy)]
pub struct InLane<'a> {
    /// The workspace of the lane.
    pub installation: InstallationId,
    /// `None` for a channel.
    pub person: Option<LaneMember<'a>>,
    /// Why the token of the connected workspace is dead, if it is.
    pub dead: Option<&'a str>,
}

/// The member of a lane, and the person's identity.
#[derive(Debug, Clone, Copy)]
pub struct LaneMember<'a> {
    pub member: &'a SlackUserId,
    /// The state of the member's account, as far as it is known.
    pub member_kind: Option<MemberKind>,
    /// The identity stored now, for any workspace.
    pub identity: Option<&'a Identity>,
    /// The state of the identity's account, if the identity names another member.
    pub identity_kind: Option<MemberKind>,
}

/// The next step of a message at the head of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadDecision<'a> {
    Send,
    /// To the tail of the lane of the person's present member.
    Move {
        installation: InstallationId,
        lane: &'a str,
    },
    /// The person's member must be found in the workspace that is connected now.
    Find,
    /// A message for a channel waits outside the lane for the tenant's next connection.
    Aside,
    /// It waits until the workspace is connected again.
    Pause {
        code: &'a str,
    },
}

impl PersonPart<'_> {
    /// Whether the message is meant for the person. Deletions and crossings-out are: they reach the
    /// messages that are there. So is new text for the recipients of earlier messages: otherwise
    /// the person who made the change would keep the old text.
    pub fn concerns(&self, action: Action) -> Result<(), End> {
        if !action.speaks() {
            return Ok(());
        }
        let edits = action == Action::Replace && self.roles.is_none();
        if self.is_own_act && !edits {
            return Err(End::Suppressed(Suppression::OwnAct));
        }
        let outside = |roles: &BTreeSet<AudienceRole>| {
            !self.audience.is_empty() && self.audience.is_disjoint(roles)
        };
        if self.roles.is_some_and(outside) {
            return Err(End::Suppressed(Suppression::NotInAudience));
        }
        Ok(())
    }
}

impl Message<'_> {
    /// The first rule, for callers that read the other facts only if it lets the message pass.
    /// `named` is the person in the message's record. [`admit`] applies the rule again.
    pub fn recipient<P>(&self, named: Option<P>) -> Result<P, End> {
        self.lives()?;
        named.ok_or(End::Unreachable(NoMatch::NoMember))
    }

    fn lives(&self) -> Result<(), End> {
        if self.expires_at <= self.now {
            return Err(End::Expired);
        }
        if self.damaged && self.action.speaks() {
            return Err(End::Failed(Failure::Damaged));
        }
        Ok(())
    }

    /// The time that it waits for, if it is scheduled for later.
    #[must_use]
    pub fn deferred_until(&self) -> Option<Timestamp> {
        self.deliver_after.filter(|after| *after > self.now)
    }

    /// Whether it waits for a person who is not in Slack yet.
    #[must_use]
    pub fn holds(&self, settings: &Settings) -> bool {
        let held = || settings.held_event_types.contains(self.event);
        self.action.speaks() && self.hold.unwrap_or_else(held)
    }
}

/// Whether the message may go at all: the rules that need no member.
pub fn admit<W>(facts: Facts<'_, W>) -> Result<Admitted<'_, W>, End> {
    let Facts { message, settings, preferences, connected } = facts;
    message.lives()?;
    let settings = settings.ok_or(NOT_CONNECTED)?;
    if let Some(by) = switch(settings, preferences, message.kind, message.action, message.event) {
        return Err(End::Suppressed(by));
    }
    let (connected, workspace) = connected.ok_or(NOT_CONNECTED)?;
    Ok(Admitted { settings, workspace, connected, message })
}

/// The switch that holds a message back. A channel has no choices of its own, so opt-in does not
/// apply to it. A test ignores the person's choices; the tenant's switch stops it, unless an
/// administrator tries messages before turning the switch on. A person cannot opt out of deletions
/// and crossings-out, so only the tenant's switch holds them back.
#[must_use]
pub fn switch(
    settings: &Settings,
    preferences: Option<&Preferences>,
    kind: DeliveryKind,
    action: Action,
    event: &EventType,
) -> Option<Suppression> {
    let off = (!settings.sending_allowed).then_some(Suppression::SendingOff);
    match (kind, preferences) {
        (DeliveryKind::AdministratorTest, _) => None,
        (DeliveryKind::Test, _) => off,
        (DeliveryKind::Normal, _) if !action.speaks() => off,
        (DeliveryKind::Normal, Some(preferences)) => suppression(settings, preferences, event),
        (DeliveryKind::Normal, None) => suppression(settings, &Preferences::default(), event)
            .filter(|by| *by != Suppression::OptIn),
    }
}

impl<W> Admitted<'_, W> {
    /// The lane of the person's messages about the subject, for an action that only changes these
    /// messages. `place` is where they are; in another workspace they cannot be changed.
    #[must_use]
    pub fn changes_in<'l>(&self, place: Option<&'l LaneAddress>) -> Option<&'l str> {
        let LaneAddress { installation, lane } = place?;
        let there = !self.message.action.speaks() && *installation == self.connected;
        there.then_some(lane.as_str())
    }

    /// The place of a message to a person that is in no lane yet.
    pub fn to_person<'d>(&self, search: Search<'d>) -> Result<Placement<'d>, End> {
        let reason = match search.decision {
            MemberDecision::Reach { slack_user_id, display_name, basis } => {
                let member = Reached { slack_user_id, display_name, basis: *basis };
                // Scheduled messages join the tail when they are due.
                let waits = search.is_behind && self.message.deferred_until().is_none();
                return Ok(if waits {
                    Placement::Behind(member)
                } else {
                    Placement::Member(member)
                });
            }
            MemberDecision::Unreachable { reason } => *reason,
        };
        if reason == NoMatch::DirectoryNotReady {
            Ok(Placement::AwaitList)
        } else if search.slack_may_know {
            Ok(Placement::AskSlack(reason))
        } else if self.message.holds(self.settings) && reason.arrival_helps() {
            Ok(Placement::Hold(reason))
        } else {
            Err(End::Unreachable(reason))
        }
    }

    /// The step of a message for a channel that the platform names by its key, if the channel is in
    /// another conversation of the connected workspace now than that of the message's lane: the id
    /// of a channel can change. Deletions and crossings-out stay where the messages are.
    #[must_use]
    pub fn follows<'l>(
        &self,
        lane: &ChannelLane<'_>,
        channel: Option<&ChannelLane<'l>>,
    ) -> Option<HeadDecision<'l>> {
        let now = channel.filter(|now| now.installation == self.connected)?;
        let moved = self.message.action.speaks() && now != lane;
        moved.then_some(HeadDecision::Move { installation: now.installation, lane: now.lane })
    }

    /// The step of a message at the head of its lane.
    pub fn in_lane<'l>(&self, lane: &InLane<'l>) -> Result<HeadDecision<'l>, End> {
        let speaks = self.message.action.speaks();
        let here = lane.installation == self.connected;
        // The person's member in the workspace that the tenant is connected to now. The stored
        // identity outranks the member that was found when the message was accepted.
        let identity = lane
            .person
            .and_then(|person| person.identity)
            .filter(|identity| identity.installation == self.connected);
        // Deletions and crossings-out are sent to where the messages are.
        if let (Some(person), Some(identity), true) = (lane.person, identity, speaks)
            && (!here || identity.slack_user_id != *person.member)
        {
            return match person.identity_kind {
                Some(MemberKind::Deactivated) => Err(DEACTIVATED),
                _ => Ok(HeadDecision::Move {
                    installation: identity.installation,
                    lane: identity.slack_user_id.as_str(),
                }),
            };
        }
        if !here {
            // A person not yet known in that workspace is looked for there; a channel id means
            // nothing there.
            let looked_for = lane.person.is_some() && speaks;
            return if looked_for { Ok(HeadDecision::Find) } else { Err(NOT_CONNECTED) };
        }
        // Slack answers ok to a post to a closed account.
        if lane.person.and_then(|person| person.member_kind) == Some(MemberKind::Deactivated) {
            return Err(DEACTIVATED);
        }
        Ok(lane.dead.map_or(HeadDecision::Send, |code| HeadDecision::Pause { code }))
    }
}

#[cfg(test)]
mod tests;
