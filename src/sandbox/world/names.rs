//! Names of channels, as Slack's reference of `conversations.create` describes them.

/// Longest name, in characters.
const LONGEST: usize = 80;

/// Slack's error code for a name that no channel may have.
///
/// Letters of scripts without case (Japanese, Arabic…) are accepted, as in Slack's own client.
/// Slack documents the codes, but not the order in which it checks.
pub(in crate::sandbox) fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("invalid_name_required");
    }
    if name.chars().count() > LONGEST {
        return Err("invalid_name_maxlength");
    }
    if name.chars().all(|c| c.is_ascii_punctuation()) {
        return Err("invalid_name_punctuation");
    }
    if !name.chars().all(is_allowed) {
        return Err("invalid_name_specials");
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    let lowercase = || c.to_lowercase().eq([c]);
    c.is_ascii_digit() || c == '-' || c == '_' || (c.is_alphabetic() && lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowercase_letters_of_every_script_are_accepted() {
        let long = "ö".repeat(80);
        let latin = ["a", "7", "kurs-7_b", "straße", "été", long.as_str()];
        for name in latin.into_iter().chain(["会議-1", "اجتماع", "курс"]) {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn each_fault_of_a_name_has_its_code() {
        let long = "a".repeat(81);
        for (name, code) in [
            ("", "invalid_name_required"),
            (long.as_str(), "invalid_name_maxlength"),
            ("-", "invalid_name_punctuation"),
            ("_-!.", "invalid_name_punctuation"),
            ("Kurs", "invalid_name_specials"),
            ("КУРС", "invalid_name_specials"),
            ("ǅungla", "invalid_name_specials"),
            ("two words", "invalid_name_specials"),
            ("a.b", "invalid_name_specials"),
            ("#a", "invalid_name_specials"),
            ("🎉", "invalid_name_specials"),
            ("½", "invalid_name_specials"),
        ] {
            assert_eq!(check(name), Err(code), "{name}");
        }
    }
}
