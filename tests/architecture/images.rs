//! Images that the container's build starts from: each is named by its digest, because a tag can be
//! moved to another image.

use std::collections::BTreeMap;

/// A sentence for each image in this Dockerfile that is not named by a digest.
fn faults(dockerfile: &str) -> Vec<String> {
    let mut args = BTreeMap::new();
    let mut stages = vec!["scratch"];
    let mut faults = Vec::new();
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            ["ARG", arg] => args.extend(arg.split_once('=')),
            ["#", syntax] if syntax.starts_with("syntax=") => {
                faults.push(format!("{line}: the frontend is one more image"));
            }
            ["FROM", image, ref rest @ ..] => {
                let arg = image.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
                let image = arg.map_or(image, |name| args.get(name).copied().unwrap_or(""));
                if !stages.contains(&image) && !has_digest(image) {
                    faults.push(format!("{line}: {image} has no digest"));
                }
                stages.extend(rest.last());
            }
            _ => {}
        }
    }
    if stages.len() == 1 {
        faults.push("no stage has a name: is it a Dockerfile?".into());
    }
    faults
}

fn has_digest(image: &str) -> bool {
    image.split_once("@sha256:").is_some_and(|(_, digest)| {
        digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[test]
fn images_are_named_by_their_digest() {
    assert_eq!(faults(&super::read(&super::root().join("Dockerfile"))), [""; 0]);
}

#[test]
fn a_planted_tag_is_found() {
    let digest = "6b".repeat(32);
    for (dockerfile, found) in [
        (format!("ARG BASE=a:1@sha256:{digest}\nFROM ${{BASE}} AS build\nFROM build\n"), 0),
        (format!("FROM a@sha256:{digest} AS build\nFROM scratch\n"), 0),
        ("ARG BASE=a:1\nFROM ${BASE} AS build\nFROM scratch\n".to_owned(), 1),
        ("ARG BASE\nFROM ${BASE} AS build\n".to_owned(), 1),
        ("FROM a:1 AS build\nFROM b:1\n".to_owned(), 2),
        (format!("FROM a@sha256:{} AS build\n", &digest[1..]), 1),
        (format!("# syntax=docker/dockerfile:1\nFROM a@sha256:{digest} AS build\n"), 1),
        (String::new(), 1),
    ] {
        assert_eq!(faults(&dockerfile).len(), found, "{dockerfile}");
    }
}
