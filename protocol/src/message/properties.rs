//! The property string: `name \x01 value \x02`, repeated. Readers accept a missing last separator and skip what has no name and value.

use wide::u8x16;

use crate::run;

/// Between name and value.
pub const NAME_VALUE_SEPARATOR: u8 = 1;
/// After each value.
pub const PROPERTY_SEPARATOR: u8 = 2;
/// Longest property string in bytes; its length is a signed 16-bit number.
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// Names of properties that the system sets or reads (`apache/rocketmq common/.../message/MessageConst.java`).
pub mod property {
    macro_rules! names {
        ($($(#[$meta:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$meta])* pub const $name: &str = $text;)*

            /// Every name of this list.
            pub const ALL: &[&str] = &[$($text),*];
        };
    }

    names! {
        /// Business keys, separated by spaces, indexed for queries.
        KEYS = "KEYS";
        /// The tag that subscriptions filter by.
        TAGS = "TAGS";
        /// `false`: do not wait for the flush.
        WAIT = "WAIT";
        /// Delay level, 1 to 18.
        DELAY = "DELAY";
        /// When a delayed message was parked and for how long: set by our brokers while it waits, and removed on delivery.
        DELAY_STAMP = "__DELAY#";
        /// Relative delay in seconds.
        TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
        /// Relative delay in milliseconds.
        TIMER_DELAY_MS = "TIMER_DELAY_MS";
        /// Absolute delivery time in milliseconds.
        TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
        /// Timer: when it is due.
        TIMER_OUT_MS = "TIMER_OUT_MS";
        /// Timer: when it was enqueued.
        TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
        /// Timer: when it was dequeued.
        TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
        /// Timer: how often it was rolled.
        TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
        /// Timer: level.
        TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
        /// Timer: marks a cancellation.
        TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
        /// Original topic while parked on a system topic.
        REAL_TOPIC = "REAL_TOPIC";
        /// Original queue while parked on a system topic.
        REAL_QID = "REAL_QID";
        /// Original topic of a retry.
        RETRY_TOPIC = "RETRY_TOPIC";
        /// Id of the first delivery.
        ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
        /// Attempts, when the client sends a retry itself.
        RECONSUME_TIME = "RECONSUME_TIME";
        /// Limit of attempts, when the client sends a retry itself.
        MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
        /// Original topic of a dead letter.
        DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
        /// Original id of a dead letter.
        DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
        /// Why a consumer gave a dead letter up. Ours.
        DEAD_LETTER_REASON = "DEAD_LETTER_REASON";
        /// `true` for a half message.
        TRAN_MSG = "TRAN_MSG";
        /// Producer group of a half message.
        PGROUP = "PGROUP";
        /// Queue offset of a half message.
        TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
        /// How often a transaction was checked.
        TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
        /// First check not before that many seconds.
        CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
        /// Transaction id.
        TRANSACTION_ID = "__transactionId__";
        /// The client's message id.
        UNIQ_KEY = "UNIQ_KEY";
        /// More about the unique key.
        EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
        /// Cluster of the broker that stored it.
        CLUSTER = "CLUSTER";
        /// Region of the broker that stored it.
        MSG_REGION = "MSG_REGION";
        /// Whether traces are wanted.
        TRACE_ON = "TRACE_ON";
        /// Request-reply: which request.
        CORRELATION_ID = "CORRELATION_ID";
        /// Request-reply: who asked.
        REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
        /// Request-reply: time limit in milliseconds.
        TTL = "TTL";
        /// Request-reply: `reply`.
        MSG_TYPE = "MSG_TYPE";
        /// Request-reply: when the reply arrived.
        ARRIVE_TIME = "ARRIVE_TIME";
        /// Request-reply: when the reply was pushed.
        PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
        /// Namespace.
        INSTANCE_ID = "INSTANCE_ID";
        /// Messages in an inner batch.
        INNER_NUM = "INNER_NUM";
        /// First queue offset of an inner batch.
        INNER_BASE = "INNER_BASE";
        /// Further queues to dispatch to.
        INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
        /// Offsets in those queues.
        INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
        /// The newest message of its keys is kept: set by our brokers on messages of compaction topics, before all other properties.
        COMPACTED = "__COMPACTED";
        /// How urgent it is, of messages with priorities.
        PRIORITY = "_SYS_MSG_PRIORITY_";
        /// The lite topic of its topic.
        LITE_TOPIC = "__LITE_TOPIC";
        /// Receipt of a pop.
        POP_CK = "POP_CK";
        /// Offset of a pop's check point.
        POP_CK_OFFSET = "POP_CK_OFFSET";
        /// When it was first popped.
        FIRST_POP_TIME = "1ST_POP_TIME";
        /// Ordering key.
        SHARDING_KEY = "__SHARDINGKEY";
        /// Trace context of the user.
        TRACE_CONTEXT = "TRACE_CONTEXT";
        /// Queue that a proxy forwards to.
        PROPERTY_FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
        /// Oldest offset of the queue at the pull.
        MIN_OFFSET = "MIN_OFFSET";
        /// Newest offset of the queue at the pull.
        MAX_OFFSET = "MAX_OFFSET";
        /// When the consumer began with it.
        CONSUME_START_TIME = "CONSUME_START_TIME";
        /// Legacy.
        BUYER_ID = "BUYER_ID";
        /// Legacy.
        MQ2_FLAG = "MQ2_FLAG";
        /// Legacy.
        TRANSFER_FLAG = "TRANSFER_FLAG";
        /// Legacy.
        CORRECTION_FLAG = "CORRECTION_FLAG";
        /// Legacy.
        REDIRECT = "REDIRECT";
        /// Overrides the time of birth.
        BORN_TIMESTAMP = "BORN_TIMESTAMP";
        /// Overrides the host of birth.
        BORN_HOST = "__BORNHOST";
        /// CRC of the whole record, ten decimal digits.
        CRC32 = "__CRC32#";
        /// Marks duplicates between masters.
        DUP_INFO = "DUP_INFO";
        /// Transient: the topic's system flag at the pull.
        TRANSIENT_TOPIC_SYS_FLAG = "__RMQ.TRANSIENT.TOPIC_SYS_FLAG";
        /// Transient: the group's system flag at the pull.
        TRANSIENT_GROUP_SYS_FLAG = "__RMQ.TRANSIENT.GROUP_SYS_FLAG";
    }
}

/// Bytes before the first separator. Names and most values are short: a look at sixteen bytes costs less than the call of a search.
#[inline]
fn to_separator(bytes: &[u8]) -> usize {
    run::length(bytes, |bytes| {
        bytes.simd_eq(u8x16::splat(NAME_VALUE_SEPARATOR))
            | bytes.simd_eq(u8x16::splat(PROPERTY_SEPARATOR))
    })
}

/// Names and values in their order. What has no separator or no name is skipped.
pub fn iter(properties: &str) -> Iter<'_> {
    Iter { rest: properties }
}

/// See [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let bytes = self.rest.as_bytes();
            let name_end = to_separator(bytes);
            match bytes.get(name_end) {
                Some(&NAME_VALUE_SEPARATOR) => {}
                Some(_) => {
                    self.rest = &self.rest[name_end + 1..];
                    continue;
                }
                None => {
                    self.rest = "";
                    return None;
                }
            }
            let name = &self.rest[..name_end];
            let value_and_rest = &self.rest[name_end + 1..];
            let end = run::length(value_and_rest.as_bytes(), |bytes| {
                bytes.simd_eq(u8x16::splat(PROPERTY_SEPARATOR))
            });
            let value = &value_and_rest[..end];
            self.rest = value_and_rest.get(end + 1..).unwrap_or_default();
            if !name.is_empty() {
                return Some((name, value));
            }
        }
    }
}

