//! Headers that arrive one after the other. A client's sends differ in few bytes: a queue, a time, an id. A header that differs from
//! the one before only inside of values is not taken apart again; what differs is put in place.
//!
//! ```text
//! before  {"code":310,"extFields":{"a":"group",..,"e":"3","g":"1795355382238","i":"UNIQ_KEY\u00017F..0A\u0002"},..,"opaque":131,..}
//! free                             ─────       ─     ─────────────       ────────      ──────                          ───
//! now     {"code":310,"extFields":{"a":"group",..,"e":"0","g":"1795355382239","i":"UNIQ_KEY\u00017F..0B\u0002"},..,"opaque":132,..}
//! differs                                         ─                   ─                              ─                           ─
//! ```
//! It is alike when it is as long, every byte that differs is free, and is an ordinary ASCII character now. Everything else, quotes,
//! escapes, names and lengths, is then where it was.

use std::ops::Range;

use arrayvec::ArrayVec;
use memchr::memchr;

use super::binary::letter;
use super::json::special_bits;
use super::stretches::Stretches;
use super::text::parse_i64;
use super::{Header, HeaderError, Language, Text, fields};
use crate::frame::HeaderEncoding;
use crate::limits::FrameLimits;
use crate::run::{self, BLOCK};

const BLOCKS: usize = 8;
/// Longer headers are read anew each time.
const BYTES_MAX: usize = BLOCK * BLOCKS;
/// After so many headers in a row that were as long as the one before and not alike, it is no longer looked for.
const MISSES_MAX: u8 = 4;

/// Decodes the headers of the frames of one read buffer.
#[derive(Debug)]
pub struct HeaderReader<'a> {
    header: Header<'a>,
    /// What `header` was read from; empty when it holds nothing.
    bytes: &'a [u8],
    /// Where the correlation id lies in it; none when it cannot be told.
    opaque: Option<Range<usize>>,
    /// Only once a header of the same length came.
    layout: Option<Layout>,
    misses: u8,
    /// `header` lies as the known one.
    is_known: bool,
}

/// What a connection keeps of a header, for the first ones of later reads that are like it. It keeps one once two of the same length
/// came one after the other.
#[derive(Debug, Default)]
pub struct KnownHeader {
    known: Option<Box<Known>>,
    /// Length of the first header of the last read.
    last_bytes: usize,
    misses: u8,
}

#[derive(Debug)]
struct Known {
    bytes: Box<[u8]>,
    opaque: Range<usize>,
    layout: Layout,
    /// Of the names, in the order of the fields.
    names: ArrayVec<Name, { fields::INLINE }>,
    encoding: HeaderEncoding,
    code: i32,
    language: Language,
    version: i32,
    flag: i32,
    /// A bit for each field whose value is escaped.
    escaped: u32,
}

/// The name of a field: one letter, or where it lies.
#[derive(Debug)]
enum Name {
    Letter(&'static str),
    At(Range<u16>),
}

impl KnownHeader {
    /// None when the header is not like the known one; what `header`, which is empty before, holds then is of no use.
    fn read<'a>(
        &mut self,
        header: &mut Header<'a>,
        encoding: HeaderEncoding,
        bytes: &'a [u8],
    ) -> Option<Range<usize>> {
        let known = self.known.as_deref()?;
        if known.encoding != encoding || known.bytes.len() != bytes.len() {
            return None;
        }
        let layout = &known.layout;
        layout.differences(encoding, &known.bytes, bytes)?;
        header.encoding = encoding;
        header.code = known.code;
        header.language = known.language;
        header.version = known.version;
        header.flag = known.flag;
        header.opaque = opaque_of(encoding, bytes, &known.opaque)?;
        let mut texts = Stretches::new(bytes);
        let pairs = known.names.iter().zip(&layout.values);
        for (index, (name, value)) in pairs.enumerate() {
            let is_escaped = known.escaped & 1 << index != 0;
            let name = match name {
                Name::Letter(letter) => letter,
                Name::At(place) => texts.get(wide(place))?,
            };
            header
                .fields
                .push(name, texts.get(wide(value))?, is_escaped);
        }
        self.misses = 0;
        Some(known.opaque.clone())
    }

    /// A header was taken apart.
    fn learn(&mut self, reader: &HeaderReader<'_>) {
        let is_as_long = self.last_bytes == reader.bytes.len();
        self.last_bytes = reader.bytes.len();
        if is_as_long && self.last_bytes <= BYTES_MAX && self.misses < MISSES_MAX {
            self.misses += 1;
            self.known = Known::of(reader).map(Box::new);
        }
    }
}

