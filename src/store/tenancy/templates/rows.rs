//! Rows of templates: how they are selected and read.

use std::collections::{BTreeSet, HashMap};

use sea_orm::Value;

use super::{KeptWords, TemplateChange, TemplateVersion};
use crate::domain::ids::{ContentId, EventType, TenantId, UserId};
use crate::domain::message::template::{Locale, Place};
use crate::domain::time::Timestamp;
use crate::store::database::entity::template_version;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::seal::data_keys::SealedCell;
use crate::store::{Error, Store};

/// The condition that finds a template by the values of [`key`].
pub(super) const KEY: &str =
    "t.tenant = $1 AND t.event_type = $2 AND t.content_id = $3 AND t.locale = $4";

/// A row, before the person in it is decrypted.
pub(super) struct ReadVersion {
    pub(super) place: Place,
    pub(super) version: u32,
    change: TemplateChange,
    actor: Vec<u8>,
    actor_key: Vec<u8>,
}

/// The templates `t` with their versions `v`.
pub(super) fn select() -> String {
    format!(
        "SELECT {}
            FROM templates t
            JOIN template_versions v ON v.tenant = t.tenant AND v.event_type = t.event_type
                AND v.content_id = t.content_id AND v.locale = t.locale",
        sql::columns::<template_version::Entity>("v")
    )
}

/// The values by which a template is found.
pub(super) fn key(tenant: &TenantId, place: &Place) -> Vec<Value> {
    let content = place.content.as_ref().map_or("", ContentId::as_str);
    params![tenant.as_str(), place.event.as_str(), content, place.locale.as_str()]
}

/// The place in three columns; `None`: only a newer release can read it.
pub(super) fn place(event: String, content: String, locale: String) -> Option<Place> {
    let content = match content.as_str() {
        "" => None,
        _ => Some(ContentId::parse(content).ok()?),
    };
    let (event, locale) = (EventType::parse(event).ok()?, Locale::parse(locale.as_str()).ok()?);
    Some(Place { event, content, locale })
}

/// One row of [`select`]; `None`: only a newer release can read its place.
pub(super) fn read(row: &Row) -> Result<Option<(ReadVersion, KeptWords)>, Error> {
    let damaged = || Error::Bug("a version of a template has a number that is none".into());
    let number = |number: i64| u32::try_from(number).map_err(|_| damaged());
    let model: template_version::Model = row.model()?;
    let Some(place) = place(model.event_type, model.content_id, model.locale) else {
        return Ok(None);
    };
    let words = match model.form {
        None => KeptWords::Reset,
        Some(form) => serde_json::from_str(&form).map_or(KeptWords::Unread, KeptWords::Form),
    };
    let version = number(model.version)?;
    let change = TemplateChange {
        version,
        at: Timestamp(model.saved_at),
        caller: model.caller,
        actor: None,
        rolled_back_to: number(model.rolled_back_to)?,
        reset: words == KeptWords::Reset,
    };
    let (actor, actor_key) = (model.actor, model.actor_key);
    Ok(Some((ReadVersion { place, version, change, actor, actor_key }, words)))
}

/// The name of a version within its tenant, to which the person in it is bound.
pub(super) fn bound(place: &Place, version: u32) -> String {
    let Place { event, content, locale } = place;
    let content = content.as_ref().map_or("", ContentId::as_str);
    // The content item may have any characters, so it comes last.
    format!("{event}/{locale}/{version}/{content}")
}

/// Where the person in a version is stored.
pub(super) fn cell(bound: &str) -> SealedCell<'_> {
    SealedCell { table: "template_versions", row: bound, column: "actor" }
}

impl Store {
    /// Rows of [`select`] with the people in them, unless those were deleted. Rows with a place
    /// that only a newer release can read are skipped.
    pub(super) async fn open_templates(
        &self,
        tenant: &TenantId,
        rows: &[Row],
    ) -> Result<Vec<TemplateVersion>, Error> {
        let read = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let is_unread = |read: &&Option<(ReadVersion, KeptWords)>| {
            read.as_ref().is_none_or(|(_, words)| *words == KeptWords::Unread)
        };
        self.pass_over(UnreadableRow::Template, read.iter().filter(is_unread).count() as u64);
        let read: Vec<_> = read.into_iter().flatten().collect();
        let ids = read.iter().map(|(read, _)| &read.actor_key).filter(|id| !id.is_empty());
        let ids: BTreeSet<_> = ids.cloned().collect();
        let keys =
            if ids.is_empty() { HashMap::new() } else { self.person_keys(tenant, &ids).await? };
        let mut opened = Vec::with_capacity(read.len());
        for (read, words) in read {
            let actor = match keys.get(&read.actor_key) {
                None => None,
                Some(key) => {
                    let plain = key.open(&cell(&bound(&read.place, read.version)), &read.actor)?;
                    String::from_utf8(plain.to_vec()).ok().and_then(|id| UserId::parse(id).ok())
                }
            };
            let change = TemplateChange { actor, ..read.change };
            opened.push(TemplateVersion { place: read.place, words, change });
        }
        Ok(opened)
    }
}
