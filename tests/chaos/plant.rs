//! Faults planted in a copy of the logs, to show that the judge finds them. Those about channels
//! are in `plant_channels`.

use crate::evidence::{Answer, Blow, Call, Evidence, Message, Request};
use crate::judge::{self, Kind};
use crate::plant_channels as channels;
use crate::tenant::Tenant;

/// More than bystanders may wait.
const LATE: i64 = 2_500_000;

/// A planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plant {
    /// A stored message is removed.
    Loss,
    /// A stored message is there twice.
    Duplicate,
    /// Two messages of one lane change places.
    Reorder,
    /// A message is stored before its call began.
    Early,
    /// A message is stored that no call asked for.
    Phantom,
    /// Posts of a lane come all at once.
    Pace,
    /// A request is made inside a Retry-After.
    Impatience,
    /// A message that was taken back is there again.
    Unchanged,
    /// A message is gone that no call took back.
    Taken,
    /// During the faults, bystanders wait 2.5 seconds longer for each answer.
    HeldUp,
    /// Their messages are sent 2.5 seconds later.
    Late,
    /// A working replica reports that it does not work.
    Hypochondria,
    /// A replica at which every call fails reports that it works.
    Denial,
    /// A replica whose connections went dark accepts no call any more.
    Darkness,
    /// A replica whose connections went dark sends Slack nothing any more.
    Muteness,
    /// The database failed over, and no reader of the feed was notified.
    Silence,
    /// A wish has a second channel, which is open.
    Twin,
    /// A message of a wish is in a second channel, which is archived.
    Stray,
    /// A channel is created right after an attempt whose answer was lost.
    Blindness,
    /// A person is invited who is in the channel.
    Reinvitation,
    /// A person is invited although no call named them.
    Intrusion,
    /// A person is removed although no call asked for it.
    Expulsion,
    /// In the end, a person who is wished for is not in the channel.
    Vacancy,
    /// In the end, the channel of a wish is archived.
    Closure,
    /// Requests about channels come all at once.
    Haste,
    /// A change is in the feed of channels twice.
    Echo,
}

impl Plant {
    /// The finding that the judge must make.
    pub(crate) fn finding(self) -> Kind {
        match self {
            Self::Loss => Kind::Lost,
            Self::Duplicate => Kind::Duplicated,
            Self::Reorder => Kind::Reordered,
            Self::Early => Kind::Early,
            Self::Phantom | Self::Taken => Kind::Phantom,
            Self::Pace | Self::Haste => Kind::TooFast,
            Self::Impatience => Kind::InsideRetryAfter,
            Self::Unchanged => Kind::Unchanged,
            Self::HeldUp => Kind::HeldUp,
            Self::Late => Kind::Late,
            Self::Hypochondria | Self::Denial => Kind::UntrueHealth,
            Self::Darkness | Self::Muteness => Kind::SlowRecovery,
            Self::Silence | Self::Echo => Kind::FeedGap,
            Self::Twin | Self::Stray => Kind::SecondChannel,
            Self::Blindness => Kind::Unlooked,
            Self::Reinvitation => Kind::InvitedTwice,
            Self::Intrusion | Self::Expulsion => Kind::Unasked,
            Self::Vacancy | Self::Closure => Kind::NotCarriedOut,
        }
    }

    /// Whether the logs of a run with every fault must have a place for it.
    pub(crate) fn always_fits(self) -> bool {
        !matches!(self, Self::Darkness | Self::Muteness)
    }

    /// Whether the judge finds the fault in a copy of these logs. `None` if they have no place for
    /// it.
    pub(crate) fn is_found(self, evidence: &Evidence) -> Option<bool> {
        let count = |evidence: &Evidence| judge::judge(evidence).count(self.finding());
        let mut copy = evidence.clone();
        self.put_into(&mut copy)?;
        Some(count(&copy) > count(evidence))
    }