/// The value of a name. When it occurs twice the later one counts, as in the original's map.
#[must_use]
pub fn get<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    iter(properties)
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}

/// Whether a name or value may be a property: not empty names, no separators.
#[must_use]
pub fn is_clean(text: &str) -> bool {
    to_separator(text.as_bytes()) == text.len()
}

/// Writes a property string piece by piece into one buffer.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    out: Vec<u8>,
}

impl Builder {
    /// An empty string.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty string with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            out: Vec::with_capacity(bytes),
        }
    }

    /// Appends one property. The caller keeps the separators out of both.
    pub fn push(&mut self, name: &str, value: &str) -> &mut Self {
        push(&mut self.out, name, value);
        self
    }

    /// Appends every property of a string but those that `skip` names.
    pub fn extend_except(&mut self, properties: &str, skip: impl Fn(&str) -> bool) -> &mut Self {
        for (name, value) in iter(properties).filter(|(name, _)| !skip(name)) {
            self.push(name, value);
        }
        self
    }

    /// Length in bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Forgets what was pushed, keeps the memory.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// The string's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// The string.
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8(self.out).expect("only whole strings and ASCII separators were pushed")
    }
}

/// Appends one property to `out`.
#[inline]
pub fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    out.reserve(name.len() + value.len() + 2);
    out.extend_from_slice(name.as_bytes());
    out.push(NAME_VALUE_SEPARATOR);
    out.extend_from_slice(value.as_bytes());
    out.push(PROPERTY_SEPARATOR);
}

/// A property string of pairs.
#[must_use]
pub fn join<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut builder = Builder::new();
    for (name, value) in pairs {
        builder.push(name, value);
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_lenient_about_the_end_and_empty_pairs() {
        let pairs: Vec<_> = iter("a\x01b\x02\x02c\x01\x02junk\x02\x01x\x02d\x01e").collect();
        assert_eq!(pairs, [("a", "b"), ("c", ""), ("d", "e")]);
        assert_eq!(get("a\x011\x02b\x012\x02a\x013\x02", "a"), Some("3"));
        assert_eq!(get("", "a"), None);
    }

    #[test]
    fn builder_drops_what_it_is_told_to() {
        let mut builder = Builder::new();
        builder
            .push("X", "1")
            .extend_except("A\x011\x02X\x012\x02B\x013\x02", |name| name == "X");
        assert_eq!(builder.finish(), "X\x011\x02A\x011\x02B\x013\x02");
    }
}
