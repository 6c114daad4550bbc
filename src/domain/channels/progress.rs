//! The record of the work done in Slack for a channel, as it is stored, encrypted, with the
//! channel's row; and the values that Slack returns about a channel.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mark;
use super::name::{is_form_of, legal, suffixed};
use super::refusal::{INSPECT, MARK, StepKey, StepRefusal};
use super::wish::{ChannelWish, NameTaken};
use crate::domain::ids::{ChannelId, InstallationId, ManagedChannelId, SlackUserId};
use crate::domain::time::Timestamp;

/// Looks after an unclear create before the channel counts as absent: one at once, and one when
/// Slack has had enough time.
pub(super) const LOOKS: u32 = 2;

/// The work that has been done in Slack so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Progress {
    /// The name in Slack. `Some` if the channel exists.
    pub name: Option<String>,
    /// The topic as last written.
    pub topic: Option<String>,
    /// The purpose as last written, without the mark.
    pub purpose: Option<String>,
    /// The mark was written and read back.
    pub marked: bool,
    /// As created or adopted. A conversion in Slack does not change it: see `seen_private`.
    pub is_private: bool,
    /// Found, not created.
    pub adopted: bool,
    /// A create that was committed and is not settled.
    pub attempt: Option<CreateAttempt>,
    /// The number to try (0: the plain name), if `suffix_of` is the name that is wished for.
    pub suffix: u32,
    /// Archived in Slack, as last seen.
    pub archived: bool,
    /// It was archived because the wish said so.
    pub archived_by_us: bool,
    pub deleted: bool,
    pub app_removed: bool,
    /// The members in Slack were read since the last doubt.
    pub members_read: bool,
    /// The name that RenameChannel asked for, until the channel has it.
    pub rename_to: Option<String>,
    /// Slack's code or the scopes, for the sentence about the obstacle.
    pub obstacle_detail: String,
    /// Temporary failures in a row.
    pub failures: u32,

    /// The legal name that `suffix` belongs to.
    pub suffix_of: String,
    /// A name that is taken, and whose channel is to be looked for and adopted.
    pub taken: Option<String>,
    /// The legal name of the wish that the channel got its name from. A wish with another one
    /// renames the channel if it says so; a rename by people does not change this.
    pub named_for: Option<String>,
    /// The name of a rename that Slack refused as taken before it was checked whether the channel
    /// itself has it.
    pub rename_taken: Option<String>,
    /// Private, as last seen.
    pub seen_private: bool,
    /// Created for this row, or adopted with a mark that was read back. An adoption that did not
    /// come this far is dropped if the wish no longer asks for it.
    pub owned: bool,
    /// The last reading found the mark of another row.
    pub foreign: bool,
    /// To be opened although a person archived it.
    pub reopening: bool,
    /// Something may have changed in Slack: read the channel before anything else. Of a channel
    /// that does not exist: after a recovery from a copy, it may have been created in the lost
    /// time.
    pub unsure: bool,
    /// Readings in a row without the mark, although it had been written.
    pub unmarked: u32,
    /// Refusals in a row that contradict what is known of the channel.
    pub contradictions: u32,
    /// The purpose of an adopted channel before it was marked; kept if the wish has none.
    pub found_purpose: String,
    /// Steps that were refused and are not tried again before a certain time.
    pub refusals: Vec<StepRefusal>,
    /// When the channel was last doubted, or became this row's: see [`Progress::next_check`].
    pub checked_at: Option<Timestamp>,
    /// Calls that asked for refused steps to be tried at once.
    pub asked: u64,
    /// The mark of a released channel that an adopted channel had: it counts as none.
    pub replaces: Option<ManagedChannelId>,
}

