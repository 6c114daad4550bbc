//! Compares a snapshot of a large workspace with the naive way: one jmespath search for each member
//! over its converted `serde_json` value, into a hash map.
//!
//! `cargo bench --bench directory [-- --members 1000000]` prints two tables. Both ways read the
//! same members, in alternation, a page of a thousand at a time. Only their own work is timed, as
//! CPU time of a thread, so that other load on the machine affects neither. Herald reads a large
//! list with one thread per processor (four at most): *work* is the total time of its threads;
//! *build* is the time of the slowest thread plus the time of the single-threaded step after it.
//! The naive way uses one thread. Memory is that of a process that builds one snapshot.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark reports to a terminal")]
#![expect(clippy::cast_precision_loss, reason = "averages")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use herald::domain::directory::snapshot::{ProfileFields, Snapshot, SnapshotBuilder};
use herald::domain::mapping::Mapping;
use herald::domain::mapping::key::MatchKey;
use herald::sandbox::fixture;
use serde_json::{Value, json};

/// Members that are generated at a time, as on a page of `users.list`.
const PAGE: u64 = 1000;
/// Lookups that are timed.
const LOOKUPS: u64 = 1_000_000;
const DEFAULT: &str = "profile.email";

/// The measured expressions: the default, plain paths, and some that only jmespath supports.
const EXPRESSIONS: [&str; 8] = [
    DEFAULT,
    "profile.title",
    "profile.fields.XF12345.value",
    "profile.title || name",
    "not_null(profile.phone, profile.email, name)",
    "[profile.email, profile.display_name, name]",
    "values(profile) | [?type(@) == 'string' && contains(@, '@')] | [0]",
    "@ | [profile][?email != `null`].email | [0]",
];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let after = |flag: &str| args.iter().skip_while(|arg| *arg != flag).nth(1);
    let members = after("--members").map_or(1_000_000, |count| count.parse().unwrap());
    if let Some(expression) = after("--memory") {
        return memory(expression, members);
    }
    println!("{members} members, {} bytes each as JSON", page(0, 1)[0].len());
    let threads = std::thread::available_parallelism().unwrap().get().min(4);
    println!("\n{threads} threads; us a member");
    println!("\n| Slack attribute | naive | work | times less | build | times faster |");
    println!("|---|---|---|---|---|---|");
    for expression in EXPRESSIONS {
        let Took { work, build, naive } = build(expression, members, threads);
        let micros = |took: Duration| took.as_secs_f64() * 1e6 / (members as f64);
        let times = |took: Duration| naive.as_secs_f64() / took.as_secs_f64();
        println!(
            "| `{expression}` | {:.2} | {:.2} | {:.1} | {:.2} | {:.1} |",
            micros(naive),
            micros(work),
            times(work),
            micros(build),
            times(build)
        );
    }
    println!("\n| Slack attribute | resident bytes a member | lookup ns |\n|---|---|---|");
    for expression in [EXPRESSIONS[0], EXPRESSIONS[2], EXPRESSIONS[5]] {
        // In a process of its own, so that only the snapshot is resident.
        let count = members.to_string();
        let arguments = ["--memory", expression, "--members", &count];
        let own = std::env::current_exe().unwrap();
        let output = std::process::Command::new(own).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        print!("{}", String::from_utf8(output.stdout).unwrap());
    }
}

/// Some members as `users.list` serves them.
fn page(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count).map(|n| serde_json::to_vec(&fixture::served_member(n)).unwrap()).collect()
}

fn custom_fields(n: u64) -> Value {
    json!({ "XF12345": { "value": format!("E-{n:07}"), "alt": "" } })
}

/// The custom fields of all members; empty if the expression reads none.
fn fields(mapping: &Mapping, members: u64) -> Arc<ProfileFields> {
    let mut fields = ProfileFields::default();
    let members = if mapping.slack.reads_profile_fields() { members } else { 0 };
    for n in 0..members {
        fields.insert(&format!("UG{n:09}"), custom_fields(n).to_string().as_bytes());
    }
    Arc::new(fields)
}

fn builder(mapping: &Mapping, fields: &Arc<ProfileFields>) -> SnapshotBuilder {
    let mut builder = SnapshotBuilder::new(mapping, 1);
    builder.set_fields(Arc::clone(fields));
    builder
}

struct Took {
    work: Duration,
    build: Duration,
    naive: Duration,
}

