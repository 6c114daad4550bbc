//! The Home tabs that people opened, until they are published.
//!
//! They are kept in the memory of the replica that got the event. If it dies, they are lost, and
//! the tab shows what was published before until the person opens it again: unlike a message, a tab
//! is asked for by its reader.
//!
//! Bounded: a person's tab is published by one task at a time. If the tab is opened meanwhile, it
//! is published once more afterwards, however often it was opened, with the facts of that moment.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::ids::{InstallationId, SlackUserId};

/// Home tabs that wait or are being published.
const KEPT: usize = 1_000;
/// Those that are being published at the same time: of all, and of one workspace. Slack's rate
/// limit is kept for each workspace, so more of one would only keep others waiting.
const AT_ONCE: usize = 16;
const OF_WORKSPACE: usize = 2;
/// How often one is tried.
const TRIES: u32 = 3;
/// The longest wait before it is tried again.
const LONGEST: Duration = Duration::from_secs(600);

/// A Home tab that a person opened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OpenedHome {
    pub(super) member: SlackUserId,
    /// The first one, whose token publishes the tab.
    pub(super) workspace: InstallationId,
    /// The other installations that the person is seen by.
    pub(super) others: Vec<InstallationId>,
}

/// How the publication of a Home tab ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HomeEnd {
    Over,
    /// It may succeed after this time.
    Later(Duration),
}

/// The Home tabs of this replica, shared by its tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenedHomes(Arc<SharedHomes>);

#[derive(Debug, Default)]
struct SharedHomes {
    queue: Mutex<HomeQueue>,
    opened: Notify,
}

impl OpenedHomes {
    /// Notes that a tab was opened. `false`: too many are waiting.
    pub(super) fn open(&self, home: OpenedHome) -> bool {
        let kept = self.queue().open(home, Instant::now());
        self.0.opened.notify_one();
        kept
    }

    /// Returns once a tab was opened since the last call.
    pub(super) async fn opened(&self) {
        self.0.opened.notified().await;
    }

    /// The next tab to publish; [`Self::ended`] must follow.
    pub(super) fn take(&self) -> Option<OpenedHome> {
        self.queue().take(Instant::now())
    }

    /// When a tab that waits for a time is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue().next_due(Instant::now())
    }

    /// A publication ended. `false`: it was tried often enough and is given up.
    pub(super) fn ended(&self, home: OpenedHome, end: HomeEnd) -> bool {
        self.queue().ended(home, end, Instant::now())
    }

    fn queue(&self) -> MutexGuard<'_, HomeQueue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct HomeQueue {
    /// In the order of opening; each tab once.
    waiting: VecDeque<WaitingHome>,
    under_way: HashMap<OpenedHome, HomeTries>,
}

#[derive(Debug)]
struct WaitingHome {
    home: OpenedHome,
    due: Instant,
    tries: u32,
}

/// A publication under way.
#[derive(Debug)]
struct HomeTries {
    /// Those before this one.
    before: u32,
    /// The tab was opened since this one began.
    again: bool,
}

impl HomeQueue {
    fn open(&mut self, home: OpenedHome, now: Instant) -> bool {
        if let Some(tries) = self.under_way.get_mut(&home) {
            tries.again = true;
            return true;
        }
        if self.waiting.iter().any(|waiting| waiting.home == home) {
            return true;
        }
        if self.waiting.len() + self.under_way.len() >= KEPT {
            return false;
        }
        self.waiting.push_back(WaitingHome { home, due: now, tries: 0 });
        true
    }

    fn take(&mut self, now: Instant) -> Option<OpenedHome> {
        if self.under_way.len() >= AT_ONCE {
            return None;
        }
        let may_begin = |waiting: &WaitingHome| {
            let workspace = waiting.home.workspace;
            let of_it = self.under_way.keys().filter(|home| home.workspace == workspace);
            waiting.due <= now && of_it.count() < OF_WORKSPACE
        };
        let place = self.waiting.iter().position(may_begin)?;
        let WaitingHome { home, tries, .. } = self.waiting.remove(place)?;
        self.under_way.insert(home.clone(), HomeTries { before: tries, again: false });
        Some(home)
    }

