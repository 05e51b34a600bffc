//! The compact binary header, upstream's `ROCKETMQ` encoding.
//!
//! ```text
//! | code i16 | language u8 | version i16 | opaque i32 | flag i32 | remark length i32 | remark | fields bytes i32 | fields |
//! field: | name length i16 | name | value length i32 | value |
//! ```

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::stretches::Stretches;
use super::{CommandHead, FieldSink, FieldSource, Header, HeaderError, Language, Text};
use crate::limits::FrameLimits;

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    texts: Stretches<'a>,
}

impl<'a> Reader<'a> {
    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        match self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
        {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(HeaderError::Truncated { what, at: self.at }),
        }
    }

    /// `length` bytes of text; the length lies in the `length_bytes` before.
    #[inline]
    fn text(
        &mut self,
        what: &'static str,
        length: i64,
        length_bytes: usize,
    ) -> Result<&'a str, HeaderError> {
        let at = self.at;
        let end = match usize::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length))
        {
            Some(end) if end <= self.bytes.len() => end,
            _ => {
                return Err(HeaderError::BadLength {
                    what,
                    at: at - length_bytes,
                    length,
                });
            }
        };
        match self.texts.get(at..end) {
            Some(text) => {
                self.at = end;
                Ok(text)
            }
            None => Err(HeaderError::NotUtf8 { what, at }),
        }
    }
}

/// Where the correlation id lies.
pub(super) const OPAQUE: Range<usize> = 5..9;

pub(super) fn decode<'a>(
    bytes: &'a [u8],
    limits: &FrameLimits,
    header: &mut Header<'a>,
) -> Result<(), HeaderError> {
    let mut reader = Reader {
        bytes,
        at: 0,
        texts: Stretches::new(bytes),
    };
    header.code = i32::from(i16::from_be_bytes(reader.array("code")?));
    header.language = Language::from_u8(reader.array::<1>("language")?[0]);
    header.version = i32::from(i16::from_be_bytes(reader.array("version")?));
    header.opaque = i32::from_be_bytes(reader.array("opaque")?);
    header.flag = i32::from_be_bytes(reader.array("flag")?);
    let remark = i32::from_be_bytes(reader.array("remark length")?);
    if remark != 0 {
        header.remark = Some(Text::Plain(reader.text("remark", remark.into(), 4)?));
    }
    let fields = i32::from_be_bytes(reader.array("fields length")?);
    let rest = bytes.len() - reader.at;
    if usize::try_from(fields)
        .ok()
        .is_none_or(|fields| fields > rest)
    {
        return Err(HeaderError::BadLength {
            what: "fields",
            at: reader.at - 4,
            length: fields.into(),
        });
    }
    let end = reader.at + fields as usize;
    reader.bytes = bytes.get(..end).unwrap_or_default();
    while reader.at < end {
        let length = i16::from_be_bytes(reader.array("field name length")?);
        let letter = reader.bytes.get(reader.at..reader.at + 1).and_then(letter);
        let key = match (length, letter) {
            (1, Some(letter)) => {
                reader.at += 1;
                letter
            }
            _ => reader.text("field name", length.into(), 2)?,
        };
        let length = i32::from_be_bytes(reader.array("field value length")?);
        let value = reader.text("field value", length.into(), 4)?;
        check_field(key.len(), value.len(), header.fields.len(), limits)?;
        header.fields.push(key, value, false);
    }
    Ok(())
}

/// The one-letter names of sends.
#[inline]
pub(super) fn letter(name: &[u8]) -> Option<&'static str> {
    match name {
        [letter @ b'a'..=b'z'] => {
            let at = usize::from(letter - b'a');
            LETTERS.get(at..=at)
        }
        _ => None,
    }
}

#[inline]
pub(super) fn check_field(
    key: usize,
    value: usize,
    fields: usize,
    limits: &FrameLimits,
) -> Result<(), HeaderError> {
    if fields >= limits.fields_max {
        return Err(HeaderError::TooManyFields {
            max: limits.fields_max,
        });
    }
    if key > limits.key_bytes_max {
        return Err(HeaderError::FieldTooLong {
            what: "field name",
            bytes: key,
            max: limits.key_bytes_max,
        });
    }
    if value > limits.value_bytes_max {
        return Err(HeaderError::FieldTooLong {
            what: "field value",
            bytes: value,
            max: limits.value_bytes_max,
        });
    }
    Ok(())
}

pub(super) fn encode(out: &mut BytesMut, head: &CommandHead, fields: &dyn FieldSource) {
    out.reserve(256);
    out.put_i16(head.code as i16);
    out.put_u8(head.language.as_u8());
    out.put_i16(head.version as i16);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    let remark = head.remark.as_deref().unwrap_or_default();
    out.put_u32(remark.len() as u32);
    out.extend_from_slice(remark.as_bytes());
    let length_at = out.len();
    out.put_u32(0);
    fields.visit(&mut Sink { out });
    let length = (out.len() - length_at - 4) as u32;
    if let Some(place) = out.get_mut(length_at..length_at + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

struct Sink<'a> {
    out: &'a mut BytesMut,
}

impl FieldSink for Sink<'_> {
    fn str(&mut self, key: &'static str, value: &str) {
        self.pair(key, value);
    }

    fn int(&mut self, key: &'static str, value: i64) {
        self.pair(key, itoa::Buffer::new().format(value));
    }

    fn plain(&mut self, key: &'static str, text: &[u8]) {
        self.bytes(key, text);
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.pair(key, if value { "true" } else { "false" });
    }

    #[inline]
    fn pair(&mut self, key: &str, value: &str) {
        self.bytes(key, value.as_bytes());
    }
}

impl Sink<'_> {
    #[inline]
    fn bytes(&mut self, key: &str, value: &[u8]) {
        self.out.reserve(6 + key.len() + value.len());
        self.out.put_i16(key.len() as i16);
        self.out.put_slice(key.as_bytes());
        self.out.put_u32(value.len() as u32);
        self.out.put_slice(value);
    }
}
