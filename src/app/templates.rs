//! Templates: the words of messages, as a tenant's administrators change them.
//!
//! `read` (GetTemplate, ListTemplates), `change` (SetTemplate, ResetTemplate, RollbackTemplate),
//! `guard` (changes of event types that would break templates), `words` (Notify).

mod guard;
mod read;
mod words;

mod change;

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(super) use words::{RecentWords, recent_words};

use crate::app::tenant_types::Catalogue;
use crate::app::{App, Error, Violation};
use crate::domain::access::api_key::hex;
use crate::domain::ids::{EventType, TenantId};
use crate::domain::message::problem::Problem;
use crate::domain::message::template::{Form, Locale, Place, check, etag as etag_of};
use crate::domain::message::wording::levels::Level;
use crate::store::TemplateVersion;

pub use crate::store::{TemplateChange, TemplateFilter};

/// The name of the object in refusals.
const NAME: &str = "template";

/// The recipients that take about as long to plan as it takes to check a large template.
const CHECK: usize = 64;

impl App {
    /// Does work that renders or reads templates many times, off the threads that answer calls. It
    /// takes the tenant's turn among all work that computes much. The turn lasts as long as the
    /// work, which does not end with a call that is given up.
    pub(in crate::app) async fn checking<T: Send + 'static>(
        &self,
        tenant: &TenantId,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turns.take(tenant, CHECK).await;
        let checked = tokio::task::spawn_blocking(move || {
            let checked = work();
            drop(turn);
            checked
        });
        checked.await.map_err(|error| Error::Internal(error.into()))
    }

    /// All problems of words for an event type in a locale.
    pub(in crate::app) async fn template_problems(
        &self,
        tenant: &TenantId,
        types: &Arc<Catalogue>,
        event: &EventType,
        locale: &Locale,
        form: &Form,
    ) -> Result<Vec<Problem>, Error> {
        let types = Arc::clone(types);
        let (event, locale, form) = (event.clone(), locale.clone(), form.clone());
        let work = move || {
            if types.is_unread(&event) {
                return Err(Error::newer_event_type());
            }
            let kind = types.find(&event).ok_or(Error::NotFound("event type"))?;
            Ok(check(&form, &locale, &kind, &event))
        };
        self.checking(tenant, work).await?
    }
}

/// The problems as the caller's bad fields, with their places.
pub(in crate::app) fn invalid(problems: Vec<Problem>) -> Error {
    let violation = |problem: Problem| {
        let whole = problem.to_string();
        let sentence = whole.strip_prefix(&problem.field).unwrap_or(&whole).trim_start();
        Violation::new(problem.field.clone(), sentence)
    };
    Error::Invalid(problems.into_iter().map(violation).collect())
}

/// The words of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateState {
    pub place: Place,
    pub level: Level,
    pub form: Form,
    /// 0: a built-in message.
    pub version: u32,
    /// Identifies the present state of the place.
    pub etag: String,
    /// `None`: a built-in message, or a change that was only tried.
    pub saved: Option<TemplateChange>,
}

/// One page of templates.
#[derive(Debug)]
pub struct TemplateStates {
    /// By event type, content item and locale.
    pub templates: Vec<TemplateState>,
    /// Where the next page begins; `None`: there are no more.
    pub more_after: Option<Place>,
}

impl TemplateState {
    /// A version that has words. `etag` is that of the present state; `None`: of this version.
    fn of(version: TemplateVersion, etag: Option<String>) -> Option<Self> {
        let form = version.form()?.clone();
        let TemplateVersion { place, change, .. } = version;
        Some(Self {
            level: level(&place),
            etag: etag.unwrap_or_else(|| etag_of(&place, change.version, Some(&form))),
            version: change.version,
            place,
            form,
            saved: Some(change),
        })
    }
}

/// The level of the tenant's templates for a place.
fn level(place: &Place) -> Level {
    if place.content.is_some() { Level::ContentItem } else { Level::Tenant }
}

/// The place in the audit trail.
fn object(place: &Place) -> String {
    format!("template:{place}")
}

/// Words in the audit trail: enough to find the version that has them, and to prove that it does.
/// The words themselves would make pages of the trail too large.
fn shown(place: &Place, version: u32, form: &Form) -> Value {
    let text = serde_json::to_string(form).unwrap_or_default();
    let level = level(place);
    let (bytes, hash) = (text.len(), hex(&Sha256::digest(&text)[..]));
    json!({ "level": level, "version": version, "bytes": bytes, "sha256": hash })
}
