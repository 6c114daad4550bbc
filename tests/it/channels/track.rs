//! A track of 250 people whose name is taken: each policy does what it says, and every person's
//! outcome is shown.

use std::collections::BTreeMap;

use herald::rpc::pb::{
    self, ChannelMemberState as MemberState, ChannelObstacle as Obstacle, ChannelState as State,
    NameTaken,
};
use herald::sandbox::fixture;
use serde_json::Value;

use super::support::{
    Channels, LEGAL, NAME, acts, counts, in_slack, people_in, people_make, wish_or, with_records,
};
use crate::held::{arrive, newcomer};
use crate::support::client::{demo_person, person};
use crate::support::world::{Plan, World};

/// Enrolled people with an ordinary Slack account.
const ORDINARY: usize = 235;
/// Enrolled people who are not in Slack yet.
const LATE: usize = 12;

fn member(number: usize) -> Value {
    newcomer(&format!("U0P{number:03}"), &format!("p{number:03}@firm.example"))
}

fn late(number: usize) -> Value {
    newcomer(&format!("U0L{number:03}"), &format!("late{number:02}@firm.example"))
}

/// The people of Slack: those of the demo, its guests, and the enrolled ones.
fn company() -> Vec<Value> {
    let demo = [fixture::demo_members(), fixture::demo_guests()].concat();
    demo.into_iter().chain((0..ORDINARY).map(member)).collect()
}

/// The 250 enrolled people: 235 ordinary ones, two guests, one who left the company, and twelve who
/// are not in Slack.
fn enrolled() -> Vec<pb::ChannelMember> {
    let ordinary = (0..ORDINARY).map(|n| format!("p{n:03}"));
    let late = (0..LATE).map(|n| format!("late{n:02}"));
    let firm = ordinary.chain(late).map(|user| person(&user, &format!("{user}@firm.example")));
    let guests = ["kim", "nia"].map(|user| person(user, &format!("{user}@partner.example")));
    let mut people: Vec<_> = firm.collect();
    people.extend(guests);
    people.push(demo_person("jonas"));
    assert_eq!(people.len(), 250);
    with_records(people)
}

/// The outcomes before the twelve arrive.
async fn check_outcomes(channels: &Channels, key: &str) {
    let members = channels.members(key).await;
    assert_eq!(members.len(), 250);
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for member in members.values() {
        *states.entry(member.state().as_str_name()).or_default() += 1;
        assert_eq!(member.roles, ["enrolled"]);
        if member.state() != MemberState::Member {
            assert!(!member.code.is_empty() && !member.sentence.is_empty(), "{member:?}");
        }
    }
    let of = |state: MemberState| states.get(state.as_str_name()).copied().unwrap_or_default();
    // The guest who may be in several channels is in; Jonas waits like those who are missing.
    assert_eq!(of(MemberState::Member), ORDINARY + 1, "{states:?}");
    assert_eq!(of(MemberState::NotInSlack), LATE + 1, "{states:?}");
    assert_eq!(of(MemberState::Failed), 1, "{states:?}");
    assert_eq!(members["kim"].slack_user_id, "U0DEMOKIM");
    assert_eq!(members["nia"].code, "ura_max_channels");
    assert_eq!(members["late00"].code, "no_member");
    assert_eq!(members["jonas"].code, "member_deactivated");
}

#[tokio::test]
async fn each_policy_does_what_it_says_and_late_people_are_invited() {
    let plan = Plan { members: Some(company()), ..Plan::default() };
    plan.run(async |world: &mut World| {
        let channels = Channels::new(world);
        let existing = people_make(world, LEGAL, &["U0DEMOADA", "U0P000"]);
        // A single-channel guest has a channel already.
        people_make(world, "supplies", &["U0DEMONIA"]);

        let fail = wish_or(NAME, NameTaken::Fail);
        let told = channels.ensure("track:fail", fail, enrolled()).await.unwrap();
        assert_eq!((told.name.as_str(), counts(&told).queued), (LEGAL, 250));
        let stopped = channels.stopped_by("track:fail", Obstacle::NameTaken).await;
        assert_eq!((stopped.state(), stopped.channel_id.as_str()), (State::Blocked, ""));
        assert!(acts(world, "create").is_empty());

        let suffix = wish_or(NAME, NameTaken::Suffix);
        channels.ensure("track:suffix", suffix, enrolled()).await.unwrap();
        let made = channels.settled("track:suffix").await;
        assert_eq!((made.state(), made.adopted), (State::Ready, false));
        assert_eq!(made.name, format!("{LEGAL}-2"));
        assert_eq!(in_slack(world, &made.channel_id)["name"], made.name);
        check_outcomes(&channels, "track:suffix").await;

        let adopt = wish_or(NAME, NameTaken::Adopt);
        channels.ensure("track:adopt", adopt, enrolled()).await.unwrap();
        let found = channels.settled("track:adopt").await;
        assert_eq!((found.channel_id.as_str(), found.adopted), (existing.as_str(), true));
        check_outcomes(&channels, "track:adopt").await;
        let purpose = in_slack(world, &existing)["purpose"].as_str().unwrap().to_owned();
        assert!(purpose.starts_with("Everyone in the autumn track"), "{purpose}");
        assert!(purpose.len() > "Everyone in the autumn track".len(), "no mark: {purpose}");
        // Its own people stay.
        assert!(people_in(world, &existing).contains("U0DEMOADA"));

        arrive(world, (0..LATE).map(late)).await;
        for key in ["track:suffix", "track:adopt"] {
            let all = i32::try_from(ORDINARY + 1 + LATE).unwrap();
            let arrived = |channel: &pb::Channel| counts(channel).members == all;
            let channel = channels.until(key, "the late ones are in", arrived).await;
            let counts = counts(&channel);
            assert_eq!((counts.not_in_slack, counts.failed, counts.queued), (1, 1, 0));
        }
        assert_eq!(people_in(world, &made.channel_id).len(), ORDINARY + 1 + LATE);
        // Ada was there before.
        assert_eq!(people_in(world, &existing).len(), ORDINARY + 2 + LATE);

        for act in acts(world, "invite") {
            assert!(act.joined.len() + act.refused.len() <= 100, "{act:?}");
            let again = act.refused.values().filter(|code| *code == "already_in_channel");
            assert_eq!(again.count(), 0, "{act:?}");
        }
        let still = channels.get("track:fail").await.unwrap();
        assert_eq!(still.obstacle(), Obstacle::NameTaken);
        // The two channels that people made are the only others.
        assert_eq!(acts(world, "create").len(), 1);
    })
    .await;
}
