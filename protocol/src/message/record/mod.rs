//! One stored message. The record on disk is the record on the wire, byte for byte
//! (`apache/rocketmq common/.../message/MessageDecoder.java`, `store/.../MessageExtEncoder.java`).
//!
//! ```text
//!  0 total size i32 | 4 magic i32 | 8 body CRC i32 | 12 queue i32 | 16 flag i32 | 20 queue offset i64 | 28 position i64
//! 36 system flag i32 | 40 born i64 | 48 born host (4 or 16 + port i32) | stored i64 | store host (4 or 16 + port i32)
//!    reconsumed i32 | prepared position i64 | body length i32 | body | topic length u8 (V1) or u16 (V2) | topic
//!    properties length i16 | properties
//! ```
//! All integers are big-endian. Body CRC: CRC-32 of the body without its top bit, 0 for an empty body. The CRC of the
//! whole record, where there is one, is its last property `__CRC32#`: ten decimal digits, lowest digit first, over
//! every byte before that property.

mod encode;
mod error;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::properties::{self, property};
use super::{LogPosition, QueueId, QueueOffset, flags};

pub use encode::RecordFields;
pub use error::RecordError;

/// Topic length in one byte.
pub const MAGIC_V1: i32 = 0xdaa3_20a7_u32 as i32;
/// Topic length in two bytes, for topics longer than 127 bytes.
pub const MAGIC_V2: i32 = 0xdaa3_20ab_u32 as i32;
/// Filler at the end of a segment: total size and this, nothing else.
pub const BLANK_MAGIC: i32 = 0xcbd4_3194_u32 as i32;
/// Bytes of the property that holds the record's CRC: name, separator, ten digits, separator.
pub const RECORD_CRC_BYTES: usize = property::CRC32.len() + 1 + 10 + 1;

/// Bytes of everything but body, topic and properties, with IPv4 hosts and a V1 topic length.
const FIXED: usize = 91;

/// CRC-32 as the protocol uses it: without its top bit.
#[must_use]
pub fn crc32_masked(bytes: &[u8]) -> i32 {
    (crc32fast::hash(bytes) & 0x7fff_ffff) as i32
}

/// A view over one record; nothing is copied.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    store_ms_at: usize,
    body_at: usize,
    body_len: usize,
    topic: &'a str,
    properties: &'a str,
}

#[inline]
fn i32_at(bytes: &[u8], at: usize) -> i32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| i32::from_be_bytes(*chunk))
}

#[inline]
fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |chunk| i64::from_be_bytes(*chunk))
}

