//! Sending: codes 10 (long names), 310, 320 and 325 (one-letter names), 324 (long names).

use std::borrow::Cow;

use super::FieldError;
use super::field::{FieldKind, FieldShape, FieldValue, header_fields};
use crate::code::RequestCode;
use crate::header::{FieldSink, FieldSource, Fields, Text};

/// A field of refusals, `true`: the message had been appended before, and may be there later. Clients of Apache RocketMQ pass over it.
pub const MAY_BE_STORED: &str = "mayBeStored";

/// A message to store; its body is the frame's body.
#[derive(Debug, Clone, PartialEq)]
pub struct SendMessage<'a> {
    /// The producer's group.
    pub producer_group: Cow<'a, str>,
    /// The topic to store it in.
    pub topic: Cow<'a, str>,
    /// The topic whose settings an unknown topic inherits, normally `TBW102`.
    pub default_topic: Cow<'a, str>,
    /// Queues that an unknown topic shall get.
    pub default_topic_queue_nums: i32,
    /// The queue; negative lets the broker pick.
    pub queue_id: i32,
    /// System flags, see [`crate::message::flags`].
    pub sys_flag: i32,
    /// When the client made it, Unix milliseconds.
    pub born_timestamp: i64,
    /// The user's own flag.
    pub flag: i32,
    /// The property string.
    pub properties: Text<'a>,
    /// How often it was consumed without success.
    pub reconsume_times: i32,
    /// Unit (set) mode, kept for tools.
    pub unit_mode: bool,
    /// Limit of `reconsume_times`, on sends to retry topics only.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch.
    pub batch: bool,
    /// The broker that the client thinks it talks to.
    pub broker_name: Option<Cow<'a, str>>,
}

/// Names of the fields, long and short, in the order of [`SendMessage`].
const LONG: [&str; 14] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];
const SHORT: [&str; 14] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n",
];

/// What the fields hold, in the order of [`SendMessage`]; the first eight are required.
const KINDS: [FieldKind; 14] = [
    FieldKind::Text,
    FieldKind::Text,
    FieldKind::Text,
    FieldKind::Int32,
    FieldKind::Int32,
    FieldKind::Int32,
    FieldKind::Int64,
    FieldKind::Int32,
    FieldKind::Text,
    FieldKind::Int32,
    FieldKind::Truth,
    FieldKind::Int32,
    FieldKind::Truth,
    FieldKind::Text,
];
const REQUIRED: usize = 8;

