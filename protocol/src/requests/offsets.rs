//! Offsets of groups and bounds of queues: codes 14, 15, 29, 30, 31, 32.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request QueryConsumerOffset;
    /// Asks up to where a group has consumed a queue. Answered with [`OffsetReply`], or with code 22 when nothing is known.
    pub struct QueryConsumerOffset<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// `false` forbids the answer 0 for a queue whose first message is still in memory.
        pub set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request UpdateConsumerOffset;
    /// Stores up to where a group has consumed a queue; often one-way.
    pub struct UpdateConsumerOffset<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The next offset to consume.
        pub commit_offset: i64 = "commitOffset",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request SearchOffsetByTimestamp;
    /// Asks for the offset of a queue at a time.
    pub struct SearchOffsetByTimestamp<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// Unix milliseconds.
        pub timestamp: i64 = "timestamp",
        /// `LOWER` or `UPPER`; anything but the latter means the former.
        pub boundary_type: Option<Cow<'a, str>> = "boundaryType",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

impl SearchOffsetByTimestamp<'_> {
    /// Whether the last message at that time is wanted instead of the first.
    #[must_use]
    pub fn is_upper(&self) -> bool {
        self.boundary_type
            .as_deref()
            .is_some_and(|text| text.eq_ignore_ascii_case("upper"))
    }
}

header_fields! {
    request GetMaxOffset;
    /// Asks for the offset after a queue's newest message.
    pub struct GetMaxOffset<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// Whether only what cannot be truncated counts.
        pub committed: Option<bool> = "committed",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request GetMinOffset;
    /// Asks for the offset of a queue's oldest message.
    pub struct GetMinOffset<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request GetEarliestMsgStoretime;
    /// Asks when a queue's oldest message was stored.
    pub struct GetEarliestMsgStoretime<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    reply;
    /// An offset in a queue (codes 14, 29, 30, 31).
    pub struct OffsetReply {
        /// The offset.
        pub offset: i64 = "offset",
    }
}

header_fields! {
    reply;
    /// A time (code 32).
    pub struct TimestampReply {
        /// Unix milliseconds; -1 when the queue is empty.
        pub timestamp: i64 = "timestamp",
    }
}
