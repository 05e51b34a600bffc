//! The scanner: flat headers in one pass, as slices of the frame.

use super::SPECIAL;
use crate::header::binary::check_field;
use crate::header::text::hex4;
use crate::header::{Header, HeaderError, Language, Text};
use crate::limits::FrameLimits;

/// Why the scanner stopped.
pub(super) enum Stop {
    /// Not a header that it knows; the general reader decides.
    Unusual,
    Error(Box<HeaderError>),
}

impl From<HeaderError> for Stop {
    fn from(error: HeaderError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// How many bytes at the start of `bytes` are ordinary string characters; eight are looked at together.
#[inline]
fn ordinary(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        // The lowest marked byte is always right; bytes above it may be marked by a borrow.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let marked =
            control | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64));
        if marked != 0 {
            return at + (marked.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + bytes[at..]
        .iter()
        .take_while(|byte| !SPECIAL[usize::from(**byte)])
        .count()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// A scalar as it lies in the text.
enum Scalar<'a> {
    String {
        inside: &'a str,
        escaped: bool,
    },
    /// A number, `true` or `false`.
    Bare(&'a str),
    Null,
}

/// Where a string lies, without its quotes.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    escaped: bool,
}

/// `None` anywhere in here: not a header that the scanner knows.
impl<'a> Scanner<'a> {
    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at.min(self.text.len())..]
    }

    /// The next byte that is no white space. Clients send none, so the first look nearly always finds it.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        match self.text.as_bytes().get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.skip_space(),
        }
    }

    #[cold]
    fn skip_space(&mut self) -> Option<u8> {
        let space = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += self.rest().iter().take_while(space).count();
        self.rest().first().copied()
    }

    #[inline(always)]
    fn expect(&mut self, wanted: u8) -> Option<()> {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found.then_some(())
    }

    /// After a member: another one follows (true) or the object ends (false).
    #[inline(always)]
    fn more(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    #[inline(always)]
    fn text_of(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    /// A string whose escapes are checked; the scanner stands at its quote.
    #[inline(always)]
    fn string(&mut self) -> Option<Span> {
        // Most values of a send are one digit.
        if let [b'"', one, b'"', ..] = self.rest()
            && one.is_ascii()
            && !SPECIAL[usize::from(*one)]
        {
            let start = self.at as u32 + 1;
            self.at += 3;
            return Some(Span {
                start,
                end: start + 1,
                escaped: false,
            });
        }
        self.long_string()
    }

    fn long_string(&mut self) -> Option<Span> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += ordinary(&bytes[at..]);
            match bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += escape_length(bytes, at)?;
                }
                _ => return None,
            }
        }
        self.at = at + 1;
        Some(Span {
            start: start as u32,
            end: at as u32,
            escaped,
        })
    }

    /// A name: a string without escapes, and the colon.
    #[inline(always)]
    fn key(&mut self) -> Option<&'a str> {
        self.peek()?;
        let span = self.string()?;
        self.expect(b':')?;
        (!span.escaped).then(|| self.text_of(span))
    }

    #[inline(always)]
    fn scalar(&mut self) -> Option<Scalar<'a>> {
        if self.peek()? == b'"' {
            let span = self.string()?;
            return Some(Scalar::String {
                inside: self.text_of(span),
                escaped: span.escaped,
            });
        }
        self.bare()
    }

    fn bare(&mut self) -> Option<Scalar<'a>> {
        let rest = self.rest();
        let (length, null) = match rest.first()? {
            b'-' | b'0'..=b'9' => (integer_length(rest)?, false),
            b't' if rest.starts_with(b"true") => (4, false),
            b'f' if rest.starts_with(b"false") => (5, false),
            b'n' if rest.starts_with(b"null") => (4, true),
            _ => return None,
        };
        let start = self.at;
        self.at += length;
        Some(if null {
            Scalar::Null
        } else {
            Scalar::Bare(&self.text[start..self.at])
        })
    }

    #[inline]
    fn int(&mut self) -> Option<i32> {
        match self.scalar()? {
            Scalar::Bare(text)
            | Scalar::String {
                inside: text,
                escaped: false,
            } => Text::Plain(text).parse(),
            _ => None,
        }
    }

    fn fields(&mut self, header: &mut Header<'a>, limits: &FrameLimits) -> Result<(), Stop> {
        if self.peek() == Some(b'n') {
            return self.bare().map(drop).ok_or(Stop::Unusual);
        }
        self.expect(b'{').ok_or(Stop::Unusual)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            let key = self.key().ok_or(Stop::Unusual)?;
            let (value, escaped) = match self.scalar().ok_or(Stop::Unusual)? {
                Scalar::String { inside, escaped } => (inside, escaped),
                Scalar::Bare(text) => (text, false),
                // It takes back an earlier field of the same name; no client sends that.
                Scalar::Null => return Err(Stop::Unusual),
            };
            check_field(key.len(), value.len(), header.fields.len(), limits)?;
            header.fields.push(key, value, escaped);
            if !self.more().ok_or(Stop::Unusual)? {
                return Ok(());
            }
        }
    }
}

