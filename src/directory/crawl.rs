//! Reading a whole workspace: page after page under a lease, published as one generation.
//!
//! Every page is checkpointed with its cursor, so that another replica resumes where one stopped.
//! Nothing is visible before the last page (invariant I9); a crawler that lost its lease changes
//! nothing (invariant I10).

use std::time::Duration;

use super::load::PAGE_SEPARATOR;
use super::{Directory, Error};
use crate::slack::{self, MemberJson};
use crate::store::{CrawlLease, CrawledPage, Resume};
use crate::workspace;

/// Members asked for in one page, at most (Slack: below 1000).
pub(super) const LARGEST_PAGE: u32 = 999;
/// Members in one page when Slack finds larger ones too much (Slack's own advice).
pub(super) const SMALLEST_PAGE: u32 = 200;
/// How long one page may wait for the budget of `users.list`: less than the lease.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before a workspace that cannot be read is tried again.
const LATE: Duration = Duration::from_secs(300);

/// How a crawl ended.
pub(super) enum Ended {
    /// A new generation is there.
    Published { generation: i64, members: i64 },
    /// Another replica holds the lease now.
    Lost,
    /// It stopped; the next one is due after the given time and goes on from there.
    Stopped { error: workspace::Error, retry_after: Duration, resume: Resume },
}

impl Directory {
    /// Reads from the lease's checkpoint to the end.
    pub(super) async fn crawl(&self, mut lease: CrawlLease) -> Result<Ended, Error> {
        let hold = self.scaled(Duration::from_secs(self.inner.config.lease_seconds));
        let mut page_size = lease.checkpoint.page_size.map_or(LARGEST_PAGE, |size| {
            u32::try_from(size).unwrap_or(LARGEST_PAGE).clamp(SMALLEST_PAGE, LARGEST_PAGE)
        });
        // Pages may be short or empty; only an empty cursor ends the list.
        while !lease.checkpoint.complete {
            let cursor = lease.checkpoint.cursor.as_deref();
            let patience = self.scaled(PATIENCE);
            let page = self
                .inner
                .workspaces
                .users_page(lease.installation, cursor, page_size, patience)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(error) => match verdict(&error, page_size) {
                    Verdict::Smaller => {
                        page_size = (page_size / 2).max(SMALLEST_PAGE);
                        continue;
                    }
                    Verdict::Stop(after, resume) => {
                        let retry_after = self.scaled(after);
                        return Ok(Ended::Stopped { error, retry_after, resume });
                    }
                },
            };
            if page.next_cursor.is_some() && page.next_cursor == lease.checkpoint.cursor {
                // The same page again and again, and no end to what is stored.
                let error = slack::Error::Transient { code: "cursor_repeats".to_owned() };
                let (error, retry_after) = (workspace::Error::Slack(error), self.scaled(LATE));
                return Ok(Ended::Stopped { error, retry_after, resume: Resume::Start });
            }
            let page = CrawledPage {
                number: lease.checkpoint.next_page,
                members: i64::try_from(page.members.len()).unwrap_or(i64::MAX),
                body: join(&page.members),
                next_cursor: page.next_cursor,
                page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
            };
            lease.checkpoint.next_page += 1;
            lease.checkpoint.members += page.members;
            lease.checkpoint.cursor.clone_from(&page.next_cursor);
            lease.checkpoint.complete = page.next_cursor.is_none();
            if !self.inner.store.save_page(&lease, page, hold).await? {
                return Ok(Ended::Lost);
            }
        }
        let members = lease.checkpoint.members;
        let refresh = self.scaled(Duration::from_secs(self.inner.config.refresh_seconds));
        Ok(match self.inner.store.publish(&lease, refresh).await? {
            Some(generation) => Ended::Published { generation, members },
            None => Ended::Lost,
        })
    }
}

fn join(members: &[MemberJson]) -> Vec<u8> {
    let mut body = Vec::with_capacity(members.iter().map(|member| member.get().len() + 1).sum());
    for member in members {
        body.extend_from_slice(member.get().as_bytes());
        body.push(PAGE_SEPARATOR);
    }
    body
}

/// What to do about a page that did not come.
enum Verdict {
    Smaller,
    Stop(Duration, Resume),
}

fn verdict(error: &workspace::Error, page_size: u32) -> Verdict {
    const SOON: Duration = Duration::from_secs(10);
    let too_much = page_size > SMALLEST_PAGE;
    match error {
        workspace::Error::Slack(slack::Error::Throttled { after })
        | workspace::Error::Busy { after } => Verdict::Stop(*after, Resume::Checkpoint),
        workspace::Error::Slack(slack::Error::Rejected { code, .. }) => match code.as_str() {
            "limit_required" if too_much => Verdict::Smaller,
            // The cursor was too old or is broken: what was read with it cannot go on.
            "invalid_cursor" => Verdict::Stop(SOON, Resume::Start),
            _ => Verdict::Stop(LATE, Resume::Checkpoint),
        },
        workspace::Error::Slack(slack::Error::Transient { .. } | slack::Error::Unknown { .. }) => {
            if too_much {
                Verdict::Smaller
            } else {
                Verdict::Stop(SOON, Resume::Checkpoint)
            }
        }
        workspace::Error::Store(_) => Verdict::Stop(SOON, Resume::Checkpoint),
        workspace::Error::Slack(_)
        | workspace::Error::Reconnect { .. }
        | workspace::Error::Unknown
        | workspace::Error::Late => Verdict::Stop(LATE, Resume::Checkpoint),
    }
}
