//! Which topics and groups a request names: in header fields, and in its body (apache/rocketmq `DefaultAuthorizationContextBuilder`, and
//! `RocketMQResource` of the fields of each header). Bodies are read as their handlers read them.

use std::borrow::Cow;

use rmq_protocol::bodies::{
    CheckClientConfigBody, HeartbeatData, LockBatch, SubscriptionGroupConfig,
    SubscriptionGroupList, TopicConfigList, object_from_slice,
};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::Fields;
use serde::Deserialize;
use smallvec::SmallVec;

/// Names of topics or groups.
type List<'a> = SmallVec<[Cow<'a, str>; 2]>;

/// What a request names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// Topics, also those of retries.
    pub topics: List<'a>,
    /// Groups.
    pub groups: List<'a>,
    /// The request may name nothing, and then needs nothing: a heartbeat of producers. Another one that names nothing is about all.
    pub may_be_empty: bool,
}

/// A field with names: how it is called, and what separates the names; nothing where it has one.
type Field = (&'static str, Option<char>);

/// Where the names of a request stand.
#[derive(Clone, Copy)]
struct Where {
    topics: &'static [Field],
    groups: &'static [Field],
    body: Body,
    may_be_empty: bool,
}

/// Bodies with names.
#[derive(Clone, Copy)]
enum Body {
    None,
    Heartbeat,
    CheckConfig,
    Locks,
    Topics,
    Group,
    Groups,
    /// `topic` and `consumerGroup` of an object.
    TopicAndGroup,
}

const NOWHERE: Where = Where {
    topics: &[],
    groups: &[],
    body: Body::None,
    may_be_empty: false,
};
const TOPIC: Where = Where {
    topics: &[("topic", None)],
    ..NOWHERE
};
const TOPIC_AND_CONSUMERS: Where = Where {
    topics: &[("topic", None)],
    groups: &[("consumerGroup", None)],
    ..NOWHERE
};
const TOPIC_AND_GROUP: Where = Where {
    topics: &[("topic", None)],
    groups: &[("group", None)],
    ..NOWHERE
};
const CONSUMERS: Where = Where {
    groups: &[("consumerGroup", None)],
    ..NOWHERE
};
const GROUP: Where = Where {
    groups: &[("group", None)],
    ..NOWHERE
};

const fn body(body: Body) -> Where {
    Where { body, ..NOWHERE }
}

/// Every code is decided here: no arm for "all others".
const fn place(code: RequestCode) -> Where {
    use RequestCode as Code;
    match code {
        Code::SendMessage
        | Code::SendReplyMessage
        | Code::RecallMessage
        | Code::QueryMessage
        | Code::GetMaxOffset
        | Code::GetMinOffset
        | Code::SearchOffsetByTimestamp
        | Code::GetEarliestMsgStoretime
        | Code::UpdateAndCreateTopic
        | Code::UpdateAndCreateStaticTopic
        | Code::DeleteTopicInBroker
        | Code::GetTopicConfig
        | Code::GetTopicStatsInfo
        | Code::ResumeCheckHalfMessage
        | Code::QueryTopicConsumeByWho
        | Code::GetParentTopicInfo
        | Code::GetLiteTopicInfo
        | Code::GetRouteinfoByTopic => TOPIC,
        // The broker knows which topic an end, or the message at a position, is about; see there.
        Code::EndTransaction | Code::ViewMessageById => Where {
            may_be_empty: true,
            ..TOPIC
        },
        // "b" is the topic.
        Code::SendMessageV2 | Code::SendBatchMessage | Code::SendReplyMessageV2 => Where {
            topics: &[("b", None)],
            ..NOWHERE
        },
        Code::PullMessage
        | Code::LitePullMessage
        | Code::QueryConsumerOffset
        | Code::UpdateConsumerOffset
        | Code::QueryConsumeQueue
        | Code::ConsumeMessageDirectly
        | Code::PopMessage
        | Code::AckMessage
        | Code::PeekMessage
        | Code::ChangeMessageInvisibletime
        | Code::Notification
        | Code::PollingInfo
        | Code::PopLiteMessage
        | Code::AckLiteMessage => TOPIC_AND_CONSUMERS,
        Code::QueryConsumeTimeSpan
        | Code::QuerySubscriptionByConsumer
        | Code::InvokeBrokerToResetOffset
        | Code::InvokeBrokerToGetConsumerStatus
        | Code::UpdateAndGetGroupForbidden
        | Code::TriggerLiteDispatch
        | Code::GetLiteGroupInfo => TOPIC_AND_GROUP,
        Code::GetConsumeStats => Where {
            topics: &[("topic", None), ("topicList", Some(';'))],
            groups: &[("consumerGroup", None)],
            ..NOWHERE
        },
        Code::QueryCorrectionOffset => Where {
            topics: &[("topic", None)],
            groups: &[("compareGroup", None), ("filterGroups", Some(','))],
            ..NOWHERE
        },
        Code::CloneGroupOffset => Where {
            topics: &[("topic", None)],
            groups: &[("srcGroup", None), ("destGroup", None)],
            ..NOWHERE
        },
        Code::ConsumerSendMsgBack => Where {
            topics: &[("originTopic", None)],
            groups: &[("group", None)],
            ..NOWHERE
        },
        Code::GetConsumerListByGroup
        | Code::GetConsumerConnectionList
        | Code::GetConsumerRunningInfo => CONSUMERS,
        Code::QueryTopicsByConsumer
        | Code::GetSubscriptiongroupConfig
        | Code::GetLiteClientInfo => GROUP,
        Code::DeleteSubscriptiongroup => Where {
            groups: &[("groupName", None)],
            ..NOWHERE
        },
        Code::UnregisterClient => Where {
            may_be_empty: true,
            ..CONSUMERS
        },
        Code::HeartBeat => Where {
            may_be_empty: true,
            ..body(Body::Heartbeat)
        },
        Code::CheckClientConfig => body(Body::CheckConfig),
        Code::LockBatchMq | Code::UnlockBatchMq => body(Body::Locks),
        Code::UpdateAndCreateTopicList => body(Body::Topics),
        Code::UpdateAndCreateSubscriptiongroup => body(Body::Group),
        Code::UpdateAndCreateSubscriptiongroupList => body(Body::Groups),
        Code::QueryAssignment
        | Code::SetMessageRequestMode
        | Code::BatchAckMessage
        | Code::LiteSubscriptionCtl => body(Body::TopicAndGroup),

        // About the cluster, all topics or all groups; or served by nobody.
        Code::QueryBrokerOffset
        | Code::GetAllTopicConfig
        | Code::GetTopicConfigList
        | Code::GetTopicNameList
        | Code::UpdateBrokerConfig
        | Code::GetBrokerConfig
        | Code::TriggerDeleteFiles
        | Code::GetBrokerRuntimeInfo
        | Code::CheckTransactionState
        | Code::NotifyConsumerIdsChanged
        | Code::GetAllConsumerOffset
        | Code::GetAllDelayOffset
        | Code::GetClientConfig
        | Code::UpdateAndCreateAclConfig
        | Code::DeleteAclConfig
        | Code::GetBrokerClusterAclInfo
        | Code::UpdateGlobalWhiteAddrsConfig
        | Code::GetBrokerClusterAclConfig
        | Code::GetTimerCheckPoint
        | Code::GetTimerMetrics
        | Code::PutKvConfig
        | Code::GetKvConfig
        | Code::DeleteKvConfig
        | Code::RegisterBroker
        | Code::UnregisterBroker
        | Code::GetBrokerClusterInfo
        | Code::GetAllSubscriptiongroupConfig
        | Code::GetProducerConnectionList
        | Code::WipeWritePermOfBroker
        | Code::GetAllTopicListFromNameserver
        | Code::SuspendConsumer
        | Code::ResumeConsumer
        | Code::ResetConsumerOffsetInConsumer
        | Code::ResetConsumerOffsetInBroker
        | Code::AdjustConsumerThreadPool
        | Code::WhoConsumeTheMessage
        | Code::DeleteTopicInNamesrv
        | Code::RegisterTopicInNamesrv
        | Code::GetKvlistByNamespace
        | Code::ResetConsumerClientOffset
        | Code::GetConsumerStatusFromClient
        | Code::GetTopicsByCluster
        | Code::RegisterFilterServer
        | Code::RegisterMessageFilterClass
        | Code::GetSystemTopicListFromNs
        | Code::GetSystemTopicListFromBroker
        | Code::CleanExpiredConsumequeue
        | Code::GetUnitTopicList
        | Code::GetHasUnitSubTopicList
        | Code::GetHasUnitSubUnunitTopicList
        | Code::ViewBrokerStatsData
        | Code::CleanUnusedTopic
        | Code::GetBrokerConsumeStats
        | Code::UpdateNamesrvConfig
        | Code::GetNamesrvConfig
        | Code::QueryDataVersion
        | Code::PushReplyMessageToClient
        | Code::AddWritePermOfBroker
        | Code::GetAllProducerInfo
        | Code::DeleteExpiredCommitlog
        | Code::CheckRocksdbCqWriteProgress
        | Code::ExportRocksdbConfigToJson
        | Code::GetAllMessageRequestMode
        | Code::GetBrokerMemberGroup
        | Code::AddBroker
        | Code::RemoveBroker
        | Code::BrokerHeartbeat
        | Code::NotifyMinBrokerIdChange
        | Code::ExchangeBrokerHaInfo
        | Code::GetBrokerHaStatus
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
        | Code::PopRollback
        | Code::NotifyUnsubscribeLite
        | Code::GetBrokerLiteInfo
        | Code::GetGroupStatus
        | Code::RequestGroupMaster
        | Code::RaiseConsumerOffsets
        | Code::BeginBackup
        | Code::ReadBackupTables
        | Code::ReadBackupLog
        | Code::EndBackup
        | Code::GetTransactions => NOWHERE,
    }
}

/// What a request names. A body that cannot be read names nothing: its handler refuses it, for those who may ask about all.
#[must_use]
pub fn names_of<'a>(code: RequestCode, fields: &'a Fields<'a>, body: &[u8]) -> Names<'a> {
    let place = place(code);
    let mut names = Names {
        may_be_empty: place.may_be_empty,
        ..Names::default()
    };
    read(fields, place.topics, &mut names.topics);
    read(fields, place.groups, &mut names.groups);
    if read_body(place.body, body, &mut names).is_none() {
        names.may_be_empty = false;
    }
    names
}

fn read<'a>(fields: &'a Fields<'a>, places: &[Field], names: &mut List<'a>) {
    for (field, separator) in places {
        let Some(text) = fields.get(field) else {
            continue;
        };
        let text = text.into_cow();
        match separator {
            None => push(names, text),
            Some(separator) => {
                for name in text.split(*separator) {
                    push(names, Cow::Owned(name.trim().to_owned()));
                }
            }
        }
    }
}

