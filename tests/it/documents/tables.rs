//! Tables in documents that repeat lists in the code.

use std::collections::BTreeSet;

use herald::domain::delivery::State;
use herald::domain::reason::{Cancellation, Failure, NoMatch, Suppression};
use herald::telemetry::{INSTRUMENTS, Instrument, InstrumentKind};

use super::{read, root, sources};

#[test]
fn every_delivery_state_is_drawn_and_explained() {
    let page = read("docs/delivery-states.md");
    let (diagram, prose) =
        page.rsplit_once("```").map(|(diagram, prose)| (diagram.to_owned(), prose)).unwrap();
    for state in State::ALL {
        let code = state.code();
        let drawn = diagram.lines().any(|line| {
            let mut words = line.split_whitespace();
            let (from, arrow, to) = (words.next(), words.next(), words.next());
            arrow == Some("-->") && (from == Some(code) || to == Some(code))
        });
        assert!(drawn || diagram.contains(&format!("{code} : ")), "{code} is not drawn");
        assert!(prose.contains(&format!("| `{code}` |")), "{code} is not explained");
        let end = diagram.lines().any(|line| line.trim() == format!("{code} --> [*]"));
        assert_eq!(end, state.is_terminal(), "{code}: final in the diagram or in the code");
    }
}

/// Reasons are string literals in capitals, in the two layers that create them.
#[test]
fn every_error_reason_is_in_the_table() {
    let page = read("docs/errors.md");
    let listed: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(code, _)| code.into()))
        .collect();
    let mut used = BTreeSet::new();
    for folder in ["src/rpc", "src/app"] {
        for file in sources(&root().join(folder)) {
            // This file names the codes of gRPC, which are not reasons.
            if file.ends_with("rpc/measure.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            used.extend(
                code.split('"').skip(1).step_by(2).filter(|text| is_reason(text)).map(String::from),
            );
        }
    }
    assert_eq!(listed, used, "left: docs/errors.md, right: the code");
    let proto = read("proto/herald/v1/errors.proto");
    let named: BTreeSet<String> = proto
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR_REASON_")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name != "UNSPECIFIED")
        .collect();
    assert_eq!(named, used, "left: proto/herald/v1/errors.proto, right: the code");
}

fn is_reason(text: &str) -> bool {
    text.len() > 3
        && text.contains(|c: char| c == '_' || c.is_ascii_uppercase())
        && text.chars().all(|c| c == '_' || c.is_ascii_uppercase())
        && !text.starts_with('_')
}

#[test]
fn every_reason_of_a_delivery_is_in_the_table() {
    let page = read("docs/reasons.md");
    let listed: BTreeSet<(String, String)> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "))
        .map(|(code, sentence)| (code.to_owned(), sentence.to_owned()))
        .collect();
    let mut known = BTreeSet::new();
    let mut add = |code: &str, sentence: &str| known.insert((code.into(), sentence.into()));
    for reason in NoMatch::ALL {
        add(reason.code(), reason.sentence());
    }
    for reason in Suppression::ALL {
        add(reason.code(), reason.sentence());
    }
    for reason in Cancellation::ALL {
        add(reason.code(), reason.sentence());
    }
    for reason in Failure::ALL {
        add(reason.code(), reason.sentence());
    }
    assert_eq!(listed, known, "left: docs/reasons.md, right: the code");
}

#[test]
fn every_metric_is_in_the_table() {
    let page = read("docs/metrics.md");
    let listed: BTreeSet<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let known: Vec<String> = INSTRUMENTS.iter().map(row).collect();
    let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
    assert_eq!(listed, known, "left: docs/metrics.md, right: the code");
}

/// The instrument's row in the table of docs/metrics.md.
fn row(of: &Instrument) -> String {
    let kind = match of.kind {
        InstrumentKind::Counter => "counter",
        InstrumentKind::Gauge => "gauge",
        InstrumentKind::Histogram(_) => "histogram",
    };
    let labels: Vec<&str> = of.labels.iter().map(|label| label.name).collect();
    let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
    format!("| `{}` | {kind} | {} | {labels} | {} |", of.name, of.unit, of.description)
}
