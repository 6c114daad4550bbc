//! People that Slack does not let in: each has a code and a sentence, and keeps out no
//! other person.

use std::collections::BTreeMap;

use herald::rpc::pb::{self, ChannelMemberState as MemberState};
use herald::sandbox::{Fault, FaultKind, fixture};
use serde_json::json;

use super::support::{
    Channels, KEY, NAME, acts, assert_each_invited_once, by_id, counts, people_in, wish,
};
use crate::held::{arrive, newcomer};
use crate::support::client::person;
use crate::support::world::{Plan, TENANT, World, for_each_database};

fn refusing(refused: &[(&str, &str)]) -> Fault {
    let codes = refused.iter().map(|(user, code)| ((*user).to_owned(), (*code).to_owned()));
    let errors: BTreeMap<String, String> = codes.collect();
    Fault::new("conversations.invite", FaultKind::InviteErrors { errors })
}

#[tokio::test]
async fn each_person_who_is_refused_has_a_code_and_a_sentence() {
    let members = [fixture::demo_members(), fixture::demo_guests()].concat();
    let plan = Plan { members: Some(members), ..Plan::default() };
    plan.run(async |world: &mut World| {
        let mut stranger = newcomer("U0STRANGE", "stranger@firm.example");
        stranger["is_stranger"] = json!(true);
        arrive(world, [stranger]).await;
        let guests = ["kim", "nia"].map(|user| person(user, &format!("{user}@partner.example")));
        world.client.upsert(TENANT, guests.to_vec()).await;
        world.client.upsert(TENANT, vec![person("stranger", "stranger@firm.example")]).await;
        world.client.load(&["ben", "clara", "daichi", "ole"]).await;
        let codes = [
            ("U0DEMOBEN", "user_is_restricted"),
            ("U0DEMOCLA", "invitee_cant_see_channel"),
            ("U0DEMONIA", "ura_max_channels"),
        ];
        world.sandbox.script(refusing(&codes));
        let channels = Channels::new(world);
        let everyone = ["ben", "clara", "daichi", "kim", "nia", "ole", "stranger"];
        let made = channels.made(wish(NAME), by_id(&everyone)).await;
        let members = channels.members(KEY).await;
        for (user, code) in [
            ("ben", "user_is_restricted"),
            ("clara", "invitee_cant_see_channel"),
            ("nia", "ura_max_channels"),
        ] {
            let member = &members[user];
            assert_eq!(member.state(), MemberState::Failed, "{member:?}");
            assert_eq!(member.code, code, "{member:?}");
            assert!(!member.sentence.is_empty() && member.retry_at.is_none(), "{member:?}");
        }
        // Slack does not list people of other companies.
        assert_eq!(members["stranger"].state(), MemberState::NotInSlack);
        for user in ["daichi", "kim", "ole"] {
            assert_eq!(members[user].state(), MemberState::Member, "{:?}", members[user]);
        }
        assert_eq!(people_in(world, &made.channel_id).len(), 3);
        assert_each_invited_once(world, &made.channel_id);
        // Those who failed for good are not tried again when the wish changes.
        let refused = || acts(world, "invite").iter().map(|act| act.refused.len()).sum::<usize>();
        assert_eq!(refused(), 3);
        world.client.load(&["hugo"]).await;
        channels.add_members(KEY, by_id(&["hugo"])).await;
        channels.member_in(KEY, "hugo", MemberState::Member).await;
        assert_eq!(refused(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_temporary_refusal_is_tried_again() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        let internal = [("U0DEMOBEN", "internal_error")];
        world.sandbox.script(refusing(&internal).times(2));
        let channels = Channels::new(world);
        channels.ensure(KEY, wish(NAME), by_id(&["ben", "clara"])).await.unwrap();
        channels.member_in(KEY, "ben", MemberState::Member).await;
        let made = channels.settled(KEY).await;
        assert_eq!(counts(&made).members, 2);
        assert_each_invited_once(world, &made.channel_id);
    })
    .await;
}

/// Two users who are one Slack member are one invitation, and both are members.
#[tokio::test]
async fn two_users_of_one_member_are_invited_once() {
    for_each_database(async |world| {
        let people = vec![person("work", "ben@demo.example"), person("home", "ben@demo.example")];
        world.client.upsert(TENANT, people).await;
        let channels = Channels::new(world);
        let made = channels.made(wish(NAME), by_id(&["work", "home"])).await;
        assert_eq!(counts(&made).members, 2);
        let joined = acts(world, "invite").into_iter().flat_map(|act| act.joined);
        assert_eq!(joined.collect::<Vec<_>>(), ["U0DEMOBEN"]);
    })
    .await;
}

/// Members with records need no earlier call, and the answer counts them at once.
#[tokio::test]
async fn members_come_with_their_records() {
    for_each_database(async |world| {
        let channels = Channels::new(world);
        let people = vec![person("new", "ben@demo.example"), person("none", "none@x.example")];
        let members = super::support::with_records(people);
        let told = channels.ensure(KEY, wish(NAME), members).await.unwrap();
        assert_eq!(counts(&told).queued, 2);
        let made = channels.settled(KEY).await;
        assert_eq!((counts(&made).members, counts(&made).not_in_slack), (1, 1));
        let kept: pb::GetPersonResponse = world.client.person(TENANT, "new").await.unwrap();
        assert_eq!(kept.person.unwrap().email, "ben@demo.example");
    })
    .await;
}
