//! Who the client is: every request is signed.

use std::fmt;

use rmq_protocol::{FieldSource, signature};

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

    /// The two fields that a request gets beside its own.
    pub(crate) fn sign(&self, fields: &dyn FieldSource, body: &[u8]) -> Vec<(String, String)> {
        signature::sign(&self.access_key, &self.secret_key, fields, body)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_signed_with_both_keys() {
        let credentials = Credentials::new("key", "secret");
        let signed = credentials.sign(&[("a", "1")], b"body");
        assert_eq!(signed[0], ("AccessKey".to_owned(), "key".to_owned()));
        assert!(signature::is_signed_with(
            "secret",
            &([("a", "1")], signed),
            b"body"
        ));
    }

    #[test]
    fn the_secret_is_not_printed() {
        let text = format!("{:?}", Credentials::new("key", "hidden"));
        assert!(text.contains("key") && !text.contains("hidden"), "{text}");
    }
}
