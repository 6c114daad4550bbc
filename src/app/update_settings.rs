//! UpdateSettings: the switch that allows sending, the mapping, and the tenant's defaults.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::changes::ATTEMPTS;
use super::{App, Call, Error, Violation};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::limits;
use crate::domain::mapping::Expression;
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::domain::message::render;
use crate::domain::settings::Settings;
use crate::store;

/// The settings to change; `None` leaves a setting unchanged. An empty text restores the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    pub sending_allowed: Option<bool>,
    pub user_attribute: Option<String>,
    pub slack_attribute: Option<String>,
    pub opt_in: Option<bool>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub disabled_event_types: Option<BTreeSet<EventType>>,
    pub held_event_types: Option<BTreeSet<EventType>>,
    pub share_workspace: Option<bool>,
    /// Refuse the change if the settings have changed since this version.
    pub expected_version: Option<i64>,
}

impl App {
    /// Applies a change and returns the settings in force. Takes effect at once, also for queued
    /// messages: they read the settings again when their turn comes.
    pub async fn update_settings(
        &self,
        call: &Call,
        change: SettingsChange,
    ) -> Result<Settings, Error> {
        self.change_settings(call, &access::UPDATE_SETTINGS, change).await
    }

    /// Turns sending on or off, like [`App::update_settings`].
    pub async fn switch_sending(&self, call: &Call, allowed: bool) -> Result<Settings, Error> {
        let right = if allowed { &access::ALLOW_SENDING } else { &access::STOP_SENDING };
        self.change_settings(call, right, SettingsChange::sending(allowed)).await
    }

    async fn change_settings(
        &self,
        call: &Call,
        right: &access::Right,
        change: SettingsChange,
    ) -> Result<Settings, Error> {
        call.may(right)?;
        let (_, action) = right.names();
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let _turn = self.changes.turn(call.tenant.clone()).await;
        for _ in 0..ATTEMPTS {
            let current = self.store.tenancy().settings(&call.tenant).await?.unwrap_or_default();
            if change.expected_version.is_some_and(|expected| expected != current.version) {
                return Err(Error::Changed("settings"));
            }
            // Switching sending off needs no other table.
            let types = if change.names_event_types() {
                self.types_of(&call.tenant, current.version).await?
            } else {
                Arc::default()
            };
            let (attribute, before) = (current.slack_attribute.clone(), current.clone());
            let wanted = change.apply(current);
            check(&before, &wanted, &change, &types)?;
            let entry = changed(call, action, &before, &wanted);
            if wanted == before {
                // The call is recorded; the version, and everything that was read with it, stays.
                self.store.audit().write(&[entry]).await?;
                return Ok(wanted);
            }
            let store = self.store.noting(&entry).await?;
            match store.tenancy().save_settings(&call.tenant, &wanted).await {
                Ok(version) => {
                    if attribute != wanted.slack_attribute {
                        self.attribute_changed(&call.tenant, &wanted).await;
                    }
                    return Ok(Settings { version, ..wanted });
                }
                Err(store::Error::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Changed("settings"))
    }

    /// The settings are already in force: a failure here is not the caller's problem.
    async fn attribute_changed(&self, tenant: &TenantId, settings: &Settings) {
        let told = async {
            if let Some(installation) = self.store.tenancy().installation_of(tenant).await? {
                self.directory.attribute_changed(installation.id, settings).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%tenant, %error, "custom fields were not requested after a change");
        }
    }
}

impl SettingsChange {
    /// Turns sending on or off.
    #[must_use]
    pub fn sending(allowed: bool) -> Self {
        Self { sending_allowed: Some(allowed), ..Self::default() }
    }

    /// Whether it changes no setting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing = Self { expected_version: self.expected_version, ..Self::default() };
        *self == nothing
    }

    fn names_event_types(&self) -> bool {
        self.disabled_event_types.is_some() || self.held_event_types.is_some()
    }

    fn apply(&self, current: Settings) -> Settings {
        let defaults = Settings::default();
        let text = |change: &Option<String>, current: String, default: String| match change {
            Some(text) if text.trim().is_empty() => default,
            Some(text) => text.clone(),
            None => current,
        };
        Settings {
            sending_allowed: self.sending_allowed.unwrap_or(current.sending_allowed),
            user_attribute: text(
                &self.user_attribute,
                current.user_attribute,
                defaults.user_attribute,
            ),
            slack_attribute: text(
                &self.slack_attribute,
                current.slack_attribute,
                defaults.slack_attribute,
            ),
            opt_in: self.opt_in.unwrap_or(current.opt_in),
            locale: text(&self.locale, current.locale, defaults.locale),
            time_zone: text(&self.time_zone, current.time_zone, defaults.time_zone),
            disabled_event_types: self
                .disabled_event_types
                .clone()
                .unwrap_or(current.disabled_event_types),
            held_event_types: self.held_event_types.clone().unwrap_or(current.held_event_types),
            mandatory_event_types: current.mandatory_event_types,
            share_workspace: self.share_workspace.unwrap_or(current.share_workspace),
            version: current.version,
        }
    }
}

/// The audit entry: the settings that differ, before and after.
fn changed(call: &Call, action: &str, before: &Settings, after: &Settings) -> Entry {
    let fields = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (mut before, mut after) = (fields(before), fields(after));
    before.retain(|name, was| after.get(name) != Some(was) || after.remove(name).is_none());
    let (before, after) = (Some(before.into()), Some(after.into()));
    let detail = AuditDetail { object: "settings".into(), before, after };
    Entry { detail, ..call.entry(action) }
}

/// Expressions that the change does not name are not checked: one that was set earlier and is
/// refused now must not prevent switching sending off. The same holds for event types. A list may
/// repeat the names that it has now: those of deleted types remain in it.
fn check(
    before: &Settings,
    settings: &Settings,
    change: &SettingsChange,
    types: &TenantTypes,
) -> Result<(), Error> {
    let mut violations = Vec::new();
    for (field, source, named) in [
        ("settings.user_attribute", &settings.user_attribute, &change.user_attribute),
        ("settings.slack_attribute", &settings.slack_attribute, &change.slack_attribute),
    ] {
        if named.is_some()
            && let Err(error) = Expression::compile(source)
        {
            violations.push(Violation::new(field, error));
        }
    }
    if !render::zone::is_known(&settings.time_zone) {
        let problem = "is not an IANA time zone, such as Europe/Vienna";
        violations.push(Violation::new("settings.time_zone", problem));
    }
    if settings.locale.len() > limits::LOCALE_BYTES
        || !settings.locale.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        violations.push(Violation::new("settings.locale", "is not a BCP 47 tag, such as de-AT"));
    }
    for (field, present, named) in [
        (
            "settings.disabled_event_types",
            &before.disabled_event_types,
            &change.disabled_event_types,
        ),
        ("settings.held_event_types", &before.held_event_types, &change.held_event_types),
    ] {
        let named = named.iter().flatten().filter(|event| !present.contains(*event));
        for unknown in named.filter(|event| !types.has(event)) {
            let problem = format!("{unknown} is not a known event type");
            violations.push(Violation::new(field, problem));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
