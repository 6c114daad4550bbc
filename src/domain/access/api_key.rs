//! API keys: 256 random bits, stored only as their SHA-256. That is enough: a slow hash protects
//! passwords that can be guessed, and these keys cannot.

use sha2::{Digest as _, Sha256};

use super::caller::Caller;
use crate::domain::ids::{ApiKeyId, Principal};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// SHA-256 of a key.
pub type Hash = [u8; 32];

/// How many digits of the hash make the fingerprint that is shown.
const FINGERPRINT: usize = 8;

/// A key as it is stored, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// The first digits of its hash.
    pub fingerprint: String,
    /// The caller that uses the key.
    pub caller: Caller,
    pub created_at: Timestamp,
    /// The caller that created the key.
    pub created_by: Principal,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// Whether a key is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStanding {
    Works,
    Expired,
    Revoked,
}

impl ApiKey {
    /// `now` is the database's clock.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> KeyStanding {
        if self.revoked_at.is_some() {
            KeyStanding::Revoked
        } else if self.expires_at <= now {
            KeyStanding::Expired
        } else {
            KeyStanding::Works
        }
    }
}

/// The text of a key, made of 32 random bytes.
#[must_use]
pub fn secret(random: &[u8; 32]) -> Secret {
    Secret::new(format!("herald_{}", hex(random)))
}

/// The stored form of a key.
#[must_use]
pub fn hash(key: &str) -> Hash {
    Sha256::digest(key.as_bytes()).into()
}

/// The shown form of a key.
#[must_use]
pub fn fingerprint(hash: &Hash) -> String {
    let mut digits = hex(hash);
    digits.truncate(FINGERPRINT);
    digits
}

/// Hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::caller::{Reach, Role};

    #[test]
    fn a_key_ends_when_it_expires_or_is_revoked() {
        let caller = Caller {
            principal: Principal::parse("p").unwrap(),
            role: Role::Service,
            reach: Reach::All,
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        let key = ApiKey {
            id: ApiKeyId::parse("018f0000-0000-7000-8000-000000000001").unwrap(),
            fingerprint: String::new(),
            created_by: caller.principal.clone(),
            caller,
            created_at: Timestamp(0),
            expires_at: Timestamp(10),
            revoked_at: None,
        };
        assert_eq!(key.standing(Timestamp(9)), KeyStanding::Works);
        assert_eq!(key.standing(Timestamp(10)), KeyStanding::Expired);
        let revoked = ApiKey { revoked_at: Some(Timestamp(3)), ..key };
        assert_eq!(revoked.standing(Timestamp(20)), KeyStanding::Revoked);
    }

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_hash() {
        let known = hash("abc");
        assert_eq!(fingerprint(&known), "ba7816bf");
        assert_eq!(secret(&[0xab; 32]).expose().len(), 7 + 64);
    }
}
