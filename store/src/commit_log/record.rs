//! A message on its way into the log: everything that does not depend on its place is encoded and checksummed here, outside the lock.
#![allow(
    clippy::indexing_slicing,
    reason = "it encodes into arrays that it has measured; no disk is read"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use rmq_protocol::message::{
    MAGIC_V1, MAGIC_V2, RECORD_CRC_BYTES, crc_digits, flags, properties, property,
};
use smallvec::SmallVec;

use super::crc_shift::Shift;
use crate::config::StoreConfig;
use crate::error::AppendError;
use crate::further;
use crate::index::keys::{KeyHashes, key_hashes};
use crate::queue::QueueRef;
use crate::settings::{Declared, FedRecord, FedRows};

/// Everything before the body, with IPv6 hosts.
const HEAD_MAX: usize = 112;
const QUEUE_OFFSET_AT: usize = 20;
const POSITION_AT: usize = 28;
/// Longest property string of a record, upstream's i16.
const PROPERTIES_MAX: usize = i16::MAX as usize;
const TOPIC_MAX: usize = u16::MAX as usize;

/// The CRC before the first byte. A new one asks each time what the processor can do.
static NO_BYTES: LazyLock<crc32fast::Hasher> = LazyLock::new(crc32fast::Hasher::new);

/// So many bytes of topic and lengths need no allocation.
const SHORT: usize = 64;

/// A message to append.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// The queue it goes to.
    pub queue: &'a QueueRef,
    /// Its topic: that of the queue.
    pub topic: &'a str,
    /// The user's flag.
    pub flag: i32,
    /// System flags; the host bits are set here.
    pub sys_flag: i32,
    /// When the client made it, Unix milliseconds.
    pub born_ms: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// How often it was consumed without success.
    pub reconsume_times: i32,
    /// Position of the half message, 0 for none.
    pub prepared_position: i64,
    /// The body.
    pub body: &'a [u8],
    /// The property string with its last separator, without a record CRC: the store adds that.
    pub properties: &'a [u8],
    /// Hash of the tag, 0 for none.
    pub tag_hash: i64,
    /// Business keys, separated by spaces.
    pub keys: &'a str,
    /// The client's message id.
    pub unique_key: &'a str,
    /// Light queues that it is in as well: those that its property `INNER_MULTI_DISPATCH` names, in the same order. None is named twice, and none is
    /// `queue`. The store adds the property with its offsets there, which `properties` must not have.
    pub further: &'a [QueueRef],
}

/// An encoded message without its place.
pub(crate) struct Prepared<'a> {
    pub(crate) message: &'a NewMessage<'a>,
    head: [u8; HEAD_MAX],
    head_len: usize,
    /// Topic and length of the properties.
    middle: SmallVec<[u8; SHORT]>,
    store_ms_at: usize,
    /// CRC of everything between head and CRC property, and what it does to the head's.
    tail_crc: u32,
    shift: Shift,
    /// What only a message with further queues has.
    offsets: Option<Box<Offsets>>,
    /// Bytes of the record; with further queues the most that it may take, until it is [numbered](Self::number).
    pub(crate) size: usize,
    pub(crate) keys: KeyHashes,
    /// Rows of tables that it sets or removes.
    pub(crate) fed: FedRows,
}

