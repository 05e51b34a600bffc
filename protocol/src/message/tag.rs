//! Hash of a tag as clients compute it: Java's `String.hashCode`, over UTF-16 code units. Subscriptions carry the codes, so it must be exact.

/// Java's `String.hashCode`.
#[must_use]
pub fn java_hash_code(text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(0i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(byte))
        });
    }
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// What the queue index holds for a tag: the hash, sign-extended; 0 for no tag.
#[must_use]
pub fn tag_hash(tag: &str) -> i64 {
    i64::from(java_hash_code(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(java_hash_code(""), 0);
        assert_eq!(java_hash_code("TagA"), 2_598_919);
        assert_eq!(java_hash_code("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash_code("é中"), 0xe9 * 31 + 0x4e2d);
        assert_eq!(java_hash_code("😀"), 0xd83d * 31 + 0xde00);
        assert_eq!(tag_hash("polygenelubricants"), i64::from(i32::MIN));
    }
}
