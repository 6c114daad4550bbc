//! The first reads of accepting, shared by many calls: calls that arrive while a read is under way
//! share the next one (`group`). Every read begins after the calls that it answers, so an answer is
//! never older than its call. Nothing is cached, except people's keys (`person_keys`), which are
//! read together with the people.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::ConnectionTrait as _;

use super::people::StoredPerson;
use super::{preferences, tenants};
use crate::domain::delivery::admission::Departure;
use crate::domain::ids::{InstallationId, TenantId, UserId};
use crate::domain::message::render::mentions::{Mentioned, Mentions};
use crate::domain::settings::{Preferences, Settings};
use crate::domain::time::Timestamp;
use crate::store::database::entity::{installation, person, preference};
use crate::store::database::group::{Bounds, breathe};
use crate::store::database::rows::{Column, Columns, given, parse_id};
use crate::store::database::sql::{self, Row, by_key};
use crate::store::lanes::order::behind;
use crate::store::seal::data_keys::KeyScope;
use crate::store::seal::person_keys::{KEY_COLUMNS, PersonHash, WrappedKey, person_hash};
use crate::store::{Error, Installation, People, Store, Tenancy};

/// The facts about a tenant at one moment.
#[derive(Debug, Clone)]
pub struct TenantFacts {
    pub settings: Settings,
    /// Dead or alive; `None` if none is connected.
    pub installation: Option<Installation>,
    /// The database's time of the read.
    pub now: Timestamp,
    /// The fate of waiting messages, if the connection was ended on purpose and none has been made
    /// since.
    pub departure: Option<Departure>,
    /// The installation of another workspace that it had before the present one.
    pub moved_from: Option<InstallationId>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A row of [`TenantFacts`], before it is parsed.
struct TenantRow {
    settings: Result<Settings, Error>,
    installation: Option<installation::Model>,
    now: Timestamp,
    departure: Option<Departure>,
    moved_from: Option<InstallationId>,
    deleting: bool,
}

impl TenantRow {
    fn read(row: &Row) -> Result<(String, Self), Error> {
        let mut columns = Columns::of(row);
        let name: String = columns.take()?;
        let (settings, version): (Option<String>, i64) = (columns.take()?, columns.take()?);
        let settings = tenants::settings_of(settings.as_deref(), version);
        let now = columns.time()?;
        let departure: Option<String> = columns.take()?;
        let moved_from = columns.take::<Option<String>>()?.as_deref().map(parse_id).transpose()?;
        let deleting = columns.take::<i32>()? != 0;
        let connected = columns.take::<Option<String>>()?.is_some();
        let installation = connected.then(|| row.model::<installation::Model>()).transpose()?;
        let departure = departure.as_deref().and_then(Departure::from_code);
        let departure = departure.filter(|_| !connected);
        Ok((name, Self { settings, installation, now, departure, moved_from, deleting }))
    }

    fn facts(&self) -> Result<TenantFacts, Error> {
        Ok(TenantFacts {
            settings: self.settings.clone()?,
            installation: self.installation.clone().map(Installation::try_from).transpose()?,
            now: self.now,
            departure: self.departure,
            moved_from: self.moved_from,
            deleting: self.deleting,
        })
    }
}

/// Facts about people of one tenant.
#[derive(Debug, Default)]
pub struct PeopleFacts {
    /// The people who are stored.
    pub people: HashMap<UserId, StoredPerson>,
    /// For those who set any preference.
    pub preferences: HashMap<UserId, Preferences>,
    /// People with a delivery that is resolving: deliveries accepted now queue behind it (invariant
    /// I4).
    pub resolving: HashSet<UserId>,
}

/// Some people of a tenant, by id, and the hashes by which their keys are found.
pub(in crate::store) type Lookup = (TenantId, Vec<(UserId, PersonHash)>);
/// Rows as stored.
#[derive(Default)]
pub(in crate::store) struct Rows {
    people: Vec<person::Model>,
    keys: Vec<WrappedKey>,
    choices: Vec<preference::Model>,
    resolving: Vec<String>,
}
pub(in crate::store) type Tenants = Result<Option<TenantFacts>, Error>;

/// The limits of one read.
pub(in crate::store) fn bounds() -> Bounds {
    Bounds { items: 128, rows: 2_000, bytes: usize::MAX, at_once: 2 }
}

impl Tenancy<'_> {
    /// Settings, installation and the time, in one statement for all waiting calls; `None` if the
    /// tenant does not exist.
    pub async fn tenant_facts(self, tenant: &TenantId) -> Result<Option<TenantFacts>, Error> {
        let (group, item) = (&self.store.inner.reading_tenants, tenant.clone());
        let read = group.read(self.store, tenant.clone(), item, 1, |store, tenants| async move {
            store.read_tenants(tenants).await
        });
        read.await
    }
}

