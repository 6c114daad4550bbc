//! Reads a whole workspace: page after page under a lease, published as one generation.
//!
//! Every page is checkpointed with its cursor, so that another replica resumes where one stopped.
//! Nothing is visible before the last page (invariant I9); a crawler that lost its lease changes
//! nothing (invariant I10). If Slack no longer knows a cursor, or returns one that it returned
//! before, the crawl starts again, once. A list that lost implausibly many members is not
//! published, and administrators see the loss.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::load::PAGE_SEPARATOR;
use super::{Directory, Error};
use crate::domain::directory::crawl::{believable, next_reading, rest};
use crate::slack::{self, MemberJson, MembersPage};
use crate::store::{CrawlLease, CrawledPage, Resume, Saved};
use crate::workspace;

/// The longest that one page waits for the budget of `users.list`; if the wait would be longer, the
/// crawl stops instead.
const PATIENCE: Duration = Duration::from_secs(30);
/// While a page is waited for, the lease is renewed after this fraction of it.
const BEAT: u32 = 3;
/// The wait before a workspace that refuses to be read is tried again, and the longest before
/// another reading when there is no list yet.
pub(super) const LATE: Duration = Duration::from_secs(300);
/// The wait before a second reading confirms a loss: a fault of Slack's may be over by then.
const CONFIRM: Duration = Duration::from_secs(600);
/// Pages of one list: four million members at the smallest page size. An endless list must not fill
/// the database.
const MOST_PAGES: i32 = 20_000;

/// How a crawl ended.
pub(super) enum CrawlEnd {
    /// A new generation was published.
    Published { generation: i64, members: i64 },
    /// The list was read to the end, but lost too many members to be believed.
    Refused { members: i64, in_force: i64 },
    /// Another replica holds the lease now.
    Lost,
    /// It stopped; the next one is due after the given time.
    Stopped { fault: CrawlFault, retry_after: Duration, resume: Resume },
}

/// Why a crawl stopped, as shown to administrators.
#[derive(Debug, thiserror::Error)]
pub(super) enum CrawlFault {
    #[error(transparent)]
    Workspace(workspace::Error),
    #[error("Slack's cursor was unusable ({0}), even after the reading began again")]
    Cursor(&'static str),
    #[error("the list does not end: {MOST_PAGES} pages were read")]
    Endless,
}

/// The result of asking Slack for one page.
enum PageRead {
    Page(MembersPage),
    Refused(workspace::Error),
    /// Another replica holds the lease now.
    LeaseLost,
}

impl Directory {
    /// Reads from the lease's checkpoint to the end.
    pub(super) async fn crawl(&self, lease: &mut CrawlLease) -> Result<CrawlEnd, Error> {
        // Pages may be short or empty; only an empty cursor ends the list.
        while !lease.checkpoint.complete {
            if lease.checkpoint.next_page >= MOST_PAGES {
                return Ok(stop(lease, CrawlFault::Endless, self.regular(lease), Resume::Start));
            }
            let next = match self.next_page(lease).await? {
                PageRead::Page(page) => self.keep(lease, page).await?,
                PageRead::Refused(error) => self.after(lease, error),
                PageRead::LeaseLost => return Ok(CrawlEnd::Lost),
            };
            match next {
                Next::Page => {}
                Next::Again(code) if lease.checkpoint.restarts > 0 => {
                    let fault = CrawlFault::Cursor(code);
                    return Ok(stop(lease, fault, self.regular(lease), Resume::Start));
                }
                Next::Again(code) => {
                    tracing::info!(
                        workspace = %lease.installation, code, pages = lease.checkpoint.next_page,
                        "reading the member list begins again"
                    );
                    if !self.begin_again(lease).await? {
                        return Ok(CrawlEnd::Lost);
                    }
                }
                Next::End(ended) => return Ok(ended),
            }
        }
        self.finish(lease).await
    }

