//! SetTemplate, ResetTemplate, RollbackTemplate.
//!
//! A change reads the present state after the version of the tenant's settings, and is written only
//! if that version is still the same, so that the state that it was decided from still holds.

use std::sync::Arc;

use serde_json::Value;

use super::read::etag_now;
use super::{NAME, TemplateState, invalid, level, object, shown};
use crate::app::changes::ATTEMPTS;
use crate::app::tenant_types::Catalogue;
use crate::app::{App, Call, Error, Violation};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::ids::TenantId;
use crate::domain::limits;
use crate::domain::message::problem::Problem;
use crate::domain::message::template::{Form, Place, etag as etag_of};
use crate::domain::settings::Settings;
use crate::store::{self, KeptWords, TemplateChange, TemplateEdit, TemplateVersion};

/// Stands for the etag of a place without words, whatever was there before.
const ABSENT: &str = "absent";

/// The wanted change of a place.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Set(&'a Form),
    Reset,
    /// To the words of this version.
    Rollback(u32),
}

/// The wanted change, and the conditions of the caller.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    place: &'a Place,
    wish: Wish<'a>,
    /// Only if the place is still in this state.
    etag: Option<&'a str>,
    /// It is checked and not made.
    dry_run: bool,
}

impl App {
    /// Saves the words of a place. `etag`: only if it is still in this state. `dry_run`: only
    /// checks them.
    pub async fn set_template(
        &self,
        call: &Call,
        place: &Place,
        form: &Form,
        etag: Option<&str>,
        dry_run: bool,
    ) -> Result<TemplateState, Error> {
        call.may(&access::SET_TEMPLATE)?;
        if !dry_run {
            self.store.tenancy().ensure_tenant(&call.tenant).await?;
        }
        let wanted = Wanted { place, wish: Wish::Set(form), etag, dry_run };
        let saved = self.change_template(call, "SetTemplate", wanted).await?;
        saved.ok_or(Error::NotFound(NAME))
    }

    /// Removes the words of a place. `etag`: only if it is still in this state.
    pub async fn reset_template(
        &self,
        call: &Call,
        place: &Place,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        call.may(&access::RESET_TEMPLATE)?;
        let wanted = Wanted { place, wish: Wish::Reset, etag, dry_run: false };
        self.change_template(call, "ResetTemplate", wanted).await.map(drop)
    }

    /// Saves the words of an earlier version again. `etag`: only if the place is still in this
    /// state.
    pub async fn rollback_template(
        &self,
        call: &Call,
        place: &Place,
        version: u32,
        etag: Option<&str>,
    ) -> Result<TemplateState, Error> {
        call.may(&access::ROLLBACK_TEMPLATE)?;
        let wanted = Wanted { place, wish: Wish::Rollback(version), etag, dry_run: false };
        let saved = self.change_template(call, "RollbackTemplate", wanted).await?;
        saved.ok_or(Error::NotFound(NAME))
    }

    /// Returns the state afterwards; `None`: the place has no words of its own. The same state is
    /// not written again.
    async fn change_template(
        &self,
        call: &Call,
        action: &str,
        wanted: Wanted<'_>,
    ) -> Result<Option<TemplateState>, Error> {
        let _turn = self.changes.turn(call.tenant.clone()).await;
        let place = wanted.place;
        for _ in 0..ATTEMPTS {
            let settings = self.store.tenancy().settings(&call.tenant).await?;
            // A real call creates the tenant first; a dry run answers as if it had.
            let of_new = || wanted.dry_run.then(Settings::default);
            let settings = settings.or_else(of_new).ok_or(Error::NotFound("tenant"))?;
            let types = self.types_of(&call.tenant, settings.version).await?;
            let present = self.store.templates().get(&call.tenant, place, None).await?;
            let etag = etag_now(place, present.as_ref())?;
            let before = present.as_ref().and_then(TemplateVersion::form);
            if !wanted.is_of(&etag, before) {
                return Err(Error::Changed(NAME));
            }
            let form = self.form_after(call, &types, before.is_some(), wanted).await?;
            let version = present.as_ref().map_or(0, |it| it.change.version).saturating_add(1);
            if form.as_ref() == before {
                return Ok(present.and_then(|it| TemplateState::of(it, Some(etag))));
            }
            if wanted.dry_run {
                return Ok(form.map(|form| state(place, form, version, etag, None)));
            }
            let before = before.map(|form| shown(place, version - 1, form));
            let edit = TemplateEdit {
                place,
                form: form.as_ref(),
                version,
                rolled_back_to: wanted.rolled_back_to(),
                caller: &call.caller.principal,
                actor: call.actor.as_ref().map(|actor| &actor.user_id),
                settings_version: settings.version,
            };
            if let Some(saved) = self.save_template(call, action, edit, before).await? {
                return Ok(form.map(|form| {
                    let etag = etag_of(place, version, Some(&form));
                    state(place, form, version, etag, Some(saved))
                }));
            }
        }
        Err(Error::Changed(NAME))
    }

