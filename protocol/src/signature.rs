//! Signatures of requests: clients make them, servers check them.
//!
//! A signature is HMAC-SHA1 under the secret key, in base64: over the values of all other fields in the order of their names, and then
//! over the body (apache/rocketmq `acl/common/AclUtils.java`, `AclSigner.java`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::header::{FieldSink, FieldSource};

/// The field that says whose signature a request carries.
pub const ACCESS_KEY_FIELD: &str = "AccessKey";
/// The field of the signature itself.
pub const SIGNATURE_FIELD: &str = "Signature";

/// The two fields that a signed request has beside its own `fields`.
#[must_use]
pub fn sign(
    access_key: &str,
    secret_key: &str,
    fields: &dyn FieldSource,
    body: &[u8],
) -> Vec<(String, String)> {
    let mut signed = Signed::of(fields);
    signed.pair(ACCESS_KEY_FIELD, access_key);
    let signature = STANDARD.encode(signed.mac(secret_key, body).finalize().into_bytes());
    vec![
        (ACCESS_KEY_FIELD.to_owned(), access_key.to_owned()),
        (SIGNATURE_FIELD.to_owned(), signature),
    ]
}

/// Whether a received request carries a signature that was made with this secret key. It takes as long for a wrong signature as for the
/// right one.
#[must_use]
pub fn is_signed_with(secret_key: &str, fields: &dyn FieldSource, body: &[u8]) -> bool {
    let signed = Signed::of(fields);
    let Some(signature) = &signed.signature else {
        return false;
    };
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    signed
        .mac(secret_key, body)
        .verify_slice(&signature)
        .is_ok()
}

/// What a signature covers, and the signature when there is one.
#[derive(Default)]
struct Signed {
    /// Names are ASCII: bytes order them as the UTF-16 units of Java do.
    fields: BTreeMap<String, String>,
    signature: Option<String>,
}

impl Signed {
    fn of(fields: &dyn FieldSource) -> Self {
        let mut signed = Self::default();
        fields.visit(&mut signed);
        signed
    }

    fn mac(&self, secret_key: &str, body: &[u8]) -> Hmac<Sha1> {
        let mut mac = match Hmac::<Sha1>::new_from_slice(secret_key.as_bytes()) {
            Ok(mac) => mac,
            Err(never) => unreachable!("HMAC takes keys of any length: {never}"),
        };
        for value in self.fields.values() {
            mac.update(value.as_bytes());
        }
        mac.update(body);
        mac
    }
}

impl FieldSink for Signed {
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
        if key == SIGNATURE_FIELD {
            self.signature = Some(value.to_owned());
        } else {
            self.fields.insert(key.to_owned(), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_signed_in_the_order_of_their_names() {
        // HMAC-SHA1 of "key" "1" "2" "body" under "secret", by `openssl dgst -sha1 -hmac secret -binary | base64`.
        let expected = "RO+2E9a0n4A4OVx5POCCEy+V7cw=";
        for fields in [[("b", "2"), ("a", "1")], [("a", "1"), ("b", "2")]] {
            let added = sign("key", "secret", &fields, b"body");
            assert_eq!(added[0], ("AccessKey".to_owned(), "key".to_owned()));
            assert_eq!(added[1], ("Signature".to_owned(), expected.to_owned()));
        }
    }

    #[test]
    fn only_the_signed_request_under_the_same_secret_passes() {
        let fields = [("topic", "orders"), ("queueId", "3")];
        let added = sign("key", "secret", &fields, b"body");
        assert!(is_signed_with("secret", &(&fields, added.clone()), b"body"));
        // The order in which fields arrive tells nothing.
        assert!(is_signed_with("secret", &(added.clone(), &fields), b"body"));

        assert!(!is_signed_with("other", &(&fields, added.clone()), b"body"));
        assert!(!is_signed_with(
            "secret",
            &(&fields, added.clone()),
            b"bodY"
        ));
        let changed = [("topic", "orders"), ("queueId", "4")];
        assert!(!is_signed_with(
            "secret",
            &(&changed, added.clone()),
            b"body"
        ));
        let more = [("topic", "orders"), ("queueId", "3"), ("x", "1")];
        assert!(!is_signed_with("secret", &(&more, added.clone()), b"body"));
        let other_key = vec![
            ("AccessKey".to_owned(), "root".to_owned()),
            added[1].clone(),
        ];
        assert!(!is_signed_with("secret", &(&fields, other_key), b"body"));
    }

    #[test]
    fn a_missing_or_broken_signature_does_not_pass() {
        let fields = [("topic", "orders")];
        let signed = sign("key", "secret", &fields, b"");
        for signature in ["", "=", "RO+2", "no base64!", &signed[1].1[..27]] {
            let added = vec![
                signed[0].clone(),
                (SIGNATURE_FIELD.to_owned(), signature.to_owned()),
            ];
            assert!(
                !is_signed_with("secret", &(&fields, added), b""),
                "{signature}"
            );
        }
        assert!(!is_signed_with("secret", &fields, b""));
    }
}
