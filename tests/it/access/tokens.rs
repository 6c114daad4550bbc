//! Callers by token: signed with a key of a named issuer, meant for this Herald, currently valid,
//! and allowed by the rules in the settings.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use herald::rpc::{IssuerConfig, RoleConfig, RuleConfig, pb};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tonic::{Code, Status};

use super::issuer::{Signer, TestIssuer, message};
use crate::support::authority::Authority;
use crate::support::client::reason;
use crate::support::world::{Plan, Replica, TENANT, World, caller, until};

const OTHER: &str = "globex";
const AUDIENCE: &str = "herald-test";

fn plan() -> Plan {
    let callers = vec![caller("chief", RoleConfig::Administrator, &["*"])];
    Plan { callers, ready: false, ..Plan::default() }
}

/// Administrators of the tenants that a token names, if it puts them in `ops`; and one service.
fn rules() -> Vec<RuleConfig> {
    let rule = |principal: &str, tenants: &[&str]| RuleConfig {
        subject: None,
        subject_prefix: None,
        claims: std::collections::BTreeMap::default(),
        principal: principal.into(),
        role: RoleConfig::Administrator,
        user_id: None,
        tenants: tenants.iter().map(ToString::to_string).collect(),
        may_act_for_users: false,
        may_administer_for_users: false,
    };
    vec![
        RuleConfig {
            subject: Some("importer".into()),
            role: RoleConfig::Service,
            ..rule("jwt:importer", &[TENANT])
        },
        RuleConfig {
            claims: [("groups".to_owned(), "ops".to_owned())].into(),
            ..rule("jwt:{sub}", &["{tenants}"])
        },
    ]
}

fn config(issuer: &str) -> IssuerConfig {
    IssuerConfig {
        issuer: issuer.into(),
        audience: AUDIENCE.into(),
        algorithms: vec!["RS256".into(), "ES256".into()],
        discovery_url: None,
        jwks_file: None,
        ca_file: None,
        token_file: None,
        clock_skew_seconds: 30,
        callers: rules(),
    }
}

/// Starts one more replica, which trusts these issuers; returns its number.
async fn trusting(world: &mut World, issuers: Vec<IssuerConfig>) -> usize {
    let mut settings = world.settings();
    settings.rpc.issuers = issuers;
    world.replicas.push(Replica::start(settings).await);
    world.replicas.len() - 1
}

async fn now(world: &World) -> i64 {
    world.now().await.0 / 1_000_000
}

/// Claims that are valid for five minutes.
async fn claims(world: &World, issuer: &str) -> Value {
    let now = now(world).await;
    json!({
        "iss": issuer, "aud": [AUDIENCE, "another"], "sub": "ada", "iat": now, "nbf": now,
        "exp": now + 300, "groups": ["ops", "dev"], "tenants": [TENANT],
    })
}