    /// Reads one page from Slack while renewing the lease.
    async fn next_page(&self, lease: &CrawlLease) -> Result<PageRead, Error> {
        let hold = self.hold();
        let (cursor, size) = (lease.checkpoint.cursor.as_deref(), lease.checkpoint.page_size);
        let patience = self.scaled(PATIENCE);
        let page = self.inner.workspaces.users_page(
            lease.installation,
            cursor,
            size.members().into(),
            patience,
        );
        let mut page = std::pin::pin!(page);
        let every = hold / BEAT;
        let mut beat = tokio::time::interval_at(Instant::now() + every, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                page = &mut page => {
                    return Ok(page.map_or_else(PageRead::Refused, PageRead::Page));
                }
                _ = beat.tick() => {
                    if !self.inner.store.member_lists().extend_crawl(lease, hold).await? {
                        return Ok(PageRead::LeaseLost);
                    }
                }
            }
        }
    }

    /// Stores a page and the checkpoint after it.
    async fn keep(&self, lease: &mut CrawlLease, page: MembersPage) -> Result<Next, Error> {
        let members = i64::try_from(page.members.len()).unwrap_or(i64::MAX);
        let page_size = lease.checkpoint.page_size.after_page();
        let crawled = CrawledPage {
            number: lease.checkpoint.next_page,
            members,
            body: join(&page.members),
            next_cursor: page.next_cursor.clone(),
            page_size,
        };
        match self.inner.store.member_lists().save_page(lease, crawled, self.hold()).await? {
            Saved::Stored => {}
            Saved::Lost => return Ok(Next::End(CrawlEnd::Lost)),
            Saved::CursorRepeats => return Ok(Next::Again("cursor_repeats")),
        }
        self.inner.metrics.crawl_page();
        let checkpoint = &mut lease.checkpoint;
        checkpoint.next_page += 1;
        checkpoint.members += members;
        checkpoint.complete = page.next_cursor.is_none();
        checkpoint.cursor = page.next_cursor;
        checkpoint.page_size = page_size;
        checkpoint.failures = 0;
        Ok(Next::Page)
    }

    /// Chooses how to continue after a page could not be read.
    fn after(&self, lease: &mut CrawlLease, error: workspace::Error) -> Next {
        let size = lease.checkpoint.page_size;
        let (retry_after, resume) = match verdict(&error) {
            Verdict::Again => return Next::Again("invalid_cursor"),
            Verdict::TooMuch => {
                if let Some(smaller) = size.smaller() {
                    lease.checkpoint.page_size = smaller;
                    return Next::Page;
                }
                (self.scaled(rest(lease.checkpoint.failures + 1)), Resume::Checkpoint)
            }
            Verdict::Rest => (self.scaled(rest(lease.checkpoint.failures + 1)), Resume::Checkpoint),
            Verdict::Late => (self.scaled(LATE), Resume::Checkpoint),
            // Stated by Slack, or computed from its answer: scaled already.
            Verdict::Wait(after) => (after, Resume::Checkpoint),
        };
        Next::End(stop(lease, CrawlFault::Workspace(error), retry_after, resume))
    }

    async fn begin_again(&self, lease: &mut CrawlLease) -> Result<bool, Error> {
        if !self.inner.store.member_lists().restart_crawl(lease, self.hold()).await? {
            return Ok(false);
        }
        let checkpoint = &mut lease.checkpoint;
        (checkpoint.cursor, checkpoint.next_page, checkpoint.members) = (None, 0, 0);
        checkpoint.restarts += 1;
        Ok(true)
    }

    /// All pages are there: publishes them if they are plausible.
    async fn finish(&self, lease: &CrawlLease) -> Result<CrawlEnd, Error> {
        let store = &self.inner.store;
        let members = lease.checkpoint.members;
        let Some(state) = store.member_lists().state(lease.installation).await? else {
            return Ok(CrawlEnd::Lost);
        };
        let in_force = (state.generation > 0).then_some(state.members);
        let doubt = state.shrink.map(|shrink| shrink.doubt);
        if !believable(members, in_force, doubt) {
            let in_force = in_force.unwrap_or(0);
            return Ok(CrawlEnd::Refused { members, in_force });
        }
        let next = next_reading(self.refresh_interval(), rand::random());
        Ok(match store.member_lists().publish(lease, next).await? {
            Some(generation) => CrawlEnd::Published { generation, members },
            None => CrawlEnd::Lost,
        })
    }

