//! SetPreference: a person turns Slack messages on or off. When messages are turned on, the
//! person's identity is found and the conversation is opened, so that the first notification can be
//! delivered.

use std::collections::BTreeSet;

use super::direct::MemberLookup;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, AuditPerson, Entry};
use crate::domain::delivery::verdict::FoundMember;
use crate::domain::ids::{ChannelId, EventType, UserId};
use crate::domain::message::event::test_message;
use crate::domain::reason::Suppression;
use crate::domain::settings::{Preference, Preferences, Settings, suppression};
use crate::workspace;

/// The state after the change.
#[derive(Debug, Default)]
pub struct PreferenceEffect {
    /// Which switch holds messages of this kind back now, if any.
    pub suppression: Option<Suppression>,
    pub found: Option<FoundMember>,
    /// The direct message conversation.
    pub channel: Option<ChannelId>,
    /// The obstacles to the first message.
    pub obstacles: Vec<Obstacle>,
}

/// Something that prevents a message.
#[derive(Debug)]
pub struct Obstacle {
    pub code: String,
    pub sentence: String,
}

impl App {
    /// Stores the choice first: it holds whatever Slack answers afterwards. `None` as event type
    /// means all types.
    pub async fn set_preference(
        &self,
        call: &Call,
        user: UserId,
        event: Option<EventType>,
        value: Preference,
    ) -> Result<PreferenceEffect, Error> {
        let acting = call.may_about(&access::SET_PREFERENCE, &user)?;
        let tenant = self.tenant(&call.tenant).await?;
        let types = self.types_of(&tenant.id, tenant.settings.version).await?;
        if let Some(unknown) = event.as_ref().filter(|event| !types.has(event)) {
            let problem = format!("{unknown} is not a known event type");
            return Err(Error::invalid("event_type", problem));
        }
        let role = if acting.is_administrator() { "administrator" } else { "person" };
        let by = format!("{role}:{}", call.caller.principal);
        let store = self.store.noting(&entry(call, &user, event.as_ref(), value)).await?;
        store.people().set_preference(&call.tenant, &user, event.as_ref(), value, &by).await?;
        let chosen = self.choices(&call.tenant, &user).await?;
        let held_back = match &event {
            Some(event) => suppression(&tenant.settings, &chosen, event),
            None => suppression_of_everything(&tenant.settings, &chosen),
        };
        let mut effect = PreferenceEffect { suppression: held_back, ..PreferenceEffect::default() };
        if value != Preference::On {
            return Ok(effect);
        }
        if let Some(by) = effect.suppression {
            effect.obstacles.push(Obstacle::new(by.code(), by.sentence()));
        }
        let known = self.known(&call.tenant, &user).await?;
        match self.find_and_store(&tenant, &known).await? {
            MemberLookup::Found(found) => {
                self.open_conversation(&found, &mut effect).await?;
                effect.found = Some(found);
            }
            MemberLookup::Unmatched(unmatched) => {
                let reason = unmatched.reason;
                effect.obstacles.push(Obstacle::new(reason.code(), reason.sentence()));
            }
        }
        Ok(effect)
    }

    /// Opens the conversation in advance; the effect gets the channel, or the obstacle.
    async fn open_conversation(
        &self,
        found: &FoundMember,
        effect: &mut PreferenceEffect,
    ) -> Result<(), Error> {
        let lane = found.slack_user_id.as_str();
        match self.workspaces.open_conversation(found.installation, &found.slack_user_id).await {
            Ok(channel) => {
                self.store.lanes().save_conversation(found.installation, lane, &channel).await?;
                effect.channel = Some(channel);
            }
            Err(workspace::Error::Slack(error)) => {
                let sentence = format!("Slack would not open the conversation: {error}");
                effect.obstacles.push(Obstacle { code: error.code().to_owned(), sentence });
            }
            Err(workspace::Error::Reconnect { code }) => {
                let sentence = "The workspace must be connected again first.".to_owned();
                effect.obstacles.push(Obstacle { code, sentence });
            }
            Err(workspace::Error::Busy { .. }) => {
                let sentence = "Slack's rate limit is used up; the first message opens the \
                                conversation."
                    .to_owned();
                effect.obstacles.push(Obstacle { code: "ratelimited".to_owned(), sentence });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn entry(call: &Call, user: &UserId, event: Option<&EventType>, value: Preference) -> Entry {
    let event = event.map_or("", EventType::as_str);
    let after = Some(serde_json::json!({ "event_type": event, "value": value }));
    Entry {
        subject: Some(AuditPerson { user: user.clone(), detail: String::new() }),
        detail: AuditDetail { after, ..AuditDetail::default() },
        ..call.entry("SetPreference")
    }
}

/// The switch that holds back an event type without a choice or switch of its own.
fn suppression_of_everything(settings: &Settings, chosen: &Preferences) -> Option<Suppression> {
    let settings = Settings { disabled_event_types: BTreeSet::new(), ..settings.clone() };
    let chosen = Preferences { all: chosen.all, ..Preferences::default() };
    suppression(&settings, &chosen, &test_message::event_type())
}

impl Obstacle {
    fn new(code: &str, sentence: &str) -> Self {
        Self { code: code.to_owned(), sentence: sentence.to_owned() }
    }
}
