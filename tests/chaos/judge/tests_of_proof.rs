//! A run must show something: the judge counts the faults and calls that it could judge.

use super::tests::{at, fine, kinds};
use super::*;
use crate::evidence::Blow;
use crate::plant::Plant;

fn blow(kind: &str, replica: Option<usize>, from: usize) -> Blow {
    Blow { kind: kind.into(), what: kind.into(), replica, from: at(from), until: at(from) }
}

/// One replica's connections went dark, and another fault struck three seconds later.
fn dark(and: Blow) -> Evidence {
    let mut evidence = fine();
    evidence.blows = vec![blow("dark", Some(0), 2), and];
    evidence
}

#[test]
fn dark_connections_are_judged_unless_another_fault_touches_the_replica() {
    for (and, judged) in [
        (blow("kill", Some(0), 5), 0),
        (blow("dark", Some(0), 11), 0),
        (blow("postgres", None, 5), 0),
        (blow("kill", Some(1), 5), 1),
        (blow("throttle", None, 5), 1),
        (blow("tenants", None, 5), 1),
        (blow("step", None, 5), 1),
        // The run ends eight seconds after it.
        (blow("dark", Some(1), 12), 1),
    ] {
        let figures = judge(&dark(and.clone())).figures;
        assert_eq!(figures.dark_judged, judged, "{and:?}");
        assert_eq!(figures.dark, if and.kind == "dark" { 2 } else { 1 });
    }
}

/// A replica whose lanes must wait may rightly send nothing; calls are accepted in any case.
#[test]
fn a_throttled_replica_need_not_send_but_must_accept() {
    for (and, findings) in [("tenants", 2), ("throttle", 1)] {
        let mut evidence = dark(blow(and, None, 5));
        Plant::Darkness.put_into(&mut evidence).unwrap();
        assert_eq!(judge(&evidence).count(Kind::SlowRecovery), findings, "{and}");
    }
}

#[test]
fn a_run_whose_only_fault_of_replicas_is_dark_must_judge_it() {
    let planned = |faults: &[&str], evidence: &Evidence| {
        let mut evidence = evidence.clone();
        evidence.rules.faults = faults.iter().map(|kind| (*kind).to_owned()).collect();
        kinds(&evidence)
    };
    let (none, unproven) = (fine(), [Kind::Unproven]);
    assert_eq!(planned(&["dark"], &none), unproven);
    assert_eq!(planned(&["step", "dark", "tenants", "cancel"], &none), unproven);
    assert_eq!(planned(&["step", "dark", "tenants", "kill"], &none), []);
    assert_eq!(planned(&["dark", "failover"], &none), []);
    assert_eq!(planned(&["step", "tenants"], &none), []);
    assert_eq!(planned(&["dark"], &dark(blow("kill", Some(0), 5))), unproven);
    assert_eq!(planned(&["dark"], &dark(blow("tenants", None, 5))), []);
    let mut mixed = fine();
    mixed.rules.mixed = true;
    assert_eq!(planned(&["dark"], &mixed), []);
}

/// The planted fault shows that the judge looks at the dark connections of these logs.
#[test]
fn darkness_is_planted_only_where_the_judge_looks() {
    assert_eq!(Plant::Darkness.is_found(&fine()), None);
    assert_eq!(Plant::Darkness.is_found(&dark(blow("kill", Some(0), 5))), None);
    assert_eq!(Plant::Darkness.is_found(&dark(blow("kill", Some(1), 5))), Some(true));
}

/// The bounds grow with what the replicas lacked of the processors, and so do the planted delays.
#[test]
fn planted_faults_are_found_on_a_busy_machine_too() {
    for stretch in [1.0, 3.0, 5.0, 100.0] {
        for plant in [Plant::HeldUp, Plant::Late, Plant::Darkness] {
            let mut evidence = dark(blow("tenants", None, 5));
            evidence.rules.stretch = stretch;
            assert_eq!(plant.is_found(&evidence), Some(true), "{plant:?} {stretch}");
        }
    }
}
