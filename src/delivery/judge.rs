//! Whether the head of a lane may still be sent, judged at the last moment from the present state:
//! a person who turned messages off a second ago gets none, and neither does an account that was
//! closed. The facts are gathered here; [`admission`](crate::domain::delivery::admission) decides.

use super::Delivery;
use super::explain;
use super::turn::Turn;
use crate::directory::View;
use crate::domain::channels::place::ChannelPlace;
use crate::domain::delivery::admission::{
    Admitted, ChannelLane, Departure, Facts, HeadDecision, InLane, LaneMember, Message, admit,
};
use crate::domain::delivery::{End, Settle};
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::domain::reason::Cancellation;
use crate::domain::settings::{Identity, Settings};
use crate::domain::time::Timestamp;
use crate::store::{self, DISCONNECTED, Head, Installation};

impl Delivery {
    /// Checks the head; `None`: it may be sent.
    pub(super) async fn judge(&self, turn: &Turn<'_>) -> Result<Option<Settle>, store::Error> {
        let (store, claim, head) = (&self.inner.store, turn.claim, &turn.head);
        // Turns that are taken at the same time share these reads.
        let users = head.user.as_slice();
        let (tenant, mut people, channel) = tokio::try_join!(
            store.tenancy().tenant_facts(&head.tenant),
            store.people().facts(&head.tenant, users),
            self.channel_place(head),
        )?;
        let departure = tenant.as_ref().and_then(|tenant| tenant.departure);
        let moved_from = tenant.as_ref().and_then(|tenant| tenant.moved_from);
        let kept = self.kept_step(turn, departure).await?;
        let (settings, connected) =
            tenant.map(|tenant| (tenant.settings, tenant.installation)).unzip();
        let (settings, connected) = (settings.as_ref(), connected.flatten());
        let identity = head.user.as_ref().and_then(|user| people.people.remove(user)?.identity);
        let chosen = head.user.as_ref().and_then(|user| people.preferences.remove(user));
        let preferences = chosen.unwrap_or_default();
        let member = head.user.as_ref().and_then(|_| SlackUserId::parse(claim.lane.as_str()).ok());
        let elsewhere = |it: &&Identity| !is_at(it, claim.installation, member.as_ref());
        let corrected = identity.as_ref().filter(elsewhere);
        let view = match (settings, &member) {
            (Some(settings), Some(_)) => self.list(claim.installation, settings).await,
            _ => View::default(),
        };
        let dead = connected.as_ref().and_then(Installation::paused);
        let member_kind = match &member {
            // A dead token cannot be used to ask, and nothing will be sent.
            Some(member) if connected.is_some() && dead.is_none() => {
                let asked = self.member_kind(claim.installation, &view, member, turn.now());
                turn.slot.waiting(asked).await
            }
            _ => None,
        };
        let identity_kind = corrected
            .filter(|identity| identity.installation == claim.installation)
            .and_then(|identity| view.kind(&identity.slack_user_id));
        let identity = identity.as_ref();
        let person = member.as_ref().map(|member| LaneMember {
            member,
            member_kind,
            identity,
            identity_kind,
        });
        let admitted = admit(Facts {
            message: message(head, turn.now()),
            settings,
            preferences: member.is_some().then_some(&preferences),
            connected: connected.as_ref().map(|connected| (connected.id, connected)),
        });
        let lane = InLane { installation: claim.installation, person, dead };
        let decision = admitted.and_then(|admitted| {
            not_left(moved_from, claim.installation)?;
            step(&admitted, &lane, claim.lane.as_str(), channel.as_ref())
        });
        let verdict = as_settle(unless_it_waits(decision, departure, kept));
        let (now, settled) = (turn.now(), verdict.as_ref());
        turn.note(explain::decision(head, now, settings, &preferences, identity, settled));
        Ok(verdict)
    }

    /// The step of a message whose tenant left this workspace and keeps its messages; `None`: the
    /// message ends. The lane must not sleep while other tenants use the workspace, because their
    /// messages wait there too (invariant I8): the kept message then waits outside the lane. A
    /// change of earlier messages cannot wait outside it.
    async fn kept_step(
        &self,
        turn: &Turn<'_>,
        departure: Option<Departure>,
    ) -> Result<Option<HeadDecision<'static>>, store::Error> {
        let pause = Some(HeadDecision::Pause { code: DISCONNECTED });
        if departure != Some(Departure::Keeps) {
            return Ok(pause);
        }
        let workspace = self.inner.store.tenancy().installation(turn.claim.installation).await?;
        if workspace.is_none_or(|workspace| workspace.dead() == Some(DISCONNECTED)) {
            return Ok(pause);
        }
        let outside = turn.head.user.as_ref().map_or(HeadDecision::Aside, |_| HeadDecision::Find);
        Ok(turn.head.action.speaks().then_some(outside))
    }

    /// Where the channel of a head is now, if its call named the channel by its key.
    async fn channel_place(&self, head: &Head) -> Result<Option<ChannelPlace>, store::Error> {
        match head.keyed_channel {
            Some(channel) => self.inner.store.waiting().channel_place(channel).await,
            None => Ok(None),
        }
    }

    /// The member list, if it can be read: sending does not depend on it.
    pub(super) async fn list(&self, installation: InstallationId, settings: &Settings) -> View {
        let view = async {
            let mapping = self.inner.directory.mapping(settings).await?;
            self.inner.directory.view(installation, &mapping).await
        };
        view.await.unwrap_or_else(|error| {
            tracing::warn!(workspace = %installation, %error, "an account was not checked");
            View::default()
        })
    }
}

