mod properties;

use super::*;
use crate::domain::settings::{Preference, Rule as Basis};

const HERE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
const ELSEWHERE: InstallationId = InstallationId(uuid::Uuid::from_u128(2));

fn member(id: &str) -> SlackUserId {
    SlackUserId::parse(id).unwrap()
}

fn identity(id: &str, installation: InstallationId) -> Identity {
    Identity {
        slack_user_id: member(id),
        display_name: String::new(),
        rule: Basis::Matched,
        installation,
        stored_at: Timestamp(0),
    }
}

/// All facts, which the tests alter one by one. By default they allow sending to U1.
#[derive(Debug, Clone)]
struct World {
    now: i64,
    damaged: bool,
    deliver_after: Option<Timestamp>,
    hold: Option<bool>,
    kind: DeliveryKind,
    action: Action,
    event: EventType,
    /// The tenant still exists.
    exists: bool,
    settings: Settings,
    preferences: Preferences,
    connected: Option<InstallationId>,
    channel: bool,
    member: SlackUserId,
    identity: Option<Identity>,
    member_kind: Option<MemberKind>,
    identity_kind: Option<MemberKind>,
    dead: Option<&'static str>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: 0,
            damaged: false,
            deliver_after: None,
            hold: None,
            kind: DeliveryKind::Normal,
            action: Action::Post,
            event: EventType::parse("task.due").unwrap(),
            exists: true,
            settings: Settings { sending_allowed: true, ..Settings::default() },
            preferences: Preferences::default(),
            connected: Some(HERE),
            channel: false,
            member: member("U1"),
            identity: Some(identity("U1", HERE)),
            member_kind: Some(MemberKind::Matchable),
            identity_kind: None,
            dead: None,
        }
    }
}

impl World {
    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::default();
        change(&mut world);
        world
    }

    fn message(&self) -> Message<'_> {
        Message {
            now: Timestamp(self.now),
            expires_at: Timestamp(100),
            deliver_after: self.deliver_after,
            kind: self.kind,
            action: self.action,
            event: &self.event,
            hold: self.hold,
            damaged: self.damaged,
        }
    }

    fn admit(&self) -> Result<Admitted<'_, &'static str>, End> {
        admit(Facts {
            message: self.message(),
            settings: self.exists.then_some(&self.settings),
            preferences: (!self.channel).then_some(&self.preferences),
            connected: self.connected.map(|id| (id, "the caller's record")),
        })
    }

    /// At the head of the lane of U1.
    fn head(&self) -> Result<HeadDecision<'_>, End> {
        let person = LaneMember {
            member: &self.member,
            member_kind: self.member_kind,
            identity: self.identity.as_ref(),
            identity_kind: self.identity_kind,
        };
        let person = (!self.channel).then_some(person);
        self.admit()?.in_lane(&InLane { installation: HERE, person, dead: self.dead })
    }

    /// In no lane yet.
    fn place<'d>(&self, search: Search<'d>) -> Result<Placement<'d>, End> {
        self.admit()?.to_person(search)
    }
}

fn found(decision: &MemberDecision) -> Search<'_> {
    Search { decision, is_behind: false, slack_may_know: false }
}

fn reach(id: &str) -> MemberDecision {
    MemberDecision::Reach {
        slack_user_id: member(id),
        display_name: "Ada".into(),
        basis: MatchBasis::Pinned,
    }
}

type Sent = Result<HeadDecision<'static>, End>;

const SEND: Sent = Ok(HeadDecision::Send);

fn suppressed(by: Suppression) -> Sent {
    Err(End::Suppressed(by))
}

/// A rule: facts to which it applies, and its answer. The rules stand in their order.
struct Rule {
    applies: fn(&mut World),
    answer: fn(&World) -> Sent,
}

/// Rules 1 to 4 for a person, which are the same in every place.
const GATE: &[Rule] = &[
    Rule { applies: |world| world.now = 100, answer: |_| Err(End::Expired) },
    Rule { applies: |world| world.damaged = true, answer: |_| Err(End::Failed(Failure::Damaged)) },
    Rule { applies: |world| world.exists = false, answer: |_| Err(NOT_CONNECTED) },
    Rule {
        applies: |world| world.settings.sending_allowed = false,
        answer: |_| suppressed(Suppression::SendingOff),
    },
    Rule {
        applies: |world| {
            world.settings.disabled_event_types.insert(world.event.clone());
        },
        answer: |_| suppressed(Suppression::EventTypeOff),
    },
    Rule {
        applies: |world| world.preferences.all = Preference::Off,
        answer: |_| suppressed(Suppression::PreferenceAll),
    },
    Rule {
        applies: |world| {
            world.preferences.by_type.insert(world.event.clone(), Preference::Off);
        },
        answer: |_| suppressed(Suppression::PreferenceType),
    },
    Rule {
        applies: |world| world.settings.opt_in = true,
        answer: |_| suppressed(Suppression::OptIn),
    },
    Rule { applies: |world| world.connected = None, answer: |_| Err(NOT_CONNECTED) },
];

