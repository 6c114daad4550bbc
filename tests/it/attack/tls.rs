//! TLS on the ports: plain connections are refused, a renewed certificate is served without a
//! restart, and clients show certificates where they are required.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::{Site, callers, stores_ben as ask};
use crate::support::authority::{Authority, Signed, uri as spiffe};
use crate::support::process::{PATIENCE, refused, until};

/// A folder as Kubernetes mounts a Secret: the files are links below a link that is replaced in one
/// step.
struct Mounted(TempDir);

impl Mounted {
    fn new(signed: &Signed) -> Self {
        let mounted = Self(TempDir::new().unwrap());
        mounted.renew(signed);
        for file in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(format!("..data/{file}"), mounted.path(file)).unwrap();
        }
        mounted
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn renew(&self, signed: &Signed) {
        let version = TempDir::new_in(self.0.path()).unwrap().keep();
        std::fs::write(version.join("tls.crt"), &signed.certificate).unwrap();
        std::fs::write(version.join("tls.key"), &signed.key).unwrap();
        let link = self.path("..new");
        std::os::unix::fs::symlink(&version, &link).unwrap();
        std::fs::rename(link, self.path("..data")).unwrap();
    }

    fn settings(&self, section: &str) -> Vec<String> {
        let (certificate, key) = (self.path("tls.crt"), self.path("tls.key"));
        vec![
            format!("{section}.tls_certificate={}", certificate.display()),
            format!("{section}.tls_key={}", key.display()),
        ]
    }
}

fn settings(more: impl IntoIterator<Item = String>) -> Vec<String> {
    more.into_iter().chain([callers(&[("neighbour", "service", "acme")])]).collect()
}

/// A channel over TLS that trusts one authority, with a client certificate if given.
pub(super) fn secure(to: SocketAddr, trusted: &Authority, own: Option<&Signed>) -> Channel {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&trusted.pem))
        .domain_name("localhost");
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.certificate, &own.key));
    }
    let endpoint = Channel::from_shared(format!("https://{to}")).unwrap();
    endpoint.tls_config(tls).unwrap().connect_lazy()
}

