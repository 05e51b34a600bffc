//! Running a broker or name server: codes 25 to 28, 43, 45, 205, 306, 315, 316, 318, 319, 327, 329, 354, 906 to 908, 1007 and key-value settings 100 to 102, 219.

use std::borrow::Cow;

use super::field::header_fields;

header_fields! {
    request GetTimerCheckPoint;
    /// How far timers have come; body of the answer [`crate::bodies::TimerCheckpoint`].
    pub struct GetTimerCheckPoint {}
}

header_fields! {
    request GetTimerMetrics;
    /// How many messages wait for a timer; body of the answer [`crate::bodies::TimerMetrics`].
    pub struct GetTimerMetrics {}
}

header_fields! {
    request UpdateColdDataFlowCtrConfig;
    /// Limits what groups read from the disk; the body is properties text with the bytes of each group.
    pub struct UpdateColdDataFlowCtrConfig {}
}

header_fields! {
    request RemoveColdDataFlowCtrConfig;
    /// Lifts the limit of a group; the body is its name.
    pub struct RemoveColdDataFlowCtrConfig {}
}

header_fields! {
    request GetColdDataFlowCtrInfo;
    /// Asks for these limits, and for what groups have read lately; the body of the answer is JSON.
    pub struct GetColdDataFlowCtrInfo {}
}

header_fields! {
    request GetBrokerRuntimeInfo;
    /// Asks for a broker's figures; body of the answer [`crate::bodies::KvTable`].
    pub struct GetBrokerRuntimeInfo {}
}

header_fields! {
    request UpdateBrokerConfig;
    /// Changes settings; the body is properties text, see [`crate::bodies::parse_properties`].
    pub struct UpdateBrokerConfig {}
}

header_fields! {
    request GetBrokerConfig;
    /// Asks for the settings; the body of the answer is properties text.
    pub struct GetBrokerConfig {}
}

header_fields! {
    reply;
    /// Version of the settings.
    pub struct GetBrokerConfigReply {
        /// [`crate::bodies::DataVersion`] as JSON.
        pub version: Option<String> = "version",
    }
}

header_fields! {
    request UpdateNamesrvConfig;
    /// Changes settings of a name server; the body is properties text.
    pub struct UpdateNamesrvConfig {}
}

header_fields! {
    request GetNamesrvConfig;
    /// Asks for the settings of a name server; the body of the answer is properties text.
    pub struct GetNamesrvConfig {}
}

header_fields! {
    request ViewBrokerStatsData;
    /// Asks for one counter; body of the answer [`crate::bodies::BrokerStatsData`].
    pub struct ViewBrokerStatsData<'a> {
        /// Name of the counter, such as `TOPIC_PUT_NUMS`.
        pub stats_name: Cow<'a, str> = "statsName",
        /// Of what.
        pub stats_key: Cow<'a, str> = "statsKey",
    }
}

header_fields! {
    request CleanExpiredConsumequeue;
    /// Removes index files of removed messages.
    pub struct CleanExpiredConsumeQueue {}
}

header_fields! {
    request DeleteExpiredCommitlog;
    /// Removes expired segments now.
    pub struct DeleteExpiredCommitLog {}
}

header_fields! {
    request CleanUnusedTopic;
    /// Removes queues of topics that no longer exist.
    pub struct CleanUnusedTopic {}
}

header_fields! {
    request CheckRocksdbCqWriteProgress;
    /// Of another index format; body of the answer [`crate::bodies::CheckRocksdbCqBody`].
    pub struct CheckRocksdbCqWriteProgress<'a> {
        /// The topic.
        pub topic: Option<Cow<'a, str>> = "topic",
        /// Unix milliseconds.
        pub check_store_time: Option<i64> = "checkStoreTime",
    }
}

header_fields! {
    request GetBrokerHaStatus;
    /// Asks for the state of replication; body of the answer [`crate::bodies::HaRuntimeInfo`].
    pub struct GetBrokerHaStatus {}
}

header_fields! {
    request GetBrokerEpochCache;
    /// Asks which master wrote which part of the log; body of the answer [`crate::bodies::EpochCache`].
    pub struct GetBrokerEpochCache {}
}

header_fields! {
    request ResetMasterFlushOffset;
    /// Tells a replica what its master has flushed.
    pub struct ResetMasterFlushOffset {
        /// The position.
        pub master_flush_offset: i64 = "masterFlushOffset",
    }
}

header_fields! {
    request ExchangeBrokerHaInfo;
    /// Members of a broker group tell each other about the master.
    pub struct ExchangeBrokerHaInfo<'a> {
        /// The master's replication address.
        pub master_ha_address: Option<Cow<'a, str>> = "masterHaAddress",
        /// What the master has flushed.
        pub master_flush_offset: Option<i64> = "masterFlushOffset",
        /// The master's address.
        pub master_address: Option<Cow<'a, str>> = "masterAddress",
    }
}

header_fields! {
    request GetAllConsumerOffset;
    /// Asks for all committed offsets; body of the answer [`crate::bodies::ConsumerOffsetTable`].
    pub struct GetAllConsumerOffset {}
}

header_fields! {
    request GetAllDelayOffset;
    /// Asks for the progress of delayed messages.
    pub struct GetAllDelayOffset {}
}

header_fields! {
    request WipeWritePermOfBroker;
    /// Takes the write permission from all of a broker's topics in the routes.
    pub struct WipeWritePermOfBroker<'a> {
        /// The broker group.
        pub broker_name: Cow<'a, str> = "brokerName",
    }
}

header_fields! {
    reply;
    /// How many topics were changed.
    pub struct WipeWritePermOfBrokerReply {
        /// The number.
        pub wipe_topic_count: i32 = "wipeTopicCount",
    }
}

header_fields! {
    request AddWritePermOfBroker;
    /// Gives the write permission back.
    pub struct AddWritePermOfBroker<'a> {
        /// The broker group.
        pub broker_name: Cow<'a, str> = "brokerName",
    }
}

header_fields! {
    reply;
    /// How many topics were changed.
    pub struct AddWritePermOfBrokerReply {
        /// The number.
        pub add_topic_count: i32 = "addTopicCount",
    }
}

header_fields! {
    request PutKvConfig;
    /// Sets a value at a name server.
    pub struct PutKvConfig<'a> {
        /// The namespace.
        pub namespace: Cow<'a, str> = "namespace",
        /// The name.
        pub key: Cow<'a, str> = "key",
        /// The value.
        pub value: Cow<'a, str> = "value",
    }
}

header_fields! {
    request GetKvConfig;
    /// Asks for a value; code 22 when there is none.
    pub struct GetKvConfig<'a> {
        /// The namespace.
        pub namespace: Cow<'a, str> = "namespace",
        /// The name.
        pub key: Cow<'a, str> = "key",
    }
}

header_fields! {
    reply;
    /// A value.
    pub struct GetKvConfigReply {
        /// The value.
        pub value: Option<String> = "value",
    }
}

header_fields! {
    request DeleteKvConfig;
    /// Removes a value.
    pub struct DeleteKvConfig<'a> {
        /// The namespace.
        pub namespace: Cow<'a, str> = "namespace",
        /// The name.
        pub key: Cow<'a, str> = "key",
    }
}

header_fields! {
    request GetKvlistByNamespace;
    /// Asks for all values of a namespace; body of the answer [`crate::bodies::KvTable`].
    pub struct GetKvListByNamespace<'a> {
        /// The namespace.
        pub namespace: Cow<'a, str> = "namespace",
    }
}
