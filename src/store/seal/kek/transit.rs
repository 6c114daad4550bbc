//! The transit engine of HashiCorp Vault (or OpenBao) as the key-encryption key: it wraps and
//! unwraps data keys, and its own key never leaves it.
//! <https://developer.hashicorp.com/vault/api-docs/secret/transit>
//!
//! The place of a data key is passed as associated data, which the engine's AEAD keys
//! (`aes256-gcm96`, the default, and `chacha20-poly1305`) bind to it.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Client, StatusCode, Url};
use rustls::RootCertStore;
use sea_orm_migration::async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{KEK_ID_BYTES, Kek, Key, kek_id, key_of};
use crate::domain::loopback::is_loopback;
use crate::domain::secret::Secret;
use crate::store::{Config, Error};
use crate::web::{self, BodyError};

/// The time limit of one request to the key service.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Answers are one line; a longer answer than this is not read.
const ANSWER_BYTES: usize = 64 << 10;

/// Wraps data keys with a key of the transit engine.
pub(in crate::store) struct Transit {
    http: Client,
    /// `…/v1/transit/`.
    engine: Url,
    key: String,
    token: Token,
    id: [u8; KEK_ID_BYTES],
    /// The prefix of newly wrapped keys: `vault:v3:`.
    newest: OnceCell<String>,
}

/// The token, or the file in which an agent keeps it.
enum Token {
    Given(Secret),
    File(PathBuf),
}

impl Transit {
    /// `None` if no address is set. Error sentences name the settings.
    pub(in crate::store) fn new(config: &Config) -> Result<Option<Self>, Error> {
        let Some(address) = &config.vault_address else { return Ok(None) };
        let wrong = |sentence: &str| Error::Config(format!("store.vault_{sentence}"));
        let token = match (&config.vault_token, &config.vault_token_file) {
            (Some(token), None) => Token::Given(token.clone()),
            (None, Some(file)) => Token::File(file.clone()),
            _ => return Err(wrong("token or store.vault_token_file: set one of the two")),
        };
        if config.vault_key.is_empty() || !is_name(&config.vault_key) {
            return Err(wrong("key must be the name of a key of the transit engine"));
        }
        let address = Url::parse(address)
            .map_err(|_| wrong("address must be a URL, such as https://vault:8200"))?;
        let local = is_loopback(&address);
        if address.scheme() != "https" && !(address.scheme() == "http" && local) {
            return Err(wrong("address must be https, except on this machine"));
        }
        let path = format!("v1/{}/", config.vault_mount.trim_matches('/'));
        let engine = address
            .join(&path)
            .map_err(|_| wrong("mount must be the path where the transit engine is mounted"))?;
        // Over plain http, on this host only, no authority is asked.
        let trusted = (address.scheme() == "http").then(RootCertStore::empty);
        let http = web::client(trusted, TIMEOUT).map_err(Error::Config)?;
        let named = format!("transit {path}{}", config.vault_key);
        Ok(Some(Self {
            http,
            engine,
            key: config.vault_key.clone(),
            token,
            id: kek_id(named.as_bytes()),
            newest: OnceCell::new(),
        }))
    }

    async fn ask(&self, what: &str, body: Value) -> Result<Answer, Error> {
        let token = match &self.token {
            Token::Given(token) => token.clone(),
            Token::File(path) => Secret::new(
                tokio::fs::read_to_string(path)
                    .await
                    .map_err(|error| {
                        Error::KeyService(format!("store.vault_token_file cannot be read: {error}"))
                    })?
                    .trim(),
            ),
        };
        let url = self
            .engine
            .join(&format!("{what}/{}", self.key))
            .map_err(|_| Error::Bug("a URL that cannot be joined".into()))?;
        let away = |error: reqwest::Error| {
            Error::KeyService(format!("Vault does not answer: {}", web::sentence(error)))
        };
        let request = self.http.post(url).header("x-vault-token", token.expose()).json(&body);
        let mut answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let bytes = web::body(&mut answer, ANSWER_BYTES).await.map_err(|unread| match unread {
            BodyError::TooLong => Error::KeyService("Vault's answer is too long".into()),
            BodyError::Broken(error) => away(error),
        })?;
        if status == StatusCode::OK {
            let read = serde_json::from_slice(&bytes);
            return read.map(Answer::Done).map_err(|_| unreadable());
        }
        if status == StatusCode::BAD_REQUEST {
            return Ok(Answer::Refused);
        }
        // The text of the answer is not passed on, because it quotes the request.
        Err(Error::KeyService(match status {
            StatusCode::FORBIDDEN => {
                "Vault refuses the token: it must be valid, and its policy must allow update on \
                 encrypt and decrypt of store.vault_key"
                    .into()
            }
            StatusCode::NOT_FOUND => {
                "Vault has no transit engine at store.vault_mount, or no such store.vault_key"
                    .into()
            }
            StatusCode::SERVICE_UNAVAILABLE => "Vault is sealed, or in maintenance".into(),
            other => format!("Vault answered {other}"),
        }))
    }

