//! SetSlackApp, GetSlackApp, DeleteSlackApp: a tenant's own Slack app.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use super::changes::ATTEMPTS;
use super::leave::LeaveTerms;
use super::{App, Call, Error, Violation};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::ids::TenantId;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{LiveSecret, PATH_BYTES};
use crate::domain::time::Timestamp;
use crate::store::{self, SlackAppChange, SlackAppDeletion, StoredSlackApp};

/// The addresses to register in Slack for an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackAppAddresses {
    /// Under OAuth & Permissions > Redirect URLs.
    pub redirect_url: Url,
    /// Under Event Subscriptions > Request URL.
    pub events_url: Url,
    /// Under Interactivity & Shortcuts > Request URL.
    pub interactions_url: Url,
}

/// A tenant's own app, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSlackApp {
    pub app_id: String,
    pub client_id: String,
    pub addresses: SlackAppAddresses,
    /// Until when a replaced secret is still accepted; `None`: there is none.
    pub previous_until: Option<Timestamp>,
    pub updated_at: Timestamp,
}

/// An app as a call describes it. Its fields are checked (`domain::slack_app`).
#[derive(Debug, Clone)]
pub struct SlackAppWish {
    pub app_id: String,
    pub client_id: String,
    /// `None`: the stored one stays.
    pub client_secret: Option<Secret>,
    /// `None`: the stored one stays.
    pub signing_secret: Option<Secret>,
    /// How long the secrets that are replaced are still accepted.
    pub keep_previous: Duration,
}

/// The name of the object in refusals.
pub(super) const NAME: &str = "Slack app";

impl App {
    /// Gives the tenant an app of its own, or changes its credentials. A workspace that is
    /// connected by another app stays connected by that one.
    pub async fn set_slack_app(
        &self,
        call: &Call,
        wish: &SlackAppWish,
    ) -> Result<ShownSlackApp, Error> {
        call.may(&access::SET_SLACK_APP)?;
        self.store_slack_app(call, "SetSlackApp", wish).await
    }

    /// The tenant's own app; [`Error::NotFound`] if it uses the deployment's.
    pub async fn get_slack_app(&self, call: &Call) -> Result<ShownSlackApp, Error> {
        call.may(&access::GET_SLACK_APP)?;
        self.own_slack_app(&call.tenant).await
    }

    /// Forgets the tenant's own app. If the tenant is connected by it, that is refused, unless the
    /// call also disconnects.
    pub async fn delete_slack_app(&self, call: &Call, disconnect: bool) -> Result<(), Error> {
        call.may(&access::DELETE_SLACK_APP)?;
        if disconnect {
            self.leave_own_app(call).await?;
        }
        let _turn = self.changes.turn(call.tenant.clone()).await;
        let before = self.store.slack_apps().get(&call.tenant).await?;
        let before = before.ok_or(Error::NotFound(NAME))?;
        let before = Some(described(&before.app_id, &before.client_id));
        let object = "slack_app".to_owned();
        let detail = AuditDetail { object, before, after: None };
        let entry = Entry { detail, ..call.entry("DeleteSlackApp") };
        let store = self.store.noting(&entry).await?;
        match store.slack_apps().delete(&call.tenant).await? {
            SlackAppDeletion::Deleted => Ok(()),
            SlackAppDeletion::Absent => Err(Error::NotFound(NAME)),
            SlackAppDeletion::InUse => Err(Error::Precondition {
                reason: "APP_IN_USE",
                sentence: "the tenant is connected by this app: set `disconnect`, or connect the \
                           workspace by another app first",
            }),
        }
    }

    /// Ends the tenant's connection as Disconnect does by default, if it is one by its own app.
    async fn leave_own_app(&self, call: &Call) -> Result<(), Error> {
        let installation = self.store.tenancy().installation_of(&call.tenant).await?;
        let path = self.store.slack_apps().path(&call.tenant).await?;
        let by_own = installation.is_some_and(|it| path.as_ref() == Some(&it.app_path));
        if by_own {
            self.disconnect(call, LeaveTerms::default()).await?;
        }
        Ok(())
    }

    /// Stores an app as the tenant's own, for a call that may do it, and notes `action` in the
    /// audit trail.
    pub(super) async fn store_slack_app(
        &self,
        call: &Call,
        action: &str,
        wish: &SlackAppWish,
    ) -> Result<ShownSlackApp, Error> {
        let tenant = &call.tenant;
        let _turn = self.changes.turn(tenant.clone()).await;
        for _ in 0..ATTEMPTS {
            let before = self.store.slack_apps().known(tenant, &wish.app_id).await?;
            let secrets = wish.secrets(before.as_ref(), self.store.now().await?)?;
            self.store.tenancy().ensure_tenant(tenant).await?;
            self.slack_app_path(tenant).await?;
            let entry = changed(call, action, wish, before.as_ref());
            let store = self.store.noting(&entry).await?;
            let change = SlackAppChange {
                app_id: &wish.app_id,
                client_id: &wish.client_id,
                client_secret: &secrets.client,
                signing_secret: &secrets.signing,
                before: before.map_or(0, |before| before.version),
            };
            match store.slack_apps().set(tenant, &change).await {
                Ok(()) => return self.own_slack_app(tenant).await,
                Err(store::Error::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Changed(NAME))
    }

    /// The path of a tenant's own apps, made if it has none: a manifest needs the addresses before
    /// there is an app. The tenant must exist.
    pub(super) async fn slack_app_path(&self, tenant: &TenantId) -> Result<String, Error> {
        if let Some(path) = self.store.slack_apps().path(tenant).await? {
            return Ok(path);
        }
        let path = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; PATH_BYTES]>());
        Ok(self.store.slack_apps().reserve_path(tenant, &path).await?)
    }

