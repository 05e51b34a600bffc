//! Keys of the original's `BrokerConfig`, `MessageStoreConfig`, `NettyServerConfig`, `NettyClientConfig` and `AuthConfig` (5.5.0) that are no
//! setting here, below the reason.

/// A reason, and the keys that it is the reason of, with spaces between them.
pub(super) type Without = (&'static str, &'static str);

/// All of them. A text for each reason and not for each key: each pointer costs memory in every broker.
#[rustfmt::skip]
pub(super) static WITHOUT: &[Without] = &[
    (
        "servers speak TLS when they have a certificate (tlsCertificateFile), and brokers towards others with tlsOutgoing",
        "useTLS",
    ),
    (
        "a client that is silent for 120 s is gone; groups are kept until they are deleted",
        "channelExpiredTimeout subscriptionExpiredTimeout",
    ),
    (
        "a connection that sends too fast is read more slowly: memoryBytes",
        "enableNetWorkFlowControl",
    ),
    (
        "a group that is far behind holds up nobody; slaveReadEnable sends it to a replica",
        "accessMessageInMemoryHotRatio consumerFallbehindThreshold disableConsumeIfConsumerReadSlowly",
    ),
    (
        "a look-up by key brings up to 64 messages",
        "defaultQueryMaxNum",
    ),
    (
        "a message that is not on the disk in time is answered after ackTimeoutMs",
        "syncFlushTimeout",
    ),
    (
        "a pull brings what it asks for, up to pullMessagesMax and pullBytesMax, from memory or disk alike",
        "maxConsumeQueueScan maxTransferBytesOnMessageInDisk maxTransferBytesOnMessageInMemory maxTransferCountOnMessageInDisk \
         pullBatchMaxMessageCount travelCqFileNumWhenGetMessage",
    ),
    (
        "a pull waits as long as its client asks",
        "longPollingEnable shortPollingTimeMills",
    ),
    (
        "a replica serves reads by itself, and the other members elect a master within seconds",
        "compatibleWithOldNameSrv enableSlaveActingMaster syncBrokerMemberGroupPeriod",
    ),
    (
        "a stop ends what is in flight: drainTimeoutMs",
        "enableShutdownGracefully shutdownWaitTimeSeconds",
    ),
    (
        "users and their rules are in the log as all settings; each request is checked, and nothing is cached beyond a change",
        "authConfigPath authenticationMetadataProvider authenticationProvider authenticationStrategy authorizationMetadataProvider \
         authorizationProvider authorizationStrategy",
    ),
    (
        "the access control before 5.0 (plain_acl.yml) is not read: make its users with rmq-ctl create user and set acl, and set authenticationEnabled",
        "aclEnable migrateAuthFromV1Enabled",
    ),
    (
        "all data is below dataDir in another format; give it a folder of its own",
        "readOnlyCommitLogStorePaths replicasPerDiskPartition storePathCommitLog storePathRootDir",
    ),
    (
        "all metrics are there, and Prometheus fetches them from the port of management",
        "enableConnectionMetrics enableLagAndDlqMetrics enableMessageStoreMetrics enableRemotingMetrics enableRequestMetrics \
         enableStatsMetrics enableTransactionMetrics estimateAccumulation metricGrpcExporterIntervalInMills \
         metricGrpcExporterTimeOutInMills metricLoggingExporterIntervalInMills metricsExportBatchMaxDataPoints metricsExporterType \
         metricsGrpcExporterHeader metricsGrpcExporterTarget metricsInDelta metricsLabel metricsOtelCardinalityLimit",
    ),
    (
        "an expression is evaluated on the messages themselves, which needs no bit maps",
        "bitMapLengthConsumeQueueExt enableCalcFilterBitMap enableConsumeQueueExt expectConsumerNumUseFilter filterDataCleanTimeSpan \
         mappedFileSizeConsumeQueueExt maxErrorRateOfBloomFilter maxFilterMessageSize",
    ),
    (
        "batches are stored as single messages",
        "mapperFileSizeBatchConsumeQueue maxMsgsNumBatch searchBcqByCacheEnable",
    ),
    (
        "brokers register at each change and every 30 s with every name server, in parts when they have many topics (registrationBytes)",
        "compressedRegister enableSingleTopicRegister enableSplitRegistration fetchNamesrvAddrByAddressServer fetchNamesrvAddrInterval \
         forceRegister registerBrokerTimeoutMills registerNameServerPeriod scanAvailableNameSrv splitRegistrationSize \
         updateNameServerAddrPeriod",
    ),
    (
        "clients keep the offsets of broadcasts; only proxies of the original need them at the broker",
        "broadcastOffsetExpireMaxSecond broadcastOffsetExpireSecond enableBroadcastOffsetStore",
    ),
    (
        "consumeEnable of a group refuses its pulls",
        "rejectPullConsumerEnable",
    ),
    (
        "delay levels are delivered by the order of their times, and their progress is in the log",
        "delayOffsetUpdateVersionStep enableScheduleAsyncDeliver enableScheduleMessageStats flushDelayOffsetInterval \
         scheduleAsyncDeliverMaxPendingLimit scheduleAsyncDeliverMaxResendNum2Blocked",
    ),
    (
        "each broker is a process of its own",
        "brokerConfigPath inBrokerContainer isolateLogEnable",
    ),
    (
        "every record has a checksum of all its bytes, and it is checked",
        "checkCRCOnRecover enabledAppendPropCRC forceVerifyPropCRC",
    ),
    (
        "index files have sizes of their own, are always written, and are made again from the log",
        "indexFileReadEnable indexFileWriteEnable mappedFileSizeConsumeQueue maxHashSlotNum maxIndexNum messageIndexEnable \
         messageIndexSafe putMsgIndexHightWater",
    ),
    (
        "it is a field of the group (notifyConsumerIdsChangedEnable)",
        "notifyConsumerIdsChangedEnable",
    ),
    (
        "lite pulls are served as all pulls are; consumeEnable of the group refuses them",
        "litePullMessageEnable",
    ),
    (
        "lite topics are not there yet",
        "enableLiteEventMode liteEventCheckInterval liteEventFullDispatchDelayTime liteEventFullDispatchDelayTimeForWildcardGroup \
         liteLagCountMetricsEnable liteLagLatencyCollectEnable liteLagLatencyMetricsEnable liteLagLatencyTopK \
         liteSubscriptionCheckInterval liteSubscriptionCheckTimeoutMills liteTtlCheckInterval maxLiteSubscriptionCount minLiteTTl",
    ),
    (
        "locks of queues are the master's",
        "lockInStrictMode",
    ),
    (
        "members copy by another protocol, which sets its sizes and times by itself: ackMode, ackTimeoutMs, replicaLagBytes, replicaLagMs",
        "duplicationEnable forwardTimeout haFlowControlEnable haHousekeepingInterval haSendHeartbeatInterval haTransferBatchSize \
         maxHaTransferByteInSecond maxSlaveResendLength offsetCheckInSlave syncBrokerMetadataPeriod syncFromLastFile \
         syncMasterFlushOffsetWhenStartup",
    ),
    (
        "members elect their master without DLedger: election, members, leaseMs",
        "dLegerGroup dLegerPeers dLegerSelfId enableBatchPush enableDLegerCommitLog preferredLeaderId storePathDLedgerCommitLog",
    ),
    (
        "members elect their master without a controller: election, members, leaseMs, minInSync",
        "allAckInSyncStateSet asyncLearner brokerElectionPriority brokerHeartbeatInterval brokerNotActiveTimeoutMillis \
         checkSyncStateSetPeriod cleanOfflineBrokerInterval controllerAddr controllerHeartBeatTimeoutMills enableAutoInSyncReplicas \
         enableControllerMode fetchControllerAddrByDnsLookup inSyncReplicas sendHeartbeatTimeoutMillis storePathBrokerIdentity \
         storePathEpochFile syncControllerMetadataPeriod totalReplicas",
    ),
    (
        "members find each other by the name servers, or by members",
        "brokerIP2",
    ),
    (
        "messages for a time of their own follow the settings of the page of configuration",
        "appendTopicForTimerDeleteKey enableRemoteEscape timerCongestNumEachSlot timerEnableCheckMetrics timerEnableRetryUntilSuccess \
         timerFlushIntervalMs timerInterceptDelayLevel timerMetricSmallThreshold timerPrecisionMs timerProgressLogIntervalMs \
         timerRecallToTimeWheelEnable timerRecallToTimelineEnable timerReputServiceCorePoolSize timerReputServiceMaxPoolSize \
         timerReputServiceQueueCapacity timerRollWindowSlot timerSkipUnknownError timerStopEnqueue timerWheelEnable \
         timerWheelSnapshotFlush timerWheelSnapshotIntervalMs",
    ),
    (
        "the number of light queues is always limited: maxLmqConsumeQueueNum",
        "enableLmqQuota",
    ),
    (
        "what groups get of light queues is counted together",
        "enableLmqStats",
    ),
    (
        "messages that wait for their time and their recall follow the settings of the page of configuration",
        "allowRecallWhenBrokerNotWriteable",
    ),
    (
        "names have the limits of the protocol",
        "autoMessageVersionOnTopicLen maxTopicLength",
    ),
    (
        "no request waits in a queue, so none is refused because it is old",
        "brokerFastFailureEnable maxClientEventCount osPageCacheBusyTimeOutMills putMessageTimeout transferMsgByHeap \
         waitTimeMillsInAckQueue waitTimeMillsInAdminBrokerQueue waitTimeMillsInHeartbeatQueue waitTimeMillsInLitePullQueue \
         waitTimeMillsInPullQueue waitTimeMillsInSendQueue waitTimeMillsInTransactionQueue",
    ),
    (
        "nobody reads what is not confirmed",
        "readUnCommitted",
    ),
    (
        "nothing is counted for bills",
        "commercialBaseCount commercialSizePerMsg",
    ),
    (
        "offsets of groups are in the log within a second, and survive a restart",
        "consumerOffsetUpdateVersionStep enableCleanExpiredOffset flushConsumerOffsetHistoryInterval flushConsumerOffsetInterval \
         persistConsumerOffsetIncrementally useServerSideResetOffset",
    ),
    (
        "only the settings that are live change over the network",
        "configBlackList",
    ),
    (
        "pop consumption is not there yet",
        "appendAckAsync appendCkAsync defaultMessageRequestMode defaultPopShareQueueNum enableLitePopLog \
         enableNotifyAfterPopOrderLockRelease enableNotifyBeforePopCalculateLag enablePopBatchAck enablePopBufferMerge enablePopLog \
         enablePopMessageThreshold enablePopMetrics enableRetryTopicV2 enableSkipLongAwaitingAck initPopOffsetByCheckMsgInMem \
         loadBalancePollNameServerInterval maxMessageFilterNumForNotification maxPopPollingSize popCkMaxBufferSize \
         popCkOffsetMaxQueueSize popCkStayBufferTime popCkStayBufferTimeOut popConsumerFSServiceInit popConsumerKVServiceEnable \
         popConsumerKVServiceInit popConsumerKVServiceLog popFromRetryProbability popFromRetryProbabilityForPriority \
         popInflightMessageThreshold popLongPollingForceNotifyInterval popPollingMapExpireTimeSeconds popPollingMapSize popPollingSize \
         popResponseReturnActualRetryTopic popReviveConcurrency popReviveMaxAttemptTimes popReviveMaxReturnSizePerRead \
         popReviveSkipIfGroupAbsent priorityOrderAsc retrieveMessageFromPopRetryTopicV1 reviveAckWaitMs reviveInterval reviveMaxSlow reviveQueueNum \
         reviveScanTime serverLoadBalancerEnable skipPreOnline skipWhenCKRePutReachMaxTimes useMessageFilterForNotification \
         useSeparateRetryQueue",
    ),
    (
        "reads of old data run on threads of their own and hold up nobody; a group has a limit when it is set for it (rmq-ctl set group, mqadmin updateColdDataFlowCtrGroupConfig)",
        "cgColdReadThreshold coldCtrStrategyEnable coldDataFlowControlEnable coldDataScanEnable dataReadAheadEnable \
         globalColdReadThreshold timerColdDataCheckIntervalMs usePIDColdCtrStrategy",
    ),
    (
        "requests are handled where their connection is read: there are no pools of threads and no queues of requests",
        "ackMessageThreadPoolNums ackThreadPoolQueueCapacity adminBrokerThreadPoolNums adminBrokerThreadPoolQueueCapacity \
         asyncSendEnable batchDispatchRequestThreadPoolNums clientCallbackExecutorThreads clientManageThreadPoolNums \
         clientManagerThreadPoolQueueCapacity clientWorkerThreads compactionThreadNum consumerManageThreadPoolNums \
         consumerManagerThreadPoolQueueCapacity disableCallbackExecutor disableNettyWorkerGroup dispatchCqThreads \
         enableFastChannelEventProcess endTransactionPoolQueueCapacity endTransactionThreadPoolNums heartbeatThreadPoolNums \
         heartbeatThreadPoolQueueCapacity highSpeedMode litePullMessageThreadPoolNums litePullThreadPoolQueueCapacity \
         loadBalanceProcessorThreadPoolNums loadBalanceThreadPoolQueueCapacity maxAsyncPutMessageRequests \
         processReplyMessageThreadPoolNums pullMessageThreadPoolNums pullThreadPoolQueueCapacity putMessageFutureThreadPoolNums \
         putThreadPoolQueueCapacity queryMessageThreadPoolNums queryThreadPoolQueueCapacity realTimeNotifyConsumerChange \
         recoverThreadPoolNums replyThreadPoolQueueCapacity sendMessageThreadPoolNums sendThreadPoolQueueCapacity \
         serverCallbackExecutorThreads serverNettyWorkerGroupEnable serverSelectorThreads serverWorkerThreads timerGetMessageThreadNum \
         timerPutMessageThreadNum transactionCheckRocksdbCoreThreads transactionCheckRocksdbMaxThreads",
    ),
    (
        "retries of a group are not filtered",
        "filterSupportRetry",
    ),
    (
        "segments are removed as soon as their time is over, without a time of day and without a load to spread",
        "cleanResourceInterval correctLogicMinOffsetForceInterval correctLogicMinOffsetSleepInterval deleteCommitLogFilesInterval \
         deleteConsumeQueueFilesInterval deleteFileBatchMax deleteWhen destroyMapedFileIntervalForcibly disappearTimeAfterStart \
         logicalDiskSpaceCleanForciblyThreshold maxBatchDeleteFilesNum redeleteHangedFileInterval",
    ),
    (
        "segments whose time is over never wait for a full disk; diskEvictRatio (diskSpaceCleanForciblyRatio) removes others, and is off by default",
        "cleanFileForciblyEnable diskMaxUsedSpaceRatio",
    ),
    (
        "sockets are served without Netty: connectionsMax and memoryBytes are the limits",
        "channelNotActiveInterval clientAsyncSemaphoreValue clientChannelMaxIdleTimeSeconds clientCloseSocketIfTimeout \
         clientOnewaySemaphoreValue clientPooledByteBufAllocatorEnable clientSocketRcvBufSize clientSocketSndBufSize \
         connectTimeoutMillis enableReconnectForGoAway maxReconnectIntervalTimeSeconds serverAsyncSemaphoreValue \
         serverChannelMaxIdleTimeSeconds serverOnewaySemaphoreValue serverPooledByteBufAllocatorEnable serverSocketBacklog \
         serverSocketRcvBufSize serverSocketSndBufSize socksProxyConfig useEpollNativeSelector writeBufferHighWaterMark \
         writeBufferLowWaterMark",
    ),
    (
        "statistics are always kept, and forgotten when nobody needs them",
        "accountStatsEnable accountStatsPrintZeroValues autoDeleteUnusedStats diskFallRecorded enableDetailStat enableRegisterProducer \
         maxStatsIdleTimeInMinutes printChannelGroups printChannelGroupsMinNum",
    ),
    (
        "subscriptions come with heartbeats",
        "useStaticSubscription",
    ),
    (
        "the log is written with each batch, by one call, and read from the page cache; flush, flushIntervalMs and flushBytes say when it is synced",
        "cleanSwapedMapInterval commitCommitLogLeastPages commitCommitLogThoroughInterval commitIntervalCommitLog \
         commitLogForceSwapMapInterval commitLogSwapMapInterval commitLogSwapMapReserveFileNum fastFailIfNoBufferInStorePool \
         flushCommitLogLeastPages flushCommitLogThoroughInterval flushCommitLogTimed flushConsumeQueueLeastPages \
         flushConsumeQueueThoroughInterval flushIntervalConsumeQueue flushLeastPagesWhenWarmMapedFile logicQueueForceSwapMapInterval \
         logicQueueSwapMapInterval logicQueueSwapMapReserveFileNum mappedFileSwapEnable transientStorePoolEnable \
         transientStorePoolSize wakeCommitWhenPutMessage wakeFlushWhenPutMessage warmMapedFileEnable writeWithoutMmap",
    ),
    (
        "the server needs no folder of its own besides dataDir",
        "rocketmqHome",
    ),
    (
        "the start reads what the last life did not mark as complete, however it ended",
        "checkCommitLogOffsetOnRecover commitLogRecoverMaxNum enableAcceleratedRecovery \
         enableLogConsumeQueueRepeatedlyBuildWhenRecover enableRunningFlagsInFlush maxChecksumRange maxRecoveryCommitlogFiles \
         recheckReputOffsetFromCq recoverConcurrently",
    ),
    (
        "the system's topics are always there, and a topic that a message makes has as many queues as its producer asks, at most 8",
        "brokerTopicEnable clearRetryTopicWhenDeleteTopic clusterTopicEnable defaultTopicQueueNums enableCreateSysGroup \
         startAcceptSendRequestTimeStamp validateSystemTopicWhenUpdateTopic",
    ),
    (
        "there is no RocksDB: tables and millions of queues are in files of the store",
        "bottomMostCompressionTypeForConsumeQueueStore cleanRocksDBDirtyCQIntervalMin combineAssignOffsetCQType \
         combineCQEnableCheckSelf combineCQLoadingCQTypes combineCQMaxExtraSearchCommitLogFiles combineCQPreferCQType \
         combineCQUseRocksdbForLmq configManagerVersion enableRocksDBLog enableSplitMetadata indexRocksDBEnable iteratorWhenUseRocksdbConsumeQueue \
         maxRocksDBIndexQueryDays memTableFlushIntervalMs realTimePersistRocksDBConfig rocksdbCQDoubleWriteEnable \
         rocksdbCompressionType rocksdbFlushWalFrequency rocksdbWalFileRollingThreshold splitMetadataSize statRocksDBCQIntervalSec \
         storeType timerRocksDBEnable timerRocksDBPrecisionMs timerRocksDBRollIntervalHours timerRocksDBRollMaxTps \
         timerRocksDBRollRangeHours timerRocksDBStopScan timerRocksDBTimeExpiredMaxTps transRocksDBEnable \
         transactionCheckRocksdbQueueCapacity useSeparateStorePathForRocksdbCQ useSingleRocksDBForAllConfigs",
    ),
    (
        "there is one store",
        "messageStorePlugIn",
    ),
    (
        "there is one way to append and one to dispatch, without locks to choose",
        "debugLockEnable dispatchCqCacheNum dispatchFromSenderThread enableAsyncReput enableBuildConsumeQueueConcurrently \
         putConsumeQueueDataByFileChannel sampleCountThreshold sampleSteps sharedByteBufferNum spinLockCollisionRetreatOptimalDegree \
         topicQueueLockNum useABSLock useReentrantLockWhenPutMessage",
    ),
    (
        "compaction topics are on, and are compacted when their segments expire",
        "compactionCqMappedFileSize compactionMappedFileSize compactionScheduleInternal enableCompaction maxOffsetMapSize",
    ),
    (
        "traces are ordinary messages of the topic that clients name (RMQ_SYS_TRACE_TOPIC)",
        "msgTraceTopicName traceOn traceTopicEnable",
    ),
    (
        "transactions follow the settings of the page of configuration",
        "transWriteOriginTransHalfEnable transactionMetricFlushInterval transactionOpBatchInterval transactionOpMsgMaxSize",
    ),
    (
        "what waits for its time is in the store's files",
        "mappedFileSizeTimerLog",
    ),
];
