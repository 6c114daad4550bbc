//! The store's settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::domain::secret::Secret;

/// Where the data lives, and the key that seals what is secret in it.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host/database`. None: a SQLite file `herald.db` in `data_dir`,
    /// for one process. Default: none.
    pub url: Option<Secret>,
    /// Directory of the SQLite file and its key; made with mode 0700 where it is missing.
    /// Default `herald-data`.
    pub data_dir: PathBuf,
    /// Connections to PostgreSQL, or readers of the SQLite file. Default `16`.
    pub max_connections: u32,
    /// On PostgreSQL: whether replicas tell each other by LISTEN and NOTIFY that a member list moved,
    /// over one more connection each; else they find out by `directory.poll_milliseconds`. Turn it off behind a
    /// pooler that shares connections between transactions. Default `true`.
    pub listen: bool,
    /// How long a call waits for a free connection before it is refused as unavailable: `5s`,
    /// `500ms` or whole seconds. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub acquire_timeout: Duration,
    /// The key-encryption key: 32 random bytes in base64. PostgreSQL needs this or `key_file`.
    /// Default: none.
    pub key: Option<Secret>,
    /// A file that holds the key-encryption key in base64. Default: none on
    /// PostgreSQL; with SQLite `herald.key` beside the database, generated with mode 0600 on the
    /// first start.
    pub key_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            data_dir: PathBuf::from("herald-data"),
            max_connections: 16,
            listen: true,
            acquire_timeout: Duration::from_secs(5),
            key: None,
            key_file: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("data_dir", &self.data_dir)
            .field("max_connections", &self.max_connections)
            .field("listen", &self.listen)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("key", &self.key)
            .field("key_file", &self.key_file)
            .finish()
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(u64),
        Text(String),
    }
    let parsed = match Written::deserialize(deserializer)? {
        Written::Seconds(seconds) => Some(Duration::from_secs(seconds)),
        Written::Text(text) => parse(&text),
    };
    parsed.ok_or_else(|| serde::de::Error::custom("must be a duration such as 5s or 500ms"))
}

fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Some(number) = text.strip_suffix("ms") {
        return number.trim().parse().ok().map(Duration::from_millis);
    }
    let number = text.strip_suffix('s').unwrap_or(text);
    number.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let config = Config {
            url: Some(Secret::new("postgres://herald:hunter2@db/herald")),
            key: Some(Secret::new("c2VjcmV0")),
            ..Config::default()
        };
        let printed = format!("{config:?}");
        assert!(!printed.contains("hunter2") && !printed.contains("c2VjcmV0"), "{printed}");
    }

    #[test]
    fn durations_as_people_write_them() {
        let read = |json: &str| serde_json::from_str::<Config>(json).map(|c| c.acquire_timeout);
        assert_eq!(read(r#"{"acquire_timeout":"250ms"}"#).unwrap(), Duration::from_millis(250));
        assert_eq!(read(r#"{"acquire_timeout":"7s"}"#).unwrap(), Duration::from_secs(7));
        assert_eq!(read(r#"{"acquire_timeout":3}"#).unwrap(), Duration::from_secs(3));
        assert!(read(r#"{"acquire_timeout":"soon"}"#).is_err());
        assert!(read(r#"{"acquire":1}"#).is_err());
    }
}
