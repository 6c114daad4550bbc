//! Errors in answering a caller, grouped by the reaction that the caller should have.

use std::time::Duration;

use crate::domain::ids::ApiKeyId;
use crate::domain::limits;
use crate::{directory, slack, store, workspace};

/// One bad field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path in the request, such as `recipients[3].person.email`.
    pub field: String,
    /// A sentence about it.
    pub problem: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

/// Why a call failed. `reason` codes are stable: they are part of the API.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Correct the request; every bad field is named.
    #[error("the request has {} bad field(s)", .0.len())]
    Invalid(Vec<Violation>),
    /// This caller is not permitted.
    #[error("{sentence}")]
    Denied { reason: &'static str, sentence: &'static str },
    /// The tenant has no such object.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The request id was used for another payload: use a new one.
    #[error("this request_id was used before with another payload")]
    RequestIdReused,
    /// It was changed in the meantime: read again, then write.
    #[error("the {0} changed in the meantime; read it again")]
    Changed(&'static str),
    /// Something must be configured first.
    #[error("{sentence}")]
    Precondition { reason: &'static str, sentence: &'static str },
    /// The workspace was connected without scopes that a feature needs: connect it again by this
    /// link.
    #[error(
        "the Slack workspace was connected without the scopes {}, which the feature {feature} \
         needs: open connect_url to grant them",
        .scopes.join(", ")
    )]
    MissingScopes { feature: &'static str, scopes: Vec<&'static str>, connect_url: String },
    /// A message cannot be delivered to a person.
    #[error("{sentence}")]
    NotReached { reason: &'static str, sentence: String },
    /// The limit of valid API keys is reached: the caller's, or, if no key is named, the tenant's.
    #[error("{}", key_limit(.0))]
    KeyLimit(Vec<ApiKeyId>),
    /// A position that is not, or no longer, in the sequence: resume from the one named.
    #[error("{sentence}")]
    OutOfRange { reason: &'static str, sentence: &'static str, detail: (&'static str, i64) },
    /// Unavailable: try again after the given time.
    #[error("{what} is unavailable for the moment")]
    Unavailable { what: &'static str, retry_after: Duration },
    /// A limit is reached; `limit` names its setting. Try again after the given time.
    #[error("{sentence}")]
    Exhausted {
        reason: &'static str,
        limit: &'static str,
        sentence: &'static str,
        retry_after: Duration,
    },
    /// A defect or a broken installation; logged with its cause, which callers do not see.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    #[must_use]
    pub fn denied(reason: &'static str, sentence: &'static str) -> Self {
        Self::Denied { reason, sentence }
    }

    /// Whether the same call could have been accepted at another time, so that it may repeat an
    /// accepted one. `false` if the database did not answer: it could not say. An event type or a
    /// template that this release cannot read may have been used at a replica that can.
    pub(super) fn is_of_its_time(&self) -> bool {
        match self {
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Changed(_)
            | Self::Precondition { .. }
            | Self::MissingScopes { .. }
            | Self::NotReached { .. }
            | Self::KeyLimit(_)
            | Self::OutOfRange { .. } => true,
            Self::Exhausted { reason, .. } => *reason != OVERLOADED,
            Self::Unavailable { what, .. } => [NEWER_EVENT_TYPE, NEWER_TEMPLATE].contains(what),
            Self::Denied { .. } | Self::RequestIdReused | Self::Internal(_) => false,
        }
    }

    /// Only a newer release can read this event type: another replica may be able to.
    pub(super) fn newer_event_type() -> Self {
        Self::Unavailable { what: NEWER_EVENT_TYPE, retry_after: NEWER_RETRY }
    }

    /// Only a newer release can read this template: another replica may be able to.
    pub(super) fn newer_template() -> Self {
        Self::Unavailable { what: NEWER_TEMPLATE, retry_after: NEWER_RETRY }
    }

    /// The tenant is being deleted, or was deleted lately.
    #[must_use]
    pub fn tenant_deleted() -> Self {
        Self::Precondition {
            reason: "TENANT_DELETED",
            sentence: "the tenant is being deleted, or was deleted less than two hours ago: use \
                       another tenant_id",
        }
    }

    #[must_use]
    pub fn invalid(field: impl Into<String>, problem: impl ToString) -> Self {
        Self::Invalid(vec![Violation::new(field, problem)])
    }
}

fn key_limit(keys: &[ApiKeyId]) -> String {
    if keys.is_empty() {
        let most = limits::API_KEYS_OF_TENANT;
        return format!(
            "{most} API keys of the tenant (or of no tenant) are already active: revoke one"
        );
    }
    let ids: Vec<String> = keys.iter().map(ToString::to_string).collect();
    format!("this caller has two active API keys: revoke one of {}", ids.join(" and "))
}

/// The database has more work than it can do.
const OVERLOADED: &str = "OVERLOADED";

/// How long a caller should wait when the database is unavailable.
const DATABASE_RETRY: Duration = Duration::from_secs(1);

/// An event type whose definition only a newer release can read.
const NEWER_EVENT_TYPE: &str = "an event type of a newer release";

/// The work left after DeletePerson, RenamePerson, MergePeople or Disconnect ended, changed or
/// erased as many messages as one call does.
const THE_REST: &str = "the rest of the work, which a repeated call continues,";

/// A template that only a newer release can read.
const NEWER_TEMPLATE: &str = "a template of a newer release";

/// How long a caller should wait before it tries another replica.
const NEWER_RETRY: Duration = Duration::from_secs(1);

/// How long a caller should wait when Slack does not answer.
const SLACK_RETRY: Duration = Duration::from_secs(5);

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(_) => {
                tracing::warn!(%error, "the database is unavailable");
                Self::Unavailable { what: "the database", retry_after: DATABASE_RETRY }
            }
            store::Error::Busy => {
                tracing::warn!(%error, "a call was refused");
                Self::Exhausted {
                    reason: OVERLOADED,
                    limit: "store.max_connections",
                    sentence: "the database is busy with other calls; try again",
                    retry_after: DATABASE_RETRY,
                }
            }
            store::Error::Full => {
                tracing::error!(%error, "the database has no space left");
                Self::Unavailable { what: "the database", retry_after: 30 * DATABASE_RETRY }
            }
            store::Error::KeyService(_) => {
                tracing::error!(%error, "data keys cannot be decrypted");
                Self::Unavailable { what: "the key service", retry_after: 5 * DATABASE_RETRY }
            }
            store::Error::TenantDeleted => Self::tenant_deleted(),
            store::Error::Unfinished(_) => {
                tracing::info!(%error, "a call did a part of its work");
                Self::Unavailable { what: THE_REST, retry_after: DATABASE_RETRY }
            }
            // The store has already tried again; the caller may have more luck later.
            store::Error::Contended(_) | store::Error::Locked(_) => {
                tracing::warn!(%error, "the database is busy: transactions wait for each other");
                Self::Unavailable { what: "the database", retry_after: DATABASE_RETRY }
            }
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<workspace::Error> for Error {
    fn from(error: workspace::Error) -> Self {
        match error {
            workspace::Error::Store(error) => error.into(),
            workspace::Error::Busy { after } => {
                Self::Unavailable { what: "Slack's rate limit", retry_after: after }
            }
            workspace::Error::Renewing { after } => {
                Self::Unavailable { what: "the token of the workspace", retry_after: after }
            }
            workspace::Error::Migrating { after } => {
                let what = "the workspace, which moves into an organization,";
                Self::Unavailable { what, retry_after: after }
            }
            workspace::Error::Reconnect { .. } => Self::Precondition {
                reason: "RECONNECT_REQUIRED",
                sentence: "the Slack workspace must be connected again first",
            },
            workspace::Error::Slack(slack::Error::Throttled { after }) => {
                Self::Unavailable { what: "Slack", retry_after: after }
            }
            workspace::Error::Slack(
                slack::Error::Transient { .. } | slack::Error::Unknown { .. },
            ) => Self::Unavailable { what: "Slack", retry_after: SLACK_RETRY },
            workspace::Error::Slack(
                slack::Error::MissingScope { .. } | slack::Error::Unauthorized { .. },
            ) => Self::Precondition {
                reason: "RECONNECT_REQUIRED",
                sentence: "the Slack workspace must be connected again, to grant missing scopes",
            },
            workspace::Error::Slack(error @ slack::Error::Rejected { .. }) => {
                tracing::warn!(%error, "Slack refused a request that a call depends on");
                Self::Precondition {
                    reason: "SLACK_REFUSED",
                    sentence: "Slack refused what this call needs; the service's log has its code",
                }
            }
            other => Self::Internal(Box::new(other)),
        }
    }
}

impl From<directory::Error> for Error {
    fn from(error: directory::Error) -> Self {
        match error {
            directory::Error::Store(error) => error.into(),
            directory::Error::Workspace(error) => error.into(),
            directory::Error::Moving | directory::Error::Stopped => {
                tracing::warn!(%error, "the member list is unavailable");
                Self::Unavailable { what: "the member list", retry_after: DATABASE_RETRY }
            }
            // The meaning is the same for each caller that waited.
            directory::Error::Shared(shared) => match shared.as_ref() {
                directory::Error::Store(error) => error.clone().into(),
                directory::Error::Shared(deeper) => directory::Error::Shared(deeper.clone()).into(),
                directory::Error::Moving => directory::Error::Moving.into(),
                directory::Error::Stopped => directory::Error::Stopped.into(),
                directory::Error::Workspace(_) | directory::Error::Mapping(_) => {
                    Self::Internal(Box::new(directory::Error::Shared(shared)))
                }
            },
            directory::Error::Mapping(error) => {
                tracing::error!(%error, "a stored mapping is refused by this version");
                Self::Precondition {
                    reason: "MAPPING_INVALID",
                    sentence: "the stored mapping is no longer valid: set both attributes again",
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_absent_database_is_told_as_such_whoever_asked_it() {
        let away = || directory::Error::Store(store::Error::Unavailable("away".into()));
        let shared = |error| directory::Error::Shared(Arc::new(error));
        for error in [away(), shared(away()), shared(shared(away()))] {
            let error = Error::from(error);
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        }
    }
}