/// Rule 6.
const HEAD: &[Rule] = &[
    Rule {
        applies: |world| {
            world.identity = Some(identity("U2", world.connected.unwrap_or(HERE)));
            world.identity_kind = Some(MemberKind::Deactivated);
        },
        answer: |_| Err(DEACTIVATED),
    },
    Rule {
        applies: |world| world.identity = Some(identity("U2", world.connected.unwrap_or(HERE))),
        answer: |world| {
            Ok(HeadDecision::Move { installation: world.connected.unwrap_or(HERE), lane: "U2" })
        },
    },
    Rule {
        applies: |world| {
            world.connected = world.connected.map(|_| ELSEWHERE);
            // An identity that was corrected is one of the workspace that is connected now.
            for identity in world.identity.iter_mut().filter(|it| it.slack_user_id != world.member)
            {
                identity.installation = ELSEWHERE;
            }
        },
        answer: |_| Ok(HeadDecision::Find),
    },
    Rule {
        applies: |world| world.member_kind = Some(MemberKind::Deactivated),
        answer: |_| Err(DEACTIVATED),
    },
    Rule {
        applies: |world| world.dead = Some("token_revoked"),
        answer: |_| Ok(HeadDecision::Pause { code: "token_revoked" }),
    },
];

/// The world in which the rules of this set apply, and the first of them.
fn world_of<'r>(set: usize, rules: &[&'r Rule]) -> (World, Option<&'r Rule>) {
    let mut world = World::default();
    let mut first = None;
    for (_, rule) in rules.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0) {
        (rule.applies)(&mut world);
        first = first.or(Some(*rule));
    }
    (world, first)
}

#[test]
fn a_message_is_meant_for_people_in_its_audience_who_did_not_cause_it() {
    let roles = |names: &[&str]| -> BTreeSet<AudienceRole> {
        names.iter().map(|name| AudienceRole::parse(*name).unwrap()).collect()
    };
    let outside = Err(End::Suppressed(Suppression::NotInAudience));
    let (all, organizers) = (roles(&[]), roles(&["organizer", "owner"]));
    for (audience, theirs, answer) in [
        (&all, Some(roles(&[])), Ok(())),
        (&all, Some(roles(&["guest"])), Ok(())),
        (&organizers, Some(roles(&["guest", "owner"])), Ok(())),
        (&organizers, None, Ok(())),
        (&organizers, Some(roles(&["guest"])), outside),
        (&organizers, Some(roles(&[])), outside),
    ] {
        let part = PersonPart { audience, roles: theirs.as_ref(), is_own_act: false };
        assert_eq!(part.concerns(Action::Post), answer, "{part:?}");
        assert_eq!(part.concerns(Action::Retract), Ok(()), "{part:?}");
        let (own, own_act) =
            (PersonPart { is_own_act: true, ..part }, End::Suppressed(Suppression::OwnAct));
        assert_eq!(own.concerns(Action::Reply), Err(own_act));
        assert_eq!(own.concerns(Action::Done), Ok(()));
        let edit = if theirs.is_none() { Ok(()) } else { Err(own_act) };
        assert_eq!(own.concerns(Action::Replace), edit, "an edit reaches all who have the message");
    }
}

#[test]
fn a_mandatory_type_ignores_choices_in_every_place() {
    let mut world = World::default();
    world.settings.opt_in = true;
    world.preferences.all = Preference::Off;
    assert_eq!(world.head(), suppressed(Suppression::PreferenceAll));
    world.settings.mandatory_event_types.insert(world.event.clone());
    assert_eq!(world.head(), SEND);
    assert!(world.admit().is_ok());
    world.settings.sending_allowed = false;
    assert_eq!(world.head(), suppressed(Suppression::SendingOff));
}

#[test]
fn at_the_head_of_a_lane_the_first_rule_of_any_set_decides() {
    let rules: Vec<&Rule> = GATE.iter().chain(HEAD).collect();
    for set in 0..1 << rules.len() {
        let (world, first) = world_of(set, &rules);
        let expected = first.map_or(SEND, |rule| (rule.answer)(&world));
        assert_eq!(world.head(), expected, "{set:b}: {world:?}");
    }
}

