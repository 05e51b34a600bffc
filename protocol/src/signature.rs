//! Signatures of requests: clients make them, servers check them.
//!
//! A signature is HMAC-SHA1 under the secret key, in base64: over the values of all other fields in the order of their names, and then
//! over the body (apache/rocketmq `acl/common/AclUtils.java`, `AclSigner.java`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use arrayvec::ArrayVec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::header::{FieldSink, FieldSource, Header, Text};

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

/// `V4_9_3` of `apache/rocketmq common/MQVersion.java`: up to it, clients added [`ADDED_LATER`] behind the signature.
const ADDED_LATER_UNTIL: i32 = 399;
/// The field that old clients do not sign (`MixAll.UNIQUE_MSG_QUERY_FLAG`).
const ADDED_LATER: &str = "_UNIQUE_KEY_QUERY";
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 20;
/// Fields of a request that are put in order without an allocation.
const FIELDS_INLINE: usize = 32;

/// A secret key, ready to check signatures: what HMAC makes of it is computed once.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha1>);

/// Why a request counts as not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSigned {
    /// It has no signature.
    Missing,
    /// The signature is not one of this request with this key.
    Wrong,
}

impl SigningKey {
    /// Of this secret key.
    #[must_use]
    pub fn new(secret_key: &str) -> Self {
        match Hmac::new_from_slice(secret_key.as_bytes()) {
            Ok(mac) => Self(mac),
            Err(never) => unreachable!("HMAC takes keys of any length: {never}"),
        }
    }

    /// Whether the request carries its signature with this key. All fields are signed, known or not, in the order of Java's strings; of fields
    /// of one name the last one, as everywhere. It takes as long for a wrong signature as for the right one.
    ///
    /// # Errors
    /// [`NotSigned`].
    pub fn check(&self, header: &Header<'_>, body: &[u8]) -> Result<(), NotSigned> {
        let signature = header.fields.get(SIGNATURE_FIELD);
        let signature = signature.ok_or(NotSigned::Missing)?;
        let mut expected = [0; SIGNATURE_BYTES + 4];
        let decoded = STANDARD.decode_slice(signature.to_cow().as_bytes(), &mut expected);
        let length = decoded.map_err(|_| NotSigned::Wrong)?;
        let mut inline = ArrayVec::<_, FIELDS_INLINE>::new();
        let mut more = Vec::new();
        for (at, (name, text)) in header.fields.iter().enumerate() {
            let is_added = name == ADDED_LATER && header.version <= ADDED_LATER_UNTIL;
            if is_added || name == SIGNATURE_FIELD {
                continue;
            }
            if let Err(full) = inline.try_push((name, at, text)) {
                more.push(full.element());
            }
        }
        let mac = if more.is_empty() {
            self.mac(&mut inline, body)
        } else {
            more.extend(inline.drain(..));
            self.mac(&mut more, body)
        };
        let checked = mac.verify_slice(expected.get(..length).unwrap_or_default());
        checked.map_err(|_| NotSigned::Wrong)
    }

