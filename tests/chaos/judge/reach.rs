//! Which replicas a fault affects. No fault is aimed at the witness, so the faults that its calls
//! meet show how far they reach.

use crate::evidence::Blow;

/// How long a replica may take to recover: after its process was started or continued, and after
/// the database came back or its connections went dark.
const SOON: i64 = 3_000_000;
const RECOVERED: i64 = 10_000_000;
/// Faults of the replica itself, and of its connections to the database or to Slack.
const PROCESS: [&str; 7] = ["kill", "intent", "answer", "freeze", "frozen", "roll", "upgrade"];
const DATABASE: [&str; 3] = ["commit", *HELD, "dark"];
const SLACK: &str = "network";
/// Held-back replies of the database explain no more than the time that they last.
const HELD: &&str = &"held";
/// Faults that touch every replica.
const ALL: [&str; 2] = ["postgres", "failover"];

/// Whether the fault touches every replica.
pub(super) fn touches_all(blow: &Blow) -> bool {
    ALL.contains(&&*blow.kind)
}

/// Whether faults of this kind touch replicas: one or all of them.
pub(super) fn is_of_replicas(kind: &str) -> bool {
    PROCESS.contains(&kind) || DATABASE.contains(&kind) || ALL.contains(&kind)
}

/// Whether callers of this replica may notice the fault.
pub(super) fn touches(blow: &Blow, replica: usize) -> bool {
    touches_all(blow) || is_of_replicas(&blow.kind) && blow.replica == Some(replica)
}

/// Until when callers may notice the fault.
pub(super) fn until(blow: &Blow) -> i64 {
    blow.until + if touches_all(blow) || blow.kind == "dark" { RECOVERED } else { SOON }
}

/// Whether its effects overlap this period.
pub(super) fn is_felt(blow: &Blow, from: i64, to: i64) -> bool {
    blow.from <= to && until(blow) >= from
}

/// Whether it may hold up a message that was accepted in this period. A replica that is down or
/// frozen claims no more messages, so it holds up only those that it had claimed.
pub(super) fn holds_up(blow: &Blow, from: i64, to: i64) -> bool {
    let kind = &&*blow.kind;
    if PROCESS.contains(kind) {
        return [blow.from, blow.until].iter().any(|edge| (from..=to).contains(edge));
    }
    if kind == HELD {
        return blow.from <= to && blow.until >= from;
    }
    let ill = touches_all(blow) || DATABASE.contains(kind) || *kind == SLACK;
    ill && is_felt(blow, from, to)
}