/// A create that was committed before the request, so that its channel is found whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct CreateAttempt {
    pub name: String,
    /// When the latest request was committed.
    pub at: Timestamp,
    /// The answer is known to be unclear. Without it, the process may have ended before it was
    /// stored, which is the same.
    pub unclear: bool,
    /// Looks that did not find the channel.
    pub looked: u32,
    #[serde(default)]
    pub is_private: bool,
    /// The row that the channel is for.
    #[serde(default)]
    pub of: Option<ManagedChannelId>,
    #[serde(default)]
    pub installation: Option<InstallationId>,
    /// When the first request of this name that is not settled was committed.
    #[serde(default)]
    pub since: Timestamp,
    /// Requests of this name that are not settled.
    #[serde(default)]
    pub sent: u32,
    /// Slack answered that the name is taken, perhaps by the channel of an earlier request.
    #[serde(default)]
    pub taken: bool,
    /// The name was taken before, and the channels that have it were looked at.
    #[serde(default)]
    pub compared: bool,
    /// No request is known: the database may be an older copy than Slack.
    #[serde(default)]
    pub recovered: bool,
}

/// A channel as Slack describes it now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "Slack's own flags")]
pub struct SeenChannel {
    pub id: ChannelId,
    pub name: String,
    pub creator: Option<SlackUserId>,
    pub created_at: Timestamp,
    pub is_private: bool,
    pub is_archived: bool,
    /// The app is a member.
    pub is_member: bool,
    pub is_general: bool,
    pub topic: String,
    pub purpose: String,
}

impl Progress {
    /// Notes the intent to create a channel, to be committed before the request. An earlier request
    /// of the same name that never was settled stays in mind: if the name is taken then, its
    /// channel is looked for first.
    pub fn attempt(
        &mut self,
        name: &str,
        is_private: bool,
        of: ManagedChannelId,
        installation: InstallationId,
        now: Timestamp,
    ) {
        let earlier = self
            .attempt
            .take()
            .filter(|it| it.name == name && it.installation == Some(installation));
        let compared = earlier.as_ref().is_some_and(|it| it.taken);
        let earlier = earlier.filter(|it| !it.taken);
        let (since, sent) = earlier.map_or((now, 0), |it| (it.since, it.sent));
        self.attempt = Some(CreateAttempt {
            name: name.to_owned(),
            at: now,
            unclear: false,
            looked: 0,
            is_private,
            of: Some(of),
            installation: Some(installation),
            since,
            sent: sent.saturating_add(1),
            taken: false,
            compared,
            recovered: false,
        });
    }

