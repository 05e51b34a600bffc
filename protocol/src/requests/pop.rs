//! Popping: codes 200050 to 200056. They do not fit the binary encoding and always travel as JSON.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request PopMessage;
    /// Takes messages of any queue and hides them for a time.
    pub struct PopMessage<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue; -1: any.
        pub queue_id: i32 = "queueId",
        /// Most messages wanted, at most 32.
        pub max_msg_nums: i32 = "maxMsgNums",
        /// How long they are hidden, milliseconds.
        pub invisible_time: i64 = "invisibleTime",
        /// Longest wait, milliseconds.
        pub poll_time: i64 = "pollTime",
        /// When the client asked, Unix milliseconds.
        pub born_time: i64 = "bornTime",
        /// Where a new group begins: 0 oldest, 1 newest.
        pub init_mode: i32 = "initMode",
        /// Expression type.
        pub exp_type: Option<Cow<'a, str>> = "expType",
        /// Expression.
        pub exp: Option<Cow<'a, str>> = "exp",
        /// Whether to keep the order.
        pub order: Option<bool> = "order",
        /// Which attempt.
        pub attempt_id: Option<Cow<'a, str>> = "attemptId",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    reply;
    /// What was popped; the body is stored messages.
    pub struct PopMessageReply {
        /// Unix milliseconds.
        pub pop_time: i64 = "popTime",
        /// How long they are hidden, milliseconds.
        pub invisible_time: i64 = "invisibleTime",
        /// Revive queue.
        pub revive_qid: i32 = "reviveQid",
        /// Messages left.
        pub rest_num: i64 = "restNum",
        /// First offsets.
        pub start_offset_info: Option<String> = "startOffsetInfo",
        /// All offsets.
        pub msg_offset_info: Option<String> = "msgOffsetInfo",
        /// Attempts in order.
        pub order_count_info: Option<String> = "orderCountInfo",
    }
}

header_fields! {
    request AckMessage;
    /// Says that a popped message is done.
    pub struct AckMessage<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The receipt.
        pub extra_info: Cow<'a, str> = "extraInfo",
        /// Its offset.
        pub offset: i64 = "offset",
        /// Of light topics.
        pub lite_topic: Option<Cow<'a, str>> = "liteTopic",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    request BatchAckMessage;
    /// Acks many; the body says which.
    pub struct BatchAckMessage {}
}

header_fields! {
    request ChangeMessageInvisibletime;
    /// Hides a popped message longer or shorter.
    pub struct ChangeMessageInvisibleTime<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// The receipt.
        pub extra_info: Cow<'a, str> = "extraInfo",
        /// Its offset.
        pub offset: i64 = "offset",
        /// From now, milliseconds.
        pub invisible_time: i64 = "invisibleTime",
        /// Whether attempts are not counted.
        pub suspend: Option<bool> = "suspend",
        /// Of light topics.
        pub lite_topic: Option<Cow<'a, str>> = "liteTopic",
        /// The broker that the client thinks it talks to.
        pub broker_name: Option<Cow<'a, str>> = "bname",
    }
}

header_fields! {
    reply;
    /// The new receipt's parts.
    pub struct ChangeMessageInvisibleTimeReply {
        /// Unix milliseconds.
        pub pop_time: i64 = "popTime",
        /// Milliseconds.
        pub invisible_time: i64 = "invisibleTime",
        /// Revive queue.
        pub revive_qid: i32 = "reviveQid",
    }
}

header_fields! {
    request Notification;
    /// Waits until there is something to pop.
    pub struct Notification<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue; -1: any.
        pub queue_id: i32 = "queueId",
        /// Longest wait, milliseconds.
        pub poll_time: i64 = "pollTime",
        /// When the client asked, Unix milliseconds.
        pub born_time: i64 = "bornTime",
        /// Whether to keep the order.
        pub order: Option<bool> = "order",
        /// Which attempt.
        pub attempt_id: Option<Cow<'a, str>> = "attemptId",
        /// Expression type.
        pub exp_type: Option<Cow<'a, str>> = "expType",
        /// Expression.
        pub exp: Option<Cow<'a, str>> = "exp",
    }
}

header_fields! {
    reply;
    /// Whether there is.
    pub struct NotificationReply {
        /// Whether there is.
        pub has_msg: bool = "hasMsg",
        /// Whether too many wait.
        pub polling_full: Option<bool> = "pollingFull",
    }
}

header_fields! {
    request PeekMessage;
    /// Looks at messages without hiding them.
    pub struct PeekMessage<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
        /// Most messages wanted.
        pub max_msg_nums: i32 = "maxMsgNums",
    }
}

header_fields! {
    request PollingInfo;
    /// Asks how many requests wait.
    pub struct PollingInfo<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The queue.
        pub queue_id: i32 = "queueId",
    }
}

header_fields! {
    reply;
    /// How many wait.
    pub struct PollingInfoReply {
        /// The number.
        pub polling_num: i32 = "pollingNum",
    }
}

header_fields! {
    request QueryAssignment;
    /// Asks which queues to consume; body [`crate::bodies::QueryAssignmentBody`], answer [`crate::bodies::QueryAssignmentReply`].
    pub struct QueryAssignment {}
}

header_fields! {
    request SetMessageRequestMode;
    /// Sets how a group consumes a topic; body [`crate::bodies::MessageRequestModeBody`].
    pub struct SetMessageRequestMode {}
}

header_fields! {
    request GetAllMessageRequestMode;
    /// Asks for all of them; body of the answer [`crate::bodies::MessageRequestModes`].
    pub struct GetAllMessageRequestMode {}
}
