//! `herald people`: people of one tenant from files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::demo::say;
use crate::domain::limits;
use crate::templates::{ServerAddress, TemplatesClient};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum PeopleCommand {
    /// Pins people to Slack members, from a CSV file.
    Pin(Pin),
}

/// Pins people to Slack members, from a CSV file: a line for each person, with the person's id and
/// Slack's id of the member, such as `ada,U012AB3CD`. A first line `user_id,slack_user_id` is
/// skipped. An id with a comma is written in quotation marks.
///
/// Exits with 0 if all were pinned, and with 1 if some were not, or after an error.
#[derive(Debug, clap::Args)]
pub struct Pin {
    /// The file, in UTF-8.
    file: PathBuf,
    #[command(flatten)]
    server: ServerAddress,
}

/// One line of the file.
#[derive(Debug, PartialEq, Eq)]
struct PinLine {
    number: usize,
    user: String,
    member: String,
}

/// The largest file, in bytes: some 200,000 people.
const FILE_BYTES: u64 = 64 << 20;
/// The first line, if it names the columns.
const HEAD: &str = "user_id,slack_user_id";

/// Runs a command with this API key.
pub async fn run(command: PeopleCommand, key: Option<String>) -> anyhow::Result<ExitCode> {
    let PeopleCommand::Pin(Pin { file, server }) = command;
    let lines = lines(&read(&file)?)?;
    let mut client = TemplatesClient::connect(&server, key).await?;
    let (mut pinned, mut refused) = (0, 0);
    for some in lines.chunks(limits::PINS_PER_CALL) {
        let pairs = some.iter().map(|line| (line.user.clone(), line.member.clone()));
        let answer = client.pin(pairs.collect()).await?;
        pinned += answer.pinned;
        refused += answer.refused.len();
        for (index, sentence) in answer.refused {
            let at = some.get(index);
            let (number, user) = at.map_or((0, ""), |line| (line.number, line.user.as_str()));
            say(&format!("line {number}: {user}: the member {sentence}"));
        }
    }
    say(&format!("{pinned} pinned, {refused} not pinned"));
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", file.display());
    if std::fs::metadata(file).with_context(cannot)?.len() > FILE_BYTES {
        bail!("{} has more than {} MiB: split it", file.display(), FILE_BYTES >> 20);
    }
    std::fs::read_to_string(file).with_context(cannot)
}

/// The lines with a person.
fn lines(text: &str) -> anyhow::Result<Vec<PinLine>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || (number == 1 && line == HEAD) {
            continue;
        }
        // A member's id has no comma.
        let Some((user, member)) = line.rsplit_once(',') else {
            bail!("line {number} must have two columns, {HEAD}");
        };
        let (user, member) = (unquoted(user.trim()), unquoted(member.trim()));
        let (Some(user), Some(member)) = (user, member) else {
            bail!(
                "line {number}: an id with a comma or a quotation mark must be in quotation marks"
            );
        };
        lines.push(PinLine { number, user, member });
    }
    if lines.is_empty() {
        bail!("the file names no person: each line must have two columns, {HEAD}");
    }
    Ok(lines)
}

/// A field of CSV (RFC 4180); `None`: its quotation marks do not match, or are missing.
fn unquoted(field: &str) -> Option<String> {
    let Some(rest) = field.strip_prefix('"') else {
        return (!field.contains(['"', ','])).then(|| field.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    // Inside, each quotation mark is written twice.
    let single = inner.replace("\"\"", "");
    (!single.contains('"')).then(|| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize, user: &str, member: &str) -> PinLine {
        PinLine { number, user: user.into(), member: member.into() }
    }

    #[test]
    fn each_line_is_a_person_with_a_member() {
        let text =
            "\u{feff}user_id,slack_user_id\r\nada,U1\r\n\r\n\"a, b\", U2 \n\"q\"\"q\",\"U3\"";
        let wanted = [line(2, "ada", "U1"), line(4, "a, b", "U2"), line(5, "q\"q", "U3")];
        assert_eq!(lines(text).unwrap(), wanted);
        assert_eq!(lines("ben,U4").unwrap(), [line(1, "ben", "U4")]);
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        for (text, number) in
            [("ada", 1), ("ada,U1\nben", 2), ("a,b,U1", 1), ("\"a,U1", 1), ("a\"b,U1", 1)]
        {
            let error = lines(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {number}")), "{text}: {error}");
        }
        assert!(lines("user_id,slack_user_id\n").unwrap_err().to_string().contains("no person"));
    }
}
