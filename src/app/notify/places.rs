//! Where messages about a subject are, and the recipients of a call that names none: all that got a
//! message about the subject.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Recipient, Request};
use crate::app::tenant::Tenant;
use crate::app::{App, Error};
use crate::domain::delivery::admission::LaneAddress;
use crate::domain::ids::{ChannelId, ChannelKey, UserId};
use crate::domain::limits;
use crate::store::{KeyedChannel, SubjectConversation};

impl App {
    /// The places of messages about the subject, for actions on these messages. If the request
    /// names no recipients, all recipients with such a message are filled in.
    pub(super) async fn places(
        &self,
        tenant: &Tenant,
        request: &mut Request,
    ) -> Result<HashMap<UserId, LaneAddress>, Error> {
        let mut places = HashMap::new();
        let everybody = request.recipients.is_empty();
        let Some(subject) = &request.subject else { return Ok(places) };
        if request.action.speaks() && !everybody {
            return Ok(places);
        }
        let found = self.store.outbox().subject_conversations(&tenant.id, subject).await?;
        if everybody && found.len() > limits::SUBJECT_CONVERSATIONS {
            let most = limits::SUBJECT_CONVERSATIONS;
            let problem = format!("must be named: the subject has more than {most} conversations");
            return Err(Error::invalid("recipients", problem));
        }
        let keyed =
            if everybody { self.keyed_among(tenant, &found).await? } else { HashMap::new() };
        let (mut people, mut channels, mut keys) = (HashSet::new(), HashSet::new(), HashSet::new());
        for SubjectConversation { user, lane, channel } in found {
            if let Some(user) = user {
                if everybody && people.insert(user.clone()) {
                    request.recipients.push(Recipient::Known(user.clone()));
                }
                if !request.action.speaks() {
                    places.extend(lane.map(|lane| (user, lane)));
                }
                continue;
            }
            if !everybody {
                continue;
            }
            if let Some(key) = channel.filter(|key| keyed.contains_key(key)) {
                if keys.insert(key.clone()) {
                    request.recipients.push(Recipient::ChannelKey(key));
                }
            // Of no key, or of one that was released since: where its messages are.
            } else if let Some(LaneAddress { lane: channel, .. }) = lane
                && channels.insert(channel.clone())
                && let Ok(channel) = ChannelId::parse(channel)
            {
                request.recipients.push(Recipient::Channel(channel));
            }
        }
        Ok(places)
    }

    /// The channels that these conversations name by their keys, as far as the keys are known.
    async fn keyed_among(
        &self,
        tenant: &Tenant,
        found: &[SubjectConversation],
    ) -> Result<HashMap<ChannelKey, KeyedChannel>, Error> {
        let keys: BTreeSet<ChannelKey> =
            found.iter().filter_map(|conversation| conversation.channel.clone()).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(self.store.waiting().keyed_channels(&tenant.id, &keys).await?)
    }
}
