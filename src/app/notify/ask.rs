//! Notify that waits for Slack: people missing from the member list are looked up before the plan
//! is made, so that the answer says whether they can be reached, not just that they are being
//! looked up. If Slack does not answer about a person in time, that person's message stays queued,
//! as without the wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::plan::{BREATH, STRANGERS};
use super::prepare::prepare;
use super::recipients::{Named, choices, gather, people_named};
use super::{Recipient, Request};
use crate::app::tenant::Tenant;
use crate::app::tenant_types::Catalogue;
use crate::app::{App, Error};
use crate::directory::{Missed, View};
use crate::domain::delivery::admission::{Placement, Search};
use crate::domain::ids::TenantId;
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::reason::NoMatch;
use crate::domain::settings::Preferences;
use crate::store::{self, Installation};

/// A person missing from the list, and the reason.
type Stranger = (Named, NoMatch);

/// Questions of one call that are under way at once.
const AT_ONCE: usize = 8;

impl App {
    /// Asks Slack about strangers if the caller waits for the answers. Returns the tenant and its
    /// event types, both as they are after the wait, and the number of answers. The call is checked
    /// before it waits, but stays as it was given: the event type may change meanwhile.
    pub(super) async fn ready(
        &self,
        tenant: &TenantId,
        request: &mut Request,
    ) -> Result<(Tenant, Arc<Catalogue>, usize), Error> {
        let tenant = self.tenant(tenant).await?;
        let types = self.types_of(&tenant.id, tenant.settings.version).await?;
        if request.decide_within.is_none() {
            return Ok((tenant, types, 0));
        }
        let (event, given) = (request.event.clone(), request.subject.clone());
        let kind = prepare(&types, &event, request)?;
        let (tenant, asked) = self.ask_about_strangers(tenant, request, &kind).await?;
        request.subject = given;
        let types = self.types_of(&tenant.id, tenant.settings.version).await?;
        Ok((tenant, types, asked))
    }

    /// Asks Slack about recipients who are not in the member list, for as long as the caller waits,
    /// and adds the answers to the list. Returns the tenant as it is after the wait, and the number
    /// of answers.
    async fn ask_about_strangers(
        &self,
        tenant: Tenant,
        request: &Request,
        kind: &KnownType<'_>,
    ) -> Result<(Tenant, usize), Error> {
        let Some(within) = request.decide_within else { return Ok((tenant, 0)) };
        let until = Instant::now() + within;
        let Some(installation) = &tenant.installation else { return Ok((tenant, 0)) };
        let strangers = self.strangers(&tenant, request, kind).await?;
        let answered = AtomicUsize::new(0);
        let questions = stream::iter(&strangers).for_each_concurrent(AT_ONCE, async |stranger| {
            if self.ask_until(&tenant, installation, stranger, until).await {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Questions not answered by then are asked again after the acceptance.
        let _in_time = timeout_at(until, questions).await;
        let answered = answered.into_inner();
        Ok((self.tenant(&tenant.id).await?, answered))
    }

    /// Recipients that would be queued only because Slack may know them: the first [`STRANGERS`].
    async fn strangers(
        &self,
        tenant: &Tenant,
        request: &Request,
        kind: &KnownType<'_>,
    ) -> Result<Vec<Stranger>, Error> {
        let mut strangers = Vec::new();
        if !request.action.speaks() {
            return Ok(strangers);
        }
        let ids = people_named(request);
        let store::PeopleFacts { people: mut known, preferences, .. } =
            self.store.people().facts(&tenant.id, &ids).await?;
        let view = self.view(tenant).await?;
        let mut people = self.named(tenant, gather(request, &mut known)).await?;
        let named = request.recipients.iter().filter_map(Recipient::user_id);
        for (number, user) in named.enumerate() {
            // Lets other calls run in between.
            if number % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            // A person who is named twice is one person.
            let Some(named) = people.remove(user) else { continue };
            if request.part(kind, user).concerns(request.action).is_err() {
                continue;
            }
            let chosen = choices(&preferences, user);
            let reason = self.reason_to_ask(tenant, request, &view, &named, chosen);
            strangers.extend(reason.map(|reason| (named, reason)));
            if strangers.len() == STRANGERS {
                break;
            }
        }
        Ok(strangers)
    }

    /// Why the list has no member for a person whose message may go, if Slack may know one.
    fn reason_to_ask(
        &self,
        tenant: &Tenant,
        request: &Request,
        view: &View,
        named: &Named,
        chosen: &Preferences,
    ) -> Option<NoMatch> {
        let admitted = tenant.admit(request.message(tenant.now), Some(chosen)).ok()?;
        let installation = admitted.workspace;
        let (decision, _) = tenant.decide(view, &named.known, &named.values);
        let slack_may_know = named.may_be_known_to_slack(&self.directory, installation, &decision);
        let search = Search { decision: &decision, is_behind: false, slack_may_know };
        match admitted.to_person(search) {
            Ok(Placement::AskSlack(reason)) => Some(reason),
            _ => None,
        }
    }

    /// Returns whether Slack answered before `until`. If its limits do not allow the question now,
    /// it is asked as soon as they do.
    async fn ask_until(
        &self,
        tenant: &Tenant,
        installation: &Installation,
        (named, reason): &Stranger,
        until: Instant,
    ) -> bool {
        loop {
            let (mapping, person, values) = (&tenant.mapping, &named.known.person, &named.values);
            let asked =
                self.directory.look_up(installation, mapping, person, values, *reason).await;
            match asked {
                Ok(Missed::Asked(_) | Missed::Stands) => return true,
                Ok(Missed::Later { after }) if Instant::now() + after < until => sleep(after).await,
                Ok(Missed::Later { .. }) => return false,
                Err(error) => {
                    tracing::warn!(%error, "Slack could not be asked about a recipient");
                    return false;
                }
            }
        }
    }
}
