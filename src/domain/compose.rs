//! From what was accepted to what is posted: the template of an event type, filled in for one
//! reader. Notify composes with it, and so does delivery for what was resolved later, so that both
//! say the same.

use serde_json::Value;

use super::event;
use super::ids::EventType;
use super::person::Person;
use super::render::{self, Context, Link, Reader, RenderError, Rendered};
use super::settings::Settings;
use super::time::Timestamp;

/// Everything a message is made of.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub event: &'a EventType,
    /// An object that passed [`event::validate_data`].
    pub data: &'a Value,
    /// The URL of the thing itself.
    pub link: Option<&'a str>,
    /// Absent for posts to a channel.
    pub person: Option<&'a Person>,
    /// The zone that the reader set in Slack.
    pub member_time_zone: Option<&'a str>,
    pub settings: &'a Settings,
    /// The notification's time, by the database's clock.
    pub now: Timestamp,
}

/// Why there is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody has worded this event type.
    #[error("there is no template for {0}")]
    NoTemplate(EventType),
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// Times are in the zone of the person's record, else in the member's, else in the tenant's.
pub fn compose(message: &Message<'_>) -> Result<Rendered, Error> {
    let Some(built_in) = event::find(message.event) else {
        return Err(Error::NoTemplate(message.event.clone()));
    };
    let link = message.link.map(|url| Link { url: url.to_owned(), label: None });
    let context = Context {
        event: message.event,
        data: message.data,
        reader: &reader(message),
        link: link.as_ref(),
        now: message.now,
    };
    Ok(render::render(&built_in.template(), &context)?)
}

fn reader(message: &Message<'_>) -> Reader {
    let of_person = |field: fn(&Person) -> &Option<String>| {
        message.person.and_then(|person| field(person).clone())
    };
    let settings = message.settings;
    Reader {
        name: of_person(|person| &person.display_name),
        locale: of_person(|person| &person.locale).or_else(|| Some(settings.locale.clone())),
        time_zone: of_person(|person| &person.time_zone)
            .or_else(|| message.member_time_zone.map(str::to_owned))
            .unwrap_or_else(|| settings.time_zone.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::UserId;

    #[test]
    fn the_nearest_zone_counts() {
        let settings = Settings { time_zone: "Asia/Tokyo".into(), ..Settings::default() };
        let mut person = Person::bare(UserId::parse("u1").unwrap());
        let event = EventType::parse("task.due").unwrap();
        let message = |person, member_time_zone| {
            let data = &Value::Null;
            let event = &event;
            let settings = &settings;
            let now = Timestamp(0);
            reader(&Message { event, data, link: None, person, member_time_zone, settings, now })
                .time_zone
        };
        assert_eq!(message(None, None), "Asia/Tokyo");
        assert_eq!(message(Some(&person), Some("Europe/Vienna")), "Europe/Vienna");
        person.time_zone = Some("America/Lima".into());
        assert_eq!(message(Some(&person), Some("Europe/Vienna")), "America/Lima");
    }

    #[test]
    fn what_nobody_worded_is_an_error() {
        let (event, data) = (EventType::parse("own.type").unwrap(), Value::Null);
        let message = Message {
            event: &event,
            data: &data,
            link: None,
            person: None,
            member_time_zone: None,
            settings: &Settings::default(),
            now: Timestamp(0),
        };
        assert_eq!(compose(&message), Err(Error::NoTemplate(event.clone())));
    }
}
