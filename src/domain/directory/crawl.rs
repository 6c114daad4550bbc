//! How a member list is read: the number of members on a page, the wait after a failure, and
//! whether a result is plausible.

use std::time::Duration;

/// Page sizes, in members. Slack accepts fewer than 1,000 and recommends at most 200.
const STEPS: [u16; 4] = [200, 250, 500, 999];
/// Pages that must arrive at one size before the next larger size is tried.
const CLIMB_AFTER: u16 = 4;
/// The most setbacks that count: each doubles the number of pages that must arrive before the next
/// try.
const MOST_SETBACKS: u16 = 6;

/// Slack's own recommendation for pages that are too large.
const FIRST_REST: Duration = Duration::from_secs(10);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// How many members to ask for. Falls when Slack finds a page too large, and rises again once pages
/// have arrived. Stored with the checkpoint, so that the replica that continues need not learn it
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    members: u16,
    /// Pages that arrived at this size.
    came: u16,
    setbacks: u16,
}

impl PageSize {
    /// The largest size, with which a workspace begins.
    #[must_use]
    pub fn largest() -> Self {
        Self { members: STEPS[STEPS.len() - 1], came: 0, setbacks: 0 }
    }

    /// From stored numbers; a size that is not in [`STEPS`] becomes the next smaller one.
    #[must_use]
    pub fn kept(members: i32, came: i32, setbacks: i32) -> Self {
        let limit = |number: i32| u16::try_from(number).unwrap_or(0);
        let wanted = limit(members);
        if wanted == 0 {
            return Self::largest();
        }
        let members = STEPS.iter().rev().find(|step| **step <= wanted).unwrap_or(&STEPS[0]);
        Self { members: *members, came: limit(came), setbacks: limit(setbacks).min(MOST_SETBACKS) }
    }

    /// Members to ask for.
    #[must_use]
    pub fn members(self) -> u16 {
        self.members
    }

    #[must_use]
    pub fn came(self) -> u16 {
        self.came
    }

    #[must_use]
    pub fn setbacks(self) -> u16 {
        self.setbacks
    }

    /// After a page that arrived.
    #[must_use]
    pub fn after_page(self) -> Self {
        let came = self.came.saturating_add(1);
        if came < CLIMB_AFTER << self.setbacks {
            return Self { came, ..self };
        }
        match STEPS.iter().find(|step| **step > self.members) {
            Some(larger) => Self { members: *larger, came: 0, ..self },
            // The largest size works again: earlier setbacks are forgotten.
            None => Self { came: 0, setbacks: 0, ..self },
        }
    }

    /// After a page that was too large; `None` if there is no smaller size.
    #[must_use]
    pub fn smaller(self) -> Option<Self> {
        let members = *STEPS.iter().rev().find(|step| **step < self.members)?;
        Some(Self { members, came: 0, setbacks: (self.setbacks + 1).min(MOST_SETBACKS) })
    }
}

/// How long to rest after the latest of `failures` in a row, from 1: twice as long each time, up to
/// [`LONGEST_REST`].
#[must_use]
pub fn rest(failures: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(LONGEST_REST)
}

/// How long after a reading the next one is due, by a random number from 0 to 1: up to a tenth less
/// than `interval`, so that workspaces which were connected together are not read together for
/// ever.
#[must_use]
pub fn next_reading(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(1.0 - random / 10.0)
}

/// A reading that was refused because too many members were missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The members that it found.
    pub members: i64,
    /// An administrator confirmed it.
    pub accepted: bool,
}

