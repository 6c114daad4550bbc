//! Callers by the name in a certificate that the connection showed and `tls_client_ca` signed: a
//! SPIFFE id (SPIFFE X.509-SVID, section 2) or a DNS name, compared exactly.

use crate::app::Caller;
use crate::listen::PeerNames;

/// Most bytes of a SPIFFE id (SPIFFE ID, section 2.3).
const SPIFFE_BYTES: usize = 2048;
/// Most bytes of a DNS name.
const DNS_BYTES: usize = 253;

/// Callers by the names of their certificates.
#[derive(Default)]
pub(super) struct Certificates(Vec<(Name, Caller)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Spiffe(String),
    /// In lower case.
    Dns(String),
}

impl Certificates {
    /// The error begins with the setting.
    pub(super) fn add(&mut self, name: &str, caller: Caller) -> Result<(), String> {
        let name = parse(name).ok_or(
            "certificate must be a SPIFFE id, such as spiffe://example.org/importer, or a DNS \
             name without wildcards",
        )?;
        if self.0.iter().any(|(known, _)| *known == name) {
            return Err("certificate is given twice: a name may belong to one caller only".into());
        }
        self.0.push((name, caller));
        Ok(())
    }

    /// The one caller that a certificate names. A certificate that names several identifies none.
    pub(super) fn find(&self, names: &PeerNames) -> Option<&Caller> {
        let named = |name: &Name| match name {
            Name::Spiffe(id) => names.spiffe_id.as_ref() == Some(id),
            Name::Dns(dns) => names.dns_names.iter().any(|name| name.eq_ignore_ascii_case(dns)),
        };
        let mut found = self.0.iter().filter(|(name, _)| named(name));
        match (found.next(), found.next()) {
            (Some((_, caller)), None) => Some(caller),
            _ => None,
        }
    }
}

fn parse(text: &str) -> Option<Name> {
    if let Some(rest) = text.strip_prefix("spiffe://") {
        let (domain, path) = rest.split_once('/')?;
        let in_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-._".contains(&c);
        let in_path = |c: u8| c.is_ascii_alphanumeric() || b"-._/".contains(&c);
        let good = text.len() <= SPIFFE_BYTES
            && !domain.is_empty()
            && domain.bytes().all(in_domain)
            && path.bytes().all(in_path)
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        return good.then(|| Name::Spiffe(text.to_owned()));
    }
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
    };
    let good = text.len() <= DNS_BYTES && text.split('.').all(label);
    good.then(|| Name::Dns(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spiffe_ids_or_dns_names() {
        let spiffe = "spiffe://prod.example/ns/acme/sa/importer";
        assert_eq!(parse(spiffe), Some(Name::Spiffe(spiffe.into())));
        assert_eq!(parse("A.example"), Some(Name::Dns("a.example".into())));
        for refused in [
            "",
            "*.example",
            "a..example",
            "a.example/x",
            "spiffe://",
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/a/../b",
            "spiffe://Prod.example/a",
            "spiffe://prod.example/a?b",
            "https://prod.example/a",
        ] {
            assert_eq!(parse(refused), None, "{refused}");
        }
    }
}
