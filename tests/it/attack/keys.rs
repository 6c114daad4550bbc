//! The key-encryption key: replaced while replicas serve, kept by a key service, wrong, missing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Json, Path as Route, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use herald::domain::identity::person::Person;
use herald::domain::ids::{TenantId, UserId};
use herald::domain::secret::Secret;
use herald::store::{Config, Error, Rotated, Store};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use crate::support::store::{KEY, raw, test_configs};

/// 32 bytes; others than [`KEY`].
pub(super) const NEW: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";
const TOKEN: &str = "hvs.canary-vault-token";

fn tenant(number: usize) -> TenantId {
    TenantId::parse(format!("tenant-{number}")).unwrap()
}

/// Stores a person in each of many tenants, which makes as many data keys.
pub(super) async fn fill(store: &Store, tenants: usize) {
    for number in 0..tenants {
        let person = Person::bare(UserId::parse(format!("user-{number}")).unwrap());
        store.people().upsert(&tenant(number), &[person]).await.unwrap();
    }
}

pub(super) async fn readable(store: &Store, tenants: usize) {
    for number in 0..tenants {
        let user = UserId::parse(format!("user-{number}")).unwrap();
        assert!(store.people().get(&tenant(number), &user).await.unwrap().is_some(), "{number}");
    }
}

/// Fresh databases under [`KEY`], with the settings that open them.
pub(super) async fn databases() -> Vec<(Config, tempfile::TempDir)> {
    let mut configs = test_configs().await;
    for (config, _) in &mut configs {
        config.key = Some(Secret::new(KEY));
    }
    configs
}

pub(super) async fn migrated(config: &Config) -> Store {
    let store = Store::open(config).await.unwrap();
    store.migrate().await.unwrap();
    store
}

