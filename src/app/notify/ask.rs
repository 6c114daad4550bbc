//! Notify that waits for Slack: people missing from the member list are looked up before the plan
//! is made, so that the answer says whether they can be reached, not that they are being looked up.
//! People that Slack does not answer about in time stay queued, as without the wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::plan::{BREATH, STRANGERS, decide};
use super::{Recipient, Request, choices, gather, people_named};
use crate::app::tenant::{Known, Tenant};
use crate::app::{App, Call, Error};
use crate::directory::Missed;
use crate::domain::mapping::Values;
use crate::domain::matching::MemberDecision;
use crate::domain::reason::NoMatch;
use crate::domain::settings::suppression;
use crate::store::{self, Installation};

/// A person missing from the list: the values of the user attribute for them, and the reason.
type Stranger = (Known, Values, NoMatch);

/// Questions of one call that are under way at once.
const AT_ONCE: usize = 8;

impl App {
    /// Asks Slack about recipients who are not in the member list, for as long as the caller waits,
    /// and adds the answers to the list. Returns the number of answers.
    pub(super) async fn ask_about_strangers(
        &self,
        call: &Call,
        request: &Request,
    ) -> Result<usize, Error> {
        let Some(within) = request.decide_within else { return Ok(0) };
        let until = Instant::now() + within;
        let tenant = self.tenant(&call.tenant).await?;
        let Some(installation) = &tenant.installation else { return Ok(0) };
        let strangers = self.strangers(&tenant, installation, request).await?;
        let answered = AtomicUsize::new(0);
        let questions = stream::iter(&strangers).for_each_concurrent(AT_ONCE, async |stranger| {
            if self.ask_until(&tenant, installation, stranger, until).await {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Questions not answered by then are asked again after the acceptance.
        let _in_time = timeout_at(until, questions).await;
        Ok(answered.into_inner())
    }

    /// Recipients that would be queued only because Slack may know them: the first [`STRANGERS`].
    async fn strangers(
        &self,
        tenant: &Tenant,
        installation: &Installation,
        request: &Request,
    ) -> Result<Vec<Stranger>, Error> {
        let mut strangers = Vec::new();
        if !request.action.speaks() {
            return Ok(strangers);
        }
        let ids = people_named(request);
        let store::PeopleFacts { people: mut known, preferences, .. } =
            self.store.people().facts(&tenant.id, &ids).await?;
        let mut people = gather(request, &mut known);
        let view = self.view(tenant).await?;
        let mut values = self.values(tenant, &people).await?;
        let named = request.recipients.iter().filter_map(Recipient::user_id);
        for (number, user) in named.enumerate() {
            // Lets other calls run in between.
            if number % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            let (Some(known), Some(values)) = (people.remove(user), values.remove(user)) else {
                continue;
            };
            let chosen = choices(&preferences, user);
            if suppression(&tenant.settings, &chosen, &request.event).is_some() {
                continue;
            }
            let stored = tenant.identity_here(known.identity.clone());
            if let (MemberDecision::Unreachable { reason }, _) =
                decide(tenant, &view, stored.as_ref(), &values)
                && self.directory.may_know(installation, (&known.person, &values), reason)
            {
                strangers.push((known, values, reason));
            }
            if strangers.len() == STRANGERS {
                break;
            }
        }
        Ok(strangers)
    }

    /// Returns whether Slack answered before `until`. If its limits do not allow the question now,
    /// it is asked as soon as they do.
    async fn ask_until(
        &self,
        tenant: &Tenant,
        installation: &Installation,
        (known, values, reason): &Stranger,
        until: Instant,
    ) -> bool {
        loop {
            let whom = (&known.person, values);
            let asked = self.directory.look_up(installation, &tenant.mapping, whom, *reason).await;
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
