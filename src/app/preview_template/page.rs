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

use super::{PastNotification, PreviewRequest, TemplatePreview, erased, stored_form};
use crate::app::tenant::Tenant;
use crate::app::{App, Error};
use crate::directory::View;
use crate::domain::ids::{ContentId, SlackUserId, UserId};
use crate::domain::message::render::Rendered;
use crate::domain::message::render::mentions::mentioned;
use crate::domain::time::Timestamp;
use crate::store::{NewPreview, PreviewSaved, ShownNotification};

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

/// A page before it is stored. No `Debug`: it shows a message.
pub(super) struct NewPage {
    pub(super) content: Vec<u8>,
    /// People whose stored records it shows.
    pub(super) people: BTreeSet<UserId>,
    /// The notification whose data it shows.
    pub(super) past: Option<PastNotification>,
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

    /// The people whose stored records the message was written with. `message` is the message
    /// before its mentions were resolved.
    pub(super) async fn people_in(
        &self,
        tenant: &Tenant,
        request: &PreviewRequest,
        message: &Rendered,
    ) -> Result<BTreeSet<UserId>, Error> {
        let mentioned: Vec<UserId> = mentioned(&stored_form(message)?).into_iter().collect();
        let stored = self.store.people().facts(&tenant.id, &mentioned).await?;
        let mut people: BTreeSet<UserId> = stored.people.into_keys().collect();
        people.extend(request.reader.clone());
        Ok(people)
    }

    /// Stores the page, unless a person or the data that it shows was erased meanwhile.
    pub(super) async fn store_preview(
        &self,
        tenant: &Tenant,
        page: NewPage,
    ) -> Result<PreviewLink, Error> {
        let id = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        let notification =
            page.past.as_ref().map(|past| ShownNotification { id: past.id, data: &past.data });
        let preview = NewPreview {
            tenant: &tenant.id,
            id: &id,
            content: &page.content,
            people: &page.people,
            notification,
            lifetime: LIFETIME,
        };
        let expires_at = match self.store.previews().save(preview).await? {
            PreviewSaved::Until(end) => end,
            PreviewSaved::PersonGone => return Err(Error::NotFound("person")),
            PreviewSaved::DataGone => return Err(erased()),
        };
        let url = self.config.preview_url.join(&id);
        let url = url.map_err(|error| Error::Internal(error.into()))?;
        Ok(PreviewLink { url, expires_at })
    }
}

/// The object that the page's script reads.
pub(super) fn content(
    view: &View,
    request: &PreviewRequest,
    shown: &TemplatePreview,
) -> Result<Vec<u8>, Error> {
    let TemplatePreview { rendered, level, locale, version, sizes, .. } = shown;
    let sizes = sizes.iter().map(|size| json!([size.part, size.size, size.limit]));
    let content = json!({
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
    });
    serde_json::to_vec(&content).map_err(|error| Error::Internal(error.into()))
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
