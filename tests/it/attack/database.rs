//! An attacker between Herald and PostgreSQL: a server without TLS, or with a certificate of its
//! own, gets neither the password nor the data.
//!
//! Connections to `0.0.0.0` reach this machine, and the address is not a loopback address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::SanType;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::Site;
use crate::support::authority::Authority;
use crate::support::postgres::Postgres;
use crate::support::process::{check, migrate, refused};
use crate::support::store::{KEY, test_stores};

/// PostgreSQL's request for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Answers a request for TLS with `answer` and records everything else that is sent.
async fn between(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Mutex<Vec<u8>>>::default();
    let keep = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 8];
            if stream.read_exact(&mut first).await.is_err() || first != SSL_REQUEST {
                keep.lock().unwrap().extend(first);
            }
            stream.write_all(answer).await.ok();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
            keep.lock().unwrap().extend(rest);
        }
    });
    (address, heard)
}

fn settings(url: &str) -> Vec<String> {
    vec![
        "rpc.insecure=true".into(),
        "rpc.address=127.0.0.1:0".into(),
        "rpc.health_address=127.0.0.1:0".into(),
        "http.address=127.0.0.1:0".into(),
        format!("store.url={url}"),
        format!("store.key={KEY}"),
        "store.acquire_timeout=5s".into(),
    ]
}

/// The line of `herald check` about the database.
fn checked(url: &str, more: &[String]) -> String {
    let mut settings = [&settings(url)[..], more].concat();
    // No server listens on that port: the line about Slack is not read here.
    settings.push("slack.base_url=http://127.0.0.1:9/".into());
    let said = check(&settings);
    let line = said.lines().find(|line| line.split_whitespace().nth(1) == Some("store"));
    line.unwrap_or_else(|| panic!("{url}: {said}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_offers_no_tls_is_told_nothing() {
    let (address, heard) = between(b"N").await;
    let url = format!("postgres://herald:hunter2@0.0.0.0:{}/herald", address.port());
    for url in [url.clone(), format!("{url}?sslmode=require")] {
        let said = refused(&settings(&url)).await;
        assert!(said.contains("does not support TLS"), "{said}");
        assert_eq!(said.contains("sslmode=disable"), !url.contains("sslmode"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let line = checked(&url, &[]);
    assert!(line.starts_with("FAIL") && line.contains("does not support TLS"), "{line}");
    assert!(heard.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_check_reports_a_database_on_this_host() {
    for store in test_stores().await {
        let Some(url) = &store.config.url else { continue };
        let mut url = url::Url::parse(url.expose()).unwrap();
        if !matches!(url.host_str(), Some("localhost" | "127.0.0.1")) {
            println!("left out: the server of the tests is on another host");
            continue;
        }
        url.set_query(Some("sslmode=disable"));
        let direct = |mode| format!("store.direct_url=postgres://0.0.0.0/herald?sslmode={mode}");
        for (more, end) in [
            (None, ", on this host; the key decrypts it"),
            (
                Some(direct("verify-full")),
                "; by store.direct_url over TLS, the server's certificate and name verified; the \
                 key decrypts it",
            ),
            (
                Some(direct("disable")),
                "; by store.direct_url perhaps in plain text, which anyone on the network can \
                 read and change (sslmode=verify-full prevents it); the key decrypts it",
            ),
        ] {
            let line = checked(url.as_str(), more.as_slice());
            assert!(line.starts_with("ok") && line.ends_with(end), "{line}");
            assert!(line.contains("PostgreSQL, on this host;"), "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_told_nothing() {
    // An alert in place of a handshake, as from a server without the right certificate.
    let (address, heard) = between(&[b'S', 21, 3, 3, 0, 2, 2, 40]).await;
    let url = format!("postgres://herald:hunter2@0.0.0.0:{}/herald", address.port());
    let said = refused(&settings(&url)).await;
    assert!(said.contains("TLS with the server of store.url failed"), "{said}");
    assert!(said.contains("sslrootcert="), "{said}");
    let heard = heard.lock().unwrap();
    // The TLS greeting was sent, but no credentials.
    assert!(!heard.windows(7).any(|bytes| bytes == b"hunter2" || bytes == b"herald\0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proves_who_it_is_serves_and_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let names = vec![
        SanType::DnsName("localhost".try_into().unwrap()),
        SanType::IpAddress([0, 0, 0, 0].into()),
    ];
    let signed = authority.signs(names);
    let Some(postgres) = Postgres::start(&signed.certificate, &signed.key) else { return };
    let dir = TempDir::new().unwrap();
    let file = |name: &str, pem: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        format!("sslrootcert={}", path.display())
    };
    let (right, wrong) = (file("right.pem", &authority.pem), file("wrong.pem", &stranger.pem));

    // The server refuses connections without TLS. A host other than localhost is verified by
    // default.
    let named = postgres.url("localhost", &format!("?sslmode=verify-full&{right}"));
    migrate(&settings(&named));
    for url in [named.clone(), postgres.url("0.0.0.0", &format!("?{right}"))] {
        let line = checked(&url, &[]);
        let end = "PostgreSQL, over TLS, the server's certificate and name verified; the key \
                   decrypts it";
        assert!(line.starts_with("ok") && line.ends_with(end), "{line}");
    }
    for url in [named, postgres.url("0.0.0.0", &format!("?{right}"))] {
        let mut settings = settings(&url);
        settings.push("process.lame_duck_seconds=0".into());
        let site = Site::start(&settings).await;
        site.ends_well().await;
    }
    let open = refused(&settings(&postgres.url("localhost", "?sslmode=disable"))).await;
    assert!(open.contains("pg_hba.conf"), "{open}");

    let others = [
        // Signed by another authority, by an unknown one, and for another name.
        postgres.url("localhost", &format!("?sslmode=verify-full&{wrong}")),
        postgres.url("0.0.0.0", &format!("?{wrong}")),
        postgres.url("0.0.0.0", ""),
        postgres.url("127.0.0.1", &format!("?sslmode=verify-full&{right}")),
    ];
    for url in others {
        let said = refused(&settings(&url)).await;
        assert!(said.contains("TLS with the server of store.url failed"), "{url}: {said}");
        let line = checked(&url, &[]);
        assert!(line.starts_with("FAIL"), "{url}: {line}");
        assert!(line.contains("TLS with the server of store.url failed"), "{url}: {line}");
    }
}
