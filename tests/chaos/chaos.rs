//! The checker: replicas of `herald` as processes under faults, clients that call all of them, and
//! Slack in a sandbox; then a time without faults; then a judgement based only on the logs of the
//! clients and of Slack.
//!
//! `tests/run --chaos SECONDS [--seed N]` runs it; `docs/chaos.md` describes it, and the proof that
//! a run gives.
#![expect(clippy::print_stdout, reason = "a person reads the summary")]
#![expect(clippy::too_many_lines, reason = "a list of faults, and the lines of the summary")]

mod book;
mod bystanders;
mod client;
mod clock;
mod dice;
mod evidence;
mod judge;
mod link;
mod nemesis;
mod plant;
mod plant_channels;
mod pooler;
mod ports;
mod postgres;
mod probe;
mod processors;
mod reader;
mod replica;
mod report;
mod run;
mod site;
mod slack;
mod tenant;
mod track;
mod track_ends;
mod tracks;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};

use evidence::Evidence;
use nemesis::Kind;
use plant::Plant;
use pooler::Pooler;

/// Breaks what can break around Herald, and judges the outcome.
#[derive(Parser)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own on the command line"
)]
struct Options {
    /// Seconds of faults, after which the calls under way settle.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of all random choices; it is printed. Default: a random one.
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long, default_value_t = 3)]
    replicas: usize,
    /// Kinds of faults, by name or number. Default: all.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Recipients that clients request each second.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,
    #[arg(long, default_value_t = 12)]
    clients: usize,
    #[arg(long, default_value_t = 40)]
    people: usize,
    #[arg(long, default_value_t = 4)]
    channels: usize,
    /// The factor for every duration of Slack's and for leases.
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Slack does not enforce its limits.
    #[arg(long)]
    no_limits: bool,
    /// The database is down for five minutes (before the time factor).
    #[arg(long)]
    full_lengths: bool,
    /// In the middle of the run, the database fails over to a copy that lags.
    #[arg(long)]
    failover: bool,
    /// PgBouncer in transaction mode is between the replicas and the database.
    #[arg(long)]
    pooler: bool,
    /// The program of the previous release: replicas of both releases take turns. Without --faults,
    /// faults that only this release survives are not used.
    #[arg(long, value_name = "PROGRAM")]
    before: Option<PathBuf>,
    /// The release that replicas start with and the one that replaces it; then back, and so on.
    #[arg(long, value_enum, default_value = "old-to-new", requires = "before")]
    upgrade: Order,
    /// A setting of the replicas in addition to the checker's own.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
    /// The folder for the logs. Default: a new one below target/chaos.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// The program. Default: the one built next to this one.
    #[arg(long)]
    herald: Option<PathBuf>,
    /// Plants a fault in a copy of the logs: the judgement must be red.
    #[arg(long, value_enum)]
    plant: Option<Plant>,
    /// Judges the logs of an earlier run.
    #[arg(long, value_name = "DIRECTORY")]
    judge: Option<PathBuf>,
    /// Plants each fault in turn in the logs of earlier runs, and succeeds if each has a place in
    /// some of them and is found there.
    #[arg(long, value_name = "DIRECTORY", num_args = 1..)]
    judge_the_judge: Vec<PathBuf>,
}

/// The release that replicas start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Order {
    OldToNew,
    NewToOld,
}

/// Faults that only this release survives, or that need all replicas to be of one release.
const NEW: [Kind; 6] =
    [Kind::Dark, Kind::Frozen, Kind::Step, Kind::Newer, Kind::Tenants, Kind::Failover];