impl Known {
    /// None when the header is one that has to be read anew each time.
    fn of(reader: &HeaderReader<'_>) -> Option<Self> {
        let (header, bytes) = (&reader.header, reader.bytes);
        let opaque = reader.opaque.clone()?;
        let layout = Layout::of(header, bytes, &opaque)?;
        let mut known = Self {
            layout,
            names: ArrayVec::new(),
            encoding: header.encoding,
            code: header.code,
            language: header.language,
            version: header.version,
            flag: header.flag,
            escaped: 0,
            bytes: bytes.into(),
            opaque,
        };
        for (index, (name, text)) in header.fields.iter().enumerate() {
            let name = match letter(name.as_bytes()) {
                Some(letter) => Name::Letter(letter),
                None => Name::At(place_in(bytes, name)?),
            };
            known.names.try_push(name).ok()?;
            known.escaped |= u32::from(matches!(text, Text::Escaped(_))) << index;
        }
        header.remark.is_none().then_some(known)
    }
}

/// Where a part of `bytes` lies in it.
fn place_in(bytes: &[u8], part: &str) -> Option<Range<u16>> {
    let start = part.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    Some(u16::try_from(start).ok()?..u16::try_from(start + part.len()).ok()?)
}

/// A place that is kept in less room.
#[inline]
fn wide(place: &Range<u16>) -> Range<usize> {
    usize::from(place.start)..usize::from(place.end)
}

/// The correlation id of a header that is like one before.
#[inline]
fn opaque_of(encoding: HeaderEncoding, bytes: &[u8], place: &Range<usize>) -> Option<i32> {
    let opaque = bytes.get(place.clone())?;
    match encoding {
        HeaderEncoding::Json => parse_opaque(opaque),
        HeaderEncoding::Binary => Some(i32::from_be_bytes(*opaque.first_chunk()?)),
    }
}

/// Where things lie in a header.
#[derive(Debug, Clone)]
struct Layout {
    /// A bit for each byte that may be another one in a header that is alike.
    free: [u64; BLOCKS],
    /// Those of the first block that may be any byte, also none of a text.
    any: u64,
    /// Of the values, in the order of the fields.
    values: ArrayVec<Range<u16>, { fields::INLINE }>,
}

impl<'a> HeaderReader<'a> {
    /// A reader that has seen no header yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            header: Header::empty(HeaderEncoding::Json),
            bytes: &[],
            opaque: None,
            layout: None,
            misses: 0,
            is_known: false,
        }
    }

    /// Decodes the next header, as [`Header::decode`] does.
    ///
    /// # Errors
    /// Those of [`Header::decode`].
    #[inline]
    pub fn read(
        &mut self,
        encoding: HeaderEncoding,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<&Header<'a>, HeaderError> {
        self.advance(encoding, bytes, limits)?;
        Ok(&self.header)
    }

    /// As [`read`](Self::read); the first header may be like one of an earlier read, which `known` has.
    ///
    /// # Errors
    /// Those of [`Header::decode`].
    #[inline]
    pub fn read_after(
        &mut self,
        known: &mut KnownHeader,
        encoding: HeaderEncoding,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<&Header<'a>, HeaderError> {
        let is_first = self.bytes.is_empty();
        if is_first && let Some(opaque) = known.read(&mut self.header, encoding, bytes) {
            self.opaque = Some(opaque);
            self.bytes = bytes;
            self.is_known = true;
            return Ok(&self.header);
        }
        if self.is_known && self.layout.is_none() {
            self.layout = known.known.as_ref().map(|known| known.layout.clone());
        }
        self.advance(encoding, bytes, limits)?;
        if is_first {
            known.learn(self);
        }
        Ok(&self.header)
    }

    /// Whether the header was like the one before.
    #[inline]
    fn advance(
        &mut self,
        encoding: HeaderEncoding,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<bool, HeaderError> {
        let is_as_long = encoding == self.header.encoding && bytes.len() == self.bytes.len();
        let is_alike = is_as_long && self.read_alike(bytes).is_some();
        if !is_alike {
            self.read_anew(encoding, bytes, limits)?;
        }
        self.bytes = bytes;
        Ok(is_alike)
    }

    fn read_anew(
        &mut self,
        encoding: HeaderEncoding,
        bytes: &'a [u8],
        limits: &FrameLimits,
    ) -> Result<(), HeaderError> {
        self.bytes = &[];
        self.layout = None;
        self.is_known = false;
        self.header = Header::empty(encoding);
        self.opaque = self.header.fill(bytes, limits)?;
        Ok(())
    }

    /// None when the header is not like the one before; what `self.header` holds then is of no use.
    fn read_alike(&mut self, bytes: &'a [u8]) -> Option<()> {
        if bytes.len() > BYTES_MAX || self.misses == MISSES_MAX {
            return None;
        }
        let opaque = self.opaque.clone()?;
        if self.layout.is_none() {
            self.layout = Layout::of(&self.header, self.bytes, &opaque);
        }
        self.misses += 1;
        let layout = self.layout.as_ref()?;
        let differs = layout.differences(self.header.encoding, self.bytes, bytes)?;
        self.header.opaque = opaque_of(self.header.encoding, bytes, &opaque)?;
        let mut values = layout.values.iter().enumerate();
        let mut done = 0usize;
        for (block, differs) in differs.iter().enumerate() {
            let start = block * BLOCK;
            let mut differs = differs & bits_from(done.saturating_sub(start));
            while differs != 0 {
                let at = start + differs.trailing_zeros() as usize;
                done = if opaque.contains(&at) {
                    opaque.end
                } else {
                    let (index, value) = values.find(|(_, value)| usize::from(value.end) > at)?;
                    let value = wide(value);
                    let text = std::str::from_utf8(bytes.get(value.clone())?).ok()?;
                    self.header.fields.replace(index, text)?;
                    value.end
                };
                differs &= bits_from(done.saturating_sub(start));
            }
        }
        self.misses = 0;
        Some(())
    }
}