/// The time that each way took.
fn build(expression: &str, members: u64, threads: usize) -> Took {
    let mut naive = Duration::ZERO;
    let mapping = Mapping::compile("email", expression).unwrap();
    let own = fields(&mapping, members);
    let mut readers: Vec<_> =
        (0..threads).map(|_| (builder(&mapping, &own), Duration::ZERO)).collect();
    let compiled = jmespath::compile(expression).unwrap();
    let fields = mapping.slack.reads_profile_fields();
    let mut index: HashMap<String, Vec<(String, String)>> = HashMap::new();
    let mut from = 0;
    while from < members {
        let round = PAGE * threads as u64;
        let members = page(from, round.min(members - from));
        std::thread::scope(|scope| {
            let parts = members.chunks(members.len().div_ceil(threads));
            for (part, (builder, took)) in parts.zip(&mut readers) {
                scope.spawn(move || {
                    let started = worked();
                    for member in part {
                        builder.push_json(member).unwrap();
                    }
                    *took += worked().saturating_sub(started);
                });
            }
        });
        let extra: Vec<Option<Value>> =
            (from..).take(members.len()).map(|n| fields.then(|| custom_fields(n))).collect();
        let started = worked();
        for (member, fields) in members.iter().zip(extra) {
            search(&compiled, member, fields, &mut index);
        }
        naive += worked().saturating_sub(started);
        from += round;
    }
    let slowest = readers.iter().map(|(_, took)| *took).max().unwrap();
    let all: Duration = readers.iter().map(|(_, took)| *took).sum();
    let mut builders = readers.into_iter().map(|(builder, _)| builder);
    let started = worked();
    let mut builder = builders.next().unwrap();
    for later in builders {
        builder.append(later).unwrap();
    }
    let snapshot = builder.finish();
    let end = worked().saturating_sub(started);
    assert_eq!(snapshot.counts().members as u64, members);
    black_box((snapshot, index));
    Took { work: all + end, build: slowest + end, naive }
}

/// The naive way: parse, convert, search, keep.
fn search(
    compiled: &jmespath::Expression<'_>,
    member: &[u8],
    fields: Option<Value>,
    index: &mut HashMap<String, Vec<(String, String)>>,
) {
    let mut member: Value = serde_json::from_slice(member).unwrap();
    if member["deleted"] == true
        || member["is_bot"] == true
        || !member["profile"]["email"].is_string()
    {
        return;
    }
    if let Some(fields) = fields {
        member["profile"]["fields"] = fields;
    }
    let id = member["id"].as_str().unwrap().to_owned();
    let name = member["profile"]["display_name"].as_str().unwrap().to_owned();
    let found = compiled.search(&member).unwrap();
    let values: Vec<&jmespath::Rcvar> = match found.as_array() {
        Some(list) => list.iter().collect(),
        None => vec![&found],
    };
    for text in values.into_iter().filter_map(|value| value.as_string()) {
        index.entry(text.to_lowercase()).or_default().push((id.clone(), name.clone()));
    }
}

/// Prints one row about this process.
fn memory(expression: &str, members: u64) {
    let mapping = Mapping::compile("email", expression).unwrap();
    let mut builder = builder(&mapping, &fields(&mapping, members));
    // The memory needed to generate members must be resident before counting begins.
    black_box(page(0, PAGE));
    let before = resident();
    let mut from = 0;
    while from < members {
        for member in page(from, PAGE.min(members - from)) {
            builder.push_json(&member).unwrap();
        }
        from += PAGE;
    }
    let snapshot = builder.finish();
    let bytes = resident().saturating_sub(before) as f64 / members as f64;
    let nanos = lookup(&snapshot, members);
    println!("| `{expression}` | {bytes:.0} | {nanos:.0} |");
}

/// Nanoseconds to find one member by a value.
fn lookup(snapshot: &Snapshot, members: u64) -> f64 {
    // Strides over the members, so that no two lookups in a row share a cache line.
    let keys: Vec<MatchKey> = (0..10_000_u64)
        .map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15) % members)
        .map(|n| MatchKey::of_text(&format!("person{n}@generated.example")).unwrap())
        .collect();
    let started = worked();
    let mut found = 0;
    for n in 0..LOOKUPS {
        let key = &keys[usize::try_from(n).unwrap() % keys.len()];
        found +=
            snapshot.find(key).members().map(|member| member.display_name.len()).sum::<usize>();
    }
    black_box(found);
    (worked().saturating_sub(started)).as_nanos() as f64 / LOOKUPS as f64
}

/// CPU time of this thread so far.
fn worked() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split_whitespace().next().unwrap().parse().unwrap())
}

/// Resident bytes of this process.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
