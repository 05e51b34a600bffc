//! Passwords at rest: AES-256-GCM with a random nonce, bound to the name of the user.
//!
//! ```text
//! base64( nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes) ), additional data: the user's name
//! ```

use std::fmt;

use aes_gcm::aead::rand_core::RngCore;
use aes_gcm::aead::{Aead, KeyInit, OsRng, Payload};
use aes_gcm::{AeadCore, Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::Secret;

const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;

/// The key that passwords are sealed with.
#[derive(Clone)]
pub struct SealingKey(Aes256Gcm);

/// What is wrong with a key, or with a password that was sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The key is neither 32 bytes nor base64 of 32 bytes.
    #[error(
        "the key has {0} bytes, and must be 32 bytes or base64 of 32 bytes: openssl rand -base64 32"
    )]
    Key(usize),
    /// The password was sealed with another key, for another user, or is damaged.
    #[error("the password of user {0} was sealed with another key")]
    OtherKey(String),
    /// There is no key.
    #[error("the password of user {0} is sealed, and this server has no key")]
    NoKey(String),
}

impl SealingKey {
    /// Reads a key: 32 bytes, or base64 of 32 bytes with white space around it.
    ///
    /// # Errors
    /// [`SealError::Key`].
    pub fn read(bytes: &[u8]) -> Result<Self, SealError> {
        let text = std::str::from_utf8(bytes).map(str::trim).ok();
        let decoded = text.and_then(|text| STANDARD.decode(text).ok().map(Zeroizing::new));
        let key: &[u8] = match &decoded {
            Some(key) if key.len() == KEY_BYTES => key,
            _ => bytes,
        };
        let cipher = Aes256Gcm::new_from_slice(key);
        cipher.map(Self).map_err(|_| SealError::Key(bytes.len()))
    }

    /// A new key as [`read`](Self::read) takes it: base64 of 32 random bytes.
    #[must_use]
    pub fn random() -> Secret {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        OsRng.fill_bytes(key.as_mut());
        Secret::new(STANDARD.encode(*key))
    }

    /// Seals a password for a user.
    ///
    /// # Errors
    /// [`SealError::OtherKey`] when the cipher refuses: the password is longer than 64 GiB.
    pub fn seal(&self, user: &str, password: &Secret) -> Result<String, SealError> {
        let nonce = Aes256Gcm::generate_nonce(&mut OsRng);
        let payload = Payload {
            msg: password.reveal().as_bytes(),
            aad: user.as_bytes(),
        };
        let sealed = self.0.encrypt(&nonce, payload);
        let sealed = sealed.map_err(|_| SealError::OtherKey(user.to_owned()))?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Opens what [`seal`](Self::seal) made for this user.
    ///
    /// # Errors
    /// [`SealError::OtherKey`].
    pub fn open(&self, user: &str, sealed: &str) -> Result<Secret, SealError> {
        let other = || SealError::OtherKey(user.to_owned());
        let bytes = STANDARD.decode(sealed).map_err(|_| other())?;
        let (nonce, msg) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(other)?;
        let payload = Payload {
            msg,
            aad: user.as_bytes(),
        };
        let opened = self.0.decrypt(Nonce::from_slice(nonce), payload);
        let text = String::from_utf8(opened.map_err(|_| other())?).map_err(|_| other())?;
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SealingKey {
        SealingKey::read(&[byte; 32]).expect("32 bytes")
    }

    #[test]
    fn a_password_is_opened_with_its_key_and_for_its_user() {
        let sealed = key(1).seal("ann", &Secret::new("hunter2".to_owned()));
        let sealed = sealed.expect("sealed");
        assert!(!sealed.contains("hunter2"));
        let opened = key(1).open("ann", &sealed).expect("opened");
        assert_eq!(opened.reveal(), "hunter2");
        for (key, user) in [(key(2), "ann"), (key(1), "bob")] {
            assert_eq!(
                key.open(user, &sealed).err(),
                Some(SealError::OtherKey(user.to_owned()))
            );
        }
        assert!(key(1).open("ann", "AAAA").is_err());
        // The same password twice tells nobody that it is the same.
        let again = key(1).seal("ann", &Secret::new("hunter2".to_owned()));
        assert_ne!(again.expect("sealed"), sealed);
    }

    #[test]
    fn keys_are_32_bytes_or_base64() {
        let text = format!("{}\n", STANDARD.encode([7; 32]));
        let sealed = SealingKey::read(text.as_bytes()).expect("base64");
        let sealed = sealed.seal("a", &Secret::new("b".to_owned()));
        assert!(key(7).open("a", &sealed.expect("sealed")).is_ok());
        let random = SealingKey::random();
        assert!(SealingKey::read(random.reveal().as_bytes()).is_ok());
        assert_eq!(SealingKey::read(b"short").err(), Some(SealError::Key(5)));
    }
}
