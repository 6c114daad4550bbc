//! CreateSlackAppManifest: the manifest of a tenant's own Slack app, to be pasted or given to
//! Slack.

use std::time::Duration;

use serde_json::Value;
use tracing::Instrument as _;
use url::Url;

use super::connect::ConnectWish;
use super::slack_app::{NAME, ShownSlackApp, SlackAppAddresses, SlackAppWish};
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::features::Feature;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{check_app_id, check_client_id, check_secret};
use crate::domain::slack_manifest::{self, SlackManifest};
use crate::slack::{self, CreatedSlackApp, ManifestAnswer, ManifestFault};
use crate::workspace;

/// How long one call may take to make or change an app: a few requests to Slack.
const MAKING: Duration = Duration::from_secs(120);

/// A manifest as a call describes it.
#[derive(Debug, Clone)]
pub struct ManifestWish {
    /// Empty: all that are not switched off.
    pub features: Vec<&'static Feature>,
    /// `None`: the deployment's display name.
    pub name: Option<String>,
    /// `None`: Slack is not asked.
    pub ask: Option<ManifestAsk>,
}

/// A question to Slack.
#[derive(Debug, Clone)]
pub struct ManifestAsk {
    pub task: ManifestTask,
    /// An app configuration token.
    pub token: Secret,
}

/// A task of Slack's with a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestTask {
    Validate,
    Create,
    Update,
}

/// A manifest, and Slack's action on it.
#[derive(Debug)]
pub struct MadeManifest {
    /// JSON.
    pub manifest: String,
    pub steps: Vec<String>,
    /// Slack's action as a sentence; empty: none.
    pub done: String,
    /// Why Slack refused the manifest.
    pub faults: Vec<ManifestFault>,
    /// The tenant's own app, if it was created or changed.
    pub app: Option<ShownSlackApp>,
    /// Where an administrator connects, if the app was created.
    pub connect_url: Option<Url>,
}

impl App {
    /// Makes the manifest, and asks Slack if the call says so. Reserves the addresses of the
    /// tenant's own app.
    pub async fn create_slack_app_manifest(
        &self,
        call: &Call,
        wish: ManifestWish,
    ) -> Result<MadeManifest, Error> {
        call.may(&access::CREATE_SLACK_APP_MANIFEST)?;
        let features = self.features_of(&wish.features)?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let path = self.slack_app_path(&call.tenant).await?;
        let addresses = self.slack_app_addresses(&path);
        let name = wish.name.unwrap_or_else(|| self.workspaces.app_name());
        let manifest = SlackManifest {
            name: &name,
            redirect_url: addresses.redirect_url.as_str(),
            events_url: addresses.events_url.as_str(),
            interactions_url: addresses.interactions_url.as_str(),
            features: &features,
        };
        let made = MadeManifest {
            manifest: format!("{:#}", manifest.json()),
            steps: steps(&addresses),
            done: String::new(),
            faults: Vec::new(),
            app: None,
            connect_url: None,
        };
        let Some(ask) = wish.ask else { return Ok(made) };
        let asked = if wish.features.is_empty() { Vec::new() } else { features };
        // In a task of its own: if the caller gave up between Slack's answer and the end of the
        // call, the credentials of a new app would be lost.
        let (app, call) = (self.clone(), call.clone());
        let asking = async move { app.ask_slack(&call, &ask, &asked, made).await };
        let answered = tokio::spawn(asking.in_current_span()).await;
        answered.map_err(|error| Error::Internal(Box::new(error)))?
    }

