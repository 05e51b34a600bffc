//! The table of request codes: for each code the handler and the rights that the request needs. The match has no arm for "all others": a
//! new code does not compile without a row.

use rmq_protocol::code::{Action, RequestCode, Resource, Right};
use rmq_transport::Exchange;

use crate::handlers::{Handled, Handlers};

/// Answers one request.
pub(crate) type Handler = fn(&Handlers, &mut Exchange<'_>) -> Handled;

/// What is known of a request code.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    /// `None`: the request is for other servers, and is refused.
    pub(crate) handler: Option<Handler>,
    pub(crate) rights: &'static [Right],
}

const fn one(handler: Handler, rights: &'static [Right]) -> Row {
    Row {
        handler: Some(handler),
        rights,
    }
}

// The rights are those of apache/rocketmq `DefaultAuthorizationContextBuilder` and of the `RocketMQAction` of each header. Requests without
// header fields need no right there; here they need one on the cluster.
const ROUTE: &[Right] = &[Right::new(
    &[Action::Pub, Action::Sub, Action::Get],
    Resource::Topic,
)];
const LIST_TOPICS: &[Right] = &[Right::new(&[Action::List], Resource::Topic)];
const GET_CLUSTER: &[Right] = &[Right::new(&[Action::Get], Resource::Cluster)];
const UPDATE_CLUSTER: &[Right] = &[Right::new(&[Action::Update], Resource::Cluster)];

