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
use crate::support::process::{migrate, refused};
use crate::support::store::KEY;

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
    assert!(heard.lock().unwrap().is_empty());
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
    }
}
