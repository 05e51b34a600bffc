//! Which header fields the request of each code has.

use super::*;
use crate::code::RequestCode;

/// The fields that a reader of this code's requests takes, in the order of declaration; `None` for codes that nothing here reads.
///
/// The match names every code, so a code that is added is decided here.
#[must_use]
pub const fn fields_of(code: RequestCode) -> Option<&'static [FieldShape]> {
    macro_rules! fields_of {
        (
            typed { $($code:ident => $request:ty,)* }
            sends { $($send:ident => $shapes:ident,)* }
            unread { $($unread:ident,)* }
        ) => {
            match code {
                $(RequestCode::$code => Some(<$request as Request<'static>>::FIELDS),)*
                $(RequestCode::$send => Some(send::$shapes.as_slice()),)*
                $(RequestCode::$unread => None,)*
            }
        };
    }
    fields_of! {
        typed {
            PullMessage => PullMessage<'static>,
            QueryMessage => QueryMessage<'static>,
            QueryConsumerOffset => QueryConsumerOffset<'static>,
            UpdateConsumerOffset => UpdateConsumerOffset<'static>,
            UpdateAndCreateTopic => UpdateAndCreateTopic<'static>,
            UpdateAndCreateTopicList => UpdateAndCreateTopicList,
            GetAllTopicConfig => GetAllTopicConfig<'static>,
            UpdateBrokerConfig => UpdateBrokerConfig,
            GetBrokerConfig => GetBrokerConfig,
            GetBrokerRuntimeInfo => GetBrokerRuntimeInfo,
            GetTimerCheckPoint => GetTimerCheckPoint,
            GetTimerMetrics => GetTimerMetrics,
            UpdateColdDataFlowCtrConfig => UpdateColdDataFlowCtrConfig,
            RemoveColdDataFlowCtrConfig => RemoveColdDataFlowCtrConfig,
            GetColdDataFlowCtrInfo => GetColdDataFlowCtrInfo,
            SearchOffsetByTimestamp => SearchOffsetByTimestamp<'static>,
            GetMaxOffset => GetMaxOffset<'static>,
            GetMinOffset => GetMinOffset<'static>,
            GetEarliestMsgStoretime => GetEarliestMsgStoretime<'static>,
            ViewMessageById => ViewMessageById<'static>,
            HeartBeat => HeartBeat,
            UnregisterClient => UnregisterClient<'static>,
            ConsumerSendMsgBack => ConsumerSendMsgBack<'static>,
            EndTransaction => EndTransaction<'static>,
            GetConsumerListByGroup => GetConsumerListByGroup<'static>,
            CheckTransactionState => CheckTransactionState<'static>,
            NotifyConsumerIdsChanged => NotifyConsumerIdsChanged<'static>,
            LockBatchMq => LockBatchMq,
            UnlockBatchMq => UnlockBatchMq,
            GetAllConsumerOffset => GetAllConsumerOffset,
            GetAllDelayOffset => GetAllDelayOffset,
            CheckClientConfig => CheckClientConfig,
            PutKvConfig => PutKvConfig<'static>,
            GetKvConfig => GetKvConfig<'static>,
            DeleteKvConfig => DeleteKvConfig<'static>,
            RegisterBroker => RegisterBroker<'static>,
            UnregisterBroker => UnregisterBroker<'static>,
            GetRouteinfoByTopic => GetRouteinfoByTopic<'static>,
            GetBrokerClusterInfo => GetBrokerClusterInfo,
            UpdateAndCreateSubscriptiongroup => UpdateAndCreateSubscriptionGroup,
            GetAllSubscriptiongroupConfig => GetAllSubscriptionGroupConfig<'static>,
            GetTopicStatsInfo => GetTopicStatsInfo<'static>,
            GetConsumerConnectionList => GetConsumerConnectionList<'static>,
            GetProducerConnectionList => GetProducerConnectionList<'static>,
            WipeWritePermOfBroker => WipeWritePermOfBroker<'static>,
            GetAllTopicListFromNameserver => GetAllTopicListFromNameserver,
            DeleteSubscriptiongroup => DeleteSubscriptionGroup<'static>,
            GetConsumeStats => GetConsumeStats<'static>,
            DeleteTopicInBroker => DeleteTopicInBroker<'static>,
            DeleteTopicInNamesrv => DeleteTopicInNamesrv<'static>,
            RegisterTopicInNamesrv => RegisterTopicInNamesrv<'static>,
            GetKvlistByNamespace => GetKvListByNamespace<'static>,
            ResetConsumerClientOffset => ResetConsumerClientOffset<'static>,
            GetConsumerStatusFromClient => GetConsumerStatusFromClient<'static>,
            InvokeBrokerToResetOffset => InvokeBrokerToResetOffset<'static>,
            InvokeBrokerToGetConsumerStatus => InvokeBrokerToGetConsumerStatus<'static>,
            GetTopicsByCluster => GetTopicsByCluster<'static>,
            UpdateAndCreateSubscriptiongroupList => UpdateAndCreateSubscriptionGroupList,
            QueryTopicConsumeByWho => QueryTopicConsumeByWho<'static>,
            QueryConsumeTimeSpan => QueryConsumeTimeSpan<'static>,
            GetSystemTopicListFromNs => GetSystemTopicListFromNs,
            GetSystemTopicListFromBroker => GetSystemTopicListFromBroker,
            CleanExpiredConsumequeue => CleanExpiredConsumeQueue,
            GetConsumerRunningInfo => GetConsumerRunningInfo<'static>,
            QueryCorrectionOffset => QueryCorrectionOffset<'static>,
            ConsumeMessageDirectly => ConsumeMessageDirectly<'static>,
            GetUnitTopicList => GetUnitTopicList,
            GetHasUnitSubTopicList => GetHasUnitSubTopicList,
            GetHasUnitSubUnunitTopicList => GetHasUnitSubUnunitTopicList,
            CloneGroupOffset => CloneGroupOffset<'static>,
            ViewBrokerStatsData => ViewBrokerStatsData<'static>,
            CleanUnusedTopic => CleanUnusedTopic,
            GetBrokerConsumeStats => GetBrokerConsumeStats,
            UpdateNamesrvConfig => UpdateNamesrvConfig,
            GetNamesrvConfig => GetNamesrvConfig,
            QueryConsumeQueue => QueryConsumeQueue<'static>,
            QueryDataVersion => QueryDataVersion<'static>,
            ResumeCheckHalfMessage => ResumeCheckHalfMessage<'static>,
            PushReplyMessageToClient => PushReplyMessageToClient<'static>,
            AddWritePermOfBroker => AddWritePermOfBroker<'static>,
            GetAllProducerInfo => GetAllProducerInfo,
            DeleteExpiredCommitlog => DeleteExpiredCommitLog,
            QueryTopicsByConsumer => QueryTopicsByConsumer<'static>,
            QuerySubscriptionByConsumer => QuerySubscriptionByConsumer<'static>,
            GetTopicConfig => GetTopicConfig<'static>,
            GetSubscriptiongroupConfig => GetSubscriptionGroupConfig<'static>,
            UpdateAndGetGroupForbidden => UpdateAndGetGroupForbidden<'static>,
            CheckRocksdbCqWriteProgress => CheckRocksdbCqWriteProgress<'static>,
            LitePullMessage => PullMessage<'static>,
            RecallMessage => RecallMessage<'static>,
            QueryAssignment => QueryAssignment,
            SetMessageRequestMode => SetMessageRequestMode,
            GetAllMessageRequestMode => GetAllMessageRequestMode,
            UpdateAndCreateStaticTopic => UpdateAndCreateStaticTopic<'static>,
            GetBrokerMemberGroup => GetBrokerMemberGroup<'static>,
            BrokerHeartbeat => BrokerHeartbeat<'static>,
            NotifyMinBrokerIdChange => NotifyMinBrokerIdChange<'static>,
            ExchangeBrokerHaInfo => ExchangeBrokerHaInfo<'static>,
            GetBrokerHaStatus => GetBrokerHaStatus,
            ResetMasterFlushOffset => ResetMasterFlushOffset,
            AuthCreateUser => AuthCreateUser<'static>,
            AuthUpdateUser => AuthUpdateUser<'static>,
            AuthDeleteUser => AuthDeleteUser<'static>,
            AuthGetUser => AuthGetUser<'static>,
            AuthListUser => AuthListUser<'static>,
            AuthCreateAcl => AuthCreateAcl<'static>,
            AuthUpdateAcl => AuthUpdateAcl<'static>,
            AuthDeleteAcl => AuthDeleteAcl<'static>,
            AuthGetAcl => AuthGetAcl<'static>,
            AuthListAcl => AuthListAcl<'static>,
            PopMessage => PopMessage<'static>,
            AckMessage => AckMessage<'static>,
            PeekMessage => PeekMessage<'static>,
            ChangeMessageInvisibletime => ChangeMessageInvisibleTime<'static>,
            Notification => Notification<'static>,
            PollingInfo => PollingInfo<'static>,
            BatchAckMessage => BatchAckMessage,
            GetBrokerEpochCache => GetBrokerEpochCache,
            GetGroupStatus => GetGroupStatus,
            RequestGroupMaster => RequestGroupMaster<'static>,
            RaiseConsumerOffsets => RaiseConsumerOffsets,
            BeginBackup => BeginBackup,
            ReadBackupTables => ReadBackupTables<'static>,
            ReadBackupLog => ReadBackupLog<'static>,
            EndBackup => EndBackup<'static>,
            GetTransactions => GetTransactions,
        }
        sends {
            SendMessage => LONG_SHAPES,
            SendReplyMessage => LONG_SHAPES,
            SendMessageV2 => SHORT_SHAPES,
            SendBatchMessage => SHORT_SHAPES,
            SendReplyMessageV2 => SHORT_SHAPES,
        }
        unread {
            QueryBrokerOffset,
            GetTopicConfigList,
            GetTopicNameList,
            TriggerDeleteFiles,
            GetClientConfig,
            UpdateAndCreateAclConfig,
            DeleteAclConfig,
            GetBrokerClusterAclInfo,
            UpdateGlobalWhiteAddrsConfig,
            GetBrokerClusterAclConfig,
            SuspendConsumer,
            ResumeConsumer,
            ResetConsumerOffsetInConsumer,
            ResetConsumerOffsetInBroker,
            AdjustConsumerThreadPool,
            WhoConsumeTheMessage,
            RegisterFilterServer,
            RegisterMessageFilterClass,
            ExportRocksdbConfigToJson,
            AddBroker,
            RemoveBroker,
            ControllerAlterSyncStateSet,
            ControllerElectMaster,
            ControllerRegisterBroker,
            ControllerGetReplicaInfo,
            ControllerGetMetadataInfo,
            ControllerGetSyncStateData,
            NotifyBrokerRoleChanged,
            UpdateControllerConfig,
            GetControllerConfig,
            CleanBrokerData,
            ControllerGetNextBrokerId,
            ControllerApplyBrokerId,
            BrokerCloseChannelRequest,
            CheckNotActiveBrokerRequest,
            GetBrokerLiveInfoRequest,
            GetSyncStateDataRequest,
            RaftBrokerHeartBeatEventRequest,
            SetCommitlogReadMode,
            SwitchTimerEngine,
            PopRollback,
            PopLiteMessage,
            LiteSubscriptionCtl,
            AckLiteMessage,
            NotifyUnsubscribeLite,
            GetBrokerLiteInfo,
            GetParentTopicInfo,
            GetLiteTopicInfo,
            GetLiteClientInfo,
            GetLiteGroupInfo,
            TriggerLiteDispatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_names_kinds_and_whether_they_must_be_there() {
        let shape = |code, name| {
            let fields = fields_of(code).unwrap();
            *fields.iter().find(|field| field.name == name).unwrap()
        };
        let of = |name, kind, is_required| FieldShape {
            name,
            kind,
            is_required,
        };
        assert_eq!(
            shape(RequestCode::PullMessage, "queueOffset"),
            of("queueOffset", FieldKind::Int64, true)
        );
        assert_eq!(
            shape(RequestCode::LitePullMessage, "maxMsgBytes"),
            of("maxMsgBytes", FieldKind::Int32, false)
        );
        // Absent, it has a value of its own.
        assert_eq!(
            shape(RequestCode::InvokeBrokerToResetOffset, "timestamp"),
            of("timestamp", FieldKind::Int64, false)
        );
        assert_eq!(
            shape(RequestCode::SendBatchMessage, "m"),
            of("m", FieldKind::Truth, false)
        );
        assert_eq!(
            shape(RequestCode::SendMessage, "flag"),
            of("flag", FieldKind::Int32, true)
        );
        assert_eq!(fields_of(RequestCode::HeartBeat), Some(&[][..]));
        assert_eq!(fields_of(RequestCode::SwitchTimerEngine), None);
    }
}