/// The row of a code.
pub(crate) const fn row(code: RequestCode) -> Row {
    use RequestCode as Code;
    match code {
        // Clients. The route of a retry topic needs SUB or GET of its group instead.
        Code::GetRouteinfoByTopic => one(Handlers::route, ROUTE),
        Code::GetBrokerClusterInfo => one(Handlers::cluster_info, GET_CLUSTER),

        // Brokers.
        Code::RegisterBroker => one(Handlers::register_broker, UPDATE_CLUSTER),
        Code::UnregisterBroker => one(Handlers::unregister_broker, UPDATE_CLUSTER),
        Code::QueryDataVersion => one(Handlers::query_data_version, GET_CLUSTER),
        Code::BrokerHeartbeat => one(Handlers::broker_heartbeat, UPDATE_CLUSTER),
        Code::GetBrokerMemberGroup => one(Handlers::member_group, GET_CLUSTER),

        // Topics.
        Code::GetAllTopicListFromNameserver => one(Handlers::all_topics, LIST_TOPICS),
        Code::GetTopicsByCluster => one(Handlers::topics_of_cluster, LIST_TOPICS),
        Code::GetSystemTopicListFromNs => one(Handlers::system_topics, LIST_TOPICS),
        Code::GetUnitTopicList => one(Handlers::unit_topics, LIST_TOPICS),
        Code::GetHasUnitSubTopicList => one(Handlers::topics_with_unit_subscribers, LIST_TOPICS),
        Code::GetHasUnitSubUnunitTopicList => {
            one(Handlers::topics_with_only_unit_subscribers, LIST_TOPICS)
        }
        Code::DeleteTopicInNamesrv => one(Handlers::delete_topic, UPDATE_CLUSTER),
        Code::RegisterTopicInNamesrv => one(Handlers::register_topic, UPDATE_CLUSTER),

        // The name server itself.
        Code::WipeWritePermOfBroker => one(Handlers::wipe_write_permission, UPDATE_CLUSTER),
        Code::AddWritePermOfBroker => one(Handlers::add_write_permission, UPDATE_CLUSTER),
        Code::PutKvConfig => one(Handlers::put_kv, UPDATE_CLUSTER),
        Code::GetKvConfig => one(Handlers::get_kv, GET_CLUSTER),
        Code::DeleteKvConfig => one(Handlers::delete_kv, UPDATE_CLUSTER),
        Code::GetKvlistByNamespace => one(Handlers::kv_list, GET_CLUSTER),
        Code::UpdateNamesrvConfig => one(Handlers::update_config, UPDATE_CLUSTER),
        Code::GetNamesrvConfig => one(Handlers::get_config, GET_CLUSTER),

        // For brokers, controllers and clients.
        Code::SendMessage
        | Code::PullMessage
        | Code::QueryMessage
        | Code::QueryBrokerOffset
        | Code::QueryConsumerOffset
        | Code::UpdateConsumerOffset
        | Code::UpdateAndCreateTopic
        | Code::UpdateAndCreateTopicList
        | Code::GetAllTopicConfig
        | Code::GetTopicConfigList
        | Code::GetTopicNameList
        | Code::UpdateBrokerConfig
        | Code::GetBrokerConfig
        | Code::TriggerDeleteFiles
        | Code::GetBrokerRuntimeInfo
        | Code::SearchOffsetByTimestamp
        | Code::GetMaxOffset
        | Code::GetMinOffset
        | Code::GetEarliestMsgStoretime
        | Code::ViewMessageById
        | Code::HeartBeat
        | Code::UnregisterClient
        | Code::ConsumerSendMsgBack
        | Code::EndTransaction
        | Code::GetConsumerListByGroup
        | Code::CheckTransactionState
        | Code::NotifyConsumerIdsChanged
        | Code::LockBatchMq
        | Code::UnlockBatchMq
        | Code::GetAllConsumerOffset
        | Code::GetAllDelayOffset
        | Code::CheckClientConfig
        | Code::GetClientConfig
        | Code::UpdateAndCreateAclConfig
        | Code::DeleteAclConfig
        | Code::GetBrokerClusterAclInfo
        | Code::UpdateGlobalWhiteAddrsConfig
        | Code::GetBrokerClusterAclConfig
        | Code::GetTimerCheckPoint
        | Code::GetTimerMetrics
        | Code::UpdateAndCreateSubscriptiongroup
        | Code::GetAllSubscriptiongroupConfig
        | Code::GetTopicStatsInfo
        | Code::GetConsumerConnectionList
        | Code::GetProducerConnectionList
        | Code::DeleteSubscriptiongroup
        | Code::GetConsumeStats
        | Code::SuspendConsumer
        | Code::ResumeConsumer
        | Code::ResetConsumerOffsetInConsumer
        | Code::ResetConsumerOffsetInBroker
        | Code::AdjustConsumerThreadPool
        | Code::WhoConsumeTheMessage
        | Code::DeleteTopicInBroker
        | Code::ResetConsumerClientOffset
        | Code::GetConsumerStatusFromClient
        | Code::InvokeBrokerToResetOffset
        | Code::InvokeBrokerToGetConsumerStatus
        | Code::UpdateAndCreateSubscriptiongroupList
        | Code::QueryTopicConsumeByWho
        | Code::RegisterFilterServer
        | Code::RegisterMessageFilterClass
        | Code::QueryConsumeTimeSpan
        | Code::GetSystemTopicListFromBroker
        | Code::CleanExpiredConsumequeue
        | Code::GetConsumerRunningInfo
        | Code::QueryCorrectionOffset
        | Code::ConsumeMessageDirectly
        | Code::SendMessageV2
        | Code::CloneGroupOffset
        | Code::ViewBrokerStatsData
        | Code::CleanUnusedTopic
        | Code::GetBrokerConsumeStats
        | Code::SendBatchMessage
        | Code::QueryConsumeQueue
        | Code::ResumeCheckHalfMessage
        | Code::SendReplyMessage
        | Code::SendReplyMessageV2
        | Code::PushReplyMessageToClient
        | Code::GetAllProducerInfo
        | Code::DeleteExpiredCommitlog
        | Code::QueryTopicsByConsumer
        | Code::QuerySubscriptionByConsumer
        | Code::GetTopicConfig
        | Code::GetSubscriptiongroupConfig
        | Code::UpdateAndGetGroupForbidden
        | Code::CheckRocksdbCqWriteProgress
        | Code::ExportRocksdbConfigToJson
        | Code::LitePullMessage
        | Code::RecallMessage
        | Code::QueryAssignment
        | Code::SetMessageRequestMode
        | Code::GetAllMessageRequestMode
        | Code::UpdateAndCreateStaticTopic
        | Code::AddBroker
        | Code::RemoveBroker
        | Code::NotifyMinBrokerIdChange
        | Code::ExchangeBrokerHaInfo
        | Code::GetBrokerHaStatus
        | Code::GetGroupStatus
        | Code::RequestGroupMaster
        | Code::RaiseConsumerOffsets
        | Code::BeginBackup
        | Code::ReadBackupTables
        | Code::ReadBackupLog
        | Code::EndBackup
        | Code::GetTransactions
        | Code::ResetMasterFlushOffset
        | Code::ControllerAlterSyncStateSet
        | Code::ControllerElectMaster
        | Code::ControllerRegisterBroker
        | Code::ControllerGetReplicaInfo
        | Code::ControllerGetMetadataInfo
        | Code::ControllerGetSyncStateData
        | Code::GetBrokerEpochCache
        | Code::NotifyBrokerRoleChanged
        | Code::UpdateControllerConfig
        | Code::GetControllerConfig
        | Code::CleanBrokerData
        | Code::ControllerGetNextBrokerId
        | Code::ControllerApplyBrokerId
        | Code::BrokerCloseChannelRequest
        | Code::CheckNotActiveBrokerRequest
        | Code::GetBrokerLiveInfoRequest
        | Code::GetSyncStateDataRequest
        | Code::RaftBrokerHeartBeatEventRequest
        | Code::UpdateColdDataFlowCtrConfig
        | Code::RemoveColdDataFlowCtrConfig
        | Code::GetColdDataFlowCtrInfo
        | Code::SetCommitlogReadMode
        | Code::AuthCreateUser
        | Code::AuthUpdateUser
        | Code::AuthDeleteUser
        | Code::AuthGetUser
        | Code::AuthListUser
        | Code::AuthCreateAcl
        | Code::AuthUpdateAcl
        | Code::AuthDeleteAcl
        | Code::AuthGetAcl
        | Code::AuthListAcl
        | Code::SwitchTimerEngine
        | Code::PopMessage
        | Code::AckMessage
        | Code::PeekMessage
        | Code::ChangeMessageInvisibletime
        | Code::Notification
        | Code::PollingInfo
        | Code::PopRollback
        | Code::PopLiteMessage
        | Code::LiteSubscriptionCtl
        | Code::AckLiteMessage
        | Code::NotifyUnsubscribeLite
        | Code::GetBrokerLiteInfo
        | Code::GetParentTopicInfo
        | Code::GetLiteTopicInfo
        | Code::GetLiteClientInfo
        | Code::GetLiteGroupInfo
        | Code::TriggerLiteDispatch
        | Code::BatchAckMessage => Row {
            handler: None,
            rights: &[],
        },
    }
}

