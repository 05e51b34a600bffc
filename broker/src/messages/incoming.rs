//! A message that is sent, and its properties: read, understood or refused, never guessed, and completed.

use std::net::SocketAddr;
use std::ops::Range;

use rmq_protocol::message::{RECORD_CRC_BYTES, properties, property};

use super::copy;
use super::refusal::{Feature, PropertyRefusal};
use crate::broker::Broker;
use crate::delay::levels::Timer;
use crate::limits::{LATER_BYTES_MAX, SENT_BYTES_MAX};
use crate::message_type::MessageType;

/// A message, or a batch, as a client sends it. Its properties are in [`SendBatch::properties`](super::send::SendBatch::properties).
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    /// The producer group.
    pub(crate) group: &'a str,
    /// The client's connection.
    pub(crate) connection: u64,
    /// The topic whose settings an unknown topic inherits.
    pub(crate) template: &'a str,
    /// Queues that an unknown topic gets at most.
    pub(crate) template_queues: i32,
    /// Negative: the broker picks one.
    pub(crate) queue_id: i32,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    /// When the client made the message, Unix milliseconds.
    pub(crate) born_ms: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    /// The last try of a retry; absent: the group's setting counts.
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) body: &'a [u8],
}

/// Everything of a record that is neither body, topic nor properties, at most, and the filler after it.
const RECORD_HEAD_BYTES: usize = 128;

/// What the properties of a message say, as ranges of the text.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) tags: Option<Range<usize>>,
    pub(crate) keys: Option<Range<usize>>,
    pub(crate) unique_key: Range<usize>,
    /// Positive: the message is to wait.
    pub(crate) delay_level: i32,
    /// What it asks of a timer.
    timers: Timers,
    /// The message counts when its transaction is committed.
    pub(crate) is_half: bool,
    /// The light queues that it names.
    pub(crate) further: Option<Range<usize>>,
    /// It has what the store writes into each record, as one that was received and is sent again.
    pub(crate) is_stray: bool,
    /// It belongs to a sequence.
    is_in_order: bool,
    /// How urgent it is; negative: it does not say.
    priority: Option<i32>,
    /// What the message asks for and this version does not do.
    missing: Option<Feature>,
}

/// The properties that ask for a time, milliseconds.
#[derive(Debug, Default, Clone, Copy)]
struct Timers {
    delay_of_seconds_ms: Option<i64>,
    delay_ms: Option<i64>,
    time_ms: Option<i64>,
    /// It has waited before.
    is_out: bool,
}

#[cold]
fn not_understood(name: &str, value: &str, expected: &'static str) -> PropertyRefusal {
    PropertyRefusal::NotUnderstood {
        name: name.to_owned(),
        value: value.chars().take(64).collect(),
        expected,
    }
}

/// A whole number, as upstream's `Integer.parseInt`. Delay levels may be 0 and below, which means no delay: dead letters carry such ones.
fn whole(name: &str, value: &str) -> Result<i32, PropertyRefusal> {
    value
        .parse()
        .map_err(|_| not_understood(name, value, "a 32-bit integer"))
}

/// A time of a timer.
fn time(name: &str, value: &str) -> Result<i64, PropertyRefusal> {
    value
        .parse()
        .map_err(|_| not_understood(name, value, "a 64-bit integer"))
}

/// As upstream's `Boolean.parseBoolean`, except that other texts are not taken for `false`.
fn is_true(name: &str, value: &str) -> Result<bool, PropertyRefusal> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(not_understood(name, value, "true or false"))
    }
}

impl Found {
    /// Takes one property, in case the broker acts on it.
    #[inline]
    fn take(&mut self, name: &str, value: &str) -> Result<(), PropertyRefusal> {
        // All that are compared below begin with one of these letters: most properties are done after one look.
        if !matches!(name.as_bytes(), [b'D' | b'T' | b'_', ..]) {
            return Ok(());
        }
        match name {
            property::DELAY => self.delay_level = whole(name, value)?,
            property::TRAN_MSG => self.is_half = is_true(name, value)?,
            property::TIMER_DELAY_SEC => {
                self.timers.delay_of_seconds_ms = Some(time(name, value)?.saturating_mul(1_000));
            }
            property::TIMER_DELAY_MS => self.timers.delay_ms = Some(time(name, value)?),
            property::TIMER_DELIVER_MS => self.timers.time_ms = Some(time(name, value)?),
            property::TIMER_OUT_MS => self.timers.is_out = true,
            property::TIMER_DEL_UNIQKEY => self.missing = Some(Feature::Cancellations),
            property::SHARDING_KEY => self.is_in_order = true,
            property::PRIORITY => self.priority = Some(whole(name, value)?),
            property::LITE_TOPIC => self.missing = Some(Feature::LiteTopics),
            _ => {}
        }
        Ok(())
    }
}

impl Found {
    /// The time that the message asks for; `None`: none, or it has waited before (apache/rocketmq `HookUtils.checkIfTimerMessage`).
    pub(crate) fn timer(&self, now_ms: i64) -> Option<Timer> {
        let timers = &self.timers;
        if timers.is_out {
            return None;
        }
        let delay_ms = timers.delay_of_seconds_ms.or(timers.delay_ms);
        let is_time = delay_ms.is_none();
        let due_ms = match delay_ms {
            Some(delay_ms) => now_ms.saturating_add(delay_ms),
            None => timers.time_ms?,
        };
        Some(Timer { due_ms, is_time })
    }