fn with(claims: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims.clone();
    claims[name] = value.into();
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Lists the API keys of a tenant with this token.
async fn tries(world: &World, replica: usize, token: &str, tenant: &str) -> Result<(), Status> {
    let request = pb::ListApiKeysRequest { tenant_id: tenant.into(), ..Default::default() };
    world.bearing(replica, Some(token)).list_api_keys(request).await.map(drop)
}

async fn refused(world: &World, replica: usize, token: &str) -> String {
    let status = tries(world, replica, token, TENANT).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    reason(&status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_whom_its_rule_says() {
    plan()
        .run(async |world| {
            let (issuer, key, rsa) =
                (TestIssuer::start().await, Signer::ec("one"), Signer::rsa("two"));
            issuer.publish(&[&key, &rsa]);
            let at = trusting(world, vec![config(&issuer.url)]).await;
            let claims = claims(world, &issuer.url).await;
            let ada = key.sign(&claims);
            tries(world, at, &ada, TENANT).await.unwrap();
            let elsewhere = tries(world, at, &ada, OTHER).await.unwrap_err();
            assert_eq!(reason(&elsewhere), "TENANT_NOT_ALLOWED");
            let both = key.sign(&with(&claims, "tenants", vec![TENANT, OTHER]));
            tries(world, at, &both, OTHER).await.unwrap();
            let service = key.sign(&with(&claims, "sub", "importer"));
            let service = tries(world, at, &service, TENANT).await.unwrap_err();
            assert_eq!(reason(&service), "ROLE_NOT_ALLOWED");
            // An RSA key of the same issuer.
            tries(world, at, &rsa.sign(&claims), TENANT).await.unwrap();
            // The trail names the caller.
            let chief = world.client(0, Some("chief")).await;
            let request = pb::ListAuditRequest { page_size: 500, ..Default::default() };
            let signed_in = until("the sign-in is in the trail", async || {
                let entries = chief.list_audit(request.clone()).await.unwrap().entries;
                entries.into_iter().find(|one| one.principal == "jwt:ada" && one.action == "SignIn")
            });
            assert_eq!(signed_in.await.object, "key:token");
            // Keys in the settings and created keys still work.
            world.client(at, Some("chief")).await.list_audit(request).await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proved_or_not_meant_for_it_is_refused() {
    plan()
        .run(async |world| {
            let (issuer, key) = (TestIssuer::start().await, Signer::ec("one"));
            let rsa = Signer::rsa("rsa");
            issuer.publish(&[&key, &rsa]);
            let at = trusting(world, vec![config(&issuer.url)]).await;
            let good = claims(world, &issuer.url).await;
            tries(world, at, &key.sign(&good), TENANT).await.unwrap();

            let header = |alg: &str| json!({ "alg": alg, "kid": "one", "typ": "JWT" });
            let none = |alg| format!("{}.", message(&header(alg), &good));
            let mut tampered: Vec<String> = key.sign(&good).split('.').map(str::to_owned).collect();
            tampered[1] = BASE64.encode(with(&good, "sub", "root").to_string());
            let impostor = Signer::ec("one");
            let nobody = ["", "x"].map(|end| format!("{}{end}", message(&header("ES256"), &good)));
            let mut tokens = vec![
                none("none"),
                none("None"),
                none("ES256"),
                by_public_key(&key, &good),
                by_public_key(&rsa, &good),
                tampered.join("."),
                impostor.sign(&good),
                key.sign_as(&json!({ "alg": "ES384", "kid": "one" }), &good),
                key.sign_as(&json!({ "alg": "RS256", "kid": "one" }), &good),
                key.sign_as(&json!({ "alg": "ES256", "kid": "one", "crit": ["x"], "x": 1 }), &good),
                "a.b.c".into(),
                "..".into(),
            ];
            tokens.extend(nobody);
            for claims in [
                with(&good, "aud", "another"),
                with(&good, "aud", Vec::<String>::new()),
                with(&good, "aud", json!({ "a": AUDIENCE })),
                with(&good, "iss", "https://evil.example"),
                with(&good, "iss", format!("{}/", issuer.url)),
                with(&good, "iss", vec![issuer.url.clone()]),
                with(&good, "exp", "tomorrow"),
                with(&good, "groups", vec!["dev"]),
                with(&good, "groups", json!({ "ops": true })),
                with(&good, "tenants", Vec::<String>::new()),
                with(&good, "tenants", vec!["*"]),
                with(&good, "tenants", vec!["no tenant"]),
                with(&good, "sub", "not a name"),
                without(&good, "aud"),
                without(&good, "iss"),
                without(&good, "exp"),
                without(&good, "sub"),
                without(&good, "tenants"),
            ] {
                tokens.push(key.sign(&claims));
            }
            for token in tokens {
                let heard = refused(world, at, &token).await;
                assert_eq!(heard, "CREDENTIALS_UNKNOWN", "{token}");
            }
            let long = key.sign(&with(&good, "pad", "x".repeat(9 << 10)));
            assert_eq!(refused(world, at, &long).await, "CREDENTIALS_MALFORMED");
            // A replica that trusts no issuer treats the token as an unknown key.
            assert_eq!(refused(world, 0, &key.sign(&good)).await, "CREDENTIALS_UNKNOWN");
        })
        .await;
}

/// A key of the issuer proves nothing with an algorithm that the settings do not name.
#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_is_not_pinned_is_refused() {
    plan()
        .run(async |world| {
            let (issuer, ec, rsa) =
                (TestIssuer::start().await, Signer::ec("one"), Signer::rsa("two"));
            issuer.publish(&[&ec, &rsa]);
            let pinned = IssuerConfig { algorithms: vec!["RS256".into()], ..config(&issuer.url) };
            let at = trusting(world, vec![pinned]).await;
            let claims = claims(world, &issuer.url).await;
            tries(world, at, &rsa.sign(&claims), TENANT).await.unwrap();
            assert_eq!(refused(world, at, &ec.sign(&claims)).await, "CREDENTIALS_UNKNOWN");
        })
        .await;
}

/// Signs with the public key, as if it were a shared secret.
fn by_public_key(signer: &Signer, claims: &Value) -> String {
    let header = json!({ "alg": "HS256", "kid": signer.id(), "typ": "JWT" });
    let message = message(&header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(signer.jwk().to_string().as_bytes()).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_compared_with_the_database_s_clock_and_some_skew() {
    plan()
        .run(async |world| {
            let (issuer, key) = (TestIssuer::start().await, Signer::ec("one"));
            issuer.publish(&[&key]);
            let at = trusting(world, vec![config(&issuer.url)]).await;
            let (good, now) = (claims(world, &issuer.url).await, now(world).await);
            let within = with(&with(&good, "exp", now - 5), "nbf", now + 15);
            tries(world, at, &key.sign(&within), TENANT).await.unwrap();
            let expired = key.sign(&with(&good, "exp", now - 31));
            assert_eq!(refused(world, at, &expired).await, "CREDENTIALS_EXPIRED");
            let early = key.sign(&with(&good, "nbf", now + 300));
            assert_eq!(refused(world, at, &early).await, "CREDENTIALS_NOT_YET_VALID");
            // A caller without a valid signature does not learn that the token has expired.
            let impostor = Signer::ec("one").sign(&with(&good, "exp", now - 31));
            assert_eq!(refused(world, at, &impostor).await, "CREDENTIALS_UNKNOWN");
            // A stream ends when the token that opened it expires.
            let chief = world.client(0, Some("chief")).await;
            chief.upsert(TENANT, vec![crate::support::client::demo_person("ben")]).await;
            let short = key.sign(&with(&good, "exp", self::now(world).await - 27));
            let reader = world.bearing(at, Some(&short));
            let mut stream = reader.watch_deliveries(TENANT, Some(0)).await.unwrap();
            let end = async {
                loop {
                    if let Err(status) = stream.message().await {
                        return status;
                    }
                }
            };
            let end = tokio::time::timeout(crate::support::world::PATIENCE, end).await.unwrap();
            assert_eq!(reason(&end), "CREDENTIALS_EXPIRED");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_while_tokens_are_used() {
    plan()
        .run(async |world| {
            let (issuer, first) = (TestIssuer::start().await, Signer::ec("first"));
            issuer.publish(&[&first]);
            let at = trusting(world, vec![config(&issuer.url)]).await;
            let claims = claims(world, &issuer.url).await;
            let old = first.sign(&claims);
            tries(world, at, &old, TENANT).await.unwrap();
            // An unknown key makes Herald fetch the keys; a removed key proves nothing.
            let second = Signer::ec("second");
            issuer.publish(&[&second]);
            let new = second.sign(&claims);
            until("the new key is known", async || tries(world, at, &new, TENANT).await.ok()).await;
            assert_eq!(refused(world, at, &old).await, "CREDENTIALS_UNKNOWN");
            // Invented key ids do not make Herald fetch the keys again and again.
            let before = issuer.asked();
            for number in 0..40 {
                let made_up = Signer::ec(&format!("made-up-{number}")).sign(&claims);
                assert_eq!(refused(world, at, &made_up).await, "CREDENTIALS_UNKNOWN");
            }
            assert!(issuer.asked() - before < 20, "{} times", issuer.asked() - before);
            // Known keys stay valid while their issuer is down.
            issuer.go_away();
            assert_eq!(
                refused(world, at, &Signer::ec("x").sign(&claims)).await,
                "CREDENTIALS_UNKNOWN"
            );
            tries(world, at, &new, TENANT).await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_where_the_settings_say_and_from_nowhere_else() {
    plan()
        .run(async |world| {
            let key = Signer::ec("one");
            let unread = async |world: &mut World, config: IssuerConfig| {
                let claims = claims(world, &config.issuer).await;
                let at = trusting(world, vec![config]).await;
                let status = tries(world, at, &key.sign(&claims), TENANT).await.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            };
            for keys in ["elsewhere", "endless"] {
                let issuer = TestIssuer::start().await;
                issuer.publish(&[&key]);
                issuer.keys_at(&format!("{}/{keys}", issuer.url));
                unread(world, config(&issuer.url)).await;
            }
            // Over plain http from an address that counts as another host, though this one answers.
            let issuer = TestIssuer::start().await;
            issuer.publish(&[&key]);
            issuer.keys_at(&format!("{}/keys", issuer.url.replace("127.0.0.1", "0.0.0.0")));
            unread(world, config(&issuer.url)).await;
            let lying = TestIssuer::start().await.named("https://another.example");
            lying.publish(&[&key]);
            unread(world, config(&lying.url)).await;
            unread(world, config("http://127.0.0.1:9")).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    plan()
        .run(async |world| {
            let (dir, name) = (TempDir::new().unwrap(), "offline issuer");
            let file = dir.path().join("keys.json");
            let write = |signer: &Signer| {
                std::fs::write(&file, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
            };
            let (first, second) = (Signer::ec("first"), Signer::ec("second"));
            write(&first);
            let by_file = IssuerConfig { jwks_file: Some(file.clone()), ..config(name) };
            let at = trusting(world, vec![by_file]).await;
            let claims = claims(world, name).await;
            tries(world, at, &first.sign(&claims), TENANT).await.unwrap();
            write(&second);
            let new = second.sign(&claims);
            until("the new file is read", async || tries(world, at, &new, TENANT).await.ok()).await;
            assert_eq!(refused(world, at, &first.sign(&claims)).await, "CREDENTIALS_UNKNOWN");
        })
        .await;
}

/// As in Kubernetes: the API server serves the keys to clients with a token of the pod, under a
/// certificate of the cluster's authority, and its issuer name differs from its address.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_kubernetes_service_accounts_let_in() {
    const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
    const POD_TOKEN: &str = "token-of-the-pod";
    plan()
        .run(async |world| {
            let (cluster, stranger) = (Authority::new(), Authority::new());
            let server = TestIssuer::secured(&cluster.signs_localhost(), POD_TOKEN).await;
            let server = server.named(CLUSTER);
            let key = Signer::rsa("k8s");
            server.publish(&[&key]);
            let dir = TempDir::new().unwrap();
            let write = |name: &str, text: &str| {
                let path = dir.path().join(name);
                std::fs::write(&path, text).unwrap();
                Some(path)
            };
            let url = format!("{}/.well-known/openid-configuration", server.url);
            let rule = RuleConfig {
                subject: Some("system:serviceaccount:platform:backend".into()),
                principal: "platform".into(),
                tenants: vec![TENANT.into()],
                claims: std::collections::BTreeMap::default(),
                ..rules().remove(1)
            };
            let in_cluster = IssuerConfig {
                audience: "herald".into(),
                discovery_url: Some(url),
                ca_file: write("ca.crt", &cluster.pem),
                token_file: write("token", &format!("{POD_TOKEN}\n")),
                callers: vec![rule],
                ..config(CLUSTER)
            };
            let at = trusting(world, vec![in_cluster.clone()]).await;
            let now = now(world).await;
            let token = |audience: &str, namespace: &str, account: &str| {
                key.sign(&json!({
                    "aud": [audience], "exp": now + 3607, "iat": now, "nbf": now, "iss": CLUSTER,
                    "jti": "0dbeb3a5-7c9e-4b0e-a4b4-6d1ff4a2e6f7",
                    "kubernetes.io": {
                        "namespace": namespace,
                        "node": { "name": "node-1", "uid": "8b0c" },
                        "pod": { "name": "backend-7d9c", "uid": "5f1e" },
                        "serviceaccount": { "name": account, "uid": "14ee" },
                        "warnafter": now + 3000,
                    },
                    "sub": format!("system:serviceaccount:{namespace}:{account}"),
                }))
            };
            tries(world, at, &token("herald", "platform", "backend"), TENANT).await.unwrap();
            for token in [
                token("https://kubernetes.default.svc", "platform", "backend"),
                token("herald", "other", "backend"),
                token("herald", "platform", "other"),
            ] {
                assert_eq!(refused(world, at, &token).await, "CREDENTIALS_UNKNOWN");
            }
            // With another authority or another token there are no keys, so no token is accepted.
            for changed in [
                IssuerConfig { ca_file: write("other.crt", &stranger.pem), ..in_cluster.clone() },
                IssuerConfig { token_file: write("other", "another"), ..in_cluster.clone() },
            ] {
                let at = trusting(world, vec![changed]).await;
                let good = token("herald", "platform", "backend");
                let status = tries(world, at, &good, TENANT).await.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            }
        })
        .await;
}
