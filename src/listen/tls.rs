//! TLS on a port: certificate and key from files, read again when they change (cert-manager changes
//! a symbolic link), TLS 1.2 or later, and the names in a client's certificate if one is requested.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Protocol;

/// How often the files are checked.
const LOOK: Duration = Duration::from_secs(5);

/// The paths of the certificate and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate in PEM, with the intermediate certificates up to the root.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The issuers of clients' certificates, in PEM; none if clients show no certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub client_certificate_required: bool,
}

/// The certificate in force. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tls {
    files: Arc<Files>,
    protocol: Protocol,
    current: watch::Sender<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// Digest of the content of the files.
    digest: [u8; 32],
}

/// The names in a verified client certificate. Callers are identified by them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// Its only URI, if that is a SPIFFE id (SPIFFE X.509-SVID, section 2).
    pub spiffe_id: Option<String>,
    /// Its DNS names.
    pub dns_names: Vec<String>,
}

impl Files {
    /// The files from the settings of a section; none if it has no TLS. The error continues the
    /// section's name.
    pub fn of(
        certificate: Option<&Path>,
        key: Option<&Path>,
        client_ca: Option<&Path>,
        client_certificate_required: bool,
    ) -> Result<Option<Self>, String> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate.to_owned(), key.to_owned()),
            (Some(_), None) => return Err("tls_key is needed with tls_certificate".into()),
            (None, Some(_)) => return Err("tls_certificate is needed with tls_key".into()),
            (None, None) if client_ca.is_some() => {
                return Err("tls_client_ca needs tls_certificate and tls_key".into());
            }
            (None, None) => return Ok(None),
        };
        if client_certificate_required && client_ca.is_none() {
            return Err("tls_client_required needs tls_client_ca".into());
        }
        let client_ca = client_ca.map(Path::to_owned);
        Ok(Some(Self { certificate, key, client_ca, client_certificate_required }))
    }
}

impl Tls {
    /// Reads the files. The error is a sentence that names the file.
    pub fn load(files: Files, protocol: Protocol) -> Result<Self, String> {
        let current = read(&files, protocol)?;
        let (current, _) = watch::channel(current);
        Ok(Self { files: Arc::new(files), protocol, current })
    }

    /// The configuration for new connections.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.borrow().config)
    }

    /// Reads the files again when they change, until `stop`. While the new ones are unusable, the
    /// old ones stay in force.
    pub async fn follow(self, stop: CancellationToken) {
        let mut wrong = None;
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            match read(&self.files, self.protocol) {
                Ok(current) if current.digest == self.current.borrow().digest => {}
                Ok(current) => {
                    tracing::info!(file = %self.files.certificate.display(), "new TLS certificate");
                    self.current.send_replace(current);
                }
                Err(sentence) => {
                    if wrong.as_ref() != Some(&sentence) {
                        tracing::error!(%sentence, "the old TLS certificate stays in force");
                    }
                    wrong = Some(sentence);
                    continue;
                }
            }
            wrong = None;
        }
    }
}

/// Largest file of certificates, in bytes.
const FILE_BYTES: u64 = 1 << 20;

fn read(files: &Files, protocol: Protocol) -> Result<Current, String> {
    let mut digest = Sha256::new();
    let mut content = |path: &Path| {
        let said = |problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
        let size = std::fs::metadata(path).map_err(|error| said(&error))?.len();
        if size > FILE_BYTES {
            return Err(said(&"is larger than 1 MiB"));
        }
        let bytes = std::fs::read(path).map_err(|error| said(&error))?;
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&bytes);
        Ok(bytes)
    };
    let chain = certificates(&files.certificate, &content(&files.certificate)?)?;
    let key = PrivateKeyDer::from_pem_slice(&content(&files.key)?);
    let key = key.map_err(|_| format!("{}: has no private key in PEM", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, &content(path)?)? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if files.client_certificate_required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| format!("{}: {error}", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        format!("{certificate} and {key}: {error}")
    })?;
    config.alpn_protocols = match protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Current { config: Arc::new(config), digest: digest.finalize().into() })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{}: has no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: is not PEM: {error}", path.display())),
    }
}

/// The names in a certificate that rustls has verified.
pub(super) fn names(certificate: &CertificateDer<'_>) -> PeerNames {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return PeerNames::default();
    };
    let mut uris = certificate.valid_uri_names();
    // A certificate with several URIs is not a valid SPIFFE certificate.
    let spiffe_id = match (uris.next(), uris.next()) {
        (Some(one), None) if one.starts_with("spiffe://") => Some(one.to_owned()),
        _ => None,
    };
    let dns_names = certificate.valid_dns_names().map(str::to_owned).collect();
    PeerNames { spiffe_id, dns_names }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names_of(all: Vec<SanType>) -> PeerNames {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = all;
        let key = KeyPair::generate().unwrap();
        names(params.self_signed(&key).unwrap().der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    #[test]
    fn the_one_spiffe_id_and_all_dns_names_are_read() {
        let found = names_of(vec![dns("a.example"), uri("spiffe://org/x"), dns("b.example")]);
        assert_eq!(found.spiffe_id.as_deref(), Some("spiffe://org/x"));
        assert_eq!(found.dns_names, ["a.example", "b.example"]);
        assert_eq!(names_of(vec![uri("https://org/x")]).spiffe_id, None);
        assert_eq!(names_of(vec![uri("spiffe://org/x"), uri("spiffe://org/y")]).spiffe_id, None);
        assert_eq!(names_of(Vec::new()), PeerNames::default());
        let rubbish = CertificateDer::from(vec![1, 2, 3]);
        assert_eq!(names(&rubbish), PeerNames::default());
    }
}
