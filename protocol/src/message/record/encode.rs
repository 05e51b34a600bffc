//! Encodes a record, for tests and tools; a store has its own way on the message path.

use std::net::{IpAddr, SocketAddr};

use super::{FIXED, MAGIC_V1, MAGIC_V2, RecordError, crc32_masked};
use crate::message::{LogPosition, QueueId, QueueOffset, flags};

/// Everything that a record holds, to be encoded. The host bits of `sys_flag` are set by the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFields<'a> {
    /// The queue.
    pub queue_id: QueueId,
    /// The user's flag.
    pub flag: i32,
    /// Its place in the queue.
    pub queue_offset: QueueOffset,
    /// Its place in the log.
    pub position: LogPosition,
    /// System flags.
    pub sys_flag: i32,
    /// When the client made it, Unix milliseconds.
    pub born_ms: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// When it was stored, Unix milliseconds.
    pub store_ms: i64,
    /// The broker's advertised address.
    pub store_host: SocketAddr,
    /// How often it was consumed without success.
    pub reconsume_times: i32,
    /// Position of the half message.
    pub prepared_position: i64,
    /// The body; at most `i32::MAX` bytes.
    pub body: &'a [u8],
    /// The topic; at most 65,535 bytes.
    pub topic: &'a str,
    /// The property string; at most 32,767 bytes.
    pub properties: &'a [u8],
}

impl RecordFields<'_> {
    /// Bytes of the encoded record.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let hosts = [self.born_host, self.store_host]
            .iter()
            .filter(|host| host.is_ipv6())
            .count()
            * 12;
        FIXED
            + hosts
            + usize::from(self.topic.len() > 127)
            + self.body.len()
            + self.topic.len()
            + self.properties.len()
    }

    /// Appends the record.
    ///
    /// # Errors
    /// When body, topic or properties are longer than their length fields can say; nothing is appended then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        let size = self.encoded_len();
        let too_long = |what, length: usize| RecordError::Length {
            what,
            length: length as i64,
            size,
        };
        let total = i32::try_from(size).map_err(|_| too_long("total size", size))?;
        let properties_len = i16::try_from(self.properties.len())
            .map_err(|_| too_long("properties length", self.properties.len()))?;
        let topic_len = u16::try_from(self.topic.len())
            .map_err(|_| too_long("topic length", self.topic.len()))?;
        let long_topic = self.topic.len() > 127;
        let mut sys_flag = self.sys_flag & !(flags::BORN_HOST_V6 | flags::STORE_HOST_V6);
        sys_flag |= if self.born_host.is_ipv6() {
            flags::BORN_HOST_V6
        } else {
            0
        };
        sys_flag |= if self.store_host.is_ipv6() {
            flags::STORE_HOST_V6
        } else {
            0
        };
        let crc = if self.body.is_empty() {
            0
        } else {
            crc32_masked(self.body)
        };

        out.reserve(size);
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&if long_topic { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        out.extend_from_slice(&crc.to_be_bytes());
        out.extend_from_slice(&self.queue_id.0.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&self.queue_offset.0.to_be_bytes());
        out.extend_from_slice(&self.position.0.to_be_bytes());
        out.extend_from_slice(&sys_flag.to_be_bytes());
        out.extend_from_slice(&self.born_ms.to_be_bytes());
        push_host(out, self.born_host);
        out.extend_from_slice(&self.store_ms.to_be_bytes());
        push_host(out, self.store_host);
        out.extend_from_slice(&self.reconsume_times.to_be_bytes());
        out.extend_from_slice(&self.prepared_position.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(self.body);
        if long_topic {
            out.extend_from_slice(&topic_len.to_be_bytes());
        } else {
            out.push(topic_len as u8);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&properties_len.to_be_bytes());
        out.extend_from_slice(self.properties);
        Ok(())
    }
}

fn push_host(out: &mut Vec<u8>, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&i32::from(host.port()).to_be_bytes());
}