/// The requests that a name server serves, in the order of [`RequestCode::ALL`], each with the rights that it needs: all of them.
pub fn request_table() -> impl Iterator<Item = (RequestCode, &'static [Right])> {
    let rows = RequestCode::ALL.iter().map(|code| (*code, row(*code)));
    rows.filter(|(_, row)| row.handler.is_some())
        .map(|(code, row)| (code, row.rights))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// The page, and the lines between which the table stands.
    const PAGE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/reference/compatibility.md"
    );
    const BEGIN: &str = "<!-- The name server's requests. Generated: RMQ_UPDATE_DOCS=1 cargo test -p rmq-namesrv request_codes -->\n";
    const END: &str = "<!-- End of the name server's requests. -->\n";

    #[test]
    fn request_codes_are_written_down() {
        let mut rows: Vec<_> = request_table().collect();
        rows.sort_by_key(|(code, _)| code.as_i32());
        let mut table = String::from("| code | request | rights |\n| --- | --- | --- |\n");
        for (code, rights) in rows {
            assert!(!rights.is_empty(), "{code} needs a right");
            let rights: Vec<String> = rights.iter().map(ToString::to_string).collect();
            let (number, name, rights) = (code.as_i32(), code.name(), rights.join(", "));
            writeln!(table, "| {number} | `{name}` | {rights} |").expect("a string takes it");
        }
        let current = std::fs::read_to_string(PAGE).expect("the page");
        let (before, rest) = current
            .split_once(BEGIN)
            .expect("the line of the beginning");
        let (_, after) = rest.split_once(END).expect("the line of the end");
        let wanted = [before, BEGIN, &table, END, after].concat();
        if std::env::var_os("RMQ_UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, &wanted).expect("the page can be written");
            return;
        }
        assert!(
            current == wanted,
            "docs/reference/compatibility.md is not current: RMQ_UPDATE_DOCS=1 cargo test -p rmq-namesrv request_codes"
        );
    }
}
