//! Whether a recipient's account is in use. The member list answers; if it is old, or does not
//! contain the member, Slack is asked about the one person.
//!
//! Questions are optional: a workspace has one at a time, each member is asked about once in a
//! while, and no question is asked while the budget is spent. If a question cannot be asked the
//! list decides, so that a broadcast over an old list is not limited to the rate of `users.info`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use tokio::time::Instant;

use super::Delivery;
use crate::directory::View;
use crate::domain::directory::member::{Member, MemberKind};
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::workspace;

/// Answers kept.
const ANSWERS: u64 = 100_000;
/// An answer counts for this fraction of [`Liveness::trusted`].
const ANSWER_PART: u32 = 12;
/// While one question is under way, and for at most this long, no other is asked in its workspace.
const ONE_QUESTION: Duration = Duration::from_secs(60);

/// Slack's answers about single members, and the workspaces where no question is asked now.
pub(super) struct Liveness {
    /// The age up to which a member list is trusted: the time since it was read, or since an event
    /// reported a change to it.
    trusted: Duration,
    answers: Cache<(InstallationId, SlackUserId), Option<MemberKind>>,
    /// The time until which no question is asked.
    quiet: Mutex<HashMap<InstallationId, Instant>>,
}

impl Liveness {
    pub(super) fn new(trusted: Duration) -> Self {
        let answers = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(ANSWERS)
            .time_to_live((trusted / ANSWER_PART).max(Duration::from_millis(1)))
            .build();
        Self { trusted, answers, quiet: Mutex::default() }
    }

    /// Takes the turn to ask; `false` if no question may be asked now.
    fn begin(&self, installation: InstallationId, now: Instant) -> bool {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        if quiet.get(&installation).is_some_and(|until| now < *until) {
            return false;
        }
        quiet.insert(installation, now + ONE_QUESTION);
        true
    }

    /// Gives the turn back, after which nothing is asked for `rest`.
    fn end(&self, installation: InstallationId, now: Instant, rest: Duration) {
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.is_zero() {
            quiet.remove(&installation);
        } else {
            quiet.insert(installation, now + rest);
        }
    }
}

/// The result of asking Slack about an account.
enum AccountAnswer {
    /// `None`: Slack says nothing about the account.
    Given(Option<MemberKind>),
    /// No other question is asked for this time.
    Missing { rest: Duration },
}

impl Delivery {
    /// The state of the account, as far as it is known; `None`: unknown, so the request will show
    /// it.
    pub(super) async fn member_kind(
        &self,
        installation: InstallationId,
        view: &View,
        member: &SlackUserId,
        now: Timestamp,
    ) -> Option<MemberKind> {
        let liveness = &self.inner.liveness;
        let listed = view.kind(member);
        let fresh = view.current_at.is_some_and(|at| now.since(at) <= liveness.trusted);
        if fresh && listed.is_some() {
            return listed;
        }
        let key = (installation, member.clone());
        if let Some(answer) = liveness.answers.get(&key).await {
            return answer.or(listed);
        }
        if !liveness.begin(installation, Instant::now()) {
            return listed;
        }
        match self.ask(installation, member, listed).await {
            AccountAnswer::Given(kind) => {
                liveness.end(installation, Instant::now(), Duration::ZERO);
                liveness.answers.insert(key, kind).await;
                kind.or(listed)
            }
            AccountAnswer::Missing { rest } => {
                liveness.end(installation, Instant::now(), rest);
                listed
            }
        }
    }

    /// Slack's answer, which all replicas learn if it is new.
    async fn ask(
        &self,
        installation: InstallationId,
        member: &SlackUserId,
        listed: Option<MemberKind>,
    ) -> AccountAnswer {
        let retry = self.inner.timing.retry;
        let json = match self.inner.workspaces.user_info(installation, member).await {
            Ok(Some(json)) => json,
            // Not visible to us, which says nothing about the account.
            Ok(None) => return AccountAnswer::Given(None),
            Err(workspace::Error::Busy { after }) => return AccountAnswer::Missing { rest: after },
            Err(error) => {
                let workspace = installation;
                tracing::info!(%workspace, %error, "Slack was not asked about an account");
                return AccountAnswer::Missing { rest: retry };
            }
        };
        let kind = Member::from_slice(json.get().as_bytes()).ok().map(|member| member.kind);
        if kind.is_some() && kind != listed {
            let learnt = self.inner.directory.learn(installation, &[json]).await;
            if let Err(error) = learnt {
                let workspace = installation;
                tracing::warn!(%workspace, %error, "a change of a member was not stored");
            }
        }
        AccountAnswer::Given(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
    const OTHER: InstallationId = InstallationId(uuid::Uuid::from_u128(2));

    #[test]
    fn one_question_at_a_time_for_a_workspace() {
        let liveness = Liveness::new(Duration::from_secs(7200));
        let (now, rest) = (Instant::now(), Duration::from_secs(3));
        assert!(liveness.begin(ONE, now) && liveness.begin(OTHER, now));
        assert!(!liveness.begin(ONE, now));
        liveness.end(ONE, now, Duration::ZERO);
        assert!(liveness.begin(ONE, now));
        liveness.end(ONE, now, rest);
        assert!(!liveness.begin(ONE, now));
        assert!(liveness.begin(ONE, now + rest));
    }

    #[test]
    fn a_question_that_never_ended_does_not_stop_others_for_ever() {
        let liveness = Liveness::new(Duration::from_secs(7200));
        let now = Instant::now();
        assert!(liveness.begin(ONE, now));
        assert!(liveness.begin(ONE, now + ONE_QUESTION));
    }
}