/// The fields under the names that belong to a send code.
#[allow(clippy::indexing_slicing, reason = "computed by the compiler")]
const fn shapes(names: &[&'static str; 14]) -> [FieldShape; 14] {
    let mut shapes = [FieldShape {
        name: "",
        kind: FieldKind::Text,
        is_required: false,
    }; 14];
    let mut index = 0;
    while index < shapes.len() {
        shapes[index] = FieldShape {
            name: names[index],
            kind: KINDS[index],
            is_required: index < REQUIRED,
        };
        index += 1;
    }
    shapes
}

/// The fields of codes 10 and 324.
pub(super) static LONG_SHAPES: [FieldShape; 14] = shapes(&LONG);
/// The fields of codes 310, 320 and 325.
pub(super) static SHORT_SHAPES: [FieldShape; 14] = shapes(&SHORT);

impl<'a> SendMessage<'a> {
    /// Whether a send code uses the one-letter names.
    #[must_use]
    pub const fn is_short(code: RequestCode) -> bool {
        matches!(
            code,
            RequestCode::SendMessageV2
                | RequestCode::SendBatchMessage
                | RequestCode::SendReplyMessageV2
        )
    }

    /// Reads the fields in the names that belong to `code`. Code 320 is a batch even when its field `m` is absent.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    pub fn decode(code: RequestCode, fields: &'a Fields<'a>) -> Result<Self, FieldError> {
        let mut send = if Self::is_short(code) {
            Self::decode_v2(fields)?
        } else {
            Self::decode_v1(fields)?
        };
        send.batch |= code == RequestCode::SendBatchMessage;
        Ok(send)
    }

    /// Reads the long names.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    pub fn decode_v1(fields: &'a Fields<'a>) -> Result<Self, FieldError> {
        Self::read(fields, &LONG, |key| {
            LONG.iter().position(|name| *name == key)
        })
    }

    /// Reads the one-letter names.
    ///
    /// # Errors
    /// When a required field is missing or one has the wrong form.
    pub fn decode_v2(fields: &'a Fields<'a>) -> Result<Self, FieldError> {
        Self::read(fields, &SHORT, |key| match key.as_bytes() {
            [letter @ b'a'..=b'n'] => Some(usize::from(letter - b'a')),
            _ => None,
        })
    }

    #[inline]
    fn read(
        fields: &'a Fields<'a>,
        names: &'static [&'static str; 14],
        index: impl Fn(&str) -> Option<usize>,
    ) -> Result<Self, FieldError> {
        let mut send = Self::new("", "");
        // One bit for each field that was seen.
        let mut seen = 0u32;
        let invalid = fields.for_each(|key, value, escaped| {
            let text = Text::of(value, escaped);
            let Some(index) = index(key) else {
                return Ok(());
            };
            seen |= 1 << index;
            let read = match index {
                0 => set(&mut send.producer_group, text),
                1 => set(&mut send.topic, text),
                2 => set(&mut send.default_topic, text),
                3 => set(&mut send.default_topic_queue_nums, text),
                4 => set(&mut send.queue_id, text),
                5 => set(&mut send.sys_flag, text),
                6 => set(&mut send.born_timestamp, text),
                7 => set(&mut send.flag, text),
                8 => set(&mut send.properties, text),
                9 => set(&mut send.reconsume_times, text),
                10 => set(&mut send.unit_mode, text),
                11 => set(&mut send.max_reconsume_times, text),
                12 => set(&mut send.batch, text),
                _ => set(&mut send.broker_name, text),
            };
            read.map_err(|expected| (index, expected))
        });
        if let Err((index, expected)) = invalid {
            return Err(FieldError::invalid(
                "SendMessage",
                names.get(index).copied().unwrap_or_default(),
                expected,
                fields,
            ));
        }
        let missing = !seen & ((1 << REQUIRED) - 1);
        if missing != 0 {
            return Err(FieldError::missing(
                "SendMessage",
                names
                    .get(missing.trailing_zeros() as usize)
                    .copied()
                    .unwrap_or_default(),
            ));
        }
        Ok(send)
    }

    /// A message for `topic` with every other field at its usual value.
    #[must_use]
    pub fn new(producer_group: impl Into<Cow<'a, str>>, topic: impl Into<Cow<'a, str>>) -> Self {
        Self {
            producer_group: producer_group.into(),
            topic: topic.into(),
            default_topic: Cow::Borrowed("TBW102"),
            default_topic_queue_nums: 4,
            queue_id: 0,
            sys_flag: 0,
            born_timestamp: 0,
            flag: 0,
            properties: Text::Plain(""),
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: None,
            batch: false,
            broker_name: None,
        }
    }

    /// The fields under the long names (codes 10 and 324).
    #[must_use]
    pub fn v1(&self) -> SendMessageV1<'_> {
        SendMessageV1(self)
    }

    fn visit_as(&self, names: &[&'static str; 14], sink: &mut dyn FieldSink) {
        sink.str(names[0], &self.producer_group);
        sink.str(names[1], &self.topic);
        sink.str(names[2], &self.default_topic);
        sink.int(names[3], self.default_topic_queue_nums.into());
        sink.int(names[4], self.queue_id.into());
        sink.int(names[5], self.sys_flag.into());
        sink.int(names[6], self.born_timestamp);
        sink.int(names[7], self.flag.into());
        sink.str(names[8], &self.properties.to_cow());
        sink.int(names[9], self.reconsume_times.into());
        sink.bool(names[10], self.unit_mode);
        self.max_reconsume_times.write(names[11], sink);
        sink.bool(names[12], self.batch);
        self.broker_name.write(names[13], sink);
    }
}

#[inline(always)]
fn set<'a, T: FieldValue<'a>>(slot: &mut T, text: Text<'a>) -> Result<(), &'static str> {
    *slot = T::read(text).ok_or(T::EXPECTED)?;
    Ok(())
}

/// The one-letter names (codes 310, 320, 325).
impl FieldSource for SendMessage<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.visit_as(&SHORT, sink);
    }
}

/// A [`SendMessage`] that is written under its long names.
#[derive(Debug, Clone, Copy)]
pub struct SendMessageV1<'a>(&'a SendMessage<'a>);

impl FieldSource for SendMessageV1<'_> {
    fn visit(&self, sink: &mut dyn FieldSink) {
        self.0.visit_as(&LONG, sink);
    }
}

header_fields! {
    reply;
    /// Where a message was stored. Codes 0, 10, 11 and 12 carry it: the last three mean stored, but not as safely as configured.
    pub struct SendMessageReply {
        /// Region of the broker, `DefaultRegion`. Java clients read it.
        pub msg_region: Option<String> = "MSG_REGION",
        /// Whether the broker wants traces. Java clients read it.
        pub trace_on: Option<bool> = "TRACE_ON",
        /// Offset message id; of a batch, all of them joined by commas.
        pub msg_id: String = "msgId",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// Offset in the queue, of a batch that of its first message.
        pub queue_offset: i64 = "queueOffset",
        /// The message's unique key.
        pub transaction_id: Option<String> = "transactionId",
        /// Unique key of a batch as a whole.
        pub batch_uniq_id: Option<String> = "batchUniqId",
        /// What recalls a delayed message.
        pub recall_handle: Option<String> = "recallHandle",
    }
}
