//! The sums that requests to S3 are signed with, by the crates that sign elsewhere in this workspace.

use hmac::{Hmac, Mac};
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use sha2::{Digest, Sha256};

/// SHA-256, with a key and without.
#[derive(Debug)]
pub(super) struct Signing;

struct Sum {
    state: Sha256,
    ended: Vec<u8>,
}

struct KeyedSum {
    state: Hmac<Sha256>,
    ended: Vec<u8>,
}

fn not_here(what: &'static str) -> object_store::Error {
    object_store::Error::NotSupported {
        source: what.into(),
    }
}

impl CryptoProvider for Signing {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Sum {
                state: Sha256::new(),
                ended: Vec::new(),
            })),
            _ => Err(not_here("only SHA-256 is known here")),
        }
    }

    fn hmac(
        &self,
        algorithm: DigestAlgorithm,
        secret: &[u8],
    ) -> object_store::Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                let state = Hmac::new_from_slice(secret);
                let state = state.map_err(|_| not_here("a key of this length is not taken"))?;
                Ok(Box::new(KeyedSum {
                    state,
                    ended: Vec::new(),
                }))
            }
            _ => Err(not_here("only SHA-256 is known here")),
        }
    }

    fn sign(
        &self,
        _algorithm: SigningAlgorithm,
        _pem: &[u8],
    ) -> object_store::Result<Box<dyn Signer>> {
        Err(not_here("S3 signs nothing with a private key"))
    }
}

impl DigestContext for Sum {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.state, data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.ended = self.state.finalize_reset().to_vec();
        Ok(&self.ended)
    }
}

impl HmacContext for KeyedSum {
    fn update(&mut self, data: &[u8]) {
        Mac::update(&mut self.state, data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.ended = self.state.clone().finalize().into_bytes().to_vec();
        Ok(&self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::hex;

    /// NIST's example of SHA-256 and RFC 4231's second of HMAC.
    #[test]
    fn sums_are_the_known_ones() {
        let mut sum = Signing.digest(DigestAlgorithm::Sha256).expect("known");
        sum.update(b"a");
        sum.update(b"bc");
        assert_eq!(
            hex(sum.finish().expect("a sum")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut sum = Signing
            .hmac(DigestAlgorithm::Sha256, b"Jefe")
            .expect("known");
        sum.update(b"what do ya want for nothing?");
        assert_eq!(
            hex(sum.finish().expect("a sum")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
