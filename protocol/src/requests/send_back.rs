//! A consumer gives a message back to be delivered again later (code 36).

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request ConsumerSendMsgBack;
    /// Asks for another delivery of a message that is already stored.
    pub struct ConsumerSendMsgBack<'a> {
        /// The message's position in the commit log.
        pub offset: i64 = "offset",
        /// The group that could not consume it.
        pub group: Cow<'a, str> = "group",
        /// 0: by the number of attempts; above: that delay level; negative: to the dead letters.
        pub delay_level: i32 = "delayLevel",
        /// Its offset message id.
        pub origin_msg_id: Option<Cow<'a, str>> = "originMsgId",
        /// Its topic.
        pub origin_topic: Option<Cow<'a, str>> = "originTopic",
        /// Unit mode.
        pub unit_mode: Option<bool> = "unitMode",
        /// Attempts before it goes to the dead letters, of newer clients.
        pub max_reconsume_times: Option<i32> = "maxReconsumeTimes",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
        /// Why the consumer gives it back; kept with a dead letter. Ours: other brokers do not read it.
        pub dead_letter_reason: Option<Cow<'a, str>> = "deadLetterReason",
    }
}
