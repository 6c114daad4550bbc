//! Tests of the judge with made-up logs: no finding if all is well, and one for each planted fault.

use super::*;
use crate::evidence::{Blow, Fate, Message, Probe, Request, Rules};
use crate::plant::Plant;
use crate::tenant::Tenant;
use clap::ValueEnum as _;

const LANES: [&str; 3] = ["U000", "U001", "C000"];
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const CALLS: usize = 20;

pub(super) fn verdict(call: usize, lane: &str) -> Verdict {
    Verdict { lane: lane.into(), queued: true, delivery: format!("delivery-{call}-{lane}") }
}

fn call(number: usize, ended: i64, answer: Answer) -> Call {
    Call {
        tenant: "acme".into(),
        id: format!("0-{number}"),
        purpose: Purpose::Deliver,
        replica: number % 3,
        manner: "plain".into(),
        began: at(number),
        ended,
        lanes: LANES.map(str::to_owned).to_vec(),
        expires_in: None,
        subject: None,
        answer,
    }
}

pub(super) fn at(number: usize) -> i64 {
    1_000 * SECOND + i64::try_from(number).unwrap() * SECOND
}

fn accepted(number: usize) -> Answer {
    Answer::Accepted {
        notification: format!("notification-{number}"),
        verdicts: LANES.map(|lane| verdict(number, lane)).to_vec(),
    }
}

