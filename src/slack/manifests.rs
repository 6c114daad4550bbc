//! Apps from manifests (apps.manifest.validate, apps.manifest.create, apps.manifest.update,
//! apps.manifest.export). The token is an app configuration token, which belongs to a person and is
//! none of a workspace's.

use serde::Deserialize;
use serde_json::Value;

use super::answer::Effect;
use super::blocks::cut;
use super::client::{Auth, Body, Client, MethodCall};
use super::{Error, wire};
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;

/// A fault that Slack found in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFault {
    /// Slack's sentence.
    pub message: String,
    /// A JSON pointer into the manifest, such as `/oauth_config/redirect_urls/0`; may be empty.
    pub pointer: String,
}

/// Slack's answer about a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestAnswer<T> {
    Accepted(T),
    /// At least one fault. Nothing was changed.
    Refused(Vec<ManifestFault>),
}

/// An app that Slack created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlackApp {
    pub app_id: String,
    pub client_id: String,
    pub client_secret: Secret,
    pub signing_secret: Secret,
}

/// Most faults that are kept of one answer.
const FAULTS: usize = 50;

#[derive(Deserialize)]
struct WireManifest {
    ok: bool,
    error: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    errors: Option<Vec<WireFault>>,
    #[serde(default, deserialize_with = "wire::lenient")]
    app_id: Option<String>,
    credentials: Option<WireCredentials>,
    #[serde(default, deserialize_with = "wire::lenient")]
    permissions_updated: Option<bool>,
    manifest: Option<Value>,
}

#[derive(Deserialize)]
struct WireFault {
    #[serde(default, deserialize_with = "wire::lenient")]
    message: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    pointer: Option<String>,
}

#[derive(Deserialize)]
struct WireCredentials {
    client_id: String,
    client_secret: Secret,
    signing_secret: Secret,
}

impl Client {
    /// Whether Slack would accept the manifest.
    pub async fn apps_manifest_validate(
        &self,
        token: &Secret,
        manifest: &str,
    ) -> Result<ManifestAnswer<()>, Error> {
        let fields = vec![("manifest", manifest.to_owned())];
        let method = Method::AppsManifestValidate;
        let answer = self.manifest(method, Effect::Repeatable, token, fields).await?;
        // The faults may also come with an answer that says ok.
        if answer.ok && answer.errors.as_ref().is_none_or(Vec::is_empty) {
            return Ok(ManifestAnswer::Accepted(()));
        }
        Ok(ManifestAnswer::Refused(answer.faults()))
    }

    /// Creates an app. After [`Error::Unknown`] it may exist.
    pub async fn apps_manifest_create(
        &self,
        token: &Secret,
        manifest: &str,
    ) -> Result<ManifestAnswer<CreatedSlackApp>, Error> {
        let fields = vec![("manifest", manifest.to_owned())];
        let answer = self.manifest(Method::AppsManifestCreate, Effect::Once, token, fields).await?;
        if !answer.ok {
            return Ok(ManifestAnswer::Refused(answer.faults()));
        }
        let (Some(app_id), Some(credentials)) = (answer.app_id, answer.credentials) else {
            return Err(Effect::Once.ambiguous("unreadable_answer"));
        };
        let WireCredentials { client_id, client_secret, signing_secret } = credentials;
        let app = CreatedSlackApp { app_id, client_id, client_secret, signing_secret };
        Ok(ManifestAnswer::Accepted(app))
    }

    /// Changes an app to its new manifest; accepted with whether its permissions changed.
    pub async fn apps_manifest_update(
        &self,
        token: &Secret,
        app_id: &str,
        manifest: &str,
    ) -> Result<ManifestAnswer<bool>, Error> {
        let fields = vec![("app_id", app_id.to_owned()), ("manifest", manifest.to_owned())];
        let method = Method::AppsManifestUpdate;
        let answer = self.manifest(method, Effect::Repeatable, token, fields).await?;
        Ok(if answer.ok {
            ManifestAnswer::Accepted(answer.permissions_updated.unwrap_or(false))
        } else {
            ManifestAnswer::Refused(answer.faults())
        })
    }

    /// The manifest that an app has now.
    pub async fn apps_manifest_export(
        &self,
        token: &Secret,
        app_id: &str,
    ) -> Result<ManifestAnswer<Value>, Error> {
        let fields = vec![("app_id", app_id.to_owned())];
        let method = Method::AppsManifestExport;
        let answer = self.manifest(method, Effect::Repeatable, token, fields).await?;
        if !answer.ok {
            return Ok(ManifestAnswer::Refused(answer.faults()));
        }
        let manifest = answer.manifest.filter(Value::is_object);
        let unreadable = || Effect::Repeatable.ambiguous("unreadable_answer");
        manifest.map(ManifestAnswer::Accepted).ok_or_else(unreadable)
    }

    async fn manifest(
        &self,
        method: Method,
        effect: Effect,
        token: &Secret,
        fields: Vec<(&'static str, String)>,
    ) -> Result<WireManifest, Error> {
        let call =
            MethodCall { method, effect, auth: Auth::Bearer(token), body: Body::Form(fields) };
        Ok(self.call(call).await?.value)
    }
}

impl WireManifest {
    /// At least one: a refusal without faults is still a refusal.
    fn faults(self) -> Vec<ManifestFault> {
        let given = self.errors.unwrap_or_default().into_iter().take(FAULTS);
        let mut faults: Vec<ManifestFault> = given.map(ManifestFault::from).collect();
        if faults.is_empty() {
            let message = cut(self.error.as_deref());
            faults.push(ManifestFault { message, pointer: String::new() });
        }
        faults
    }
}

impl From<WireFault> for ManifestFault {
    fn from(given: WireFault) -> Self {
        Self { message: cut(given.message.as_deref()), pointer: cut(given.pointer.as_deref()) }
    }
}
