//! The scanner: flat headers in one pass, as slices of the frame.

use std::ops::Range;

use super::special::special_bits;
use crate::header::binary::check_field;
use crate::header::text::hex4;
use crate::header::{Header, HeaderError, Language, Text};
use crate::limits::FrameLimits;
use crate::run::{self, BLOCK};

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

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Which of the [`BLOCK`] bytes from `block_at` on end a run of ordinary string characters, one bit each: they are looked at
    /// together, once.
    marks: u64,
    block_at: usize,
    /// Where the correlation id lies.
    opaque: Option<Range<usize>>,
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
        self.text.as_bytes().get(self.at..).unwrap_or_default()
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

    /// The end of a string that starts at `at`, and whether it has escapes; they are checked.
    #[inline(always)]
    fn string_end(&mut self, at: usize) -> Option<(usize, bool)> {
        let end = self.special_from(at);
        match self.text.as_bytes().get(end) {
            Some(b'"') => Some((end, false)),
            Some(b'\\') => self.escaped_end(end).map(|end| (end, true)),
            _ => None,
        }
    }

    /// The end of a string that has an escape at `at`.
    fn escaped_end(&mut self, at: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let mut at = at;
        loop {
            match bytes.get(at)? {
                b'"' => return Some(at),
                b'\\' => at = self.special_from(at + escape_length(bytes, at)?),
                _ => return None,
            }
        }
    }

    /// A field as every client writes it, `"name":"value"` without white space; none, and the scanner where it was, when it looks
    /// otherwise.
    #[inline(always)]
    fn plain_field(&mut self) -> Option<(&'a str, &'a str, bool)> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let key_end = self.special_from(start);
        let value = key_end + 3;
        if bytes.get(key_end..value) != Some(b"\":\"") {
            return None;
        }
        let (value_end, escaped) = self.string_end(value)?;
        self.at = value_end + 1;
        Some((
            &self.text[start..key_end],
            &self.text[value..value_end],
            escaped,
        ))
    }

    /// A name as every client writes it, with its colon and without white space.
    #[inline(always)]
    fn plain_key(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let end = self.special_from(start);
        if bytes.get(end..end + 2) != Some(b"\":") {
            return None;
        }
        self.at = end + 2;
        Some(&self.text[start..end])
    }

    /// A number as every client writes it, up to the next member; none, and the scanner where it was, when it looks otherwise.
    #[inline(always)]
    fn plain_number(&mut self) -> Option<i32> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        let mut value = 0i64;
        loop {
            match *bytes.get(at)? {
                digit @ b'0'..=b'9' if at < self.at + 10 => {
                    value = value * 10 + i64::from(digit - b'0');
                }
                b',' | b'}' if at > self.at => break,
                _ => return None,
            }
            at += 1;
        }
        // A number does not start with zero.
        if bytes.get(self.at) == Some(&b'0') && at > self.at + 1 {
            return None;
        }
        let value = i32::try_from(value).ok()?;
        self.at = at;
        Some(value)
    }

    /// The first byte from `at` on that is no ordinary string character, or the end.
    #[inline(always)]
    fn special_from(&mut self, at: usize) -> usize {
        let marks = match at.wrapping_sub(self.block_at) {
            within @ 0..BLOCK => self.marks >> within,
            _ => 0,
        };
        if marks == 0 {
            return self.special_beyond(at);
        }
        at + marks.trailing_zeros() as usize
    }

    /// The same where the block in `marks` has no more.
    fn special_beyond(&mut self, at: usize) -> usize {
        let mut at = at;
        while at < self.text.len() {
            self.mark(at);
            if self.marks != 0 {
                return at + self.marks.trailing_zeros() as usize;
            }
            at += BLOCK;
        }
        self.text.len()
    }

    /// Looks at the block from `at` on.
    fn mark(&mut self, at: usize) {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        self.block_at = at;
        self.marks = match rest.first_chunk::<BLOCK>() {
            Some(block) => special_bits(block),
            None => special_bits(&run::padded(rest, b' ')),
        };
    }

    /// A string whose escapes are checked.
    fn string(&mut self) -> Option<Span> {
        self.expect(b'"')?;
        let start = self.at;
        let (end, escaped) = self.string_end(start)?;
        self.at = end + 1;
        Some(Span {
            start: start as u32,
            end: end as u32,
            escaped,
        })
    }

    /// A name: a string without escapes, and the colon.
    #[inline(always)]
    fn key(&mut self) -> Option<&'a str> {
        self.plain_key().or_else(|| self.any_key())
    }

    fn any_key(&mut self) -> Option<&'a str> {
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
        if let Some(number) = self.plain_number() {
            return Some(number);
        }
        match self.scalar()? {
            Scalar::Bare(text)
            | Scalar::String {
                inside: text,
                escaped: false,
            } => Text::Plain(text).parse(),
            _ => None,
        }
    }

    /// A field in any spelling.
    fn field(&mut self) -> Option<(&'a str, &'a str, bool)> {
        let key = self.key()?;
        match self.scalar()? {
            Scalar::String { inside, escaped } => Some((key, inside, escaped)),
            Scalar::Bare(text) => Some((key, text, false)),
            // It takes back an earlier field of the same name; no client sends that.
            Scalar::Null => None,
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
            let plain = self.plain_field();
            let (key, value, escaped) = plain.or_else(|| self.field()).ok_or(Stop::Unusual)?;
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
    let digits = bytes
        .iter()
        .skip(sign)
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

/// Reads a flat header into `header`; answers where its correlation id lies.
pub(super) fn scan<'a>(
    text: &'a str,
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<Option<Range<usize>>, Stop> {
    let mut scanner = Scanner {
        text,
        at: 0,
        marks: 0,
        block_at: 0,
        opaque: None,
    };
    scanner.mark(0);
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
    Ok(scanner.opaque)
}

/// Any member of the header but its fields.
fn member<'a>(scanner: &mut Scanner<'a>, key: &str, header: &mut Header<'a>) -> Option<()> {
    match key {
        "code" => header.code = scanner.int()?,
        "version" => header.version = scanner.int()?,
        "opaque" => {
            let start = scanner.at;
            header.opaque = scanner.int()?;
            scanner.opaque = Some(start..scanner.at);
        }
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
