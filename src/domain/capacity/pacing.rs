//! How fast messages may be posted to a whole workspace: the limit that Slack does not publish,
//! which is learnt, and the budget that keeps to it.
//!
//! Slack counts the posts of a whole workspace in windows of a minute and says "several hundred"
//! (Slack's documentation: Rate limits). Herald begins with a low limit and raises it while all of
//! it is used. It remembers the highest limit that worked and the lowest that did not, and stays
//! between the two. In any minute it sends at most the limit: a few posts at once ([`BURST_PART`]),
//! the rest evenly. The reasons, and the meaning of a 429, are in
//! docs/decisions/0020-posting-limits.md.

use std::time::Duration;

use crate::domain::time::{Timestamp, micros};

/// Lanes are claimed at least this long before their request may start: the checks run in the
/// meantime, and no start is lost because the claim loop was late.
pub const AHEAD: Duration = Duration::from_millis(100);
/// They are claimed at most this long before: a claimed lane holds a worker until its request
/// starts, and more urgent messages that arrive later start after it.
const FURTHEST: Duration = Duration::from_secs(1);

/// Posts a minute before anything has been learnt.
pub const INITIAL: f64 = 300.0;
/// The lowest limit.
pub const LEAST: f64 = 20.0;
/// The highest limit that is tried, unless an operator sets one.
pub const MOST: f64 = 6_000.0;
/// This part of the limit may be sent at once.
const BURST_PART: f64 = 0.01;
/// A window counts as used up from this part of the limit.
const USED_UP: f64 = 0.9;
/// The factor from minute to minute until the first 429.
const GROWTH: f64 = 1.5;
/// The part of the distance to the known ceiling that one window covers.
const APPROACH: f64 = 0.5;
/// A limit closer to the ceiling than this part of it counts as learnt.
const CLOSE: f64 = 0.01;
/// The most windows for which a learnt limit is kept before a little more is tried: one at first,
/// and twice as many after each attempt that failed.
const KEPT: u32 = 10;
/// The factor after a 429 that was not above a limit that worked: Slack's limit has fallen.
const FALL: f64 = 0.8;

/// The knowledge about the limit of one workspace, in posts a minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// The limit in force.
    pub current: f64,
    /// The highest limit that was used up for a whole window without a 429; zero: none yet.
    pub good: f64,
    /// The lowest limit at which a 429 arrived.
    pub ceiling: Option<f64>,
    /// Used-up windows since the limit was learnt.
    pub kept: u32,
    /// Windows for which it is kept before more is tried; doubles with each failed attempt.
    pub patience: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self { current: INITIAL, good: 0.0, ceiling: None, kept: 0, patience: 1 }
    }
}

impl Limit {
    /// A limit that an operator knows; it is neither raised nor lowered.
    #[must_use]
    pub fn known(posts_a_minute: u32) -> Self {
        let posts = f64::from(posts_a_minute);
        Self { current: posts, good: posts, ceiling: None, kept: 0, patience: 1 }
    }

    /// Whether a higher limit would reach the ceiling at once.
    #[must_use]
    pub fn is_learnt(&self) -> bool {
        self.good > 0.0
            && self.ceiling.is_some_and(|ceiling| ceiling - self.good <= ceiling * CLOSE)
    }

    /// Whether a window with this many posts used up the limit.
    #[must_use]
    pub fn is_used_up(&self, sent: u32, minutes: f64) -> bool {
        f64::from(sent) >= USED_UP * self.sustained() * minutes
    }

    /// After a window without a 429: a higher limit is tried if this one was used up.
    #[must_use]
    pub fn after_window(mut self, sent: u32, minutes: f64) -> Self {
        if !self.is_used_up(sent, minutes) {
            return self;
        }
        self.good = self.good.max(self.current);
        match self.ceiling {
            None => self.current *= GROWTH,
            // It was not a ceiling: Slack's limit has risen, or a storm of 429s had another cause.
            // The range above is as unknown as in the beginning.
            Some(ceiling) if self.good >= ceiling => {
                self.ceiling = None;
                self.kept = 0;
                self.patience = 1;
                self.current *= GROWTH;
            }
            Some(ceiling) if !self.is_learnt() => {
                self.current = self.good + (ceiling - self.good) * APPROACH;
            }
            Some(ceiling) => {
                self.kept += 1;
                if self.kept >= self.patience {
                    self.kept = 0;
                    self.current = ceiling * (1.0 + CLOSE / 2.0);
                }
            }
        }
        self.current = self.current.min(MOST);
        self
    }

