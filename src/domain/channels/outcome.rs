//! The meaning of Slack's answers to a step: each changes the record of progress, from which `next`
//! then decides.

use super::mark;
use super::name::{LAST_SUFFIX, legal};
use super::progress::{CreateAttempt, Progress, SeenChannel};
use super::refusal::{INSPECT, StepKey, StepRefusal};
use super::state::ChannelObstacle;
use super::step::Step;
use super::wish::{ChannelWish, NameTaken};
use crate::domain::ids::ManagedChannelId;
use crate::domain::time::Timestamp;

/// Readings without the mark, or contradictory refusals, in a row before the step is left for
/// later.
const PATIENCE: u32 = 3;

/// The consequence of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Continue at once with `next`, which knows what to do now.
    Again,
    /// The channel cannot continue; `next` now rests with this obstacle until the step may be tried
    /// again.
    Blocked(ChannelObstacle),
    /// Try again after a delay; `Progress::failures` counts.
    Temporary,
}

/// Before the request of a step, to be stored first: a replica that takes over after a crash must
/// know why the channel is archived. Returns whether that is news.
pub fn begun(step: &Step, progress: &mut Progress) -> bool {
    *step == Step::Archive && !std::mem::replace(&mut progress.archived_by_us, true)
}

/// After a step whose request was certainly not made.
pub fn not_begun(step: &Step, progress: &mut Progress) {
    if *step == Step::Archive {
        progress.archived_by_us = progress.archived;
    }
}

/// After a step that Slack carried out. Not for steps with an answer of their own: `Create` and the
/// two looks (`Progress::created`, `adopt`, `not_there`) and `Inspect` ([`inspected`]).
pub fn done(step: &Step, wish: &ChannelWish, progress: &mut Progress) {
    progress.failures = 0;
    progress.forget_refusal(step.code());
    match step {
        Step::Join => progress.app_removed = false,
        Step::Unarchive => {
            progress.archived = false;
            progress.archived_by_us = false;
            progress.reopening = false;
            // Slack adds the caller to the channel.
            progress.app_removed = false;
        }
        Step::Rename { name } => {
            progress.name = Some(name.clone());
            progress.note_name(wish);
        }
        Step::SetTopic => progress.topic = Some(wish.topic.clone()),
        Step::Mark { .. } => {
            progress.purpose = Some(wish.purpose.clone());
            progress.marked = false;
        }
        Step::ReadMembers => progress.members_read = true,
        Step::Archive => {
            progress.archived = true;
            progress.archived_by_us = true;
        }
        Step::Members => progress.contradictions = 0,
        Step::Rest { .. }
        | Step::Create { .. }
        | Step::LookForOwn { .. }
        | Step::LookForTaken { .. }
        | Step::Inspect => {}
    }
}

/// The row and the moment of a reading.
#[derive(Debug, Clone, Copy)]
pub struct Inspection<'a> {
    pub id: ManagedChannelId,
    pub wish: &'a ChannelWish,
    /// `ChannelFacts::ends`.
    pub ends: bool,
    /// When a refused step may be tried again.
    pub again_at: Timestamp,
}

/// After `Inspect`: notes Slack's description of the channel.
pub fn inspected(seen: &SeenChannel, inspection: &Inspection<'_>, progress: &mut Progress) {
    progress.failures = 0;
    progress.unsure = false;
    progress.deleted = false;
    progress.forget_refusal(INSPECT);
    progress.note_name(inspection.wish);
    progress.name = Some(seen.name.clone());
    progress.note_name(inspection.wish);
    progress.seen_private = seen.is_private;
    if seen.is_archived {
        // The answer to the request that archived it may have been lost.
        progress.archived_by_us |= inspection.ends && !progress.archived;
    } else {
        progress.archived_by_us = false;
        progress.reopening = false;
        progress.app_removed = !seen.is_member;
    }
    progress.archived = seen.is_archived;
    read_mark(seen, inspection, progress);
}

fn read_mark(seen: &SeenChannel, inspection: &Inspection<'_>, progress: &mut Progress) {
    let mark = mark::read(&seen.purpose)
        .filter(|mark| *mark == inspection.id || Some(*mark) != progress.replaces);
    progress.foreign = mark.is_some_and(|mark| mark != inspection.id);
    progress.marked = mark == Some(inspection.id);
    if progress.marked {
        progress.owned = true;
        progress.unmarked = 0;
    } else if progress.foreign && !progress.owned {
        // It is another's; it is read again later, and never marked over.
        progress.purpose = None;
        let (obstacle, until) = (ChannelObstacle::OwnedByAnother, inspection.again_at);
        let code = obstacle.code().to_owned();
        let key = StepKey::plain(INSPECT);
        progress.note_refusal(StepRefusal { key, obstacle, code, until });
    } else if progress.purpose.take().is_some() {
        progress.unmarked = progress.unmarked.saturating_add(1);
        if progress.unmarked >= PATIENCE {
            progress.unmarked = 0;
            let purpose = progress.marked_purpose(inspection.wish, inspection.id);
            let step = Step::Mark { purpose };
            refuse(&step, "purpose_not_kept", inspection.wish, progress, inspection.again_at);
        }
    }
}