/// Length of an integer at the start of `bytes`. Fractions, exponents, leading zeros and numbers beyond 18 digits are left to
/// the general reader.
fn integer_length(bytes: &[u8]) -> Option<usize> {
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let digits = bytes[sign..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let leading_zero = digits + sign > 1 && bytes.get(sign) == Some(&b'0');
    let goes_on = matches!(bytes.get(sign + digits), Some(b'.' | b'e' | b'E'));
    ((1..=18).contains(&digits) && !leading_zero && !goes_on).then_some(sign + digits)
}

/// Length of the escape at `at`; `None` when it is not one. A pair of surrogates is one escape.
#[inline]
fn escape_length(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => match hex4(bytes, at + 2)? {
            0xd800..=0xdbff => {
                let pair = bytes.get(at + 6..at + 8) == Some(b"\\u");
                (pair && matches!(hex4(bytes, at + 8)?, 0xdc00..=0xdfff)).then_some(12)
            }
            0xdc00..=0xdfff => None,
            _ => Some(6),
        },
        _ => None,
    }
}

/// Reads a flat header into `header`.
pub(super) fn scan<'a>(
    text: &'a str,
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<(), Stop> {
    let mut scanner = Scanner { text, at: 0 };
    let mut has_code = false;
    let mut has_fields = false;
    scanner.expect(b'{').ok_or(Stop::Unusual)?;
    loop {
        let key = scanner.key().ok_or(Stop::Unusual)?;
        if key == "extFields" {
            if has_fields {
                return Err(Stop::Unusual);
            }
            scanner.fields(header, limits)?;
            has_fields = true;
        } else {
            member(&mut scanner, key, header).ok_or(Stop::Unusual)?;
            has_code |= key == "code";
        }
        if !scanner.more().ok_or(Stop::Unusual)? {
            break;
        }
    }
    if scanner.peek().is_some() || !has_code {
        return Err(Stop::Unusual);
    }
    Ok(())
}

/// Any member of the header but its fields.
fn member<'a>(scanner: &mut Scanner<'a>, key: &str, header: &mut Header<'a>) -> Option<()> {
    match key {
        "code" => header.code = scanner.int()?,
        "version" => header.version = scanner.int()?,
        "opaque" => header.opaque = scanner.int()?,
        "flag" => header.flag = scanner.int()?,
        "language" => match scanner.scalar()? {
            Scalar::String {
                inside,
                escaped: false,
            } => header.language = Language::from_name(inside),
            _ => return None,
        },
        "remark" => {
            header.remark = match scanner.scalar()? {
                Scalar::String {
                    inside,
                    escaped: true,
                } => Some(Text::Escaped(inside)),
                Scalar::String { inside, .. } => Some(Text::Plain(inside)),
                Scalar::Null => None,
                Scalar::Bare(_) => return None,
            }
        }
        _ => {
            scanner.scalar()?;
        }
    }
    Some(())
}
