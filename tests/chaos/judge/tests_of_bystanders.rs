//! Tests of the judge: bystanders, health, connections that broke unnoticed, and findings that a
//! clock step or a failover excuses.

use super::tests::{CALLS, SECOND, at, fine, kinds};
use super::*;
use crate::evidence::{Blow, ChannelCall, FeedEntry, FeedNews, Request, Statement};
use crate::tenant::Tenant;

fn blow(kind: &str, replica: Option<usize>, from: i64, until: i64) -> Blow {
    Blow { kind: kind.into(), what: kind.into(), replica, from, until }
}

fn witnessed(evidence: &mut Evidence) -> impl Iterator<Item = &mut Call> {
    evidence.calls.iter_mut().filter(|call| call.tenant == Tenant::WITNESS.name())
}

#[test]
fn bystanders_are_accepted_within_a_second_where_nothing_touches_their_replica() {
    let mut evidence = fine();
    witnessed(&mut evidence).for_each(|call| call.ended += 950_000);
    assert_eq!(kinds(&evidence), [Kind::HeldUp]);
    assert_eq!(judge(&evidence).figures.witness_calls.count, CALLS);
    // Faults of other replicas explain nothing; its own faults, and those that touch all replicas,
    // do.
    for (kind, replica, found) in [
        ("frozen", Some(1), true),
        ("throttle", None, true),
        ("tenants", None, true),
        ("step", None, true),
        ("network", Some(0), true),
        ("frozen", Some(0), false),
        ("dark", Some(0), false),
        ("postgres", None, false),
    ] {
        let mut evidence = fine();
        let first = witnessed(&mut evidence).find(|call| call.replica == 0);
        first.unwrap().ended += SECOND;
        evidence.blows = vec![blow(kind, replica, at(0), at(0))];
        assert_eq!(kinds(&evidence).contains(&Kind::HeldUp), found, "{kind} {replica:?}");
    }
}

/// Faults may add a second to the time that calls take on this machine without faults.
#[test]
fn calls_before_the_faults_show_how_fast_the_machine_is() {
    for (before, during, found) in [
        (0, 850_000, false),
        (0, 1_050_000, true),
        (300_000, 1_250_000, false),
        (300_000, 1_350_000, true),
        // A second is the most that the machine may take.
        (5 * SECOND, 1_850_000, false),
        (5 * SECOND, 1_950_000, true),
    ] {
        let mut evidence = fine();
        evidence.rules.began = at(10);
        for call in witnessed(&mut evidence) {
            call.ended += if call.began < at(10) { before } else { during };
        }
        assert_eq!(kinds(&evidence).contains(&Kind::HeldUp), found, "{before} {during}");
        assert_eq!(judge(&evidence).figures.witness_calls.count, 10, "those during the faults");
    }
}

/// A call that a fault may have delayed shows nothing about the machine.
#[test]
fn only_calls_that_ended_before_the_faults_are_compared_with() {
    let mut evidence = fine();
    evidence.rules.began = at(10);
    for call in witnessed(&mut evidence) {
        call.ended += if call.began < at(9) { 0 } else { 1_050_000 };
    }
    assert_eq!(kinds(&evidence), [Kind::HeldUp]);
    assert_eq!(judge(&evidence).figures.calm_calls.count, 9);
}

#[test]
fn their_messages_are_on_their_way_within_two_seconds() {
    let late = |evidence: &mut Evidence| {
        let witness = Tenant::WITNESS.name();
        let mut posts = evidence.requests.iter_mut().filter(|post| post.tenant == witness);
        posts.next().unwrap().began += 3 * SECOND;
    };
    let mut evidence = fine();
    late(&mut evidence);
    assert_eq!(kinds(&evidence), [Kind::Late]);
    // A message that a replica had claimed when it was struck has to wait for its lease to end.
    for (kind, from, found) in [
        ("kill", at(1), false),
        ("freeze", at(1), false),
        ("network", at(1), false),
        ("postgres", at(1), false),
        ("kill", at(9), true),
        ("throttle", at(1), true),
        ("tenants", at(1), true),
    ] {
        let mut evidence = fine();
        late(&mut evidence);
        evidence.blows = vec![blow(kind, Some(2), from, from)];
        assert_eq!(kinds(&evidence).contains(&Kind::Late), found, "{kind}");
    }
}

#[test]
fn health_may_be_wrong_for_five_seconds() {
    for (ill, found) in [(5, false), (8, true)] {
        let mut evidence = fine();
        let mut theirs: Vec<_> =
            evidence.probes.iter_mut().filter(|one| one.replica == 1).collect();
        theirs.iter_mut().take(2 * ill).for_each(|probe| probe.ready = Some(false));
        assert_eq!(kinds(&evidence).contains(&Kind::UntrueHealth), found, "{ill}");
        evidence.blows = vec![blow("kill", Some(1), at(0), at(4))];
        assert_eq!(kinds(&evidence), [], "the replica was down");
        evidence.blows = vec![blow("kill", Some(0), at(0), at(4))];
        assert_eq!(
            kinds(&evidence).contains(&Kind::UntrueHealth),
            found,
            "another replica was down"
        );
    }
}

