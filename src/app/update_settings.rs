//! UpdateSettings: the switch that allows sending, the mapping, and the tenant's defaults.

use std::collections::BTreeSet;

use super::{App, Call, Error, Violation};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::mapping::Mapping;
use crate::domain::settings::Settings;
use crate::domain::{event, limits, render};
use crate::store;

/// What to change; `None` leaves a setting as it is. An empty text restores the default.
#[derive(Debug, Clone, Default)]
pub struct Change {
    pub sending_allowed: Option<bool>,
    pub user_attribute: Option<String>,
    pub slack_attribute: Option<String>,
    pub opt_in: Option<bool>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub disabled_event_types: Option<BTreeSet<EventType>>,
    pub held_event_types: Option<BTreeSet<EventType>>,
    /// Refuse if the settings moved on since this version.
    pub expected_version: Option<i64>,
}

/// How often a change without an expected version is tried against concurrent ones.
const ATTEMPTS: usize = 5;

impl App {
    /// Applies a change and returns the settings in force. Takes effect at once, also for queued
    /// messages: they read the settings again when their turn comes.
    pub async fn update_settings(&self, call: &Call, change: Change) -> Result<Settings, Error> {
        call.acting()?.may_administer()?;
        self.store.ensure_tenant(&call.tenant).await?;
        for _ in 0..ATTEMPTS {
            let current = self.store.settings(&call.tenant).await?.unwrap_or_default();
            if change.expected_version.is_some_and(|expected| expected != current.version) {
                return Err(Error::Changed("settings"));
            }
            let attribute = current.slack_attribute.clone();
            let wanted = change.apply(current);
            check(&wanted)?;
            match self.store.save_settings(&call.tenant, &wanted).await {
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

    /// The settings hold already: what fails here is not the caller's.
    async fn attribute_changed(&self, tenant: &TenantId, settings: &Settings) {
        let told = async {
            if let Some(installation) = self.store.installation_of(tenant).await? {
                self.directory.attribute_changed(installation.id, settings).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = told.await {
            tracing::warn!(%tenant, %error, "custom fields were not asked for after a change");
        }
    }
}

impl Change {
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
            version: current.version,
        }
    }
}

fn check(settings: &Settings) -> Result<(), Error> {
    let mut violations = Vec::new();
    if let Err(error) = Mapping::compile(&settings.user_attribute, &settings.slack_attribute) {
        violations.push(Violation::new(format!("settings.{}", error.field), &error.error));
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
    for (field, types) in [
        ("settings.disabled_event_types", &settings.disabled_event_types),
        ("settings.held_event_types", &settings.held_event_types),
    ] {
        for unknown in types.iter().filter(|event| event::find(event).is_none()) {
            let problem = format!("{unknown} is not a known event type");
            violations.push(Violation::new(field, problem));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
