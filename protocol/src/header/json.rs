//! The JSON header. A scanner of our own reads the flat headers that every client sends, as borrowed slices and in one pass;
//! whatever it does not know (nested values, odd escapes, other spellings) goes to the general reader, so the scanner never
//! has to decide what is an error.

use bytes::{BufMut, BytesMut};

use super::binary::check_field;
use super::text::hex4;
use super::{
    CommandHead, FieldSink, FieldSource, Header, HeaderError, Language, Text, json_general,
};
use crate::limits::FrameLimits;

pub(super) fn decode<'a>(
    bytes: &'a [u8],
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<(), HeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|error| HeaderError::NotUtf8 {
        what: "header",
        at: error.valid_up_to(),
    })?;
    match scan(text, limits, header) {
        Ok(()) => Ok(()),
        Err(Stop::Unusual) => {
            *header = json_general::decode(text, limits)?;
            Ok(())
        }
        Err(Stop::Error(error)) => Err(*error),
    }
}

/// Why the scanner stopped.
enum Stop {
    /// Not a header that it knows; the general reader decides.
    Unusual,
    Error(Box<HeaderError>),
}

impl From<HeaderError> for Stop {
    fn from(error: HeaderError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// The bytes that end a run of ordinary string characters.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

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
                // Readers treat a null field as an absent one.
                Scalar::Null if self.more().ok_or(Stop::Unusual)? => continue,
                Scalar::Null => return Ok(()),
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

fn scan<'a>(text: &'a str, limits: &FrameLimits, header: &mut Header<'a>) -> Result<(), Stop> {
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

pub(super) fn encode(out: &mut BytesMut, head: &CommandHead, fields: &dyn FieldSource) {
    out.reserve(320);
    let mut number = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(number.format(head.code).as_bytes());
    if fields.is_present() {
        out.put_slice(b",\"extFields\":{");
        fields.visit(&mut Sink { out, first: true });
        out.put_slice(b"}");
    }
    out.put_slice(b",\"flag\":");
    out.put_slice(number.format(head.flag).as_bytes());
    out.put_slice(b",\"language\":\"");
    out.put_slice(head.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    out.put_slice(number.format(head.opaque).as_bytes());
    if let Some(remark) = &head.remark {
        out.put_slice(b",\"remark\":");
        put_string(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(number.format(head.version).as_bytes());
    out.put_slice(b"}");
}

struct Sink<'a> {
    out: &'a mut BytesMut,
    first: bool,
}

impl Sink<'_> {
    #[inline]
    fn known_key(&mut self, key: &'static str) {
        self.out.reserve(key.len() + 32);
        self.out.put_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        // Names that the program knows have nothing to escape.
        self.out.put_slice(key.as_bytes());
        self.out.put_slice(b"\":\"");
    }
}

impl FieldSink for Sink<'_> {
    fn str(&mut self, key: &'static str, value: &str) {
        self.known_key(key);
        put_escaped(self.out, value);
        self.out.put_slice(b"\"");
    }

    fn int(&mut self, key: &'static str, value: i64) {
        self.known_key(key);
        self.out
            .put_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.put_slice(b"\"");
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.known_key(key);
        self.out
            .put_slice(if value { b"true\"" } else { b"false\"" });
    }

    fn pair(&mut self, key: &str, value: &str) {
        self.out.put_slice(if self.first { b"" } else { b"," });
        self.first = false;
        put_string(self.out, key);
        self.out.put_slice(b":");
        put_string(self.out, value);
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_slice(b"\"");
    put_escaped(out, text);
    out.put_slice(b"\"");
}

/// The inside of a JSON string: runs are copied whole, the rest is escaped.
#[inline]
fn put_escaped(out: &mut BytesMut, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if !SPECIAL[usize::from(*byte)] {
            continue;
        }
        out.put_slice(&bytes[start..at]);
        start = at + 1;
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            _ => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.put_slice(b"\\u00");
                out.put_slice(&digits);
            }
        }
    }
    out.put_slice(&bytes[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::frame::HeaderEncoding;

    type Seen = (
        i32,
        Language,
        i32,
        i32,
        i32,
        Option<String>,
        Vec<(String, String)>,
    );

    /// Everything that a header says; fields sorted, the last of equal names, as the general reader keeps them.
    fn seen(header: &Header<'_>) -> Seen {
        let mut fields = std::collections::BTreeMap::new();
        for (key, value) in header.fields.iter() {
            fields.insert(key.to_owned(), value.to_cow().into_owned());
        }
        let remark = header
            .remark
            .as_ref()
            .map(|remark| remark.to_cow().into_owned());
        let fields = fields.into_iter().collect();
        (
            header.code,
            header.language,
            header.version,
            header.opaque,
            header.flag,
            remark,
            fields,
        )
    }

    /// The scanner either agrees with the general reader or leaves the header to it.
    fn agree(text: &str) -> bool {
        let limits = FrameLimits::default();
        let general = json_general::decode(text, &limits);
        let mut header = Header::empty(HeaderEncoding::Json);
        match scan(text, &limits, &mut header) {
            Ok(()) => {
                let general = general.unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(seen(&header), seen(&general), "{text}");
                true
            }
            Err(Stop::Error(error)) => {
                assert_eq!(general.unwrap_err(), *error, "{text}");
                true
            }
            Err(Stop::Unusual) => false,
        }
    }

    #[test]
    fn ordinary_headers_need_no_general_reader() {
        for line in include_str!("../../testdata/frames.jsonl").lines() {
            let frame: serde_json::Value = serde_json::from_str(line).unwrap();
            if frame["encoding"] == "json" {
                assert!(agree(&frame["header"].to_string()), "{line}");
            }
        }
        for text in [
            r#"{"code":10,"extFields":{"queueId":0,"batch":true,"n":null,"i":"K\u0001V\u0002 \ud83d\ude00"},"flag":0,"language":"CPP","opaque":7,"remark":"","version":63}"#,
            "{ \"code\" : 10 ,\n \"extFields\" : { } , \"remark\":null }",
            r#"{"code":"310","extFields":null,"unknown":"x","other":5}"#,
        ] {
            assert!(agree(text), "{text}");
        }
    }

    #[test]
    fn odd_headers_go_to_the_general_reader_and_are_read_there() {
        for text in [
            r#"{"code":1,"extFields":{"\u0061":"x"}}"#,
            r#"{"code":1,"extFields":{"a":{"b":1}}}"#,
            r#"{"code":1,"extFields":{"a":1.5}}"#,
            r#"{"code":1,"language":12}"#,
            r#"{"code":1,"other":[1,2]}"#,
        ] {
            assert!(!agree(text), "{text}");
            let header = Header::decode(
                HeaderEncoding::Json,
                text.as_bytes(),
                &FrameLimits::default(),
            )
            .unwrap();
            assert_eq!(header.code, 1);
        }
    }

    fn scalar() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            any::<i64>().prop_map(|number| number.to_string()),
            r#""[a\\\\"u01d8/ ]{0,12}""#,
            Just("true".to_owned()),
            Just("null".to_owned()),
            Just("-0".to_owned()),
            Just("1e3".to_owned()),
            Just("{}".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn scanner_and_general_reader_agree(
            fields in vec(("[a-c]{1,2}", scalar()), 0..6),
            remark in scalar(), opaque in any::<i32>(),
            space in "[ \n\t]{0,2}",
        ) {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{space}\"{key}\"{space}:{value}{space}")).collect();
            agree(&format!(
                "{space}{{\"code\":310,{space}\"extFields\":{{{}}},\"opaque\":{opaque},\"remark\":{remark}{space}}}", fields.join(",")
            ));
        }

        #[test]
        fn they_agree_on_damaged_headers(at in 0usize..300, with in any::<u8>()) {
            let mut bytes = br#"{"code":10,"extFields":{"queueId":"0","producerGroup":"g","flag":"7","properties":"K\u0001V\u0002TAGS\u0001x\u0002","x":5},"flag":0,"language":"JAVA","opaque":17639,"version":513}"#.to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok(text) = std::str::from_utf8(&bytes) {
                agree(text);
            }
        }
    }
}