/// The offsets in further queues as a property. They are known under the lock, so what follows from their length is known there as well.
struct Offsets {
    text: String,
    /// CRC of the body.
    body: crc32fast::Hasher,
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(
        message: &'a NewMessage<'a>,
        config: &StoreConfig,
        declared: &Declared,
        body_bytes_max: usize,
    ) -> Result<Self, AppendError> {
        let (body, topic, properties) =
            (message.body, message.topic.as_bytes(), message.properties);
        if body.len() > body_bytes_max {
            return Err(AppendError::BodyTooLarge {
                bytes: body.len(),
                max: body_bytes_max,
            });
        }
        let offsets_max = further::offsets_bytes_max(message.further.len());
        let properties_len = properties.len() + offsets_max + RECORD_CRC_BYTES;
        if properties_len > PROPERTIES_MAX {
            return Err(AppendError::PropertiesTooLarge {
                bytes: properties.len() + offsets_max,
                max: PROPERTIES_MAX - RECORD_CRC_BYTES,
            });
        }
        if topic.len() > TOPIC_MAX {
            return Err(AppendError::TopicTooLong {
                bytes: topic.len(),
                max: TOPIC_MAX,
            });
        }
        let long_topic = has_long_topic(message);

        let mut hasher = NO_BYTES.clone();
        hasher.update(body);
        let body_crc = if body.is_empty() {
            0
        } else {
            hasher.clone().finalize() & 0x7fff_ffff
        };
        let offsets = (!message.further.is_empty()).then(|| {
            Box::new(Offsets {
                text: String::with_capacity(offsets_max),
                body: hasher.clone(),
            })
        });
        let middle = middle(message, properties_len);
        hasher.update(&middle);
        hasher.update(properties);
        let tail_len = body.len() + middle.len() + properties.len();

        let mut sys_flag = message.sys_flag & !(flags::BORN_HOST_V6 | flags::STORE_HOST_V6);
        if message.born_host.is_ipv6() {
            sys_flag |= flags::BORN_HOST_V6;
        }
        if config.store_host.is_ipv6() {
            sys_flag |= flags::STORE_HOST_V6;
        }
        let mut prepared = Self {
            message,
            head: [0; HEAD_MAX],
            head_len: 4,
            middle,
            store_ms_at: 0,
            tail_crc: hasher.finalize(),
            shift: Shift::of(tail_len),
            offsets,
            size: 0,
            keys: key_hashes(message.topic, message.keys, message.unique_key),
            fed: declared.fed_by(&FedRecord {
                topic: message.topic,
                queue_id: message.queue.queue_id(),
                prepared_position: message.prepared_position,
                properties,
            }),
        };
        prepared.push(&if long_topic { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        prepared.push(&body_crc.to_be_bytes());
        prepared.push(&message.queue.queue_id().to_be_bytes());
        prepared.push(&message.flag.to_be_bytes());
        // Queue offset and position, known under the lock.
        prepared.push(&[0; 16]);
        prepared.push(&sys_flag.to_be_bytes());
        prepared.push(&message.born_ms.to_be_bytes());
        prepared.push_host(message.born_host);
        prepared.store_ms_at = prepared.head_len;
        prepared.push(&[0; 8]);
        prepared.push_host(config.store_host);
        prepared.push(&message.reconsume_times.to_be_bytes());
        prepared.push(&message.prepared_position.to_be_bytes());
        prepared.push(&(body.len() as i32).to_be_bytes());
        let size = prepared.head_len + tail_len + offsets_max + RECORD_CRC_BYTES;
        // A record and the filler after it must fit, and leave a segment some use.
        if size as u64 + 8 > config.segment_bytes {
            return Err(AppendError::RecordTooLarge {
                bytes: size,
                segment_bytes: config.segment_bytes,
            });
        }
        prepared.size = size;
        prepared.head[..4].copy_from_slice(&(size as i32).to_be_bytes());
        Ok(prepared)
    }

    /// Takes the next offset of each further queue into the properties: the record has its size afterwards. Call it under the append mutex.
    #[inline]
    pub(crate) fn number(&mut self) {
        if let Some(offsets) = self.offsets.take() {
            self.offsets = Some(self.number_further(offsets));
        }
    }

    #[cold]
    fn number_further(&mut self, mut offsets: Box<Offsets>) -> Box<Offsets> {
        let message = self.message;
        further::write_offsets(message.further, &mut offsets.text);
        let properties = message.properties.len() + offsets.text.len();
        self.middle = middle(message, properties + RECORD_CRC_BYTES);
        let mut hasher = offsets.body.clone();
        hasher.update(&self.middle);
        hasher.update(message.properties);
        hasher.update(offsets.text.as_bytes());
        let tail_len = message.body.len() + self.middle.len() + properties;
        self.tail_crc = hasher.finalize();
        self.shift = Shift::of(tail_len);
        self.size = self.head_len + tail_len + RECORD_CRC_BYTES;
        self.head[..4].copy_from_slice(&(self.size as i32).to_be_bytes());
        offsets
    }

    /// Appends the record with its place to `out`.
    pub(crate) fn write(
        &mut self,
        queue_offset: i64,
        position: u64,
        store_ms: i64,
        out: &mut Vec<u8>,
    ) {
        self.patch(QUEUE_OFFSET_AT, queue_offset.to_be_bytes());
        self.patch(POSITION_AT, position.to_be_bytes());
        self.patch(self.store_ms_at, store_ms.to_be_bytes());
        let head = &self.head[..self.head_len];
        let mut hasher = NO_BYTES.clone();
        hasher.update(head);
        let crc = self.shift.combine(hasher.finalize(), self.tail_crc) & 0x7fff_ffff;
        let message = self.message;
        out.reserve(self.size);
        out.extend_from_slice(head);
        out.extend_from_slice(message.body);
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(message.properties);
        if let Some(offsets) = &self.offsets {
            out.extend_from_slice(offsets.text.as_bytes());
        }
        out.extend_from_slice(&crc_property(crc));
    }

    fn push(&mut self, bytes: &[u8]) {
        self.head[self.head_len..self.head_len + bytes.len()].copy_from_slice(bytes);
        self.head_len += bytes.len();
    }

    fn push_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.push(&ip.octets()),
            IpAddr::V6(ip) => self.push(&ip.octets()),
        }
        self.push(&i32::from(host.port()).to_be_bytes());
    }

    fn patch(&mut self, at: usize, bytes: [u8; 8]) {
        self.head[at..at + 8].copy_from_slice(&bytes);
    }
}

fn has_long_topic(message: &NewMessage<'_>) -> bool {
    message.topic.len() > 127
}

/// What is between body and properties.
fn middle(message: &NewMessage<'_>, properties_len: usize) -> SmallVec<[u8; SHORT]> {
    let topic_len = (message.topic.len() as u16).to_be_bytes();
    joined([
        &topic_len[usize::from(!has_long_topic(message))..],
        message.topic.as_bytes(),
        &(properties_len as u16).to_be_bytes(),
    ])
}

/// The property that a record ends with.
fn crc_property(crc: u32) -> [u8; RECORD_CRC_BYTES] {
    let mut text = [0; RECORD_CRC_BYTES];
    let (name, rest) = text.split_at_mut(property::CRC32.len());
    name.copy_from_slice(property::CRC32.as_bytes());
    rest[0] = properties::NAME_VALUE_SEPARATOR;
    rest[1..11].copy_from_slice(&crc_digits(crc));
    rest[11] = properties::PROPERTY_SEPARATOR;
    text
}

/// Parts one after the other. Short ones are copied where they stay: to grow a vector three times costs more than the bytes.
fn joined(parts: [&[u8]; 3]) -> SmallVec<[u8; SHORT]> {
    let mut short = [0; SHORT];
    let mut length = 0;
    for part in parts {
        let Some(place) = short.get_mut(length..length + part.len()) else {
            return SmallVec::from_vec(parts.concat());
        };
        place.copy_from_slice(part);
        length += part.len();
    }
    SmallVec::from_buf_and_len(short, length)
}
