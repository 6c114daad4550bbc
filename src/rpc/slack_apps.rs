//! SetSlackApp, GetSlackApp, DeleteSlackApp: protobuf <-> app.

use std::time::Duration;

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::encode::time;
use super::pb;
use crate::app::Error;
use crate::app::slack_app::{ShownSlackApp, SlackAppWish};
use crate::domain::limits;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{check_app_id, check_client_id, check_secret};

pub(super) async fn set(
    server: &Server,
    inbound: Inbound,
    message: pb::SetSlackAppRequest,
) -> Result<pb::SetSlackAppResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let app_id = fields.take("app_id", check_app_id(&message.app_id));
    let client_id = fields.take("client_id", check_client_id(&message.client_id));
    let client_secret = secret(&mut fields, "client_secret", message.client_secret);
    let signing_secret = secret(&mut fields, "signing_secret", message.signing_secret);
    let keep_previous = keep_previous(&mut fields, message.keep_previous);
    let wish = app_id.and(client_id).map(|()| SlackAppWish {
        app_id: message.app_id,
        client_id: message.client_id,
        client_secret,
        signing_secret,
        keep_previous,
    });
    let (call, wish) = inbound.complete(fields, tenant, actor, wish)?;
    let app = server.app.set_slack_app(&call, &wish).await?;
    Ok(pb::SetSlackAppResponse { app: Some(encode_slack_app(app)) })
}

pub(super) async fn get(
    server: &Server,
    inbound: Inbound,
    message: pb::GetSlackAppRequest,
) -> Result<pb::GetSlackAppResponse, Error> {
    let call = inbound.tenant_call(message.tenant_id, message.actor)?;
    let app = server.app.get_slack_app(&call).await?;
    Ok(pb::GetSlackAppResponse { app: Some(encode_slack_app(app)) })
}

pub(super) async fn delete(
    server: &Server,
    inbound: Inbound,
    message: pb::DeleteSlackAppRequest,
) -> Result<pb::DeleteSlackAppResponse, Error> {
    let call = inbound.tenant_call(message.tenant_id, message.actor)?;
    server.app.delete_slack_app(&call, message.disconnect).await?;
    Ok(pb::DeleteSlackAppResponse {})
}

/// A tenant's own app, without its secrets.
pub(super) fn encode_slack_app(app: ShownSlackApp) -> pb::SlackApp {
    pb::SlackApp {
        app_id: app.app_id,
        client_id: app.client_id,
        redirect_url: app.addresses.redirect_url.into(),
        events_url: app.addresses.events_url.into(),
        interactions_url: app.addresses.interactions_url.into(),
        previous_until: app.previous_until.map(time),
        updated_at: Some(time(app.updated_at)),
    }
}

/// `None`: the stored one stays.
fn secret(fields: &mut Fields, name: &str, given: String) -> Option<Secret> {
    let given = Secret::new(non_empty(given)?);
    fields.take(name, check_secret(given.expose())).map(|()| given)
}

fn keep_previous(fields: &mut Fields, given: Option<prost_types::Duration>) -> Duration {
    let Some(given) = given else { return limits::DEFAULT_KEEP_PREVIOUS };
    match Duration::try_from(given) {
        Ok(keep) if keep <= limits::MAX_KEEP_PREVIOUS => keep,
        Ok(_) | Err(_) => {
            fields.bad("keep_previous", "must be between 0 and 7 days");
            limits::DEFAULT_KEEP_PREVIOUS
        }
    }
}