#[test]
fn health_may_not_be_well_where_every_call_fails() {
    let fail = |evidence: &mut Evidence, until: i64| {
        let theirs = evidence.calls.iter_mut().filter(|call| call.replica == 0);
        for call in theirs.filter(|call| call.ended < until) {
            call.answer = Answer::Lost { why: "no answer".into() };
        }
        evidence.channel_calls.clear();
    };
    for (until, found) in [(3, false), (12, true)] {
        let mut evidence = fine();
        fail(&mut evidence, at(until));
        assert_eq!(kinds(&evidence).contains(&Kind::UntrueHealth), found, "{until}");
    }
    let mut evidence = fine();
    fail(&mut evidence, at(12));
    for probe in evidence.probes.iter_mut().filter(|probe| probe.replica == 0) {
        (probe.serving, probe.ready) = (None, None);
    }
    assert!(!kinds(&evidence).contains(&Kind::UntrueHealth), "a frozen replica reports nothing");
    let accepted = Answer::Accepted { notification: String::new(), verdicts: Vec::new() };
    let lost = Answer::Lost { why: "no answer".into() };
    for (answer, found) in [(accepted, false), (lost, true)] {
        let mut evidence = fine();
        fail(&mut evidence, at(12));
        let about_a_channel = |began| ChannelCall {
            key: "track".into(),
            generation: 0,
            statement: Statement::Archive,
            replica: 0,
            began,
            ended: began + SECOND / 10,
            answer: answer.clone(),
        };
        evidence.channel_calls.extend([2, 5, 8, 11].map(|second| about_a_channel(at(second))));
        let untrue = kinds(&evidence).contains(&Kind::UntrueHealth);
        assert_eq!(untrue, found, "calls about channels: {answer:?}");
    }
}

/// All calls of a replica fail. While it is frozen, it cannot report on the database; before and
/// after that it must.
#[test]
fn health_is_judged_in_each_part_of_an_outage_that_no_other_fault_explains() {
    for (from, until, found) in
        [(1, 2, true), (0, 9, true), (9, 19, true), (5, 15, false), (0, 19, false)]
    {
        let mut evidence = fine();
        for call in evidence.calls.iter_mut().filter(|call| call.replica == 0) {
            call.answer = Answer::Lost { why: "no answer".into() };
        }
        evidence.channel_calls.clear();
        let untrue = |evidence: &Evidence| kinds(evidence).contains(&Kind::UntrueHealth);
        assert!(untrue(&evidence));
        evidence.blows = vec![blow("freeze", Some(0), at(from), at(until))];
        assert_eq!(untrue(&evidence), found, "{from} to {until}");
        evidence.blows = vec![blow("freeze", Some(1), at(from), at(until))];
        assert!(untrue(&evidence), "another replica was frozen");
    }
}

/// If the database's replies are lost for a moment, or a clock is wrong, health must still report
/// an outage around that.
#[test]
fn a_short_disturbance_and_a_wrong_clock_explain_no_untrue_health() {
    for kind in ["commit", "clock"] {
        let mut evidence = fine();
        for call in evidence.calls.iter_mut().filter(|call| call.replica == 0) {
            call.answer = Answer::Lost { why: "no answer".into() };
        }
        // So frequent that no part between two of them is long enough to be judged.
        let each =
            (0..CALLS).step_by(4).map(|number| blow(kind, Some(0), at(number), at(number + 1)));
        evidence.blows = each.collect();
        assert!(kinds(&evidence).contains(&Kind::UntrueHealth), "{kind}");
    }
}

/// If the database's replies are lost for a second every four seconds, these seconds do not count,
/// and the others do.
#[test]
fn short_disturbances_explain_no_lasting_false_alarm() {
    for (ill, disturbances, found) in [(7, 0, true), (7, 1, false), (12, 3, true)] {
        let mut evidence = fine();
        let theirs = evidence.probes.iter_mut().filter(|one| one.replica == 1);
        theirs.take(2 * ill).for_each(|probe| probe.serving = Some(false));
        let each = (0..disturbances).map(|number| 4 * number);
        evidence.blows = each.map(|from| blow("commit", Some(1), at(from), at(from + 1))).collect();
        let untrue = kinds(&evidence).contains(&Kind::UntrueHealth);
        assert_eq!(untrue, found, "{disturbances} in {ill} s");
        evidence.blows.iter_mut().for_each(|blow| blow.replica = Some(0));
        let untrue = kinds(&evidence).contains(&Kind::UntrueHealth);
        assert!(untrue, "another replica was disturbed");
    }
}

