//! Reading a whole workspace: page after page under a lease, published as one generation.
//!
//! Every page is checkpointed with its cursor, so that another replica resumes where one stopped.
//! Nothing is visible before the last page (invariant I9); a crawler that lost its lease changes
//! nothing (invariant I10).

use std::time::Duration;

use super::load::PAGE_SEPARATOR;
use super::{Directory, Error};
use crate::slack;
use crate::store::CrawlLease;
use crate::workspace;

/// Members asked for in one page, at most (Slack: below 1000).
pub(super) const LARGEST_PAGE: u32 = 999;
/// Members in one page when Slack finds larger ones too much (Slack's own advice).
pub(super) const SMALLEST_PAGE: u32 = 200;
/// How long one page may wait for the budget of `users.list`.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a crawl ended.
pub(super) enum Ended {
    /// A new generation is there.
    Published { generation: i64, members: i64 },
    /// Another replica holds the lease now.
    Lost,
    /// It stopped with this reason, to go on from its checkpoint after the given time.
    Failed { error: String, retry_after: Duration },
}

impl Directory {
    /// Reads from the lease's checkpoint to the end.
    pub(super) async fn crawl(&self, mut lease: CrawlLease) -> Result<Ended, Error> {
        let store = &self.inner.store;
        let hold = self.scaled(Duration::from_secs(self.inner.config.lease_seconds));
        let mut restarted = false;
        loop {
            let limit = u32::try_from(lease.checkpoint.page_size)
                .unwrap_or(LARGEST_PAGE)
                .clamp(SMALLEST_PAGE, LARGEST_PAGE);
            let cursor = lease.checkpoint.cursor.clone();
            let patience = self.scaled(PATIENCE);
            let page = self
                .inner
                .workspaces
                .users_page(lease.installation, cursor.as_deref(), limit, patience)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => match verdict(&error, limit, restarted) {
                    Verdict::Smaller => {
                        lease.checkpoint.page_size = i32::try_from(limit / 2).unwrap_or(200);
                        continue;
                    }
                    Verdict::FromTheStart => {
                        restarted = true;
                        if !store.restart_crawl(&mut lease).await? {
                            return Ok(Ended::Lost);
                        }
                        continue;
                    }
                    Verdict::Later(after) => {
                        let retry_after = self.scaled(after);
                        return Ok(Ended::Failed { error: error.to_string(), retry_after });
                    }
                },
            };
            let members = i64::try_from(page.members.len()).unwrap_or(i64::MAX);
            let bytes = page.members.join(&PAGE_SEPARATOR);
            let next = page.next_cursor;
            if !store.save_page(&mut lease, &bytes, members, next.as_deref(), hold).await? {
                return Ok(Ended::Lost);
            }
            // Pages may be short or empty; only an empty cursor ends the list.
            if next.is_none() {
                break;
            }
        }
        let members = lease.checkpoint.members;
        let refresh = self.scaled(Duration::from_secs(self.inner.config.refresh_seconds));
        Ok(match store.publish(&lease, refresh).await? {
            Some(generation) => Ended::Published { generation, members },
            None => Ended::Lost,
        })
    }
}

/// What to do about a page that did not come.
enum Verdict {
    Smaller,
    FromTheStart,
    Later(Duration),
}

fn verdict(error: &workspace::Error, limit: u32, restarted: bool) -> Verdict {
    const SOON: Duration = Duration::from_secs(10);
    const LATE: Duration = Duration::from_secs(300);
    match error {
        workspace::Error::Slack(slack::Error::Throttled { after })
        | workspace::Error::Busy { after } => Verdict::Later(*after),
        workspace::Error::Slack(error) => match error {
            slack::Error::Rejected { code, .. } if code == "invalid_cursor" && !restarted => {
                Verdict::FromTheStart
            }
            slack::Error::Rejected { code, .. }
                if code == "limit_required" && limit > SMALLEST_PAGE =>
            {
                Verdict::Smaller
            }
            slack::Error::Transient { .. } | slack::Error::Unknown { .. }
                if limit > SMALLEST_PAGE =>
            {
                Verdict::Smaller
            }
            slack::Error::Transient { .. } | slack::Error::Unknown { .. } => Verdict::Later(SOON),
            _ => Verdict::Later(LATE),
        },
        workspace::Error::Store(_) => Verdict::Later(SOON),
        workspace::Error::Reconnect { .. } | workspace::Error::Unknown => Verdict::Later(LATE),
    }
}
