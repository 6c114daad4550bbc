//! Whether a message may still be sent, decided at the last moment from the present state: a person
//! who turned messages off a second ago gets none, and neither does an account that was closed.
//!
//! These are decisions over values; [`super::worker`] gathers the values.

use crate::domain::delivery::{End, Kind, Settle};
use crate::domain::ids::{EventType, InstallationId, SlackUserId};
use crate::domain::member::MemberKind;
use crate::domain::reason::{Failure, NoMatch, Suppression};
use crate::domain::settings::{Identity, Preferences, Settings, suppression};
use crate::domain::subject::Action;
use crate::domain::time::Timestamp;

/// The facts that the decision depends on.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) now: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) kind: Kind,
    pub(super) action: Action,
    pub(super) event: &'a EventType,
    /// `None`: the tenant is gone.
    pub(super) settings: Option<&'a Settings>,
    /// Absent for posts to a channel.
    pub(super) person: Option<Recipient<'a>>,
    /// The workspace of the lane.
    pub(super) installation: InstallationId,
    /// The workspace that the tenant is connected to now, which may differ from the lane's.
    pub(super) connected: Option<Connected>,
}

/// The recipient of a direct message.
#[derive(Debug, Clone)]
pub(super) struct Recipient<'a> {
    pub(super) preferences: &'a Preferences,
    /// The identity stored now, for any workspace.
    pub(super) identity: Option<&'a Identity>,
    /// The member of the lane.
    pub(super) member: &'a SlackUserId,
    /// The state of that member's account, as far as it is known.
    pub(super) member_kind: Option<MemberKind>,
    /// The state of the identity's account, if the identity names another member.
    pub(super) identity_kind: Option<MemberKind>,
}

/// The tenant's workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connected {
    pub(super) installation: InstallationId,
    /// Why its token is dead, if it is.
    pub(super) dead: Option<String>,
}

/// `None`: send the message. Otherwise, how it is settled instead. Checks that end the message come
/// before checks that only delay it.
pub(super) fn verdict(facts: &Facts<'_>) -> Option<Settle> {
    if facts.expires_at <= facts.now {
        return Some(Settle::Ended(End::Expired));
    }
    let not_connected = Some(Settle::Ended(End::Unreachable(NoMatch::NotConnected)));
    let Some(settings) = facts.settings else { return not_connected };
    let preferences = facts.person.as_ref().map(|person| person.preferences);
    if let Some(by) = switch(settings, preferences, facts.kind, facts.action, facts.event) {
        return Some(Settle::Ended(End::Suppressed(by)));
    }
    let Some(connected) = &facts.connected else { return not_connected };
    // The person's member in the workspace that the tenant is connected to now. The stored identity
    // outranks the member that was found when the message was accepted.
    let identity = facts
        .person
        .as_ref()
        .and_then(|person| person.identity)
        .filter(|identity| identity.installation == connected.installation);
    let here = facts.installation == connected.installation;
    // Deletions and crossings-out are sent to where the messages are.
    if let (Some(person), Some(identity), true) = (&facts.person, identity, facts.action.speaks())
        && (!here || identity.slack_user_id != *person.member)
    {
        return Some(match person.identity_kind {
            Some(MemberKind::Deactivated) => deactivated(),
            _ => Settle::Moved {
                installation: identity.installation,
                lane: identity.slack_user_id.as_str().to_owned(),
            },
        });
    }
    if !here {
        // A person not yet known in that workspace is looked for there; a channel id means nothing
        // there.
        let looked_for = facts.person.is_some() && facts.action.speaks();
        return if looked_for { Some(Settle::Resolve) } else { not_connected };
    }
    // Slack answers ok to a post to a closed account.
    if facts.person.as_ref().and_then(|person| person.member_kind) == Some(MemberKind::Deactivated)
    {
        return Some(deactivated());
    }
    connected.dead.clone().map(|code| Settle::Paused { code })
}

fn deactivated() -> Settle {
    Settle::Failed { reason: Failure::Deactivated, code: None }
}