    /// The time until the next regular reading; shorter if there is no list at all.
    fn regular(&self, lease: &CrawlLease) -> Duration {
        let regular = self.refresh_interval();
        if lease.generation > 1 { regular } else { regular.min(self.scaled(LATE)) }
    }

    /// The time until a loss is confirmed.
    pub(super) fn confirm_after(&self) -> Duration {
        self.refresh_interval().min(self.scaled(CONFIRM))
    }

    fn refresh_interval(&self) -> Duration {
        self.scaled(Duration::from_secs(self.inner.config.refresh_seconds))
    }
}

fn stop(lease: &CrawlLease, fault: CrawlFault, retry_after: Duration, resume: Resume) -> CrawlEnd {
    tracing::warn!(
        workspace = %lease.installation, error = %fault, ?retry_after,
        "reading the member list stopped"
    );
    CrawlEnd::Stopped { fault, retry_after, resume }
}

fn join(members: &[MemberJson]) -> Vec<u8> {
    let mut body = Vec::with_capacity(members.iter().map(|member| member.get().len() + 1).sum());
    for member in members {
        body.extend_from_slice(member.get().as_bytes());
        body.push(PAGE_SEPARATOR);
    }
    body
}

/// The next step after one page.
enum Next {
    Page,
    /// The cursor is unusable, for this reason.
    Again(&'static str),
    End(CrawlEnd),
}

/// The reaction to a page that could not be read.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Ask for a smaller page.
    TooMuch,
    /// Start again.
    Again,
    /// Rest a short time, longer each time.
    Rest,
    /// Rest a long time: an administrator must first fix the cause.
    Late,
    /// Wait for as long as Slack says.
    Wait(Duration),
}

fn verdict(error: &workspace::Error) -> Verdict {
    match error {
        workspace::Error::Slack(slack::Error::Throttled { after })
        | workspace::Error::Busy { after }
        | workspace::Error::Renewing { after }
        | workspace::Error::Migrating { after } => Verdict::Wait(*after),
        workspace::Error::Slack(slack::Error::Rejected { code, .. }) => match code.as_str() {
            "limit_required" => Verdict::TooMuch,
            // The cursor was too old or is broken: the reading that used it cannot continue.
            "invalid_cursor" => Verdict::Again,
            _ => Verdict::Late,
        },
        workspace::Error::Slack(
            slack::Error::Transient { code } | slack::Error::Unknown { code },
        ) => match code.as_str() {
            // Slack was not reached, so the page was not too large.
            "dns_failed" | "connect_failed" | "connect_timeout" => Verdict::Rest,
            _ => Verdict::TooMuch,
        },
        workspace::Error::Store(_) => Verdict::Rest,
        workspace::Error::Slack(_)
        | workspace::Error::Reconnect { .. }
        | workspace::Error::Unknown
        | workspace::Error::Late => Verdict::Late,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_says_decides_how_to_go_on() {
        let transient =
            |code: &str| workspace::Error::Slack(slack::Error::Transient { code: code.to_owned() });
        let rejected = |code: &str| {
            let class = slack::ErrorClass::Other;
            let code = code.to_owned();
            workspace::Error::Slack(slack::Error::Rejected { code, class, detail: None })
        };
        let after = Duration::from_secs(7);
        for (error, expected) in [
            (rejected("limit_required"), Verdict::TooMuch),
            (rejected("invalid_cursor"), Verdict::Again),
            (rejected("access_denied"), Verdict::Late),
            (transient("http_503"), Verdict::TooMuch),
            (transient("timeout"), Verdict::TooMuch),
            (transient("connect_failed"), Verdict::Rest),
            (workspace::Error::Slack(slack::Error::Throttled { after }), Verdict::Wait(after)),
            (workspace::Error::Busy { after }, Verdict::Wait(after)),
            (workspace::Error::Unknown, Verdict::Late),
        ] {
            assert_eq!(verdict(&error), expected, "{error}");
        }
    }
}
