//! A reader of the feed misses no change, or gets an error if changes may be missing.

use super::{Case, Judgement, Kind};

/// The time within which a reader that resumes learns of the new epoch.
pub(super) const TOLD: i64 = 15_000_000;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let blows = &case.evidence.blows;
    let named = |name: &'static str| blows.iter().filter(move |blow| blow.kind == name);
    for gap in named("gap") {
        judgement.found(Kind::FeedGap, format!("the feed's number {}", gap.what));
    }
    for failover in named("failover") {
        let told = |at: i64| (failover.from..=failover.until + TOLD).contains(&at);
        if !named("epoch").any(|epoch| told(epoch.from)) {
            let sentence = "no reader of the feed was notified of the failover".to_owned();
            judgement.found(Kind::FeedGap, sentence);
        }
    }
}