#[tokio::main]
async fn main() -> ExitCode {
    match start(Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the checker could not do its work: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the run was good.
async fn start(options: Options) -> io::Result<bool> {
    if !options.judge_the_judge.is_empty() {
        return judge_the_judge(&options.judge_the_judge);
    }
    if let Some(dir) = &options.judge {
        return verdict(dir, options.plant);
    }
    let seed = options.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let dir = options.logs.clone().unwrap_or_else(|| {
        PathBuf::from(format!("target/chaos/{seed}-{}", book::now() / 1_000_000))
    });
    std::fs::create_dir_all(&dir)?;
    let plant = options.plant;
    println!("seed {seed}, {} s of faults, logs in {}", options.seconds, dir.display());
    let plan = plan(options, seed)?;
    let store = run::run(&plan, &dir).await?;
    let well = verdict(&dir, plant)?;
    println!("{:<14}{store} (by the store itself; not part of the judgement)", "cross-check");
    let panics = panics(&dir)?;
    if panics > 0 {
        println!("{:<14}{panics} panics in the replicas' logs", "FOUND");
    }
    println!("{:<14}{}", "logs", dir.display());
    Ok(well && panics == 0)
}

fn plan(options: Options, seed: u64) -> io::Result<run::Plan> {
    let kinds = kinds(&options);
    let mut left_out = Vec::new();
    let program = options.herald.map_or_else(beside, Ok)?;
    let releases = match (options.before, options.upgrade) {
        (None, _) => [program.clone(), program.clone()],
        (Some(before), Order::OldToNew) => [before, program.clone()],
        (Some(before), Order::NewToOld) => [program.clone(), before],
    };
    let pooler = if options.pooler { Pooler::installed() } else { None };
    if options.pooler && pooler.is_none() {
        left_out.push("pooler (no PgBouncer)".to_owned());
    }
    for fault in &left_out {
        println!("left out: {fault}");
    }
    Ok(run::Plan {
        seed,
        seconds: options.seconds,
        replicas: options.replicas,
        kinds,
        left_out,
        rate: options.rate,
        clients: options.clients,
        people: options.people,
        channels: options.channels,
        scale: options.scale,
        limits: !options.no_limits,
        full_lengths: options.full_lengths,
        settings: options.set,
        program,
        releases,
        pooler,
    })
}

/// All kinds, except those that need an option of their own.
fn kinds(options: &Options) -> Vec<Kind> {
    let mut kinds = options.faults.clone();
    if kinds.is_empty() {
        let left_out = |kind: &Kind| options.before.is_some() && NEW.contains(kind);
        kinds = Kind::value_variants().to_vec();
        kinds.retain(|kind| ![Kind::Failover, Kind::Upgrade].contains(kind) && !left_out(kind));
    }
    let asked = [(Kind::Failover, options.failover), (Kind::Upgrade, options.before.is_some())];
    kinds.extend(asked.into_iter().filter(|(_, asked)| *asked).map(|(kind, _)| kind));
    kinds
}

/// `herald` in the folder above the one with this program.
fn beside() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent);
    folder.map(|folder| folder.join("herald")).filter(|program| program.is_file()).ok_or_else(
        || io::Error::new(io::ErrorKind::NotFound, "herald is not built: cargo build --bin herald"),
    )
}

fn verdict(dir: &Path, plant: Option<Plant>) -> io::Result<bool> {
    let mut evidence = Evidence::read(dir)?;
    if let Some(plant) = plant {
        plant.put_into(&mut evidence).ok_or_else(|| io::Error::other("no place to plant it"))?;
        println!("planted in a copy of the logs: {plant:?}");
    }
    let judgement = judge::judge(&evidence);
    let summary = report::summary(&evidence, &judgement);
    if plant.is_none() {
        std::fs::write(dir.join("summary.txt"), &summary)?;
    }
    print!("{summary}");
    Ok(judgement.findings.is_empty())
}

fn judge_the_judge(dirs: &[PathBuf]) -> io::Result<bool> {
    let logs: Vec<Evidence> =
        dirs.iter().map(|dir| Evidence::read(dir)).collect::<io::Result<_>>()?;
    let mut all = true;
    for plant in Plant::value_variants() {
        let found: Vec<Option<bool>> =
            logs.iter().map(|evidence| plant.is_found(evidence)).collect();
        // The first run has every fault.
        let fits = if plant.always_fits() {
            found[0].is_some()
        } else {
            found.iter().any(Option::is_some)
        };
        let outcome = match &found[..] {
            _ if !fits => "no place in these logs: NOT FOUND",
            found if found.contains(&Some(false)) => "NOT FOUND",
            _ => "found",
        };
        println!("{plant:?}: {outcome}");
        all &= outcome == "found";
    }
    Ok(all)
}

