//! What the properties of a message that is sent say to the broker: what it reads is understood or refused, never guessed.

use std::borrow::Cow;
use std::ops::Range;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::message::{RECORD_CRC_BYTES, properties, property};

use super::send::Refusal;
use crate::broker::Broker;

/// Bytes that later copies of a message may add to its properties and its topic: `RETRY_TOPIC`, `ORIGIN_MESSAGE_ID`, `REAL_TOPIC`, the
/// stamp of its delay and the rest, with the longest names, and what Java consumers add that send a retry themselves. A message that
/// leaves less room could never be given back.
pub(crate) const LATER_BYTES_MAX: usize = 1_024;
/// Longest property string of a message that is sent, with what the broker adds, bytes.
pub(crate) const SENT_BYTES_MAX: usize =
    properties::PROPERTIES_BYTES_MAX - RECORD_CRC_BYTES - LATER_BYTES_MAX;
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
    /// What the message asks for and this version does not do.
    missing: Option<Feature>,
}

/// What a message may ask for and this version does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feature {
    Transactions,
    Timers,
    Requests,
    Priorities,
    LiteTopics,
    FurtherQueues,
}

impl Feature {
    const fn text(self) -> &'static str {
        match self {
            Self::Transactions => "transactional messages (TRAN_MSG)",
            Self::Timers => {
                "messages with an arbitrary delay (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS)"
            }
            Self::Requests => "requests that wait for a reply (REPLY_TO_CLIENT)",
            Self::Priorities => "messages with a priority (_SYS_MSG_PRIORITY_)",
            Self::LiteTopics => "messages of lite topics (__LITE_TOPIC)",
            Self::FurtherQueues => "messages for several queues (INNER_MULTI_DISPATCH)",
        }
    }

    const fn instead(self) -> &'static str {
        match self {
            Self::Transactions => "send after the transaction has ended",
            Self::Timers => "use a delay level (DELAY)",
            Self::Requests => "send the reply to a topic that the requester consumes",
            Self::Priorities => "use a topic for each priority",
            Self::LiteTopics => "use ordinary topics, or tags",
            Self::FurtherQueues => "send to each topic by itself",
        }
    }
}

/// Code 13: Java producers try 1 and 16 again at other brokers, which would refuse it too.
#[cold]
fn refused(remark: impl Into<Cow<'static, str>>) -> Refusal {
    (ResponseCode::MessageIllegal, remark.into())
}

#[cold]
fn not_there(feature: Feature) -> Refusal {
    refused(format!(
        "{} are not supported by rmq-broker {}, and will be by a later version; {}",
        feature.text(),
        env!("CARGO_PKG_VERSION"),
        feature.instead()
    ))
}

#[cold]
fn not_understood(name: &str, value: &str, expected: &str) -> Refusal {
    let shown: String = value.chars().take(64).collect();
    refused(format!("property {name} is not {expected}: {shown:?}"))
}

/// The delay level, as upstream's `Integer.parseInt`; 0 and below: no delay. Dead letters carry such ones.
fn level(value: &str) -> Result<i32, Refusal> {
    value
        .parse()
        .map_err(|_| not_understood(property::DELAY, value, "a 32-bit integer"))
}

/// As upstream's `Boolean.parseBoolean`, except that other texts are not taken for `false`.
fn is_true(name: &str, value: &str) -> Result<bool, Refusal> {
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
    fn take(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        // All that are compared below begin with one of these letters: most properties are done after one look.
        if !matches!(name.as_bytes(), [b'D' | b'I' | b'R' | b'T' | b'_', ..]) {
            return Ok(());
        }
        match name {
            property::DELAY => self.delay_level = level(value)?,
            property::TRAN_MSG if is_true(name, value)? => {
                self.missing = Some(Feature::Transactions);
            }
            property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                self.missing = Some(Feature::Timers);
            }
            property::REPLY_TO_CLIENT => {
                self.missing.get_or_insert(Feature::Requests);
            }
            property::PRIORITY => self.missing = Some(Feature::Priorities),
            property::LITE_TOPIC => self.missing = Some(Feature::LiteTopics),
            property::INNER_MULTI_DISPATCH | property::INNER_MULTI_QUEUE_OFFSET => {
                self.missing = Some(Feature::FurtherQueues);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Reads the properties and adds what the broker adds to every message. A retry that a consumer sends itself (`is_retry`) was stored
/// once, with whatever it asks for.
pub(crate) fn complete(
    broker: &Broker,
    text: &mut String,
    is_retry: bool,
) -> Result<Found, Refusal> {
    let separator = char::from(properties::PROPERTY_SEPARATOR);
    if !text.is_empty() && !text.ends_with(separator) {
        text.push(separator);
    }
    let mut found = Found::default();
    let mut stray = false;
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
                property::CLUSTER
                | property::MSG_REGION
                | property::TRACE_ON
                | property::POP_CK
                | property::DELAY_STAMP
                | property::CRC32 => stray = true,
                _ => found.take(name, value)?,
            }
        }
    }
    if let Some(feature) = found.missing
        && !(is_retry && feature == Feature::Requests)
    {
        return Err(not_there(feature));
    }
    if stray {
        // A message that was received and is sent again brings the broker's own properties along.
        *text = crate::copy::with(
            text,
            &[
                (property::CLUSTER, None),
                (property::MSG_REGION, None),
                (property::TRACE_ON, None),
                (property::POP_CK, None),
                (property::DELAY_STAMP, None),
                (property::CRC32, None),
            ],
        );
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
pub(crate) fn check_member(text: &str) -> Result<(), Refusal> {
    let mut found = Found::default();
    for (name, value) in properties::iter(text) {
        found.take(name, value)?;
    }
    if found.missing == Some(Feature::Transactions) || found.delay_level > 0 {
        return Err(refused(
            "a batch cannot contain delayed or transactional messages",
        ));
    }
    found
        .missing
        .map_or(Ok(()), |feature| Err(not_there(feature)))
}

/// Whether every later copy of a message fits: delayed, given back, dead letter.
pub(crate) fn check_room(
    broker: &Broker,
    topic: &str,
    body: &[u8],
    text: &str,
) -> Result<(), Refusal> {
    if text.len() > SENT_BYTES_MAX {
        return Err(refused(format!(
            "the properties have {} bytes with those that the broker adds; at most {SENT_BYTES_MAX} are allowed, so that the message can be given back later",
            text.len()
        )));
    }
    let bytes = body.len() + text.len() + topic.len() + RECORD_HEAD_BYTES + RECORD_CRC_BYTES;
    let segment = broker.config.segment_bytes;
    if (bytes + LATER_BYTES_MAX) as u64 > segment {
        return Err(refused(format!(
            "the message takes {bytes} bytes; with {LATER_BYTES_MAX} for later copies that is more than a segment of {segment} bytes (segmentBytes) takes"
        )));
    }
    Ok(())
}
