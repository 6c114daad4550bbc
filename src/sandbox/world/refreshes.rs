//! The refreshes of tokens, and which of them were under way at the same time: an app with several
//! replicas must refresh the token of an installation one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

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
    /// The app's end of the connection: it tells replicas apart.
    pub from: SocketAddr,
    /// Whether another refresh of the same installation was under way: asked for, and not yet
    /// answered.
    pub overlapping: bool,
    /// Whether the refresh token had been used before, which works for a short time.
    pub again: bool,
    /// Refresh tokens of the installation that no one has used yet, after it.
    pub alive: usize,
}

/// The next token, which a request gave.
pub(in crate::sandbox) struct GivenToken {
    pub(in crate::sandbox) at: i64,
    pub(in crate::sandbox) app_id: String,
    pub(in crate::sandbox) team_id: String,
    pub(in crate::sandbox) again: bool,
    pub(in crate::sandbox) alive: usize,
}

struct UnderWay {
    place: String,
    from: SocketAddr,
    overlapping: bool,
    given: Option<GivenToken>,
}

#[derive(Default)]
pub(in crate::sandbox) struct Refreshes {
    last: u64,
    under_way: BTreeMap<u64, UnderWay>,
    most_at_once: usize,
    done: VecDeque<Refresh>,
}

impl Refreshes {
    /// A request to refresh the token of this installation has arrived; returns its number.
    pub(in crate::sandbox) fn begin(&mut self, place: String, from: SocketAddr) -> u64 {
        let mut at_once = 1;
        for other in self.under_way.values_mut().filter(|other| other.place == place) {
            other.overlapping = true;
            at_once += 1;
        }
        self.most_at_once = self.most_at_once.max(at_once);
        self.last += 1;
        let begun = UnderWay { place, from, overlapping: at_once > 1, given: None };
        self.under_way.insert(self.last, begun);
        self.last
    }

    /// The request gave a new token.
    pub(in crate::sandbox) fn gave(&mut self, number: u64, given: GivenToken) {
        if let Some(under_way) = self.under_way.get_mut(&number) {
            under_way.given = Some(given);
        }
    }

    /// The request is answered, or its connection has ended.
    pub(in crate::sandbox) fn end(&mut self, number: u64) {
        let Some(UnderWay { from, overlapping, given, .. }) = self.under_way.remove(&number) else {
            return;
        };
        let Some(GivenToken { at, app_id, team_id, again, alive }) = given else { return };
        if self.done.len() == KEPT {
            self.done.pop_front();
        }
        self.done.push_back(Refresh { at, app_id, team_id, from, overlapping, again, alive });
    }

    pub(in crate::sandbox) fn all(&self) -> Vec<Refresh> {
        self.done.iter().cloned().collect()
    }

    /// Where the requests under way come from.
    pub(in crate::sandbox) fn under_way(&self) -> Vec<SocketAddr> {
        self.under_way.values().map(|request| request.from).collect()
    }

    /// The most requests of one installation that were ever under way at once, whether or not they
    /// gave a token.
    pub(in crate::sandbox) fn most_at_once(&self) -> usize {
        self.most_at_once
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn given(at: i64) -> GivenToken {
        let (app_id, team_id) = ("A1".to_owned(), "T1".to_owned());
        GivenToken { at, app_id, team_id, again: false, alive: 1 }
    }

    #[test]
    fn refreshes_of_one_installation_at_the_same_time_are_both_marked() {
        let mut refreshes = Refreshes::default();
        let begin = |refreshes: &mut Refreshes, place: &str, port| {
            refreshes.begin(place.to_owned(), from(port))
        };
        let one = begin(&mut refreshes, "A1/T1", 1);
        let other = begin(&mut refreshes, "A1/T1", 2);
        let elsewhere = begin(&mut refreshes, "A1/T2", 3);
        for (number, at) in [(one, 1), (other, 2), (elsewhere, 3)] {
            refreshes.gave(number, given(at));
        }
        refreshes.end(one);
        let later = begin(&mut refreshes, "A1/T2", 4);
        for number in [other, elsewhere, later] {
            refreshes.end(number);
        }
        let told: Vec<_> =
            refreshes.all().iter().map(|done| (done.from, done.overlapping)).collect();
        assert_eq!(
            told,
            [(from(1), true), (from(2), true), (from(3), true)],
            "the one that gave nothing is not kept"
        );
        let alone = begin(&mut refreshes, "A1/T1", 5);
        refreshes.gave(alone, given(4));
        refreshes.end(alone);
        assert!(!refreshes.all()[3].overlapping);
    }

    #[test]
    fn those_at_once_count_even_if_none_gives_a_token() {
        let mut refreshes = Refreshes::default();
        let alone = refreshes.begin("A1/T1".to_owned(), from(1));
        let elsewhere = refreshes.begin("A1/T2".to_owned(), from(2));
        assert_eq!(refreshes.most_at_once(), 1, "they are of two installations");
        assert_eq!(refreshes.under_way(), [from(1), from(2)]);
        refreshes.end(elsewhere);
        let second = refreshes.begin("A1/T1".to_owned(), from(3));
        refreshes.end(alone);
        refreshes.end(second);
        assert_eq!((refreshes.most_at_once(), refreshes.all().len()), (2, 0));
    }
}
