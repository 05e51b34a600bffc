//! Pulling: codes 11 and 361. The body of the answer is stored messages laid end to end.

use std::borrow::Cow;

use super::field::header_fields;

/// Flag bits of [`PullMessage::sys_flag`].
pub mod pull_flag {
    /// `commitOffset` is to be stored.
    pub const COMMIT_OFFSET: i32 = 1;
    /// The broker may hold the request until a message arrives.
    pub const SUSPEND: i32 = 2;
    /// `subscription` is to be used instead of the group's registered one.
    pub const SUBSCRIPTION: i32 = 4;
    /// A class filter, obsolete.
    pub const CLASS_FILTER: i32 = 8;
    /// A lite pull.
    pub const LITE_PULL: i32 = 16;
}

/// Remarks of pull answers: what was found at the asked offset.
pub mod pull_status {
    /// Messages are in the body.
    pub const FOUND: &str = "FOUND";
    /// Messages were there, none matched the filter.
    pub const NO_MATCHED_MESSAGE: &str = "NO_MATCHED_MESSAGE";
    /// The segment is being removed.
    pub const MESSAGE_WAS_REMOVING: &str = "MESSAGE_WAS_REMOVING";
    /// A hole in the index.
    pub const OFFSET_FOUND_NULL: &str = "OFFSET_FOUND_NULL";
    /// Beyond the end by more than one.
    pub const OFFSET_OVERFLOW_BADLY: &str = "OFFSET_OVERFLOW_BADLY";
    /// At the end: nothing new.
    pub const OFFSET_OVERFLOW_ONE: &str = "OFFSET_OVERFLOW_ONE";
    /// Below the oldest message.
    pub const OFFSET_TOO_SMALL: &str = "OFFSET_TOO_SMALL";
    /// No such queue.
    pub const NO_MATCHED_LOGIC_QUEUE: &str = "NO_MATCHED_LOGIC_QUEUE";
    /// The queue is empty.
    pub const NO_MESSAGE_IN_QUEUE: &str = "NO_MESSAGE_IN_QUEUE";
}

header_fields! {
    request PullMessage;
    /// Asks for messages of one queue.
    pub struct PullMessage<'a> {
        /// The consumer's group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The next offset wanted.
        pub queue_offset: i64 = "queueOffset",
        /// Most messages wanted.
        pub max_msg_nums: i32 = "maxMsgNums",
        /// Flags, see [`pull_flag`].
        pub sys_flag: i32 = "sysFlag",
        /// Offset to commit when [`pull_flag::COMMIT_OFFSET`] is set.
        pub commit_offset: i64 = "commitOffset",
        /// Longest wait for a message, milliseconds.
        pub suspend_timeout_millis: i64 = "suspendTimeoutMillis",
        /// Filter expression when [`pull_flag::SUBSCRIPTION`] is set.
        pub subscription: Option<Cow<'a, str>> = "subscription",
        /// Version of the subscription, the client's clock in milliseconds.
        pub sub_version: i64 = "subVersion",
        /// `TAG` (also when absent) or `SQL92`.
        pub expression_type: Option<Cow<'a, str>> = "expressionType",
        /// Most bytes wanted.
        pub max_msg_bytes: Option<i32> = "maxMsgBytes",
        /// Who asks: -1 a client, 0 to 2 a proxy.
        pub request_source: Option<i32> = "requestSource",
        /// The client behind a proxy (spelling of the wire).
        pub proxy_forward_client_id: Option<Cow<'a, str>> = "proxyFrowardClientId",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    reply;
    /// Where to go on. Sent with codes 0, 19, 20 and 21 alike.
    pub struct PullMessageReply {
        /// Broker id to pull from next, 0 is the master.
        pub suggest_which_broker_id: i64 = "suggestWhichBrokerId",
        /// The offset to ask for next.
        pub next_begin_offset: i64 = "nextBeginOffset",
        /// Oldest offset of the queue.
        pub min_offset: i64 = "minOffset",
        /// Offset after the newest message.
        pub max_offset: i64 = "maxOffset",
        /// Of static topics.
        pub offset_delta: Option<i64> = "offsetDelta",
        /// System flag of the topic.
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        /// System flag of the group.
        pub group_sys_flag: Option<i32> = "groupSysFlag",
        /// Why pulling is forbidden: 1 broker, 2 group, 3 topic, 4 broadcast, 5 subscription.
        pub forbidden_type: Option<i32> = "forbiddenType",
    }
}
