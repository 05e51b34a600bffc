//! The options of mqadmin 5.5.0: letters, long names, and which take no value (`!`) or are demanded (`*`), as its
//! `buildCommandlineOptions` list them (apache/rocketmq `tools/src/main/java/org/apache/rocketmq/tools/command/**`). Every command has
//! `-n` (name servers) and `-h` besides.

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag {
    /// One letter, or two; empty for an option that has a long name only.
    pub(super) letter: &'static str,
    pub(super) long: &'static str,
    pub(super) takes_value: bool,
    pub(super) is_demanded: bool,
}

impl Flag {
    fn parse(text: &'static str) -> Option<Self> {
        let (letter, rest) = text.split_once(':')?;
        let long = rest.trim_end_matches(['!', '*']);
        Some(Self {
            letter,
            long,
            takes_value: !rest.contains('!'),
            is_demanded: rest.contains('*'),
        })
    }

    /// As rows of the table name it: its letter, or its long name.
    pub(super) fn name(&self) -> &'static str {
        if self.letter.is_empty() {
            self.long
        } else {
            self.letter
        }
    }

    /// As people write it.
    pub(super) fn shown(&self) -> String {
        if self.letter.is_empty() {
            format!("--{}", self.long)
        } else {
            format!("-{}", self.letter)
        }
    }
}

/// Options of a command.
pub(super) fn of(command: &str) -> Vec<Flag> {
    let row = OPTIONS.iter().find(|(name, _)| *name == command);
    let options = row.map(|(_, options)| *options).unwrap_or_default();
    options.split('|').filter_map(Flag::parse).collect()
}

