//! The refreshes of tokens, and which of them were under way at the same time: an app with several
//! replicas must refresh the token of an installation one at a time.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Most refreshes kept.
const KEPT: usize = 100_000;

/// One refresh that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refresh {
    /// Microseconds since the epoch.
    pub at: i64,
    pub app_id: String,
    /// The workspace, or the organization of an org-wide installation.
    pub team_id: String,
    /// Whether another refresh of the same installation was under way: asked for, and not yet
    /// answered.
    pub overlapping: bool,
    /// Whether the refresh token had been used before, which works for a short time.
    pub again: bool,
    /// Refresh tokens of the installation that no one has used yet, after it.
    pub alive: usize,
}

struct UnderWay {
    place: String,
    overlapping: bool,
    done: Option<Refresh>,
}

#[derive(Default)]
pub(in crate::sandbox) struct Refreshes {
    last: u64,
    under_way: BTreeMap<u64, UnderWay>,
    done: VecDeque<Refresh>,
}

impl Refreshes {
    /// A request to refresh the token of this installation has arrived; returns its number.
    pub(in crate::sandbox) fn begin(&mut self, place: String) -> u64 {
        let mut overlapping = false;
        for other in self.under_way.values_mut().filter(|other| other.place == place) {
            (other.overlapping, overlapping) = (true, true);
        }
        self.last += 1;
        self.under_way.insert(self.last, UnderWay { place, overlapping, done: None });
        self.last
    }

    /// The request gave a new token.
    pub(in crate::sandbox) fn gave(&mut self, number: u64, refresh: Refresh) {
        if let Some(under_way) = self.under_way.get_mut(&number) {
            under_way.done = Some(refresh);
        }
    }

    /// The request is answered, or its connection has ended.
    pub(in crate::sandbox) fn end(&mut self, number: u64) {
        let Some(ended) = self.under_way.remove(&number) else { return };
        let Some(done) = ended.done else { return };
        if self.done.len() == KEPT {
            self.done.pop_front();
        }
        self.done.push_back(Refresh { overlapping: ended.overlapping, ..done });
    }

    pub(in crate::sandbox) fn all(&self) -> Vec<Refresh> {
        self.done.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(at: i64) -> Refresh {
        let (app_id, team_id) = ("A1".to_owned(), "T1".to_owned());
        Refresh { at, app_id, team_id, overlapping: false, again: false, alive: 1 }
    }

    #[test]
    fn refreshes_of_one_installation_at_the_same_time_are_both_marked() {
        let mut refreshes = Refreshes::default();
        let [one, other] = ["A1/T1", "A1/T1"].map(|place| refreshes.begin(place.to_owned()));
        let elsewhere = refreshes.begin("A1/T2".to_owned());
        for (number, at) in [(one, 1), (other, 2), (elsewhere, 3)] {
            refreshes.gave(number, refresh(at));
        }
        refreshes.end(one);
        let later = refreshes.begin("A1/T2".to_owned());
        for number in [other, elsewhere, later] {
            refreshes.end(number);
        }
        let told: Vec<_> = refreshes.all().iter().map(|done| (done.at, done.overlapping)).collect();
        assert_eq!(
            told,
            [(1, true), (2, true), (3, true)],
            "the one that gave nothing is not kept"
        );
        let alone = refreshes.begin("A1/T1".to_owned());
        refreshes.gave(alone, refresh(4));
        refreshes.end(alone);
        assert!(!refreshes.all()[3].overlapping);
    }
}
