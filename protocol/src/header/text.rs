//! A string of a header as it lies in the frame. A JSON string with escapes stays escaped until somebody needs it: the
//! longest field of a send (its properties, full of `\u0001` and `\u0002`) then goes straight into the record.

use std::borrow::Cow;
use std::fmt;

use wide::u8x16;

use crate::run;

/// A string that may still carry JSON escapes.
#[derive(Clone)]
pub enum Text<'a> {
    /// The string itself.
    Plain(&'a str),
    /// The inside of a JSON string with escapes that the scanner has checked.
    Escaped(&'a str),
    /// A string that had to be copied (headers that only the general JSON reader understands).
    Owned(String),
}

impl<'a> Text<'a> {
    #[inline(always)]
    pub(crate) fn of(inside: &'a str, escaped: bool) -> Self {
        if escaped {
            Self::Escaped(inside)
        } else {
            Self::Plain(inside)
        }
    }

    /// The resolved string. Allocates only when there are escapes.
    #[must_use]
    pub fn to_cow(&self) -> Cow<'_, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(text) => Cow::Owned(unescape(text)),
            Self::Owned(text) => Cow::Borrowed(text),
        }
    }

    /// The resolved string, borrowing from the frame where that is possible.
    #[must_use]
    #[inline]
    pub fn into_cow(self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Escaped(text) => Cow::Owned(unescape(text)),
            Self::Owned(text) => Cow::Owned(text),
        }
    }

    /// Appends the resolved string to `out`; never allocates beyond `out`.
    #[inline]
    pub fn append_to(&self, out: &mut String) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Escaped(text) => unescape_into(text, out),
            Self::Owned(text) => out.push_str(text),
        }
    }

    /// The text as it lies in the frame, escapes unresolved.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Escaped(text) => text,
            Self::Owned(text) => text,
        }
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw().is_empty()
    }

    /// Whether the resolved string is `other`.
    #[must_use]
    pub fn eq_str(&self, other: &str) -> bool {
        match self {
            Self::Escaped(text) => text.len() >= other.len() && unescape(text) == other,
            _ => self.raw() == other,
        }
    }

    /// Reads an integer or a boolean; `None` when the text is not one.
    #[must_use]
    #[inline(always)]
    pub fn parse<T: FromText>(&self) -> Option<T> {
        match self {
            Self::Plain(text) => T::from_text(text),
            _ => self.parse_resolved(),
        }
    }

    /// No client escapes a number.
    #[cold]
    fn parse_resolved<T: FromText>(&self) -> Option<T> {
        T::from_text(&self.to_cow())
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_cow(), f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_cow())
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Text<'_>) -> bool {
        self.to_cow() == other.to_cow()
    }
}

impl Eq for Text<'_> {}

impl Default for Text<'_> {
    fn default() -> Self {
        Text::Plain("")
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text::Plain(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Owned(text)
    }
}

/// What [`Text::parse`] can read.
pub trait FromText: Sized {
    /// Reads the whole text; `None` when it is something else.
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for i64 {
    #[inline(always)]
    fn from_text(text: &str) -> Option<Self> {
        parse_i64(text.as_bytes())
    }
}

impl FromText for i32 {
    #[inline(always)]
    fn from_text(text: &str) -> Option<Self> {
        parse_i64(text.as_bytes()).and_then(|value| value.try_into().ok())
    }
}

impl FromText for bool {
    /// `true` and `false` in any case; the C++ client writes `1` and `0`; Java reads an empty text as false.
    #[inline]
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "true" | "1" => Some(true),
            "false" | "0" | "" => Some(false),
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }
}

