//! PreviewTemplate: protobuf <-> domain.

use serde_json::Value;

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::encode::{small, time};
use super::templates::{form_from, level_to_pb};
use super::{json, pb};
use crate::app::Error;
use crate::app::preview_template::{
    GivenTemplate, PreviewRequest, PreviewSent, PreviewSource, TemplatePreview,
};
use crate::domain::message::render::PartSize;
use crate::domain::message::template::Locale;
use crate::slack::Objection;

/// Answers the call. One that waits for Slack counts as a test does.
pub(super) async fn call(
    server: &Server,
    inbound: Inbound,
    message: pb::PreviewTemplateRequest,
) -> Result<pb::PreviewTemplateResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id.clone());
    let actor = fields.actor(message.actor.clone());
    let request = decode(&mut fields, message);
    let patience = inbound.patience();
    let waits = request.as_ref().is_some_and(|it| it.check_with_slack || it.send_to.is_some());
    let _waiting =
        if waits { Some(server.limits.test(&inbound.caller, tenant.as_ref())?) } else { None };
    let (call, request) = inbound.complete(fields, tenant, actor, request)?;
    // The future is large, and few calls need it.
    let preview = Box::pin(server.app.preview_template(&call, request, patience));
    Ok(response(preview.await?))
}

/// The request. A field that is bad was noted, and is absent here.
fn decode(fields: &mut Fields, message: pb::PreviewTemplateRequest) -> Option<PreviewRequest> {
    use pb::preview_template_request::Source as Given;
    let event = fields.event_type(message.event_type);
    let content_id = fields.content("content_id", message.content_id);
    let template = message.template.and_then(|template| {
        let locale = locale(fields, "template.locale", template.locale);
        Some(GivenTemplate { form: form_from(fields, template.form)?, locale })
    });
    let source = match message.source {
        None => Some(PreviewSource::Example),
        Some(Given::Data(data)) => fields.data(Some(data)).map(PreviewSource::Given),
        Some(Given::NotificationId(id)) => fields.notification(&id).map(PreviewSource::Past),
    };
    let reader = non_empty(message.user_id).and_then(|id| fields.user("user_id", id));
    let send_to =
        non_empty(message.send_to_user_id).and_then(|id| fields.user("send_to_user_id", id));
    let locale = locale(fields, "locale", message.locale);
    let link = fields.link(message.link);
    Some(PreviewRequest {
        event: event?,
        content_id,
        template,
        source: source?,
        reader,
        locale,
        link,
        open_in_browser: message.open_in_browser,
        send_to,
        check_with_slack: message.check_with_slack,
    })
}

fn locale(fields: &mut Fields, field: &str, given: String) -> Option<Locale> {
    non_empty(given).and_then(|tag| fields.take(field, Locale::parse(tag.as_str())))
}

fn response(shown: TemplatePreview) -> pb::PreviewTemplateResponse {
    let (url, end) = shown.page.map(|page| (page.url, page.expires_at)).unzip();
    let level = shown.level.map_or(pb::TemplateLevel::Unspecified, level_to_pb);
    pb::PreviewTemplateResponse {
        text: shown.rendered.text,
        blocks: Some(blocks(shown.rendered.blocks)),
        level: level.into(),
        locale: shown.locale,
        version: small(shown.version),
        sizes: shown.sizes.into_iter().map(size).collect(),
        shortened: shown.rendered.cut,
        browser_url: url.map(String::from).unwrap_or_default(),
        browser_url_expire_time: end.map(time),
        sent: shown.sent.map(sent),
        slack_check: shown.objections.map(slack_check),
    }
}

fn blocks(blocks: Value) -> prost_types::ListValue {
    let blocks = match blocks {
        Value::Array(blocks) => blocks,
        _ => Vec::new(),
    };
    prost_types::ListValue { values: blocks.into_iter().map(json::to_value).collect() }
}

fn size(size: PartSize) -> pb::PartSize {
    let PartSize { part, size, limit } = size;
    pb::PartSize { part, size: small(size), limit: small(limit) }
}

fn sent(sent: PreviewSent) -> pb::SentPreview {
    let (channel, ts) = sent.place.unzip();
    pb::SentPreview {
        slack_user_id: sent.member.into(),
        channel_id: channel.map(Into::into).unwrap_or_default(),
        ts: ts.unwrap_or_default(),
    }
}

fn slack_check(objections: Vec<Objection>) -> pb::SlackCheck {
    let objection = |it: Objection| {
        let Objection { code, message, pointer, constraint } = it;
        pb::SlackObjection { code, message, pointer, constraint }
    };
    pb::SlackCheck {
        accepted: objections.is_empty(),
        objections: objections.into_iter().map(objection).collect(),
    }
}
