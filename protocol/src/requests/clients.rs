//! Who is there: heartbeats, groups' members, queue locks (codes 34, 35, 38, 40, 41, 42, 46). Most of them have their content in the body.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request HeartBeat;
    /// A client says who it is; body [`crate::bodies::HeartbeatData`].
    pub struct HeartBeat {}
}

header_fields! {
    reply;
    /// What the broker made of a heartbeat.
    pub struct HeartBeatReply {
        /// Whether short heartbeats (a fingerprint instead of subscriptions) are understood.
        pub is_support_heart_beat_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2",
        /// Whether the subscriptions must be sent in full.
        pub is_sub_change: Option<bool> = "IS_SUB_CHANGE",
    }
}

header_fields! {
    request UnregisterClient;
    /// A client leaves a group.
    pub struct UnregisterClient<'a> {
        /// The client.
        pub client_id: Cow<'a, str> = "clientID",
        /// The producer group it leaves.
        pub producer_group: Option<Cow<'a, str>> = "producerGroup",
        /// The consumer group it leaves.
        pub consumer_group: Option<Cow<'a, str>> = "consumerGroup",
    }
}

header_fields! {
    request GetConsumerListByGroup;
    /// Asks for a group's members; body of the answer [`crate::bodies::ConsumerList`].
    pub struct GetConsumerListByGroup<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
    }
}

header_fields! {
    request NotifyConsumerIdsChanged;
    /// Server to client: a group's members changed, rebalance now. One-way.
    pub struct NotifyConsumerIdsChanged<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
    }
}

header_fields! {
    request LockBatchMq;
    /// Locks queues for one client; body [`crate::bodies::LockBatch`], answer [`crate::bodies::LockedQueues`].
    pub struct LockBatchMq {}
}

header_fields! {
    request UnlockBatchMq;
    /// Unlocks queues; body [`crate::bodies::LockBatch`].
    pub struct UnlockBatchMq {}
}

header_fields! {
    request CheckClientConfig;
    /// Checks a filter expression; body [`crate::bodies::CheckClientConfigBody`].
    pub struct CheckClientConfig {}
}
