//! Signatures of tokens are checked by ring, which is already here for TLS; `jsonwebtoken` lets a
//! program bring its own implementation. Asymmetric algorithms only: HMACs cannot be checked here,
//! so a public key can never be taken for a shared secret.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{self as ring_signature, RsaParameters, VerificationAlgorithm};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Called once, before the first token.
pub(super) fn install() {
    // If a provider is already installed, it is this one: nothing else here uses tokens.
    PROVIDER.install_default().ok();
}

/// How signatures of an algorithm are checked.
#[derive(Clone, Copy)]
enum Check {
    Rsa(&'static RsaParameters),
    Other(&'static dyn VerificationAlgorithm),
}

struct Ring {
    algorithm: Algorithm,
    check: Check,
    key: DecodingKey,
}

fn check(algorithm: Algorithm) -> Option<Check> {
    use ring_signature as ring;
    Some(match algorithm {
        Algorithm::RS256 => Check::Rsa(&ring::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&ring::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&ring::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&ring::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&ring::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&ring::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::Other(&ring::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Other(&ring::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Other(&ring::ED25519),
        _ => return None,
    })
}

/// Whether tokens signed by this algorithm can be checked.
pub(super) fn knows(algorithm: Algorithm) -> bool {
    check(algorithm).is_some()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that jsonwebtoken asks for")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let check = check(*algorithm).ok_or(ErrorKind::InvalidAlgorithm)?;
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(Ring { algorithm: *algorithm, check, key: key.clone() }))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that jsonwebtoken asks for")]
fn signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verified = match (self.check, self.key.kind()) {
            (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = ring_signature::RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature)
            }
            (Check::Other(algorithm), DecodingKeyKind::SecretOrDer(bytes)) => {
                let key = ring_signature::UnparsedPublicKey::new(algorithm, bytes);
                key.verify(message, signature)
            }
            _ => return Err(Error::new()),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
