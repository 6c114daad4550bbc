//! docs/messages.md shows the built-in messages as the code writes them.

use super::read;

/// The sections of the page, each with its name and its message.
fn sections(page: &str) -> Vec<(&str, String)> {
    let mut sections = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let (name, rest) = section.split_once('\n').unwrap();
        let picture = format!("](pictures/{name}.png)\n");
        assert!(rest.contains(&picture), "{name} has no picture of its own");
        let lines = rest.lines().skip_while(|line| *line != "<!-- message -->").skip(2);
        let lines: Vec<&str> = lines.take_while(|line| *line != "```").collect();
        sections.push((name, lines.join("\n")));
    }
    sections
}

/// The page shows every message of `golden/en.txt`, which is compared with the code, and no other.
#[test]
fn every_built_in_message_is_on_the_page() {
    let golden = read("src/domain/message/wording/golden/en.txt");
    let messages = golden.trim_end().split("\n\n").map(|message| {
        let (name, lines) = message.split_once('\n').unwrap();
        let lines: Vec<&str> = lines.lines().map(str::trim_start).collect();
        (name, lines.join("\n"))
    });
    let messages: Vec<_> = messages.filter(|(name, _)| *name != "herald.test").collect();
    let page = read("docs/messages.md");
    assert_eq!(sections(&page), messages);
    assert_eq!(messages.len(), 12);
}