    /// Plants the fault. `None` if these logs have no place for it.
    pub(crate) fn put_into(self, evidence: &mut Evidence) -> Option<()> {
        let messages = &mut evidence.messages;
        match self {
            Self::Loss => drop(messages.remove(middle(messages)?)),
            Self::Duplicate => {
                let mut again = messages[middle(messages)?].clone();
                again.ts = later(&again.ts);
                messages.push(again);
            }
            Self::Reorder => {
                let (first, second) = far_apart(evidence)?;
                let messages = &mut evidence.messages;
                let ts = messages[first].ts.clone();
                messages[first].ts = std::mem::replace(&mut messages[second].ts, ts);
            }
            Self::Early => {
                let at = middle(messages)?;
                let call = messages[at].call.clone()?;
                let calls = evidence.calls.iter().filter(|made| made.id == call);
                messages[at].stored_at = calls.map(|made| made.began).min()? - 1;
            }
            Self::Phantom => {
                let mut stranger = messages[middle(messages)?].clone();
                stranger.call = Some("never-made".into());
                stranger.delivery = "00000000-0000-7000-8000-000000000000".into();
                stranger.ts = later(&stranger.ts);
                messages.push(stranger);
            }
            Self::Unchanged => messages.iter_mut().find(|message| message.deleted)?.deleted = false,
            Self::Taken => {
                let (calls, messages) = (&evidence.calls, messages.iter_mut());
                let about = |call: Option<&str>| {
                    calls
                        .iter()
                        .any(|made| made.subject.is_some() && made.subject.as_deref() == call)
                };
                let mut messages = messages.filter(|message| !about(message.call.as_deref()));
                messages.next()?.deleted = true;
            }
            Self::Pace => {
                let post = evidence.requests.iter().find(|r| r.method == "chat.postMessage")?;
                let heap = std::iter::repeat_n(post.clone(), 3);
                evidence.requests.extend(heap.collect::<Vec<_>>());
            }
            Self::Impatience => {
                let post = evidence.requests.iter().find(|r| r.method == "chat.postMessage")?;
                let ended = post.ended;
                let limit = Request {
                    method: "users.info".into(),
                    began: ended,
                    ended,
                    status: 429,
                    fault: Some("planted".into()),
                    retry_after: Some("3600".into()),
                    ..post.clone()
                };
                let inside = (1..=3600).map(|second| Request {
                    began: ended + second * 1_000_000,
                    status: 200,
                    ..limit.clone()
                });
                evidence.requests.extend(inside.collect::<Vec<_>>());
                evidence.requests.push(limit);
                // No other fault may excuse the requests.
                evidence.blows.clear();
            }
            Self::HeldUp => {
                let began = evidence.rules.began;
                let during = witnessed(evidence)?.filter(|call| call.began >= began);
                during.for_each(|call| call.ended += LATE);
            }
            Self::Late => {
                let witness = Tenant::WITNESS.name();
                let posts = evidence.requests.iter_mut().filter(|one| one.tenant == witness);
                posts.for_each(|post| post.began += LATE);
            }
            Self::Hypochondria => {
                evidence.blows.clear();
                evidence.probes.iter_mut().for_each(|probe| probe.serving = Some(false));
            }
            Self::Denial => {
                evidence.blows.clear();
                fail_at(evidence, 0, i64::MIN);
                let theirs = evidence.probes.iter_mut().filter(|probe| probe.replica == 0);
                theirs.for_each(|probe| probe.ready = Some(true));
            }
            // In logs of which the judge skips all dark connections because of other faults, these
            // two would say nothing about the run.
            Self::Darkness => {
                (judge::judge(evidence).figures.dark_judged > 0).then_some(())?;
                for (replica, from) in dark(evidence) {
                    fail_at(evidence, replica, from);
                }
            }
            Self::Muteness => {
                (judge::judge(evidence).figures.dark_sending_judged > 0).then_some(())?;
                for (replica, from) in dark(evidence) {
                    let theirs = evidence.requests.iter_mut();
                    let theirs = theirs.filter(|one| one.replica == Some(replica));
                    theirs.filter(|one| one.began > from).for_each(|one| one.replica = None);
                }
            }
            Self::Silence => {
                let (from, what) = (evidence.rules.began, "planted".into());
                let kind = "failover".into();
                evidence.blows.retain(|blow| blow.kind != "epoch");
                evidence.blows.push(Blow { kind, what, replica: None, from, until: from });
            }
            Self::Twin => channels::twin(evidence)?,
            Self::Stray => channels::stray(evidence)?,
            Self::Blindness => channels::blindness(evidence)?,
            Self::Reinvitation => channels::reinvitation(evidence)?,
            Self::Intrusion => channels::intrusion(evidence)?,
            Self::Expulsion => channels::expulsion(evidence)?,
            Self::Vacancy => channels::vacancy(evidence)?,
            Self::Closure => channels::closure(evidence)?,
            Self::Haste => channels::haste(evidence)?,
            Self::Echo => channels::echo(evidence)?,
        }
        Some(())
    }
}

/// The replicas whose connections went dark, and when.
fn dark(evidence: &Evidence) -> Vec<(usize, i64)> {
    let blows = evidence.blows.iter().filter(|blow| blow.kind == "dark");
    blows.filter_map(|blow| Some((blow.replica?, blow.until))).collect()
}

/// The calls of the witness; `None` if it made none.
fn witnessed(evidence: &mut Evidence) -> Option<impl Iterator<Item = &mut Call>> {
    let witness = Tenant::WITNESS.name();
    let theirs = move |call: &&mut Call| call.tenant == witness;
    evidence.calls.iter().any(|call| call.tenant == Tenant::WITNESS.name()).then_some(())?;
    Some(evidence.calls.iter_mut().filter(theirs))
}

/// Makes every call at this replica that begins later than this go unanswered.
fn fail_at(evidence: &mut Evidence, replica: usize, from: i64) {
    let theirs = evidence.calls.iter_mut().filter(|call| call.replica == replica);
    for call in theirs.filter(|call| call.began > from) {
        call.manner = "plain".into();
        call.answer = Answer::Lost { why: "planted".into() };
    }
    let about_channels = evidence.channel_calls.iter_mut().filter(|call| call.replica == replica);
    for call in about_channels.filter(|call| call.began > from) {
        call.answer = Answer::Lost { why: "planted".into() };
    }
}

fn middle(messages: &[Message]) -> Option<usize> {
    (!messages.is_empty()).then_some(messages.len() / 2)
}

fn later(ts: &str) -> String {
    format!("{ts}9")
}

/// Two messages of one lane; the call of the first was answered before the second's call began.
fn far_apart(evidence: &Evidence) -> Option<(usize, usize)> {
    let known = |call: Option<&str>| {
        let mut calls = evidence.calls.iter().filter(|made| Some(made.id.as_str()) == call);
        let answered = calls.clone().find(|made| matches!(made.answer, Answer::Accepted { .. }));
        let began = calls.by_ref().map(|made| made.began).min();
        Some((answered?.ended, began?))
    };
    let messages = &evidence.messages;
    messages.iter().enumerate().find_map(|(first, message)| {
        let (answered, _) = known(message.call.as_deref())?;
        let last = messages.iter().rposition(|other| other.lane == message.lane)?;
        let (_, began) = known(messages[last].call.as_deref())?;
        (answered < began).then_some((first, last))
    })
}