    /// The type of the message (apache/rocketmq `TopicMessageType.parseFromMessageProperty`).
    pub(crate) fn message_type(&self) -> MessageType {
        if self.is_half {
            MessageType::Transaction
        } else if self.delay_level > 0 || self.is_timed() {
            MessageType::Delay
        } else if self.is_in_order {
            MessageType::Fifo
        } else if self.priority.is_some() {
            MessageType::Priority
        } else {
            MessageType::Normal
        }
    }

    /// The queue of a message with a priority, whatever queue it was sent to: that of the priority's number, the last one at most (apache/rocketmq
    /// `SendMessageProcessor.sendMessage`). `None`: the message has none.
    pub(crate) fn queue_of_priority(&self, write_queues: i32) -> Option<i32> {
        let priority = self.priority.filter(|priority| *priority >= 0)?;
        Some(priority.min(write_queues - 1).max(0))
    }

    /// Whether the message asks for a time at all.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        let Timers {
            delay_of_seconds_ms,
            delay_ms,
            time_ms,
            is_out,
        } = self.timers;
        !is_out && (delay_of_seconds_ms.is_some() || delay_ms.is_some() || time_ms.is_some())
    }
}

/// Reads the properties and adds what the broker adds to every message. A retry that a consumer sends itself (`is_retry`) was stored
/// once, with whatever it asks for.
pub(crate) fn complete(
    broker: &Broker,
    text: &mut String,
    is_retry: bool,
) -> Result<Found, PropertyRefusal> {
    let separator = char::from(properties::PROPERTY_SEPARATOR);
    if !text.is_empty() && !text.ends_with(separator) {
        text.push(separator);
    }
    let mut found = Found::default();
    {
        let base = text.as_ptr() as usize;
        let range = |value: &str| {
            let start = value.as_ptr() as usize - base;
            start..start + value.len()
        };
        for (name, value) in properties::iter(text) {
            match name {
                property::TAGS => found.tags = Some(range(value)),
                property::KEYS => found.keys = Some(range(value)),
                property::UNIQ_KEY => found.unique_key = range(value),
                property::INNER_MULTI_DISPATCH => found.further = Some(range(value)),
                property::CLUSTER
                | property::MSG_REGION
                | property::TRACE_ON
                | property::POP_CK
                | property::DELAY_STAMP
                | property::COMPACTED
                | property::INNER_MULTI_QUEUE_OFFSET
                | property::CRC32 => found.is_stray = true,
                _ => found.take(name, value)?,
            }
        }
    }
    if let Some(feature) = found.missing {
        return Err(PropertyRefusal::NotThere(feature));
    }
    // A committed message that a consumer gives back still says that it was a half message.
    found.is_half &= !is_retry;
    if found.is_half && (found.delay_level > 0 || found.is_timed()) {
        return Err(PropertyRefusal::HalfDelayed);
    }
    // Delays, transactions and sequences count more than a priority.
    let is_idle = found.priority.is_some() && found.message_type() != MessageType::Priority;
    if found.is_stray || is_idle {
        // A message that was received and is sent again brings the broker's own properties along.
        let mut changes = vec![
            (property::CLUSTER, None),
            (property::MSG_REGION, None),
            (property::TRACE_ON, None),
            (property::POP_CK, None),
            (property::DELAY_STAMP, None),
        ];
        if is_idle {
            changes.push((property::PRIORITY, None));
        }
        *text = copy::with(text, &changes);
        return complete(broker, text, is_retry);
    }
    if found.unique_key.is_empty() {
        text.push_str(property::UNIQ_KEY);
        text.push(char::from(properties::NAME_VALUE_SEPARATOR));
        let start = text.len();
        text.push_str(&broker.unique_ids.next(broker.now_ms()));
        found.unique_key = start..text.len();
        text.push(separator);
    }
    text.push_str(&broker.property_suffix);
    Ok(found)
}

/// Reads the properties of a batch's member, which may ask for nothing.
pub(crate) fn check_member(text: &str) -> Result<Found, PropertyRefusal> {
    let mut found = Found::default();
    let base = text.as_ptr() as usize;
    for (name, value) in properties::iter(text) {
        match name {
            property::INNER_MULTI_DISPATCH => {
                let start = value.as_ptr() as usize - base;
                found.further = Some(start..start + value.len());
            }
            property::INNER_MULTI_QUEUE_OFFSET | property::COMPACTED => found.is_stray = true,
            _ => found.take(name, value)?,
        }
    }
    let waits = found.delay_level > 0 || found.is_timed();
    if found.is_half || waits {
        return Err(PropertyRefusal::InBatch);
    }
    match found.missing {
        Some(feature) => Err(PropertyRefusal::NotThere(feature)),
        None => Ok(found),
    }
}

/// Whether every later copy of a message fits: delayed, given back, dead letter. `further`: light queues that it names.
pub(crate) fn check_room(
    broker: &Broker,
    topic: &str,
    body: &[u8],
    text: &str,
    further: usize,
) -> Result<(), PropertyRefusal> {
    let properties = text.len() + rmq_store::offsets_bytes_max(further);
    if properties > SENT_BYTES_MAX {
        return Err(PropertyRefusal::TooLong(properties));
    }
    let bytes = body.len() + properties + topic.len() + RECORD_HEAD_BYTES + RECORD_CRC_BYTES;
    let segment_bytes = broker.config.segment_bytes;
    if (bytes + LATER_BYTES_MAX) as u64 > segment_bytes {
        return Err(PropertyRefusal::NoRoom {
            bytes,
            segment_bytes,
        });
    }
    Ok(())
}