impl People<'_> {
    /// The stored people and their preferences, in two statements for all waiting calls. Their keys
    /// are then in memory, for the write that follows.
    pub async fn facts(self, tenant: &TenantId, users: &[UserId]) -> Result<PeopleFacts, Error> {
        if users.is_empty() {
            return Ok(PeopleFacts::default());
        }
        let keys = self.store.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let mut named = Vec::with_capacity(users.len());
        for (number, user) in users.iter().enumerate() {
            breathe(number).await;
            named.push((user.clone(), person_hash(&keys, user)?));
        }
        let (group, item) = (&self.store.inner.reading_people, (tenant.clone(), named));
        let read =
            group.read(self.store, tenant.clone(), item, users.len(), |store, asked| async move {
                store.read_people(asked).await
            });
        let rows = read.await?;
        let keys = self.store.read_keys(tenant, &rows.keys).await?;
        let mut people = HashMap::with_capacity(rows.people.len());
        for (number, row) in rows.people.into_iter().enumerate() {
            breathe(number).await;
            let (stored, _) = self.store.open_person(tenant, row, &keys).await?;
            people.insert(stored.person.user_id.clone(), stored);
        }
        let user = |id| UserId::parse(id).map_err(|_| Error::Bug("a stored user id".into()));
        let resolving = rows.resolving.into_iter().map(user).collect::<Result<_, _>>()?;
        Ok(PeopleFacts { people, preferences: preferences::by_person(rows.choices)?, resolving })
    }

    /// The people that a message to this workspace mentions, as they are now. An identity in
    /// another workspace does not count: its member is a stranger here, or another person.
    pub async fn mentions(
        self,
        tenant: &TenantId,
        installation: InstallationId,
        users: &BTreeSet<UserId>,
    ) -> Result<Mentions, Error> {
        let users: Vec<UserId> = users.iter().cloned().collect();
        let facts = self.facts(tenant, &users).await?;
        let people = facts.people.into_iter().map(|(user, stored)| {
            let identity = stored.identity;
            let here = identity.filter(|identity| identity.installation == installation);
            let member = here.map(|identity| identity.slack_user_id);
            (user, Mentioned { member, display_name: stored.person.display_name })
        });
        Ok(people.collect())
    }
}

impl Store {
    async fn read_tenants(&self, tenants: Vec<TenantId>) -> Result<Vec<Tenants>, Error> {
        let names: BTreeSet<&str> = tenants.iter().map(TenantId::as_str).collect();
        let rows = names.into_iter().map(|name| [name.into()]).collect();
        let mut found = HashMap::new();
        for (table, values) in given(self.reader().get_database_backend(), [Column::Text], rows) {
            let text = format!(
                "SELECT t.tenant, t.settings, t.version, {{now}}, t.departure,
                        t.moved_from, CASE WHEN t.deleting_at IS NULL THEN 0 ELSE 1 END, {}
                    FROM {table}
                    JOIN tenants t ON t.tenant = column1
                    LEFT JOIN tenant_links l ON l.tenant = t.tenant
                    LEFT JOIN installations i ON i.id = l.installation",
                sql::columns::<installation::Entity>("i")
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let (name, row) = TenantRow::read(&row)?;
                found.insert(name, row);
            }
        }
        let facts = tenants
            .iter()
            .map(|tenant| found.get(tenant.as_str()).map(TenantRow::facts).transpose());
        Ok(facts.collect())
    }

    async fn read_people(&self, asked: Vec<Lookup>) -> Result<Vec<Result<Rows, Error>>, Error> {
        let mut places: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        let mut rows = Vec::new();
        for (index, (tenant, users)) in asked.iter().enumerate() {
            for (user, hash) in users {
                let among = places.entry((tenant.as_str(), user.as_str())).or_default();
                if among.is_empty() {
                    rows.push([tenant.as_str().into(), user.as_str().into(), hash.to_vec().into()]);
                }
                among.push(index);
            }
        }
        let backend = self.reader().get_database_backend();
        let columns = [Column::Text, Column::Text, Column::Bytes];
        let mut answers: Vec<Rows> = asked.iter().map(|_| Rows::default()).collect();
        for (table, values) in given(backend, columns, rows) {
            let people = format!(
                "SELECT column1, column2, {}, {}, {KEY_COLUMNS}
                    FROM {table}
                    LEFT JOIN people p ON p.tenant = column1 AND p.user_id = column2
                    LEFT JOIN person_keys k ON k.tenant = column1 AND {}",
                behind("column1", "column2"),
                sql::columns::<person::Entity>("p"),
                by_key(backend, "k.person", "column3")
            );
            let choices = format!(
                "SELECT {}
                    FROM {table}
                    JOIN preferences p ON p.tenant = column1 AND p.user_id = column2",
                sql::columns::<preference::Entity>("p")
            );
            let (people, choices) = tokio::try_join!(
                sql::all(self.reader(), &people, values.clone()),
                sql::all(self.reader(), &choices, values),
            )?;
            for row in people {
                let mut columns = Columns::of(&row);
                let (tenant, user): (String, String) = (columns.take()?, columns.take()?);
                let resolving = columns.take::<i32>()? != 0;
                let known = columns.take::<Option<String>>()?.is_some();
                let person = known.then(|| row.model::<person::Model>()).transpose()?;
                let key = WrappedKey::joined(&row)?;
                for place in places.get(&(tenant.as_str(), user.as_str())).into_iter().flatten() {
                    let answer = &mut answers[*place];
                    answer.people.extend(person.clone());
                    answer.keys.extend(key.clone());
                    answer.resolving.extend(resolving.then(|| user.clone()));
                }
            }
            for row in choices {
                let row: preference::Model = row.model()?;
                for place in
                    places.get(&(row.tenant.as_str(), row.user_id.as_str())).into_iter().flatten()
                {
                    answers[*place].choices.push(row.clone());
                }
            }
        }
        Ok(answers.into_iter().map(Ok).collect())
    }
}
