//! Topics at the broker and at the name server: codes 17, 18, 21, 202, 206, 215, 216, 217, 224, 300, 304, 305, 311 to 313, 351, 513.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request UpdateAndCreateTopic;
    /// Creates or changes a topic.
    pub struct UpdateAndCreateTopic<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Kept for old brokers.
        pub default_topic: Option<Cow<'a, str>> = "defaultTopic",
        /// Queues that may be read.
        pub read_queue_nums: i32 = "readQueueNums",
        /// Queues that may be written.
        pub write_queue_nums: i32 = "writeQueueNums",
        /// Permission bits, see [`crate::route::perm`].
        pub perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        pub topic_filter_type: Option<Cow<'a, str>> = "topicFilterType",
        /// System flag.
        pub topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether it is an order topic.
        pub order: Option<bool> = "order",
        /// Changes of attributes, `+name=value,-name`.
        pub attributes: Option<Cow<'a, str>> = "attributes",
        /// Of static topics.
        pub force: Option<bool> = "force",
    }
}

header_fields! {
    request UpdateAndCreateTopicList;
    /// Creates or changes several topics; body [`crate::bodies::TopicConfigList`].
    pub struct UpdateAndCreateTopicList {}
}

header_fields! {
    request GetAllTopicConfig;
    /// Asks for all topics of a broker; body of the answer [`crate::bodies::TopicConfigTable`].
    pub struct GetAllTopicConfig<'a> {
        /// First of the topics wanted, counted from 0.
        pub topic_seq: Option<i32> = "topicSeq",
        /// Version that the earlier pages had.
        pub data_version: Option<Cow<'a, str>> = "dataVersion",
        /// Topics a page.
        pub max_topic_num: Option<i32> = "maxTopicNum",
    }
}

header_fields! {
    reply;
    /// How many topics there are in all.
    pub struct GetAllTopicConfigReply {
        /// The number.
        pub total_topic_num: Option<i32> = "totalTopicNum",
    }
}

header_fields! {
    request GetTopicConfig;
    /// Asks for one topic's settings; body of the answer [`crate::bodies::TopicConfig`].
    pub struct GetTopicConfig<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Of static topics.
        pub lo: Option<bool> = "lo",
    }
}

header_fields! {
    request GetTopicStatsInfo;
    /// Asks for the bounds of a topic's queues; body of the answer [`crate::bodies::TopicStatsTable`].
    pub struct GetTopicStatsInfo<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request DeleteTopicInBroker;
    /// Deletes a topic at a broker.
    pub struct DeleteTopicInBroker<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request DeleteTopicInNamesrv;
    /// Deletes a topic at a name server.
    pub struct DeleteTopicInNamesrv<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Only at brokers of this cluster.
        pub cluster_name: Option<Cow<'a, str>> = "clusterName",
    }
}

header_fields! {
    request RegisterTopicInNamesrv;
    /// Registers a topic by hand; body [`crate::route::TopicRoute`].
    pub struct RegisterTopicInNamesrv<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request GetAllTopicListFromNameserver;
    /// Asks for all topics; body of the answer [`crate::bodies::TopicList`].
    pub struct GetAllTopicListFromNameserver {}
}

header_fields! {
    request GetTopicsByCluster;
    /// Asks for a cluster's topics; body of the answer [`crate::bodies::TopicList`].
    pub struct GetTopicsByCluster<'a> {
        /// The cluster.
        pub cluster: Cow<'a, str> = "cluster",
    }
}

header_fields! {
    request GetSystemTopicListFromNs;
    /// Asks for the topics named like clusters and brokers; body of the answer [`crate::bodies::TopicList`].
    pub struct GetSystemTopicListFromNs {}
}

header_fields! {
    request GetSystemTopicListFromBroker;
    /// Asks for a broker's system topics; body of the answer [`crate::bodies::TopicList`].
    pub struct GetSystemTopicListFromBroker {}
}

header_fields! {
    request GetUnitTopicList;
    /// Asks for unit topics; body of the answer [`crate::bodies::TopicList`].
    pub struct GetUnitTopicList {}
}

header_fields! {
    request GetHasUnitSubTopicList;
    /// Asks for topics with unit subscriptions; body of the answer [`crate::bodies::TopicList`].
    pub struct GetHasUnitSubTopicList {}
}

header_fields! {
    request GetHasUnitSubUnunitTopicList;
    /// Asks for topics with unit subscriptions that are no unit topics; body of the answer [`crate::bodies::TopicList`].
    pub struct GetHasUnitSubUnunitTopicList {}
}

header_fields! {
    request QueryTopicConsumeByWho;
    /// Asks which groups consume a topic; body of the answer [`crate::bodies::GroupList`].
    pub struct QueryTopicConsumeByWho<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
    }
}

header_fields! {
    request UpdateAndCreateStaticTopic;
    /// Creates or changes a static topic; the body is its mapping.
    pub struct UpdateAndCreateStaticTopic<'a> {
        /// The topic.
        pub topic: Cow<'a, str> = "topic",
        /// Queues that may be read.
        pub read_queue_nums: i32 = "readQueueNums",
        /// Queues that may be written.
        pub write_queue_nums: i32 = "writeQueueNums",
        /// Permission bits.
        pub perm: i32 = "perm",
        /// Whether to overwrite.
        pub force: Option<bool> = "force",
    }
}