/// The protocol that both sides agree on.
async fn spoken(to: SocketAddr, trusted: &Authority, offers: &[&[u8]]) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = connector.connect(name, stream).await.ok()?;
    stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let (first, second) = (Authority::new(), Authority::new());
    let mounted = Mounted::new(&first.signs_localhost());
    let secured = [mounted.settings("rpc"), mounted.settings("http")].concat();
    let site = Site::start(&settings(secured)).await;
    let (rpc, http) = (site.herald.rpc, site.herald.http);
    let old = secure(rpc, &first, None);
    ask(old.clone()).await.unwrap();
    ask(secure(rpc, &second, None)).await.unwrap_err();
    ask(site.herald.channel()).await.unwrap_err();

    mounted.renew(&second.signs_localhost());
    until("the new certificate", async || ask(secure(rpc, &second, None)).await.ok()).await;
    // Open connections stay open; new ones trust only the new authority.
    ask(old).await.unwrap();
    ask(secure(rpc, &first, None)).await.unwrap_err();
    until("over HTTP, too", async || spoken(http, &second, &[b"h2"]).await).await;

    let odd =
        Signed { certificate: second.signs_localhost().certificate, ..first.signs_localhost() };
    mounted.renew(&odd);
    until("the log says that the old certificate stays", async || {
        site.herald.log().contains("stays in force").then_some(())
    })
    .await;
    ask(secure(rpc, &second, None)).await.unwrap();
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_say_what_they_speak_and_wait_for_no_handshake_for_ever() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.signs_localhost());
    let secured = [mounted.settings("rpc"), mounted.settings("http")].concat();
    let short = "listen.handshake_seconds=1".to_owned();
    let site = Site::start(&settings(secured.into_iter().chain([short]))).await;
    let (rpc, http) = (site.herald.rpc, site.herald.http);
    let both: [&[u8]; 2] = [b"http/1.1", b"h2"];
    assert_eq!(spoken(rpc, &authority, &both).await.as_deref(), Some(&b"h2"[..]));
    assert_eq!(spoken(rpc, &authority, &[b"http/1.1"]).await, None);
    assert_eq!(spoken(http, &authority, &both).await.as_deref(), Some(&b"h2"[..]));
    let old: [&[u8]; 1] = [b"http/1.1"];
    assert_eq!(spoken(http, &authority, &old).await.as_deref(), Some(&b"http/1.1"[..]));
    for to in [rpc, http] {
        let mut silent = TcpStream::connect(to).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut rest)).await;
        end.unwrap().ok();
    }
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_of_the_right_authority() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let mounted = Mounted::new(&authority.signs_localhost());
    let ca = mounted.path("clients.crt");
    std::fs::write(&ca, &clients.pem).unwrap();
    let more =
        ["rpc.tls_client_required=true".into(), format!("rpc.tls_client_ca={}", ca.display())];
    let site = Site::start(&settings(mounted.settings("rpc").into_iter().chain(more))).await;
    let rpc = site.herald.rpc;
    let uri = || vec![spiffe("spiffe://example.org/platform")];
    ask(secure(rpc, &authority, Some(&clients.signs(uri())))).await.unwrap();
    ask(secure(rpc, &authority, Some(&strangers.signs(uri())))).await.unwrap_err();
    ask(secure(rpc, &authority, None)).await.unwrap_err();
    site.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_ends_the_start_with_a_sentence() {
    let (one, two) = (Authority::new().signs_localhost(), Authority::new().signs_localhost());
    let mounted = Mounted::new(&Signed { certificate: one.certificate, key: two.key });
    let missing = Path::new("/nowhere/tls.crt");
    let cases = [
        (vec!["rpc.tls_certificate=/x".to_owned()], "rpc.tls_key is needed with tls_certificate"),
        (vec!["http.tls_key=/x".to_owned()], "http.tls_certificate is needed with tls_key"),
        (vec!["rpc.tls_client_ca=/x".to_owned()], "tls_client_ca needs tls_certificate"),
        (
            vec![format!("rpc.tls_certificate={}", missing.display()), "rpc.tls_key=/x".into()],
            "/nowhere/tls.crt: No such file",
        ),
        (mounted.settings("http"), "tls.key: "),
    ];
    for (more, sentence) in cases {
        let said = refused(&settings(more)).await;
        assert!(said.contains(sentence), "{said}");
    }
}

/// The greeting of a client that supports nothing newer than `version`, such as 2 for TLS 1.1.
fn greeting(version: u8) -> Vec<u8> {
    let sized =
        |part: &[u8]| [&u16::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    let extension = |number: u8, content: &[u8]| [&[0, number][..], &sized(content)].concat();
    let name = [&[0][..], &sized(b"localhost")].concat();
    let extensions = [
        extension(0, &sized(&name)),
        // Groups x25519 and P-256, uncompressed points, ECDSA with P-256 and SHA-256.
        extension(10, &sized(&[0, 29, 0, 23])),
        extension(11, &[1, 0]),
        extension(13, &sized(&[4, 3])),
        extension(23, &[]),
    ]
    .concat();
    // ECDHE-ECDSA with AES-GCM, and with its predecessor.
    let ciphers = sized(&[0xc0, 0x2b, 0xc0, 0x09]);
    let body = [&[3, version][..], &[7; 32], &[0], &ciphers, &[1, 0], &sized(&extensions)].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_tls_1_2_is_refused() {
    let authority = Authority::new();
    let mounted = Mounted::new(&authority.signs_localhost());
    let secured = [mounted.settings("rpc"), mounted.settings("http")].concat();
    let site = Site::start(&settings(secured)).await;
    for to in [site.herald.rpc, site.herald.http] {
        let answer = async |version, size| {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(&greeting(version)).await.unwrap();
            let mut answer = vec![0; size];
            let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
            read.unwrap().unwrap();
            answer
        };
        // TLS 1.2 is answered with a greeting, so the others are not refused for a different
        // reason.
        let greeted = answer(3, 11).await;
        assert_eq!((greeted[0], greeted[5], &greeted[9..11]), (22, 2, &[3, 3][..]));
        for version in 0..3 {
            let told = answer(version, 7).await;
            // A fatal alert: protocol_version (RFC 8446, section 6.2).
            assert_eq!((told[0], &told[3..7]), (21, &[0, 2, 2, 70][..]), "3.{version}");
        }
    }
    site.ends_well().await;
}
