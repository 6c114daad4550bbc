//! A clock of one process and its children that can be set: `clock.c`, built with the C compiler
//! that Herald's dependencies need too.
//!
//! libfaketime is no replacement: it locks and allocates when the clock is read. PostgreSQL also
//! reads it in signal handlers, and then aborts, about once in three minutes of faults.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("clock.c");

/// Creates a clock that is right, in this file, with the library beside it.
pub(crate) fn create(clock: &Path) -> io::Result<()> {
    set(clock, 0)?;
    let mut compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-x", "c", "-", "-o"])
        .arg(library(clock))
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::other(format!("cc, the C compiler: {error}")))?;
    compiler.stdin.take().map_or(Ok(()), |mut input| input.write_all(SOURCE.as_bytes()))?;
    let status = compiler.wait()?;
    let built = status.success();
    built.then_some(()).ok_or_else(|| io::Error::other("cc cannot build tests/chaos/clock.c"))
}

/// The clock is wrong by this many seconds from now on.
pub(crate) fn set(clock: &Path, seconds: i64) -> io::Result<()> {
    // Never shorter than eight bytes: processes have it mapped.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(clock)?;
    file.write_all(&seconds.to_ne_bytes())
}

/// The environment of a process with this clock.
pub(crate) fn environment(clock: &Path) -> Vec<(String, String)> {
    let path = |path: &Path| path.display().to_string();
    vec![("LD_PRELOAD".to_owned(), path(&library(clock))), ("HERALD_CLOCK".to_owned(), path(clock))]
}

fn library(clock: &Path) -> PathBuf {
    clock.with_extension("so")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book;

    #[test]
    fn a_process_has_the_time_of_its_clock() {
        let dir = tempfile::tempdir().unwrap();
        let clock = dir.path().join("clock");
        create(&clock).unwrap();
        let told = || {
            let mut date = Command::new("date");
            let date = date.arg("+%s").envs(environment(&clock)).output().unwrap();
            String::from_utf8(date.stdout).unwrap().trim().parse::<i64>().unwrap()
        };
        let now = || book::now() / 1_000_000;
        for seconds in [0, -600, 7200, 0] {
            set(&clock, seconds).unwrap();
            let (from, told, to) = (now(), told(), now());
            let right = from + seconds..=to + seconds;
            assert!(right.contains(&told), "{seconds}: {told} is not in {right:?}");
        }
    }
}