#[test]
fn a_replica_works_ten_seconds_after_its_connections_went_dark() {
    let dark = |accepts_from: usize, asks_from: usize| {
        let mut evidence = fine();
        evidence.rules.calm = at(60);
        for call in evidence.calls.iter_mut().filter(|call| call.replica == 0) {
            if (at(2)..at(accepts_from)).contains(&call.ended) {
                call.answer = Answer::Lost { why: "dark".into() };
            }
        }
        for (number, request) in evidence.requests.iter_mut().enumerate() {
            request.replica = Some(usize::from((at(2)..at(asks_from)).contains(&request.began)));
            assert!(number < 1_000);
        }
        evidence.blows = vec![blow("dark", Some(0), at(2), at(2))];
        judge(&evidence).count(Kind::SlowRecovery)
    };
    assert_eq!(dark(2, 2), 0);
    assert_eq!(dark(8, 8), 0);
    assert_eq!(dark(16, 8), 1);
    assert_eq!(dark(8, 60), 1);
    assert_eq!(dark(8, 11), 0);
    assert_eq!(dark(8, 14), 1, "calls are accepted in time, but the first request comes late");
    assert_eq!(dark(16, 60), 2);
}

#[test]
fn nothing_of_the_kind_is_asked_of_the_release_before() {
    for plant in [crate::plant::Plant::HeldUp, crate::plant::Plant::Hypochondria] {
        let mut evidence = fine();
        plant.put_into(&mut evidence).unwrap();
        evidence.rules.mixed = true;
        assert_eq!(kinds(&evidence), [], "{plant:?}");
    }
}

#[test]
fn a_step_of_the_clock_explains_a_wait_and_a_pace_that_were_forgotten() {
    let heap = |evidence: &mut Evidence| {
        let post = evidence.requests[30].clone();
        evidence.requests.push(Request { began: post.began + 900_000, ..post });
    };
    let mut evidence = fine();
    heap(&mut evidence);
    assert_eq!(kinds(&evidence), [Kind::TooFast]);
    let began = evidence.requests[30].began;
    for (kind, found) in [("step", false), ("failover", false), ("kill", true)] {
        evidence.blows =
            vec![blow(kind, None, began + 10, at(60)), blow("epoch", None, at(60), at(60))];
        assert_eq!(kinds(&evidence).contains(&Kind::TooFast), found, "{kind}");
    }
}

#[test]
fn a_failover_explains_what_was_accepted_since_the_copy_and_nothing_before() {
    for (from, found) in [(at(9), false), (at(11), true)] {
        let mut evidence = fine();
        evidence.messages.remove(30);
        evidence.calls.push(Call { ended: at(15), ..again(&evidence, 10) });
        evidence.blows =
            vec![blow("lag", None, from, at(12)), blow("failover", None, at(12), at(13))];
        assert_eq!(kinds(&evidence).contains(&Kind::Lost), found);
        assert_eq!(kinds(&evidence).contains(&Kind::TwoAnswers), found);
        assert_eq!(judge(&evidence).figures.lost_by_failover, usize::from(!found));
        // The same delivery twice is still a fault.
        let twice = evidence.messages[31].clone();
        evidence.messages.push(crate::evidence::Message { ts: "9".into(), ..twice });
        assert!(kinds(&evidence).contains(&Kind::Duplicated));
    }
}

#[test]
fn a_reader_of_the_feed_misses_nothing_and_hears_of_a_failover() {
    for (kinds_of_blows, found) in [
        (vec!["epoch"], false),
        (vec!["failover", "epoch"], false),
        (vec!["failover"], true),
        (vec!["gap"], true),
    ] {
        let mut evidence = fine();
        let blows = kinds_of_blows.iter().map(|kind| blow(kind, None, at(12), at(13)));
        evidence.blows = blows.collect();
        if kinds_of_blows.contains(&"epoch") {
            let (sequence, news) = (at(12), FeedNews::Epoch);
            evidence.channel_feed.push(FeedEntry { sequence, at: at(12), news });
        }
        assert_eq!(kinds(&evidence).contains(&Kind::FeedGap), found, "{kinds_of_blows:?}");
    }
}

/// The same call made again, accepted as another notification.
fn again(evidence: &Evidence, number: usize) -> Call {
    let id = format!("0-{number}");
    let accepted = |call: &&Call| matches!(call.answer, Answer::Accepted { .. });
    let first = evidence.calls.iter().filter(accepted).find(|call| call.id == id).unwrap();
    let Answer::Accepted { verdicts, .. } = first.answer.clone() else { unreachable!() };
    let answer = Answer::Accepted { notification: "another".into(), verdicts };
    Call { answer, began: at(14), ..first.clone() }
}
