//! No wish has two channels, and none is created again before an earlier attempt was looked for.

use std::collections::{BTreeMap, BTreeSet};

use super::{Case, Judgement, Kind, Life, Wished};
use crate::evidence::Request;
use crate::tenant::Tenant;

const LIST: &str = "conversations.list";

pub(super) fn judge(
    case: &Case<'_>,
    lives: &BTreeMap<Wished, Life<'_>>,
    judgement: &mut Judgement,
) {
    let main = Tenant::MAIN.name();
    let looks: Vec<&Request> = (case.evidence.requests.iter())
        .filter(|one| one.tenant == main && one.method == LIST && one.outcome == "ok")
        .collect();
    for (wished, life) in lives {
        let created = life.creates.iter().filter(|create| create.act.is_some()).count();
        let kept: Vec<&str> = open(life).collect();
        let figures = &mut judgement.figures.channels;
        figures.created += created;
        figures.spare += created.saturating_sub(1);
        // The database does not know the wish for the first one any more.
        let most = if case.is_forgotten_key(&wished.key) { 2 } else { 1 };
        if kept.len() > most {
            let sentence = format!("{wished}: {} are open", kept.join(" and "));
            judgement.found(Kind::SecondChannel, sentence);
        }
        let used = used(life);
        if used.len() > most {
            let used: Vec<&str> = used.into_iter().collect();
            let sentence = format!("{wished}: messages are in {}", used.join(" and "));
            judgement.found(Kind::SecondChannel, sentence);
        }
        again(case, wished, life, &looks, judgement);
    }
}

fn open<'a>(life: &Life<'a>) -> impl Iterator<Item = &'a str> {
    let open = life.places.iter().filter(|place| !place.archived);
    open.map(|place| place.id.as_str())
}

/// The channels that messages were posted to.
fn used<'a>(life: &Life<'a>) -> BTreeSet<&'a str> {
    let posts = life.requests.iter().filter(|request| request.stored.is_some());
    posts.filter_map(|request| request.lane.as_deref()).collect()
}

fn again(
    case: &Case<'_>,
    wished: &Wished,
    life: &Life<'_>,
    looks: &[&Request],
    judgement: &mut Judgement,
) {
    let mut unclear: Option<&Request> = None;
    for create in &life.creates {
        if let Some(earlier) = unclear.filter(|it| !case.is_lost(it.began, it.ended)) {
            let between =
                |look: &&Request| look.began >= earlier.began && look.ended <= create.began;
            if !looks.iter().any(between) {
                let sentence = format!(
                    "{wished}: created again at {}, and no list was read since {}",
                    create.began, earlier.began
                );
                judgement.found(Kind::Unlooked, sentence);
            }
        }
        if is_unclear(create) {
            judgement.figures.channels.unclear += 1;
            unclear = Some(*create);
        }
    }
}

/// Whether the answer may not say whether the channel was created: it was, or a fault struck the
/// request that was no 429.
fn is_unclear(create: &Request) -> bool {
    create.act.is_some() || (create.fault.is_some() && create.status != 429)
}