    /// The answer to the create is unclear: it is looked for, never created again at once.
    pub fn unclear(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.unclear = true;
        }
    }

    /// The create was certainly not carried out.
    pub fn not_created(&mut self) {
        match &mut self.attempt {
            // An earlier request of the same name is still not settled.
            Some(attempt) if attempt.sent > 1 => {
                attempt.sent -= 1;
                attempt.looked = LOOKS;
            }
            _ => self.attempt = None,
        }
    }

    /// A complete look did not find the channel of the attempt.
    pub fn not_there(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.looked = attempt.looked.saturating_add(1);
        }
        // Nothing was requested, as far as is known: see `recovered`.
        let is_idle = self.pending().is_none();
        if is_idle && self.attempt.as_ref().is_some_and(|attempt| attempt.installation.is_none()) {
            self.attempt = None;
        }
    }

    /// The create that may have been carried out and must be settled by looking.
    #[must_use]
    pub fn pending(&self) -> Option<&CreateAttempt> {
        self.attempt.as_ref().filter(|attempt| attempt.looked < LOOKS)
    }

    /// The channel was created, or found to have been created, for this row.
    pub fn created(&mut self, seen: &SeenChannel, wish: &ChannelWish) {
        let attempt = self.attempt.take();
        let asked = attempt.as_ref().map_or(seen.name.as_str(), |attempt| attempt.name.as_str());
        let wished = legal(&wish.name);
        // The wish may have changed while the request was under way.
        let is_as_wished = wished.as_deref().is_some_and(|base| is_form_of(asked, base));
        let (named_for, rename_to) =
            if is_as_wished { (wished, None) } else { (Some(asked.to_owned()), wished) };
        *self = Self {
            is_private: attempt.as_ref().map_or(seen.is_private, |attempt| attempt.is_private),
            named_for,
            rename_to,
            owned: true,
            asked: self.asked,
            ..Self::of(seen)
        };
    }

    /// An existing channel is taken for this row. It is the row's own once the mark was read back.
    pub fn adopt(&mut self, seen: &SeenChannel, wish: &ChannelWish) {
        *self = Self {
            is_private: seen.is_private,
            adopted: true,
            named_for: legal(&wish.name),
            reopening: seen.is_archived,
            found_purpose: mark::without(&unescaped(&seen.purpose)),
            asked: self.asked,
            replaces: mark::read(&seen.purpose),
            ..Self::of(seen)
        };
    }

    fn of(seen: &SeenChannel) -> Self {
        Self {
            name: Some(seen.name.clone()),
            archived: seen.is_archived,
            app_removed: !seen.is_member && !seen.is_archived,
            seen_private: seen.is_private,
            ..Self::default()
        }
    }

    /// Times that lie ahead of the clock were stored before it was set back: a request counts as
    /// made now, and a refusal holds no longer than one of now. Returns whether anything changed.
    pub fn follow_clock(&mut self, now: Timestamp, longest: Duration) -> bool {
        let latest = now.plus(longest);
        let mut changed = false;
        let mut follow = |time: &mut Timestamp, latest: Timestamp| {
            if *time > latest {
                *time = latest;
                changed = true;
            }
        };
        if let Some(attempt) = &mut self.attempt {
            follow(&mut attempt.at, now);
            follow(&mut attempt.since, now);
        }
        if let Some(checked_at) = &mut self.checked_at {
            follow(checked_at, now);
        }
        for refusal in &mut self.refusals {
            follow(&mut refusal.until, latest);
        }
        changed
    }

    /// Something may have changed in Slack: the channel and its members are read again. If there is
    /// none, it may have been created without a trace here: if its name is taken, the channel that
    /// has it is looked at first.
    pub fn doubt(&mut self) {
        self.members_read = false;
        self.inspect_again();
    }

    /// When the channel and its members are to be read again although no event reported a change:
    /// at the latest this long after the last time. The channels that were made together are read
    /// at times of their own in the last quarter of that.
    #[must_use]
    pub fn next_check(&self, of: ManagedChannelId, within: Duration) -> Option<Timestamp> {
        let quarter = within / 4;
        // The last byte of an id is random.
        let share = quarter * u32::from(of.0.as_bytes()[15]) / 255;
        let checked_at = self.checked_at.filter(|_| !self.deleted)?;
        Some(checked_at.plus(within.saturating_sub(quarter) + share))
    }

    /// A call states the wish again: refused steps are tried at once. They stay known as refused,
    /// so that a repetition that is refused too is no change of the state.
    pub fn try_again(&mut self) {
        self.asked = self.asked.saturating_add(1);
        self.expire_refusals();
    }

    pub fn expire_refusals(&mut self) {
        for refusal in &mut self.refusals {
            refusal.until = Timestamp::default();
        }
    }

    /// The database may be an older copy that does not know that the channel was created, or its
    /// request was made: it is looked for before anything is created. `since`: when the row was
    /// made.
    pub fn recovered(&mut self, wish: &ChannelWish, of: ManagedChannelId, since: Timestamp) {
        if let Some(attempt) = &mut self.attempt {
            attempt.recovered = true;
            attempt.looked = attempt.looked.min(LOOKS - 1);
            attempt.since = since;
            return;
        }
        let Some(name) = legal(&wish.name) else { return };
        self.attempt = Some(CreateAttempt {
            name,
            at: since,
            unclear: true,
            looked: LOOKS - 1,
            is_private: wish.is_private,
            of: Some(of),
            installation: None,
            since,
            sent: 1,
            taken: false,
            compared: false,
            recovered: true,
        });
    }

    pub(super) fn inspect_again(&mut self) {
        self.unsure = true;
        self.forget_refusal(INSPECT);
    }

    /// For UnarchiveChannel: the channel is opened even if a person archived it, also if that has
    /// not been noticed yet. The caller sets `wants_archived` to false as well.
    pub fn reopen(&mut self) {
        if self.name.is_some() && !self.deleted {
            self.reopening = true;
            self.inspect_again();
        }
    }

    /// The name to ask for when a channel of this legal name is created or renamed.
    pub(super) fn candidate(&self, base: &str, policy: NameTaken) -> String {
        if policy == NameTaken::Suffix && self.suffix >= 2 && self.suffix_of == base {
            return suffixed(base, self.suffix);
        }
        base.to_owned()
    }

    /// The legal name that the existing channel should get. `None`: it has the right one.
    pub(super) fn wished_rename(&self, wish: &ChannelWish) -> Option<String> {
        let current = self.name.as_deref()?;
        if let Some(base) = self.rename_to.as_deref().and_then(legal) {
            return (current != self.candidate(&base, wish.name_taken)).then_some(base);
        }
        let base = legal(&wish.name).filter(|_| wish.follow_name)?;
        let is_named = match self.named_for.as_deref() {
            Some(named_for) => named_for == base,
            None => is_form_of(current, &base),
        };
        let has_it = is_named || current == self.candidate(&base, wish.name_taken);
        (!has_it).then_some(base)
    }

    /// Forgets a wished rename once the channel has the name.
    pub(super) fn note_name(&mut self, wish: &ChannelWish) {
        let follows = wish.follow_name.then_some(wish.name.as_str());
        let Some(base) = self.rename_to.as_deref().or(follows).and_then(legal) else { return };
        let candidate = self.candidate(&base, wish.name_taken);
        if self.name.as_deref() == Some(candidate.as_str()) {
            self.named_for = Some(base);
            self.rename_to = None;
            self.rename_taken = None;
            self.suffix = 0;
            self.suffix_of.clear();
        }
    }

    /// The purpose to write: the wish's, or the one that an adopted channel had; with the mark.
    pub(super) fn marked_purpose(&self, wish: &ChannelWish, id: ManagedChannelId) -> String {
        let text = if wish.purpose.is_empty() { &self.found_purpose } else { &wish.purpose };
        mark::marked(text, id)
    }

    /// Whether an adopted channel cannot get the mark, as far as is known.
    pub(super) fn is_unmarkable(&self, wish: &ChannelWish) -> bool {
        let refused = self.refusals.iter().any(|it| it.key.step == MARK);
        let is_stuck = self.archived || self.app_removed || self.foreign || refused;
        self.is_private != wish.is_private || (self.purpose.is_none() && is_stuck)
    }

    /// The refusal of the step with this key that still holds.
    pub(super) fn refusal(&self, key: &StepKey, now: Timestamp) -> Option<&StepRefusal> {
        self.refusals.iter().find(|refusal| refusal.key == *key && refusal.until > now)
    }

    /// Notes a refusal, in place of an earlier one of the same step.
    pub(super) fn note_refusal(&mut self, refusal: StepRefusal) {
        self.refusals.retain(|earlier| earlier.key.step != refusal.key.step);
        self.obstacle_detail.clone_from(&refusal.code);
        self.refusals.push(refusal);
    }

    pub(super) fn forget_refusal(&mut self, step: &str) {
        self.refusals.retain(|refusal| refusal.key.step != step);
    }
}

impl ChannelWish {
    /// Why the wish cannot be taken for the channel that exists, or may exist, already.
    #[must_use]
    pub fn conflicts(&self, existing: &Progress) -> Option<String> {
        let exists = existing.name.is_some() && !existing.deleted;
        let is_tentative = existing.adopted && !existing.owned;
        let is_private = match (existing.pending(), exists && !is_tentative) {
            (Some(attempt), _) => attempt.is_private,
            (None, true) => existing.is_private,
            (None, false) => return None,
        };
        let kind = if is_private { "private" } else { "public" };
        (is_private != self.is_private).then(|| {
            format!(
                "cannot change once the channel exists, and it is {kind}; release it with \
                 ReleaseChannel to make another"
            )
        })
    }
}

/// The text without Slack's escapes.
fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests;
