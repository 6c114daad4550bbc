//! Tests of the judge: channels.

use super::tests::{SECOND, at, fine, kinds};
use super::*;
use crate::evidence::{
    Act, Blow, ChannelCall, ChannelEnd, FeedEntry, FeedNews, Place, Request, Statement,
};
use crate::tenant::{Tenant, person};
use crate::track::Track;

const ID: &str = "C0TRACK";

fn track() -> Track {
    Track::new(0, 0, BTreeSet::from([0, 1]))
}

fn ensure() -> Statement {
    Statement::Ensure { name: track().name(), members: track().members }
}

fn said(statement: Statement, began: i64) -> ChannelCall {
    ChannelCall {
        key: track().key(),
        generation: 0,
        statement,
        replica: 0,
        began,
        ended: began + SECOND / 10,
        answer: Answer::Accepted { notification: String::new(), verdicts: Vec::new() },
    }
}

fn refused(code: &str, retry_info: bool) -> Answer {
    Answer::Refused { code: code.into(), reason: "R".into(), retry_info }
}

/// A request about the channel that begins then.
fn asked(evidence: &Evidence, method: &str, began: i64) -> Request {
    Request {
        method: format!("conversations.{method}"),
        lane: Some(ID.into()),
        began,
        ended: began + 1_000,
        stored: None,
        ..evidence.requests[0].clone()
    }
}

type Change = fn(&mut Evidence);
type FeedChange = fn(&mut Vec<FeedEntry>);

fn act(name: &str) -> Act {
    Act { kind: name.into(), channel: ID.into(), ..Act::default() }
}

fn created(evidence: &Evidence, began: i64) -> Request {
    let request = asked(evidence, "create", began);
    Request { lane: None, name: Some(track().name()), act: Some(act("create")), ..request }
}

fn invited(evidence: &Evidence, began: i64, people: &[usize]) -> Request {
    let joined = people.iter().map(|person| Tenant::MAIN.member_id(*person)).collect();
    let act = Some(Act { joined, ..act("invite") });
    Request { act, ..asked(evidence, "invite", began) }
}

fn removed(evidence: &Evidence, began: i64, person: usize) -> Request {
    let left = vec![Tenant::MAIN.member_id(person)];
    let act = Some(Act { left, ..act("kick") });
    Request { act, ..asked(evidence, "kick", began) }
}

fn place() -> Place {
    Place {
        id: ID.into(),
        name: track().name(),
        archived: false,
        members: [0, 1].map(|person| Tenant::MAIN.member_id(person)).into(),
    }
}

/// A wish from two replicas at once, its channel with two people, a message in it, and the feed.
pub(super) fn add_channel(evidence: &mut Evidence) {
    evidence.channel_calls = vec![said(ensure(), at(1)), said(ensure(), at(1))];
    let began = at(1) + SECOND / 2;
    let create = created(evidence, began);
    let invite = invited(evidence, began + 10_000, &[0, 1]);
    let method = "chat.postMessage".to_owned();
    let stored = Some("1.2".to_owned());
    let post = Request { method, stored, ..asked(evidence, "none", began + 20_000) };
    evidence.requests.extend([create, invite, post]);
    evidence.places = vec![place()];
    let (key, state) = (track().key(), "ready".to_owned());
    let people = [0, 1].map(|number| (person(number), "member".to_owned()));
    let people = BTreeMap::from(people);
    let mut news = vec![FeedNews::Channel { key: key.clone(), state, obstacle: String::new() }];
    news.extend(people.iter().map(|(user, state)| {
        let (user, state) = (user.clone(), state.clone());
        FeedNews::Member { key: key.clone(), user, state }
    }));
    let entries = (1..).zip(news).map(|(sequence, news)| FeedEntry { sequence, at: began, news });
    evidence.channel_feed = entries.collect();
    evidence.channel_ends = vec![ChannelEnd {
        key,
        name: track().name(),
        members: track().members,
        state: "ready".into(),
        settled: true,
        channel: ID.into(),
        people,
        ..ChannelEnd::default()
    }];
}

/// The first wish was accepted in the time that a failover lost, or before it.
fn failed_over(evidence: &mut Evidence, lag: i64) {
    let blow = |kind: &str, from, until| {
        let (what, replica) = (kind.into(), None);
        Blow { kind: kind.into(), what, replica, from, until }
    };
    let failover = at(15);
    evidence.blows = vec![
        blow("lag", lag, failover),
        blow("failover", failover, failover),
        blow("epoch", failover + 1, failover + 1),
    ];
    let sequence = failover;
    let epoch = FeedEntry { sequence, at: failover + 1, news: FeedNews::Epoch };
    evidence.channel_feed.push(epoch);
}

