//! The store's settings.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::domain::secret::Secret;

/// Where the data is stored, and the key that encrypts its secrets.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host/database`. Without it, Herald uses the SQLite file
    /// `herald.db` in `data_dir`, from one process. If the database is on another host, the
    /// server's certificate and name are verified, unless `?sslmode=` says otherwise;
    /// `sslrootcert=/path` names your own certificate authority. Default: none.
    pub url: Option<Secret>,
    /// Directory of the SQLite file and its key; made with mode 0700 if it is missing. Default
    /// `herald-data`.
    pub data_dir: PathBuf,
    /// Connections to PostgreSQL, or readers of the SQLite file. Default `16`.
    pub max_connections: u32,
    /// The pooler between Herald and PostgreSQL: `none`, also for PgBouncer in session mode, or
    /// `transaction` for PgBouncer in transaction mode. Default `none`.
    pub pooler: Pooler,
    /// The database itself, if `url` is a pooler: `herald migrate` and LISTEN use it, because both
    /// need their own session. If `pooler` is `transaction` and this is missing, `herald migrate`
    /// refuses to run, and replicas poll instead of listening. Default: `url`.
    pub direct_url: Option<Secret>,
    /// On PostgreSQL: whether replicas notify each other of changed member lists by LISTEN and
    /// NOTIFY, over one more connection each; otherwise they poll every
    /// `directory.poll_milliseconds`. Default `true`.
    pub listen: bool,
    /// How long a call waits for a free connection before it is refused as unavailable: `5s`,
    /// `500ms` or whole seconds. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub acquire_timeout: Duration,
    /// The longest that PostgreSQL may take for one statement; a transaction has four times as
    /// long. PostgreSQL ends a statement or transaction that takes longer. If a connection has not
    /// answered half a second later, it has broken unnoticed, as in a failover: it is closed and
    /// replaced. Default `5s`.
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
    /// The key-encryption key: 32 random bytes in base64. PostgreSQL needs this, `key_file` or
    /// `vault_address`. Default: none.
    pub key: Option<Secret>,
    /// A file that holds the key-encryption key in base64. Default: none on PostgreSQL; with SQLite
    /// `herald.key` beside the database, generated with mode 0600 on the first start. A file is
    /// refused if others can read or change it, or if its group can change it.
    pub key_file: Option<PathBuf>,
    /// The old key-encryption key, while it is being replaced (docs/keys.md). It decrypts stored
    /// data keys and wraps no new ones. Default: none.
    pub previous_key: Option<Secret>,
    /// A file that holds the key of `previous_key` in base64. Default: none.
    pub previous_key_file: Option<PathBuf>,
    /// HashiCorp Vault (or OpenBao), such as `https://vault.example:8200`: its transit engine is
    /// then the key-encryption key, and `key` or `key_file` only decrypt stored data keys. Default:
    /// none.
    pub vault_address: Option<String>,
    /// Where the transit engine is mounted. Default `transit`.
    pub vault_mount: String,
    /// The name of the key in the transit engine, which must be of an AEAD type such as
    /// `aes256-gcm96`. Default: none.
    pub vault_key: String,
    /// A Vault token that may encrypt and decrypt with `vault_key`. Default: none.
    pub vault_token: Option<Secret>,
    /// A file that holds the Vault token, read for each request, so that an agent may renew it.
    /// Default: none.
    pub vault_token_file: Option<PathBuf>,
    /// Whether Vault only decrypts stored data keys and wraps no new ones. Set it to go back from
    /// Vault to `key` or `key_file`. Default `false`.
    pub vault_opens_only: bool,
    /// Whether data about one person is encrypted with a key of that person, which `DeletePerson`
    /// erases. Releases without this setting cannot decrypt such data: set `false` while replicas
    /// of such a release run, so that new data is encrypted with the tenant's key (docs/keys.md).
    /// Default `true`.
    pub person_keys: bool,
}

/// The pooler between Herald and PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooler {
    /// None, or one that gives each client a session of its own.
    None,
    /// A pooler that gives a connection to one client after another, for a transaction each.
    /// Statements have no names, each runs in a transaction, and nothing is set for a session.
    Transaction,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            data_dir: PathBuf::from("herald-data"),
            max_connections: 16,
            pooler: Pooler::None,
            direct_url: None,
            listen: true,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(5),
            key: None,
            key_file: None,
            previous_key: None,
            previous_key_file: None,
            vault_address: None,
            vault_mount: "transit".to_owned(),
            vault_key: String::new(),
            vault_token: None,
            vault_token_file: None,
            vault_opens_only: false,
            person_keys: true,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("data_dir", &self.data_dir)
            .field("max_connections", &self.max_connections)
            .field("pooler", &self.pooler)
            .field("direct_url", &self.direct_url)
            .field("listen", &self.listen)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("key", &self.key)
            .field("key_file", &self.key_file)
            .field("previous_key", &self.previous_key)
            .field("previous_key_file", &self.previous_key_file)
            .field("vault_address", &self.vault_address)
            .field("vault_mount", &self.vault_mount)
            .field("vault_key", &self.vault_key)
            .field("vault_token", &self.vault_token)
            .field("vault_token_file", &self.vault_token_file)
            .field("vault_opens_only", &self.vault_opens_only)
            .field("person_keys", &self.person_keys)
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
            previous_key: Some(Secret::new("c2VjcmV0")),
            vault_token: Some(Secret::new("hvs.hunter2")),
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
