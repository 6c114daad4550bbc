//! Credentials that are planted as canaries: a created API key, tokens of an issuer, the token that
//! the issuer itself requires, and the private key of the gRPC port.

use std::net::SocketAddr;
use std::path::PathBuf;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use super::canaries::{API_KEY, EMAIL, TENANT, with};
use super::tls::secure;
use crate::access::issuer::{Signer, TestIssuer};
use crate::support::authority::Authority;
use crate::support::process::{Herald, until};

/// The token in the issuer's `token_file`.
const ISSUER_TOKEN: &str = "canary-token-of-the-pod";
const AUDIENCE: &str = "herald-canaries";
/// The `sub` of the token that is accepted.
const BEARER: &str = "canary-bearer";

pub(super) struct Planted {
    issuer: TestIssuer,
    signer: Signer,
    authority: Authority,
    secrets: Vec<String>,
    dir: TempDir,
}

impl Planted {
    pub(super) async fn new() -> Self {
        let (authority, signer) = (Authority::new(), Signer::ec("canary"));
        let own = authority.signs_localhost();
        let issuer = TestIssuer::secured(&authority.signs_localhost(), ISSUER_TOKEN).await;
        issuer.publish(&[&signer]);
        // These two lines contain the secret part of the key.
        let lines = own.key.lines().filter(|line| !line.starts_with("-----")).take(2);
        let mut secrets: Vec<String> = lines.map(str::to_owned).collect();
        secrets.push(ISSUER_TOKEN.to_owned());
        let planted = Self { issuer, signer, authority, secrets, dir: TempDir::new().unwrap() };
        for (name, text) in [
            ("tls.crt", own.certificate.as_str()),
            ("tls.key", own.key.as_str()),
            ("ca.crt", planted.authority.pem.as_str()),
            ("token", ISSUER_TOKEN),
        ] {
            std::fs::write(planted.path(name), text).unwrap();
        }
        planted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path in a settings file.
    fn quoted(&self, name: &str) -> String {
        format!("\"{}\"", self.path(name).display())
    }

    /// Settings of the section `rpc`.
    pub(super) fn port(&self) -> String {
        let (certificate, key) = (self.quoted("tls.crt"), self.quoted("tls.key"));
        format!("tls_certificate = {certificate}\ntls_key = {key}\n")
    }

    /// The entry of the issuer in the settings.
    pub(super) fn issuer(&self) -> String {
        let (ca, token) = (self.quoted("ca.crt"), self.quoted("token"));
        format!(
            "[[rpc.issuers]]\nissuer = \"{}\"\naudience = \"{AUDIENCE}\"\n\
             ca_file = {ca}\ntoken_file = {token}\n\
             [[rpc.issuers.callers]]\nsubject = \"{BEARER}\"\nprincipal = \"bearer\"\n\
             role = \"administrator\"\ntenants = [\"{TENANT}\"]\n",
            self.issuer.url
        )
    }

    pub(super) fn channel(&self, to: SocketAddr) -> Channel {
        secure(to, &self.authority, None)
    }

    /// The texts that may appear nowhere, as far as they are planted.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.secrets.iter().map(String::as_str)
    }

    /// Calls with each of the credentials, good and bad; returns the refusals.
    pub(super) async fn present(&mut self, channel: &Channel) -> Vec<Status> {
        let mut refused = self.present_tokens(channel).await;
        refused.push(self.present_key(channel).await);
        refused
    }

    async fn present_tokens(&mut self, channel: &Channel) -> Vec<Status> {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let claims = |changed: &str, value: Value| {
            let mut claims = json!({
                "iss": self.issuer.url, "aud": AUDIENCE, "sub": BEARER, "exp": now + 3600,
                "email": EMAIL,
            });
            claims[changed] = value;
            claims
        };
        let same = || claims("aud", AUDIENCE.into());
        let good = self.signer.sign(&same());
        let bad = [
            self.signer.sign(&claims("aud", "another".into())),
            self.signer.sign(&claims("exp", (now - 3600).into())),
            self.signer.sign(&claims("sub", "nobody".into())),
            Signer::ec("unknown").sign(&same()),
            Signer::ec("canary").sign(&same()),
        ];
        let mut admin = AdminServiceClient::new(channel.clone());
        admin.list_api_keys(with(&good, list())).await.unwrap();
        let mut refused = Vec::new();
        for token in &bad {
            refused.push(admin.list_api_keys(with(token, list())).await.unwrap_err());
        }
        // The first part of a token says only how it is signed.
        let told = |token: &String| token.split('.').skip(1).map(str::to_owned).collect::<Vec<_>>();
        self.secrets.extend(bad.iter().chain([&good]).flat_map(told));
        refused
    }

    /// Creates a key, uses it, and uses it once more after it was revoked.
    async fn present_key(&mut self, channel: &Channel) -> Status {
        let mut admin = AdminServiceClient::new(channel.clone());
        let create = pb::CreateApiKeyRequest {
            tenant_id: TENANT.into(),
            principal: format!("{TENANT}:canary"),
            role: pb::ApiKeyRole::Administrator.into(),
            ..pb::CreateApiKeyRequest::default()
        };
        let made = admin.create_api_key(with(API_KEY, create)).await.unwrap().into_inner();
        let (secret, key) = (made.secret, made.api_key.unwrap());
        admin.list_api_keys(with(&secret, list())).await.unwrap();
        let (tenant_id, key_id) = (TENANT.into(), key.key_id);
        let revoke = pb::RevokeApiKeyRequest { tenant_id, key_id, actor: None };
        admin.revoke_api_key(with(API_KEY, revoke)).await.unwrap();
        let refused = until("the revoked key is refused", async || {
            admin.list_api_keys(with(&secret, list())).await.err()
        })
        .await;
        self.secrets.push(secret["herald_".len()..].to_owned());
        refused
    }

    /// Puts a certificate in place that does not belong to the key, which is logged.
    pub(super) async fn spoil(&self, herald: &Herald) {
        let other = Authority::new().signs_localhost();
        std::fs::write(self.path("tls.crt"), other.certificate).unwrap();
        until("the log says that the old certificate stays", async || {
            herald.log().contains("stays in force").then_some(())
        })
        .await;
    }
}

fn list() -> pb::ListApiKeysRequest {
    pb::ListApiKeysRequest { tenant_id: TENANT.into(), ..pb::ListApiKeysRequest::default() }
}
