//! The Home tab of the Slack app: it is published when a person opens it.
//!
//! Slack says which member opened it. The person is the one with that stored identity, pinned or
//! found earlier; nothing is matched here, and a tab shows no data of a person that is not certain.

use std::borrow::Cow;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::home_queue::{HomeEnd, OpenedHome};
use super::tenant::{Known, Tenant};
use super::{App, Error};
use crate::domain::features::{self, APP_HOME};
use crate::domain::ids::{EventType, InstallationId, SlackUserId, TenantId, UserId};
use crate::domain::message::home::{HomeEvent, HomeReader, HomeTab, HomeTenant, TENANTS};
use crate::domain::message::render::{Language, Reader};
use crate::slack::Error as Slack;
use crate::store::PeopleOfMember;
use crate::workspace;

/// The longest rest of the loop; an opening ends it.
const REST: Duration = Duration::from_secs(5);
/// The longest time that a round takes in good health, besides the rest.
const ROUND: Duration = Duration::from_secs(30);
/// The wait before a publication is tried again whose failure may pass.
const AGAIN: Duration = Duration::from_secs(10);

/// A tenant of the workspace in which a tab was opened.
struct HomePlace {
    tenant: TenantId,
    installation: InstallationId,
    people: Option<PeopleOfMember>,
}

/// The person of a tenant who opened a tab.
enum HomePerson {
    Unknown,
    Several,
    Known(Box<Known>),
}

/// A publication that ended.
struct EndedHome {
    home: OpenedHome,
    result: &'static str,
    end: HomeEnd,
}

impl App {
    /// Notes that a member opened the Home tab; `installations` are those of the app that see the
    /// member, at least one. It waits for nothing, because Slack waits for the answer.
    pub(super) fn home_opened(&self, member: SlackUserId, installations: Vec<InstallationId>) {
        if features::is_switched_off(APP_HOME, self.workspaces.features_off()) {
            self.metrics.slack_events("unused", 1);
            return;
        }
        self.metrics.slack_events("taken", 1);
        let mut others = installations;
        // The same for each event, because it is part of the key of a tab.
        others.sort_unstable();
        if others.is_empty() {
            return;
        }
        let workspace = others.remove(0);
        if !self.homes.open(OpenedHome { member, workspace, others }) {
            self.metrics.home_tab("dropped");
            tracing::warn!(%workspace, "too many Home tabs wait to be published: one is left out");
        }
    }