/// After a step that Slack refused with this code, or that Herald's own rules refused with the code
/// of an obstacle: that of [`super::look::adoptable`] for `LookForTaken`, and `owned_by_another`
/// if another row turns out to own the channel that a look or a create found. The step is not tried
/// again before `again_at`, unless the wish changes it. A code that is no refusal
/// ([`meaning`](crate::domain::slack_codes::meaning)) goes to [`failed`] or [`unclear`]; a dead
/// token is an obstacle of the workspace.
pub fn refused(
    step: &Step,
    code: &str,
    wish: &ChannelWish,
    progress: &mut Progress,
    again_at: Timestamp,
) -> Refused {
    match step {
        Step::Create { name, .. } => create_refused(step, name, code, wish, progress, again_at),
        Step::LookForTaken { .. } => {
            if ChannelObstacle::from_code(code).is_some() {
                progress.taken = None;
            }
            refuse(step, code, wish, progress, again_at)
        }
        Step::LookForOwn { .. } if code == ChannelObstacle::OwnedByAnother.code() => {
            progress.not_there();
            Refused::Again
        }
        Step::Rename { name } if code == "name_taken" => {
            rename_taken(step, name, wish, progress, again_at)
        }
        Step::Join if code == "already_in_channel" => carried_out(step, wish, progress),
        Step::Archive if code == "already_archived" => carried_out(step, wish, progress),
        Step::Archive => {
            not_begun(step, progress);
            place_refused(step, code, wish, progress, again_at)
        }
        Step::Unarchive if code == "not_archived" => carried_out(step, wish, progress),
        // To Slack, an app is in no archived channel: its bug with tokens of bots.
        Step::Unarchive if code != "channel_not_found" => {
            refuse(step, code, wish, progress, again_at)
        }
        _ => place_refused(step, code, wish, progress, again_at),
    }
}

/// After a step with an unclear answer: Slack may have carried it out.
pub fn unclear(step: &Step, progress: &mut Progress) -> Refused {
    match step {
        Step::Create { .. } => {
            progress.unclear();
            return Refused::Again;
        }
        // They may have been written: if the wish returns to the earlier text, it is written again.
        Step::SetTopic => progress.topic = None,
        Step::Mark { .. } => progress.purpose = None,
        // If it is archived, a wish that opens it again must find that out.
        Step::Archive => {
            progress.archived_by_us = true;
            progress.inspect_again();
        }
        Step::Unarchive | Step::Rename { .. } => progress.inspect_again(),
        _ => {}
    }
    temporary(progress)
}

/// After a step that failed for a reason that may pass. A channel was certainly not created. The
/// error of any other step, which is harmless to repeat, does not say whether it was carried out.
pub fn failed(step: &Step, progress: &mut Progress) -> Refused {
    if matches!(step, Step::Create { .. }) {
        progress.not_created();
        return temporary(progress);
    }
    unclear(step, progress)
}

fn temporary(progress: &mut Progress) -> Refused {
    progress.failures = progress.failures.saturating_add(1);
    Refused::Temporary
}

fn carried_out(step: &Step, wish: &ChannelWish, progress: &mut Progress) -> Refused {
    done(step, wish, progress);
    Refused::Again
}

fn create_refused(
    step: &Step,
    name: &str,
    code: &str,
    wish: &ChannelWish,
    progress: &mut Progress,
    again_at: Timestamp,
) -> Refused {
    if code != "name_taken" {
        progress.not_created();
        return refuse(step, code, wish, progress, again_at);
    }
    let unsure = progress.unsure;
    let is_perhaps_ours =
        |attempt: &&mut CreateAttempt| attempt.sent > 1 || (unsure && !attempt.compared);
    if let Some(attempt) = progress.attempt.as_mut().filter(is_perhaps_ours) {
        // By the channel of an earlier request, whose answer was unclear, or was lost with the time
        // after a copy of the database.
        attempt.taken = true;
        attempt.looked = 0;
        return Refused::Again;
    }
    progress.attempt = None;
    let is_next = match wish.name_taken {
        NameTaken::Fail => false,
        NameTaken::Adopt => {
            progress.taken = Some(name.to_owned());
            true
        }
        NameTaken::Suffix => legal(&wish.name).is_some_and(|base| next_suffix(progress, &base)),
    };
    if is_next { Refused::Again } else { refuse(step, code, wish, progress, again_at) }
}

