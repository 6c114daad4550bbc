//! Any template with any data: Slack's checks, which were written apart from the fitting, accept
//! the message, nothing in it comes alive, and its button stays.
//!
//! `tests/run` also gives the messages to checkers by other authors: `tests/blocks`.

mod data;

mod written;

mod judge;

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::sync::Mutex;
use std::thread;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use self::data::Data;
use self::judge::TARGET;
use self::written::Written;
use crate::domain::ids::{EventType, UserId};
use crate::domain::message::render::mentions::{Mentions, resolved};
use crate::domain::message::render::{
    Context, Language, Link, Reader, ReaderName, Rendered, render,
};
use crate::domain::time::Timestamp;

/// Messages of the usual test; the soak has ten times as many.
const MESSAGES: u32 = 10_000;
/// Threads, each with messages of its own. Their number is fixed, so a seed means the same messages
/// on every machine.
const PARTS: u32 = 8;
/// The usual seed: a run of the tests finds what the last one found. `HERALD_TEST_SEED` is another.
const SEED: u64 = 17;

/// All input of one message.
#[derive(Debug, Clone)]
struct Case {
    written: Written,
    data: Data,
    /// A value for the placeholder that presses on a limit.
    long: String,
    language: Language,
}

fn cases() -> impl Strategy<Value = Case> {
    let long = (data::piece(), 90_usize..=120);
    let parts = (written::written(), data::data(), long, select(Language::ALL.to_vec()));
    parts.prop_map(|((written, limit), data, (piece, percent), language)| {
        let long = data::of_length(piece, limit * percent / 100);
        Case { written, data, long, language }
    })
}

/// The message, if its author's check accepts the template.
fn rendered(case: &Case) -> Result<Rendered, String> {
    let (template, problems) = match &case.written {
        Written::Simple(simple) => (simple.template(), simple.check()),
        Written::Blocks(template) => (template.clone(), template.check()),
    };
    if !problems.is_empty() {
        return Err(format!("the check found {problems:?}"));
    }
    let Data { a, b, id, url, photo, list } = &case.data;
    let data = json!({"a": a, "b": b, "id": id, "url": url, "photo": photo, "list": list,
        "long": case.long, "at": "2026-11-27T16:00:00Z"});
    let event = EventType::parse("own.type").expect("an event type");
    let locales = vec![case.language.tag().to_owned()];
    let user = UserId::parse(id.clone()).ok();
    let name = Some(ReaderName { name: a.clone(), user });
    let reader = Reader { name, locales, time_zone: "America/Sao_Paulo".to_owned() };
    let link = Link { url: TARGET.to_owned(), label: None };
    let context = Context {
        event: &event,
        data: &data,
        reader: &reader,
        link: Some(&link),
        button: "Open",
        now: Timestamp(1_795_420_800_000_000),
    };
    render(&template, &context).map_err(|error| error.to_string())
}

/// The number of messages.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    simple: u32,
    blocks: u32,
    near: u32,
}

/// Judges a message before and after its mentions are resolved; returns it as it is sent.
fn judged(case: &Case, tally: &mut Tally) -> Result<Rendered, String> {
    let message = rendered(case)?;
    judge::good(&message, true).map_err(|problem| format!("{problem}\n{message:?}"))?;
    let message = resolved(message, &Mentions::default());
    judge::good(&message, false).map_err(|problem| format!("{problem}\n{message:?}"))?;
    match case.written {
        Written::Simple(_) => tally.simple += 1,
        Written::Blocks(_) => tally.blocks += 1,
    }
    tally.near += u32::from(judge::is_near_a_limit(&message));
    Ok(message)
}

/// Judges so many messages of a seed, and writes each as a line of JSON. The error has the smallest
/// case that fails in the same way.
fn part(
    (seed, part): (u64, u32),
    messages: u32,
    lines: Option<&Mutex<BufWriter<File>>>,
) -> Result<Tally, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&part.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::with_cases(messages) };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let tally = RefCell::new(Tally::default());
    let judge = |case: Case| -> Result<(), TestCaseError> {
        let message = judged(&case, &mut tally.borrow_mut()).map_err(TestCaseError::fail)?;
        if let Some(lines) = lines {
            let line = json!({"text": message.text, "blocks": message.blocks});
            writeln!(lines.lock().expect("no writer panics"), "{line}").expect("a line is written");
        }
        Ok(())
    };
    TestRunner::new_with_rng(config, rng)
        .run(&cases(), judge)
        .map_err(|error| format!("HERALD_TEST_SEED={seed}, part {part}: {error}"))?;
    Ok(tally.into_inner())
}

/// Judges the messages of a seed; at least half of them must be near a limit.
fn all_are_taken(seed: u64, messages: u32, lines: Option<&Mutex<BufWriter<File>>>) {
    let parts: Vec<Result<Tally, String>> = thread::scope(|scope| {
        let start = |number| scope.spawn(move || part((seed, number), messages / PARTS, lines));
        let threads: Vec<_> = (0..PARTS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a verdict")).collect()
    });
    let mut all = Tally::default();
    for part in parts {
        let part = part.unwrap_or_else(|problem| panic!("{problem}"));
        all.simple += part.simple;
        all.blocks += part.blocks;
        all.near += part.near;
    }
    println!("seed {seed}: {all:?}");
    assert_eq!(all.simple + all.blocks, messages);
    assert!(all.simple.min(all.blocks) >= messages / 3, "one form is rare: {all:?}");
    assert!(all.near >= messages / 2, "few messages are near a limit: {all:?}");
}

#[expect(clippy::disallowed_methods, reason = "tests/run and people repeat a run this way")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn given_seed() -> Option<u64> {
    variable("HERALD_TEST_SEED").map(|seed| seed.parse().expect("HERALD_TEST_SEED is a number"))
}

#[test]
fn ten_thousand_messages_are_taken() {
    let lines = variable("HERALD_TEST_MESSAGES").map(|path| {
        let file = File::create(path).expect("HERALD_TEST_MESSAGES names a file");
        Mutex::new(BufWriter::new(file))
    });
    all_are_taken(given_seed().unwrap_or(SEED), MESSAGES, lines.as_ref());
    if let Some(lines) = lines {
        lines.into_inner().expect("no writer panicked").flush().expect("the last line is written");
    }
}

#[test]
#[ignore = "minutes; tests/run --soak"]
fn soak_a_hundred_thousand_messages_are_taken() {
    all_are_taken(given_seed().unwrap_or_else(rand::random), 10 * MESSAGES, None);
}