#[test]
fn figures_count_what_happened_to_channels() {
    let figures = judge(&fine()).figures.channels;
    assert_eq!((figures.wishes, figures.calls, figures.created), (1, 2, 1));
    assert_eq!((figures.joined, figures.removed, figures.changes), (2, 0, 3));
}

#[test]
fn two_channels_of_one_wish_are_found_unless_one_is_archived() {
    let other = Place { id: "C0OTHER".into(), ..place() };
    let mut evidence = fine();
    evidence.places.push(Place { archived: true, ..other.clone() });
    assert_eq!(kinds(&evidence), []);
    evidence.places.pop();
    evidence.places.push(other);
    assert_eq!(kinds(&evidence), [Kind::SecondChannel]);
    // The copy does not know the wish for the first one.
    failed_over(&mut evidence, at(0));
    assert_eq!(judge(&evidence).count(Kind::SecondChannel), 0);
    evidence.blows[0].from = at(3);
    assert_eq!(judge(&evidence).count(Kind::SecondChannel), 1);
}

#[test]
fn an_unclear_create_is_looked_for_before_the_next_one() {
    let first = at(1) + SECOND / 2;
    for (status, fault, look, found) in [
        (200, None, false, true),
        (200, None, true, false),
        (0, Some("reset"), false, true),
        (0, Some("reset"), true, false),
        (429, Some("status 429"), false, false),
    ] {
        let mut evidence = fine();
        let create = created(&evidence, first + SECOND);
        evidence.requests.push(create);
        let first = evidence.requests.iter_mut().find(|one| one.name.is_some()).unwrap();
        (first.status, first.fault) = (status, fault.map(str::to_owned));
        first.act = first.act.take().filter(|_| fault.is_none());
        // The wait that the 429 asks for is over.
        first.retry_after = fault.map(|_| "0".to_owned());
        let began = first.ended + 1_000;
        if look {
            let list = asked(&evidence, "list", began);
            evidence.requests.push(Request { lane: None, ..list });
        }
        assert_eq!(kinds(&evidence).contains(&Kind::Unlooked), found, "{fault:?} {look}");
        assert_eq!(kinds(&evidence).is_empty(), !found, "{fault:?} {look}");
    }
    // A list that was refused shows nothing, and neither does one from before.
    for (began, outcome) in [(first + 2_000, "ratelimited"), (first - 2_000, "ok")] {
        let mut evidence = fine();
        let list = asked(&evidence, "list", began);
        let create = created(&evidence, first + SECOND);
        evidence.requests.extend([create, Request { outcome: outcome.into(), ..list }]);
        assert_eq!(kinds(&evidence), [Kind::Unlooked], "{outcome}");
        evidence.requests.retain(|one| one.tenant != "acme" || one.act.is_none());
        assert_eq!(kinds(&evidence), [], "no create at all");
    }
}

#[test]
fn people_enter_and_leave_because_of_a_wish() {
    let wishes = |statements: Vec<(i64, Statement)>, request: fn(&Evidence) -> Request| {
        let mut evidence = fine();
        let calls = statements.into_iter().map(|(began, statement)| said(statement, began));
        evidence.channel_calls.extend(calls);
        let request = request(&evidence);
        evidence.requests.push(request);
        kinds(&evidence).contains(&Kind::Unasked)
    };
    let of = |person: usize| BTreeSet::from([person]);
    let third = |evidence: &Evidence| invited(evidence, at(9), &[2]);
    let out = |evidence: &Evidence| removed(evidence, at(9), 0);
    assert!(wishes(Vec::new(), third));
    assert!(!wishes(vec![(at(5), Statement::Add { members: of(2) })], third));
    assert!(!wishes(vec![(at(5), Statement::Set { members: of(2) })], third));
    assert!(wishes(vec![(at(5), Statement::Add { members: of(3) })], third));
    assert!(wishes(vec![(at(10), Statement::Add { members: of(2) })], third), "too late");
    assert!(wishes(Vec::new(), out));
    assert!(!wishes(vec![(at(5), Statement::Remove { members: of(0) })], out));
    assert!(!wishes(vec![(at(5), Statement::Set { members: of(1) })], out));
    assert!(wishes(vec![(at(5), Statement::Remove { members: of(1) })], out));
}

