//! The page that shows a preview: its link, and its content.
//!
//! Everything that the page shows is stored, encrypted, when the preview is made, so that every
//! replica can show it unchanged. The link is the permission: nothing but its random id finds the
//! content.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::Url;

use super::{PreviewRequest, TemplatePreview, stored_form};
use crate::app::tenant::Tenant;
use crate::app::{App, Error};
use crate::directory::View;
use crate::domain::ids::{ContentId, SlackUserId, UserId};
use crate::domain::message::render::Rendered;
use crate::domain::message::render::mentions::mentioned;
use crate::domain::message::wording::levels::Level;
use crate::domain::time::Timestamp;
use crate::store::NewPreview;

/// How long a link works.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The length of an id: 128 bits in base64url.
const ID_CHARS: usize = 22;

/// A link to a page that shows the message. Anyone who has it can read the message.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviewLink {
    pub url: Url,
    pub expires_at: Timestamp,
}

/// The content of the page.
pub struct PreviewPage {
    /// The object that the page's script reads.
    pub content: Value,
    pub expires_at: Timestamp,
}

impl App {
    /// The page of the preview with this id; `None` if there is none, or no longer.
    pub async fn preview_page(&self, id: &str) -> Result<Option<PreviewPage>, Error> {
        if id.len() != ID_CHARS {
            return Ok(None);
        }
        let Some(found) = self.store.previews().get(id).await? else { return Ok(None) };
        let content = serde_json::from_slice(&found.content);
        let content = content.map_err(|error| Error::Internal(error.into()))?;
        Ok(Some(PreviewPage { content, expires_at: found.expires_at }))
    }

    /// Stores the page. `message` is the message before its mentions were resolved.
    pub(super) async fn store_preview(
        &self,
        tenant: &Tenant,
        view: &View,
        request: &PreviewRequest,
        message: &Rendered,
        shown: &TemplatePreview,
    ) -> Result<PreviewLink, Error> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let content = serde_json::to_vec(&content(view, request, shown));
        let content = content.map_err(|error| Error::Internal(error.into()))?;
        let mentioned: Vec<UserId> = mentioned(&stored_form(message)?).into_iter().collect();
        let stored = self.store.people().facts(&tenant.id, &mentioned).await?;
        let mut people: BTreeSet<UserId> = stored.people.into_keys().collect();
        people.extend(request.reader.clone());
        let preview = NewPreview {
            tenant: &tenant.id,
            id: &id,
            content: &content,
            people: &people,
            lifetime: LIFETIME,
        };
        let saved = self.store.previews().save(preview).await?;
        let expires_at = saved.ok_or(Error::NotFound("person"))?;
        let url = self.config.preview_url.join(&id);
        let url = url.map_err(|error| Error::Internal(error.into()))?;
        Ok(PreviewLink { url, expires_at })
    }
}

/// The object that the page's script reads.
fn content(view: &View, request: &PreviewRequest, shown: &TemplatePreview) -> Value {
    let TemplatePreview { rendered, level, locale, version, sizes, .. } = shown;
    let level = level.map(|level| match level {
        Level::ContentItem => "content item",
        Level::Tenant => "tenant",
        Level::BuiltIn => "built in",
    });
    let sizes = sizes.iter().map(|size| json!([size.part, size.size, size.limit]));
    json!({
        "event_type": request.event.as_str(),
        "content_id": request.content_id.as_ref().map(ContentId::as_str),
        "text": rendered.text,
        "blocks": rendered.blocks,
        "names": names(view, rendered),
        "level": level,
        "locale": locale,
        "version": version,
        "sizes": sizes.collect::<Vec<_>>(),
        "shortened": rendered.cut,
    })
}

/// The names of the members that the message mentions.
fn names(view: &View, rendered: &Rendered) -> BTreeMap<String, String> {
    let blocks = rendered.blocks.to_string();
    let ids = members_in(&rendered.text).chain(members_in(&blocks));
    let named = ids.filter_map(|id| {
        let name = view.member(&id)?.display_name.to_owned();
        Some((id.into(), name))
    });
    named.collect()
}

/// The members in a text's markup, such as `<@U012AB3CD>`.
fn members_in(text: &str) -> impl Iterator<Item = SlackUserId> {
    text.split("<@").skip(1).filter_map(|rest| {
        let end = rest.find(['>', '|'])?;
        SlackUserId::parse(&rest[..end]).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_markup_only() {
        let found: Vec<_> = members_in("<@U1> and <@U2|Ben>, not U3, <@U4 or <#C1>").collect();
        let ids: Vec<&str> = found.iter().map(SlackUserId::as_str).collect();
        assert_eq!(ids, ["U1", "U2"]);
    }
}
