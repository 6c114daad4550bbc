//! Asks issuers for their keys: the discovery document (OpenID Connect Discovery 1.0), then the
//! keys that it names (RFC 7517). Answers are bounded, and redirects are not followed.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use reqwest::{Client, StatusCode};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::config::{Config, KeySource, may_be_asked};
use crate::domain::secret::Secret;
use crate::web::{self, BodyError};

/// The time-out of one question with its answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer, and of a file.
const ANSWER_BYTES: usize = 1 << 20;
/// Most keys of an issuer.
const KEYS: usize = 100;

/// The fields of the discovery document that are used.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// The issuer's present keys. The error is a sentence.
pub(super) async fn keys(config: &Config, source: &KeySource) -> Result<JwkSet, String> {
    let keys = match source {
        KeySource::File(path) => {
            let bytes = file(path).await?;
            read(&bytes).map_err(|problem| format!("{}: {problem}", path.display()))?
        }
        KeySource::Discovery(url) => discover(config, url).await?,
    };
    let count = keys.keys.len();
    if count > KEYS {
        return Err(format!("{count} keys are more than the {KEYS} that are allowed"));
    }
    Ok(keys)
}

async fn discover(config: &Config, url: &Url) -> Result<JwkSet, String> {
    let trusted = match &config.ca_file {
        None => None,
        Some(path) => Some(roots(path).await?),
    };
    let client = web::client(trusted, TIMEOUT)?;
    let token = match &config.token_file {
        None => None,
        Some(path) => {
            let text = String::from_utf8(file(path).await?);
            let text = text.map_err(|_| format!("{}: is no text", path.display()))?;
            Some(Secret::new(text.trim()))
        }
    };
    let found: Discovery = ask(&client, url, token.as_ref()).await?;
    // Otherwise the server of a document could speak for another issuer (section 4.3).
    if found.issuer != config.issuer {
        return Err(format!("{url} is the document of another issuer"));
    }
    let keys = Url::parse(&found.jwks_uri).ok().filter(may_be_asked);
    let keys = keys.ok_or_else(|| format!("{url} names keys that are not served over https"))?;
    ask(&client, &keys, token.as_ref()).await
}

async fn ask<T: DeserializeOwned>(
    client: &Client,
    url: &Url,
    token: Option<&Secret>,
) -> Result<T, String> {
    let away = |error: reqwest::Error| format!("{url}: {}", web::sentence(error));
    let mut request = client.get(url.clone()).header("accept", "application/json");
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let mut answer = request.send().await.map_err(away)?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{url} answered {}", answer.status()));
    }
    let bytes = web::body(&mut answer, ANSWER_BYTES).await.map_err(|unread| match unread {
        BodyError::TooLong => format!("{url} answers with more than 1 MiB"),
        BodyError::Broken(error) => away(error),
    })?;
    read(&bytes).map_err(|problem| format!("{url}: {problem}"))
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The error does not quote the answer, which may contain anything.
    serde_json::from_slice(bytes).map_err(|_| "is not the document that was expected".to_owned())
}

async fn roots(path: &Path) -> Result<RootCertStore, String> {
    let bytes = file(path).await?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let added = certificate.map_err(|_| "is not PEM".to_owned());
        let added = added.and_then(|one| roots.add(one).map_err(|error| error.to_string()));
        added.map_err(|problem| format!("{}: {problem}", path.display()))?;
    }
    if roots.is_empty() {
        return Err(format!("{}: has no certificate in PEM", path.display()));
    }
    Ok(roots)
}

async fn file(path: &Path) -> Result<Vec<u8>, String> {
    use tokio::io::AsyncReadExt as _;
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(said)?;
    let mut bytes = Vec::new();
    file.take(ANSWER_BYTES as u64 + 1).read_to_end(&mut bytes).await.map_err(said)?;
    if bytes.len() > ANSWER_BYTES {
        return Err(format!("{}: is larger than 1 MiB", path.display()));
    }
    Ok(bytes)
}
