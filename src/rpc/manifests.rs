//! CreateSlackAppManifest: protobuf <-> app.

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::pb;
use super::slack_apps::encode_slack_app;
use crate::app::Error;
use crate::app::slack_app_manifest::{MadeManifest, ManifestAsk, ManifestTask, ManifestWish};
use crate::domain::limits;
use crate::domain::secret::Secret;
use crate::domain::slack_manifest::NAME_CHARS;
use crate::slack::ManifestFault;

/// The beginning of an app configuration token.
const TOKEN: &str = "xoxe.xoxp-";

pub(super) async fn create(
    server: &Server,
    inbound: Inbound,
    message: pb::CreateSlackAppManifestRequest,
) -> Result<pb::CreateSlackAppManifestResponse, Error> {
    let action = message.action;
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let features = fields.features("features", &message.features);
    let name = fields.app_name(message.name);
    let ask = fields.ask(action, message.configuration_token);
    let wish = ManifestWish { features, name, ask };
    let (call, wish) = inbound.complete(fields, tenant, actor, Some(wish))?;
    server.app.create_slack_app_manifest(&call, wish).await.map(encode)
}

impl Fields {
    /// `None`: the deployment's display name.
    fn app_name(&mut self, given: String) -> Option<String> {
        if given.chars().count() > NAME_CHARS {
            self.bad("name", format!("must be at most {NAME_CHARS} characters"));
        } else if given.chars().any(char::is_control) || given.trim() != given {
            self.bad("name", "must be one line without spaces at its ends");
        }
        non_empty(given)
    }

    /// `None`: Slack is not asked.
    fn ask(&mut self, action: i32, token: String) -> Option<ManifestAsk> {
        let task = match pb::ManifestAction::try_from(action) {
            Ok(pb::ManifestAction::Unspecified) => None,
            Ok(pb::ManifestAction::Validate) => Some(ManifestTask::Validate),
            Ok(pb::ManifestAction::Create) => Some(ManifestTask::Create),
            Ok(pb::ManifestAction::Update) => Some(ManifestTask::Update),
            Err(_) => {
                self.bad("action", "is not a known action");
                return None;
            }
        };
        let token = Secret::new(token);
        if task.is_some() == token.is_empty() {
            let (field, problem) = if token.is_empty() {
                ("configuration_token", "must be given for this action")
            } else {
                ("action", "must say what to ask Slack for with the configuration_token")
            };
            self.bad(field, problem);
            return None;
        }
        let task = task?;
        let text = token.expose();
        self.fits("configuration_token", limits::CONFIGURATION_TOKEN_BYTES, text.len());
        if !text.starts_with(TOKEN) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            let problem = format!("must be an app configuration token, which begins with {TOKEN}");
            self.bad("configuration_token", problem);
        }
        Some(ManifestAsk { task, token })
    }
}

fn encode(made: MadeManifest) -> pb::CreateSlackAppManifestResponse {
    let fault =
        |fault: ManifestFault| pb::ManifestError { message: fault.message, pointer: fault.pointer };
    pb::CreateSlackAppManifestResponse {
        manifest: made.manifest,
        steps: made.steps,
        done: made.done,
        errors: made.faults.into_iter().map(fault).collect(),
        app: made.app.map(encode_slack_app),
        authorize_url: made.connect_url.map(Into::into).unwrap_or_default(),
    }
}
