//! Subscription groups and their state: codes 200, 201, 203, 204, 207, 208, 222, 223, 225, 300s.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request UpdateAndCreateSubscriptiongroup;
    /// Creates or changes a group; body [`crate::bodies::SubscriptionGroupConfig`].
    pub struct UpdateAndCreateSubscriptionGroup {}
}

header_fields! {
    request UpdateAndCreateSubscriptiongroupList;
    /// Creates or changes several groups; body [`crate::bodies::SubscriptionGroupList`].
    pub struct UpdateAndCreateSubscriptionGroupList {}
}

header_fields! {
    request GetAllSubscriptiongroupConfig;
    /// Asks for all groups of a broker; body of the answer [`crate::bodies::SubscriptionGroupTable`].
    pub struct GetAllSubscriptionGroupConfig<'a> {
        /// First of the groups wanted, counted from 0.
        pub group_seq: Option<i32> = "groupSeq",
        /// Version that the earlier pages had.
        pub data_version: Option<Cow<'a, str>> = "dataVersion",
        /// Groups a page.
        pub max_group_num: Option<i32> = "maxGroupNum",
    }
}

header_fields! {
    reply;
    /// How many groups there are in all.
    pub struct GetAllSubscriptionGroupConfigReply {
        /// The number.
        pub total_group_num: Option<i32> = "totalGroupNum",
    }
}

header_fields! {
    request GetSubscriptiongroupConfig;
    /// Asks for one group's settings; body of the answer [`crate::bodies::SubscriptionGroupConfig`].
    pub struct GetSubscriptionGroupConfig<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
    }
}

header_fields! {
    request DeleteSubscriptiongroup;
    /// Deletes a group.
    pub struct DeleteSubscriptionGroup<'a> {
        /// The group.
        pub group_name: Cow<'a, str> = "groupName",
        /// Whether its offsets go too.
        pub clean_offset: Option<bool> = "cleanOffset",
    }
}

header_fields! {
    request GetConsumerConnectionList;
    /// Asks for a consumer group's members; body of the answer [`crate::bodies::ConsumerConnection`].
    pub struct GetConsumerConnectionList<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
    }
}

header_fields! {
    request GetProducerConnectionList;
    /// Asks for a producer group's members; body of the answer [`crate::bodies::ProducerConnection`].
    pub struct GetProducerConnectionList<'a> {
        /// The group.
        pub producer_group: Cow<'a, str> = "producerGroup",
    }
}

header_fields! {
    request GetAllProducerInfo;
    /// Asks for all producers; body of the answer [`crate::bodies::ProducerTable`].
    pub struct GetAllProducerInfo {}
}

header_fields! {
    request GetConsumeStats;
    /// Asks how far a group is; body of the answer [`crate::bodies::ConsumeStats`].
    pub struct GetConsumeStats<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// Only this topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// Only these topics, joined by `;`.
        pub topic_list: Option<Cow<'a, str>> = "topicList",
    }
}

header_fields! {
    request GetBrokerConsumeStats;
    /// Asks how far all groups are; body of the answer [`crate::bodies::ConsumeStatsList`].
    pub struct GetBrokerConsumeStats {
        /// Only groups of order topics.
        pub is_order: Option<bool> = "isOrder",
    }
}

header_fields! {
    request QueryConsumeTimeSpan;
    /// Asks for a group's times in a topic; body of the answer [`crate::bodies::ConsumeTimeSpans`].
    pub struct QueryConsumeTimeSpan<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The group.
        pub group: Cow<'a, str> = "group",
    }
}

header_fields! {
    request QueryCorrectionOffset;
    /// Asks for the lowest offsets of some groups; body of the answer [`crate::bodies::CorrectionOffsets`].
    pub struct QueryCorrectionOffset<'a> {
        /// Groups to look at, joined by commas.
        pub filter_groups: Option<Cow<'a, str>> = "filterGroups",
        /// The group to compare with.
        pub compare_group: Cow<'a, str> = "compareGroup",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request QueryTopicsByConsumer;
    /// Asks which topics a group consumes; body of the answer [`crate::bodies::TopicList`].
    pub struct QueryTopicsByConsumer<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
    }
}

