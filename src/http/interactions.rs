//! `POST /slack/interactions`, and the same at the path of a tenant's app: acknowledges the presses
//! of buttons.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::bodies::Bodies;
use super::config::INTERACTIONS_PATH;
use super::from_slack::{self, FromSlack, Shared};
use crate::app::{self, App, InteractionTaken};
use crate::slack::interactions::BODY_BYTES;

pub(super) fn router(app: App, bodies: Bodies) -> Router {
    from_slack::routes(Shared { app, bodies }, INTERACTIONS_PATH, "interactions", take)
}

async fn take(shared: Shared, app_path: String, request: Request) -> Response {
    let Shared { app, bodies } = shared;
    let request = match FromSlack::read(&bodies, request, BODY_BYTES).await {
        Ok(request) => request,
        Err(why) => return from_slack::unread(why),
    };
    let signed = request.signed(&app_path);
    match tokio::time::timeout_at(request.until, app.take_interaction(signed)).await {
        Ok(Ok(InteractionTaken::Acknowledged)) => StatusCode::OK.into_response(),
        Ok(Ok(InteractionTaken::Unreadable)) => from_slack::refused(StatusCode::BAD_REQUEST),
        Ok(Ok(InteractionTaken::Refused)) => StatusCode::UNAUTHORIZED.into_response(),
        Ok(Err(app::Error::Unavailable { .. })) | Err(_) => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "an interaction from Slack was not acknowledged");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
