//! Callers by certificate: identified by the SPIFFE id or the DNS name in a certificate that the
//! configured authority signed, however often it is renewed.

use std::path::PathBuf;

use herald::rpc::{CallerConfig, RoleConfig, pb};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};
use tonic::{Code, Status};

use crate::support::authority::{Authority, Signed, dns, uri};
use crate::support::client::{Client, key_of, reason};
use crate::support::world::{Plan, Replica, TENANT, World, caller, until};

const SPIFFE: &str = "spiffe://prod.example/ns/acme/sa/importer";
const DNS: &str = "importer.acme.example";

fn plan() -> Plan {
    let callers = vec![caller("chief", RoleConfig::Administrator, &["*"])];
    Plan { callers, ready: false, ..Plan::default() }
}

/// A replica with TLS that trusts clients of one authority.
struct Secured {
    server: Authority,
    clients: Authority,
    ca: PathBuf,
    at: usize,
    _dir: TempDir,
}

impl Secured {
    async fn start(world: &mut World, callers: Vec<CallerConfig>) -> Self {
        let (server, clients) = (Authority::new(), Authority::new());
        let dir = TempDir::new().unwrap();
        let own = server.signs_localhost();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut settings = world.settings();
        settings.rpc.tls_certificate = Some(write("tls.crt", &own.certificate));
        settings.rpc.tls_key = Some(write("tls.key", &own.key));
        let ca = write("clients.crt", &clients.pem);
        settings.rpc.tls_client_ca = Some(ca.clone());
        settings.rpc.callers.extend(callers);
        world.replicas.push(Replica::start(settings).await);
        let at = world.replicas.len() - 1;
        Self { server, clients, ca, at, _dir: dir }
    }

    fn client(&self, world: &World, own: Option<&Signed>, bearer: Option<&str>) -> Client {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.server.pem))
            .domain_name("localhost");
        if let Some(own) = own {
            tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
        }
        let endpoint = Channel::from_shared(format!("https://{}", world.replicas[self.at].rpc));
        let channel = endpoint.unwrap().tls_config(tls).unwrap().connect_lazy();
        world.over(channel, bearer)
    }

    async fn tries(
        &self,
        world: &World,
        own: Option<&Signed>,
        bearer: Option<&str>,
    ) -> Result<(), Status> {
        let request = pb::ListApiKeysRequest { tenant_id: TENANT.into(), ..Default::default() };
        self.client(world, own, bearer).list_api_keys(request).await.map(drop)
    }

    async fn refused(&self, world: &World, own: Option<&Signed>, bearer: Option<&str>) -> String {
        let status = self.tries(world, own, bearer).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        reason(&status)
    }
}

fn by_certificate(principal: &str, name: &str) -> CallerConfig {
    CallerConfig {
        key_sha256: None,
        certificate: Some(name.into()),
        ..caller(principal, RoleConfig::Administrator, &[TENANT])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_lets_in_by_its_name_and_so_does_the_next_one() {
    plan()
        .run(async |world| {
            let callers = vec![by_certificate("mesh", SPIFFE), by_certificate("host", DNS)];
            let secured = Secured::start(world, callers).await;
            let signs = |names| secured.clients.signs(names);
            for names in [vec![uri(SPIFFE)], vec![dns(DNS)], vec![dns("x.example"), dns(DNS)]] {
                // Renewed: another key, another certificate, the same name.
                for _ in 0..2 {
                    secured.tries(world, Some(&signs(names.clone())), None).await.unwrap();
                }
            }
            let unknown = [
                vec![uri("spiffe://prod.example/ns/acme/sa/other")],
                vec![uri("spiffe://prod.example/ns/acme/sa/importer2")],
                vec![uri(SPIFFE), uri("spiffe://prod.example/second")],
                vec![dns("sub.importer.acme.example")],
                vec![dns("*.acme.example")],
                vec![dns(SPIFFE.trim_start_matches("spiffe://").split('/').next().unwrap())],
            ];
            for names in unknown {
                let heard = secured.refused(world, Some(&signs(names.clone())), None).await;
                assert_eq!(heard, "CREDENTIALS_UNKNOWN", "{names:?}");
            }
            // One certificate matches two callers: Herald does not guess which.
            let two = signs(vec![uri(SPIFFE), dns(DNS)]);
            assert_eq!(secured.refused(world, Some(&two), None).await, "CREDENTIALS_UNKNOWN");
            assert_eq!(secured.refused(world, None, None).await, "CREDENTIALS_MISSING");
            // A certificate of another authority fails in the handshake.
            let stranger = Authority::new().signs(vec![uri(SPIFFE)]);
            let status = secured.tries(world, Some(&stranger), None).await.unwrap_err();
            assert_ne!(status.code(), Code::Unauthenticated, "{status:?}");

            let chief = world.client(0, Some("chief")).await;
            let request = pb::ListAuditRequest { page_size: 500, ..Default::default() };
            let signed_in = until("the sign-in is in the trail", async || {
                let entries = chief.list_audit(request.clone()).await.unwrap().entries;
                entries.into_iter().find(|one| one.principal == "mesh" && one.action == "SignIn")
            });
            assert_eq!(signed_in.await.object, "key:certificate");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_token_outranks_the_certificate() {
    plan()
        .run(async |world| {
            let secured = Secured::start(world, vec![by_certificate("mesh", SPIFFE)]).await;
            let own = secured.clients.signs(vec![uri(SPIFFE)]);
            let elsewhere = async |bearer: Option<&str>| {
                let request =
                    pb::ListApiKeysRequest { tenant_id: "globex".into(), ..Default::default() };
                secured.client(world, Some(&own), bearer).list_api_keys(request).await
            };
            let by_name = elsewhere(None).await.unwrap_err();
            assert_eq!(reason(&by_name), "TENANT_NOT_ALLOWED");
            elsewhere(Some(&key_of("chief"))).await.unwrap();
            // A valid certificate does not make up for invalid credentials.
            let heard = secured.refused(world, Some(&own), Some("herald_nobody")).await;
            assert_eq!(heard, "CREDENTIALS_UNKNOWN");
            // Plain text has no client certificates.
            let request = pb::ListApiKeysRequest { tenant_id: TENANT.into(), ..Default::default() };
            let plain = world.bearing(0, None).list_api_keys(request).await.unwrap_err();
            assert_eq!(reason(&plain), "CREDENTIALS_MISSING");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_is_exchanged_without_a_restart() {
    plan()
        .run(async |world| {
            let secured = Secured::start(world, vec![by_certificate("mesh", SPIFFE)]).await;
            let old = secured.clients.signs(vec![uri(SPIFFE)]);
            secured.tries(world, Some(&old), None).await.unwrap();
            let next = Authority::new();
            let new = next.signs(vec![uri(SPIFFE)]);
            let both = format!("{}{}", secured.clients.pem, next.pem);
            for (trusted, of_old) in [(&both, true), (&next.pem, false)] {
                std::fs::write(&secured.ca, trusted).unwrap();
                until("the authorities are reloaded", async || {
                    let (new, old) = (
                        secured.tries(world, Some(&new), None).await.is_ok(),
                        secured.tries(world, Some(&old), None).await.is_ok(),
                    );
                    (new && old == of_old).then_some(())
                })
                .await;
            }
        })
        .await;
}
