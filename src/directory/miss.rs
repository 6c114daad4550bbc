//! Somebody who is not in the member list: Slack is asked once, by their e-mail address, and what
//! it answers becomes a change for all replicas.
//!
//! One question for each address at a time, and none for [`Config::absent_seconds`] after an
//! answer, so that a person who is not in Slack costs one call however many messages they would
//! get.
//!
//! [`Config::absent_seconds`]: super::Config::absent_seconds

use std::sync::Arc;
use std::time::Duration;

use super::{Directory, Error, View};
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::person::Person;
use crate::domain::reason::NoMatch;
use crate::slack;
use crate::store::{Installation, InstallationState};
use crate::workspace;

/// Answers remembered.
pub(super) const ANSWERS: u64 = 100_000;
/// Before a question is tried again that Slack could not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// An address that was asked about.
pub(super) type Question = (InstallationId, String);

/// What became of a miss.
pub enum Missed {
    /// Slack was asked just now; the list as it is since.
    Asked(View),
    /// There is nobody to ask about, it was asked a moment ago, or Slack refuses to say: the list
    /// stands.
    Stands,
    /// Not now: ask again after this time.
    Later { after: Duration },
}

impl Directory {
    /// Whether Slack may know somebody whom the list does not have: for who must not ask it, and
    /// leaves that to [`Directory::look_up`].
    #[must_use]
    pub fn may_know(
        &self,
        installation: &Installation,
        (person, values): (&Person, &Values),
        reason: NoMatch,
    ) -> bool {
        let missing = matches!(reason, NoMatch::NoMember | NoMatch::FieldsNotFetched);
        let alive = installation.state == InstallationState::Active;
        match hint(values, person).filter(|_| missing && alive) {
            Some(email) => !self.inner.asked.contains_key(&(installation.id, email)),
            None => false,
        }
    }

    /// Asks Slack about somebody whom the list does not have. Does not wait for the budget; only
    /// for that of the custom fields of whom it finds, for a moment, since a pass may be using it.
    pub async fn look_up(
        &self,
        installation: &Installation,
        mapping: &Mapping,
        (person, values): (&Person, &Values),
        reason: NoMatch,
    ) -> Result<Missed, Error> {
        if !self.may_know(installation, (person, values), reason) {
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

/// The address to ask Slack about: the value that is matched, where it is one, else the person's
/// e-mail address, since the member behind it is evaluated with the mapping like any other.
pub(super) fn hint(values: &Values, person: &Person) -> Option<String> {
    let mut keys = values.keys().iter();
    keys.find(|key| key.is_address())
        .map(|key| key.as_str().to_owned())
        .or_else(|| person.email.as_ref().map(|email| email.trim().to_lowercase()))
        .filter(|address| !address.is_empty())
}