/// Whether an identity is this member of this workspace.
fn is_at(identity: &Identity, installation: InstallationId, member: Option<&SlackUserId>) -> bool {
    identity.installation == installation && Some(&identity.slack_user_id) == member
}

/// A message in a lane of the workspace that the tenant had before its present one ends, as after a
/// Disconnect with its default choice (docs/leaving.md).
fn not_left(moved_from: Option<InstallationId>, lane: InstallationId) -> Result<(), End> {
    if moved_from == Some(lane) {
        return Err(End::Canceled(Cancellation::Disconnected));
    }
    Ok(())
}

/// The step of an admitted head: to its channel, if the channel moved; otherwise as in any lane.
fn step<'l>(
    admitted: &Admitted<'_, &Installation>,
    lane: &InLane<'l>,
    name: &str,
    channel: Option<&'l ChannelPlace>,
) -> Result<HeadDecision<'l>, End> {
    let here = ChannelLane { installation: lane.installation, lane: name };
    let now = channel.map(|place| ChannelLane {
        installation: place.installation,
        lane: place.channel.as_str(),
    });
    admitted.follows(&here, now.as_ref()).map_or_else(|| admitted.in_lane(lane), Ok)
}

/// The head as the decision sees it. It is due, its member was found, and whether its content can
/// be read is checked when the request is prepared.
fn message(head: &Head, now: Timestamp) -> Message<'_> {
    Message {
        now,
        expires_at: head.expires_at,
        deliver_after: None,
        kind: head.kind,
        action: head.action,
        event: &head.event_type,
        hold: None,
        damaged: false,
    }
}

/// A message of a tenant that left its workspace waits for the next connection, by the step `kept`,
/// or ends for that reason.
fn unless_it_waits<'l>(
    decision: Result<HeadDecision<'l>, End>,
    departure: Option<Departure>,
    kept: Option<HeadDecision<'l>>,
) -> Result<HeadDecision<'l>, End> {
    decision.or_else(|end| {
        Departure::waits(departure, end)?;
        kept.ok_or(End::Canceled(Cancellation::Disconnected))
    })
}

/// The decision in the store's terms; `None`: the message is sent.
fn as_settle(decision: Result<HeadDecision<'_>, End>) -> Option<Settle> {
    match decision {
        Ok(HeadDecision::Send) => None,
        Ok(HeadDecision::Move { installation, lane }) => {
            Some(Settle::Moved { installation, lane: lane.to_owned() })
        }
        Ok(HeadDecision::Find) => Some(Settle::Resolve),
        Ok(HeadDecision::Aside) => Some(Settle::Aside),
        Ok(HeadDecision::Pause { code }) => Some(Settle::Paused { code: code.to_owned() }),
        Err(End::Failed(reason)) => Some(Settle::Failed { reason, code: None }),
        Err(end) => Some(Settle::Ended(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::{Failure, NoMatch, Suppression};

    #[test]
    fn each_decision_has_its_settle() {
        let installation = InstallationId(uuid::Uuid::from_u128(1));
        let ended = |end| (Err(end), Some(Settle::Ended(end)));
        let cases = [
            (Ok(HeadDecision::Send), None),
            (
                Ok(HeadDecision::Move { installation, lane: "U2" }),
                Some(Settle::Moved { installation, lane: "U2".into() }),
            ),
            (Ok(HeadDecision::Find), Some(Settle::Resolve)),
            (Ok(HeadDecision::Aside), Some(Settle::Aside)),
            (
                Ok(HeadDecision::Pause { code: "token_revoked" }),
                Some(Settle::Paused { code: "token_revoked".into() }),
            ),
            (
                Err(End::Failed(Failure::Deactivated)),
                Some(Settle::Failed { reason: Failure::Deactivated, code: None }),
            ),
            ended(End::Expired),
            ended(End::Suppressed(Suppression::OptIn)),
            ended(End::Unreachable(NoMatch::NotConnected)),
        ];
        for (decision, settle) in cases {
            assert_eq!(as_settle(decision), settle);
        }
    }
}
