//! Response codes (`apache/rocketmq remoting/.../protocol/ResponseCode.java`, 5.5.0).

use super::codes;

codes! {
    /// How a request ended. Each variant carries upstream's number and name.
    pub enum ResponseCode;

    Success = 0, "SUCCESS";
    SystemError = 1, "SYSTEM_ERROR";
    SystemBusy = 2, "SYSTEM_BUSY";
    RequestCodeNotSupported = 3, "REQUEST_CODE_NOT_SUPPORTED";
    TransactionFailed = 4, "TRANSACTION_FAILED";
    FlushDiskTimeout = 10, "FLUSH_DISK_TIMEOUT";
    SlaveNotAvailable = 11, "SLAVE_NOT_AVAILABLE";
    FlushSlaveTimeout = 12, "FLUSH_SLAVE_TIMEOUT";
    MessageIllegal = 13, "MESSAGE_ILLEGAL";
    ServiceNotAvailable = 14, "SERVICE_NOT_AVAILABLE";
    VersionNotSupported = 15, "VERSION_NOT_SUPPORTED";
    NoPermission = 16, "NO_PERMISSION";
    TopicNotExist = 17, "TOPIC_NOT_EXIST";
    TopicExistAlready = 18, "TOPIC_EXIST_ALREADY";
    PullNotFound = 19, "PULL_NOT_FOUND";
    PullRetryImmediately = 20, "PULL_RETRY_IMMEDIATELY";
    PullOffsetMoved = 21, "PULL_OFFSET_MOVED";
    QueryNotFound = 22, "QUERY_NOT_FOUND";
    SubscriptionParseFailed = 23, "SUBSCRIPTION_PARSE_FAILED";
    SubscriptionNotExist = 24, "SUBSCRIPTION_NOT_EXIST";
    SubscriptionNotLatest = 25, "SUBSCRIPTION_NOT_LATEST";
    SubscriptionGroupNotExist = 26, "SUBSCRIPTION_GROUP_NOT_EXIST";
    FilterDataNotExist = 27, "FILTER_DATA_NOT_EXIST";
    FilterDataNotLatest = 28, "FILTER_DATA_NOT_LATEST";
    InvalidParameter = 29, "INVALID_PARAMETER";
    TransactionShouldCommit = 200, "TRANSACTION_SHOULD_COMMIT";
    TransactionShouldRollback = 201, "TRANSACTION_SHOULD_ROLLBACK";
    TransactionStateUnknow = 202, "TRANSACTION_STATE_UNKNOW";
    TransactionStateGroupWrong = 203, "TRANSACTION_STATE_GROUP_WRONG";
    NoBuyerId = 204, "NO_BUYER_ID";
    NotInCurrentUnit = 205, "NOT_IN_CURRENT_UNIT";
    ConsumerNotOnline = 206, "CONSUMER_NOT_ONLINE";
    ConsumeMsgTimeout = 207, "CONSUME_MSG_TIMEOUT";
    NoMessage = 208, "NO_MESSAGE";
    PollingFull = 209, "POLLING_FULL";
    PollingTimeout = 210, "POLLING_TIMEOUT";
    BrokerNotExist = 211, "BROKER_NOT_EXIST";
    BrokerDispatchNotComplete = 212, "BROKER_DISPATCH_NOT_COMPLETE";
    BroadcastConsumption = 213, "BROADCAST_CONSUMPTION";
    FlowControl = 215, "FLOW_CONTROL";
    NotLeaderForQueue = 501, "NOT_LEADER_FOR_QUEUE";
    IllegalOperation = 604, "ILLEGAL_OPERATION";
    GoAway = 1500, "GO_AWAY";
    ControllerFencedMasterEpoch = 2000, "CONTROLLER_FENCED_MASTER_EPOCH";
    ControllerFencedSyncStateSetEpoch = 2001, "CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH";
    ControllerInvalidMaster = 2002, "CONTROLLER_INVALID_MASTER";
    ControllerInvalidReplicas = 2003, "CONTROLLER_INVALID_REPLICAS";
    ControllerMasterNotAvailable = 2004, "CONTROLLER_MASTER_NOT_AVAILABLE";
    ControllerInvalidRequest = 2005, "CONTROLLER_INVALID_REQUEST";
    ControllerBrokerNotAlive = 2006, "CONTROLLER_BROKER_NOT_ALIVE";
    ControllerNotLeader = 2007, "CONTROLLER_NOT_LEADER";
    ControllerBrokerMetadataNotExist = 2008, "CONTROLLER_BROKER_METADATA_NOT_EXIST";
    ControllerInvalidCleanBrokerMetadata = 2009, "CONTROLLER_INVALID_CLEAN_BROKER_METADATA";
    ControllerBrokerNeedToBeRegistered = 2010, "CONTROLLER_BROKER_NEED_TO_BE_REGISTERED";
    ControllerMasterStillExist = 2011, "CONTROLLER_MASTER_STILL_EXIST";
    ControllerElectMasterFailed = 2012, "CONTROLLER_ELECT_MASTER_FAILED";
    ControllerAlterSyncStateSetFailed = 2013, "CONTROLLER_ALTER_SYNC_STATE_SET_FAILED";
    ControllerBrokerIdInvalid = 2014, "CONTROLLER_BROKER_ID_INVALID";
    ControllerJraftInternalError = 2015, "CONTROLLER_JRAFT_INTERNAL_ERROR";
    ControllerBrokerLiveInfoNotExists = 2016, "CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS";
    UserNotExist = 3001, "USER_NOT_EXIST";
    PolicyNotExist = 3002, "POLICY_NOT_EXIST";
    RpcUnknown = -1000, "RPC_UNKNOWN";
    RpcAddrIsNull = -1002, "RPC_ADDR_IS_NULL";
    RpcSendToChannelFailed = -1004, "RPC_SEND_TO_CHANNEL_FAILED";
    RpcTimeOut = -1006, "RPC_TIME_OUT";
}