    /// Publishes opened Home tabs until stopped, and returns when those under way have ended; the
    /// caller bounds that wait.
    pub async fn run_homes(self, stop: CancellationToken) {
        let rounds = self.metrics.watchdog().watch("home tabs", REST + ROUND);
        let mut running = JoinSet::new();
        while !stop.is_cancelled() {
            rounds.next();
            while let Some(home) = self.homes.take() {
                running.spawn(self.clone().publish_in_task(home));
            }
            let rest = Instant::now() + REST;
            let rest = self.homes.next_due().map_or(rest, |due| due.min(rest));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.homes.opened() => {}
                Some(ended) = running.join_next() => self.home_ended(ended),
                () = tokio::time::sleep_until(rest) => {}
            }
        }
        while let Some(ended) = running.join_next().await {
            self.home_ended(ended);
        }
    }

    fn home_ended(&self, ended: Result<EndedHome, JoinError>) {
        match ended {
            Ok(EndedHome { home, result, end }) => {
                let again = self.homes.ended(home, end);
                self.metrics.home_tab(if again { result } else { "given_up" });
            }
            Err(error) => tracing::error!(%error, "a task for a Home tab ended"),
        }
    }

    /// In a separate task: a panic ends this publication only.
    async fn publish_in_task(self, home: OpenedHome) -> EndedHome {
        let of = home.clone();
        let published = tokio::spawn(async move { self.publish_opened(&of).await }).await;
        let (result, end) = published.unwrap_or_else(|panic| {
            tracing::error!(%panic, "publishing a Home tab panicked");
            ("failed", HomeEnd::Over)
        });
        EndedHome { home, result, end }
    }

    /// Returns the result for the metric, and whether it may be tried again.
    async fn publish_opened(&self, home: &OpenedHome) -> (&'static str, HomeEnd) {
        let workspace = home.workspace;
        let again = HomeEnd::Later(AGAIN.mul_f64(self.workspaces.time_scale()));
        // Boxed, because all calls together have large futures.
        let tab = match Box::pin(self.home_tab(home)).await {
            Ok(tab) => tab,
            Err(error) => {
                tracing::warn!(%workspace, %error, "a Home tab cannot be written");
                return ("failed", again);
            }
        };
        let blocks = tab.blocks();
        let published =
            Box::pin(self.workspaces.publish_home(workspace, &home.member, &blocks)).await;
        match published {
            Ok(()) => ("published", HomeEnd::Over),
            Err(error) => refused(workspace, error, again),
        }
    }

    /// The facts as they are now.
    async fn home_tab(&self, home: &OpenedHome) -> Result<HomeTab, Error> {
        let mut places = Vec::new();
        for id in std::iter::once(&home.workspace).chain(&home.others) {
            let mut known = self.store.people().of_member(*id, &home.member).await?;
            for tenant in self.store.tenancy().tenants_of(*id).await? {
                let people = known.remove(&tenant);
                places.push(HomePlace { tenant, installation: *id, people });
            }
        }
        // Those that know the person first: they must not be among those that are not shown.
        places.sort_by(|one, other| {
            let unknown = one.people.is_none().cmp(&other.people.is_none());
            unknown.then_with(|| one.tenant.cmp(&other.tenant))
        });
        let more = places.len().saturating_sub(TENANTS);
        let (mut language, mut tenants) = (None, Vec::new());
        for place in places.into_iter().take(TENANTS) {
            let Some(tenant) = self.home_place(&place).await? else { continue };
            let person = self.home_person(&tenant, place.people, &home.member).await?;
            // The languages of the first one, which knows the person if any does.
            if language.is_none() {
                language = Some(self.home_language(&tenant, &person, &home.member).await?);
            }
            tenants.push(self.home_tenant(&tenant, person).await?);
        }
        let platform = self.config.display_name.clone();
        Ok(HomeTab { language: language.unwrap_or_default(), platform, tenants, more })
    }

    /// The tenant, if it is still there and connected to this workspace.
    async fn home_place(&self, place: &HomePlace) -> Result<Option<Tenant>, Error> {
        let tenant = match self.tenant(&place.tenant).await {
            Ok(tenant) => tenant,
            // Deleted, or being deleted.
            Err(Error::NotFound(_) | Error::Precondition { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let here = tenant.installation.as_ref().map(|installation| installation.id);
        Ok((here == Some(place.installation)).then_some(tenant))
    }

    async fn home_person(
        &self,
        tenant: &Tenant,
        people: Option<PeopleOfMember>,
        member: &SlackUserId,
    ) -> Result<HomePerson, Error> {
        let user: UserId = match people {
            None => return Ok(HomePerson::Unknown),
            Some(PeopleOfMember::Several) => return Ok(HomePerson::Several),
            Some(PeopleOfMember::One(user)) => user,
        };
        let known = self.known(&tenant.id, &user).await?;
        // It may have changed since it was looked up.
        let is_member = tenant.identity_here(&known).is_some_and(|it| it.slack_user_id == *member);
        Ok(if is_member { HomePerson::Known(Box::new(known)) } else { HomePerson::Unknown })
    }

    async fn home_tenant(&self, tenant: &Tenant, person: HomePerson) -> Result<HomeTenant, Error> {
        let reader = match person {
            HomePerson::Unknown => HomeReader::Unknown,
            HomePerson::Several => HomeReader::Several,
            HomePerson::Known(known) => {
                let chosen = self.choices(&tenant.id, &known.person.user_id).await?;
                let types = self.types_of(&tenant.id, tenant.settings.version).await?;
                let event = |event: Cow<'_, EventType>| {
                    let own = types.find(&event).and_then(|known| known.own());
                    let own_name = own.map(|own| own.display_name.clone()).unwrap_or_default();
                    HomeEvent { event: event.into_owned(), own_name }
                };
                let events: Vec<HomeEvent> = types.names().map(event).collect();
                HomeReader::known(name_of(&known), events, &tenant.settings, &chosen)
            }
        };
        let sending_allowed = tenant.settings.sending_allowed;
        Ok(HomeTenant { tenant: tenant.id.clone(), sending_allowed, reader })
    }

    /// The language of messages to the person, or of the member.
    async fn home_language(
        &self,
        tenant: &Tenant,
        person: &HomePerson,
        member: &SlackUserId,
    ) -> Result<Language, Error> {
        let person = match person {
            HomePerson::Known(known) => Some(&known.person),
            HomePerson::Unknown | HomePerson::Several => None,
        };
        let view = self.view(tenant).await?;
        let member = view.member(member);
        Ok(Reader::of(person, member.as_ref(), &tenant.settings).language())
    }
}

/// The name in the platform's record, otherwise the one in Slack.
fn name_of(known: &Known) -> String {
    let own = known.person.display_name.clone().filter(|name| !name.trim().is_empty());
    let in_slack = || known.identity.as_ref().map(|identity| identity.display_name.clone());
    own.or_else(in_slack).unwrap_or_default()
}

/// The result of a publication that failed. Slack's answers about limits and tokens are already
/// recorded for all replicas.
fn refused(
    workspace: InstallationId,
    error: workspace::Error,
    again: HomeEnd,
) -> (&'static str, HomeEnd) {
    match error {
        workspace::Error::Busy { after }
        | workspace::Error::Migrating { after }
        | workspace::Error::Renewing { after }
        | workspace::Error::Slack(Slack::Throttled { after }) => {
            ("postponed", HomeEnd::Later(after))
        }
        // `hash_conflict` is among these: the tab is written anew.
        workspace::Error::Slack(Slack::Transient { .. } | Slack::Unknown { .. })
        | workspace::Error::Late => ("postponed", again),
        workspace::Error::Slack(Slack::Rejected { code, .. }) if code == "not_enabled" => {
            tracing::info!(
                %workspace,
                "the Home tab of the Slack app is off: turn it on under App Home in its settings"
            );
            ("not_enabled", HomeEnd::Over)
        }
        workspace::Error::Slack(error) => {
            tracing::warn!(%workspace, %error, "Slack refused to publish a Home tab");
            ("refused", HomeEnd::Over)
        }
        workspace::Error::Reconnect { .. } | workspace::Error::Unknown => {
            ("disconnected", HomeEnd::Over)
        }
        workspace::Error::Store(error) => {
            tracing::warn!(%workspace, %error, "a Home tab cannot be published");
            ("failed", again)
        }
    }
}
