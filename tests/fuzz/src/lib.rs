//! Input from outside, changed at random and judged (docs/fuzzing.md).
//!
//! Each target takes any bytes, makes an input from them, passes it to Herald and asserts what must
//! hold for every input. A panic is a finding. In `tests/fuzz/run` libFuzzer chooses the bytes;
//! `cargo test` replays `tests/fuzz/corpus`.
//!
//! To add a target: a file here with a `run`, its name in `targets!`, and a folder of a few small
//! inputs in `corpus`. If a dictionary of its language helps, add `words/NAME.dict`.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a panic is a finding")]

mod calls;
mod events;
mod expressions;
mod front;
mod interactions;
mod parts;
mod requests;
mod signatures;
mod states;
mod templates;
mod tokens;

/// Judges one input.
pub type Judge = fn(&[u8]);

macro_rules! targets {
    ($($name:ident)*) => {
        /// Every target, with its name.
        pub const TARGETS: &[(&str, Judge)] = &[$((stringify!($name), $name::run)),*];

        /// Replays the inputs of each target.
        #[cfg(test)]
        mod corpus {
            $(#[test]
            fn $name() {
                super::tests::replay(stringify!($name), super::$name::run);
            })*
        }
    };
}

targets! { calls events expressions interactions requests signatures states templates tokens }

/// The target with that name.
#[must_use]
pub fn target(name: &str) -> Option<Judge> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, judge)| *judge)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use herald::rpc::pb;

    use super::{Judge, TARGETS};

    /// Keeps the repository small.
    const MOST_FILES: usize = 60;
    /// Inputs beyond one for each method, if each method has one.
    const OTHER_FILES: usize = 10;
    const MOST_BYTES: usize = 4096;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(super) fn replay(name: &str, judge: Judge) {
        judge(&[]);
        let folder = folder().join(name);
        let files = names(&folder);
        let most = match name {
            "calls" | "requests" => pb::METHODS.len() + OTHER_FILES,
            _ => MOST_FILES,
        };
        assert!((1..=most).contains(&files.len()), "{} inputs", files.len());
        for file in files {
            let input = std::fs::read(folder.join(&file)).unwrap();
            assert!(input.len() <= MOST_BYTES, "{file} has {} bytes", input.len());
            println!("{name}/{file}");
            judge(&input);
        }
    }

    #[test]
    fn every_target_has_a_corpus() {
        let wanted = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&folder()), wanted);
    }

    /// A new method gets a small input in both corpora, and a word in both dictionaries.
    #[test]
    fn every_method_has_an_input_and_a_word() {
        for target in ["calls", "requests"] {
            let inputs = folder().join(target);
            let inputs: Vec<Vec<u8>> = names(&inputs)
                .iter()
                .map(|file| std::fs::read(inputs.join(file)).unwrap())
                .collect();
            let words = folder().join(format!("../words/{target}.dict"));
            let words = std::fs::read_to_string(words).unwrap();
            for method in pb::METHODS {
                let (_, name) = method.rsplit_once('/').unwrap();
                let begin = format!("{name}\0");
                let has_input = inputs.iter().any(|input| input.starts_with(begin.as_bytes()));
                assert!(has_input, "{target}: no input for {name}");
                let word = format!("\"{name}\\x00\"");
                assert!(words.lines().any(|line| line == word), "{target}: no word for {name}");
            }
        }
    }
}
