//! The calls about templates: protobuf <-> domain.

use super::call::{Inbound, Server};
use super::decode::{Fields, non_empty};
use super::encode::{small, time};
use super::page::{self, List};
use super::pb;
use crate::app::Error;
use crate::app::templates::{TemplateChange, TemplateFilter, TemplateState};
use crate::domain::ids::{ContentId, EventType};
use crate::domain::limits;
use crate::domain::message::render::Template;
use crate::domain::message::render::simple::{Fact, Picture, Simple};
use crate::domain::message::template::{Form, Locale, Place};
use crate::domain::message::wording::levels::Level;

impl Server {
    pub(super) async fn save_template(
        &self,
        inbound: Inbound,
        message: pb::SetTemplateRequest,
    ) -> Result<pb::SetTemplateResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let wanted = wanted(&mut fields, message.template);
        let (call, (place, form, etag)) = inbound.complete(fields, tenant, actor, wanted)?;
        let (etag, dry_run) = (etag.as_deref(), message.dry_run);
        let state = self.app.set_template(&call, &place, &form, etag, dry_run).await?;
        Ok(pb::SetTemplateResponse { template: Some(template_to_pb(state)) })
    }

    pub(super) async fn one_template(
        &self,
        inbound: Inbound,
        message: pb::GetTemplateRequest,
    ) -> Result<pb::GetTemplateResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let place = fields.place("", message.event_type, message.content_id, message.locale);
        let version = fields.template_version(message.version, 0);
        let (call, place) = inbound.complete(fields, tenant, actor, place)?;
        let version = version.filter(|version| *version > 0);
        let (state, changes) = self.app.get_template(&call, &place, version).await?;
        Ok(pb::GetTemplateResponse {
            template: Some(template_to_pb(state)),
            changes: changes.into_iter().map(change).collect(),
        })
    }

    pub(super) async fn list_templates_page(
        &self,
        inbound: Inbound,
        message: pb::ListTemplatesRequest,
    ) -> Result<pb::ListTemplatesResponse, Error> {
        let mut fields = Fields::default();
        let list = List::of(&[
            "ListTemplates",
            &message.tenant_id,
            &message.event_type,
            &message.content_id,
        ]);
        let size = page::size(&mut fields, message.page_size, limits::TEMPLATES_PAGE);
        let after = list.position(&mut fields, &message.page_token, Place::parse);
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let mut filter = TemplateFilter::default();
        if !message.event_type.is_empty() {
            filter.event = fields.event_type(message.event_type);
        }
        filter.content = fields.content("content_id", message.content_id);
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let page = self.app.list_templates(&call, &filter, after.as_ref(), size).await?;
        let last = page.more_after.as_ref();
        Ok(pb::ListTemplatesResponse {
            next_page_token: last.map(|last| list.token(&last.to_string())).unwrap_or_default(),
            templates: page.templates.into_iter().map(template_to_pb).collect(),
        })
    }

    pub(super) async fn remove_template(
        &self,
        inbound: Inbound,
        message: pb::ResetTemplateRequest,
    ) -> Result<pb::ResetTemplateResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let place = fields.place("", message.event_type, message.content_id, message.locale);
        let etag = fields.etag("etag", message.etag);
        let (call, place) = inbound.complete(fields, tenant, actor, place)?;
        self.app.reset_template(&call, &place, etag.as_deref()).await?;
        Ok(pb::ResetTemplateResponse {})
    }

    pub(super) async fn bring_back_template(
        &self,
        inbound: Inbound,
        message: pb::RollbackTemplateRequest,
    ) -> Result<pb::RollbackTemplateResponse, Error> {
        let mut fields = Fields::default();
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let place = fields.place("", message.event_type, message.content_id, message.locale);
        let version = fields.template_version(message.version, 1);
        let etag = fields.etag("etag", message.etag);
        let wanted = place.zip(version);
        let (call, (place, version)) = inbound.complete(fields, tenant, actor, wanted)?;
        let state = self.app.rollback_template(&call, &place, version, etag.as_deref()).await?;
        Ok(pb::RollbackTemplateResponse { template: Some(template_to_pb(state)) })
    }
}

/// The place, the words, and the etag that the place must have; `None`: a field is bad, and was
/// noted.
fn wanted(
    fields: &mut Fields,
    given: Option<pb::Template>,
) -> Option<(Place, Form, Option<String>)> {
    let Some(given) = given else {
        fields.bad("template", "must be set");
        return None;
    };
    let place = fields.place("template.", given.event_type, given.content_id, given.locale);
    let etag = fields.etag("template.etag", given.etag);
    let form = form_from(fields, given.form);
    Some((place?, form?, etag))
}

/// The words in the field `template`; `None`: there are none, and that was noted, as is each text
/// beyond its limit: a call with such a field is refused, so checking them takes a limited time.
pub(super) fn form_from(fields: &mut Fields, given: Option<pb::template::Form>) -> Option<Form> {
    let Some(given) = given else {
        fields.bad("template", "must have `simple` or `blocks`");
        return None;
    };
    match given {
        pb::template::Form::Simple(given) => simple(fields, given).map(Form::Simple),
        pb::template::Form::Blocks(given) => {
            let pb::BlocksMessage { text, blocks_json } = given;
            let (texts, blocks) = (limits::TEMPLATE_TEXT_BYTES, limits::TEMPLATE_BLOCKS_BYTES);
            fields.fits("template.blocks.text", texts, text.len());
            fields.fits("template.blocks.blocks_json", blocks, blocks_json.len());
            Some(Form::Blocks(Template { text, blocks: blocks_json }))
        }
    }
}