impl FromText for f64 {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[inline(always)]
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if let [digit @ b'0'..=b'9'] = digits {
        let value = i64::from(digit - b'0');
        return Some(if negative { -value } else { value });
    }
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    if digits.len() <= 18 {
        // Cannot overflow: 18 digits are below 10^18.
        let (eights, rest) = digits.as_chunks::<8>();
        let mut value = 0i64;
        for eight in eights {
            value = value * 100_000_000 + parse_eight(*eight)?;
        }
        for digit in rest {
            let digit = digit.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            value = value * 10 + i64::from(digit);
        }
        return Some(if negative { -value } else { value });
    }
    let mut value = 0i64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// Eight digits at once: neighbours are joined to pairs, those to fours, and those to the number.
#[inline(always)]
fn parse_eight(digits: [u8; 8]) -> Option<i64> {
    const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
    const HIGH: u64 = u64::from_le_bytes([0xf0; 8]);
    const SIXES: u64 = u64::from_le_bytes([6; 8]);
    let text = u64::from_le_bytes(digits);
    // A digit is 0x30 to 0x39: its upper half stays as it is when 6 is added.
    if text & HIGH != ZEROS || (text + SIXES) & HIGH != ZEROS {
        return None;
    }
    let ones = text - ZEROS;
    let pairs = (ones * 10 + (ones >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let eight = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    Some(eight as i64)
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    unescape_into(text, &mut out);
    out
}

/// Resolves the escapes of the inside of a JSON string. What is not an escape is kept as it is.
fn unescape_into(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len());
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if !rest.starts_with(b"\\") {
            let run = run_length(rest);
            out.push_str(&text[at..at + run]);
            at += run;
            continue;
        }
        let simple = match rest.get(1) {
            Some(b'u') => {
                at += unescape_unicode(rest, out);
                continue;
            }
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(&other @ (b'"' | b'\\' | b'/')) => char::from(other),
            _ => {
                out.push('\\');
                at += 1;
                continue;
            }
        };
        out.push(simple);
        at += 2;
    }
}

/// Bytes up to the next backslash.
#[inline]
fn run_length(bytes: &[u8]) -> usize {
    run::length(bytes, |bytes| bytes.simd_eq(u8x16::splat(b'\\')))
}

/// Resolves the `\uXXXX` (or the pair of surrogates) at the start of `bytes`; answers how many bytes it took.
#[inline]
fn unescape_unicode(bytes: &[u8], out: &mut String) -> usize {
    // Separators of properties, by far the most frequent escapes.
    if let [_, _, b'0', b'0', b'0', digit @ b'0'..=b'9', ..] = bytes {
        out.push(char::from(digit - b'0'));
        return 6;
    }
    let Some(unit) = hex4(bytes, 2) else {
        out.push('\\');
        return 1;
    };
    let (point, taken) = match unit {
        0xd800..=0xdbff => match (bytes.get(6..8), hex4(bytes, 8)) {
            (Some(b"\\u"), Some(low @ 0xdc00..=0xdfff)) => {
                (0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00), 12)
            }
            _ => (0xfffd, 6),
        },
        _ => (unit, 6),
    };
    out.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
    taken
}

/// Four hex digits at `at`, as a number.
#[inline]
pub(super) fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..)?.first_chunk::<4>()?;
    if let [b'0', b'0', b'0', digit @ b'0'..=b'9'] = digits {
        return Some(u32::from(digit - b'0'));
    }
    let mut value = 0;
    for digit in digits {
        value = value << 4 | (*digit as char).to_digit(16)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve_only_when_asked() {
        let text = Text::Escaped(r#"K\u0001V\u0002 \"q\" \\ \/ \n\t \u00e9 \ud83d\ude00 é"#);
        assert_eq!(text.to_cow(), "K\u{1}V\u{2} \"q\" \\ / \n\t é 😀 é");
        let mut out = "head".to_owned();
        text.append_to(&mut out);
        assert_eq!(out, "headK\u{1}V\u{2} \"q\" \\ / \n\t é 😀 é");
        assert!(text.eq_str("K\u{1}V\u{2} \"q\" \\ / \n\t é 😀 é"));
        assert!(matches!(Text::Plain("abc").to_cow(), Cow::Borrowed("abc")));
    }

    #[test]
    fn broken_escapes_do_not_panic() {
        for text in [
            "\\",
            "\\u",
            "\\u12",
            "\\ud83d",
            "\\ud83dx",
            "\\ud83d\\u0041",
            "\\x",
            "\\u00zz",
        ] {
            let mut out = String::new();
            Text::Escaped(text).append_to(&mut out);
            assert!(!out.is_empty(), "{text}");
        }
    }

    #[test]
    fn integers_keep_their_range() {
        for value in [
            0,
            1,
            -1,
            i64::MAX,
            i64::MIN,
            999_999_999_999_999_999,
            1_000_000_000_000_000_000,
        ] {
            assert_eq!(Text::Plain(&value.to_string()).parse::<i64>(), Some(value));
        }
        for bad in [
            "",
            "-",
            "+",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "1.0",
            " 1",
            "123456789012345678901",
        ] {
            assert_eq!(Text::Plain(bad).parse::<i64>(), None, "{bad}");
        }
        assert_eq!(Text::Plain("2147483648").parse::<i32>(), None);
        assert_eq!(Text::Plain("-2147483648").parse::<i32>(), Some(i32::MIN));
        assert_eq!(Text::Escaped("1\\u0032").parse::<i32>(), Some(12));
        for length in 1..=18 {
            let digits = &"987654321012345678"[..length];
            assert_eq!(Text::Plain(digits).parse::<i64>(), digits.parse().ok());
            for at in 0..length {
                for other in [b'0' - 1, b'9' + 1, b'0' | 0x80, 0x0a, b' '] {
                    let mut bytes = digits.as_bytes().to_vec();
                    bytes[at] = other;
                    let text = String::from_utf8_lossy(&bytes);
                    assert_eq!(Text::Plain(&text).parse::<i64>(), None, "{text}");
                }
            }
        }
    }

    #[test]
    fn booleans_of_every_client() {
        for (text, value) in [
            ("true", true),
            ("TRUE", true),
            ("1", true),
            ("false", false),
            ("0", false),
            ("", false),
        ] {
            assert_eq!(Text::Plain(text).parse::<bool>(), Some(value));
        }
        assert_eq!(Text::Plain("yes").parse::<bool>(), None);
    }
}
