//! An issuer of tokens over HTTP or HTTPS, like those of OpenID Connect and Kubernetes, whose keys
//! can be replaced while it runs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as BASE64};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::authority::Signed;

/// A signing key.
pub(crate) enum Signer {
    Ec(EcdsaKeyPair, String),
    Rsa(RsaKeyPair, String),
}

impl Signer {
    /// A new key on the curve P-256.
    pub(crate) fn ec(id: &str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self::Ec(pair, id.to_owned())
    }

    /// The constant key below, because generating RSA keys is slow.
    pub(crate) fn rsa(id: &str) -> Self {
        let der = BASE64_STANDARD.decode(RSA_KEY.replace('\n', "")).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(&der).unwrap(), id.to_owned())
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Ec(_, id) | Self::Rsa(_, id) => id,
        }
    }

    /// The public key as a JWK.
    pub(crate) fn jwk(&self) -> Value {
        match self {
            Self::Ec(pair, id) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = (BASE64.encode(&point[..32]), BASE64.encode(&point[32..]));
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": x, "y": y })
            }
            Self::Rsa(pair, id) => {
                let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (BASE64.encode(key.n), BASE64.encode(key.e));
                json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": id, "n": n, "e": e })
            }
        }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(..) => "ES256",
            Self::Rsa(..) => "RS256",
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm(), "kid": self.id(), "typ": "JWT" });
        self.sign_as(&header, claims)
    }

    /// Signs with any header.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ec(pair, _) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64.encode(signature))
    }
}

/// Header and claims, encoded as in a token.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

#[derive(Clone)]
pub(crate) struct TestIssuer {
    /// The address; also the issuer's name, unless it has another.
    pub(crate) url: String,
    inner: Arc<Inner>,
}

struct Inner {
    name: Mutex<String>,
    /// The address of the keys, as its metadata states it.
    keys_at: Mutex<String>,
    keys: Mutex<Vec<Value>>,
    /// The token that it requires; empty for none.
    token: String,
    away: AtomicBool,
    asked: AtomicU32,
}

impl TestIssuer {
    /// Over plain HTTP on this machine.
    pub(crate) async fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (issuer, app) = Self::new(format!("http://{}", tcp.local_addr().unwrap()), "");
        tokio::spawn(async move { axum::serve(tcp, app).await.unwrap() });
        issuer
    }

    /// Over TLS, for clients that show this token.
    pub(crate) async fn secured(signed: &Signed, token: &str) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
        let certificate = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let (issuer, app) = Self::new(url, token);
        let listener = Secured { tcp, acceptor };
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        issuer
    }

    fn new(url: String, token: &str) -> (Self, Router) {
        let inner = Arc::new(Inner {
            name: Mutex::new(url.clone()),
            keys_at: Mutex::new(format!("{url}/keys")),
            keys: Mutex::default(),
            token: token.to_owned(),
            away: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        });
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/elsewhere", get(elsewhere))
            .route("/endless", get(endless))
            .with_state(Arc::clone(&inner));
        (Self { url, inner }, app)
    }

    /// Sets the name that it calls itself.
    pub(crate) fn named(self, name: &str) -> Self {
        name.clone_into(&mut self.inner.name.lock().unwrap());
        self
    }

    pub(crate) fn keys_at(&self, url: &str) {
        url.clone_into(&mut self.inner.keys_at.lock().unwrap());
    }

    /// Publishes exactly these keys from now on.
    pub(crate) fn publish(&self, signers: &[&Signer]) {
        *self.inner.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
    }

    pub(crate) fn go_away(&self) {
        self.inner.away.store(true, Ordering::SeqCst);
    }

    /// How often its keys were requested.
    pub(crate) fn asked(&self) -> u32 {
        self.inner.asked.load(Ordering::SeqCst)
    }
}

impl Inner {
    fn admits(&self, headers: &HeaderMap) -> bool {
        let wanted = format!("Bearer {}", self.token);
        let shown = headers.get(header::AUTHORIZATION).and_then(|shown| shown.to_str().ok());
        let let_in = self.token.is_empty() || shown == Some(&*wanted);
        let_in && !self.away.load(Ordering::SeqCst)
    }
}

async fn discovery(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    if !inner.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (issuer, keys) = (inner.name.lock().unwrap(), inner.keys_at.lock().unwrap());
    axum::Json(json!({ "issuer": *issuer, "jwks_uri": *keys })).into_response()
}