fn push<'a>(names: &mut List<'a>, name: Cow<'a, str>) {
    if !name.is_empty() {
        names.push(name);
    }
}

fn read_body(kind: Body, bytes: &[u8], names: &mut Names<'_>) -> Option<()> {
    match kind {
        Body::None => {}
        Body::Heartbeat => {
            for consumer in HeartbeatData::from_json(bytes).ok()?.consumer_data_set {
                for subscription in consumer.subscription_data_set {
                    push(&mut names.topics, subscription.topic.into());
                }
                push(&mut names.groups, consumer.group_name.into());
            }
        }
        Body::CheckConfig => {
            let body = CheckClientConfigBody::from_json(bytes).ok()?;
            push(&mut names.topics, body.subscription_data.topic.into());
            push(&mut names.groups, body.group.into());
        }
        Body::Locks => {
            let body = LockBatch::from_json(bytes).ok()?;
            for queue in body.mq_set {
                push(&mut names.topics, queue.topic.into());
            }
            push(&mut names.groups, body.consumer_group.into());
        }
        Body::Topics => {
            for config in TopicConfigList::from_json(bytes).ok()?.topic_config_list {
                push(&mut names.topics, config.topic_name.into());
            }
        }
        Body::Group => {
            let config = SubscriptionGroupConfig::from_json(bytes).ok()?;
            push(&mut names.groups, config.group_name.into());
        }
        Body::Groups => {
            let list = SubscriptionGroupList::from_json(bytes).ok()?;
            for config in list.group_config_list {
                push(&mut names.groups, config.group_name.into());
            }
        }
        Body::TopicAndGroup => {
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            #[derive(Default)]
            struct Named {
                topic: Option<String>,
                consumer_group: Option<String>,
            }
            let body: Named = object_from_slice("the request", bytes).ok()?;
            push(&mut names.topics, body.topic.unwrap_or_default().into());
            let group = body.consumer_group.unwrap_or_default();
            push(&mut names.groups, group.into());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rmq_protocol::bodies::{ConsumerData, MessageQueue, ProducerData, SubscriptionData};

    use super::*;

    fn named(
        code: RequestCode,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> (Vec<String>, Vec<String>) {
        let fields = Fields::from_pairs(fields);
        let names = names_of(code, &fields, body);
        let own = |list: List<'_>| list.into_iter().map(Cow::into_owned).collect();
        (own(names.topics), own(names.groups))
    }

    fn both(topics: &[&str], groups: &[&str]) -> (Vec<String>, Vec<String>) {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        (own(topics), own(groups))
    }

    #[test]
    fn fields_name_topics_and_groups() {
        for (code, fields, expected) in [
            (
                RequestCode::SendMessageV2,
                &[("a", "producers"), ("b", "orders")][..],
                both(&["orders"], &[]),
            ),
            (
                RequestCode::PullMessage,
                &[("topic", "orders"), ("consumerGroup", "billing")],
                both(&["orders"], &["billing"]),
            ),
            (
                RequestCode::GetConsumeStats,
                &[("consumerGroup", "g"), ("topicList", "a;b;")],
                both(&["a", "b"], &["g"]),
            ),
            (
                RequestCode::CloneGroupOffset,
                &[("srcGroup", "a"), ("destGroup", "b"), ("topic", "t")],
                both(&["t"], &["a", "b"]),
            ),
        ] {
            assert_eq!(named(code, fields, b""), expected, "{code}");
        }
    }

    #[test]
    fn bodies_name_them_too() {
        let heartbeat = HeartbeatData {
            consumer_data_set: vec![ConsumerData {
                group_name: "billing".to_owned(),
                subscription_data_set: vec![SubscriptionData::tags("orders", "*", 0)],
                ..ConsumerData::default()
            }],
            producer_data_set: vec![ProducerData {
                group_name: "producers".to_owned(),
            }],
            ..HeartbeatData::default()
        };
        let body = heartbeat.to_json();
        let expected = both(&["orders"], &["billing"]);
        assert_eq!(named(RequestCode::HeartBeat, &[], &body), expected);
        let locks = LockBatch {
            consumer_group: "billing".to_owned(),
            mq_set: vec![MessageQueue {
                topic: "orders".to_owned(),
                ..MessageQueue::default()
            }],
            ..LockBatch::default()
        };
        assert_eq!(
            named(RequestCode::LockBatchMq, &[], &locks.to_json()),
            expected
        );
        let group = SubscriptionGroupConfig::new("g").to_json();
        assert_eq!(
            named(RequestCode::UpdateAndCreateSubscriptiongroup, &[], &group),
            both(&[], &["g"])
        );
        let assigned = br#"{"topic":"orders","consumerGroup":"billing","other":1}"#;
        assert_eq!(named(RequestCode::QueryAssignment, &[], assigned), expected);
    }

    #[test]
    fn what_cannot_be_read_is_about_all() {
        let fields = Fields::new();
        let names = names_of(RequestCode::HeartBeat, &fields, b"{");
        assert!(!names.may_be_empty && names.topics.is_empty());
        let names = names_of(RequestCode::HeartBeat, &fields, b"{}");
        assert!(names.may_be_empty);
    }
}
