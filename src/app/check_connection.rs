//! CheckConnection: checks a tenant's connection part by part, and may send a test message. Also
//! the repetitions of Slack's events, which a check reports.

use std::time::Duration;

use super::test_slack::{TestDelivery, Tested};
use super::{App, Call, Error, Subject};
use crate::domain::access;
use crate::domain::checkup::{self, CheckupFacts, Inquiry, PartCheck, TestFacts};
use crate::domain::delivery::State;
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;
use crate::store::CheckRun;

/// When a connection that was never checked is checked next without a caller.
const NEXT: Duration = Duration::from_secs(3600);

/// The rows of a check.
pub struct CheckedConnection {
    pub rows: Vec<PartCheck>,
    /// When it ended.
    pub at: Timestamp,
}

impl App {
    /// Checks the connection. Also sends a test message to the person `test`, which must be known,
    /// and waits up to `patience` for its outcome.
    pub async fn check_connection(
        &self,
        call: &Call,
        test: Option<UserId>,
        patience: Duration,
    ) -> Result<CheckedConnection, Error> {
        call.may(&access::CHECK_CONNECTION)?;
        let started = tokio::time::Instant::now();
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        if let Some(user) = &test
            && self.store.people().get(&call.tenant, user).await?.is_none()
        {
            return Err(Error::NotFound("person"));
        }
        let mut facts = Box::pin(self.workspaces.examine(&call.tenant)).await?;
        if let Some(user) = test {
            let left = patience.saturating_sub(started.elapsed());
            facts.test = self.test_message_of(call, user, &facts, left).await?;
        }
        let rows = checkup::rows(&facts);
        if facts.connected.is_some() {
            let next = NEXT.mul_f64(self.workspaces.time_scale());
            let run = CheckRun { began: facts.now, rows: &rows, next };
            self.store.checkups().save(&call.tenant, &run).await?;
        }
        Ok(CheckedConnection { rows, at: self.store.now().await? })
    }

    async fn test_message_of(
        &self,
        call: &Call,
        user: UserId,
        facts: &CheckupFacts,
        patience: Duration,
    ) -> Result<TestFacts, Error> {
        let token = facts.connected.as_ref().map(|connected| &connected.token);
        if !matches!(token, Some(Inquiry::Answered(_))) {
            return Ok(TestFacts::NotTried);
        }
        let tested = Box::pin(self.test_slack(call, Subject::Known(user), patience)).await?;
        Ok(outcome(tested))
    }

    /// Notes that Slack sent an event to the address of this app again, with this code of Slack's.
    pub async fn note_retry(&self, app_path: &str, reason: &str) -> Result<(), Error> {
        Ok(self.store.checkups().note_retry(app_path, reason).await?)
    }
}

fn outcome(tested: Tested) -> TestFacts {
    let sent = match tested.outcome {
        Ok(sent) => sent,
        Err(unmatched) => return TestFacts::NotSent(unmatched.reason.sentence().to_owned()),
    };
    let record = match sent.delivery {
        TestDelivery::Suppressed(by) => return TestFacts::NotSent(by.sentence().to_owned()),
        TestDelivery::Queued { record, .. } => record,
    };
    match record.state {
        State::Sent => TestFacts::Sent,
        state if state.is_terminal() => {
            let ended = || TestFacts::NotSent(format!("it ended as {}.", state.code()));
            record.code.map_or_else(ended, TestFacts::Refused)
        }
        _ => TestFacts::Waits,
    }
}