/// The switch that holds a message back. A channel has no choices of its own, so opt-in does not
/// apply to it. A test ignores the person's choices; the tenant's switch stops it, unless an
/// administrator tries messages before turning the switch on. A person cannot opt out of deletions
/// and crossings-out, so only the tenant's switch holds them back.
pub(super) fn switch(
    settings: &Settings,
    preferences: Option<&Preferences>,
    kind: Kind,
    action: Action,
    event: &EventType,
) -> Option<Suppression> {
    match (kind, preferences) {
        (Kind::Normal, _) if !action.speaks() => {
            (!settings.sending_allowed).then_some(Suppression::SendingOff)
        }
        (Kind::AdministratorTest, _) => None,
        (Kind::Test, _) => (!settings.sending_allowed).then_some(Suppression::SendingOff),
        (Kind::Normal, Some(preferences)) => suppression(settings, preferences, event),
        (Kind::Normal, None) => {
            let open = Settings { opt_in: false, ..settings.clone() };
            suppression(&open, &Preferences::default(), event)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::{Preference, Rule};

    const HERE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
    const ELSEWHERE: InstallationId = InstallationId(uuid::Uuid::from_u128(2));

    fn member(id: &str) -> SlackUserId {
        SlackUserId::parse(id).unwrap()
    }

    fn identity(id: &str, installation: InstallationId) -> Identity {
        Identity {
            slack_user_id: member(id),
            display_name: String::new(),
            rule: Rule::Matched,
            installation,
            stored_at: Timestamp(0),
        }
    }

    /// Every fact allows sending to U1, except those that `change` alters.
    fn judged(change: impl FnOnce(&mut Owned)) -> Option<Settle> {
        let mut owned = Owned::default();
        change(&mut owned);
        owned.judge()
    }

    struct Owned {
        now: i64,
        kind: Kind,
        action: Action,
        settings: Settings,
        preferences: Preferences,
        identity: Option<Identity>,
        member_kind: Option<MemberKind>,
        identity_kind: Option<MemberKind>,
        connected: Option<Connected>,
        channel: bool,
    }

    impl Default for Owned {
        fn default() -> Self {
            Self {
                now: 0,
                kind: Kind::Normal,
                action: Action::Post,
                settings: Settings { sending_allowed: true, ..Settings::default() },
                preferences: Preferences::default(),
                identity: Some(identity("U1", HERE)),
                member_kind: Some(MemberKind::Matchable),
                identity_kind: None,
                connected: Some(Connected { installation: HERE, dead: None }),
                channel: false,
            }
        }
    }

    impl Owned {
        fn judge(&self) -> Option<Settle> {
            let (member, event) = (member("U1"), EventType::parse("task.due").unwrap());
            let person = Recipient {
                preferences: &self.preferences,
                identity: self.identity.as_ref(),
                member: &member,
                member_kind: self.member_kind,
                identity_kind: self.identity_kind,
            };
            verdict(&Facts {
                now: Timestamp(self.now),
                expires_at: Timestamp(100),
                kind: self.kind,
                action: self.action,
                event: &event,
                settings: Some(&self.settings),
                person: (!self.channel).then_some(person),
                installation: HERE,
                connected: self.connected.clone(),
            })
        }
    }

    fn suppressed(by: Suppression) -> Settle {
        Settle::Ended(End::Suppressed(by))
    }

    #[test]
    fn what_nothing_speaks_against_is_sent() {
        assert_eq!(judged(|_| ()), None);
        assert_eq!(judged(|facts| facts.identity = None), None);
        assert_eq!(judged(|facts| facts.member_kind = None), None);
        assert_eq!(judged(|facts| facts.identity = Some(identity("U2", ELSEWHERE))), None);
    }

    #[test]
    fn too_late_is_too_late() {
        assert_eq!(judged(|facts| facts.now = 100), Some(Settle::Ended(End::Expired)));
        assert_eq!(judged(|facts| facts.now = 99), None);
    }

    #[test]
    fn a_choice_counts_for_messages_but_not_for_tests() {
        let off = |facts: &mut Owned| facts.preferences.all = Preference::Off;
        assert_eq!(judged(off), Some(suppressed(Suppression::PreferenceAll)));
        let test = judged(|facts| {
            off(facts);
            facts.kind = Kind::Test;
        });
        assert_eq!(test, None);
    }

    #[test]
    fn what_takes_back_is_held_back_by_the_tenant_alone_and_stays_where_it_is() {
        for action in [Action::Retract, Action::Done] {
            let off = |facts: &mut Owned| {
                facts.action = action;
                facts.preferences.all = Preference::Off;
                facts.identity = Some(identity("U2", HERE));
            };
            assert_eq!(judged(off), None);
            let closed = judged(|facts| {
                off(facts);
                facts.settings.sending_allowed = false;
            });
            assert_eq!(closed, Some(suppressed(Suppression::SendingOff)));
        }
        let replaced = judged(|facts| {
            facts.action = Action::Replace;
            facts.preferences.all = Preference::Off;
        });
        assert_eq!(replaced, Some(suppressed(Suppression::PreferenceAll)));
    }

    #[test]
    fn the_tenants_switch_holds_tests_back_but_for_administrators() {
        for (kind, expected) in [
            (Kind::Normal, Some(suppressed(Suppression::SendingOff))),
            (Kind::Test, Some(suppressed(Suppression::SendingOff))),
            (Kind::AdministratorTest, None),
        ] {
            let verdict = judged(|facts| {
                facts.settings.sending_allowed = false;
                facts.kind = kind;
            });
            assert_eq!(verdict, expected, "{kind:?}");
        }
    }

    #[test]
    fn opt_in_is_for_people() {
        let opt_in = |facts: &mut Owned| facts.settings.opt_in = true;
        assert_eq!(judged(opt_in), Some(suppressed(Suppression::OptIn)));
        assert_eq!(
            judged(|facts| {
                opt_in(facts);
                facts.channel = true;
            }),
            None
        );
    }

    #[test]
    fn a_corrected_identity_takes_the_message_along() {
        let moved = Some(Settle::Moved { installation: HERE, lane: "U2".into() });
        assert_eq!(judged(|facts| facts.identity = Some(identity("U2", HERE))), moved);
        // Also if the lane's member is not known yet: the member's own lane finds out.
        let closed = judged(|facts| {
            facts.identity = Some(identity("U2", HERE));
            facts.identity_kind = Some(MemberKind::Deactivated);
        });
        assert_eq!(closed, Some(deactivated()));
    }

    #[test]
    fn a_closed_account_gets_nothing() {
        let closed = judged(|facts| facts.member_kind = Some(MemberKind::Deactivated));
        assert_eq!(closed, Some(deactivated()));
    }

    #[test]
    fn another_workspace_is_followed_where_the_person_is_known_there() {
        let elsewhere = Some(Connected { installation: ELSEWHERE, dead: None });
        let moved = judged(|facts| {
            facts.connected = elsewhere.clone();
            facts.identity = Some(identity("U9", ELSEWHERE));
        });
        assert_eq!(moved, Some(Settle::Moved { installation: ELSEWHERE, lane: "U9".into() }));
        let nobody = Settle::Ended(End::Unreachable(NoMatch::NotConnected));
        assert_eq!(judged(|facts| facts.connected = None), Some(nobody.clone()));
        let moved = judged(|facts| facts.connected = elsewhere.clone());
        assert_eq!(moved, Some(Settle::Resolve));
        let channel = judged(|facts| {
            facts.connected = elsewhere;
            facts.channel = true;
        });
        assert_eq!(channel, Some(nobody));
    }

    #[test]
    fn a_dead_token_holds_up_only_what_would_be_sent() {
        let dead = |facts: &mut Owned| {
            facts.connected =
                Some(Connected { installation: HERE, dead: Some("token_revoked".into()) });
        };
        assert_eq!(judged(dead), Some(Settle::Paused { code: "token_revoked".into() }));
        let off = judged(|facts| {
            dead(facts);
            facts.preferences.all = Preference::Off;
        });
        assert_eq!(off, Some(suppressed(Suppression::PreferenceAll)));
    }
}