    fn next_due(&self, now: Instant) -> Option<Instant> {
        self.waiting.iter().map(|waiting| waiting.due).filter(|due| *due > now).min()
    }

    fn ended(&mut self, home: OpenedHome, end: HomeEnd, now: Instant) -> bool {
        let Some(HomeTries { before, again }) = self.under_way.remove(&home) else { return true };
        // A new opening has all its tries.
        let tries = if again { 0 } else { before + 1 };
        let due = match end {
            HomeEnd::Over if again => now,
            HomeEnd::Over => return true,
            HomeEnd::Later(_) if tries >= TRIES => return false,
            HomeEnd::Later(after) => now + after.min(LONGEST),
        };
        self.waiting.push_back(WaitingHome { home, due, tries });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    fn home(workspace: u128, member: &str) -> OpenedHome {
        let member = SlackUserId::parse(member).unwrap();
        let workspace = InstallationId(uuid::Uuid::from_u128(workspace));
        OpenedHome { member, workspace, others: Vec::new() }
    }

    #[test]
    fn however_often_it_is_opened_it_is_published_once_more() {
        let (mut queue, now) = (HomeQueue::default(), Instant::now());
        for _ in 0..50 {
            assert!(queue.open(home(1, "U1"), now));
        }
        let first = queue.take(now).unwrap();
        assert_eq!(queue.take(now), None);
        for _ in 0..50 {
            assert!(queue.open(home(1, "U1"), now));
            assert_eq!(queue.take(now), None, "one at a time");
        }
        assert!(queue.ended(first.clone(), HomeEnd::Over, now));
        assert_eq!(queue.take(now), Some(first.clone()));
        assert!(queue.ended(first, HomeEnd::Over, now));
        assert_eq!((queue.take(now), queue.under_way.len()), (None, 0));
    }

    #[test]
    fn one_that_fails_is_tried_later_and_given_up_in_the_end() {
        let (mut queue, mut now) = (HomeQueue::default(), Instant::now());
        queue.open(home(1, "U1"), now);
        for number in 1..=TRIES {
            let taken = queue.take(now).unwrap();
            assert_eq!(queue.ended(taken, HomeEnd::Later(AFTER), now), number < TRIES);
            let due = queue.next_due(now);
            assert_eq!(due, (number < TRIES).then_some(now + AFTER));
            assert_eq!(queue.take(now), None);
            now += AFTER;
        }
        assert!(queue.waiting.is_empty() && queue.under_way.is_empty());
        // An opening meanwhile begins anew.
        queue.open(home(1, "U1"), now);
        for _ in 0..2 * TRIES {
            let taken = queue.take(now).unwrap();
            queue.open(home(1, "U1"), now);
            assert!(queue.ended(taken, HomeEnd::Later(AFTER), now));
            now += AFTER;
        }
    }

    #[test]
    fn a_workspace_leaves_room_for_others() {
        let (mut queue, now) = (HomeQueue::default(), Instant::now());
        for number in 0..10 {
            queue.open(home(1, &format!("U{number}")), now);
        }
        queue.open(home(2, "U1"), now);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take(now)).collect();
        assert_eq!(taken, [home(1, "U0"), home(1, "U1"), home(2, "U1")]);
        assert!(queue.ended(home(1, "U1"), HomeEnd::Over, now));
        assert_eq!(queue.take(now), Some(home(1, "U2")));
    }

    #[test]
    fn the_queue_is_bounded() {
        let (mut queue, now) = (HomeQueue::default(), Instant::now());
        let number = |number: usize| home(number as u128, "U1");
        for one in 0..KEPT {
            assert!(queue.open(number(one), now));
        }
        let taken = std::iter::from_fn(|| queue.take(now)).count();
        assert_eq!(taken, AT_ONCE);
        assert!(!queue.open(number(KEPT), now));
        assert!(queue.open(number(0), now) && queue.open(number(KEPT - 1), now));
        assert!(queue.ended(number(1), HomeEnd::Over, now));
        assert!(queue.open(number(KEPT), now));
    }
}