impl<'a> RecordView<'a> {
    /// The record at the start of `bytes`, of which more may follow. All lengths are checked against each other; CRCs are not.
    ///
    /// # Errors
    /// When no whole record is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let available = bytes.len();
        if available < 8 {
            return Err(RecordError::Truncated {
                needed: 8,
                available,
            });
        }
        let (size, magic) = (i32_at(bytes, 0), i32_at(bytes, 4));
        let topic_len_bytes = match magic {
            MAGIC_V1 => 1,
            MAGIC_V2 => 2,
            BLANK_MAGIC => return Err(RecordError::Blank { size }),
            _ => return Err(RecordError::Magic { magic }),
        };
        let declared = i64::from(size);
        let size = match usize::try_from(size) {
            Ok(size) if size >= FIXED => size,
            _ => {
                return Err(RecordError::Length {
                    what: "total size",
                    length: declared,
                    size: FIXED,
                });
            }
        };
        let bytes = bytes.get(..size).ok_or(RecordError::Truncated {
            needed: size,
            available,
        })?;
        let sys_flag = i32_at(bytes, 36);
        let store_ms_at = 48 + host_len(sys_flag & flags::BORN_HOST_V6 != 0);
        let after_hosts = store_ms_at + 8 + host_len(sys_flag & flags::STORE_HOST_V6 != 0);
        let body_at = after_hosts + 16;
        if body_at > size {
            return Err(RecordError::Truncated {
                needed: body_at,
                available: size,
            });
        }
        let bad = |what, length| RecordError::Length { what, length, size };
        let body_len = i32_at(bytes, after_hosts + 12);
        let body_end = usize::try_from(body_len)
            .ok()
            .and_then(|length| body_at.checked_add(length))
            .filter(|end| end + topic_len_bytes <= size)
            .ok_or(bad("body length", body_len.into()))?;
        let after_body = bytes.get(body_end..).unwrap_or_default();
        let topic_len = match (topic_len_bytes, after_body) {
            (1, [length, ..]) => usize::from(*length),
            (_, [high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(bad("body length", body_len.into())),
        };
        let topic_at = body_end + topic_len_bytes;
        let topic_end = topic_at + topic_len;
        let (Some(topic), Some((properties_len, properties))) = (
            bytes.get(topic_at..topic_end),
            bytes.get(topic_end..).and_then(<[u8]>::split_first_chunk),
        ) else {
            return Err(bad("topic length", topic_len as i64));
        };
        let properties_len = i16::from_be_bytes(*properties_len);
        if usize::try_from(properties_len) != Ok(properties.len()) {
            return Err(bad("properties length", properties_len.into()));
        }
        let topic =
            std::str::from_utf8(topic).map_err(|_| RecordError::NotUtf8 { what: "topic" })?;
        let properties = std::str::from_utf8(properties)
            .map_err(|_| RecordError::NotUtf8 { what: "properties" })?;
        Ok(Self {
            bytes,
            store_ms_at,
            body_at,
            body_len: body_end - body_at,
            topic,
            properties,
        })
    }

    /// The records of a pull's body, one after the other; ends at the first error.
    pub fn iter(bytes: &'a [u8]) -> impl Iterator<Item = Result<RecordView<'a>, RecordError>> {
        let mut rest = bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = RecordView::parse(rest);
            rest = record.as_ref().map_or(&[], |record| record.next(rest));
            Some(record)
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the record.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// [`MAGIC_V1`] or [`MAGIC_V2`].
    #[must_use]
    pub fn magic(&self) -> i32 {
        i32_at(self.bytes, 4)
    }

    /// CRC of the body as stored.
    #[must_use]
    pub fn body_crc(&self) -> i32 {
        i32_at(self.bytes, 8)
    }

    /// The queue.
    #[must_use]
    pub fn queue_id(&self) -> QueueId {
        QueueId(i32_at(self.bytes, 12))
    }

    /// The user's flag.
    #[must_use]
    pub fn flag(&self) -> i32 {
        i32_at(self.bytes, 16)
    }

    /// Its place in the queue.
    #[must_use]
    pub fn queue_offset(&self) -> QueueOffset {
        QueueOffset(i64_at(self.bytes, 20))
    }

    /// Its place in the log.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        LogPosition(i64_at(self.bytes, 28) as u64)
    }

    /// System flags, see [`flags`].
    #[must_use]
    pub fn sys_flag(&self) -> i32 {
        i32_at(self.bytes, 36)
    }

    /// When the client made it, Unix milliseconds.
    #[must_use]
    pub fn born_ms(&self) -> i64 {
        i64_at(self.bytes, 40)
    }

    /// The client's address as the broker saw it.
    #[must_use]
    pub fn born_host(&self) -> SocketAddr {
        host_at(self.bytes, 48, self.sys_flag() & flags::BORN_HOST_V6 != 0)
    }

    /// When it was stored, Unix milliseconds.
    #[must_use]
    pub fn store_ms(&self) -> i64 {
        i64_at(self.bytes, self.store_ms_at)
    }

    /// The broker's advertised address.
    #[must_use]
    pub fn store_host(&self) -> SocketAddr {
        host_at(
            self.bytes,
            self.store_ms_at + 8,
            self.sys_flag() & flags::STORE_HOST_V6 != 0,
        )
    }

    /// How often it was consumed without success.
    #[must_use]
    pub fn reconsume_times(&self) -> i32 {
        i32_at(self.bytes, self.body_at - 16)
    }

    /// Position of the half message that this one commits.
    #[must_use]
    pub fn prepared_position(&self) -> i64 {
        i64_at(self.bytes, self.body_at - 12)
    }

    /// The body as stored, maybe compressed.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        let body = self.bytes.get(self.body_at..self.body_at + self.body_len);
        body.unwrap_or_default()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The property string.
    #[must_use]
    pub fn properties(&self) -> &'a str {
        self.properties
    }

    /// One property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a str> {
        properties::get(self.properties, name)
    }

