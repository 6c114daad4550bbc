//! Notify's request: protobuf -> domain.

use super::call::Inbound;
use super::decode::{Fields, non_empty};
use super::pb;
use crate::app::notify::{Recipient, Request, Roles};
use crate::app::{Call, Error};
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{ChannelKey, ContentId, SubjectKey};

/// The request, or all its bad fields.
pub(super) fn decode(
    inbound: Inbound,
    message: pb::NotifyRequest,
) -> Result<(Call, Request), Error> {
    let mut fields = Fields::default();
    // The other half is for planning and storing.
    let patience = inbound.patience() / 2;
    let decide_within = fields.decide_within(message.decide_within).map(|it| it.min(patience));
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let request_id = fields.request_id(message.request_id);
    let event = fields.event_type(message.event_type);
    let subject = non_empty(message.subject_key)
        .and_then(|key| fields.take("subject_key", SubjectKey::parse(key)));
    // Whether the action has the subject that it needs is known with the event type.
    let action = action(&mut fields, message.subject_action);
    let everybody = message.recipients.is_empty() && action != Action::Post;
    let (recipients, roles) = if everybody {
        (Vec::new(), None)
    } else {
        let (recipients, roles) = recipients(&mut fields, message.recipients);
        (recipients, Some(roles))
    };
    let caused_by =
        non_empty(message.actor_user_id).and_then(|user| fields.user("actor_user_id", user));
    let data = fields.data(message.data);
    let link = fields.link(message.link);
    let content_id = non_empty(message.content_id)
        .and_then(|id| fields.take("content_id", ContentId::parse(id)));
    let expires_in = fields.expires_in(message.expires_in);
    let deliver_after = fields.time("deliver_after", message.deliver_after);
    let hold = fields.hold(message.hold);
    let priority = fields.priority("priority", message.priority);
    let parts = request_id.zip(event).zip(data);
    let (call, ((request_id, event), data)) = inbound.complete(fields, tenant, actor, parts)?;
    let request = Request {
        request_id,
        event,
        recipients,
        roles,
        actor: caused_by,
        data,
        link,
        content_id,
        expires_in,
        subject,
        action,
        deliver_after,
        hold,
        decide_within,
        priority,
    };
    Ok((call, request))
}

fn action(fields: &mut Fields, given: i32) -> Action {
    use pb::SubjectAction as Given;
    match Given::try_from(given) {
        Ok(Given::Unspecified | Given::NewMessage) => Action::Post,
        Ok(Given::Reply) => Action::Reply,
        Ok(Given::Replace) => Action::Replace,
        Ok(Given::Retract) => Action::Retract,
        Ok(Given::Done) => Action::Done,
        Err(_) => {
            fields.bad("subject_action", "is not a known action");
            Action::Post
        }
    }
}

/// The recipients, and the roles of those that are people.
fn recipients(fields: &mut Fields, given: Vec<pb::Recipient>) -> (Vec<Recipient>, Roles) {
    use crate::domain::limits::RECIPIENTS;
    let (mut decoded, mut roles) = (Vec::with_capacity(given.len().min(RECIPIENTS)), Roles::new());
    if given.is_empty() || given.len() > RECIPIENTS {
        let was = given.len();
        fields.bad("recipients", format!("must be between 1 and {RECIPIENTS}, was {was}"));
        return (decoded, roles);
    }
    for (index, recipient) in given.into_iter().enumerate() {
        let at = format!("recipients[{index}]");
        let named = fields.roles(&format!("{at}.roles"), recipient.roles);
        let Some(recipient) = target(fields, &at, recipient.target) else { continue };
        match recipient.user_id() {
            _ if named.is_empty() => {}
            Some(user) => roles.entry(user.clone()).or_default().extend(named),
            None => fields.bad(format!("{at}.roles"), "must be empty for a channel"),
        }
        decoded.push(recipient);
    }
    (decoded, roles)
}

fn target(
    fields: &mut Fields,
    at: &str,
    given: Option<pb::recipient::Target>,
) -> Option<Recipient> {
    use pb::recipient::Target;
    match given {
        Some(Target::UserId(id)) => fields.user(&format!("{at}.user_id"), id).map(Recipient::Known),
        Some(Target::Person(person)) => {
            fields.person(&format!("{at}.person"), person).map(Recipient::Described)
        }
        Some(Target::ChannelId(id)) => {
            fields.channel(&format!("{at}.channel_id"), id).map(Recipient::Channel)
        }
        Some(Target::ChannelKey(key)) => fields
            .take(&format!("{at}.channel_key"), ChannelKey::parse(key))
            .map(Recipient::ChannelKey),
        None => {
            fields.bad(at, "must be one of user_id, person, channel_id, channel_key");
            None
        }
    }
}