pub(super) fn with(config: &Config, key: &str, previous: Option<&str>) -> Config {
    let previous_key = previous.map(Secret::new);
    Config { key: Some(Secret::new(key)), previous_key, ..config.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_while_replicas_serve() {
    const TENANTS: usize = 250;
    for (config, _dir) in databases().await {
        let old = migrated(&config).await;
        fill(&old, TENANTS).await;
        old.close().await;
        // First a replica that can open both and wraps with the old key; then one that wraps with
        // the new key.
        let first = Store::open(&with(&config, KEY, Some(NEW))).await.unwrap();
        let second = Store::open(&with(&config, NEW, Some(KEY))).await.unwrap();
        let serving = tokio::spawn({
            let (first, second) = (first.clone(), second.clone());
            async move {
                for number in TENANTS..TENANTS + 40 {
                    let store = if number % 2 == 0 { &first } else { &second };
                    let person = Person::bare(UserId::parse(format!("user-{number}")).unwrap());
                    store.people().upsert(&tenant(number), &[person]).await.unwrap();
                    readable(store, 3).await;
                }
            }
        });
        let steps = Mutex::new(Vec::new());
        let rotated =
            second.upkeep().rotate_keys(|done| steps.lock().unwrap().push(done.clone())).await;
        let rotated = rotated.unwrap();
        serving.await.unwrap();
        assert_eq!(rotated.failed, Vec::<String>::new());
        assert!(rotated.wrapped >= TENANTS as u64, "{rotated:?}");
        let steps = steps.into_inner().unwrap();
        assert!(steps.len() >= 3 && steps.windows(2).all(|two| two[0].seen < two[1].seen));
        readable(&first, TENANTS + 40).await;
        first.close().await;
        // The keys that the first replica made meanwhile.
        second.upkeep().rotate_keys(|_| {}).await.unwrap();
        assert_eq!(second.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped, 0);
        second.close().await;
        let after = Store::open(&with(&config, NEW, None)).await.unwrap();
        readable(&after, TENANTS + 40).await;
        after.close().await;
        let error = Store::open(&with(&config, KEY, None)).await.unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
        assert!(error.to_string().contains("store.key"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_is_gone_on_with_and_what_is_damaged_is_named() {
    for (config, _dir) in databases().await {
        let store = migrated(&config).await;
        fill(&store, 120).await;
        store.close().await;
        let both = Store::open(&with(&config, NEW, Some(KEY))).await.unwrap();
        // Stopped in the middle: the future is dropped after the first hundred.
        let (told, stop) = tokio::sync::oneshot::channel();
        let told = Mutex::new(Some(told));
        let half = both.upkeep().rotate_keys(|_| {
            if let Some(told) = told.lock().unwrap().take() {
                told.send(()).unwrap();
            }
        });
        tokio::select! {
            biased;
            _ = stop => {}
            _ = half => {}
        }
        let rest = both.upkeep().rotate_keys(|_| {}).await.unwrap();
        assert!(rest.wrapped < 122, "{rest:?}");
        assert_eq!(both.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped, 0);

        let raw = raw(&config).await;
        let move_one = "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys \
            WHERE scope = 'tenant:tenant-1') WHERE scope = 'tenant:tenant-2'";
        raw.execute_unprepared(move_one).await.unwrap();
        both.close().await;
        let back = Store::open(&with(&config, KEY, Some(NEW))).await.unwrap();
        let Rotated { failed, wrapped, .. } = back.upkeep().rotate_keys(|_| {}).await.unwrap();
        assert_eq!((failed, wrapped >= 119), (vec!["tenant:tenant-2".to_owned()], true));
        back.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_told_at_the_start() {
    for (config, dir) in databases().await {
        migrated(&config).await.close().await;
        let told = async |config: Config| Store::open(&config).await.unwrap_err().to_string();
        let wrong = told(with(&config, NEW, None)).await;
        assert!(wrong.contains("store.key is not the key"), "{wrong}");
        let none = told(Config { key: None, ..config.clone() }).await;
        assert!(none.contains("store.key"), "{none}");
        let missing = dir.path().join("not-there");
        let previous_key_file = Some(missing);
        let file = told(Config { previous_key_file, ..config.clone() }).await;
        assert!(file.contains("store.previous_key_file"), "{file}");
        let both = told(Config { key_file: Some("x".into()), ..config.clone() }).await;
        assert!(both.contains("set one"), "{both}");
    }
}

/// The transit engine as its documentation describes it, with one key `herald`.
#[derive(Clone, Default)]
struct Engine(Arc<Inner>);

#[derive(Default)]
struct Inner {
    version: AtomicU32,
    sealed: AtomicBool,
    asked: AtomicU32,
    /// The plaintext and associated data behind each ciphertext.
    made: Mutex<HashMap<String, (String, String)>>,
}

type Answer = (StatusCode, Json<Value>);

fn errors(status: StatusCode, sentence: &str) -> Answer {
    (status, Json(json!({ "errors": [sentence] })))
}

impl Engine {
    async fn serve() -> (Self, SocketAddr) {
        let engine = Self::default();
        engine.0.version.store(1, Ordering::SeqCst);
        let app = Router::new()
            .route("/v1/transit/encrypt/{key}", post(encrypt))
            .route("/v1/transit/decrypt/{key}", post(decrypt))
            .with_state(engine.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (engine, address)
    }

    fn admit(&self, headers: &HeaderMap, key: &str) -> Result<(), Answer> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if self.0.sealed.load(Ordering::SeqCst) {
            return Err(errors(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed"));
        }
        if headers.get("x-vault-token").is_none_or(|token| token != TOKEN) || key != "herald" {
            return Err(errors(StatusCode::FORBIDDEN, "permission denied"));
        }
        Ok(())
    }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

async fn encrypt(
    State(engine): State<Engine>,
    Route(key): Route<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    if let Err(refused) = engine.admit(&headers, &key) {
        return refused;
    }
    let plain = text(&body, "plaintext");
    assert!(BASE64.decode(plain).is_ok() && !text(&body, "associated_data").is_empty());
    let version = engine.0.version.load(Ordering::SeqCst);
    let ciphertext = format!("vault:v{version}:{}", BASE64.encode(rand::random::<[u8; 40]>()));
    let meant = (plain.to_owned(), text(&body, "associated_data").to_owned());
    engine.0.made.lock().unwrap().insert(ciphertext.clone(), meant);
    let data = json!({ "ciphertext": ciphertext, "key_version": version });
    (StatusCode::OK, Json(json!({ "request_id": "x", "data": data })))
}

async fn decrypt(
    State(engine): State<Engine>,
    Route(key): Route<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    if let Err(refused) = engine.admit(&headers, &key) {
        return refused;
    }
    let made = engine.0.made.lock().unwrap();
    match made.get(text(&body, "ciphertext")) {
        Some((plain, aad)) if aad == text(&body, "associated_data") => {
            (StatusCode::OK, Json(json!({ "data": { "plaintext": plain } })))
        }
        _ => errors(StatusCode::BAD_REQUEST, "cipher: message authentication failed"),
    }
}

fn vault(config: &Config, address: SocketAddr) -> Config {
    Config {
        vault_address: Some(format!("http://{address}")),
        vault_key: "herald".into(),
        vault_token: Some(Secret::new(TOKEN)),
        ..config.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vault_keeps_the_key_and_back() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (config, _dir) in databases().await {
        let (engine, address) = Engine::serve().await;
        let store = migrated(&config).await;
        fill(&store, 30).await;
        store.close().await;
        // From a local key to Vault.
        let both = Store::open(&vault(&config, address)).await.unwrap();
        readable(&both, 30).await;
        assert!(both.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped >= 31);
        both.close().await;
        let only = Config { key: None, ..vault(&config, address) };
        let there = Store::open(&only).await.unwrap();
        readable(&there, 30).await;
        fill(&there, 32).await;
        // Each data key is requested once.
        let asked = engine.0.asked.load(Ordering::SeqCst);
        readable(&there, 32).await;
        assert_eq!(engine.0.asked.load(Ordering::SeqCst), asked);
        // A new version of Vault's key.
        assert_eq!(there.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped, 0);
        there.close().await;
        engine.0.version.store(2, Ordering::SeqCst);
        let newer = Store::open(&only).await.unwrap();
        assert!(newer.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped >= 33);
        assert_eq!(newer.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped, 0);
        newer.close().await;
        // Back to a local key.
        let back = Config { vault_opens_only: true, ..vault(&with(&config, NEW, None), address) };
        let back = Store::open(&back).await.unwrap();
        assert!(back.upkeep().rotate_keys(|_| {}).await.unwrap().wrapped >= 33);
        back.close().await;
        let own = Store::open(&with(&config, NEW, None)).await.unwrap();
        readable(&own, 32).await;
        own.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_is_sealed_refuses_or_is_away_is_told_and_comes_back() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (config, dir) in databases().await {
        let (engine, address) = Engine::serve().await;
        let config = Config { key: None, ..vault(&config, address) };
        let store = migrated(&config).await;
        fill(&store, 2).await;
        let told = async |config: Config| {
            let error = Store::open(&config).await.unwrap_err();
            assert!(matches!(error, Error::KeyService(_)), "{error}");
            assert!(!error.to_string().contains(TOKEN), "{error}");
            error.to_string()
        };
        let token = |text: &str| Some(Secret::new(text));
        let refused = told(Config { vault_token: token("another"), ..config.clone() }).await;
        assert!(refused.contains("refuses the token"), "{refused}");
        let away = Some("http://127.0.0.1:9".to_owned());
        let away = told(Config { vault_address: away, ..config.clone() }).await;
        assert!(away.contains("does not answer"), "{away}");
        engine.0.sealed.store(true, Ordering::SeqCst);
        assert!(told(config.clone()).await.contains("sealed"));
        // A running replica continues with the keys that it has, and can use new ones once Vault is
        // back.
        readable(&store, 2).await;
        let person = Person::bare(UserId::parse("new").unwrap());
        let people = [person];
        let error = store.people().upsert(&tenant(9), &people).await.unwrap_err();
        assert!(matches!(error, Error::KeyService(_)), "{error}");
        engine.0.sealed.store(false, Ordering::SeqCst);
        store.people().upsert(&tenant(9), &people).await.unwrap();
        store.close().await;
        // An agent replaces the token.
        let file = dir.path().join("token");
        write(&file, "another");
        let by_file =
            Config { vault_token: None, vault_token_file: Some(file.clone()), ..config.clone() };
        assert!(told(by_file.clone()).await.contains("refuses the token"));
        write(&file, TOKEN);
        let store = Store::open(&by_file).await.unwrap();
        readable(&store, 2).await;
        store.close().await;
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, format!("{text}\n")).unwrap();
}