/// Twenty calls to three lanes, one a second; the first answer of every third one is lost; all are
/// delivered.
pub(super) fn fine() -> Evidence {
    let (mut calls, mut requests, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..CALLS {
        if number % 3 == 0 {
            calls.push(call(number, at(number) + 1, Answer::Lost { why: "killed".into() }));
        }
        calls.push(call(number, at(number) + SECOND / 4, accepted(number)));
        for lane in LANES {
            let began = at(number) + SECOND / 2;
            let ts = format!("{}.{:06}", began / SECOND, began % SECOND);
            requests.push(Request {
                tenant: "acme".into(),
                seq: 0,
                began,
                ended: began + 1_000,
                method: "chat.postMessage".into(),
                lane: Some(lane.into()),
                replica: Some(0),
                status: 200,
                outcome: "ok".into(),
                fault: None,
                retry_after: None,
                stored: Some(ts.clone()),
                name: None,
                act: None,
            });
            messages.push(Message {
                lane: lane.into(),
                ts,
                call: Some(format!("0-{number}")),
                delivery: verdict(number, lane).delivery,
                stored_at: began,
                deleted: false,
                crossed: false,
            });
        }
    }
    let rules = Rules {
        seed: 0,
        scale: 1.0,
        interval: SECOND,
        lease: 60 * SECOND,
        posts_per_second: 10.0,
        listed: at(0),
        began: at(0),
        calm: at(CALLS),
        ended: at(CALLS + 60),
        stretch: 1.0,
        history: true,
        mixed: false,
        faults: Vec::new(),
        left_out: Vec::new(),
    };
    let mut evidence = Evidence {
        rules,
        calls,
        requests,
        messages,
        blows: Vec::new(),
        fates: Vec::new(),
        probes: Vec::new(),
        channel_calls: Vec::new(),
        channel_ends: Vec::new(),
        places: Vec::new(),
        channel_feed: Vec::new(),
    };
    over(&mut evidence, 4, Purpose::Retract);
    over(&mut evidence, 8, Purpose::Cross);
    witness(&mut evidence);
    tests_of_channels::add_channel(&mut evidence);
    evidence
}

/// The witness also calls once a second, and each replica reports twice a second that it is well.
fn witness(evidence: &mut Evidence) {
    for number in 0..CALLS {
        let (id, lane) = (format!("1000-{number}"), Tenant::WITNESS.member_id(number));
        let verdicts = vec![verdict(1_000 + number, &lane)];
        let answer = Answer::Accepted { notification: id.clone(), verdicts };
        let theirs = call(number, at(number) + SECOND / 10, answer);
        let (tenant, lanes) = (Tenant::WITNESS.name(), vec![lane.clone()]);
        evidence.calls.push(Call { tenant: tenant.clone(), id: id.clone(), lanes, ..theirs });
        let began = at(number) + SECOND / 5;
        let like = evidence.requests[0].clone();
        let lanes = Some(lane.clone());
        evidence.requests.push(Request { tenant, lane: lanes, began, ended: began + 1, ..like });
        let delivery = verdict(1_000 + number, &lane).delivery;
        let like = evidence.messages[1].clone();
        let (call, stored_at) = (Some(id), began);
        evidence.messages.push(Message { lane, call, delivery, stored_at, ..like });
        for half in 0..6 {
            let began = at(number) + half / 3 * SECOND / 2;
            let (serving, ready) = (Some(true), Some(true));
            let (replica, ended) = (usize::try_from(half % 3).unwrap(), began + 1);
            evidence.probes.push(Probe { replica, began, ended, serving, ready });
        }
    }
}

/// A later call takes back or crosses out that call's messages, and Slack shows it.
fn over(evidence: &mut Evidence, subject: usize, purpose: Purpose) {
    let id = format!("0-{subject}");
    for made in evidence.calls.iter_mut().filter(|made| made.id == id) {
        made.subject = Some(id.clone());
    }
    let number = CALLS + subject;
    let change = call(number, at(number) + SECOND / 4, accepted(number));
    evidence.calls.push(Call { purpose, subject: Some(id.clone()), ..change });
    let theirs = evidence.messages.iter_mut();
    for message in theirs.filter(|message| message.call.as_deref() == Some(&id)) {
        message.deleted = purpose == Purpose::Retract;
        message.crossed = purpose == Purpose::Cross;
    }
}

pub(super) fn kinds(evidence: &Evidence) -> Vec<Kind> {
    let mut kinds: Vec<_> = judge(evidence).findings.iter().map(|finding| finding.kind).collect();
    kinds.dedup();
    kinds
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let judgement = judge(&fine());
    assert_eq!(judgement.findings, []);
    let figures = judgement.figures;
    assert_eq!((figures.notifications, figures.accepted, figures.stored), (42, 80, 80));
    assert_eq!((figures.changed, figures.overtaken), (6, 0));
    assert_eq!(figures.refusals["no answer"], 7);
}

#[test]
fn each_planted_fault_is_found() {
    for plant in Plant::value_variants() {
        let mut evidence = fine();
        if !plant.always_fits() {
            let (kind, what, replica) = ("dark".into(), "dark".into(), Some(0));
            evidence.blows = vec![Blow { kind, what, replica, from: at(2), until: at(2) }];
        }
        plant.put_into(&mut evidence).unwrap();
        assert!(kinds(&evidence).contains(&plant.finding()), "{plant:?}");
    }
}

#[test]
fn what_is_over_is_shown_so_and_need_not_come() {
    let change = |evidence: &mut Evidence, number: usize, change: fn(&mut Message)| {
        let id = format!("0-{number}");
        let messages = evidence.messages.iter_mut();
        messages.filter(|message| message.call.as_deref() == Some(&id)).for_each(change);
    };
    for (number, wrong) in [
        (4, (|message| message.deleted = false) as fn(&mut Message)),
        (8, |message| message.crossed = false),
        // A crossed-out message must still be there.
        (8, |message| message.deleted = true),
    ] {
        let mut evidence = fine();
        change(&mut evidence, number, wrong);
        assert_eq!(kinds(&evidence), [Kind::Unchanged], "{number}");
        assert_eq!(judge(&evidence).findings.len(), 3);
    }
    for unasked in
        [(|message| message.deleted = true) as fn(&mut Message), |message| message.crossed = true]
    {
        let mut evidence = fine();
        change(&mut evidence, 5, unasked);
        assert_eq!(kinds(&evidence), [Kind::Phantom]);
    }
    // Overtaken before it was sent: explained only for that call, and only by this reason.
    for (number, reason, findings) in [(4, "superseded", 0), (4, "caller", 1), (5, "superseded", 1)]
    {
        let mut evidence = fine();
        let id = format!("0-{number}");
        let at = evidence.messages.iter().position(|one| one.call.as_deref() == Some(&id)).unwrap();
        let gone = evidence.messages.remove(at);
        evidence.fates = vec![Fate {
            call: id,
            delivery: gone.delivery,
            state: "canceled".into(),
            reason: reason.into(),
            code: String::new(),
        }];
        let judgement = judge(&evidence);
        assert_eq!(judgement.count(Kind::Lost), findings, "{number} {reason}");
        assert_eq!(judgement.figures.overtaken, 1 - findings);
    }
}

/// Calls that take back or cross out are judged by the same rules as other calls.
#[test]
fn what_callers_of_changes_are_told_is_judged_too() {
    let mut evidence = fine();
    let change = evidence.calls.iter().rposition(|made| made.purpose.changes()).unwrap();
    let mut other = evidence.calls[change].clone();
    other.answer = accepted(0);
    other.ended += 1;
    evidence.calls.push(other.clone());
    assert_eq!(kinds(&evidence), [Kind::TwoAnswers]);
    let refused = evidence.calls.last_mut().unwrap();
    refused.answer = Answer::Refused {
        code: "InvalidArgument".into(),
        reason: "BAD_FIELDS".into(),
        retry_info: false,
    };
    assert_eq!(kinds(&evidence), [Kind::WronglyRefused]);
}

#[test]
fn a_loss_is_a_loss_whatever_is_said_of_it() {
    let mut evidence = fine();
    let gone = evidence.messages.remove(30);
    let fate = |state: &str, code: &str| Fate {
        call: gone.call.clone().unwrap(),
        delivery: gone.delivery.clone(),
        state: state.into(),
        reason: String::new(),
        code: code.into(),
    };
    for state in ["sent", "pending", "sending", "unknown", "expired"] {
        evidence.fates = vec![fate(state, "")];
        assert_eq!(kinds(&evidence), [Kind::Lost], "{state}");
    }
    evidence.fates = vec![fate("failed", "http_500")];
    assert_eq!(kinds(&evidence), [Kind::GivenUp]);
    evidence.fates = vec![fate("parked", "crashed")];
    assert_eq!(kinds(&evidence), [Kind::GivenUp], "no worker was killed");
    let kill = |replica| Blow {
        kind: "kill".into(),
        what: "kill".into(),
        replica: Some(replica),
        from: at(CALLS),
        until: at(CALLS),
    };
    evidence.blows = (0..3).map(kill).collect();
    let judgement = judge(&evidence);
    assert_eq!((judgement.findings.len(), judgement.figures.set_aside), (0, 1));
}

#[test]
fn only_what_was_to_expire_may_expire() {
    let mut evidence = fine();
    let gone = evidence.messages.remove(30);
    let id = gone.call.clone().unwrap();
    for call in evidence.calls.iter_mut().filter(|call| call.id == id) {
        call.expires_in = Some(SECOND);
    }
    assert_eq!(kinds(&evidence), [Kind::Lost]);
    evidence.fates = vec![Fate {
        call: id,
        delivery: gone.delivery,
        state: "expired".into(),
        reason: String::new(),
        code: String::new(),
    }];
    assert_eq!(kinds(&evidence), []);
    assert_eq!(judge(&evidence).figures.expired, 1);
}

#[test]
fn calls_under_way_together_may_come_in_any_order() {
    let mut evidence = fine();
    // The second call began before the first was answered.
    for call in evidence.calls.iter_mut().filter(|call| call.id == "0-1") {
        call.began = at(0);
    }
    let ts = evidence.messages[0].ts.clone();
    evidence.messages[0].ts = std::mem::replace(&mut evidence.messages[3].ts, ts);
    assert_eq!(kinds(&evidence), []);
    for call in evidence.calls.iter_mut().filter(|call| call.id == "0-1") {
        call.began = at(1);
    }
    assert_eq!(kinds(&evidence), [Kind::Reordered]);
}

/// Order also holds for messages accepted before any member was known.
#[test]
fn order_is_judged_from_the_first_acceptance_on() {
    let mut evidence = fine();
    evidence.rules.listed = at(2);
    assert_eq!(judge(&evidence).figures.early, 2 * (LANES.len() + 1));
    let ts = evidence.messages[0].ts.clone();
    evidence.messages[0].ts = std::mem::replace(&mut evidence.messages[3].ts, ts);
    assert_eq!(kinds(&evidence), [Kind::Reordered]);
}

#[test]
fn one_request_has_one_answer() {
    let mut evidence = fine();
    evidence.calls.push(call(1, at(9), accepted(1)));
    assert_eq!(kinds(&evidence), []);
    evidence.calls.push(call(1, at(9), accepted(2)));
    assert_eq!(kinds(&evidence), [Kind::TwoAnswers]);
}

#[test]
fn refusals_are_as_documented() {
    let said = |purpose, code: &str, retry_info| {
        let mut evidence = fine();
        let (code, reason) = (code.into(), "R".into());
        let answer = Answer::Refused { code, reason, retry_info };
        let id = "1-0".into();
        evidence.calls.push(Call { id, purpose, ..call(0, at(1), answer) });
        kinds(&evidence)
    };
    let wrong = [Kind::WronglyRefused];
    assert_eq!(said(Purpose::Deliver, "Unavailable", true), []);
    assert_eq!(said(Purpose::Deliver, "Unavailable", false), wrong);
    assert_eq!(said(Purpose::Deliver, "DeadlineExceeded", false), []);
    assert_eq!(said(Purpose::Deliver, "Internal", false), wrong);
    assert_eq!(said(Purpose::Deliver, "AlreadyExists", false), wrong);
    assert_eq!(said(Purpose::Reuse, "AlreadyExists", false), []);
    assert_eq!(said(Purpose::Unusable, "InvalidArgument", false), []);
    let mut evidence = fine();
    evidence.calls[2].purpose = Purpose::Unusable;
    assert!(kinds(&evidence).contains(&Kind::WronglyAccepted));
}

#[test]
fn a_wait_binds_those_who_can_know_it() {
    let mut evidence = fine();
    // A 429 for 10 s, after which posts continued regardless.
    let limit =
        evidence.requests.iter_mut().find(|request| request.lane.as_deref() == Some("U001"));
    let limit = limit.unwrap();
    (limit.status, limit.fault) = (429, Some("status 429".into()));
    limit.retry_after = Some("10".into());
    let (from, until) = (limit.began, limit.ended);
    assert_eq!(kinds(&evidence), [Kind::InsideRetryAfter]);
    let blow =
        |kind: &str, replica| Blow { kind: kind.into(), what: String::new(), replica, from, until };
    for (kind, replica, hidden) in
        [("kill", Some(0), true), ("kill", Some(1), false), ("postgres", None, true)]
    {
        evidence.blows = vec![blow(kind, replica)];
        assert_eq!(kinds(&evidence).is_empty(), hidden, "{kind} {replica:?}");
    }
}

#[test]
fn a_429_that_nobody_put_in_is_avoidable_but_for_posts() {
    let mut evidence = fine();
    evidence.requests[59].status = 429;
    assert_eq!(kinds(&evidence), []);
    evidence.requests[59].method = "conversations.history".into();
    assert_eq!(kinds(&evidence), [Kind::Avoidable429]);
}

#[test]
fn a_backlog_that_stays_is_found() {
    let mut evidence = fine();
    let last = evidence.messages.last_mut().unwrap();
    last.stored_at = at(CALLS) + 400 * SECOND;
    assert_eq!(kinds(&evidence), [Kind::SlowRecovery]);
}

#[test]
fn a_database_that_is_back_is_used_within_ten_seconds() {
    let mut evidence = fine();
    let blow = |until| Blow {
        kind: "postgres".into(),
        what: "stop".into(),
        replica: None,
        from: at(0),
        until,
    };
    evidence.blows = vec![blow(at(4))];
    assert_eq!(kinds(&evidence), []);
    evidence.calls.retain(|call| call.began < at(4) || call.began >= at(15));
    evidence.messages.retain(|message| message.stored_at < at(4) || message.stored_at >= at(15));
    assert_eq!(kinds(&evidence), [Kind::SlowRecovery]);
}

#[test]
fn a_message_of_another_delivery_than_was_told_is_another_answer() {
    let mut evidence = fine();
    evidence.messages[4].delivery = "delivery-unheard-of".into();
    assert_eq!(kinds(&evidence), [Kind::TwoAnswers]);
}

#[test]
fn a_delivery_in_two_lanes_is_a_duplicate() {
    let mut evidence = fine();
    let (one, other) = (evidence.messages[3].clone(), &mut evidence.messages[4]);
    assert_ne!(one.lane, other.lane);
    other.delivery = one.delivery;
    assert_eq!(kinds(&evidence), [Kind::Duplicated, Kind::TwoAnswers]);
}

#[test]
fn an_exit_that_is_not_as_it_should_be_is_told() {
    let mut evidence = fine();
    evidence.blows = vec![Blow {
        kind: "exit".into(),
        what: "code 101".into(),
        replica: Some(1),
        from: at(3),
        until: at(3),
    }];
    assert_eq!(kinds(&evidence), [Kind::BadExit]);
}
