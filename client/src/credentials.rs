//! Who the client is: every request is signed.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use rmq_protocol::{FieldSink, FieldSource};
use sha1::Sha1;

const ACCESS_KEY: &str = "AccessKey";
const SIGNATURE: &str = "Signature";

/// An access key and its secret. The secret never leaves the process: requests carry a signature made with it, and it is not printed.
///
/// ```no_run
/// # async fn example() -> Result<(), rmq_client::Error> {
/// use rmq_client::{Client, Credentials};
///
/// let secret = std::env::var("RMQ_SECRET_KEY").unwrap_or_default();
/// let client = Client::builder("rmq://localhost:9876")
///     .credentials(Credentials::new("billing", secret))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Credentials {
    access_key: String,
    secret_key: String,
}

impl Credentials {
    /// With these keys.
    #[must_use]
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self {
            access_key: access_key.into(),
            secret_key: secret_key.into(),
        }
    }

    /// The access key.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The two fields that a request gets beside its own: the values of all fields in the order of their names, then the body, under
    /// HMAC-SHA1 (`acl/common/AclUtils.java`, `AclSigner.java`).
    pub(crate) fn sign(&self, fields: &dyn FieldSource, body: &[u8]) -> Vec<(String, String)> {
        let mut all = Collected::default();
        fields.visit(&mut all);
        all.0.insert(ACCESS_KEY.to_owned(), self.access_key.clone());
        // Names are ASCII: bytes order them as Java's UTF-16 units do. Keys of any length are allowed.
        let mut mac = match Hmac::<Sha1>::new_from_slice(self.secret_key.as_bytes()) {
            Ok(mac) => mac,
            Err(never) => unreachable!("HMAC takes keys of any length: {never}"),
        };
        for value in all.0.values() {
            mac.update(value.as_bytes());
        }
        mac.update(body);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        vec![
            (ACCESS_KEY.to_owned(), self.access_key.clone()),
            (SIGNATURE.to_owned(), signature),
        ]
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Fields by name, as text.
#[derive(Default)]
struct Collected(BTreeMap<String, String>);

impl FieldSink for Collected {
    fn str(&mut self, key: &'static str, value: &str) {
        self.pair(key, value);
    }

    fn int(&mut self, key: &'static str, value: i64) {
        self.pair(key, &value.to_string());
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.pair(key, &value.to_string());
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_signed_in_the_order_of_their_names() {
        let credentials = Credentials::new("key", "secret");
        // HMAC-SHA1 of "key" "1" "2" "body" under "secret", by `openssl dgst -sha1 -hmac secret -binary | base64`.
        let expected = "RO+2E9a0n4A4OVx5POCCEy+V7cw=";
        for fields in [[("b", "2"), ("a", "1")], [("a", "1"), ("b", "2")]] {
            let added = credentials.sign(&fields, b"body");
            assert_eq!(added[0], ("AccessKey".to_owned(), "key".to_owned()));
            assert_eq!(added[1], ("Signature".to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let text = format!("{:?}", Credentials::new("key", "hidden"));
        assert!(text.contains("key") && !text.contains("hidden"), "{text}");
    }
}
