//! Request-reply and recall: codes 326 and 370. Replies themselves are sends (324, 325).

use std::borrow::Cow;

use super::field::header_fields;
use crate::header::Text;

header_fields! {
    request PushReplyMessageToClient;
    /// Server to client: the reply to a request; the body is the message's.
    pub struct PushReplyMessageToClient<'a> {
        /// Group of the producer that replied.
        pub producer_group: Cow<'a, str> = "producerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Template topic.
        pub default_topic: Cow<'a, str> = "defaultTopic",
        /// Queues of a new topic.
        pub default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// System flags.
        pub sys_flag: i32 = "sysFlag",
        /// When it was made, Unix milliseconds.
        pub born_timestamp: i64 = "bornTimestamp",
        /// The user's flag.
        pub flag: i32 = "flag",
        /// The property string.
        pub properties: Option<Text<'a>> = "properties",
        /// How often it was consumed without success.
        pub reconsume_times: Option<i32> = "reconsumeTimes",
        /// Unit mode.
        pub unit_mode: Option<bool> = "unitMode",
        /// Who made it, `ip:port`.
        pub born_host: Cow<'a, str> = "bornHost",
        /// Who stored it, `ip:port`.
        pub store_host: Cow<'a, str> = "storeHost",
        /// When it was stored, Unix milliseconds.
        pub store_timestamp: i64 = "storeTimestamp",
    }
}

header_fields! {
    request RecallMessage;
    /// Takes a delayed message back.
    pub struct RecallMessage<'a> {
        /// The producer's group.
        pub producer_group: Option<Cow<'a, str>> = "producerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The handle that the send's answer gave.
        pub recall_handle: Cow<'a, str> = "recallHandle",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    reply;
    /// What was recalled.
    pub struct RecallMessageReply {
        /// The message's unique key.
        pub msg_id: String = "msgId",
        /// Region of the broker.
        pub msg_region: Option<String> = "MSG_REGION",
    }
}
