//! The words that Notify uses, in memory by the version of the tenant's settings.

use std::sync::Arc;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use crate::app::tenant::Tenant;
use crate::app::tenant_types::{Catalogue, KEPT, WordedFor};
use crate::app::{App, Error};
use crate::domain::ids::{ContentId, EventType, TenantId};
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::template::Form;
use crate::domain::message::wording::candidates::{Candidate, Candidates, ReadyWords};
use crate::domain::message::wording::levels::Level;
use crate::store;

use super::level;

/// Bytes of all words in memory, at most about.
const BYTES: u64 = 64 << 20;
/// Bytes in memory of one entry and of each template, besides its texts, at most about.
const TEMPLATE_BYTES: usize = 4 << 10;
/// Bytes in memory of each byte of a text: the text, its compiled form and its copies.
const TEXT_BYTES: usize = 20;

/// A tenant, the version of its settings, an event type, and the content item, if it has templates
/// of its own.
type Key = (TenantId, i64, EventType, Option<ContentId>);

/// Words with about their bytes in memory; `None`: only a newer release can read a template.
type Ready = Option<(ReadyWords, u32)>;

/// Words by tenant, version, event type and content item.
pub(in crate::app) type RecentWords = Cache<Key, Ready>;

pub(in crate::app) fn recent_words() -> RecentWords {
    Cache::builder()
        .eviction_policy(EvictionPolicy::lru())
        .weigher(|_, ready: &Ready| ready.as_ref().map_or(1, |(_, bytes)| *bytes))
        .max_capacity(BYTES)
        .time_to_live(KEPT)
        .build()
}

impl App {
    /// The words of a notification of this type about this content item: the templates of the
    /// tenant, and the type's own message below them. A type without templates costs nothing.
    pub(in crate::app) async fn words_for(
        &self,
        tenant: &Tenant,
        types: &Catalogue,
        kind: &KnownType<'_>,
        event: &EventType,
        content: Option<&ContentId>,
    ) -> Result<ReadyWords, Error> {
        let content = match types.worded(event, content) {
            WordedFor::Nothing => return Ok(kind.words()),
            WordedFor::Everything => None,
            WordedFor::Content(content) => Some(content),
        };
        let key = (tenant.id.clone(), tenant.settings.version, event.clone(), content.cloned());
        let load = self.load_words(&tenant.id, kind.words(), event, content);
        match self.recent_words.try_get_with(key, load).await {
            Ok(Some((words, _))) => Ok(words),
            Ok(None) => Err(Error::newer_template()),
            Err(error) => Err((*error).clone().into()),
        }
    }

    async fn load_words(
        &self,
        tenant: &TenantId,
        below: ReadyWords,
        event: &EventType,
        content: Option<&ContentId>,
    ) -> Result<Ready, store::Error> {
        let found = self.store.templates().of(tenant, event, content).await?;
        if found.unread {
            return Ok(None);
        }
        let candidates = found.templates.into_iter().map(|(place, version, form)| Candidate {
            level: level(&place),
            locale: place.locale.as_str().to_owned(),
            version,
            form,
        });
        let candidates = in_force(candidates.collect());
        let bytes: usize = candidates.iter().map(|it| weight(&it.form)).sum();
        let bytes = u32::try_from(TEMPLATE_BYTES + bytes).unwrap_or(u32::MAX);
        // Compiling takes milliseconds.
        let compile = move || {
            let candidates = Candidates::new(candidates, below);
            candidates.compile();
            ReadyWords::Chosen(Arc::new(candidates))
        };
        let words = tokio::task::spawn_blocking(compile).await;
        let words = words.map_err(|_| store::Error::Bug("templates were not compiled".into()))?;
        Ok(Some((words, bytes)))
    }
}

/// The templates that a reader can get: those of a content item replace the tenant's for every
/// reader (`wording/levels.rs`). The others would only be stored with notifications.
fn in_force(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    if candidates.iter().any(|candidate| candidate.level == Level::ContentItem) {
        candidates.retain(|candidate| candidate.level == Level::ContentItem);
    }
    candidates
}

fn weight(form: &Form) -> usize {
    let template = form.template();
    TEMPLATE_BYTES + TEXT_BYTES * (template.text.len() + template.blocks.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::render::simple::Simple;

    #[test]
    fn templates_that_no_reader_can_get_are_left_out() {
        use Level::{ContentItem, Tenant};
        for (levels, kept) in [
            (vec![Tenant, ContentItem, Tenant], vec![ContentItem]),
            (vec![Tenant, Tenant], vec![Tenant, Tenant]),
            (vec![], vec![]),
        ] {
            let candidate = |level| {
                let form = Form::Simple(Simple::default());
                Candidate { level, locale: "en".into(), version: 1, form }
            };
            let candidates = in_force(levels.into_iter().map(candidate).collect());
            let of: Vec<Level> = candidates.iter().map(|candidate| candidate.level).collect();
            assert_eq!(of, kept);
        }
    }
}