fn simple(fields: &mut Fields, given: pb::SimpleMessage) -> Option<Simple> {
    let at = "template.simple";
    let (max, was) = (limits::TEMPLATE_FIELDS, given.fields.len());
    if was > max {
        fields.bad(format!("{at}.fields"), format!("must be at most {max}, was {was}"));
        return None;
    }
    let fact = |given: pb::SimpleField| Fact { label: given.label, value: given.value };
    let simple = Simple {
        heading: given.heading,
        body: given.body,
        fields: given.fields.into_iter().map(fact).collect(),
        image: given.image.map(|image| Picture { url: image.url, alt: image.alt }),
        context: given.context,
        button: given.button,
    };
    let mut texts = vec![
        ("heading".to_owned(), &simple.heading),
        ("body".to_owned(), &simple.body),
        ("context".to_owned(), &simple.context),
        ("button".to_owned(), &simple.button),
    ];
    for (index, fact) in simple.fields.iter().enumerate() {
        texts.push((format!("fields[{index}].label"), &fact.label));
        texts.push((format!("fields[{index}].value"), &fact.value));
    }
    if let Some(image) = &simple.image {
        texts.push(("image.url".to_owned(), &image.url));
        texts.push(("image.alt".to_owned(), &image.alt));
    }
    for (name, text) in &texts {
        fields.fits(&format!("{at}.{name}"), limits::TEMPLATE_TEXT_BYTES, text.len());
    }
    let (max, was) =
        (limits::TEMPLATE_BYTES, texts.iter().map(|(_, text)| text.len()).sum::<usize>());
    fields.fits(at, max, was);
    Some(simple)
}

impl Fields {
    /// The event type, the content item and the locale, in fields whose names begin with `at`.
    pub(super) fn place(
        &mut self,
        at: &str,
        event: String,
        content: String,
        locale: String,
    ) -> Option<Place> {
        let event = self.take(&format!("{at}event_type"), EventType::parse(event));
        let content = self.content(&format!("{at}content_id"), content);
        let locale = self.take(&format!("{at}locale"), Locale::parse(locale.as_str()));
        Some(Place { event: event?, content, locale: locale? })
    }

    /// The content item; empty: none.
    pub(super) fn content(&mut self, field: &str, given: String) -> Option<ContentId> {
        non_empty(given).and_then(|id| self.take(field, ContentId::parse(id)))
    }

    /// The number of a version, at least `least`.
    fn template_version(&mut self, given: i32, least: u32) -> Option<u32> {
        let version = u32::try_from(given).ok().filter(|version| *version >= least);
        if version.is_none() {
            self.bad("version", format!("must be at least {least}, was {given}"));
        }
        version
    }
}

/// A template as the API shows it.
pub(super) fn template_to_pb(state: TemplateState) -> pb::Template {
    let TemplateState { place, level, form, version, etag, saved } = state;
    pb::Template {
        event_type: place.event.into(),
        content_id: place.content.map(Into::into).unwrap_or_default(),
        locale: place.locale.as_str().to_owned(),
        form: Some(form_to_pb(form)),
        version: small(version),
        etag,
        level: level_to_pb(level).into(),
        saved: saved.map(change),
    }
}

/// The level as the API shows it.
pub(super) fn level_to_pb(level: Level) -> pb::TemplateLevel {
    match level {
        Level::ContentItem => pb::TemplateLevel::ContentItem,
        Level::Tenant => pb::TemplateLevel::Tenant,
        Level::BuiltIn => pb::TemplateLevel::BuiltIn,
    }
}

fn form_to_pb(form: Form) -> pb::template::Form {
    match form {
        Form::Blocks(Template { text, blocks }) => {
            pb::template::Form::Blocks(pb::BlocksMessage { text, blocks_json: blocks })
        }
        Form::Simple(Simple { heading, body, fields, image, context, button }) => {
            let field = |fact: Fact| pb::SimpleField { label: fact.label, value: fact.value };
            let image = image.map(|it| pb::SimpleImage { url: it.url, alt: it.alt });
            pb::template::Form::Simple(pb::SimpleMessage {
                heading,
                body,
                fields: fields.into_iter().map(field).collect(),
                image,
                context,
                button,
            })
        }
    }
}

fn change(change: TemplateChange) -> pb::TemplateChange {
    pb::TemplateChange {
        version: small(change.version),
        time: Some(time(change.at)),
        caller: change.caller,
        actor_user_id: change.actor.map(Into::into).unwrap_or_default(),
        rolled_back_to: small(change.rolled_back_to),
        reset: change.reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_longest_place_is_accepted() {
        let place = Place {
            event: EventType::parse(format!("a.{}", "b".repeat(62))).unwrap(),
            content: ContentId::parse("x".repeat(limits::CONTENT_ID_BYTES)).ok(),
            locale: Locale::parse("de-AT").unwrap(),
        };
        let token = List::of(&["ListTemplates"]).token(&place.to_string());
        assert!(token.len() <= limits::PAGE_TOKEN_BYTES, "{}", token.len());
    }
}
