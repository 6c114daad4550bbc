//! The wish for a channel, as a caller states it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::name::legal;
use crate::domain::limits;
use crate::domain::time::Timestamp;

/// The reaction to a name that another channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameTaken {
    /// The channel is not created.
    #[default]
    Fail,
    /// The next free name of `name-2` to `name-99` is used.
    Suffix,
    /// The other channel is used, if nothing is against it.
    Adopt,
}

impl NameTaken {
    /// The code in logs and in stored refusals.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Suffix => "suffix",
            Self::Adopt => "adopt",
        }
    }
}

/// The wish for a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelWish {
    /// As people write it; `name::legal` makes it Slack's.
    pub name: String,
    pub is_private: bool,
    pub topic: String,
    pub purpose: String,
    pub name_taken: NameTaken,
    /// A changed name renames an existing channel.
    pub follow_name: bool,
    /// People who are no longer wished for are removed in Slack.
    pub remove_unlisted: bool,
    pub create_not_before: Option<Timestamp>,
    pub archive_after: Option<Timestamp>,
    /// The time from the notice to `archive_after`; zero: no notice.
    #[serde(with = "as_micros")]
    pub archive_notice: Duration,
}

impl ChannelWish {
    /// Every violation: the field below `wish`, and a sentence that continues it.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if let Some(problem) = problem_of_name(&self.name) {
            problems.push(("name", problem));
        }
        for (field, text, most) in [
            ("topic", &self.topic, limits::CHANNEL_TOPIC),
            ("purpose", &self.purpose, limits::CHANNEL_PURPOSE),
        ] {
            let length = text.encode_utf16().count();
            if length > most {
                let counted = "(most emoji count as two)";
                let problem = format!("must be at most {most} characters {counted}, was {length}");
                problems.push((field, problem));
            }
        }
        if self.topic.contains(char::is_control) {
            problems.push(("topic", "must not contain line breaks or control characters".into()));
        }
        let begin = self.create_not_before;
        if self.archive_after.is_some_and(|end| begin.is_some_and(|begin| end <= begin)) {
            problems.push(("archive_after", "must be later than create_not_before".into()));
        }
        if self.archive_notice > limits::CHANNEL_NOTICE {
            let days = limits::CHANNEL_NOTICE.as_secs() / 86_400;
            problems.push(("archive_notice", format!("must be at most {days} days")));
        }
        problems
    }
}

/// Why a channel cannot be wished for with this name, as a sentence that continues the field's.
#[must_use]
pub fn problem_of_name(name: &str) -> Option<String> {
    let (most, was) = (limits::CHANNEL_NAME_BYTES, name.len());
    if was == 0 {
        return Some("must not be empty".into());
    }
    if was > most {
        return Some(format!("must be at most {most} bytes, was {was}"));
    }
    legal(name).is_none().then(|| "must contain a letter or a digit".into())
}

/// A duration as whole microseconds.
mod as_micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::time::micros;

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(micros(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
impl ChannelWish {
    /// A wish for a public channel of this name, and for nothing more.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            is_private: false,
            topic: String::new(),
            purpose: String::new(),
            name_taken: NameTaken::Fail,
            follow_name: false,
            remove_unlisted: false,
            create_not_before: None,
            archive_after: None,
            archive_notice: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> ChannelWish {
        ChannelWish {
            name: "Track Autumn".into(),
            is_private: false,
            topic: "t".repeat(250),
            purpose: "p".repeat(220),
            name_taken: NameTaken::Suffix,
            follow_name: true,
            remove_unlisted: false,
            create_not_before: Some(Timestamp(1)),
            archive_after: Some(Timestamp(2)),
            archive_notice: Duration::from_secs(30 * 86_400),
        }
    }

    fn faulty(change: impl FnOnce(&mut ChannelWish)) -> Vec<&'static str> {
        let mut wish = wish();
        change(&mut wish);
        wish.problems().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_wish_at_its_limits_is_good_and_each_field_beyond_them_is_named() {
        assert!(wish().problems().is_empty());
        assert_eq!(faulty(|wish| wish.name.clear()), ["name"]);
        assert_eq!(faulty(|wish| wish.name = "n".repeat(251)), ["name"]);
        assert_eq!(faulty(|wish| wish.name = "🎉 - 🎉".into()), ["name"]);
        assert_eq!(faulty(|wish| wish.topic.push('t')), ["topic"]);
        assert_eq!(faulty(|wish| wish.topic = "a\nb".into()), ["topic"]);
        assert_eq!(faulty(|wish| wish.purpose = "😀".repeat(111)), ["purpose"]);
        assert_eq!(faulty(|wish| wish.archive_after = Some(Timestamp(1))), ["archive_after"]);
        assert_eq!(
            faulty(|wish| wish.archive_notice += Duration::from_micros(1)),
            ["archive_notice"]
        );
        assert_eq!(
            faulty(|wish| {
                wish.name.clear();
                wish.topic.push('\r');
                wish.purpose.push('p');
            }),
            ["name", "topic", "purpose", "topic"]
        );
    }

    #[test]
    fn a_stored_wish_is_read_back() {
        let stored = serde_json::to_value(wish()).unwrap();
        assert_eq!(stored["name_taken"], "suffix");
        assert_eq!(stored["archive_notice"], 2_592_000_000_000_i64);
        assert_eq!(serde_json::from_value::<ChannelWish>(stored).unwrap(), wish());
    }
}