    /// `features`: those that the link for a new app asks for; empty: all.
    async fn ask_slack(
        &self,
        call: &Call,
        ask: &ManifestAsk,
        features: &[&'static Feature],
        made: MadeManifest,
    ) -> Result<MadeManifest, Error> {
        if ask.task == ManifestTask::Validate {
            return self.validate_manifest(call, &ask.token, made).await;
        }
        // Two calls at once would make two apps in Slack, of which Herald would know one.
        let apps = self.store.slack_apps();
        let Some(until) = apps.begin_making(&call.tenant, MAKING).await? else {
            return Err(Error::Changed(NAME));
        };
        let asked = if ask.task == ManifestTask::Create {
            self.create_slack_app(call, ask, features, made).await
        } else {
            self.update_slack_app(call, &ask.token, made).await
        };
        if let Err(error) = apps.end_making(&call.tenant, until).await {
            tracing::warn!(tenant = %call.tenant, %error, "the next change of the app waits");
        }
        asked
    }

    /// Also says how an update would change the tenant's own app, if it has one.
    async fn validate_manifest(
        &self,
        call: &Call,
        token: &Secret,
        made: MadeManifest,
    ) -> Result<MadeManifest, Error> {
        let valid = understood(self.workspaces.validate_manifest(token, &made.manifest).await)?;
        if let ManifestAnswer::Refused(faults) = valid {
            return Ok(MadeManifest { faults, ..made });
        }
        let mut done = "Slack found no fault in the manifest. Nothing was changed.".to_owned();
        let Some(app) = self.store.slack_apps().get(&call.tenant).await? else {
            return Ok(MadeManifest { done, ..made });
        };
        match self.manifest_changes(token, &app.app_id, &made).await? {
            ManifestAnswer::Refused(faults) => return Ok(MadeManifest { done, faults, ..made }),
            ManifestAnswer::Accepted(changes) if changes.is_empty() => {
                done.push_str(" The app has this manifest already.");
            }
            ManifestAnswer::Accepted(changes) => {
                done = format!("{done} An update would change {}.", changes.join(", "));
            }
        }
        Ok(MadeManifest { done, ..made })
    }

    /// The places in which the manifest differs from the one that an app has.
    async fn manifest_changes(
        &self,
        token: &Secret,
        app_id: &str,
        made: &MadeManifest,
    ) -> Result<ManifestAnswer<Vec<String>>, Error> {
        let wanted: Value = serde_json::from_str(&made.manifest)
            .map_err(|error| Error::Internal(Box::new(error)))?;
        let exported = understood(self.workspaces.export_manifest(token, app_id).await)?;
        Ok(match exported {
            ManifestAnswer::Refused(faults) => ManifestAnswer::Refused(faults),
            ManifestAnswer::Accepted(before) => {
                ManifestAnswer::Accepted(slack_manifest::changes(&before, &wanted))
            }
        })
    }

    /// Creates an app that becomes the tenant's own. A tenant that has one is refused: a repeated
    /// call would create one more each time.
    async fn create_slack_app(
        &self,
        call: &Call,
        ask: &ManifestAsk,
        features: &[&'static Feature],
        made: MadeManifest,
    ) -> Result<MadeManifest, Error> {
        match self.get_slack_app(call).await {
            Err(Error::NotFound(_)) => {}
            Ok(_) => {
                return Err(Error::Precondition {
                    reason: "SLACK_APP_EXISTS",
                    sentence: "the tenant has a Slack app of its own: change it with \
                               MANIFEST_ACTION_UPDATE, or call DeleteSlackApp first",
                });
            }
            Err(error) => return Err(error),
        }
        match understood(self.workspaces.create_slack_app(&ask.token, &made.manifest).await)? {
            ManifestAnswer::Refused(faults) => Ok(MadeManifest { faults, ..made }),
            ManifestAnswer::Accepted(created) => {
                let app = self.keep_created(call, created).await?;
                let done = format!(
                    "Slack created the app {}, and it is now the tenant's own. Slack may still \
                     have to verify the address for events: the last steps say how.",
                    app.app_id
                );
                let connect_url = self.link_after_creation(call, features).await;
                Ok(MadeManifest { done, app: Some(app), connect_url, ..made })
            }
        }
    }

    /// Stores the app that Slack created.
    async fn keep_created(
        &self,
        call: &Call,
        created: CreatedSlackApp,
    ) -> Result<ShownSlackApp, Error> {
        let CreatedSlackApp { app_id, client_id, client_secret, signing_secret } = created;
        let sound = check_app_id(&app_id)
            .and(check_client_id(&client_id))
            .and(check_secret(client_secret.expose()))
            .and(check_secret(signing_secret.expose()));
        if let Err(problem) = sound {
            tracing::error!(tenant = %call.tenant, problem, "Slack's new app cannot be stored");
            return Err(not_stored());
        }
        let wish = SlackAppWish {
            app_id,
            client_id,
            client_secret: Some(client_secret),
            signing_secret: Some(signing_secret),
            keep_previous: Duration::ZERO,
        };
        self.store_slack_app(call, "SetSlackApp", &wish).await.map_err(|error| {
            let (tenant, app) = (&call.tenant, &wish.app_id);
            tracing::error!(%tenant, app, %error, "a new Slack app was not stored");
            not_stored()
        })
    }

    /// A connect link for the new app. The app exists even if this fails, and BeginConnect gives
    /// another link.
    async fn link_after_creation(&self, call: &Call, features: &[&'static Feature]) -> Option<Url> {
        let wish = ConnectWish { features: features.to_vec(), ..ConnectWish::default() };
        match self.begin_connect(call, &wish).await {
            Ok(link) => Some(link.url),
            Err(error) => {
                tracing::warn!(tenant = %call.tenant, %error, "a new app has no connect link yet");
                None
            }
        }
    }

    async fn update_slack_app(
        &self,
        call: &Call,
        token: &Secret,
        made: MadeManifest,
    ) -> Result<MadeManifest, Error> {
        let app = self.get_slack_app(call).await?;
        let valid = understood(self.workspaces.validate_manifest(token, &made.manifest).await)?;
        if let ManifestAnswer::Refused(faults) = valid {
            return Ok(MadeManifest { faults, ..made });
        }
        let changes = match self.manifest_changes(token, &app.app_id, &made).await? {
            ManifestAnswer::Refused(faults) => return Ok(MadeManifest { faults, ..made }),
            ManifestAnswer::Accepted(changes) => changes,
        };
        if changes.is_empty() {
            let done = "The app has this manifest already. Nothing was changed.".to_owned();
            return Ok(MadeManifest { done, app: Some(app), ..made });
        }
        let answer = self.workspaces.update_slack_app(token, &app.app_id, &made.manifest).await;
        let done = match understood(answer)? {
            ManifestAnswer::Refused(faults) => return Ok(MadeManifest { faults, ..made }),
            ManifestAnswer::Accepted(true) => {
                "Slack changed the app and the scopes that it asks for: connect the workspace \
                 again to grant them."
            }
            ManifestAnswer::Accepted(false) => {
                "Slack changed the app. It asks for the same scopes as before."
            }
        };
        let done = format!("{done} Changed: {}.", changes.join(", "));
        Ok(MadeManifest { done, app: Some(app), ..made })
    }
}

/// The steps to paste the manifest, and to finish an app that Slack created from it.
fn steps(addresses: &SlackAppAddresses) -> Vec<String> {
    let mut steps = Vec::new();
    if addresses.redirect_url.scheme() != "https" {
        steps.push(
            "Slack takes https addresses only: have the operator set http.public_url to one, and \
             make the manifest again."
                .to_owned(),
        );
    }
    let paste = [
        "At https://api.slack.com/apps choose Create New App, then From a manifest.",
        "Choose the workspace that is to own the app, paste the manifest as JSON, and choose \
         Create.",
        "On the page Basic Information, copy App ID, Client ID, Client Secret and Signing Secret, \
         and give them to Herald with SetSlackApp.",
        "On the page Event Subscriptions, have Slack verify the Request URL if it is not verified: \
         Herald answers once it has the signing secret.",
        "To connect workspaces other than the one that owns the app, activate public distribution \
         on the page Manage Distribution.",
        "Call BeginConnect, and open its link in the browser of an administrator of the workspace.",
    ];
    steps.extend(paste.map(str::to_owned));
    steps
}

/// Slack's answer; a refusal for another reason than the manifest's faults counts as one.
fn understood<T>(
    answer: Result<ManifestAnswer<T>, slack::Error>,
) -> Result<ManifestAnswer<T>, Error> {
    match answer {
        Ok(answer) => Ok(answer),
        Err(slack::Error::Rejected { code, .. }) => {
            let message = format!("Slack refused: {code}");
            Ok(ManifestAnswer::Refused(vec![ManifestFault { message, pointer: String::new() }]))
        }
        Err(error @ (slack::Error::Unauthorized { .. } | slack::Error::MissingScope { .. })) => {
            let code = error.code();
            let problem = format!(
                "is refused by Slack ({code}): generate another one at https://api.slack.com/apps, \
                 under Your App Configuration Tokens"
            );
            Err(Error::invalid("configuration_token", problem))
        }
        Err(slack::Error::Unknown { .. }) => Err(Error::Precondition {
            reason: "SLACK_OUTCOME_UNKNOWN",
            sentence: "Slack did not say whether it created the app: look at \
                       https://api.slack.com/apps, and delete the new app there before you call \
                       again",
        }),
        Err(error @ (slack::Error::Throttled { .. } | slack::Error::Transient { .. })) => {
            Err(workspace::Error::Slack(error).into())
        }
    }
}

/// The app exists in Slack, but Herald does not have its credentials.
fn not_stored() -> Error {
    Error::Precondition {
        reason: "SLACK_APP_NOT_STORED",
        sentence: "Slack created the app, but its credentials were not stored: delete it at \
                   https://api.slack.com/apps, or give its credentials with SetSlackApp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Vec<String> {
        let url = Url::parse(url).unwrap();
        let (events_url, interactions_url) = (url.clone(), url.clone());
        steps(&SlackAppAddresses { redirect_url: url, events_url, interactions_url })
    }

    #[test]
    fn an_address_that_slack_does_not_take_is_the_first_thing_to_change() {
        assert!(at("http://127.0.0.1:8080/x")[0].contains("http.public_url"));
        assert!(at("https://a.example/x")[0].starts_with("At https://api.slack.com/apps"));
        assert!(at("https://a.example/x").iter().all(|step| !step.contains('\n')));
    }

    #[test]
    fn each_error_of_slack_says_what_the_caller_should_do() {
        let code = || "x".to_owned();
        let of = |error| understood::<()>(Err(error));
        let rejected =
            slack::Error::Rejected { code: code(), class: slack::ErrorClass::Other, detail: None };
        let faults = ManifestFault { message: "Slack refused: x".into(), pointer: String::new() };
        assert_eq!(of(rejected).unwrap(), ManifestAnswer::Refused(vec![faults]));
        let Err(Error::Invalid(bad)) = of(slack::Error::Unauthorized { code: code() }) else {
            panic!("the token is the caller's")
        };
        assert_eq!(bad[0].field, "configuration_token");
        let unknown = of(slack::Error::Unknown { code: code() });
        assert!(matches!(unknown, Err(Error::Precondition { .. })));
        let later = of(slack::Error::Transient { code: code() });
        assert!(matches!(later, Err(Error::Unavailable { .. })));
    }
}
