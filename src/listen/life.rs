//! Decides when a connection ends: one that is silent, idle or old, or whose peer does not take the
//! bytes sent to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Times;

/// How long the peer may take none of the bytes waiting for it.
const STUCK: Duration = Duration::from_secs(60);
/// How long a connection that was asked to end may stay open with nothing under way.
const LAST: Duration = Duration::from_secs(2);

/// The activity of a connection; its calls and its bytes update this.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Whether the peer has sent its greeting.
    pub(super) greeted: AtomicBool,
    /// Calls under way; each counts until the last byte of its answer.
    calls: AtomicUsize,
    /// Whether bytes are waiting that the peer does not take.
    pub(super) stuck: AtomicBool,
}

/// A call under way; dropping it ends it.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.calls.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The action to take on a connection now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    /// Take no new calls; those under way finish.
    End,
    /// End its streams.
    EndStreams,
    /// Drop the connection.
    Drop,
}

/// The lifetime of one connection. It is examined periodically.
#[derive(Debug)]
pub(super) struct Life {
    times: Times,
    born: Instant,
    /// When the last call ended, if none is under way.
    idle: Option<Instant>,
    /// Since when the peer has taken none of the waiting bytes.
    stuck: Option<Instant>,
    /// Since when the connection takes no new calls.
    ending: Option<Instant>,
}

impl Life {
    /// `spread`: a random number from 0 to 1, so that connections that were opened together do not
    /// end together.
    pub(super) fn new(times: Times, born: Instant, spread: f64) -> Self {
        let age = times.age.map(|age| age.mul_f64(0.9 + 0.2 * spread.clamp(0.0, 1.0)));
        let times = Times { age, ..times };
        Self { times, born, idle: Some(born), stuck: None, ending: None }
    }

    /// Records that the server asked the connection to end.
    pub(super) fn end(&mut self, now: Instant) {
        self.ending.get_or_insert(now);
    }

    pub(super) fn look(&mut self, activity: &Activity, now: Instant) -> Next {
        let busy = activity.calls.load(Ordering::Relaxed) > 0;
        self.idle = if busy { None } else { Some(self.idle.unwrap_or(now)) };
        let stuck = activity.stuck.load(Ordering::Relaxed);
        self.stuck = if stuck { Some(self.stuck.unwrap_or(now)) } else { None };
        let past = |since: Option<Instant>, limit: Duration| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        let silent = !activity.greeted.load(Ordering::Relaxed);
        if (silent && past(Some(self.born), self.times.handshake)) || past(self.stuck, STUCK) {
            return Next::Drop;
        }
        if self.ending.is_none() {
            let old = self.times.age.is_some_and(|age| past(Some(self.born), age));
            let idle = past(self.idle, self.times.idle);
            if !old && !idle {
                return Next::Go;
            }
            self.ending = Some(now);
            return Next::End;
        }
        if past(self.ending, LAST) && past(self.idle, LAST) {
            return Next::Drop;
        }
        if past(self.ending, self.times.grace + LAST) {
            return Next::Drop;
        }
        if past(self.ending, self.times.grace) { Next::EndStreams } else { Next::Go }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        handshake: Duration::from_secs(10),
        idle: Duration::from_secs(300),
        age: Some(Duration::from_secs(3600)),
        grace: Duration::from_secs(100),
    };

    struct Watched(Life, Arc<Activity>, Instant);

    impl Watched {
        fn new(greeted: bool) -> Self {
            let (activity, born) = (Arc::new(Activity::default()), Instant::now());
            activity.greeted.store(greeted, Ordering::Relaxed);
            Self(Life::new(TIMES, born, 0.5), activity, born)
        }

        fn at(&mut self, seconds: u64) -> Next {
            self.0.look(&self.1, self.2 + Duration::from_secs(seconds))
        }
    }

    #[test]
    fn who_says_nothing_is_dropped() {
        let mut silent = Watched::new(false);
        assert_eq!((silent.at(9), silent.at(10)), (Next::Go, Next::Drop));
    }

    #[test]
    fn who_does_nothing_is_told_to_end() {
        let mut idle = Watched::new(true);
        assert_eq!((idle.at(10), idle.at(299)), (Next::Go, Next::Go));
        assert_eq!((idle.at(300), idle.at(301), idle.at(302)), (Next::End, Next::Go, Next::Drop));
        let mut busy = Watched::new(true);
        let call = busy.1.begin();
        assert_eq!((busy.at(1), busy.at(1000)), (Next::Go, Next::Go));
        drop(call);
        assert_eq!((busy.at(1001), busy.at(1300), busy.at(1301)), (Next::Go, Next::Go, Next::End));
    }

    #[test]
    fn who_is_old_ends_with_a_grace() {
        let mut old = Watched::new(true);
        let _stream = old.1.begin();
        assert_eq!((old.at(3599), old.at(3600)), (Next::Go, Next::End));
        assert_eq!((old.at(3699), old.at(3700)), (Next::Go, Next::EndStreams));
        assert_eq!((old.at(3701), old.at(3702)), (Next::EndStreams, Next::Drop));
    }

    #[test]
    fn who_takes_nothing_is_dropped() {
        let mut stuck = Watched::new(true);
        let _call = stuck.1.begin();
        stuck.1.stuck.store(true, Ordering::Relaxed);
        assert_eq!((stuck.at(5), stuck.at(64), stuck.at(65)), (Next::Go, Next::Go, Next::Drop));
        stuck.1.stuck.store(false, Ordering::Relaxed);
        assert_eq!(stuck.at(66), Next::Go);
    }

    #[test]
    fn ages_are_spread() {
        let born = Instant::now();
        let age = |spread| Life::new(TIMES, born, spread).times.age.unwrap();
        assert_eq!((age(0.0).as_secs(), age(1.0).as_secs()), (3240, 3960));
    }
}
