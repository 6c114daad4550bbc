//! Asks Slack about one person, for calls that must not trust the member list in memory (TestSlack,
//! SetPreference). The answer is merged into the list for all replicas.

use std::time::Duration;

use super::miss::hint;
use super::{Directory, Error, View};
use crate::domain::directory::member::Member;
use crate::domain::identity::matching::{self, Match};
use crate::domain::identity::person::Person;
use crate::domain::ids::SlackUserId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::settings::Identity;
use crate::slack::{self, MemberJson};
use crate::store::Installation;
use crate::workspace::{self, INTERACTIVE};

/// How long to wait for the very first reading of a workspace.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look in the meantime.
const LOOK: Duration = Duration::from_millis(500);

impl Directory {
    /// The member list with Slack's present answer about this person: the person is looked up by
    /// e-mail address, and confirmed by id if the list or the stored identity names a member. If
    /// Slack cannot be asked now, the list is returned unchanged. `values` are the values of the
    /// mapping's user attribute for the person.
    pub async fn fresh(
        &self,
        installation: &Installation,
        mapping: &Mapping,
        person: &Person,
        values: &Values,
        stored: Option<&Identity>,
    ) -> Result<View, Error> {
        let view = self.first_reading(installation, mapping).await?;
        let mut answers = Vec::new();
        if let Some(email) = hint(values, person) {
            let (id, workspaces) = (installation.id, &self.inner.workspaces);
            let found = workspaces.lookup_by_email(id, &email, INTERACTIVE).await;
            if found.is_ok() {
                // Notify need not ask the same question a moment later.
                self.inner.asked.insert((id, email), ()).await;
            }
            answers.extend(answer(found)?);
        }
        let matched = matching::resolve(view.snapshot.as_deref(), mapping, values);
        let named = match (&matched, stored) {
            (Match::Unique(member), _) => Some(member.slack_user_id.clone()),
            (_, Some(identity)) => Some(identity.slack_user_id.clone()),
            _ => None,
        };
        if let Some(id) = named.filter(|id| !answers.iter().any(|answer| is_about(answer, id))) {
            answers.extend(answer(self.inner.workspaces.user_info(installation.id, &id).await)?);
        }
        if answers.is_empty() {
            return Ok(view);
        }
        self.learn_with_fields(installation.id, mapping, &answers).await?;
        Ok(View::of(&*self.current(installation.id, mapping).await?))
    }

    /// Waits for the first generation of a workspace that was connected a moment ago.
    async fn first_reading(
        &self,
        installation: &Installation,
        mapping: &Mapping,
    ) -> Result<View, Error> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let published = self.inner.published.notified();
            let view = self.view(installation.id, mapping).await?;
            let now = tokio::time::Instant::now();
            if view.snapshot.is_some() || now >= until {
                return Ok(view);
            }
            // Another replica may be reading it: its generation is noticed only by looking.
            let look = until.min(now + LOOK);
            if tokio::time::timeout_at(look, published).await.is_err() {
                self.inner.pointers.invalidate(&installation.id).await;
            }
        }
    }
}

/// The member that Slack returned; `None` if it returned none, or if the cache has to do because
/// Slack could not be asked.
fn answer(
    found: Result<Option<MemberJson>, workspace::Error>,
) -> Result<Option<MemberJson>, Error> {
    match found {
        Ok(member) => Ok(member),
        Err(workspace::Error::Store(error)) => Err(error.into()),
        Err(error @ workspace::Error::Slack(slack::Error::Rejected { .. })) => {
            tracing::warn!(%error, "Slack refused a question about a member");
            Ok(None)
        }
        Err(error) => {
            tracing::info!(%error, "Slack was not asked about a member; the stored list is used");
            Ok(None)
        }
    }
}

fn is_about(member: &MemberJson, id: &SlackUserId) -> bool {
    Member::from_slice(member.get().as_bytes()).is_ok_and(|member| member.id() == id.as_str())
}
