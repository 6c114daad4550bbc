//! Each person enters a channel because of a wish, and once; and leaves it because of a wish.

use std::collections::BTreeMap;

use super::{Case, Judgement, Kind, Life, Wished};
use crate::evidence::{Act, ChannelCall, Request};
use crate::tenant::Tenant;

/// How long a call without an answer may be under way.
const STALE: i64 = 10_000_000;
/// Slack's code for a person who did not have to be invited.
const THERE: &str = "already_in_channel";

pub(super) fn judge(
    case: &Case<'_>,
    lives: &BTreeMap<Wished, Life<'_>>,
    judgement: &mut Judgement,
) {
    for (wished, life) in lives {
        for request in &life.requests {
            let Some(act) = &request.act else { continue };
            match act.kind.as_str() {
                "invite" => {
                    judgement.figures.channels.joined += act.joined.len();
                    let invited = Changed { wished, life, request, people: &act.joined };
                    invited.judge(case, true, judgement);
                    invited.judge_repeated(case, act, judgement);
                }
                "kick" => {
                    judgement.figures.channels.removed += act.left.len();
                    let removed = Changed { wished, life, request, people: &act.left };
                    removed.judge(case, false, judgement);
                }
                _ => {}
            }
        }
    }
}

/// A request that changed a channel, and the people who entered it or were removed.
struct Changed<'a> {
    wished: &'a Wished,
    life: &'a Life<'a>,
    request: &'a Request,
    people: &'a [String],
}

impl Changed<'_> {
    /// Each of the people was asked for: to be in the channel, or not to be (`wanted`).
    fn judge(&self, case: &Case<'_>, wanted: bool, judgement: &mut Judgement) {
        let Self { wished, request, people, .. } = self;
        let changed = if wanted { "invited" } else { "removed" };
        let calls = self.calls(case);
        for person in people.iter().filter(|one| !is_asked(case, &calls, one, wanted, request)) {
            let sentence = format!("{wished}: {person} was {changed} at {}", request.began);
            judgement.found(Kind::Unasked, sentence);
        }
    }

    /// The calls about the channel. If a failover lost its release, the channel of the first wish
    /// is that of the second one as well.
    fn calls<'c>(&'c self, case: &'c Case<'_>) -> Vec<&'c ChannelCall> {
        let key = &self.wished.key;
        if !case.is_forgotten_key(key) {
            return self.life.calls.clone();
        }
        case.evidence.channel_calls.iter().filter(|call| call.key == *key).collect()
    }

    /// No one was invited again without a new wish.
    fn judge_repeated(&self, case: &Case<'_>, act: &Act, judgement: &mut Judgement) {
        let Self { wished, life, request, .. } = self;
        if case.is_forgotten_key(&wished.key) {
            return;
        }
        let unknown = super::unknown_members(case, &act.channel);
        let again = act.refused.iter().filter(|(_, code)| *code == THERE);
        let again = again.filter(|(person, _)| {
            !unknown.contains(person.as_str()) && !is_wished_anew(life, person, request)
        });
        for (person, _) in again {
            let sentence = format!("{wished}: {person} was invited again at {}", request.began);
            judgement.found(Kind::InvitedTwice, sentence);
        }
    }
}

/// Whether a call removed the person since they entered the channel. If a later one adds them
/// before they were removed, they are invited once for each wish.
fn is_wished_anew(life: &Life<'_>, person: &str, request: &Request) -> bool {
    let Some(number) = number(person) else { return false };
    let enters = |one: &Request| {
        let act = one.act.as_ref().filter(|_| one.began <= request.began);
        act.is_some_and(|act| act.joined.iter().any(|joined| joined == person))
    };
    let entered = life.requests.iter().filter(|one| enters(one)).map(|one| one.began).max();
    let Some(entered) = entered else { return false };
    life.calls.iter().any(|call| {
        let removes = call.statement.wants(number) == Some(false);
        removes && call.ended >= entered && call.began <= request.ended
    })
}

/// Whether a call asked for it, and no later one took that back long enough before the request.
fn is_asked(
    case: &Case<'_>,
    calls: &[&ChannelCall],
    person: &str,
    wanted: bool,
    request: &Request,
) -> bool {
    let Some(person) = number(person) else { return false };
    let says = |call: &&&ChannelCall, what| call.statement.wants(person) == Some(what);
    // A replica may be about to make the request, within its lease.
    let known = request.began - 2 * case.evidence.rules.lease;
    let against: Vec<&&ChannelCall> = (calls.iter())
        .filter(|call| says(call, !wanted) && call.is_accepted() && call.ended <= known)
        .filter(|call| !case.is_lost(call.began, call.ended))
        .collect();
    let mut reasons = calls.iter().filter(|call| says(call, wanted));
    reasons.any(|reason| {
        let over = if reason.is_accepted() { reason.ended } else { reason.ended + STALE };
        reason.began <= request.ended && !against.iter().any(|other| other.began > over)
    })
}

/// The number of a person of the main tenant.
fn number(member: &str) -> Option<usize> {
    let number = member.strip_prefix('U')?.parse().ok()?;
    (Tenant::MAIN.member_id(number) == member).then_some(number)
}