    async fn encrypt(&self, aad: &[u8], plain: &[u8]) -> Result<String, Error> {
        let plaintext = Zeroizing::new(BASE64.encode(plain));
        let body = json!({ "plaintext": *plaintext, "associated_data": BASE64.encode(aad) });
        let Answer::Done(answer) = self.ask("encrypt", body).await? else {
            return Err(Error::KeyService(
                "Vault refuses to encrypt: store.vault_key must be an AEAD key, such as \
                 aes256-gcm96"
                    .into(),
            ));
        };
        let text = answer["data"]["ciphertext"].as_str().ok_or_else(unreadable)?;
        if version(text).is_none() {
            return Err(unreadable());
        }
        Ok(text.to_owned())
    }
}

enum Answer {
    Done(Value),
    /// The engine did not make this ciphertext, or not with this associated data.
    Refused,
}

#[async_trait]
impl Kek for Transit {
    fn id(&self) -> [u8; KEK_ID_BYTES] {
        self.id
    }

    async fn wrap(&self, aad: &[u8], key: &Key) -> Result<Vec<u8>, Error> {
        self.encrypt(aad, &**key).await.map(String::into_bytes)
    }

    async fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Key>, Error> {
        let Some(text) = std::str::from_utf8(wrapped).ok().filter(|text| version(text).is_some())
        else {
            return Ok(None);
        };
        let body = json!({ "ciphertext": text, "associated_data": BASE64.encode(aad) });
        let Answer::Done(answer) = self.ask("decrypt", body).await? else { return Ok(None) };
        let plain = answer["data"]["plaintext"].as_str().ok_or_else(unreadable)?;
        let plain = Zeroizing::new(BASE64.decode(plain).map_err(|_| unreadable())?);
        Ok(key_of(&plain))
    }

    async fn is_newest(&self, wrapped: &[u8]) -> Result<bool, Error> {
        let probe = async {
            let text = self.encrypt(b"herald probe", &[0]).await?;
            version(&text).map(str::to_owned).ok_or_else(unreadable)
        };
        let newest = self.newest.get_or_try_init(|| probe).await?;
        Ok(std::str::from_utf8(wrapped).ok().and_then(version) == Some(newest.as_str()))
    }
}

/// The prefix of the ciphertext of one version of the key.
fn version(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("vault:v")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let end = "vault:v".len() + digits + 1;
    (digits > 0 && text.as_bytes().get(end - 1) == Some(&b':')).then(|| &text[..end])
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn unreadable() -> Error {
    Error::KeyService("Vault's answer is not an answer of the transit engine".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_rubbish_is_not() {
        assert_eq!(version("vault:v12:abc"), Some("vault:v12:"));
        for rubbish in ["", "vault:v", "vault:v:", "vault:v1", "vault:vx:abc", "bao:v1:abc"] {
            assert_eq!(version(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let given = Config {
            vault_address: Some("https://vault.example:8200".into()),
            vault_key: "herald".into(),
            vault_token: Some(Secret::new("hvs.x")),
            ..Config::default()
        };
        for (config, named) in [
            (Config { vault_token: None, ..given.clone() }, "store.vault_token"),
            (Config { vault_key: String::new(), ..given.clone() }, "store.vault_key"),
            (Config { vault_key: "a/../b".into(), ..given.clone() }, "store.vault_key"),
            (
                Config { vault_address: Some("vault".into()), ..given.clone() },
                "store.vault_address",
            ),
            (
                Config { vault_address: Some("http://vault:8200".into()), ..given.clone() },
                "must be https",
            ),
        ] {
            let error = Transit::new(&config).err().unwrap().to_string();
            assert!(error.contains(named) && !error.contains("hvs.x"), "{error}");
        }
    }
}