impl Default for HeaderReader<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl Layout {
    /// None when the header is one that has to be read anew each time.
    fn of(header: &Header<'_>, bytes: &[u8], opaque: &Range<usize>) -> Option<Self> {
        let mut layout = Self {
            free: [0; BLOCKS],
            any: 0,
            values: ArrayVec::new(),
        };
        let is_json = header.encoding == HeaderEncoding::Json;
        if is_json {
            // One in quotes, negative or very long.
            parse_opaque(bytes.get(opaque.clone())?)?;
        } else {
            layout.any = bits_from(opaque.start) & !bits_from(opaque.end);
        }
        for (value, escaped) in header.fields.in_frame()? {
            let place = place_in(bytes, value)?;
            layout.values.try_push(place.clone()).ok()?;
            let start = usize::from(place.start);
            let place = start..usize::from(place.end);
            // Numbers and the like without quotes are no texts.
            if is_json && bytes.get(start.checked_sub(1)?) != Some(&b'"') {
                continue;
            }
            layout.set_free(&place, true);
            if escaped {
                layout.keep_escapes(value.as_bytes(), start);
            }
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let rest = run::padded(rest, 0);
        for (free, block) in layout.free.iter_mut().zip(blocks.iter().chain([&rest])) {
            *free &= text_bits(header.encoding, block);
        }
        layout.set_free(opaque, true);
        Some(layout)
    }

    fn set_free(&mut self, place: &Range<usize>, is_free: bool) {
        let blocks = place.start / BLOCK..place.end.div_ceil(BLOCK);
        for (index, free) in blocks
            .clone()
            .zip(self.free.get_mut(blocks).into_iter().flatten())
        {
            let start = index * BLOCK;
            let bits = bits_from(place.start.saturating_sub(start)) & !bits_from(place.end - start);
            *free = if is_free { *free | bits } else { *free & !bits };
        }
    }

    /// What follows a backslash belongs to the escape.
    fn keep_escapes(&mut self, value: &[u8], start: usize) {
        let mut at = 0;
        while let Some(found) = value.get(at..).and_then(|rest| memchr(b'\\', rest)) {
            let escape = at + found;
            at = match value.get(escape + 1) {
                Some(b'u') => escape + 6,
                _ => escape + 2,
            };
            self.set_free(&(start + escape..start + at), false);
        }
    }

    /// Where two headers of one length differ; none when only the first one is known to have this layout.
    #[inline]
    fn differences(
        &self,
        encoding: HeaderEncoding,
        before: &[u8],
        now: &[u8],
    ) -> Option<[u64; BLOCKS]> {
        let mut all = [0; BLOCKS];
        let (before, before_rest) = before.as_chunks::<BLOCK>();
        let (now, now_rest) = now.as_chunks::<BLOCK>();
        let mut any = self.any;
        let mut compare = |index: usize, before: &[u8; BLOCK], now: &[u8; BLOCK]| {
            let differs = !run::equal_bits(before, now);
            if differs != 0 {
                let allowed = self.free.get(index)? & (any | text_bits(encoding, now));
                if differs & !allowed != 0 {
                    return None;
                }
                *all.get_mut(index)? = differs;
            }
            any = 0;
            Some(())
        };
        for (index, (before, now)) in before.iter().zip(now).enumerate() {
            compare(index, before, now)?;
        }
        compare(
            now.len(),
            &run::padded(before_rest, 0),
            &run::padded(now_rest, 0),
        )?;
        Some(all)
    }
}

/// The bytes of a block that are ordinary ASCII characters of a text, one bit each.
#[inline]
fn text_bits(encoding: HeaderEncoding, block: &[u8; BLOCK]) -> u64 {
    let beyond_ascii = run::bits(block, |part| part);
    match encoding {
        HeaderEncoding::Json => !(beyond_ascii | special_bits(block)),
        HeaderEncoding::Binary => !beyond_ascii,
    }
}

/// Every bit from `at` on.
#[inline]
fn bits_from(at: usize) -> u64 {
    if at < BLOCK { !0 << at } else { 0 }
}

/// A correlation id as every client writes it: digits alone, without a leading zero.
#[inline]
fn parse_opaque(digits: &[u8]) -> Option<i32> {
    match digits {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => parse_i64(digits)?.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::header::{CommandHead, Text, encode};
    use crate::requests::SendMessage;

    fn send(encoding: HeaderEncoding, opaque: i32, key: &str, queue: i32) -> Vec<u8> {
        let properties = format!("UNIQ_KEY\u{1}{key}\u{2}KEYS\u{1}a \"b\" \\ é\u{2}");
        let mut send = SendMessage::new("group", "orders");
        send.queue_id = queue;
        send.properties = Text::Plain(&properties);
        let mut out = BytesMut::new();
        encode(
            &mut out,
            encoding,
            &CommandHead::request(310, opaque),
            &send,
        );
        out.to_vec()
    }

    /// Each header is read as if it came alone; answers which ones were not taken apart again.
    fn agree(encoding: HeaderEncoding, headers: &[&[u8]]) -> Vec<bool> {
        let limits = FrameLimits::default();
        let mut reader = HeaderReader::new();
        let mut alike = Vec::new();
        for bytes in headers {
            let is_alike = reader.advance(encoding, bytes, &limits);
            let read = is_alike.clone().map(|_| reader.header.clone());
            let alone = Header::decode(encoding, bytes, &limits);
            assert_eq!(
                format!("{read:?}"),
                format!("{alone:?}"),
                "{}",
                bytes.escape_ascii()
            );
            alike.push(is_alike == Ok(true));
        }
        agree_over_reads(encoding, headers);
        alike
    }

    /// The same for a header in each read, with one that was kept.
    fn agree_over_reads(encoding: HeaderEncoding, headers: &[&[u8]]) -> Vec<bool> {
        let limits = FrameLimits::default();
        let mut known = KnownHeader::default();
        let mut alike = Vec::new();
        for bytes in headers {
            let mut reader = HeaderReader::new();
            let read = reader.read_after(&mut known, encoding, bytes, &limits);
            let alone = Header::decode(encoding, bytes, &limits);
            assert_eq!(
                format!("{read:?}"),
                format!("{:?}", alone.as_ref()),
                "{}",
                bytes.escape_ascii()
            );
            let mut other = Header::empty(encoding);
            alike.push(known.read(&mut other, encoding, bytes).is_some());
            if alike.last() == Some(&true) {
                assert_eq!(format!("{other:?}"), format!("{:?}", alone.expect("read")));
            }
            // Behind one that is known.
            let mut reader = HeaderReader::new();
            for bytes in [headers[0], bytes] {
                let read = reader.read_after(&mut known, encoding, bytes, &limits);
                let alone = Header::decode(encoding, bytes, &limits);
                assert_eq!(format!("{read:?}"), format!("{:?}", alone.as_ref()));
            }
        }
        alike
    }

    const BOTH: [HeaderEncoding; 2] = [HeaderEncoding::Json, HeaderEncoding::Binary];

    #[test]
    fn sends_that_differ_in_values_are_alike() {
        for encoding in BOTH {
            let headers = [
                send(encoding, 1_234_567, "7F0000010A", 3),
                send(encoding, 1_234_568, "7F0000010B", 3),
                send(encoding, 1_234_569, "7F0000010C", 0),
                send(encoding, 1_234_569, "7F0000010C", 0),
            ];
            let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
            assert_eq!(agree(encoding, &headers), [false, true, true, true]);
            let over_reads = agree_over_reads(encoding, &headers);
            assert_eq!(over_reads, [false, true, true, true]);
        }
    }

    #[test]
    fn what_differs_beyond_values_is_read_anew() {
        for encoding in BOTH {
            let first = send(encoding, 1_234_567, "key-1", 3);
            let change = |from: &[u8], to: &[u8]| {
                let at = memchr::memmem::find(&first, from).expect("it is there");
                let mut changed = first.clone();
                changed[at..at + to.len()].copy_from_slice(to);
                changed
            };
            let mut others = vec![
                change(b"orders", "ordér".as_bytes()),
                change(b"orders", b"orde\xff\xff"),
                change("é".as_bytes(), "ö".as_bytes()),
                change("é".as_bytes(), b"ab"),
                send(encoding, 1_234_567, "key-12", 3),
            ];
            if encoding == HeaderEncoding::Json {
                others.extend([
                    change(b"orders", b"or\\\"rs"),
                    change(b"orders", b"o\",\"p\""),
                    change(b"u0001", b"u0041"),
                    change(b"u0001", b"n0001"),
                    change(b"1234567", b"0234567"),
                    change(b"1234567", b"123456x"),
                    change(b"\"opaque\"", b"\"opaquf\""),
                ]);
            }
            for other in &others {
                let alike = agree(encoding, &[&first, other, &first, &first]);
                assert!(!alike[1], "{}", other.escape_ascii());
            }
        }
    }

    #[test]
    fn odd_headers_are_read_anew_each_time() {
        for [one, other] in [
            [r#"{"code":310,"extFields":{"a":{"b":1}},"opaque":1}"#; 2],
            [
                r#"{"code":310,"extFields":{"e":1},"opaque":1}"#,
                r#"{"code":310,"extFields":{"e":x},"opaque":1}"#,
            ],
            [
                r#"{"code":310,"extFields":{},"opaque":"1"}"#,
                r#"{"code":310,"extFields":{},"opaque":"2"}"#,
            ],
            [
                r#"{"opaque":1,"code":310,"opaque":2}"#,
                r#"{"opaque":3,"code":310,"opaque":2}"#,
            ],
            [
                r#"{"code":310,"opaque":9999999999}"#,
                r#"{"code":310,"opaque":1999999999}"#,
            ],
        ] {
            let alike = agree(HeaderEncoding::Json, &[one.as_bytes(), other.as_bytes()]);
            assert!(!alike[1], "{other}");
        }
        // Longer than what is compared, and more fields than lie in the header itself.
        let long = "x".repeat(BYTES_MAX);
        let many = (0..20)
            .map(|at| format!("\"f{at}\":\"\""))
            .collect::<Vec<_>>();
        for text in [
            format!(r#"{{"code":1,"extFields":{{"a":"{long}"}},"opaque":1}}"#),
            format!(
                r#"{{"code":1,"extFields":{{{}}},"opaque":1}}"#,
                many.join(",")
            ),
        ] {
            assert_eq!(
                agree(HeaderEncoding::Json, &[text.as_bytes(); 3]),
                [false; 3]
            );
        }
    }

    #[test]
    fn it_gives_up_after_a_while_and_still_reads() {
        let kinds = ["a", "b"].map(|name| {
            format!(r#"{{"code":310,"extFields":{{"{name}":"1"}},"opaque":1}}"#).into_bytes()
        });
        let headers: Vec<&[u8]> = (0..20).map(|at| kinds[at % 2].as_slice()).collect();
        assert_eq!(agree(HeaderEncoding::Json, &headers), [false; 20]);
    }

    proptest! {
        #[test]
        fn a_header_is_read_as_if_it_came_alone(
            binary in any::<bool>(),
            keys in proptest::collection::vec("[a-c\"\\\\é\u{1}]{3}", 1..5),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..12),
        ) {
            let encoding = BOTH[usize::from(binary)];
            let mut headers: Vec<Vec<u8>> = keys.iter().map(|key| send(encoding, 77, key, 1)).collect();
            for (at, byte, is_digit) in changes {
                let mut next = headers[headers.len() - 1].clone();
                let at = at.index(next.len());
                next[at] = if is_digit { b'0' + byte % 10 } else { byte };
                headers.push(next);
            }
            let headers: Vec<&[u8]> = headers.iter().map(Vec::as_slice).collect();
            agree(encoding, &headers);
        }
    }
}