    /// The addresses of the apps of a path; empty: of the deployment's app.
    pub(super) fn slack_app_addresses(&self, path: &str) -> SlackAppAddresses {
        if path.is_empty() {
            return SlackAppAddresses {
                redirect_url: self.config.redirect_url.clone(),
                events_url: self.config.events_url.clone(),
                interactions_url: self.config.interactions_url.clone(),
            };
        }
        let below = |rest: &str| {
            let mut url = self.config.apps_url.clone();
            let path = format!("{}/{path}/{rest}", url.path());
            url.set_path(&path);
            url
        };
        SlackAppAddresses {
            redirect_url: below("oauth/callback"),
            events_url: below("events"),
            interactions_url: below("interactions"),
        }
    }

    async fn own_slack_app(&self, tenant: &TenantId) -> Result<ShownSlackApp, Error> {
        let stored = self.store.slack_apps().get(tenant).await?.ok_or(Error::NotFound(NAME))?;
        let ends = [&stored.client_secret, &stored.signing_secret];
        let ends = ends.into_iter().filter_map(|secret| secret.previous.as_ref());
        Ok(ShownSlackApp {
            addresses: self.slack_app_addresses(&stored.path),
            previous_until: ends.map(|previous| previous.until).max(),
            app_id: stored.app_id,
            client_id: stored.client_id,
            updated_at: stored.updated_at,
        })
    }
}

/// The secrets of an app after a call.
struct AppSecrets {
    client: LiveSecret,
    signing: LiveSecret,
}

impl SlackAppWish {
    /// The secrets after this call; both must be given for an app that is not stored.
    fn secrets(
        &self,
        before: Option<&StoredSlackApp>,
        now: Timestamp,
    ) -> Result<AppSecrets, Error> {
        let mut missing = Vec::new();
        let mut after = |field: &str, stored: Option<&LiveSecret>, given: Option<&Secret>| match (
            stored.cloned(),
            given.cloned(),
        ) {
            (Some(stored), Some(given)) => Some(stored.replaced(given, now, self.keep_previous)),
            (Some(stored), None) => Some(stored),
            (None, Some(given)) => Some(LiveSecret::first(given)),
            (None, None) => {
                let problem = "must be given: none is stored for this app_id";
                missing.push(Violation::new(field, problem));
                None
            }
        };
        let stored = before.map(|before| &before.client_secret);
        let client = after("client_secret", stored, self.client_secret.as_ref());
        let stored = before.map(|before| &before.signing_secret);
        let signing = after("signing_secret", stored, self.signing_secret.as_ref());
        let secrets = client.zip(signing).map(|(client, signing)| AppSecrets { client, signing });
        secrets.ok_or(Error::Invalid(missing))
    }
}

/// The audit entry: which app, and whether its secrets were replaced.
fn changed(
    call: &Call,
    action: &str,
    wish: &SlackAppWish,
    before: Option<&StoredSlackApp>,
) -> Entry {
    let differs = |stored: Option<&LiveSecret>, given: Option<&Secret>| {
        given.is_some_and(|given| stored.is_none_or(|stored| stored.current != *given))
    };
    let client = before.map(|before| &before.client_secret);
    let signing = before.map(|before| &before.signing_secret);
    let after = json!({
        "app_id": wish.app_id,
        "client_id": wish.client_id,
        "client_secret_replaced": differs(client, wish.client_secret.as_ref()),
        "signing_secret_replaced": differs(signing, wish.signing_secret.as_ref()),
        "keep_previous_seconds": wish.keep_previous.as_secs(),
    });
    let before = before.map(|before| described(&before.app_id, &before.client_id));
    let object = "slack_app".to_owned();
    let detail = AuditDetail { object, before, after: Some(after) };
    Entry { detail, ..call.entry(action) }
}

fn described(app_id: &str, client_id: &str) -> Value {
    json!({ "app_id": app_id, "client_id": client_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn wish(client: Option<&str>, signing: Option<&str>) -> SlackAppWish {
        SlackAppWish {
            app_id: "A1".to_owned(),
            client_id: "1.2".to_owned(),
            client_secret: client.map(Secret::new),
            signing_secret: signing.map(Secret::new),
            keep_previous: DAY,
        }
    }

    fn stored(client: LiveSecret, signing: LiveSecret) -> StoredSlackApp {
        StoredSlackApp {
            tenant: TenantId::parse("acme").unwrap(),
            path: String::new(),
            app_id: "A1".to_owned(),
            client_id: "1.2".to_owned(),
            client_secret: client,
            signing_secret: signing,
            updated_at: NOW,
            version: 1,
        }
    }

    fn first(text: &str) -> LiveSecret {
        LiveSecret::first(Secret::new(text))
    }

    #[test]
    fn a_new_app_needs_both_secrets() {
        let named = |wish: SlackAppWish| match wish.secrets(None, NOW).map(drop) {
            Err(Error::Invalid(bad)) => {
                bad.into_iter().map(|bad| bad.field).collect::<Vec<_>>().join(" ")
            }
            other => panic!("not refused: {other:?}"),
        };
        assert_eq!(named(wish(None, None)), "client_secret signing_secret");
        assert_eq!(named(wish(Some("c"), None)), "signing_secret");
        assert!(wish(Some("c"), Some("s")).secrets(None, NOW).is_ok());
    }

    #[test]
    fn a_secret_that_is_not_given_stays_with_its_previous_one() {
        let before = stored(first("c"), first("old").replaced(Secret::new("s"), NOW, DAY));
        let after = wish(Some("c2"), None).secrets(Some(&before), NOW).unwrap();
        assert_eq!(after.signing, before.signing_secret);
        assert_eq!(after.client, first("c").replaced(Secret::new("c2"), NOW, DAY));
    }
}