header_fields! {
    request QuerySubscriptionByConsumer;
    /// Asks for a group's subscription to a topic; body of the answer [`crate::bodies::QuerySubscriptionBody`].
    pub struct QuerySubscriptionByConsumer<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request CloneGroupOffset;
    /// Copies offsets from one group to another.
    pub struct CloneGroupOffset<'a> {
        /// From.
        pub src_group: Cow<'a, str> = "srcGroup",
        /// To.
        pub dest_group: Cow<'a, str> = "destGroup",
        /// Only this topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// Whether the target must be offline.
        pub offline: Option<bool> = "offline",
    }
}

header_fields! {
    request InvokeBrokerToResetOffset;
    /// Sets a group's offsets; body of the answer [`crate::bodies::ResetOffsetBody`].
    pub struct InvokeBrokerToResetOffset<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// To the offsets at this time, Unix milliseconds; -1: the end.
        pub timestamp: i64 = "timestamp" or -1,
        /// Whether offsets may go forward too.
        pub is_force: Option<bool> = "isForce",
        /// Only this queue; -1 or absent: all.
        pub queue_id: Option<i32> = "queueId",
        /// To this offset, with a queue.
        pub offset: Option<i64> = "offset",
    }
}

header_fields! {
    request ResetConsumerClientOffset;
    /// Server to client: set offsets; body [`crate::bodies::ResetOffsetBody`]. One-way.
    pub struct ResetConsumerClientOffset<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The time that was asked for, Unix milliseconds.
        pub timestamp: i64 = "timestamp" or -1,
        /// Whether offsets may go forward too.
        pub is_force: Option<bool> = "isForce",
        /// Only this queue; -1: all.
        pub queue_id: Option<i32> = "queueId",
        /// To this offset, with a queue.
        pub offset: Option<i64> = "offset",
    }
}

header_fields! {
    request InvokeBrokerToGetConsumerStatus;
    /// Asks what clients hold; body of the answer [`crate::bodies::ConsumerStatusBody`].
    pub struct InvokeBrokerToGetConsumerStatus<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// Only this client.
        pub client_addr: Option<Cow<'a, str>> = "clientAddr",
    }
}

header_fields! {
    request GetConsumerStatusFromClient;
    /// Server to client: what do you hold; body of the answer [`crate::bodies::ConsumerStatusBody`].
    pub struct GetConsumerStatusFromClient<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// The client.
        pub client_addr: Option<Cow<'a, str>> = "clientAddr",
    }
}

header_fields! {
    request UpdateAndGetGroupForbidden;
    /// Forbids or allows a group to read a topic; body of the answer [`crate::bodies::GroupForbidden`].
    pub struct UpdateAndGetGroupForbidden<'a> {
        /// The group.
        pub group: Cow<'a, str> = "group",
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Absent: only ask.
        pub readable: Option<bool> = "readable",
    }
}

header_fields! {
    request GetConsumerRunningInfo;
    /// Asks what a consumer does, at the broker and from there at the client; body of the answer [`crate::bodies::ConsumerRunningInfo`].
    pub struct GetConsumerRunningInfo<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The client.
        pub client_id: Cow<'a, str> = "clientId",
        /// Whether stacks are wanted.
        pub jstack_enable: Option<bool> = "jstackEnable",
    }
}

header_fields! {
    request ConsumeMessageDirectly;
    /// Makes a consumer consume one message now; body of the answer [`crate::bodies::ConsumeMessageDirectlyResult`].
    pub struct ConsumeMessageDirectly<'a> {
        /// The group.
        pub consumer_group: Cow<'a, str> = "consumerGroup",
        /// The client.
        pub client_id: Option<Cow<'a, str>> = "clientId",
        /// Offset message id.
        pub msg_id: Option<Cow<'a, str>> = "msgId",
        /// The broker, added by it.
        pub broker_name: Option<Cow<'a, str>> = "brokerName",
        /// The topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// System flag of the topic, added by the broker.
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        /// System flag of the group, added by the broker.
        pub group_sys_flag: Option<i32> = "groupSysFlag",
    }
}