async fn keys(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    inner.asked.fetch_add(1, Ordering::SeqCst);
    if !inner.admits(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    axum::Json(json!({ "keys": *inner.keys.lock().unwrap() })).into_response()
}

async fn elsewhere() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "/keys")]).into_response()
}

/// A key set followed by endless blanks.
async fn endless(State(inner): State<Arc<Inner>>) -> Response {
    let keys = json!({ "keys": *inner.keys.lock().unwrap() }).to_string();
    (keys + &" ".repeat(2 << 20)).into_response()
}

struct Secured {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Secured {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // A client that does not trust the certificate disconnects.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Generated for these tests.
const RSA_KEY: &str = "\
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC4S4GfPOeq2XqAEvWbZ3IQUvV06bRbiYQLpND5VoAR
hnvO5IcCez/CAw6n54gkRvriBfRtMoy73RrcmkT3/dtVbbcOjpHfVxCwsQD9+tJLQ+j9XX4yOHYntW7T/xWjHtzMpF5X
UUWf9nAcxrdux7426c7ftHC2JDKD7oC7W8s8W/wKStzgThhiWLP4RLFvRQm3La1dUEMqXniGYvdkxZsQdkY3+1zET7Su
WTf5TBUGHMJNK3AoeSSwzDYR9c6Tdlnbecl3qoHlZV9UOmDXWC3qfCxWkL17PpvrfNq/jjNMvB44sQe3DtsW6+PgJlhU
JmWQGqG4yn1sbQkUDdkEgthVAgMBAAECggEAK8dD81+0aJFg2CuozFG2dso+JJefkF8KTvnH6nLx2TfpESyYJa7BZoTz
Zk9Jt9RkpGxls8reQ4Iyb1T2LTLQd2qooXycikFUZaSmZ669ZcOsBQPAho2DA8vFl/ZwXV9nc/VXs8ZKk8UmvK83w8kP
FlxUGC/01k+i8FQnoFod3ShUEPRFSKhtLzLpplEDZZHv5lJ384QMWUe+9UitxYMy1w4V8IGpDfln0oRoLAGcuckl/0OE
94SIiHEzxzKQ3Akg+o2m1C1Pu/XYlyPNXTBOyr11SVHLKXv8+7xOnC83Prws/HKaczE3wh92CtcZTSKoxY7TYlqXGuxG
M7jKYpY6AQKBgQD/6RLy4ts1KQAc9xQ38KLDT0lcvniU6MvwGzSrobgDXBqFObzeSdgU5JhO/CU3oailKDT+Cooa4w6c
nrDrjOesBq/QWGO1fuTO6aTd65OSGB6lOEZ1sxOe1LlgP1Iy2fqB5NZqNC4LJDJ3qVkYAE4LK9PsGvvfVsrp7aYznKjh
PQKBgQC4XAQ+O9ePbn3OGsxV3g2IC8Q+oYoROiNeG5kQ2z4hI6LXYU8s7BZxjIMrBWkF/G5UQgK9+PFnyA4r3GgCnv5I
vSHTuzqhoAe5gpX2q5vkyG3W/YyCRML0zkHcf75x4TQhlFI2zjJ1H1VPGm799KsAicZuS8CEeQfsolfkGbMU+QKBgGka
LHIcwbLfl/BNebxP1EkqsxKoF5Xw1nFSextSW+TlWu8Ee5E/+sL576Pg4tgqSL0r+jer1HSedE3Wzwqu4CdCx8plwu2z
o/1m8BNEwWLrDQsGRcnpNlGxREFHQFcqNzxJ49XSgGaLAz8qCjFVTrg/09XQb0mWt9fDhtMDsEhxAoGBAKVC9xrCkg0l
QukK5LjkgMS/p39tV1LyBtpJawDNR/h09XiU5mCikcvf5YUfKHIRQuWM9uBM1Dnv/6QZw7L1y4Rw5m3inEBeMA5/nOau
FuUTNkNOrjHoacsBSdDbQmDbO9wOFVTDqj+LgvGSBITqWo/08UfV6BHYXN4m+RqkXwAhAoGBAINGMHwtpqy4CBf2ETZK
w0kuZwJ1c5sgOd327e8kO1qCMj5w45G7084iNoiVzIISyJP7i9bJeIXeP+cJLw8xif26B8rLGAC2DZbkM8YastfH5kZq
RJERdup8d0pLaVTQl2bcTKWyvD3an8pEjmeC4a66MneB4/w3Pw5rh9yriv61";