/// The channel itself may have the name, because the answer to an earlier request was lost: it is
/// read before the name counts as another's.
fn rename_taken(
    step: &Step,
    name: &str,
    wish: &ChannelWish,
    progress: &mut Progress,
    again_at: Timestamp,
) -> Refused {
    if progress.rename_taken.as_deref() != Some(name) {
        progress.rename_taken = Some(name.to_owned());
        progress.inspect_again();
        return Refused::Again;
    }
    progress.rename_taken = None;
    let base = progress.wished_rename(wish);
    let is_next = wish.name_taken == NameTaken::Suffix
        && base.is_some_and(|base| next_suffix(progress, &base));
    if is_next { Refused::Again } else { refuse(step, "name_taken", wish, progress, again_at) }
}

/// Goes to the next number of this name, if there is one.
fn next_suffix(progress: &mut Progress, base: &str) -> bool {
    let tried = if progress.suffix_of == base { progress.suffix } else { 0 };
    if tried >= LAST_SUFFIX {
        return false;
    }
    base.clone_into(&mut progress.suffix_of);
    progress.suffix = tried.max(1) + 1;
    true
}

/// A refusal of a step in an existing channel, which may mean that the channel is not as it was.
fn place_refused(
    step: &Step,
    code: &str,
    wish: &ChannelWish,
    progress: &mut Progress,
    again_at: Timestamp,
) -> Refused {
    let contradicts = matches!(code, "is_archived" | "not_in_channel" | "channel_not_found");
    if !contradicts || matches!(step, Step::LookForOwn { .. }) {
        return refuse(step, code, wish, progress, again_at);
    }
    if code == "channel_not_found" && matches!(step, Step::Inspect) {
        progress.unsure = false;
        if progress.seen_private {
            // Slack answers the same for a private channel without the app and for a deleted one.
            progress.app_removed = true;
            return refuse(step, code, wish, progress, again_at);
        }
        progress.deleted = true;
        return Refused::Again;
    }
    progress.contradictions = progress.contradictions.saturating_add(1);
    if progress.contradictions >= PATIENCE {
        progress.contradictions = 0;
        return refuse(step, code, wish, progress, again_at);
    }
    // The channel is read before anything is concluded.
    progress.inspect_again();
    Refused::Again
}

/// Notes the refusal. Steps that the channel can do without block nothing: `next` passes over them.
fn refuse(
    step: &Step,
    code: &str,
    wish: &ChannelWish,
    progress: &mut Progress,
    until: Timestamp,
) -> Refused {
    let obstacle = obstacle(step, code, progress);
    let refusal = StepRefusal { key: step.key(wish), obstacle, code: code.to_owned(), until };
    progress.note_refusal(refusal);
    let is_optional = match step {
        Step::Rename { .. }
        | Step::SetTopic
        | Step::Members
        | Step::ReadMembers
        | Step::Archive => true,
        Step::Mark { .. } | Step::Unarchive => progress.owned,
        _ => false,
    };
    if is_optional { Refused::Again } else { Refused::Blocked(obstacle) }
}

fn obstacle(step: &Step, code: &str, progress: &Progress) -> ChannelObstacle {
    if code == "missing_scope" {
        return ChannelObstacle::MissingScopes;
    }
    match step {
        Step::Join => ChannelObstacle::AppRemoved,
        Step::Inspect if code == "channel_not_found" => ChannelObstacle::AppRemoved,
        Step::Unarchive if !progress.owned => ChannelObstacle::NotAdoptable,
        // Also `not_in_channel`, which bots get although they are members.
        Step::Unarchive => ChannelObstacle::RefusedBySlack,
        Step::Create { .. } | Step::LookForTaken { .. } | Step::Rename { .. } => {
            ChannelObstacle::from_code(code).unwrap_or(ChannelObstacle::RefusedBySlack)
        }
        _ if code == "not_in_channel" => ChannelObstacle::AppRemoved,
        _ => ChannelObstacle::RefusedBySlack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::InstallationId;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    /// A request to create the channel, which is refused because the name is taken.
    fn create(progress: &mut Progress) -> Refused {
        let installation = InstallationId(uuid::Uuid::nil());
        let of = ManagedChannelId(uuid::Uuid::nil());
        progress.attempt("course", false, of, installation, NOW);
        let step = Step::Create { name: "course".into(), is_private: false };
        refused(&step, "name_taken", &ChannelWish::named("Course"), progress, NOW)
    }

    #[test]
    fn after_a_recovery_the_channel_that_has_the_name_is_looked_at_once() {
        let mut progress = Progress::default();
        progress.doubt();
        assert_eq!(create(&mut progress), Refused::Again);
        assert!(progress.pending().is_some(), "it is looked for");
        progress.not_there();
        progress.not_there();
        let blocked = Refused::Blocked(ChannelObstacle::NameTaken);
        assert_eq!(create(&mut progress), blocked);
        assert!(progress.pending().is_none());
        // Without a recovery the refusal counts at once.
        assert_eq!(create(&mut Progress::default()), blocked);
    }
}