    /// After a 429 that concerned the whole workspace.
    #[must_use]
    pub fn after_429(self) -> Self {
        if self.good > 0.0 && self.current > self.good {
            return self.after_too_much();
        }
        // Slack's limit has fallen, or this is a storm of 429s with another cause. Neither shows
        // where the limit is, so no ceiling is recorded: a ceiling from a storm would cost minutes
        // until it was discarded.
        let current = (self.current * FALL).max(LEAST);
        Self { current, good: 0.0, ceiling: None, kept: 0, patience: 1 }
    }

    /// After a 429 at a limit above the one that worked: return to that.
    fn after_too_much(self) -> Self {
        let patience = if self.is_beyond() { (self.patience * 2).min(KEPT) } else { self.patience };
        // A failed attempt beyond the ceiling leaves the ceiling where it is; otherwise a little
        // more would be tried at once.
        let ceiling = Some(self.ceiling.unwrap_or(MOST).min(self.current));
        Self { current: self.good, good: self.good, ceiling, kept: 0, patience }
    }

    /// Whether a limit at or above the known ceiling is being tried: a 429 is then expected, and
    /// concerns the workspace.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.ceiling.is_some_and(|ceiling| self.current >= ceiling)
    }

    /// Posts that may be sent at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within MOST")]
        let burst = (self.current * BURST_PART) as u32;
        burst.max(1)
    }

    /// Posts a minute over a long time; together with the burst they make up the limit.
    #[must_use]
    pub fn sustained(&self) -> f64 {
        (self.current - f64::from(self.burst())).max(1.0)
    }
}

/// How far ahead the claim loop hands out starts: until its next look, as far as the time between
/// its looks so far shows. A start that passes between two looks is lost for good once the bucket
/// is full, and a limit that is not used up is not raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookahead(Duration);

impl Default for Lookahead {
    fn default() -> Self {
        Self(AHEAD)
    }
}

impl Lookahead {
    /// After a look that took `took`. It grows at once and shrinks by halves, because looks that
    /// take long come in groups.
    #[must_use]
    pub fn after(self, took: Duration) -> Self {
        Self(took.max((self.0 + took) / 2).clamp(AHEAD, FURTHEST))
    }

    #[must_use]
    pub fn time(self) -> Duration {
        self.0
    }
}

/// The use of one budget of a workspace, and its pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub pace: Pace,
    /// The time up to which the requests so far use up the budget.
    pub spent_until: Timestamp,
    /// Nothing starts before this time.
    pub paused_until: Timestamp,
}

impl Account {
    /// The number of starts until `until`; zero while the budget is paused at `now`.
    #[must_use]
    pub fn starts(&self, now: Timestamp, until: Timestamp) -> u32 {
        if self.paused_until > now { 0 } else { self.pace.starts(self.spent_until, now, until) }
    }

    /// The time of a start that has `ahead` other starts before it.
    #[must_use]
    pub fn start(&self, now: Timestamp, ahead: u32) -> Timestamp {
        let from = now.max(self.paused_until);
        let next = self.pace.next(self.spent_until, from);
        next.plus(self.pace.interval.saturating_mul(ahead)).max(from)
    }
}

/// When requests may start: a bucket that fills evenly; for posts it holds [`Limit::burst`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The time between two starts.
    pub interval: Duration,
    /// The capacity of the bucket, as time.
    pub depth: Duration,
}

impl Pace {
    /// The pace of a limit if a minute lasts `minute`.
    #[must_use]
    pub fn of(limit: &Limit, minute: Duration) -> Self {
        let interval = minute.div_f64(limit.sustained()).max(Duration::from_micros(1));
        Self { interval, depth: interval * limit.burst() }
    }

    /// Starts that are all at least `interval` apart.
    #[must_use]
    pub fn even(interval: Duration) -> Self {
        let interval = interval.max(Duration::from_micros(1));
        Self { interval, depth: interval }
    }

    /// The number of starts until `until`, if the earlier ones use up the budget up to `spent`.
    #[must_use]
    pub fn starts(&self, spent: Timestamp, now: Timestamp, until: Timestamp) -> u32 {
        let left = until.since(spent.max(now.minus(self.depth)));
        u32::try_from(left.as_micros() / self.interval.as_micros().max(1)).unwrap_or(u32::MAX)
    }

    /// The time of the next start.
    #[must_use]
    pub fn next(&self, spent: Timestamp, now: Timestamp) -> Timestamp {
        spent.max(now.minus(self.depth)).plus(self.interval)
    }

    /// The interval and the depth of the bucket in microseconds, for SQL.
    #[must_use]
    pub fn micros(&self) -> (i64, i64) {
        (micros(self.interval), micros(self.depth))
    }
}

