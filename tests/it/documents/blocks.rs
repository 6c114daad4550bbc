//! Every block of the READMEs is run, or checked, by a step of `tests/run`, or gives the reason why
//! not: an untested block goes stale.

use super::read;

/// The page, the markers that a step acts on, and that step's script.
const PAGES: [(&str, &[&str], &str); 5] = [
    ("README.md", &["run", "start", "prints", "file "], "tests/grpcurl"),
    ("docs/event-types.md", &["run", "start", "prints"], "tests/grpcurl"),
    ("docs/previews.md", &["run", "start", "prints"], "tests/grpcurl"),
    ("docs/channels.md", &["run", "start", "prints"], "tests/grpcurl"),
    ("helm/herald/README.md", &["values ", "helm "], "tests/run"),
];

/// A fenced block and the comment right before it.
struct Block {
    line: usize,
    marker: Option<String>,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open, mut before) = (Vec::<Block>::new(), false, "");
    for (number, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            if !open {
                let marker = before.strip_prefix("<!-- ").and_then(|it| it.strip_suffix(" -->"));
                let marker = marker.map(str::to_owned);
                blocks.push(Block { line: number + 1, marker, text: String::new() });
            }
            open = !open;
        } else if open && let Some(block) = blocks.last_mut() {
            block.text.push_str(line);
            block.text.push('\n');
        }
        before = line;
    }
    assert!(!open, "a block does not end");
    blocks
}

/// Why the block is untested; `None` if it is tested.
fn fault(block: &Block, known: &[&str], script: &str) -> Option<&'static str> {
    let Some(marker) = &block.marker else { return Some("has no marker, so nothing tries it") };
    if let Some(step) = marker.strip_prefix("elsewhere ") {
        let there = read("tests/run").contains(&format!("\nstep_{step}() {{\n"));
        return (!there).then_some("names no step of tests/run");
    }
    if let Some(why) = marker.strip_prefix("left out: ") {
        let told = script.contains("left out: ");
        return (why.len() < 20 || !told).then_some("is left out without a reported reason");
    }
    let acts = known.iter().any(|it| marker == it || it.ends_with(' ') && marker.starts_with(it));
    (!acts).then_some("has a marker that no step acts on")
}

#[test]
fn every_block_of_the_readmes_is_tried_or_says_why_not() {
    let mut faults = Vec::new();
    for (path, known, script) in PAGES {
        let script = read(script);
        for marker in known {
            assert!(script.contains(marker.trim_end()), "no step acts on {marker}");
        }
        let blocks = blocks(&read(path));
        assert!(blocks.len() > 3, "{path} was not understood");
        for block in &blocks {
            let fault = fault(block, known, &script);
            faults.extend(fault.map(|fault| format!("{path}:{}: the block {fault}", block.line)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Output under `prints` belongs to the command before it.
#[test]
fn what_is_printed_follows_what_is_run() {
    let blocks = blocks(&read("README.md"));
    for two in blocks.windows(2) {
        if two[1].marker.as_deref() == Some("prints") {
            let line = two[1].line;
            assert_eq!(two[0].marker.as_deref(), Some("run"), "README.md:{line}");
            assert!(!two[1].text.trim().is_empty(), "README.md:{line}");
        }
    }
}
