//! Merges facts about single members, from an event or a lookup. Facts that are new become a change
//! for all replicas.
//!
//! Every fact that an expression could read counts, so that a mapping that is set later finds it in
//! the store. Changes of fields that change all day (a status, a picture) are dropped, and cause
//! neither a row nor a reload
//! ([`Snapshot::news`](crate::domain::directory::snapshot::Snapshot::news)). During a crawl nothing
//! is dropped, because its pages may be older.

use std::collections::HashMap;
use std::sync::Arc;

use super::evaluate::Guard;
use super::load::Loaded;
use super::{Directory, Error, Key};
use crate::domain::directory::member::Member;
use crate::domain::directory::snapshot::{Difference, ProfileFields};
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Stop};
use crate::slack::MemberJson;
use crate::store::{ListBasis, MemberChange, Merged, Settlement};

/// How often to repeat because the list changed while the news was weighed.
const ATTEMPTS: usize = 8;

/// The source of facts about members.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChangeSource<'a> {
    /// Events, which are settled with the same commit.
    Events(&'a Settlement),
    /// An answer of Slack's. `fields_moved`: different custom fields were stored for these members.
    /// No other replica knows them, whatever this replica's list has of them by now.
    LookUp { fields_moved: bool },
}

/// How many member objects were merged and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MergeOutcome {
    /// Became changes.
    pub(super) changed: usize,
    /// Said nothing new, or were older than the known state.
    pub(super) dropped: usize,
}

impl Directory {
    /// Merges the members that a lookup returned. This replica uses them when the call returns,
    /// others once they notice.
    pub async fn learn(&self, id: InstallationId, members: &[MemberJson]) -> Result<(), Error> {
        self.merge(id, members, ChangeSource::LookUp { fields_moved: false }).await.map(drop)
    }

    /// The same, with the members' custom fields if the mapping reads any: these are stored first,
    /// so that every replica that takes up the change finds them.
    pub(super) async fn learn_with_fields(
        &self,
        id: InstallationId,
        mapping: &Mapping,
        members: &[MemberJson],
    ) -> Result<(), Error> {
        let mut fields_moved = false;
        if mapping.slack.reads_profile_fields() {
            for member in members {
                fields_moved |= self.fetch_fields_now(id, member).await?;
            }
        }
        self.merge(id, members, ChangeSource::LookUp { fields_moved }).await.map(drop)
    }

    /// Merges, and settles the events that reported it. `None`: the caller no longer holds the
    /// events.
    pub(super) async fn merge(
        &self,
        id: InstallationId,
        members: &[MemberJson],
        source: ChangeSource<'_>,
    ) -> Result<Option<MergeOutcome>, Error> {
        let (settlement, fields_moved) = match source {
            ChangeSource::Events(settlement) => (Some(settlement), false),
            ChangeSource::LookUp { fields_moved } => (None, fields_moved),
        };
        let mappings = self.mappings_in(id).await?;
        let reads_fields = mappings.iter().any(|mapping| mapping.slack.reads_profile_fields());
        for _ in 0..ATTEMPTS {
            let state = self.inner.store.member_lists().state(id).await?;
            let basis = ListBasis::of(state.as_ref());
            let mut lists = Vec::with_capacity(mappings.len());
            for mapping in &mappings {
                lists.push((Arc::clone(mapping), self.current(id, mapping).await?));
            }
            let fields = if reads_fields {
                self.fields_of(id, members.iter().map(|json| json.get().as_bytes())).await?
            } else {
                ProfileFields::default()
            };
            let anyway = basis.crawling || fields_moved;
            let changes = news(lists, anyway, members, fields).await?;
            if changes.is_empty() && settlement.is_none() {
                return Ok(Some(MergeOutcome { changed: 0, dropped: members.len() }));
            }
            let store = &self.inner.store;
            match store.member_lists().merge_members(id, basis, &changes, settlement).await? {
                Merged::Moved => {}
                Merged::Fenced => return Ok(None),
                Merged::Done { changes } => {
                    if changes > 0 {
                        self.announce(id).await;
                        for mapping in &mappings {
                            self.renew(id, mapping).await?;
                        }
                    }
                    let dropped = members.len() - changes;
                    return Ok(Some(MergeOutcome { changed: changes, dropped }));
                }
            }
        }
        Err(Error::Moving)
    }

    /// Brings the list in memory up to date. A list that is not in memory is not loaded.
    async fn renew(&self, id: InstallationId, mapping: &Mapping) -> Result<(), Error> {
        let key: Key = (id, mapping.slack.source().into());
        if self.inner.snapshots.contains_key(&key) {
            self.current(id, mapping).await?;
        }
        Ok(())
    }

    /// The mappings of all tenants that use a workspace, each Slack attribute once.
    async fn mappings_in(&self, id: InstallationId) -> Result<Vec<Arc<Mapping>>, Error> {
        let mut mappings = HashMap::new();
        for settings in self.inner.store.tenancy().settings_in(id).await? {
            match self.mapping(&settings).await {
                Ok(mapping) => {
                    mappings.insert(mapping.slack.source().to_owned(), mapping);
                }
                // A tenant's broken mapping is reported when that tenant uses it.
                Err(Error::Mapping(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(mappings.into_values().collect())
    }
}

/// The members with news. An attribute that is more than a path is evaluated off the runtime.
async fn news(
    lists: Vec<List>,
    anyway: bool,
    members: &[MemberJson],
    fields: ProfileFields,
) -> Result<Vec<MemberChange>, Error> {
    let plain = lists.iter().all(|(mapping, _)| mapping.slack.is_plain());
    let stop = Stop::default();
    let guard = Guard::of(&stop);
    let pick = move |members: &[MemberJson]| -> Vec<MemberChange> {
        let news = members.iter().filter(|member| is_news(&lists, anyway, member, &fields, &stop));
        news.filter_map(change).collect()
    };
    let changes = if plain {
        pick(members)
    } else {
        let members = members.to_vec();
        let work = tokio::task::spawn_blocking(move || pick(&members));
        work.await.map_err(|_| Error::Stopped)?
    };
    guard.done();
    Ok(changes)
}

/// A tenant's mapping and the list under it.
type List = (Arc<Mapping>, Arc<Loaded>);

/// Whether any tenant's list lacks the facts of the object. Without tenants nothing is news: a
/// workspace that no tenant uses is read when one connects. `anyway`: facts that this replica's
/// list already has count as news too, since other replicas may lack them.
fn is_news(
    lists: &[List],
    anyway: bool,
    member: &MemberJson,
    fields: &ProfileFields,
    stop: &Stop,
) -> bool {
    let json = member.get().as_bytes();
    let mut news = false;
    for (mapping, loaded) in lists {
        let told = match &loaded.snapshot {
            Some(snapshot) => snapshot.news(mapping, json, fields, stop),
            None => Member::from_slice(json).map(|_| Difference::Changed),
        };
        match told {
            Ok(Difference::Older) | Err(_) => return false,
            Ok(Difference::Changed) => news = true,
            Ok(Difference::Same) => news |= anyway,
        }
    }
    news
}

/// `None`: not a member.
fn change(json: &MemberJson) -> Option<MemberChange> {
    let member = Member::from_slice(json.get().as_bytes()).ok()?;
    Some(MemberChange {
        slack_user_id: member.id().to_owned(),
        updated: member.updated,
        body: json.get().as_bytes().to_vec(),
    })
}
