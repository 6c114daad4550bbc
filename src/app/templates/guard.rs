//! Changes of event types that would break their templates are refused.

use crate::app::{App, Error};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::message::event::Spec;
use crate::domain::message::event::definition::{Definition, OwnField};
use crate::domain::message::template::{Place, fields_read, has_field};
use crate::store::{TemplateFilter, TemplateVersion};

/// Templates that are named in a refusal.
const NAMED: usize = 3;
/// Templates that are read at a time.
const PAGE: u32 = 50;

impl App {
    /// Refuses to delete a type that has templates, or to remove a field that a template uses.
    /// Without a definition there is no such type, before or after.
    pub(in crate::app) async fn keeps_templates(
        &self,
        tenant: &TenantId,
        event: &EventType,
        before: Option<&Definition>,
        after: Option<&Definition>,
    ) -> Result<(), Error> {
        let Some(after) = after else { return self.has_no_templates(tenant, event).await };
        let (before, after) = (before.map(fields).unwrap_or_default(), fields(after));
        if before.iter().all(|field| after.contains(field)) {
            return Ok(());
        }
        let [before, after] = [before, after].map(specs);
        let filter = TemplateFilter { event: Some(event.clone()), content: None };
        let mut last = None;
        loop {
            let page = self.store.templates().list(tenant, &filter, last.as_ref(), PAGE).await?;
            let templates = page.templates;
            let fields_of = |template: TemplateVersion| {
                let read = template.form().map(fields_read).unwrap_or_default();
                (template.place, read)
            };
            let work = move || templates.into_iter().map(fields_of).collect::<Vec<_>>();
            for (place, read) in self.checking(tenant, work).await? {
                let mut lost =
                    read.iter().filter(|it| has_field(&before, it) && !has_field(&after, it));
                if let Some(path) = lost.next() {
                    let place = named(&place);
                    let problem = format!(
                        "must keep {path}: the template {place} uses it; change the template with \
                         SetTemplate first"
                    );
                    return Err(Error::invalid("event_type.fields", problem));
                }
            }
            last = page.last.filter(|_| page.more);
            if last.is_none() {
                return Ok(());
            }
        }
    }

    async fn has_no_templates(&self, tenant: &TenantId, event: &EventType) -> Result<(), Error> {
        let keys = self.store.templates().keys(tenant).await?;
        let places = keys.iter().map(|(place, _)| place);
        let places: Vec<_> = places.filter(|place| place.event == *event).map(named).collect();
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
