//! The pace at which Herald posts and changes messages in a workspace, and the effect of a 429 on
//! it.

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::pacing::{Account, Limit, Pace};
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::{Booked, Posting, Throttled};

/// The length of the windows in which Slack counts.
const MINUTE: Duration = Duration::from_secs(60);

impl Workspaces {
    /// The limit in force: the operator's figure, otherwise the learnt one.
    #[must_use]
    pub fn limit(&self, posting: Option<&Posting>) -> Limit {
        match self.config.posts_per_minute {
            0 => posting.map_or_else(Limit::default, |posting| posting.limit),
            known => Limit::known(known),
        }
    }

    /// The use of a workspace's budget, and how fast it refills: posts at the learnt pace, changes
    /// at the documented pace of their method.
    #[must_use]
    pub fn account(
        &self,
        budget: Budget,
        posting: Option<&Posting>,
        booked: Option<Booked>,
    ) -> Account {
        match budget {
            Budget::Posts => Account {
                pace: Pace::of(&self.limit(posting), self.minute()),
                spent_until: posting.map_or(Timestamp(0), |posting| posting.spent_until),
                paused_until: posting.map_or(Timestamp(0), |posting| posting.paused_until),
            },
            Budget::Updates | Budget::Deletions => {
                let interval = Method::from(budget).interval().mul_f64(self.time_scale());
                let pace = Pace::even(interval);
                Account {
                    pace,
                    spent_until: booked
                        .map_or(Timestamp(0), |row| row.next_at.minus(pace.interval)),
                    paused_until: booked.map_or(Timestamp(0), |row| row.paused_until),
                }
            }
        }
    }

    /// Ends a minute of counting and learns from it, or begins to count if nothing is known yet.
    /// Call it before posts are counted.
    pub async fn count_minute(
        &self,
        id: InstallationId,
        posting: Option<&Posting>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let limit = self.limit(posting);
        let Some(posting) = posting else {
            return Ok(self.store.budgets().begin_window(id, Timestamp::default(), &limit).await?);
        };
        let span = now.since(posting.window_at);
        if span < self.minute() {
            return Ok(());
        }
        let minutes = span.div_duration_f64(self.minute());
        let next = match self.config.posts_per_minute {
            0 => limit.after_window(posting.window_posts, minutes),
            _ => limit,
        };
        if next.current > limit.current {
            tracing::debug!(workspace = %id, limit = next.current, "the limit of posts is raised");
        }
        Ok(self.store.budgets().begin_window(id, posting.window_at, &next).await?)
    }

    /// Records that Slack asks to wait before the next post. Returns whether the whole workspace
    /// must wait.
    pub(super) async fn asked_to_wait(
        &self,
        id: InstallationId,
        lane: &str,
        after: Duration,
    ) -> Result<bool, Error> {
        let known = self.config.posts_per_minute > 0;
        let minute = self.minute();
        let throttled = Throttled { installation: id, lane, after, minute, known };
        let all = self.store.budgets().note_throttled(&throttled).await?;
        tracing::info!(workspace = %id, all, ?after, "Slack asks Herald to post later");
        Ok(all)
    }

    fn minute(&self) -> Duration {
        MINUTE.mul_f64(self.time_scale())
    }
}
