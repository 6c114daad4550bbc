//! Changes of event types that would break their templates are refused.

use std::sync::Arc;

use crate::app::{App, Error};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::message::event::Spec;
use crate::domain::message::event::definition::{Definition, OwnField};
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::domain::message::problem::Problem;
use crate::domain::message::template::{Form, Place, check, fields_read, has_field, reads_all};
use crate::store::{TemplateFilter, TemplateVersion};

/// Templates, or fields, that are named in a refusal.
const NAMED: usize = 3;
/// Templates that are read at a time.
const PAGE: u32 = 50;

impl App {
    /// Refuses to delete a type that has templates, to remove a field that a template uses, or to
    /// change one so that SetTemplate would refuse a template that uses it. Without a definition
    /// there is no such type, before or after.
    pub(in crate::app) async fn keeps_templates(
        &self,
        tenant: &TenantId,
        event: &EventType,
        before: Option<&Definition>,
        after: Option<&Definition>,
    ) -> Result<(), Error> {
        let Some(after) = after else { return self.has_no_templates(tenant, event).await };
        let change = FieldsChange::of(event, before, after);
        if change.changed.is_empty() {
            return Ok(());
        }
        let change = Arc::new(change);
        let filter = TemplateFilter { event: Some(event.clone()), content: None };
        let mut last = None;
        loop {
            let page = self.store.templates().list(tenant, &filter, last.as_ref(), PAGE).await?;
            let (templates, of) = (page.templates, Arc::clone(&change));
            let users = self.checking(tenant, move || of.users(templates)).await?;
            for user in users {
                self.keeps_template(tenant, &change, user).await?;
            }
            last = page.last.filter(|_| page.more);
            if last.is_none() {
                return Ok(());
            }
        }
    }

    /// Refuses a change that breaks this template. Each check takes the tenant's turn, as that of
    /// SetTemplate does.
    async fn keeps_template(
        &self,
        tenant: &TenantId,
        change: &Arc<FieldsChange>,
        user: FieldUser,
    ) -> Result<(), Error> {
        let place = named(&user.place);
        let problem = if let Some(path) = &user.lost {
            format!("must keep {path}: the template {place} uses it")
        } else {
            let fields = user.fields.join(", ");
            let of = Arc::clone(change);
            match self.checking(tenant, move || of.problem(&user)).await? {
                None => return Ok(()),
                Some(problem) => format!(
                    "must keep {fields} unchanged: the template {place} relies on it, and \
                     {problem}"
                ),
            }
        };
        let advice = "change the template with SetTemplate first";
        Err(Error::invalid("event_type.fields", format!("{problem}; {advice}")))
    }

    async fn has_no_templates(&self, tenant: &TenantId, event: &EventType) -> Result<(), Error> {
        let places = self.store.templates().places(tenant).await?;
        let places: Vec<_> =
            places.iter().filter(|place| place.event == *event).map(named).collect();
        if places.is_empty() {
            return Ok(());
        }
        let (count, them) = match places.len() {
            1 => ("1 template".to_owned(), "it"),
            count => (format!("{count} templates"), "them"),
        };
        let more = if places.len() > NAMED { ", …" } else { "" };
        let named = places.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let problem =
            format!("has {count} ({named}{more}): remove {them} with ResetTemplate first");
        Err(Error::invalid("name", problem))
    }
}

/// A change of the fields of a type.
struct FieldsChange {
    event: EventType,
    before: TenantTypes,
    after: TenantTypes,
    before_fields: Vec<OwnField>,
    after_fields: Vec<OwnField>,
    /// The fields that are no longer the same, as they were and as they become.
    changed: Vec<OwnField>,
}

/// A template that uses a field that changes.
struct FieldUser {
    place: Place,
    form: Form,
    /// The changed fields that it uses.
    fields: Vec<String>,
    /// A field that there is no longer.
    lost: Option<String>,
}

impl FieldsChange {
    fn of(event: &EventType, before: Option<&Definition>, after: &Definition) -> Self {
        let types =
            |definition: &Definition| TenantTypes::new([(event.clone(), definition.clone())]);
        let before_fields = before.map(fields).unwrap_or_default().to_vec();
        let after_fields = fields(after).to_vec();
        let is_kept = |old: &&OwnField| after_fields.iter().any(|new| is_same(old, new));
        let mut changed: Vec<OwnField> =
            before_fields.iter().filter(|old| !is_kept(old)).cloned().collect();
        // A new field breaks nothing.
        let became = |new: &&OwnField| changed.iter().any(|old| old.path == new.path);
        let became: Vec<OwnField> = after_fields.iter().filter(became).cloned().collect();
        changed.extend(became);
        Self {
            event: event.clone(),
            before: before.map(types).unwrap_or_default(),
            after: types(after),
            before_fields,
            after_fields,
            changed,
        }
    }

    /// The templates that use a field that changes.
    fn users(&self, templates: Vec<TemplateVersion>) -> Vec<FieldUser> {
        let (before, after) = (specs(&self.before_fields), specs(&self.after_fields));
        let user = |template: TemplateVersion| {
            let form = template.form()?.clone();
            let read = fields_read(&form);
            let gone = |path: &&String| has_field(&before, path) && !has_field(&after, path);
            let lost = read.iter().find(gone).cloned();
            let all = reads_all(&form);
            let is_used = |field: &&OwnField| {
                let spec = [field.spec()];
                all || read.iter().any(|path| has_field(&spec, path))
            };
            let used = self.changed.iter().filter(is_used);
            let mut fields: Vec<String> = used.map(|field| field.path.clone()).collect();
            fields.sort_unstable();
            fields.dedup();
            fields.truncate(NAMED);
            let is_user = lost.is_some() || !fields.is_empty();
            is_user.then_some(FieldUser { place: template.place, form, fields, lost })
        };
        templates.into_iter().filter_map(user).collect()
    }

    /// The first problem for which SetTemplate would refuse the template after the change, if it
    /// would take it before.
    fn problem(&self, user: &FieldUser) -> Option<Problem> {
        let problems = |types: &TenantTypes| {
            let kind = types.find(&self.event)?;
            check(&user.form, &user.place.locale, &kind, &self.event).into_iter().next()
        };
        let problem = problems(&self.after)?;
        problems(&self.before).is_none().then_some(problem)
    }
}

/// Whether data and templates cannot tell the two apart.
fn is_same(old: &OwnField, new: &OwnField) -> bool {
    OwnField { meaning: String::new(), ..old.clone() }
        == OwnField { meaning: String::new(), ..new.clone() }
}

/// A template in a sentence about its event type.
fn named(place: &Place) -> String {
    match &place.content {
        Some(content) => format!("{} of content {content}", place.locale),
        None => place.locale.to_string(),
    }
}

/// The fields that a tenant defined.
fn fields(definition: &Definition) -> &[OwnField] {
    definition.own.as_ref().map(|own| own.fields.as_slice()).unwrap_or_default()
}

fn specs(fields: &[OwnField]) -> Vec<Spec<'_>> {
    fields.iter().map(OwnField::spec).collect()
}
