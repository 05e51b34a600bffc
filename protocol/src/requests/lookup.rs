//! Finding single messages and index entries: codes 12, 33, 321, 323.

use std::borrow::Cow;

use super::field::header_fields;

/// Index type of ordinary keys.
pub const INDEX_KEY: &str = "K";
/// Index type of unique keys.
pub const INDEX_UNIQUE: &str = "U";
/// Index type of tags.
pub const INDEX_TAG: &str = "T";

header_fields! {
    request QueryMessage;
    /// Asks for messages by key. The body of the answer is stored messages; code 22 when there are none.
    pub struct QueryMessage<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The key.
        pub key: Cow<'a, str> = "key",
        /// Most messages wanted.
        pub max_num: i32 = "maxNum",
        /// Earliest store time, Unix milliseconds.
        pub begin_timestamp: i64 = "beginTimestamp",
        /// Latest store time, Unix milliseconds.
        pub end_timestamp: i64 = "endTimestamp",
        /// [`INDEX_KEY`], [`INDEX_UNIQUE`] or [`INDEX_TAG`], of newer clients.
        pub index_type: Option<Cow<'a, str>> = "indexType",
        /// Where to go on, of newer clients.
        pub last_key: Option<Cow<'a, str>> = "lastKey",
        /// Whether the key is a unique key, of older clients.
        pub unique_key_query: Option<bool> = "_UNIQUE_KEY_QUERY",
    }
}

impl QueryMessage<'_> {
    /// Whether the key is a unique key, however the client says it.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.unique_key_query == Some(true) || self.index_type.as_deref() == Some(INDEX_UNIQUE)
    }
}

header_fields! {
    reply;
    /// Up to where the index reached.
    pub struct QueryMessageReply {
        /// Store time of the newest indexed message.
        pub index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Position of the newest indexed message.
        pub index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset",
    }
}

header_fields! {
    request ViewMessageById;
    /// Asks for the message at a position of the log; it is the body of the answer.
    pub struct ViewMessageById<'a> {
        /// The position.
        pub offset: i64 = "offset",
        /// The topic, of newer clients.
        pub topic: Option<Cow<'a, str>> = "topic",
    }
}

header_fields! {
    request QueryConsumeQueue;
    /// Asks for entries of a queue's index; body of the answer [`crate::bodies::ConsumeQueueBody`].
    pub struct QueryConsumeQueue<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// First offset wanted; negative: the last `count`.
        pub index: i64 = "index",
        /// Entries wanted.
        pub count: i32 = "count",
        /// The group whose filter is to be tried.
        pub consumer_group: Option<Cow<'a, str>> = "consumerGroup",
    }
}

header_fields! {
    request ResumeCheckHalfMessage;
    /// Checks a half message again that was given up.
    pub struct ResumeCheckHalfMessage<'a> {
        /// The topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// Its offset message id.
        pub msg_id: Option<Cow<'a, str>> = "msgId",
    }
}