/// Commands and their options.
pub(super) const OPTIONS: &[(&str, &str)] = &[
    ("addBroker", "c:brokerContainerAddr*|b:brokerConfigPath*"),
    ("addWritePerm", "b:brokerName*"),
    ("allocateMQ", "t:topic*|i:ipList*"),
    (
        "brokerConsumeStats",
        "b:brokerAddr*|t:timeoutMillis|l:level|o:order",
    ),
    ("brokerStatus", "b:brokerAddr|c:clusterName"),
    ("checkMsgSendRT", "t:topic*|a:amount|s:size"),
    (
        "checkRocksdbCqWriteProgress",
        "c:cluster*|n:nameserverAddr*|t:topic|cf:checkFrom",
    ),
    (
        "cleanBrokerMetadata",
        "a:controllerAddress*|b:brokerControllerIdsToClean|bn:brokerName*|c:clusterName|l:cleanLivingBroker!",
    ),
    ("cleanExpiredCQ", "b:brokerAddr|c:cluster"),
    ("cleanUnusedTopic", "b:brokerAddr|c:cluster"),
    (
        "cloneGroupOffset",
        "s:srcGroup*|d:destGroup*|t:topic*|o:offline",
    ),
    ("clusterList", "m:moreStats!|i:interval|c:clusterName"),
    (
        "clusterRT",
        "a:amount|s:size|c:cluster|p:print log|m:machine room|i:interval",
    ),
    (
        "consumeMessage",
        "t:topic*|b:brokerName|i:queueId|o:offset|g:consumerGroup|s:beginTimestamp|e:endTimestamp|c:MessageNumber",
    ),
    ("consumerConnection", "g:consumerGroup*|b:brokerAddr"),
    (
        "consumerProgress",
        "g:groupName|t:topicName|s:showClientIP|c:cluster",
    ),
    (
        "consumerStatus",
        "g:consumerGroup*|i:clientId|b:brokerAddr|s:jstack!",
    ),
    ("copyAcl", "f:fromBroker*|t:toBroker*|s:subjects"),
    ("copyUser", "f:fromBroker*|t:toBroker*|u:usernames"),
    (
        "createAcl",
        "c:clusterName|b:brokerAddr|s:subject*|r:resources*|a:actions*|i:sourceIp|d:decision*",
    ),
    (
        "createUser",
        "c:clusterName|b:brokerAddr|u:username*|p:password*|t:userType",
    ),
    (
        "deleteAcl",
        "c:clusterName|b:brokerAddr|s:subject*|r:resources",
    ),
    (
        "deleteExpiredCommitLog",
        "n:namesrvAddr|b:brokerAddr|c:cluster",
    ),
    ("deleteKvConfig", "s:namespace*|k:key*"),
    (
        "deleteSubGroup",
        "b:brokerAddr|c:clusterName|g:groupName*|r:removeOffset",
    ),
    ("deleteTopic", "t:topic*|c:clusterName*"),
    ("deleteUser", "c:clusterName|b:brokerAddr|u:username*"),
    ("dumpCompactionLog", "f:file"),
    (
        "electMaster",
        "a:controllerAddress*|b:brokerId*|bn:brokerName*|c:clusterName*",
    ),
    ("exportConfigs", "c:clusterName*|f:filePath"),
    (
        "exportMetadata",
        "c:clusterName|b:brokerAddr|f:filePath|t:topic!|g:subscriptionGroup!|s:specialTopic!",
    ),
    (
        "exportMetadataInRocksDB",
        "p:path*|t:configType*|j:jsonEnable",
    ),
    ("exportMetrics", "c:clusterName*|f:filePath"),
    ("exportPopRecord", "c:clusterName|b:brokerAddr|d:dryRun"),
    ("getAcl", "b:brokerAddr|c:clusterName|s:subject"),
    ("getBrokerConfig", "b:brokerAddr|c:clusterName"),
    ("getBrokerEpoch", "c:clusterName|b:brokerName|i:interval"),
    ("getBrokerLiteInfo", "b:brokerAddr|c:cluster|d:showDetail!"),
    ("getColdDataFlowCtrInfo", "b:brokerAddr|c:clusterName"),
    ("getConsumerConfig", "g:groupName*"),
    ("getControllerConfig", "a:controllerAddress*"),
    ("getControllerMetaData", "a:controllerAddress*"),
    (
        "getLiteClientInfo",
        "p:parentTopic*|g:group*|c:clientId*|s:showDetail!",
    ),
    (
        "getLiteGroupInfo",
        "p:parentTopic*|g:group*|l:liteTopic|k:topK",
    ),
    (
        "getLiteTopicInfo",
        "p:parentTopic*|l:liteTopic*|s:showClientId!",
    ),
    ("getNamesrvConfig", ""),
    ("getParentTopicInfo", "p:parentTopic*"),
    (
        "getSyncStateSet",
        "a:controllerAddress*|c:clusterName|b:brokerName|i:interval",
    ),
    ("getUser", "b:brokerAddr|c:clusterName|u:username"),
    ("haStatus", "c:clusterName|b:brokerAddr|i:interval"),
    ("listAcl", "b:brokerAddr|c:clusterName|s:subject|r:resource"),
    ("listUser", "b:brokerAddr|c:clusterName|f:filter"),
    (
        "printMsg",
        "t:topic*|c:charsetName|s:subExpression|b:beginTimestamp|e:endTimestamp|d:printBody|l:lmqParentTopic",
    ),
    (
        "printMsgByQueue",
        "t:topic*|a:brokerName*|i:queueId*|c:charsetName|s:subExpression|b:beginTimestamp|e:endTimestamp|p:print msg|d:printBody|f:calculate",
    ),
    ("producer", "b:broker*"),
    ("producerConnection", "g:producerGroup*|t:topic*"),
    (
        "queryCq",
        "t:topic*|q:queue*|i:index*|c:count|b:broker|g:consumer",
    ),
    (
        "queryMsgById",
        "t:topic*|i:msgId*|g:consumerGroup|d:clientId|s:sendMessage|u:unitName|f:bodyFormat|c:cluster",
    ),
    (
        "queryMsgByKey",
        "t:topic*|k:msgKey*|b:beginTimestamp|e:endTimestamp|m:maxNum|c:cluster|p:keyType|l:lastKey",
    ),
    (
        "queryMsgByOffset",
        "t:topic*|b:brokerName*|i:queueId*|o:offset*|f:bodyFormat|r:routeTopic",
    ),
    (
        "queryMsgByUniqueKey",
        "i:msgId*|g:consumerGroup|d:clientId|t:topic*|a:showAll!|c:cluster|s:startTime|e:endTime",
    ),
    (
        "queryMsgTraceById",
        "i:msgId*|t:traceTopic|b:beginTimestamp|e:endTimestamp|c:maxNum",
    ),
    (
        "remappingStaticTopic",
        "c:clusters|b:brokers|t:topic*|mf:mapFile|fr:forceReplace",
    ),
    ("removeBroker", "c:brokerContainerAddr*|b:brokerIdentity*"),
    (
        "removeColdDataFlowCtrGroupConfig",
        "b:brokerAddr|c:clusterName|g:consumerGroup*",
    ),
    ("resetMasterFlushOffset", "b:brokerAddr|o:offset"),
    (
        "resetOffsetByTime",
        "g:group*|t:topic*|s:timestamp*|f:force|c:cluster|b:broker|q:queue|o:offset",
    ),
    (
        "rocksDBConfigToJson",
        "t:configType|p:configPath|e:exportFile|j:jsonEnable|n:nameserverAddr|c:cluster|b:brokerAddr",
    ),
    (
        "sendMessage",
        "t:topic*|p:body*|k:key|c:tags|b:broker|i:qid|m:msgTraceEnable",
    ),
    ("sendMsgStatus", "b:brokerName*|s:messageSize|c:count"),
    (
        "setCommitLogReadAheadMode",
        "b:brokerAddr|c:clusterName|m:commitLogReadAheadMode*",
    ),
    (
        "setConsumeMode",
        "b:brokerAddr|c:clusterName|t:topicName*|g:groupName*|m:mode*|q:popShareQueueNum",
    ),
    (
        "skipAccumulatedMessage",
        "g:group*|t:topic*|f:force|c:cluster",
    ),
    ("startMonitoring", ""),
    ("statsAll", "a:activeTopic!|t:topic"),
    (
        "switchTimerEngine",
        "b:brokerAddr|c:clusterName|e:engineType*",
    ),
    ("topicClusterList", "t:topic*"),
    ("topicList", "c:clusterModel!"),
    ("topicRoute", "t:topic*|l:list!"),
    ("topicStatus", "t:topic*|c:cluster"),
    (
        "triggerLiteDispatch",
        "p:parentTopic*|g:group*|c:clientId|b:brokerName",
    ),
    (
        "updateAcl",
        "c:clusterName|b:brokerAddr|s:subject*|r:resources*|a:actions*|d:decision*|i:sourceIp",
    ),
    (
        "updateBrokerConfig",
        "b:brokerAddr|c:clusterName|a:updateAllBroker|k:key*|v:value*",
    ),
    (
        "updateColdDataFlowCtrGroupConfig",
        "b:brokerAddr|c:clusterName|g:consumerGroup*|v:threshold*",
    ),
    (
        "updateControllerConfig",
        "a:controllerAddress*|k:key*|v:value*",
    ),
    ("updateKvConfig", "s:namespace*|k:key*|v:value*"),
    ("updateNamesrvConfig", "k:key*|v:value*"),
    ("updateOrderConf", "t:topic*|v:orderConf|m:method*"),
    (
        "updateStaticTopic",
        "c:clusters|b:brokers|t:topic*|qn:totalQueueNum*|mf:mapFile|fr:forceReplace",
    ),
    (
        "updateSubGroup",
        "b:brokerAddr|c:clusterName|g:groupName*|s:consumeEnable|m:consumeFromMinEnable|d:consumeBroadcastEnable|o:consumeMessageOrderly|q:retryQueueNums|r:retryMaxTimes|p:groupRetryPolicy|i:brokerId|w:whichBrokerWhenConsumeSlowly|a:notifyConsumerIdsChanged|:attributes",
    ),
    (
        "updateSubGroupList",
        "b:brokerAddr|c:clusterName|f:filename*",
    ),
    (
        "updateTopic",
        "b:brokerAddr|c:clusterName|a:attributes|t:topic*|r:readQueueNums|w:writeQueueNums|p:perm|o:order|u:unit|s:hasUnitSub",
    ),
    ("updateTopicList", "b:brokerAddr|c:clusterName|f:filename*"),
    (
        "updateTopicPerm",
        "b:brokerAddr|c:clusterName|t:topic*|p:perm*",
    ),
    (
        "updateUser",
        "c:clusterName|b:brokerAddr|u:username*|p:password|t:userType|s:userStatus",
    ),
    ("wipeWritePerm", "b:brokerName*"),
];
