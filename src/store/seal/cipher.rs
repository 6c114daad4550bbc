//! The cipher for values and data keys: XChaCha20-Poly1305 with a random nonce for each.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::store::Error;

/// XChaCha20-Poly1305 takes 256 bits.
pub(in crate::store) const KEY_BYTES: usize = 32;

pub(in crate::store) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// A new random key.
pub(in crate::store) fn new_key() -> Key {
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    rand::fill(&mut key[..]);
    key
}

/// The key that consists of these bytes; `None`: they are too few or too many.
pub(in crate::store) fn key_of(bytes: &[u8]) -> Option<Key> {
    bytes.try_into().ok().map(Zeroizing::new)
}

pub(in crate::store) const NONCE_BYTES: usize = 24;

pub(in crate::store) fn encrypt(
    key: &Key,
    aad: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let cipher = XChaCha20Poly1305::new(&(**key).into());
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
        .map_err(|_| Error::Bug("a value is too long to encrypt".into()))?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    Ok(())
}

pub(in crate::store) fn decrypt(
    key: &Key,
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = XChaCha20Poly1305::new(&(**key).into());
    let plain = cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad }).ok()?;
    Some(Zeroizing::new(plain))
}