/// Whether a complete reading may replace the list in force, which has `in_force` members (`None`:
/// there is none yet). A reading without members, or with a loss of more than a tenth, is believed
/// only if it confirms `doubt`: a second reading finds the same number, or an administrator
/// accepted the first one. The same number means at most a hundredth more or less; after an
/// acceptance it may also be larger.
#[must_use]
pub fn believable(found: i64, in_force: Option<i64>, doubt: Option<Doubt>) -> bool {
    let (found, in_force) = (i128::from(found), i128::from(in_force.unwrap_or(0)));
    if found > 0 && found * 10 >= in_force * 9 {
        return true;
    }
    doubt.is_some_and(|doubt| {
        let before = i128::from(doubt.members);
        let no_less = found * 100 >= before * 99;
        let no_more = found * 100 <= before * 101;
        no_less && (no_more || doubt.accepted)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after_pages(size: PageSize, pages: usize) -> PageSize {
        (0..pages).fold(size, |size, _| size.after_page())
    }

    #[test]
    fn pages_fall_to_what_slack_advises_and_climb_back() {
        let sizes: Vec<u16> =
            std::iter::successors(Some(PageSize::largest()), |size| size.smaller())
                .map(PageSize::members)
                .collect();
        assert_eq!(sizes, [999, 500, 250, 200]);
        let fallen = PageSize::largest().smaller().unwrap();
        assert_eq!(after_pages(fallen, 7).members(), 500);
        assert_eq!(after_pages(fallen, 8).members(), 999);
    }

    #[test]
    fn what_is_too_much_again_and_again_is_tried_less_and_less() {
        let (mut size, mut pages, mut tries) = (PageSize::largest(), 0, 0);
        while pages < 1000 {
            if size.members() == 999 {
                tries += 1;
                size = size.smaller().unwrap();
            } else {
                pages += 1;
                size = size.after_page();
            }
        }
        assert!(tries <= 10, "{tries} of {pages} pages were requested without success");
    }

    #[test]
    fn the_next_reading_comes_up_to_a_tenth_early() {
        let hour = Duration::from_secs(3600);
        let minutes = [0.0, 0.5, 1.0].map(|random| next_reading(hour, random).as_secs() / 60);
        assert_eq!(minutes, [60, 57, 54]);
    }

    #[test]
    fn a_rest_doubles_up_to_five_minutes() {
        let rests: Vec<u64> = [0, 1, 2, 3, 6, 7, u32::MAX].map(|n| rest(n).as_secs()).into();
        assert_eq!(rests, [10, 10, 20, 40, 300, 300, 300]);
    }

    #[test]
    fn a_tenth_may_go_and_more_must_be_confirmed() {
        let doubt = |members, accepted| Some(Doubt { members, accepted });
        assert!(believable(1, None, None) && !believable(0, None, None));
        assert!(believable(90, Some(100), None) && !believable(89, Some(100), None));
        assert!(believable(50, Some(100), doubt(50, false)));
        assert!(!believable(40, Some(100), doubt(50, false)), "still falling");
        assert!(!believable(80, Some(100), doubt(50, false)), "neither one nor the other");
        assert!(believable(80, Some(100), doubt(50, true)));
        assert!(!believable(40, Some(100), doubt(50, true)), "more is lost than was accepted");
        assert!(believable(0, Some(100), doubt(0, false)), "empty twice");
    }

    proptest! {
        #[test]
        fn a_kept_size_goes_on_as_it_was(
            steps in proptest::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut size = PageSize::largest();
            for came in steps {
                size = if came { size.after_page() } else { size.smaller().unwrap_or(size) };
                prop_assert!(STEPS.contains(&size.members()));
                let kept = PageSize::kept(
                    size.members().into(), size.came().into(), size.setbacks().into(),
                );
                prop_assert_eq!(kept, size);
            }
        }

        #[test]
        fn any_numbers_make_a_size_that_slack_takes(a: i32, b: i32, c: i32) {
            let size = PageSize::kept(a, b, c);
            prop_assert!((200..1000).contains(&size.after_page().members()));
            prop_assert!(size.smaller().is_none_or(|smaller| smaller.members() < size.members()));
        }

        #[test]
        fn growth_is_always_believed(found in 1i64.., lost in 0i64..) {
            prop_assert!(believable(found, Some(found.saturating_sub(lost)), None));
        }

        #[test]
        fn more_than_a_tenth_is_never_believed_at_once(
            force in 1i64..i64::MAX,
            part in 0.0..0.89f64,
        ) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "roughly"
            )]
            let found = (force as f64 * part) as i64;
            prop_assert!(!believable(found, Some(force), None));
        }
    }
}