/// A lease lasts a minute in these logs.
#[test]
fn a_wish_that_was_taken_back_is_no_reason_once_replicas_know() {
    for (taken_back, found) in [(at(5), true), (at(100), false)] {
        let mut evidence = fine();
        let members = BTreeSet::from([2]);
        let add = said(Statement::Add { members: members.clone() }, at(2));
        let remove = said(Statement::Remove { members }, taken_back);
        evidence.channel_calls.extend([add, remove.clone()]);
        let invite = invited(&evidence, at(5) + 130 * SECOND, &[2]);
        evidence.requests.push(invite);
        assert_eq!(kinds(&evidence).contains(&Kind::Unasked), found);
        // A call that was not accepted, or that a failover lost, took nothing back.
        let lost = Answer::Lost { why: "killed".into() };
        evidence.channel_calls.pop();
        evidence.channel_calls.push(ChannelCall { answer: lost, ..remove });
        assert!(!kinds(&evidence).contains(&Kind::Unasked));
    }
}

#[test]
fn a_person_who_is_in_the_channel_is_not_invited() {
    for (code, found) in [("already_in_channel", true), ("cant_invite", false)] {
        let mut evidence = fine();
        let mut again = invited(&evidence, at(9), &[]);
        let refused = BTreeMap::from([(Tenant::MAIN.member_id(0), code.to_owned())]);
        again.act = Some(Act { refused, ..act("invite") });
        evidence.requests.push(again);
        assert_eq!(kinds(&evidence).contains(&Kind::InvitedTwice), found, "{code}");
    }
}

/// Each wish invites a person once, also if the one before was taken back in between.
#[test]
fn a_member_who_was_taken_back_and_wished_for_again_may_be_invited_again() {
    for (taken_back, found) in [(at(0), true), (at(5), false), (at(10), true)] {
        let mut evidence = fine();
        let members = BTreeSet::from([0]);
        evidence.channel_calls.push(said(Statement::Remove { members }, taken_back));
        let mut again = invited(&evidence, at(9), &[]);
        let refused = BTreeMap::from([(Tenant::MAIN.member_id(0), "already_in_channel".into())]);
        again.act = Some(Act { refused, ..act("invite") });
        evidence.requests.push(again);
        assert_eq!(kinds(&evidence).contains(&Kind::InvitedTwice), found, "{taken_back}");
    }
}

#[test]
fn every_wish_is_carried_out_in_the_end() {
    let changes: [(&str, Change); 9] = [
        ("not settled", |it| it.channel_ends[0].settled = false),
        ("an obstacle", |it| it.channel_ends[0].obstacle = "name_taken".into()),
        ("another state", |it| it.channel_ends[0].state = "creating".into()),
        ("another channel", |it| it.channel_ends[0].channel = "C0OTHER".into()),
        ("archived", |it| it.places[0].archived = true),
        ("another name", |it| it.places[0].name.push_str("-2")),
        ("a person lacks", |it| drop(it.places[0].members.pop_last())),
        ("one too many", |it| it.places[0].members.extend(["U900".to_owned()])),
        ("a person is queued", |it| {
            it.channel_ends[0].people.insert("person-0".into(), "queued".into());
        }),
    ];
    for (what, change) in changes {
        let mut evidence = fine();
        change(&mut evidence);
        assert!(kinds(&evidence).contains(&Kind::NotCarriedOut), "{what}");
        failed_over(&mut evidence, at(0));
        assert!(!kinds(&evidence).contains(&Kind::NotCarriedOut), "{what}: forgotten");
        evidence.blows[0].from = at(3);
        assert!(kinds(&evidence).contains(&Kind::NotCarriedOut), "{what}: known to the copy");
    }
    // A channel that is to be archived.
    let mut evidence = fine();
    evidence.channel_ends[0].archived = true;
    assert!(kinds(&evidence).contains(&Kind::NotCarriedOut));
    evidence.channel_ends[0].state = "archived".into();
    assert!(kinds(&evidence).contains(&Kind::NotCarriedOut));
    evidence.places[0].archived = true;
    assert!(!kinds(&evidence).contains(&Kind::NotCarriedOut));
}

#[test]
fn requests_about_channels_stay_within_their_budget() {
    for (step, found) in [(SECOND, true), (3 * SECOND, false)] {
        let mut evidence = fine();
        let requests = (0..25).map(|number| asked(&evidence, "rename", at(2) + number * step));
        let requests: Vec<Request> = requests.collect();
        evidence.requests.extend(requests);
        assert_eq!(kinds(&evidence).contains(&Kind::TooFast), found, "{step}");
        // Of another tenant.
        evidence.requests.iter_mut().for_each(|one| one.tenant = Tenant::WITNESS.name());
        assert!(!kinds(&evidence).contains(&Kind::TooFast));
    }
}

