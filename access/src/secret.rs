//! A text that nobody prints: it has no `Debug` of its own text and no `Display`, and its memory is cleared.

use std::fmt;

use aes_gcm::aead::OsRng;
use aes_gcm::aead::rand_core::RngCore;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// A password or a secret key.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// This text, from now on hidden.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A new one: 24 random bytes as base64 for URLs.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; 24]);
        OsRng.fill_bytes(bytes.as_mut());
        Self::new(URL_SAFE_NO_PAD.encode(*bytes))
    }

    /// The text, for the few places that need it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_not_printed() {
        let text = format!("{:?}", Secret::new("hunter2".to_owned()));
        assert_eq!(text, "Secret(hidden)");
        let (one, other) = (Secret::random(), Secret::random());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one.reveal(), other.reveal());
    }
}
