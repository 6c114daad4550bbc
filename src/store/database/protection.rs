//! How the connections to PostgreSQL are protected in transit. Without `sslmode` in the URL, the
//! driver would accept whatever the server offers, even plain text if an attacker in between claims
//! that the server offers nothing else. So a URL without it is verified, unless it stays on this
//! host.

use std::fmt;
use std::net::IpAddr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The protection against an attacker on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// No network in between: a socket or the loopback.
    Local,
    /// TLS; the server's certificate is verified, and that it is for this host.
    Verified,
    /// TLS; a trusted authority signed the certificate, for any host.
    Signed,
    /// TLS, with any server that answers.
    Unverified,
    /// Perhaps no TLS at all.
    Open,
}

impl Protection {
    /// Whether an attacker on the network could read or change the traffic.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Unverified | Self::Open)
    }

    pub(in crate::store) fn of(options: &PgConnectOptions) -> Self {
        match options.get_ssl_mode() {
            PgSslMode::VerifyFull => Self::Verified,
            PgSslMode::VerifyCa => Self::Signed,
            _ if is_local(options) => Self::Local,
            PgSslMode::Require => Self::Unverified,
            PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => Self::Open,
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "on this host",
            Self::Verified => "over TLS, the server's certificate and name verified",
            Self::Signed => "over TLS, the server's certificate verified, its name not",
            Self::Unverified => {
                "over TLS, but the server's certificate is not verified (sslmode=verify-full does)"
            }
            Self::Open => {
                "perhaps in plain text, which anyone on the network can read and change \
                 (sslmode=verify-full prevents it)"
            }
        })
    }
}

/// Verifies the server if `url` names no mode and leads to another host.
pub(in crate::store) fn protect(url: &str, options: PgConnectOptions) -> PgConnectOptions {
    if names_mode(url) || is_local(&options) {
        options
    } else {
        options.ssl_mode(PgSslMode::VerifyFull)
    }
}

/// Whether the URL says how the connection is protected.
pub(in crate::store) fn names_mode(url: &str) -> bool {
    let url = Url::parse(url).ok();
    url.is_some_and(|url| url.query_pairs().any(|(key, _)| key == "sslmode" || key == "ssl-mode"))
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protection(url: &str) -> Protection {
        Protection::of(&protect(url, url.parse().unwrap()))
    }

    #[test]
    fn a_url_that_does_not_say_is_verified_unless_it_stays_here() {
        for (url, expected) in [
            ("postgres://u:p@db.example.com/herald", Protection::Verified),
            ("postgres://u:p@10.0.0.7:6432/herald?application_name=x", Protection::Verified),
            ("postgres://u:p@[fd00::7]/herald", Protection::Verified),
            ("postgres://u:p@0.0.0.0/herald", Protection::Verified),
            ("postgres://u:p@localhost.evil.test/herald", Protection::Verified),
            ("postgres://u:p@localhost/herald?host=db.example.com", Protection::Verified),
            ("postgres://u:p@db.example.com/x?sslrootcert=/etc/ca.pem", Protection::Verified),
            ("postgres://u:p@localhost/herald", Protection::Local),
            ("postgres://u:p@127.0.0.1:54329/herald", Protection::Local),
            ("postgres://u:p@[::1]/herald", Protection::Local),
            ("postgres://u@db.example.com/herald?host=/run/postgresql", Protection::Local),
            ("postgres://u:p@%2Frun%2Fpostgresql/herald", Protection::Local),
            ("postgres://u:p@db/herald?sslmode=verify-ca", Protection::Signed),
            ("postgres://u:p@db/herald?sslmode=require", Protection::Unverified),
            ("postgres://u:p@db/herald?ssl-mode=prefer", Protection::Open),
            ("postgres://u:p@db/herald?sslmode=disable", Protection::Open),
            ("postgres://u:p@localhost/herald?sslmode=verify-full", Protection::Verified),
        ] {
            assert_eq!(protection(url), expected, "{url}");
        }
    }
}