/// The facts about a 429 that answers a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// Posting to the workspace is paused already.
    pub paused: bool,
    /// Shortly before, another conversation got a 429, and no post has succeeded since.
    pub another: bool,
    /// The limit is being tried beyond the known ceiling, and is used up.
    pub beyond: bool,
}

impl Suspicion {
    /// Whether the 429 concerns the workspace; otherwise it concerns only the conversation.
    #[must_use]
    pub fn is_workspace(self) -> bool {
        self.paused || self.another || self.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A Slack that accepts `slack` posts a minute, and a sender that always has messages.
    fn converge(slack: f64, minutes: u32) -> Vec<(Limit, bool)> {
        converge_from(Limit::default(), slack, minutes)
    }

    fn converge_from(mut limit: Limit, slack: f64, minutes: u32) -> Vec<(Limit, bool)> {
        let mut seen = Vec::new();
        for _ in 0..minutes {
            let throttled = limit.current > slack;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
            let sent = limit.sustained() as u32;
            seen.push((limit, throttled));
            limit = if throttled { limit.after_429() } else { limit.after_window(sent, 1.0) };
        }
        seen
    }

    proptest! {
        #[test]
        fn the_limit_is_found_and_kept(slack in 60.0f64..5_000.0) {
            let seen = converge(slack, 160);
            for minute in seen[60..].windows(5) {
                let limited = minute.iter().filter(|(_, throttled)| *throttled).count();
                prop_assert!(limited <= 1, "{limited} in five minutes of {slack}");
                let used: f64 = minute
                    .iter()
                    .filter(|(_, throttled)| !throttled)
                    .map(|(limit, _)| limit.sustained())
                    .sum();
                let allowed = 5.0 - if limited == 1 { 1.0 } else { 0.0 };
                prop_assert!(used >= 0.9 * slack * allowed, "{used} of {slack}");
            }
        }

        #[test]
        fn a_storm_of_429s_is_forgotten_within_half_an_hour(
            slack in 60.0f64..5_000.0,
            storm in 1u32..40,
        ) {
            let (mut limit, _) = *converge(slack, 160).last().unwrap();
            for _ in 0..storm {
                limit = limit.after_429();
            }
            let seen = converge_from(limit, slack, 60);
            let used: f64 = seen[30..]
                .iter()
                .filter(|(_, throttled)| !throttled)
                .map(|(limit, _)| limit.sustained())
                .sum();
            prop_assert!(used >= 0.8 * slack * 30.0, "{used} of {slack}");
        }

        #[test]
        fn whatever_happens_the_limit_stays_within_bounds(
            steps in proptest::collection::vec(any::<Option<u16>>(), 0..200),
        ) {
            let mut limit = Limit::default();
            for step in steps {
                limit = match step {
                    None => limit.after_429(),
                    Some(sent) => limit.after_window(u32::from(sent), 1.0),
                };
                prop_assert!((LEAST..=MOST * 1.1).contains(&limit.current), "{limit:?}");
                prop_assert!(limit.good <= MOST * 1.1);
            }
        }

        #[test]
        fn in_no_minute_are_there_more_starts_than_the_limit(
            posts in 20.0f64..6_000.0,
            asks in proptest::collection::vec((0i64..2_000_000, 1u32..50), 1..200),
        ) {
            let limit = Limit { current: posts, ..Limit::default() };
            let pace = Pace::of(&limit, Duration::from_secs(60));
            let (mut now, mut spent) = (Timestamp(1_000_000_000), Timestamp(0));
            let mut starts = Vec::new();
            for (later, wanted) in asks {
                now = Timestamp(now.0 + later);
                for _ in 0..pace.starts(spent, now, now).min(wanted) {
                    spent = pace.next(spent, now);
                    starts.push(now);
                }
            }
            for (first, start) in starts.iter().enumerate() {
                let minute = Duration::from_secs(60);
                let within = starts[first..].iter().take_while(|at| at.since(*start) < minute);
                let count = u32::try_from(within.count()).unwrap();
                prop_assert!(f64::from(count) <= posts + 1.0);
            }
        }
    }

    /// Starts that three claim loops hand out in `minutes`, each of which looks again when its
    /// last look is over; `looks` are the times that the looks of each take, in milliseconds, over
    /// and over again.
    fn handed_out(pace: Pace, looks: &[Vec<u64>; 3], minutes: u64) -> Vec<Timestamp> {
        let begin = Timestamp(1_000_000_000);
        let end = begin.plus(Duration::from_secs(60 * minutes));
        let (mut spent, mut starts) = (begin, Vec::new());
        let mut loops =
            looks.each_ref().map(|looks| (begin, Lookahead::default(), looks.iter().cycle()));
        while let Some((at, lookahead, looks)) = loops.iter_mut().min_by_key(|(at, ..)| *at)
            && *at < end
        {
            for _ in 0..pace.starts(spent, *at, at.plus(lookahead.time())).min(64) {
                spent = pace.next(spent, *at);
                starts.push(spent.max(*at));
            }
            let took = Duration::from_millis(*looks.next().unwrap());
            (*at, *lookahead) = (at.plus(took), lookahead.after(took));
        }
        starts
    }

    /// Whether these starts, in their order, keep to a limit in every minute.
    fn are_within(starts: &[Timestamp], posts: f64) -> bool {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test")]
        let too_many = posts as usize + 2;
        let minute = Duration::from_secs(60);
        starts.windows(too_many).all(|window| window[too_many - 1].since(window[0]) >= minute)
    }

    proptest! {
        #[test]
        fn loops_that_are_slow_use_the_limit_up_and_never_exceed_it(
            posts in 20.0f64..3_000.0,
            looks in proptest::array::uniform3(100u64..=1_000),
        ) {
            let limit = Limit { current: posts, ..Limit::default() };
            let pace = Pace::of(&limit, Duration::from_secs(60));
            let starts = handed_out(pace, &looks.map(|took| vec![took]), 3);
            prop_assert!(are_within(&starts, posts));
            let used = u32::try_from(starts.len()).unwrap();
            prop_assert!(limit.is_used_up(used + 1, 3.0), "{used} of {}", limit.sustained());
        }

        #[test]
        fn loops_whose_looks_vary_never_exceed_the_limit(
            posts in 20.0f64..3_000.0,
            looks in proptest::array::uniform3(proptest::collection::vec(100u64..=1_500, 1..30)),
        ) {
            let limit = Limit { current: posts, ..Limit::default() };
            let pace = Pace::of(&limit, Duration::from_secs(60));
            let starts = handed_out(pace, &looks, 3);
            prop_assert!(starts.is_sorted() && are_within(&starts, posts));
        }
    }

    #[test]
    fn a_limit_that_is_not_used_up_is_not_raised() {
        let limit = Limit::default();
        assert_eq!(limit.after_window(100, 1.0), limit);
        assert!(limit.after_window(297, 1.0).current > limit.current);
    }

    #[test]
    fn more_is_tried_the_more_seldom_the_more_often_it_was_in_vain() {
        let seen = converge(600.0, 160);
        let met: Vec<usize> = (0..seen.len()).filter(|minute| seen[*minute].1).collect();
        let apart: Vec<usize> = met.windows(2).map(|two| two[1] - two[0]).collect();
        let at_last = [&[2, 3, 5, 9], &[11; 11][..]].concat();
        assert!(apart.ends_with(&at_last), "{apart:?}");
    }

    #[test]
    fn a_429_at_what_went_well_tells_no_ceiling() {
        let fallen = Limit { current: 500.0, good: 500.0, ..Limit::default() }.after_429();
        assert_eq!((fallen.current, fallen.ceiling), (400.0, None));
        let again = fallen.after_429();
        assert_eq!((again.current, again.ceiling), (320.0, None));
    }

    /// Two 429s and then a minute without any, four times: back at 80 % within five minutes.
    #[test]
    fn a_storm_with_good_minutes_in_between_costs_minutes() {
        let (mut limit, _) =
            *converge(600.0, 160).iter().rfind(|(_, throttled)| !throttled).unwrap();
        for _ in 0..4 {
            let (sent, minute) = (u32::MAX, 1.0);
            limit = limit.after_429().after_429().after_window(sent, minute);
        }
        let seen = converge_from(limit, 600.0, 10);
        let back = seen.iter().position(|(limit, _)| limit.sustained() >= 480.0);
        assert!(back.is_some_and(|minutes| minutes <= 5), "{back:?}");
    }

    #[test]
    fn a_429_below_what_went_well_forgets_it() {
        let limit =
            Limit { current: 500.0, good: 500.0, ceiling: Some(600.0), kept: 3, patience: 4 };
        let after = limit.after_429();
        assert_eq!((after.current, after.good, after.ceiling), (400.0, 0.0, None));
    }

    #[test]
    fn a_429_beyond_what_went_well_goes_back_to_it() {
        let limit =
            Limit { current: 606.0, good: 597.0, ceiling: Some(602.0), kept: 0, patience: 4 };
        assert!(limit.is_beyond());
        assert!((limit.after_429().current - 597.0).abs() < f64::EPSILON);
    }
}