    /// What follows this record in `bytes`, the slice that it was parsed from.
    #[must_use]
    pub fn next<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.size()..).unwrap_or_default()
    }

    /// Checks the body against its CRC.
    ///
    /// # Errors
    /// When they differ.
    pub fn check_body_crc(&self) -> Result<(), RecordError> {
        let computed = if self.body().is_empty() {
            0
        } else {
            crc32_masked(self.body())
        };
        if computed == self.body_crc() {
            return Ok(());
        }
        Err(RecordError::Crc {
            what: "body",
            stored: self.body_crc() as u32,
            computed: computed as u32,
        })
    }

    /// Checks every byte of the record against the CRC in its last property. True: there was one and it matches; false: there is none.
    ///
    /// # Errors
    /// When they differ or the property is malformed.
    pub fn check_record_crc(&self) -> Result<bool, RecordError> {
        let Some(covered) = self.size().checked_sub(RECORD_CRC_BYTES) else {
            return Ok(false);
        };
        let Some((covered, tail)) = self.bytes.split_at_checked(covered) else {
            return Ok(false);
        };
        let Some(digits) = tail
            .strip_prefix(property::CRC32.as_bytes())
            .and_then(|rest| rest.strip_prefix(&[properties::NAME_VALUE_SEPARATOR]))
            .and_then(|rest| rest.strip_suffix(&[properties::PROPERTY_SEPARATOR]))
        else {
            return Ok(false);
        };
        let computed = crc32fast::hash(covered) & 0x7fff_ffff;
        if digits == crc_digits(computed) {
            return Ok(true);
        }
        let stored = digits.iter().rev().fold(0u32, |value, digit| {
            value
                .wrapping_mul(10)
                .wrapping_add(u32::from(digit.wrapping_sub(b'0')))
        });
        Err(RecordError::Crc {
            what: "record",
            stored,
            computed,
        })
    }

    /// All fields, to encode it again with changes.
    #[must_use]
    pub fn fields(&self) -> RecordFields<'a> {
        RecordFields {
            queue_id: self.queue_id(),
            flag: self.flag(),
            queue_offset: self.queue_offset(),
            position: self.position(),
            sys_flag: self.sys_flag(),
            born_ms: self.born_ms(),
            born_host: self.born_host(),
            store_ms: self.store_ms(),
            store_host: self.store_host(),
            reconsume_times: self.reconsume_times(),
            prepared_position: self.prepared_position(),
            body: self.body(),
            topic: self.topic(),
            properties: self.properties().as_bytes(),
        }
    }
}

/// A record's CRC as ten decimal digits, lowest first.
#[must_use]
pub fn crc_digits(crc: u32) -> [u8; 10] {
    let mut digits = [b'0'; 10];
    let mut rest = crc;
    for digit in &mut digits {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

const fn host_len(v6: bool) -> usize {
    if v6 { 20 } else { 8 }
}

fn host_at(bytes: &[u8], at: usize, v6: bool) -> SocketAddr {
    let rest = bytes.get(at..).unwrap_or_default();
    let (ip, port_at) = if v6 {
        (
            rest.first_chunk::<16>()
                .map(|octets| IpAddr::V6(Ipv6Addr::from(*octets))),
            16,
        )
    } else {
        (
            rest.first_chunk::<4>()
                .map(|octets| IpAddr::V4(Ipv4Addr::from(*octets))),
            4,
        )
    };
    let port = i32_at(rest, port_at);
    SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port as u16)
}
