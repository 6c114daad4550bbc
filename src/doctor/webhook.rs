//! One request to the platform's webhook, signed as Standard Webhooks says
//! (<https://www.standardwebhooks.com>): HMAC-SHA256 over the id, the time and the body.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Client;
use sha2::Sha256;
use url::Url;
use zeroize::Zeroizing;

use crate::store::WaitingAlert;
use crate::web;

/// The time for one request with its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("herald/", env!("CARGO_PKG_VERSION"));

/// The platform's webhook. No `Debug`: it has the key.
pub(super) struct Webhook {
    client: Client,
    url: Url,
    key: Zeroizing<Vec<u8>>,
}

impl Webhook {
    /// The error is a sentence that begins with the setting's name.
    pub(super) fn new(url: Url, key: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        let client = web::client(None, TIMEOUT).map_err(|error| format!("webhook_url: {error}"))?;
        Ok(Self { client, url, key })
    }

    /// Posts an alert once. `Ok`: the webhook accepted it. The error is a sentence without the
    /// address, which may be confidential.
    pub(super) async fn post(&self, alert: &WaitingAlert) -> Result<(), String> {
        let id = alert.id.to_string();
        let seconds = alert.at.0.div_euclid(1_000_000).to_string();
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("user-agent", USER_AGENT)
            .header("webhook-signature", signature(&self.key, &id, &seconds, &alert.body))
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds)
            .body(alert.body.clone());
        let answer = request.send().await.map_err(web::sentence)?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

/// The value of `webhook-signature`.
fn signature(key: &[u8], id: &str, seconds: &str, body: &str) -> String {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    for part in [id, ".", seconds, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of Standard Webhooks' reference libraries.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        let signed = signature(&key, id, "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_ne!(signature(&key, id, "1614265331", body), signed);
    }
}
