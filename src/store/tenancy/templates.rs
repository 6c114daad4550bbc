//! Templates of tenants: the words of messages, and the versions of each.
//!
//! A change is a change of the tenant's settings, as for event types (`event_types`): their version
//! is compared and incremented in the same transaction. The person on whose behalf it was made is
//! encrypted with that person's key, as in the audit trail: here, too, the write does not check the
//! key, whose use was recorded before.

mod rows;

mod change;

use crate::domain::ids::{ContentId, EventType, TenantId, UserId};
use crate::domain::limits;
use crate::domain::message::template::{Form, Place};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Error, Templates};

pub use change::TemplateEdit;
pub(super) use change::forget;

/// One version of a template.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateVersion {
    pub place: Place,
    pub words: KeptWords,
    pub change: TemplateChange,
}

/// The words of one version.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptWords {
    Form(Form),
    /// The template was removed.
    Reset,
    /// Only a newer release can read them.
    Unread,
}

/// How one version came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateChange {
    pub version: u32,
    pub at: Timestamp,
    /// The name of the caller.
    pub caller: String,
    /// The person on whose behalf the caller made it; `None` also if that person was deleted.
    pub actor: Option<UserId>,
    /// The version that was brought back; 0: another change.
    pub rolled_back_to: u32,
    /// Whether the template was removed.
    pub reset: bool,
}

/// The templates for one notification.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TemplatesOf {
    /// With the number of the version.
    pub templates: Vec<(Place, u32, Form)>,
    /// There is one that only a newer release can read.
    pub unread: bool,
}

/// The templates that a list is about; `None`: any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TemplateFilter {
    pub event: Option<EventType>,
    pub content: Option<ContentId>,
}

/// One page of templates.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplatePage {
    /// By event type, content item and locale.
    pub templates: Vec<TemplateVersion>,
    /// Whether there are more after [`TemplatePage::last`].
    pub more: bool,
    /// The last place that was looked at.
    pub last: Option<Place>,
}

impl Templates<'_> {
    /// The places of all templates of a tenant.
    pub async fn places(self, tenant: &TenantId) -> Result<Vec<Place>, Error> {
        const SQL: &str = "SELECT event_type, content_id, locale FROM templates
            WHERE tenant = $1 AND live = 1 ORDER BY event_type, content_id, locale";
        let rows = sql::all(self.store.reader(), SQL, params![tenant.as_str()]).await?;
        let mut places = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut columns = Columns::of(row);
            let (event, content) = (columns.take()?, columns.take()?);
            match rows::place(event, content, columns.take()?) {
                Some(place) => places.push(place),
                None => self.store.pass_over(UnreadableRow::Template, 1),
            }
        }
        Ok(places)
    }

    /// The templates of an event type for all content items, and those for this one.
    pub async fn of(
        self,
        tenant: &TenantId,
        event: &EventType,
        content: Option<&ContentId>,
    ) -> Result<TemplatesOf, Error> {
        let text = format!(
            "{}
                WHERE t.tenant = $1 AND t.event_type = $2 AND t.content_id IN ('', $3)
                    AND t.live = 1 AND v.version = t.version",
            rows::select()
        );
        let content = content.map_or("", ContentId::as_str);
        let values = params![tenant.as_str(), event.as_str(), content];
        let mut of = TemplatesOf::default();
        for row in sql::all(self.store.reader(), &text, values).await? {
            match rows::read(&row)? {
                Some((read, KeptWords::Form(form))) => {
                    of.templates.push((read.place, read.version, form));
                }
                Some((_, KeptWords::Reset)) => {}
                Some((_, KeptWords::Unread)) | None => of.unread = true,
            }
        }
        self.store.pass_over(UnreadableRow::Template, of.unread.into());
        Ok(of)
    }

    /// A version of a template; without a number the present one, which may be a removal. `None`:
    /// there never was one, or it is not kept.
    pub async fn get(
        self,
        tenant: &TenantId,
        place: &Place,
        version: Option<u32>,
    ) -> Result<Option<TemplateVersion>, Error> {
        let mut values = rows::key(tenant, place);
        let which = match version {
            None => "v.version = t.version",
            Some(version) => {
                values.push(i64::from(version).into());
                "v.version = $5"
            }
        };
        let text = format!("{} WHERE {} AND {which}", rows::select(), rows::KEY);
        let found = sql::all(self.store.reader(), &text, values).await?;
        Ok(self.store.open_templates(tenant, &found).await?.pop())
    }

    /// The kept changes of a template, newest first.
    pub async fn changes(
        self,
        tenant: &TenantId,
        place: &Place,
    ) -> Result<Vec<TemplateChange>, Error> {
        let text = format!(
            "{} WHERE {} ORDER BY v.version DESC LIMIT {}",
            rows::select(),
            rows::KEY,
            limits::TEMPLATE_VERSIONS
        );
        let values = rows::key(tenant, place);
        let found = sql::all(self.store.reader(), &text, values).await?;
        let opened = self.store.open_templates(tenant, &found).await?;
        Ok(opened.into_iter().map(|version| version.change).collect())
    }

    /// Up to `limit` present templates after a place.
    pub async fn list(
        self,
        tenant: &TenantId,
        filter: &TemplateFilter,
        after: Option<&Place>,
        limit: u32,
    ) -> Result<TemplatePage, Error> {
        let mut values = params![tenant.as_str()];
        let mut which = "t.tenant = $1 AND t.live = 1 AND v.version = t.version".to_owned();
        let mut bind = |text: &str, value: &str| {
            values.push(value.into());
            which.push_str(&text.replace("{}", &format!("${}", values.len())));
        };
        if let Some(event) = &filter.event {
            bind(" AND t.event_type = {}", event.as_str());
        }
        if let Some(content) = &filter.content {
            bind(" AND t.content_id = {}", content.as_str());
        }
        if let Some(after) = after {
            bind(" AND (t.event_type, t.content_id, t.locale) > ({}", after.event.as_str());
            bind(", {}", after.content.as_ref().map_or("", ContentId::as_str));
            bind(", {})", after.locale.as_str());
        }
        let text = format!(
            "{} WHERE {which} ORDER BY t.event_type, t.content_id, t.locale LIMIT {}",
            rows::select(),
            limit.saturating_add(1)
        );
        let mut found = sql::all(self.store.reader(), &text, values).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let last = found.last().map(rows::read).transpose()?.flatten().map(|(read, _)| read.place);
        let templates = self.store.open_templates(tenant, &found).await?;
        Ok(TemplatePage { templates, more: more && last.is_some(), last })
    }
}

impl TemplateVersion {
    /// The words; `None`: there are none, or only a newer release can read them.
    #[must_use]
    pub fn form(&self) -> Option<&Form> {
        match &self.words {
            KeptWords::Form(form) => Some(form),
            KeptWords::Reset | KeptWords::Unread => None,
        }
    }
}
