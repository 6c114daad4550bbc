//! GetTemplate and ListTemplates.

use super::{NAME, TemplateState, TemplateStates};
use crate::app::{App, Call, Error};
use crate::domain::access;
use crate::domain::message::event::tenant_types::{Source, TenantTypes};
use crate::domain::message::render::{Language, Template};
use crate::domain::message::template::{Form, Place, etag as etag_of};
use crate::domain::message::wording::levels::Level;
use crate::store::{KeptWords, TemplateChange, TemplateFilter, TemplateVersion};

/// The name of one version in refusals.
const VERSION: &str = "version of the template";

impl App {
    /// The template of a place (`version`: an earlier version of it), or the built-in message, and
    /// the changes of the place, newest first.
    pub async fn get_template(
        &self,
        call: &Call,
        place: &Place,
        version: Option<u32>,
    ) -> Result<(TemplateState, Vec<TemplateChange>), Error> {
        call.may(&access::GET_TEMPLATE)?;
        let settings = self.tenant(&call.tenant).await?.settings;
        let present = self.store.templates().get(&call.tenant, place, None).await?;
        let changes = self.store.templates().changes(&call.tenant, place).await?;
        let etag = etag_now(place, present.as_ref())?;
        let wanted = match version {
            None => present.filter(|present| !present.change.reset),
            Some(version) => {
                let kept = self.store.templates().get(&call.tenant, place, Some(version)).await?;
                Some(kept.ok_or(Error::NotFound(VERSION))?)
            }
        };
        let state = match wanted {
            Some(kept) if kept.words == KeptWords::Unread => return Err(Error::newer_template()),
            Some(kept) => TemplateState::of(kept, Some(etag)).ok_or(Error::NotFound(VERSION))?,
            None => {
                let types = self.types_of(&call.tenant, settings.version).await?;
                let template = built_in(&types, place).ok_or(Error::NotFound(NAME))?;
                TemplateState {
                    place: place.clone(),
                    level: Level::BuiltIn,
                    form: Form::Blocks(template),
                    version: 0,
                    etag,
                    saved: None,
                }
            }
        };
        Ok((state, changes))
    }

    /// Up to `limit` templates after a place.
    pub async fn list_templates(
        &self,
        call: &Call,
        filter: &TemplateFilter,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<TemplateStates, Error> {
        call.may(&access::LIST_TEMPLATES)?;
        // A tenant that does not exist has no templates, but that is another answer.
        self.tenant(&call.tenant).await?;
        let page = self.store.templates().list(&call.tenant, filter, after, limit).await?;
        let templates = page.templates.into_iter();
        Ok(TemplateStates {
            templates: templates.filter_map(|kept| TemplateState::of(kept, None)).collect(),
            more_after: page.last.filter(|_| page.more),
        })
    }
}

/// The etag of the present state of a place.
pub(super) fn etag_now(place: &Place, present: Option<&TemplateVersion>) -> Result<String, Error> {
    match present {
        None => Ok(etag_of(place, 0, None)),
        Some(present) if present.words == KeptWords::Unread => Err(Error::newer_template()),
        Some(present) => Ok(etag_of(place, present.change.version, present.form())),
    }
}

/// The message without templates, in the language of the place; `None`: Herald does not write it.
fn built_in(types: &TenantTypes, place: &Place) -> Option<Template> {
    let kind = types.find(&place.event)?;
    match kind.source {
        Source::BuiltIn(_, wording) => {
            let language = Language::of(place.locale.as_str())?;
            Some(wording.words(language).template.clone())
        }
        // It is made of the type's own texts, in whatever language they are.
        Source::Own(_) => kind.own_words().cloned(),
    }
}