    /// Writes a change with its entry in the audit trail, in which `before` are the words before
    /// it. `None`: another change came first.
    async fn save_template(
        &self,
        call: &Call,
        action: &str,
        edit: TemplateEdit<'_>,
        before: Option<Value>,
    ) -> Result<Option<TemplateChange>, Error> {
        let after = edit.form.map(|form| shown(edit.place, edit.version, form));
        let detail = AuditDetail { object: object(edit.place), before, after };
        let entry = Entry { detail, ..call.entry(action) };
        let store = self.store.noting(&entry).await?;
        match store.templates().save(&call.tenant, edit).await {
            Ok(at) => Ok(Some(TemplateChange {
                version: edit.version,
                at,
                caller: edit.caller.as_str().to_owned(),
                actor: edit.actor.cloned(),
                rolled_back_to: edit.rolled_back_to,
                reset: edit.form.is_none(),
            })),
            Err(store::Error::Conflict(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The words after the change, if it may be made; `None`: none.
    async fn form_after(
        &self,
        call: &Call,
        types: &Arc<Catalogue>,
        is_worded: bool,
        wanted: Wanted<'_>,
    ) -> Result<Option<Form>, Error> {
        let place = wanted.place;
        let form = match wanted.wish {
            Wish::Reset if is_worded => return Ok(None),
            Wish::Reset => return Err(Error::NotFound(NAME)),
            Wish::Set(form) => {
                let problems = self.problems_at(call, types, place, form).await?;
                if !problems.is_empty() {
                    return Err(invalid(problems));
                }
                form.clone()
            }
            Wish::Rollback(version) => {
                let kept = self.store.templates().get(&call.tenant, place, Some(version)).await?;
                let form = words(kept, version)?;
                let problems = self.problems_at(call, types, place, &form).await?;
                let violation = |it: &Problem| {
                    let problem = format!("{version} is no longer accepted: {it}");
                    Violation::new("version", problem)
                };
                if !problems.is_empty() {
                    return Err(Error::Invalid(problems.iter().map(violation).collect()));
                }
                form
            }
        };
        if !is_worded {
            self.room_for(&call.tenant, place).await?;
        }
        Ok(Some(form))
    }

    /// All problems of words for a place.
    async fn problems_at(
        &self,
        call: &Call,
        types: &Arc<Catalogue>,
        place: &Place,
        form: &Form,
    ) -> Result<Vec<Problem>, Error> {
        self.template_problems(&call.tenant, types, &place.event, &place.locale, form).await
    }

    /// Refuses one more template than a tenant may have.
    async fn room_for(&self, tenant: &TenantId, place: &Place) -> Result<(), Error> {
        let places = self.store.templates().places(tenant).await?;
        let max = limits::TEMPLATES_OF_TENANT;
        if places.len() >= max {
            let problem = format!("the tenant has {max} templates: remove one with ResetTemplate");
            return Err(Error::invalid("template", problem));
        }
        let max = limits::TEMPLATE_LOCALES;
        let is_beside =
            |other: &&Place| other.event == place.event && other.content == place.content;
        if places.iter().filter(is_beside).count() >= max {
            let problem = format!(
                "the event type has templates in {max} locales here: remove one with ResetTemplate"
            );
            return Err(Error::invalid("template.locale", problem));
        }
        Ok(())
    }
}

impl Wanted<'_> {
    /// Whether the place is in a state that the caller allows.
    fn is_of(&self, etag: &str, present: Option<&Form>) -> bool {
        match self.etag {
            None => true,
            Some(ABSENT) => present.is_none(),
            Some(wanted) => wanted == etag,
        }
    }

    fn rolled_back_to(&self) -> u32 {
        match self.wish {
            Wish::Rollback(version) => version,
            Wish::Set(_) | Wish::Reset => 0,
        }
    }
}

/// The words of a version that is to be brought back.
fn words(kept: Option<TemplateVersion>, version: u32) -> Result<Form, Error> {
    match kept.ok_or(Error::NotFound("version of the template"))?.words {
        KeptWords::Form(form) => Ok(form),
        KeptWords::Unread => Err(Error::newer_template()),
        KeptWords::Reset => {
            let problem = format!("{version} is a removal: call ResetTemplate to repeat it");
            Err(Error::invalid("version", problem))
        }
    }
}

fn state(
    place: &Place,
    form: Form,
    version: u32,
    etag: String,
    saved: Option<TemplateChange>,
) -> TemplateState {
    TemplateState { place: place.clone(), level: level(place), form, version, etag, saved }
}