/// The number of lines in the replicas' logs that report a panic.
fn panics(dir: &Path) -> io::Result<usize> {
    let mut panics = 0;
    for entry in std::fs::read_dir(dir)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("replica-") {
            let log = std::fs::read_to_string(entry.path())?;
            panics += log.lines().filter(|line| line.contains("panicked")).count();
        }
    }
    Ok(panics)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The number after each mention of a seed, such as `--seed 7` or `seed 7`.
    fn seeds(text: &str) -> BTreeSet<u64> {
        let mut words = text.split_whitespace().peekable();
        let mut seeds = BTreeSet::new();
        while let Some(word) = words.next() {
            if ["--seed", "seed", "Seed", "`--seed"].contains(&word) {
                let number = words.peek().map(|word| word.trim_matches([',', '`', '.', ':']));
                seeds.extend(number.and_then(|number| number.parse::<u64>().ok()));
            }
        }
        seeds
    }

    #[test]
    fn options_bring_their_kinds() {
        let kinds = |line: &str| kinds(&Options::try_parse_from(line.split_whitespace()).unwrap());
        let all = kinds("chaos");
        assert!(all.contains(&Kind::Step) && !all.contains(&Kind::Failover));
        assert_eq!(kinds("chaos --failover").len(), all.len() + 1);
        assert_eq!(kinds("chaos --faults dark"), [Kind::Dark]);
        let mixed = kinds("chaos --before herald");
        assert!(all.contains(&Kind::Newer) && !mixed.contains(&Kind::Newer));
    }

    /// The options of the runs in step_chaos of tests/run, except for seeds and folders.
    fn runs() -> Vec<String> {
        let (_, script) = include_str!("../run").split_once("\nstep_chaos() {").unwrap();
        let (step, _) = script.split_once("\n}").unwrap();
        let step = step.replace("\\\n", " ").replace("\"$chaos\"", "60");
        let runs = step.lines().filter_map(|line| line.trim().strip_prefix("\"$checker\" "));
        let runs = runs.filter(|line| line.starts_with("--seconds"));
        let words = |line: &str| {
            let words = line.split_whitespace().filter(|word| !word.contains("seed"));
            let words = words.filter(|word| *word != "--logs" && !word.contains("$logs"));
            words.collect::<Vec<_>>().join(" ")
        };
        runs.map(words).collect()
    }

    #[test]
    fn the_runs_of_the_test_command_combine_what_interacts() {
        let parse = |line: &String| {
            let words = std::iter::once("chaos").chain(line.split_whitespace());
            Options::try_parse_from(words).unwrap()
        };
        let options: Vec<Options> = runs().iter().map(parse).collect();
        assert!(options.iter().any(|run| run.failover && run.pooler));
        let between = |run: &&Options| run.failover || run.pooler;
        for kind in [Kind::Step, Kind::Tenants, Kind::Postgres, Kind::Frozen, Kind::Dark] {
            let mut runs = options.iter().filter(between);
            assert!(runs.any(|run| run.faults.contains(&kind)), "{kind:?}");
        }
        // Few faults, and a time in which the first dark connections of any seed can be judged.
        let few = [Kind::Dark, Kind::Tenants, Kind::Step];
        assert!(options.iter().any(|run| run.faults == few && run.seconds >= 28));
        assert!(options.iter().map(|run| run.seconds).sum::<u64>() <= 150);
        let document = include_str!("../../docs/chaos.md");
        for run in runs() {
            let (_, rest) = run.split_once(' ').unwrap();
            let (seconds, rest) = rest.split_once(' ').unwrap_or((rest, "none"));
            let row = format!("| {seconds} | `{rest}` |").replace("`none`", "none");
            assert!(document.contains(&row), "{row}");
        }
    }

    #[test]
    fn each_line_of_seeds_is_a_command_line_with_a_seed() {
        let lines = include_str!("seeds").lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let (options, finding) = line.split_once(" # ").unwrap();
            let words = std::iter::once("chaos").chain(options.split_whitespace());
            let options = Options::try_parse_from(words).unwrap();
            assert!(options.seed.is_some() && !finding.is_empty(), "{line}");
        }
    }

    /// As tests/run reads it.
    #[test]
    fn the_release_before_is_one_commit() {
        let lines = include_str!("before").lines().filter(|line| !line.starts_with('#'));
        let commits: Vec<&str> = lines.collect();
        let [commit] = commits[..] else { panic!("{commits:?}") };
        let is_hash = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_hash, "{commit}");
    }

    /// docs/chaos.md also names a seed with which no run failed.
    #[test]
    fn every_seed_that_the_document_names_as_failed_is_run_again() {
        let document = include_str!("../../docs/chaos.md");
        let passed = BTreeSet::from([2027]);
        let failed = &seeds(document) - &passed;
        assert!(failed.len() > 4, "{failed:?}");
        let missing = &failed - &seeds(include_str!("seeds"));
        assert_eq!(missing, BTreeSet::new());
    }
}
