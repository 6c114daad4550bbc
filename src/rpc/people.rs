//! Calls about people and their identities: protobuf <-> app.

use std::collections::HashSet;
use std::time::Duration;

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::{self, count, small, time};
use super::pb;
use crate::app::Error;
use crate::app::pin_identities::{PinWish, RefusedPin};
use crate::domain::ids::SlackUserId;
use crate::domain::limits;

pub(super) async fn upsert(
    server: &Server,
    inbound: Inbound,
    message: pb::UpsertPeopleRequest,
) -> Result<pb::UpsertPeopleResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let max = limits::PEOPLE_PER_CALL;
    if message.people.is_empty() || message.people.len() > max {
        let was = message.people.len();
        fields.bad("people", format!("must be between 1 and {max}, was {was}"));
    }
    let mut people = Vec::new();
    for (index, person) in message.people.into_iter().take(max).enumerate() {
        people.extend(fields.person(&format!("people[{index}]"), person));
    }
    let (call, people) = inbound.complete(fields, tenant, actor, Some(people))?;
    let stored = server.app.upsert_people(&call, &people).await?;
    Ok(pb::UpsertPeopleResponse { stored: small(stored) })
}

pub(super) async fn pin(
    server: &Server,
    inbound: Inbound,
    message: pb::PinIdentityRequest,
) -> Result<pb::PinIdentityResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let user = fields.user("user_id", message.user_id);
    let member = fields.take("slack_user_id", SlackUserId::parse(message.slack_user_id));
    let (call, (user, member)) = inbound.complete(fields, tenant, actor, user.zip(member))?;
    let identity = server.app.pin_identity(&call, user, member).await?;
    Ok(pb::PinIdentityResponse { identity: Some(encode::identity(identity)) })
}

pub(super) async fn pin_many(
    server: &Server,
    inbound: Inbound,
    message: pb::PinIdentitiesRequest,
) -> Result<pb::PinIdentitiesResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let max = limits::PINS_PER_CALL;
    if message.pins.is_empty() || message.pins.len() > max {
        let was = message.pins.len();
        fields.bad("pins", format!("must be between 1 and {max}, was {was}"));
    }
    let (mut pins, mut named) = (Vec::new(), HashSet::new());
    for (index, pin) in message.pins.into_iter().take(max).enumerate() {
        let at = |name: &str| format!("pins[{index}].{name}");
        let user = fields.user(&at("user_id"), pin.user_id);
        let member = fields.take(&at("slack_user_id"), SlackUserId::parse(pin.slack_user_id));
        let Some((user, member)) = user.zip(member) else { continue };
        if !named.insert(user.clone()) {
            fields.bad(at("user_id"), "is named twice");
        }
        pins.push(PinWish { user, member });
    }
    let (call, pins) = inbound.complete(fields, tenant, actor, Some(pins))?;
    let (pinned, refused) = server.app.pin_identities(&call, pins).await?;
    Ok(pb::PinIdentitiesResponse {
        pinned: small(pinned),
        refused: refused.into_iter().map(refused_pin).collect(),
    })
}

fn refused_pin(refused: RefusedPin) -> pb::RefusedPin {
    pb::RefusedPin {
        index: small(refused.index),
        user_id: refused.pin.user.into(),
        slack_user_id: refused.pin.member.into(),
        sentence: refused.sentence.into(),
    }
}

pub(super) async fn create_link(
    server: &Server,
    inbound: Inbound,
    message: pb::CreateIdentityLinkRequest,
) -> Result<pb::CreateIdentityLinkResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let user = fields.user("user_id", message.user_id);
    let life = fields.life_of_link(message.valid_for);
    let (call, user) = inbound.complete(fields, tenant, actor, user)?;
    let link = server.app.create_identity_link(&call, &user, life).await?;
    Ok(pb::CreateIdentityLinkResponse {
        url: link.url.into(),
        expires_at: Some(time(link.expires_at)),
    })
}

pub(super) async fn rename(
    server: &Server,
    inbound: Inbound,
    message: pb::RenamePersonRequest,
) -> Result<pb::RenamePersonResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let from = fields.user("user_id", message.user_id);
    let to = fields.user("new_user_id", message.new_user_id);
    let (call, (from, to)) = inbound.complete(fields, tenant, actor, from.zip(to))?;
    let waiting = server.app.rename_person(&call, &from, &to).await?;
    Ok(pb::RenamePersonResponse { waiting_messages: count(waiting) })
}

pub(super) async fn merge(
    server: &Server,
    inbound: Inbound,
    message: pb::MergePeopleRequest,
) -> Result<pb::MergePeopleResponse, Error> {
    let mut fields = Fields::default();
    let tenant = fields.tenant(message.tenant_id);
    let actor = fields.actor(message.actor);
    let from = fields.user("user_id", message.user_id);
    let into = fields.user("into_user_id", message.into_user_id);
    let (call, (from, into)) = inbound.complete(fields, tenant, actor, from.zip(into))?;
    let waiting = server.app.merge_people(&call, &from, &into).await?;
    Ok(pb::MergePeopleResponse { waiting_messages: count(waiting) })
}

impl Fields {
    fn life_of_link(&mut self, given: Option<prost_types::Duration>) -> Duration {
        const LEAST: Duration = Duration::from_secs(60);
        let Some(given) = given else { return limits::DEFAULT_IDENTITY_LINK };
        match Duration::try_from(given) {
            Ok(life) if (LEAST..=limits::MAX_IDENTITY_LINK).contains(&life) => life,
            Ok(_) | Err(_) => {
                self.bad("valid_for", "must be between 1 minute and 7 days");
                limits::DEFAULT_IDENTITY_LINK
            }
        }
    }
}
