//! Rules that hold for all facts.

use proptest::prelude::*;

use super::*;

fn choice() -> impl Strategy<Value = Preference> {
    prop::sample::select(vec![Preference::Inherit, Preference::On, Preference::Off])
}

prop_compose! {
    fn any_world()(
        set in 0usize..1 << (GATE.len() + HEAD.len()),
        (all, one) in (choice(), choice()),
        channel in any::<bool>(),
        action in prop::sample::select(Action::ALL),
        kind in prop::sample::select(DeliveryKind::ALL),
    ) -> World {
        let rules: Vec<&Rule> = GATE.iter().chain(HEAD).collect();
        let mut world = world_of(set, &rules).0;
        world.preferences.all = all;
        world.preferences.by_type.insert(world.event.clone(), one);
        World { kind, action, channel, ..world }
    }
}

proptest! {
    /// The early rule never contradicts the decision that is made with all facts.
    #[test]
    fn the_early_rule_and_the_decision_agree(world in any_world()) {
        if let Err(end) = world.message().recipient(Some(())) {
            prop_assert_eq!(world.admit().err(), Some(end));
            prop_assert_eq!(world.head(), Err(end));
        }
    }

    /// In a lane and before it, a message is held back by the same rules.
    #[test]
    fn the_switches_are_the_same_in_every_place(world in any_world()) {
        let decision = reach("U1");
        let ends = world.admit().err();
        prop_assert_eq!(world.place(found(&decision)).err(), ends);
        if let Some(end) = ends {
            prop_assert_eq!(world.head(), Err(end));
        }
    }

    /// A person's choices change nothing for channels, for tests, and for actions without words.
    #[test]
    fn choices_count_for_a_persons_own_messages_only(world in any_world()) {
        let unchosen = World { preferences: Preferences::default(), ..world.clone() };
        let open = World {
            settings: Settings { opt_in: false, ..world.settings.clone() },
            ..unchosen.clone()
        };
        if world.channel || world.kind != DeliveryKind::Normal || !world.action.speaks() {
            prop_assert_eq!(world.head(), unchosen.head());
            prop_assert_eq!(world.head(), open.head());
        }
    }

    /// A message follows its channel within the connected workspace.
    #[test]
    fn a_message_goes_where_its_channel_is(
        world in any_world(),
        (moved, here) in (any::<bool>(), any::<bool>()),
    ) {
        let installation = if here { HERE } else { ELSEWHERE };
        let lane = ChannelLane { installation: HERE, lane: "C1" };
        let now = ChannelLane { installation, lane: if moved { "C2" } else { "C1" } };
        if let Ok(admitted) = world.admit() {
            let follows = world.connected == Some(installation)
                && (moved || !here)
                && world.action.speaks();
            let step = HeadDecision::Move { installation, lane: now.lane };
            prop_assert_eq!(admitted.follows(&lane, Some(&now)), follows.then_some(step));
            prop_assert_eq!(admitted.follows(&lane, None), None);
        }
    }

    /// A closed account gets nothing, and nothing is sent through a dead token or to a workspace
    /// that is not connected.
    #[test]
    fn a_message_is_sent_only_where_all_facts_allow_it(world in any_world()) {
        if world.head() == SEND {
            prop_assert!(world.now < 100 && world.exists && world.dead.is_none());
            prop_assert_eq!(world.connected, Some(HERE));
            prop_assert!(world.channel || world.member_kind != Some(MemberKind::Deactivated));
            let is_trial = world.kind == DeliveryKind::AdministratorTest;
            prop_assert!(world.settings.sending_allowed || is_trial);
        }
    }
}

#[test]
fn only_a_departure_decides_about_messages_of_a_tenant_without_a_workspace() {
    let disconnected = End::Canceled(Cancellation::Disconnected);
    for (departure, expected) in [
        (Some(Departure::Keeps), Ok(())),
        (Some(Departure::Ends), Err(disconnected)),
        (None, Err(NOT_CONNECTED)),
    ] {
        assert_eq!(Departure::waits(departure, NOT_CONNECTED), expected);
        assert_eq!(Departure::waits(departure, End::Expired), Err(End::Expired));
        let code = departure.map(Departure::code);
        assert_eq!(code.and_then(Departure::from_code), departure);
    }
}
