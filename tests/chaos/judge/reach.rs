//! Which faults touch whom. The witness is nobody's target, so what it meets is a fault's reach.

use crate::evidence::Blow;

/// What may take so long until a replica is as before: a process that was started or continued, and
/// a database that came back or whose connections went dark.
const SOON: i64 = 3_000_000;
const RECOVERED: i64 = 10_000_000;
/// Faults of the replica itself, and of its way to the database or to Slack.
const PROCESS: [&str; 7] = ["kill", "intent", "answer", "freeze", "frozen", "roll", "upgrade"];
const DATABASE: [&str; 2] = ["commit", "dark"];
const SLACK: &str = "network";
/// Faults that touch every replica.
const ALL: [&str; 2] = ["postgres", "failover"];

/// Whether it is a fault of everybody's.
pub(super) fn touches_all(blow: &Blow) -> bool {
    ALL.contains(&&*blow.kind)
}

/// Whether callers of this replica may notice it.
pub(super) fn touches(blow: &Blow, replica: usize) -> bool {
    let kind = &&*blow.kind;
    let here = PROCESS.contains(kind) || DATABASE.contains(kind);
    touches_all(blow) || here && blow.replica == Some(replica)
}

/// Until when it may be noticed.
pub(super) fn until(blow: &Blow) -> i64 {
    blow.until + if touches_all(blow) || blow.kind == "dark" { RECOVERED } else { SOON }
}

/// Whether its effects overlap this time.
pub(super) fn is_felt(blow: &Blow, from: i64, to: i64) -> bool {
    blow.from <= to && until(blow) >= from
}

/// Whether it may hold up a message on its way that was accepted in this time. A replica that is
/// down or frozen takes no more messages, so it holds up only those that it had.
pub(super) fn holds_up(blow: &Blow, from: i64, to: i64) -> bool {
    let kind = &&*blow.kind;
    if PROCESS.contains(kind) {
        return [blow.from, blow.until].iter().any(|edge| (from..=to).contains(edge));
    }
    let ill = touches_all(blow) || DATABASE.contains(kind) || *kind == SLACK;
    ill && is_felt(blow, from, to)
}