    fn mac(&self, fields: &mut [(&str, usize, Text<'_>)], body: &[u8]) -> Hmac<Sha1> {
        fields.sort_unstable_by(|one, other| java_order(one.0, other.0).then(one.1.cmp(&other.1)));
        let mut mac = self.0.clone();
        let mut resolved = String::new();
        for (at, (name, _, text)) in fields.iter().enumerate() {
            if fields.get(at + 1).is_some_and(|next| next.0 == *name) {
                continue;
            }
            match text {
                Text::Plain(text) => mac.update(text.as_bytes()),
                text => {
                    resolved.clear();
                    text.append_to(&mut resolved);
                    mac.update(resolved.as_bytes());
                }
            }
        }
        mac.update(body);
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

/// The order of Java's `String`: UTF-16 units. Bytes order the same, but for letters beyond U+FFFF.
fn java_order(one: &str, other: &str) -> Ordering {
    let is_beyond = |text: &str| text.bytes().any(|byte| byte >= 0xF0);
    if is_beyond(one) || is_beyond(other) {
        one.encode_utf16().cmp(other.encode_utf16())
    } else {
        one.cmp(other)
    }
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

    /// A received header with these fields.
    fn header<'a>(fields: &[(&'a str, &'a str)], version: i32) -> Header<'a> {
        let mut out = bytes::BytesMut::new();
        let head = crate::header::CommandHead::request(10, 1);
        crate::header::encode(&mut out, crate::frame::HeaderEncoding::Json, &head, &fields);
        let bytes: &'static [u8] = out.to_vec().leak();
        let limits = crate::limits::FrameLimits::default();
        let header = Header::decode(crate::frame::HeaderEncoding::Json, bytes, &limits);
        Header {
            version,
            ..header.expect("a header")
        }
    }

    #[test]
    fn published_signatures_pass() {
        let key = SigningKey::new("12345678");
        let route = [
            ("topic", "TBW102"),
            ("AccessKey", "rocketmq2"),
            ("Signature", "/u5P/wZUbhjanu4LM/UzEdo2u2I="),
        ];
        assert_eq!(key.check(&header(&route, 513), b""), Ok(()));
        let send = [
            ("topic", "TopicTest"),
            ("queueId", "3"),
            ("AccessKey", "rocketmq2"),
            ("Signature", "TW8/P9vYIK/b1dEPiLvlMiXW94c="),
        ];
        assert_eq!(key.check(&header(&send, 513), b"hello"), Ok(()));
        assert_eq!(
            key.check(&header(&send, 513), b"hellO"),
            Err(NotSigned::Wrong)
        );
        assert_eq!(
            SigningKey::new("12345679").check(&header(&send, 513), b"hello"),
            Err(NotSigned::Wrong)
        );
        assert_eq!(
            key.check(&header(&send[..3], 513), b"hello"),
            Err(NotSigned::Missing)
        );
    }

    #[test]
    fn what_a_client_signs_is_checked_alike_whatever_its_fields_are() {
        let key = SigningKey::new("secret");
        let long: Vec<(String, String)> = (0..60)
            .map(|number| (format!("k{number}"), format!("v\u{1}{number}")))
            .collect();
        let long: Vec<(&str, &str)> = long
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        for fields in [
            &[][..],
            &[("b", "2"), ("a", "\u{1}\u{2}é\"\\"), ("unknown", "")],
            &[("B", "1"), ("a", "2"), ("Topic", "3"), ("_x", "4")],
            &long,
        ] {
            let added = sign("key", "secret", &fields, b"body");
            let mut all = fields.to_vec();
            all.extend(
                added
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            );
            assert_eq!(key.check(&header(&all, 513), b"body"), Ok(()), "{fields:?}");
            all.push(("later", "1"));
            assert_eq!(
                key.check(&header(&all, 513), b"body"),
                Err(NotSigned::Wrong)
            );
        }
    }

    #[test]
    fn old_clients_add_a_field_behind_the_signature() {
        let key = SigningKey::new("secret");
        let fields = [("topic", "orders")];
        let added = sign("key", "secret", &fields, b"");
        let all = [
            fields[0],
            ("AccessKey", "key"),
            ("Signature", added[1].1.as_str()),
            (ADDED_LATER, "true"),
        ];
        assert_eq!(key.check(&header(&all, 399), b""), Ok(()));
        assert_eq!(key.check(&header(&all, 400), b""), Err(NotSigned::Wrong));
    }

    #[test]
    fn letters_beyond_the_first_plane_come_before_the_last_of_it() {
        // U+1F600 is D83D DE00 in UTF-16, and U+FF5E is one unit above it.
        assert_eq!(java_order("\u{1F600}", "\u{FF5E}"), Ordering::Less);
        assert_eq!(java_order("Z", "a"), Ordering::Less);
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