#[test]
fn before_it_is_in_a_lane_the_same_rules_stand_in_the_same_order() {
    let rules: Vec<&Rule> = GATE.iter().collect();
    let decision = reach("U1");
    for set in 0..1 << rules.len() {
        let (world, first) = world_of(set, &rules);
        let ends = first.and_then(|rule| (rule.answer)(&world).err());
        assert_eq!(world.place(found(&decision)).err(), ends, "{set:b}: {world:?}");
        assert_eq!(world.admit().err(), ends, "{set:b}: {world:?}");
    }
}

/// The place by the table of the requirements, for a message that no earlier rule stopped.
fn expected(world: &World, search: Search<'_>) -> Result<&'static str, End> {
    let by_type = world.settings.held_event_types.contains(&world.event);
    let may_hold = world.action.speaks() && world.hold.unwrap_or(by_type);
    match search.decision {
        MemberDecision::Reach { .. } if search.is_behind && world.deliver_after.is_none() => {
            Ok("behind")
        }
        MemberDecision::Reach { .. } => Ok("member"),
        MemberDecision::Unreachable { reason: NoMatch::DirectoryNotReady } => Ok("list"),
        MemberDecision::Unreachable { .. } if search.slack_may_know => Ok("slack"),
        MemberDecision::Unreachable { reason } if may_hold && reason.arrival_helps() => Ok("hold"),
        MemberDecision::Unreachable { reason } => Err(End::Unreachable(*reason)),
    }
}

#[test]
fn every_place_of_every_search() {
    let nobody = NoMatch::ALL.iter().map(|reason| MemberDecision::Unreachable { reason: *reason });
    let decisions: Vec<MemberDecision> = nobody.chain([reach("U7")]).collect();
    let mut seen = 0;
    for (action, hold) in Action::ALL.iter().flat_map(|action| {
        [None, Some(false), Some(true)].into_iter().map(move |hold| (*action, hold))
    }) {
        for (bits, decision) in (0..16u8).flat_map(|bits| decisions.iter().map(move |d| (bits, d)))
        {
            let is = |bit: u8| bits & (1 << bit) != 0;
            let search = Search { decision, is_behind: is(0), slack_may_know: is(1) };
            let world = World::with(|world| {
                (world.action, world.hold) = (action, hold);
                world.deliver_after = is(2).then_some(Timestamp(50));
                if is(3) {
                    world.settings.held_event_types.insert(world.event.clone());
                }
            });
            let place = world.place(search);
            let name = place.map(|place| match place {
                Placement::Member(_) => "member",
                Placement::Behind(_) => "behind",
                Placement::AwaitList => "list",
                Placement::AskSlack(_) => "slack",
                Placement::Hold(_) => "hold",
            });
            assert_eq!(name, expected(&world, search), "{world:?} {search:?}");
            if let Ok(Placement::Member(to) | Placement::Behind(to)) = place {
                assert_eq!(to.slack_user_id.as_str(), "U7");
                assert_eq!((to.display_name, to.basis), ("Ada", MatchBasis::Pinned));
            }
            if let (
                Ok(Placement::AskSlack(given) | Placement::Hold(given)),
                MemberDecision::Unreachable { reason },
            ) = (place, decision)
            {
                assert_eq!(given, *reason);
            }
            seen += 1;
        }
    }
    assert_eq!(seen, Action::ALL.len() * 3 * 16 * (NoMatch::ALL.len() + 1));
}

#[test]
fn what_nothing_speaks_against_is_sent() {
    fn sent(change: fn(&mut World)) {
        assert_eq!(World::with(change).head(), SEND);
    }
    sent(|_| ());
    sent(|world| world.identity = None);
    sent(|world| world.member_kind = None);
    sent(|world| world.identity = Some(identity("U2", ELSEWHERE)));
    sent(|world| world.channel = true);
    assert_eq!(World::default().admit().unwrap().workspace, "the caller's record");
}

#[test]
fn too_late_is_too_late() {
    assert_eq!(World::with(|world| world.now = 100).head(), Err(End::Expired));
    assert_eq!(World::with(|world| world.now = 99).head(), SEND);
}

#[test]
fn a_record_without_a_person_is_for_no_member() {
    let world = World::default();
    assert_eq!(world.message().recipient(Some("Ada")), Ok("Ada"));
    assert_eq!(world.message().recipient::<()>(None), Err(End::Unreachable(NoMatch::NoMember)));
    let expired = World::with(|world| world.now = 100);
    assert_eq!(expired.message().recipient::<()>(None), Err(End::Expired));
}

#[test]
fn only_a_message_with_words_can_be_damaged() {
    for action in Action::ALL {
        let world = World::with(|world| (world.damaged, world.action) = (true, *action));
        let damaged = Err(End::Failed(Failure::Damaged));
        assert_eq!(world.head(), if action.speaks() { damaged } else { SEND }, "{action:?}");
    }
}

#[test]
fn a_choice_counts_for_messages_but_not_for_tests() {
    let off = |world: &mut World| world.preferences.all = Preference::Off;
    assert_eq!(World::with(off).head(), suppressed(Suppression::PreferenceAll));
    let test = World::with(|world| {
        off(world);
        world.kind = DeliveryKind::Test;
    });
    assert_eq!(test.head(), SEND);
}

#[test]
fn what_takes_back_is_held_back_by_the_tenant_alone_and_stays_where_it_is() {
    for action in [Action::Retract, Action::Done] {
        let off = |world: &mut World| {
            world.action = action;
            world.preferences.all = Preference::Off;
            world.identity = Some(identity("U2", HERE));
        };
        assert_eq!(World::with(off).head(), SEND);
        let closed = World::with(|world| {
            off(world);
            world.settings.sending_allowed = false;
        });
        assert_eq!(closed.head(), suppressed(Suppression::SendingOff));
    }
    let replaced = World::with(|world| {
        world.action = Action::Replace;
        world.preferences.all = Preference::Off;
    });
    assert_eq!(replaced.head(), suppressed(Suppression::PreferenceAll));
}

#[test]
fn what_changes_messages_goes_to_them_if_their_workspace_is_connected() {
    for action in Action::ALL {
        let world = World::with(|world| world.action = *action);
        let admitted = world.admit().unwrap();
        let at = |installation| LaneAddress { installation, lane: "U3".into() };
        let lane = (!action.speaks()).then_some("U3");
        assert_eq!(admitted.changes_in(Some(&at(HERE))), lane, "{action:?}");
        assert_eq!(admitted.changes_in(Some(&at(ELSEWHERE))), None);
        assert_eq!(admitted.changes_in(None), None);
    }
}

#[test]
fn the_tenants_switch_holds_tests_back_but_for_administrators() {
    for (kind, expected) in [
        (DeliveryKind::Normal, suppressed(Suppression::SendingOff)),
        (DeliveryKind::Test, suppressed(Suppression::SendingOff)),
        (DeliveryKind::AdministratorTest, SEND),
    ] {
        let world = World::with(|world| {
            world.settings.sending_allowed = false;
            world.kind = kind;
        });
        assert_eq!(world.head(), expected, "{kind:?}");
    }
}

#[test]
fn opt_in_is_for_people() {
    let opt_in = |world: &mut World| world.settings.opt_in = true;
    assert_eq!(World::with(opt_in).head(), suppressed(Suppression::OptIn));
    let channel = World::with(|world| {
        opt_in(world);
        world.channel = true;
    });
    assert_eq!(channel.head(), SEND);
}

#[test]
fn a_corrected_identity_takes_the_message_along() {
    let moved = World::with(|world| world.identity = Some(identity("U2", HERE)));
    assert_eq!(moved.head(), Ok(HeadDecision::Move { installation: HERE, lane: "U2" }));
    // Also if the lane's member is not known yet: the member's own lane finds out.
    let closed = World::with(|world| {
        world.identity = Some(identity("U2", HERE));
        world.identity_kind = Some(MemberKind::Deactivated);
    });
    assert_eq!(closed.head(), Err(DEACTIVATED));
}

#[test]
fn a_closed_account_gets_nothing() {
    let closed = World::with(|world| world.member_kind = Some(MemberKind::Deactivated));
    assert_eq!(closed.head(), Err(DEACTIVATED));
}

#[test]
fn another_workspace_is_followed_where_the_person_is_known_there() {
    let moved = World::with(|world| {
        world.connected = Some(ELSEWHERE);
        world.identity = Some(identity("U9", ELSEWHERE));
    });
    assert_eq!(moved.head(), Ok(HeadDecision::Move { installation: ELSEWHERE, lane: "U9" }));
    assert_eq!(World::with(|world| world.connected = None).head(), Err(NOT_CONNECTED));
    let elsewhere = World::with(|world| world.connected = Some(ELSEWHERE));
    assert_eq!(elsewhere.head(), Ok(HeadDecision::Find));
    let changes: [fn(&mut World); 2] =
        [|world| world.channel = true, |world| world.action = Action::Done];
    for change in changes {
        let mut stays = elsewhere.clone();
        change(&mut stays);
        assert_eq!(stays.head(), Err(NOT_CONNECTED));
    }
}

#[test]
fn a_dead_token_holds_up_only_what_would_be_sent() {
    let dead = |world: &mut World| world.dead = Some("token_revoked");
    assert_eq!(World::with(dead).head(), Ok(HeadDecision::Pause { code: "token_revoked" }));
    let off = World::with(|world| {
        dead(world);
        world.preferences.all = Preference::Off;
    });
    assert_eq!(off.head(), suppressed(Suppression::PreferenceAll));
}
