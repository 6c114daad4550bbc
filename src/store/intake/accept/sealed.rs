//! The encrypted columns of a call.

use std::collections::BTreeSet;

use crate::domain::ids::UserId;
use crate::store::Error;
use crate::store::database::group::{Weight, breathe};
use crate::store::ends::erase::erased_request;
use crate::store::intake::new::Accept;
use crate::store::records::notifications::place;
use crate::store::records::sealed::{seal_content, seal_trace};
use crate::store::seal::person_keys::SealingKeys;
use crate::store::tenancy::people::{SealedIdentity, seal_identity, seal_record};

/// The people that parts of a call are about.
pub(super) fn people_of(accept: &Accept) -> Vec<&UserId> {
    let recipients = accept.deliveries.iter().filter_map(|delivery| delivery.user.as_ref());
    let people = accept.people.iter().map(|person| &person.user_id);
    let matched = accept.identities.iter().map(|(user, _)| user);
    let all: BTreeSet<_> = recipients.chain(people).chain(matched).collect();
    all.into_iter().collect()
}

/// A call and its encrypted columns.
pub(in crate::store) type SealedCall = (Accept, Sealed);

/// The encrypted columns, encrypted once however often the transaction is tried.
pub(in crate::store) struct Sealed {
    pub(super) data: Vec<u8>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) answer: Vec<u8>,
    /// The request id's replacement once a person of the call is deleted.
    pub(super) erased_request: String,
    /// In the order of the deliveries.
    pub(super) contents: Vec<Option<Vec<u8>>>,
    /// In the order of the deliveries.
    pub(super) traces: Vec<Option<Vec<u8>>>,
    /// In the order of the people.
    pub(super) records: Vec<Vec<u8>>,
    pub(super) identities: Vec<SealedIdentity>,
}

impl Sealed {
    pub(super) fn weight(&self) -> Weight {
        let contents = self.contents.iter().chain(&self.traces);
        let contents = contents.flatten().map(Vec::len).sum::<usize>();
        let records = self.records.iter().map(Vec::len).sum::<usize>();
        let link = self.link.as_ref().map_or(0, Vec::len);
        Weight {
            rows: 1 + self.contents.len() + self.records.len() + self.identities.len(),
            bytes: self.data.len() + link + self.answer.len() + contents + records,
        }
    }
}

pub(super) async fn seal(accept: &Accept, keys: &SealingKeys) -> Result<Sealed, Error> {
    let row = accept.id.to_string();
    let link = accept.link.as_deref();
    let (mut contents, mut traces) = (Vec::new(), Vec::new());
    for (number, delivery) in accept.deliveries.iter().enumerate() {
        breathe(number).await;
        let key = keys.of(delivery.user.as_ref())?;
        let content = delivery.content.as_deref();
        contents.push(content.map(|content| seal_content(key, delivery.id, content)).transpose()?);
        let trace = delivery.trace.as_deref();
        traces.push(trace.map(|trace| seal_trace(key, delivery.id, trace)).transpose()?);
    }
    let mut records = Vec::with_capacity(accept.people.len());
    for (number, person) in accept.people.iter().enumerate() {
        breathe(number).await;
        records.push(seal_record(keys.of(Some(&person.user_id))?, person)?);
    }
    let mut identities = Vec::with_capacity(accept.identities.len());
    for (number, (user, identity)) in accept.identities.iter().enumerate() {
        breathe(number).await;
        identities.push(seal_identity(keys.of(Some(user))?, user, identity)?);
    }
    let keys = keys.tenant();
    Ok(Sealed {
        data: keys.seal(&place(&row, "data"), &accept.data)?,
        link: link.map(|link| keys.seal(&place(&row, "link"), link.as_bytes())).transpose()?,
        answer: keys.seal(&place(&row, "answer"), &accept.answer)?,
        erased_request: erased_request(
            keys,
            accept.principal.as_str(),
            accept.request_id.as_str(),
        )?,
        contents,
        traces,
        records,
        identities,
    })
}
