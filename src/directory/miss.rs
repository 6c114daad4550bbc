//! A person missing from the member list: Slack is asked once, by e-mail address, and its answer
//! becomes a change for all replicas.
//!
//! There is one question for each address at a time, and none for [`Config::absent_seconds`] after
//! an answer, so that a person who is not in Slack costs one call for any number of messages.
//!
//! [`Config::absent_seconds`]: super::Config::absent_seconds

use std::sync::Arc;
use std::time::Duration;

use super::{Directory, Error, View};
use crate::domain::identity::person::Person;
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::reason::NoMatch;
use crate::slack;
use crate::store::{Installation, InstallationState};
use crate::workspace;

/// Answers remembered.
pub(super) const ANSWERS: u64 = 100_000;
/// The wait before a question that Slack could not answer is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// An address that was asked about.
pub(super) type Question = (InstallationId, String);

/// The outcome of a miss.
pub enum Missed {
    /// Slack was asked just now; the list including its answer.
    Asked(View),
    /// The list stands: there is no address to ask about, Slack was asked a moment ago, or Slack
    /// refuses to answer.
    Stands,
    /// Not now: ask again after this time.
    Later { after: Duration },
}

impl Directory {
    /// Whether Slack may know a person missing from the list: for callers that must not ask Slack
    /// and leave that to [`Directory::look_up`].
    #[must_use]
    pub fn may_know(
        &self,
        installation: &Installation,
        person: &Person,
        values: &Values,
        reason: NoMatch,
    ) -> bool {
        let missing = matches!(reason, NoMatch::NoMember | NoMatch::FieldsNotFetched);
        let alive = installation.state == InstallationState::Active;
        match hint(values, person).filter(|_| missing && alive) {
            Some(email) => !self.inner.asked.contains_key(&(installation.id, email)),
            None => false,
        }
    }

    /// Asks Slack about a person missing from the list. Does not wait for the budget; only for the
    /// budget of the found member's custom fields, for a moment, since a pass may be using it.
    pub async fn look_up(
        &self,
        installation: &Installation,
        mapping: &Mapping,
        person: &Person,
        values: &Values,
        reason: NoMatch,
    ) -> Result<Missed, Error> {
        if !self.may_know(installation, person, values, reason) {
            return Ok(Missed::Stands);
        }
        let Some(email) = hint(values, person) else { return Ok(Missed::Stands) };
        let id = installation.id;
        let ask = async {
            let found = self.inner.workspaces.lookup_by_email(id, &email, Duration::ZERO).await?;
            self.learn_with_fields(id, mapping, found.as_slice()).await
        };
        let asked = self.inner.asked.try_get_with((id, email.clone()), ask).await;
        match asked {
            Ok(()) => Ok(Missed::Asked(View::of(&*self.current(id, mapping).await?))),
            Err(error) => self.put_off(id, error),
        }
    }

    fn put_off(&self, id: InstallationId, error: Arc<Error>) -> Result<Missed, Error> {
        use slack::Error as Slack;
        match &*error {
            Error::Workspace(
                workspace::Error::Busy { after }
                | workspace::Error::Renewing { after }
                | workspace::Error::Migrating { after }
                | workspace::Error::Slack(Slack::Throttled { after }),
            ) => Ok(Missed::Later { after: *after }),
            Error::Workspace(workspace::Error::Slack(
                Slack::Transient { .. } | Slack::Unknown { .. },
            )) => Ok(Missed::Later { after: self.scaled(AGAIN) }),
            Error::Workspace(
                workspace::Error::Slack(_)
                | workspace::Error::Reconnect { .. }
                | workspace::Error::Unknown
                | workspace::Error::Late,
            ) => {
                tracing::warn!(workspace = %id, %error, "Slack refused a question about a member");
                Ok(Missed::Stands)
            }
            _ => Err(Error::Shared(error)),
        }
    }
}

/// The address to ask Slack about: the matched value if it is an address, otherwise the person's
/// e-mail address, since the member found by it is evaluated with the mapping like any other.
pub(super) fn hint(values: &Values, person: &Person) -> Option<String> {
    let mut keys = values.keys().iter();
    keys.find(|key| key.is_address())
        .map(|key| key.as_str().to_owned())
        .or_else(|| person.email.as_ref().map(|email| email.trim().to_lowercase()))
        .filter(|address| !address.is_empty())
}
