//! The table of request codes: for each code the handler, the rights that the request needs, and the roles that may serve it. The match
//! has no arm for "all others": a new code does not compile without a row.

use std::sync::Arc;

use rmq_protocol::code::{Action, RequestCode, Resource, Right};
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::handlers::admin::{
    backup, broker as itself, cold, connections, consumption, groups, offsets as admin_offsets,
    relay, replication, timers, topics, users,
};
use crate::handlers::batch::Batch;
use crate::handlers::refusal::Handled;
use crate::handlers::{
    clients, locks, offsets, pull, query, recall, replies, send, send_back, transactions,
};

/// A handler that answers each request by itself.
pub(crate) type Handler = fn(&Arc<Broker>, &mut Exchange<'_>) -> Handled;
/// A handler that gathers requests of one code until the end of a batch.
pub(crate) type BatchHandler =
    fn(&Arc<Broker>, &mut Batch, &mut Exchange<'_>, RequestCode) -> Handled;

/// What the broker does with the requests of a code.
#[derive(Clone, Copy)]
pub(crate) enum Serving {
    One(Handler),
    Batched(BatchHandler),
    /// Brokers of Apache RocketMQ serve it. This version refuses it, at the first request and with a code that clients do not try again.
    NotYet,
    /// The request is for another kind of server, or for a client.
    Elsewhere(&'static str),
    /// Brokers of Apache RocketMQ serve it, and these need not, for this reason.
    Unneeded(&'static str),
    /// The code is declared, and no server of Apache RocketMQ has a handler for it.
    Nowhere,
}

/// The roles of a broker that may serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roles {
    /// Only the master: the request changes something, or needs the newest state.
    Master,
    /// Only the master: a replica passes the request on to it, and its answer back.
    PassedOn,
    /// The master and its replicas.
    Any,
}

/// What is known of a request code.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) serving: Serving,
    pub(crate) rights: &'static [Right],
    pub(crate) roles: Roles,
}

const fn one(handler: Handler, rights: &'static [Right], roles: Roles) -> Row {
    Row {
        serving: Serving::One(handler),
        rights,
        roles,
    }
}

const fn batched(handler: BatchHandler, rights: &'static [Right], roles: Roles) -> Row {
    Row {
        serving: Serving::Batched(handler),
        rights,
        roles,
    }
}

const fn not_yet(rights: &'static [Right], roles: Roles) -> Row {
    Row {
        serving: Serving::NotYet,
        rights,
        roles,
    }
}

const fn elsewhere(at: &'static str) -> Row {
    Row {
        serving: Serving::Elsewhere(at),
        rights: &[],
        roles: Roles::Any,
    }
}

const fn unneeded(because: &'static str) -> Row {
    Row {
        serving: Serving::Unneeded(because),
        rights: &[],
        roles: Roles::Any,
    }
}

const NOWHERE: Row = Row {
    serving: Serving::Nowhere,
    rights: &[],
    roles: Roles::Any,
};

const NAME_SERVER: &str = "name servers";
const CONTROLLER: &str = "controllers, which there are none of: the brokers of a group elect their master by themselves (election), rmq-ctl broker replication shows it and rmq-ctl broker switchover changes it";
const CONTAINER: &str = "broker containers, which there are none of: start each broker as a process of its own, with its own configuration";
const CLIENT: &str = "clients";

// Why brokers do not need these.
const FROM_RECORD: &str = "a broker learns who is master from its election or its configuration, never from a name server, and no replica acts for a master";
const BY_GREETING: &str = "members greet each other on the replication port, and each connection checks where both logs are";
const BY_REPORT: &str = "a replica reports what it has on its disk, and nobody sets that by hand; rmq-ctl broker replication shows it";
const BY_ELECTION: &str = "there are no controllers: a broker learns of its role from its election; rmq-ctl broker switchover changes who is master";
const ROCKSDB: &str = "the store has no RocksDB";
const READ_AHEAD: &str =
    "the store reads ahead where a reader goes on, and there is no mode to set";
const STATIC_TOPICS: &str = "there are no topics with fixed logical queues (static topics): elected replicas keep each queue at its broker group when a computer is lost; give the topic more queues to grow";
const TIMER_ENGINE: &str = "there is one engine for messages that wait";

// The rights are those of apache/rocketmq `DefaultAuthorizationContextBuilder` and of the `RocketMQAction` of each header. Requests without
// header fields need no right there; here they need one on the cluster.
const PUB_TOPIC: &[Right] = &[Right::new(&[Action::Pub], Resource::Topic)];
const SUB_GROUP: &[Right] = &[Right::new(&[Action::Sub], Resource::Group)];
const SUB: &[Right] = &[
    Right::new(&[Action::Sub], Resource::Topic),
    Right::new(&[Action::Sub], Resource::Group),
];
const SUB_OR_GET: &[Right] = &[
    Right::new(&[Action::Sub, Action::Get], Resource::Topic),
    Right::new(&[Action::Sub, Action::Get], Resource::Group),
];
const SUB_OR_GET_TOPIC: &[Right] = &[Right::new(&[Action::Sub, Action::Get], Resource::Topic)];
const SUB_OR_GET_GROUP: &[Right] = &[Right::new(&[Action::Sub, Action::Get], Resource::Group)];
const SUB_OR_UPDATE: &[Right] = &[
    Right::new(&[Action::Sub, Action::Update], Resource::Topic),
    Right::new(&[Action::Sub, Action::Update], Resource::Group),
];
const GET: &[Right] = &[
    Right::new(&[Action::Get], Resource::Topic),
    Right::new(&[Action::Get], Resource::Group),
];
const GET_TOPIC: &[Right] = &[Right::new(&[Action::Get], Resource::Topic)];
const GET_GROUP: &[Right] = &[Right::new(&[Action::Get], Resource::Group)];
const GET_CLUSTER: &[Right] = &[Right::new(&[Action::Get], Resource::Cluster)];
const LIST_TOPICS: &[Right] = &[Right::new(&[Action::List], Resource::Topic)];
const LIST_GROUPS: &[Right] = &[Right::new(&[Action::List], Resource::Group)];
const CREATE_TOPIC: &[Right] = &[Right::new(&[Action::Create], Resource::Topic)];
const CREATE_GROUP: &[Right] = &[Right::new(&[Action::Create], Resource::Group)];
const UPDATE: &[Right] = &[
    Right::new(&[Action::Update], Resource::Topic),
    Right::new(&[Action::Update], Resource::Group),
];
const UPDATE_TOPIC: &[Right] = &[Right::new(&[Action::Update], Resource::Topic)];
const UPDATE_CLUSTER: &[Right] = &[Right::new(&[Action::Update], Resource::Cluster)];
const DELETE_TOPIC: &[Right] = &[Right::new(&[Action::Delete], Resource::Topic)];
const DELETE_GROUP: &[Right] = &[Right::new(&[Action::Delete], Resource::Group)];

/// The row of a code.
pub(crate) const fn row(code: RequestCode) -> Row {
    use RequestCode as Code;
    use Roles::{Any, Master, PassedOn};
    match code {
        // The message path. A send to a retry topic needs SUB of its group instead.
        Code::SendMessage | Code::SendMessageV2 | Code::SendBatchMessage => {
            batched(send::handle, PUB_TOPIC, Master)
        }
        Code::PullMessage | Code::LitePullMessage => one(pull::handle, SUB, Any),
        Code::ConsumerSendMsgBack => one(send_back::handle, SUB_GROUP, PassedOn),
        Code::EndTransaction => batched(transactions::end, PUB_TOPIC, Master),
        Code::SendReplyMessage | Code::SendReplyMessageV2 => {
            one(replies::handle, PUB_TOPIC, Master)
        }
        Code::RecallMessage => one(recall::handle, PUB_TOPIC, Master),
        Code::PopMessage
        | Code::AckMessage
        | Code::BatchAckMessage
        | Code::ChangeMessageInvisibletime => not_yet(SUB, Master),
        Code::Notification | Code::PeekMessage => not_yet(SUB, Any),
        Code::PollingInfo => not_yet(GET, Any),
        Code::PopRollback => not_yet(UPDATE_CLUSTER, Master),
        Code::PopLiteMessage | Code::AckLiteMessage | Code::LiteSubscriptionCtl => {
            not_yet(SUB, Master)
        }

        // Consumers and producers.
        Code::HeartBeat => batched(clients::heartbeat, SUB, Any),
        Code::UnregisterClient => one(clients::unregister, SUB_GROUP, Any),
        Code::GetConsumerListByGroup => one(clients::consumer_list, SUB_OR_GET_GROUP, Any),
        Code::CheckClientConfig => one(clients::check_config, SUB, Any),
        Code::QueryAssignment => not_yet(SUB, Any),
        Code::LockBatchMq => one(locks::lock, SUB, PassedOn),
        Code::UnlockBatchMq => one(locks::unlock, SUB, PassedOn),
        Code::QueryConsumerOffset => one(offsets::query, SUB_OR_GET, Any),
        Code::RaiseConsumerOffsets => one(offsets::raise, UPDATE_CLUSTER, Master),
        Code::UpdateConsumerOffset => one(offsets::update, SUB_OR_UPDATE, Any),
        Code::GetMaxOffset => one(offsets::max, GET_TOPIC, Any),
        Code::GetMinOffset => one(offsets::min, GET_TOPIC, Any),
        Code::SearchOffsetByTimestamp => one(offsets::by_time, GET_TOPIC, Any),
        Code::GetEarliestMsgStoretime => one(offsets::earliest, GET_TOPIC, Any),

        // Looking messages up.
        Code::QueryMessage => one(query::by_key, SUB_OR_GET_TOPIC, Any),
        Code::ViewMessageById => one(query::by_position, GET_TOPIC, Any),

        // Topics.
        Code::UpdateAndCreateTopic => one(topics::put, CREATE_TOPIC, Master),
        Code::UpdateAndCreateTopicList => one(topics::put_list, CREATE_TOPIC, Master),
        Code::UpdateAndCreateStaticTopic => unneeded(STATIC_TOPICS),
        Code::DeleteTopicInBroker => one(topics::delete, DELETE_TOPIC, Master),
        Code::GetAllTopicConfig => one(topics::all, LIST_TOPICS, Any),
        Code::GetTopicConfig => one(topics::one, GET_TOPIC, Any),
        Code::GetTopicStatsInfo => one(topics::stats, GET_TOPIC, Any),
        Code::GetSystemTopicListFromBroker => one(topics::system, LIST_TOPICS, Any),
        Code::QueryConsumeQueue => one(topics::queue_entries, GET_TOPIC, Any),
        Code::ResumeCheckHalfMessage => one(transactions::resume, UPDATE_TOPIC, Master),
        Code::GetTransactions => one(transactions::list, GET_CLUSTER, Any),
        Code::GetParentTopicInfo | Code::GetLiteTopicInfo => not_yet(GET_TOPIC, Any),
        Code::TriggerLiteDispatch => not_yet(UPDATE, Master),

        // Groups.
        Code::UpdateAndCreateSubscriptiongroup => one(groups::put, CREATE_GROUP, Master),
        Code::UpdateAndCreateSubscriptiongroupList => one(groups::put_list, CREATE_GROUP, Master),
        Code::DeleteSubscriptiongroup => one(groups::delete, DELETE_GROUP, Master),
        Code::GetAllSubscriptiongroupConfig => one(groups::all, LIST_GROUPS, Any),
        Code::GetSubscriptiongroupConfig => one(groups::one, GET_GROUP, Any),
        Code::UpdateAndGetGroupForbidden => one(groups::forbidden, UPDATE, Master),
        Code::SetMessageRequestMode => not_yet(UPDATE, Master),
        Code::GetAllMessageRequestMode => not_yet(GET_CLUSTER, Any),
        Code::GetConsumerConnectionList => one(connections::consumers, GET_GROUP, Any),
        Code::GetProducerConnectionList => one(connections::producers, GET_CLUSTER, Any),
        Code::GetAllProducerInfo => one(connections::all_producers, GET_CLUSTER, Any),
        Code::GetConsumeStats => one(consumption::of_group, GET, Any),
        Code::GetBrokerConsumeStats => one(consumption::of_broker, GET_CLUSTER, Any),
        Code::QueryConsumeTimeSpan => one(consumption::time_span, GET, Any),
        Code::QueryTopicConsumeByWho => one(consumption::groups_of_topic, GET_TOPIC, Any),
        Code::QueryTopicsByConsumer => one(consumption::topics_of_group, GET_GROUP, Any),
        Code::QuerySubscriptionByConsumer => one(consumption::subscription, GET, Any),
        Code::QueryCorrectionOffset => one(consumption::correction, GET, Any),
        Code::CloneGroupOffset => one(admin_offsets::clone, UPDATE, Master),
        Code::InvokeBrokerToResetOffset => one(admin_offsets::reset, UPDATE, Master),
        Code::GetAllConsumerOffset => one(admin_offsets::all, GET_CLUSTER, Any),
        Code::GetAllDelayOffset => one(admin_offsets::delays, GET_CLUSTER, Any),
        Code::InvokeBrokerToGetConsumerStatus => one(relay::consumer_status, GET, Any),
        Code::GetConsumerRunningInfo => one(relay::running_info, GET_GROUP, Any),
        Code::ConsumeMessageDirectly => one(relay::consume_directly, SUB, Any),
        Code::GetLiteClientInfo | Code::GetLiteGroupInfo => not_yet(GET_GROUP, Any),

        // The broker itself.
        Code::GetBrokerRuntimeInfo => one(itself::runtime, GET_CLUSTER, Any),
        Code::ViewBrokerStatsData => one(itself::statistics, GET_CLUSTER, Any),
        Code::GetBrokerConfig => one(itself::config, GET_CLUSTER, Any),
        Code::UpdateBrokerConfig => one(itself::change_config, UPDATE_CLUSTER, Any),
        Code::CleanExpiredConsumequeue | Code::CleanUnusedTopic => {
            one(itself::nothing_to_do, UPDATE_CLUSTER, Any)
        }
        Code::DeleteExpiredCommitlog => one(itself::remove_expired, UPDATE_CLUSTER, Any),
        Code::GetTimerCheckPoint => one(timers::checkpoint, GET_CLUSTER, Any),
        Code::GetTimerMetrics => one(timers::metrics, GET_CLUSTER, Any),
        Code::SwitchTimerEngine => unneeded(TIMER_ENGINE),
        Code::GetBrokerLiteInfo => not_yet(GET_CLUSTER, Any),
        Code::CheckRocksdbCqWriteProgress | Code::ExportRocksdbConfigToJson => unneeded(ROCKSDB),
        Code::UpdateColdDataFlowCtrConfig => one(cold::put, UPDATE_CLUSTER, Master),
        Code::RemoveColdDataFlowCtrConfig => one(cold::remove, UPDATE_CLUSTER, Master),
        Code::GetColdDataFlowCtrInfo => one(cold::info, GET_CLUSTER, Any),
        Code::SetCommitlogReadMode => unneeded(READ_AHEAD),

        // Replication.
        Code::ExchangeBrokerHaInfo => unneeded(BY_GREETING),
        Code::ResetMasterFlushOffset => unneeded(BY_REPORT),
        Code::GetBrokerHaStatus => one(replication::ha_status, GET_CLUSTER, Any),
        Code::GetBrokerEpochCache => one(replication::epochs, GET_CLUSTER, Any),
        Code::GetGroupStatus => one(replication::group_status, GET_CLUSTER, Any),
        Code::RequestGroupMaster => one(replication::request_master, UPDATE_CLUSTER, Any),
        Code::NotifyBrokerRoleChanged => unneeded(BY_ELECTION),
        Code::NotifyMinBrokerIdChange => unneeded(FROM_RECORD),

        // Copies of the data: whoever takes one reads every message.
        Code::BeginBackup => one(backup::begin, UPDATE_CLUSTER, Any),
        Code::ReadBackupTables => one(backup::tables, UPDATE_CLUSTER, Any),
        Code::ReadBackupLog => one(backup::log, UPDATE_CLUSTER, Any),
        Code::EndBackup => one(backup::end, UPDATE_CLUSTER, Any),

        // Users and their rights.
        Code::AuthCreateUser => one(users::create, UPDATE_CLUSTER, Master),
        Code::AuthUpdateUser => one(users::update, UPDATE_CLUSTER, Master),
        Code::AuthDeleteUser => one(users::delete, UPDATE_CLUSTER, Master),
        Code::AuthGetUser => one(users::one, GET_CLUSTER, Any),
        Code::AuthListUser => one(users::list, GET_CLUSTER, Any),
        Code::AuthCreateAcl => one(users::create_acl, UPDATE_CLUSTER, Master),
        Code::AuthUpdateAcl => one(users::update_acl, UPDATE_CLUSTER, Master),
        Code::AuthDeleteAcl => one(users::delete_acl, UPDATE_CLUSTER, Master),
        Code::AuthGetAcl => one(users::acl, GET_CLUSTER, Any),
        Code::AuthListAcl => one(users::acls, GET_CLUSTER, Any),
        // Access control before 5.0, which 5.5.0 has no handler for.
        Code::UpdateAndCreateAclConfig
        | Code::DeleteAclConfig
        | Code::GetBrokerClusterAclInfo
        | Code::UpdateGlobalWhiteAddrsConfig
        | Code::GetBrokerClusterAclConfig => NOWHERE,

        // For name servers.
        Code::PutKvConfig
        | Code::GetKvConfig
        | Code::DeleteKvConfig
        | Code::GetKvlistByNamespace
        | Code::RegisterBroker
        | Code::UnregisterBroker
        | Code::GetRouteinfoByTopic
        | Code::GetBrokerClusterInfo
        | Code::WipeWritePermOfBroker
        | Code::AddWritePermOfBroker
        | Code::GetAllTopicListFromNameserver
        | Code::DeleteTopicInNamesrv
        | Code::RegisterTopicInNamesrv
        | Code::GetTopicsByCluster
        | Code::GetSystemTopicListFromNs
        | Code::GetUnitTopicList
        | Code::GetHasUnitSubTopicList
        | Code::GetHasUnitSubUnunitTopicList
        | Code::UpdateNamesrvConfig
        | Code::GetNamesrvConfig
        | Code::QueryDataVersion
        | Code::GetBrokerMemberGroup
        | Code::BrokerHeartbeat => elsewhere(NAME_SERVER),

        // For controllers.
        Code::ControllerAlterSyncStateSet
        | Code::ControllerElectMaster
        | Code::ControllerRegisterBroker
        | Code::ControllerGetReplicaInfo
        | Code::ControllerGetMetadataInfo
        | Code::ControllerGetSyncStateData
        | Code::UpdateControllerConfig
        | Code::GetControllerConfig
        | Code::CleanBrokerData
        | Code::ControllerGetNextBrokerId
        | Code::ControllerApplyBrokerId
        | Code::BrokerCloseChannelRequest
        | Code::CheckNotActiveBrokerRequest
        | Code::GetBrokerLiveInfoRequest
        | Code::GetSyncStateDataRequest
        | Code::RaftBrokerHeartBeatEventRequest => elsewhere(CONTROLLER),
        Code::AddBroker | Code::RemoveBroker => elsewhere(CONTAINER),

        // For clients.
        Code::CheckTransactionState
        | Code::NotifyConsumerIdsChanged
        | Code::ResetConsumerClientOffset
        | Code::GetConsumerStatusFromClient
        | Code::PushReplyMessageToClient
        | Code::NotifyUnsubscribeLite => elsewhere(CLIENT),

        Code::QueryBrokerOffset
        | Code::GetTopicConfigList
        | Code::GetTopicNameList
        | Code::TriggerDeleteFiles
        | Code::GetClientConfig
        | Code::SuspendConsumer
        | Code::ResumeConsumer
        | Code::ResetConsumerOffsetInConsumer
        | Code::ResetConsumerOffsetInBroker
        | Code::AdjustConsumerThreadPool
        | Code::WhoConsumeTheMessage
        | Code::RegisterFilterServer
        | Code::RegisterMessageFilterClass => NOWHERE,
    }
}

/// Whether the answer comes from the log and its queues. A replica that was made from a snapshot lacks a part of them until its log has come up
/// to its tables.
pub(crate) const fn reads_log(code: RequestCode) -> bool {
    use RequestCode as Code;
    matches!(
        code,
        Code::PullMessage
            | Code::LitePullMessage
            | Code::GetMaxOffset
            | Code::GetMinOffset
            | Code::SearchOffsetByTimestamp
            | Code::GetEarliestMsgStoretime
            | Code::QueryMessage
            | Code::ViewMessageById
            | Code::QueryConsumeQueue
            | Code::QueryConsumerOffset
            | Code::GetTopicStatsInfo
            | Code::GetConsumeStats
            | Code::GetBrokerConsumeStats
            | Code::QueryConsumeTimeSpan
            | Code::GetTimerCheckPoint
            | Code::GetTimerMetrics
    )
}

/// Whether the broker serves the requests of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Served {
    /// It does.
    Here,
    /// Not in this version: the first request is refused with code 3.
    NotYet,
    /// The request is for others, such as name servers: refused with code 3.
    Elsewhere(&'static str),
    /// Brokers of Apache RocketMQ serve it, and these need not, for this reason: refused with code 3.
    Unneeded(&'static str),
    /// No server has a handler for it: refused with code 3.
    Nowhere,
}

/// A row of the table of request codes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RequestRow {
    /// The code.
    pub code: RequestCode,
    /// Whether the broker serves it.
    pub served: Served,
    /// All of these rights are needed.
    pub rights: &'static [Right],
    /// The roles of a broker that may serve it.
    pub roles: Roles,
}

/// What a broker does with each request code, in the order of [`RequestCode::ALL`].
pub fn request_table() -> impl Iterator<Item = RequestRow> {
    RequestCode::ALL.iter().map(|code| {
        let row = row(*code);
        RequestRow {
            code: *code,
            served: match row.serving {
                Serving::One(_) | Serving::Batched(_) => Served::Here,
                Serving::NotYet => Served::NotYet,
                Serving::Elsewhere(at) => Served::Elsewhere(at),
                Serving::Unneeded(because) => Served::Unneeded(because),
                Serving::Nowhere => Served::Nowhere,
            },
            rights: row.rights,
            roles: row.roles,
        }
    })
}
