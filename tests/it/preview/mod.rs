//! PreviewTemplate: the message that a reader would get, in the answer, on a page, in Slack, and
//! before Slack's own check.

mod checking;
mod page;
mod rendering;
mod sending;

use herald::rpc::pb;

use crate::support::client::fields;
use crate::support::templates::{TYPE, message, template};
use crate::support::world::{TENANT, World};

/// A preview of `task.assigned` with the examples of the type.
pub(super) fn request() -> pb::PreviewTemplateRequest {
    pb::PreviewTemplateRequest {
        tenant_id: TENANT.into(),
        event_type: TYPE.into(),
        ..pb::PreviewTemplateRequest::default()
    }
}

pub(super) async fn preview(
    world: &World,
    request: pb::PreviewTemplateRequest,
) -> pb::PreviewTemplateResponse {
    world.client.preview_template(request).await.unwrap()
}

/// A template in this locale with this heading and this body.
pub(super) fn simple(locale: &str, heading: &str, body: &str) -> pb::Template {
    template((TYPE, "", locale), message(heading, body))
}

/// The data of a task of this name.
pub(super) fn data(name: &str) -> pb::preview_template_request::Source {
    let task = serde_json::json!({ "task": { "name": name }, "process": { "name": "Onboarding" } });
    pb::preview_template_request::Source::Data(fields(task))
}

/// Whether any text of the blocks contains this.
pub(super) fn shows(shown: &pb::PreviewTemplateResponse, text: &str) -> bool {
    format!("{:?}", shown.blocks).contains(text)
}