#[test]
fn calls_about_channels_are_refused_only_for_a_reason() {
    for (statement, answer, found) in [
        (ensure(), refused("Unavailable", true), false),
        (ensure(), refused("Unavailable", false), true),
        (ensure(), refused("InvalidArgument", false), true),
        (Statement::Release, refused("NotFound", false), false),
        (Statement::Archive, refused("NotFound", false), true),
    ] {
        let mut evidence = fine();
        evidence.channel_calls.push(ChannelCall { answer, ..said(statement.clone(), at(9)) });
        assert_eq!(kinds(&evidence).contains(&Kind::WronglyRefused), found, "{statement:?}");
        failed_over(&mut evidence, at(3));
        let forgiven = statement == Statement::Archive;
        let found = found && !forgiven;
        assert_eq!(kinds(&evidence).contains(&Kind::WronglyRefused), found, "{statement:?}");
    }
}

#[test]
fn the_feed_of_channels_has_each_change_once_and_ends_with_the_last_state() {
    let changes: [(&str, FeedChange); 5] = [
        ("a gap", |feed| drop(feed.remove(1))),
        ("twice", |feed| feed.push(feed[2].clone())),
        ("in another order", |feed| feed.swap(1, 2)),
        ("no last state of a person", |feed| drop(feed.pop())),
        ("a later state", |feed| {
            let (key, state) = (track().key(), "blocked".to_owned());
            let news = FeedNews::Channel { key, state, obstacle: "reconnect".into() };
            feed.push(FeedEntry { sequence: 4, at: at(3), news });
        }),
    ];
    for (what, change) in changes {
        let mut evidence = fine();
        change(&mut evidence.channel_feed);
        assert_eq!(kinds(&evidence), [Kind::FeedGap], "{what}");
    }
    // After a failover the reader learns of it, and knows only later changes.
    let mut evidence = fine();
    failed_over(&mut evidence, at(14));
    assert_eq!(kinds(&evidence), []);
    evidence.channel_feed.pop();
    assert_eq!(kinds(&evidence), [Kind::FeedGap]);
}

/// Messages to a channel by its key are judged like all others. This one was accepted later.
#[test]
fn a_message_for_a_forgotten_key_may_wait_for_ever() {
    let mut evidence = fine();
    let key = track().key();
    let like = evidence.calls.iter().find(|call| call.id == "0-1").unwrap().clone();
    let verdicts = vec![tests::verdict(500, &key)];
    let answer = Answer::Accepted { notification: "n".into(), verdicts };
    let (began, ended) = (at(16), at(17));
    evidence.calls.push(Call {
        id: "3000-1".into(),
        lanes: vec![key],
        began,
        ended,
        answer,
        ..like
    });
    assert_eq!(kinds(&evidence), [Kind::Lost]);
    failed_over(&mut evidence, at(0));
    assert!(!kinds(&evidence).contains(&Kind::Lost));
}

/// The copy does not know that they were added.
#[test]
fn people_who_were_added_in_the_lost_time_may_be_invited_again_or_stay() {
    for (lag, found) in [(at(5), false), (at(9), true)] {
        let mut evidence = fine();
        let members = BTreeSet::from([2]);
        evidence.channel_calls.push(said(Statement::Add { members }, at(6)));
        let invite = invited(&evidence, at(7), &[2]);
        let mut again = invited(&evidence, at(18), &[]);
        let member = Tenant::MAIN.member_id(2);
        let refused = BTreeMap::from([(member.clone(), "already_in_channel".to_owned())]);
        again.act = Some(Act { refused, ..act("invite") });
        evidence.requests.extend([invite, again]);
        evidence.places[0].members.insert(member);
        failed_over(&mut evidence, lag);
        let kinds = kinds(&evidence);
        assert_eq!(kinds.contains(&Kind::InvitedTwice), found, "{lag}");
        assert_eq!(kinds.contains(&Kind::NotCarriedOut), found, "{lag}");
    }
}

#[test]
fn a_channel_that_was_archived_in_the_lost_time_is_explained() {
    for (lag, found) in [(at(5), false), (at(9), true)] {
        let mut evidence = fine();
        evidence.channel_calls.push(said(Statement::Archive, at(6)));
        evidence.channel_ends[0].obstacle = "archived_in_slack".into();
        failed_over(&mut evidence, lag);
        assert_eq!(kinds(&evidence).contains(&Kind::NotCarriedOut), found, "{lag}");
    }
}
