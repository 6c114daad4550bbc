//! The Slack app of a tenant: its own, or the deployment's. Each has its own credentials, secrets
//! and addresses, and a request at the address of one never counts for another.

use super::{Error, Workspaces};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::slack_app::{AppCredentials, SigningSecrets, is_path};
use crate::slack::signature::{self, SignatureError};
use crate::store::{self, StoredSlackApp};

/// Names a Slack app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppRef {
    /// The path of a tenant's apps; empty: the deployment's app.
    pub path: String,
    /// Slack's id of the app; `None`: the deployment's, whose id the settings do not have.
    pub app_id: Option<String>,
}

impl AppRef {
    /// The app that tenants share.
    #[must_use]
    pub fn of_deployment() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn is_of_deployment(&self) -> bool {
        self.path.is_empty()
    }
}

/// A request that Slack signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Its timestamp in Unix seconds, which must still be compared with the current time.
    pub at: i64,
    /// The app whose secret signed it.
    pub app: AppRef,
}

/// The judgement on a request's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authenticity {
    OfSlack(Signed),
    Refused(SignatureError),
}

impl Workspaces {
    /// The app that new links of a tenant use.
    pub async fn app_of_tenant(&self, tenant: &TenantId) -> Result<AppRef, Error> {
        let own = self.store.slack_apps().get(tenant).await?;
        Ok(own.map_or_else(AppRef::of_deployment, |own| AppRef {
            path: own.path,
            app_id: Some(own.app_id),
        }))
    }

    /// The app in use at a path; `None`: there is none.
    pub async fn app_at(&self, path: &str) -> Result<Option<AppRef>, Error> {
        if path.is_empty() {
            return Ok(Some(AppRef::of_deployment()));
        }
        if !is_path(path) {
            return Ok(None);
        }
        let id = self.store.slack_apps().id_at(path).await?;
        Ok(id.map(|id| AppRef { path: path.to_owned(), app_id: Some(id) }))
    }

    /// The credentials of an app; `None`: they are not known, or no longer.
    pub async fn credentials(&self, app: &AppRef) -> Result<Option<AppCredentials>, store::Error> {
        if app.is_of_deployment() {
            return Ok(self.config.credentials(self.exchanging().await?));
        }
        let known = self.store.slack_apps().by_path(&app.path).await?;
        let known = known.into_iter().find(|known| app.app_id.as_ref() == Some(&known.app_id));
        Ok(known.map(credentials))
    }

    /// The credentials of the app by which a workspace was connected. If they are not known, the
    /// workspace must be connected by another app.
    pub async fn credentials_of(&self, id: InstallationId) -> Result<AppCredentials, Error> {
        let installation = self.installation(id).await?.ok_or(Error::Unknown)?;
        let app = AppRef { path: installation.app_path, app_id: Some(installation.app_id) };
        let credentials = self.credentials(&app).await?;
        credentials.ok_or_else(|| Error::Reconnect { code: "app_not_configured".to_owned() })
    }

    /// Whether the previous secrets of the deployment's app are still accepted. The database is
    /// asked for the time only if there is an end.
    async fn exchanging(&self) -> Result<bool, store::Error> {
        match self.config.previous_until {
            Some(until) => Ok(self.store.now().await? < until),
            None => Ok(false),
        }
    }

    /// Judges whether a request which arrived at the path of `app` is Slack's: signed with a secret
    /// of an app at this path.
    pub async fn signed(
        &self,
        app: &AppRef,
        timestamp: &str,
        body: &[u8],
        signature: &str,
    ) -> Result<Authenticity, Error> {
        let mut refused = SignatureError::NoSecret;
        for (app, secrets) in self.signing_secrets(app).await? {
            for secret in std::iter::once(&secrets.current).chain(&secrets.previous) {
                match signature::authentic(secret, timestamp, body, signature) {
                    Ok(at) => return Ok(Authenticity::OfSlack(Signed { at, app })),
                    Err(error) => refused = error,
                }
            }
        }
        Ok(Authenticity::Refused(refused))
    }

    /// The secrets of the apps whose requests arrive at a path: the one in use, and those before it
    /// by which the tenant is still connected.
    async fn signing_secrets(&self, app: &AppRef) -> Result<Vec<(AppRef, SigningSecrets)>, Error> {
        if app.is_of_deployment() {
            let secrets = self.config.signing_secrets(self.exchanging().await?);
            return Ok(vec![(app.clone(), secrets)]);
        }
        // Anyone can make up an address: only one of the right form is looked up.
        if !is_path(&app.path) {
            return Ok(Vec::new());
        }
        let known = self.store.slack_apps().by_path(&app.path).await?;
        Ok(known
            .into_iter()
            .map(|known| {
                let secrets = known.signing_secret;
                let previous = secrets.before().cloned();
                let app = AppRef { path: known.path, app_id: Some(known.app_id) };
                (app, SigningSecrets { current: secrets.current, previous })
            })
            .collect())
    }
}

fn credentials(app: StoredSlackApp) -> AppCredentials {
    let previous_client_secret = app.client_secret.before().cloned();
    AppCredentials {
        client_id: app.client_id,
        client_secret: app.client_secret.current,
        previous_client_secret,
    }
}
