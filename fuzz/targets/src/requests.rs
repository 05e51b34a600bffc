//! Typed requests: each one that a header can be read as says the same when it is written again. The families are the files of
//! `protocol/src/requests/`.

use bytes::BytesMut;
use rmq_protocol::requests::{self as r, FieldKind, FieldShape, Request, SendMessage};
use rmq_protocol::{
    CommandHead, FieldSource, FrameLimits, Header, HeaderEncoding, RequestCode, Split,
    encode_frame, split,
};

use crate::headers::encoding;

/// What is written again may be longer than what came: of more than this it may be longer than a header.
const AGAIN_BYTES_MAX: usize = 16 << 10;

/// The header of a request.
fn written(encoding: HeaderEncoding, code: RequestCode, fields: &dyn FieldSource) -> Vec<u8> {
    let mut out = BytesMut::new();
    let head = CommandHead::request(code.as_i32(), 1);
    encode_frame(&mut out, encoding, &head, fields, b"");
    let Ok(Split::Frame { frame, .. }) = split(&out, &FrameLimits::default()) else {
        panic!("what was written is no frame");
    };
    let is_binary = frame.encoding == HeaderEncoding::Binary;
    [&[u8::from(is_binary)], frame.header].concat()
}

/// Reads the header behind the byte of its encoding.
fn with_header(data: &[u8], each: impl FnOnce(&Header<'_>)) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    if bytes.len() > AGAIN_BYTES_MAX {
        return;
    }
    if let Ok(header) = Header::decode(encoding(*first), bytes, &FrameLimits::default()) {
        each(&header);
    }
}

/// Valid headers of a request, in both encodings: with all of its fields, and with those that it must have.
fn seeds_of(code: RequestCode, shapes: &[FieldShape]) -> Vec<Vec<u8>> {
    let value = |shape: &FieldShape| match (shape.kind, shape.name) {
        (FieldKind::Text, "kind") => "promote",
        (FieldKind::Text, "properties" | "i") => "KEYS\u{1}a \"b\"\u{2}TAGS\u{1}\u{fc}\u{2}",
        (FieldKind::Text, _) => "Te\u{fc}xt \"1\"",
        (FieldKind::Int32, _) => "-17",
        (FieldKind::Int64, _) => "1795357384001",
        (FieldKind::Truth, _) => "true",
    };
    let pairs = |wanted: fn(&FieldShape) -> bool| -> Vec<(String, String)> {
        let shapes = shapes.iter().filter(|shape| wanted(shape));
        shapes
            .map(|shape| (shape.name.to_owned(), value(shape).to_owned()))
            .collect()
    };
    let all = [pairs(|_| true), pairs(|shape| shape.is_required)];
    let encodings = [HeaderEncoding::Json, HeaderEncoding::Binary];
    let seeds = encodings.into_iter().flat_map(|encoding| {
        let headers = all.iter();
        headers.map(move |fields| written(encoding, code, fields))
    });
    seeds.collect()
}

macro_rules! families {
    ($($family:ident { $($request:ident)* })*) => {
        $(pub(crate) fn $family(data: &[u8]) {
            with_header(data, |header| {
                $(is_read::$request(header);)*
            });
        })*

        /// Whether a header is read as a request, which is read back then.
        #[allow(non_snake_case, reason = "each function has the name of its type")]
        mod is_read {
            use super::{Header, FrameLimits, Request, r, encoding, written};

            $($(pub(super) fn $request(header: &Header<'_>) -> bool {
                let Ok(request) = r::$request::decode(&header.fields) else {
                    return false;
                };
                let again = written(header.encoding, <r::$request as Request<'_>>::CODE, &request);
                let again = again.split_first().map(|(first, bytes)| {
                    Header::decode(encoding(*first), bytes, &FrameLimits::default())
                });
                let Some(Ok(again)) = again else {
                    panic!("what was written of {request:?} is no header");
                };
                let read = r::$request::decode(&again.fields);
                assert_eq!(read.as_ref(), Ok(&request));
                true
            })*)*
        }

        pub(crate) mod seeds {
            use super::{Request, r, seeds_of};

            $(pub(crate) fn $family() -> Vec<Vec<u8>> {
                let mut seeds = Vec::new();
                $(seeds.extend(seeds_of(
                    <r::$request as Request<'_>>::CODE,
                    <r::$request as Request<'_>>::FIELDS,
                ));)*
                seeds
            })*
        }

        /// The requests, each with whether a header is read as it.
        #[cfg(test)]
        #[allow(clippy::type_complexity, reason = "a list of tests")]
        fn all() -> Vec<(RequestCode, &'static [FieldShape], fn(&Header<'_>) -> bool)> {
            vec![$($((
                <r::$request as Request<'_>>::CODE,
                <r::$request as Request<'_>>::FIELDS,
                is_read::$request,
            )),*),*]
        }
    };
}

families! {
    access {
        AuthCreateUser AuthUpdateUser AuthDeleteUser AuthGetUser AuthListUser AuthCreateAcl AuthUpdateAcl AuthGetAcl AuthDeleteAcl
        AuthListAcl
    }
    backup { BeginBackup ReadBackupTables ReadBackupLog EndBackup }
    brokers {
        GetTimerCheckPoint GetTimerMetrics UpdateColdDataFlowCtrConfig RemoveColdDataFlowCtrConfig GetColdDataFlowCtrInfo
        GetBrokerRuntimeInfo UpdateBrokerConfig GetBrokerConfig UpdateNamesrvConfig GetNamesrvConfig ViewBrokerStatsData
        CleanExpiredConsumeQueue DeleteExpiredCommitLog CleanUnusedTopic CheckRocksdbCqWriteProgress GetBrokerHaStatus
        GetBrokerEpochCache ResetMasterFlushOffset ExchangeBrokerHaInfo GetAllConsumerOffset GetAllDelayOffset WipeWritePermOfBroker
        AddWritePermOfBroker PutKvConfig GetKvConfig DeleteKvConfig GetKvListByNamespace
    }
    clients {
        HeartBeat UnregisterClient GetConsumerListByGroup NotifyConsumerIdsChanged LockBatchMq UnlockBatchMq CheckClientConfig
    }
    group_master { GetGroupStatus RequestGroupMaster RaiseConsumerOffsets }
    groups {
        UpdateAndCreateSubscriptionGroup UpdateAndCreateSubscriptionGroupList GetAllSubscriptionGroupConfig GetSubscriptionGroupConfig
        DeleteSubscriptionGroup GetConsumerConnectionList GetProducerConnectionList GetAllProducerInfo GetConsumeStats
        GetBrokerConsumeStats QueryConsumeTimeSpan QueryCorrectionOffset QueryTopicsByConsumer QuerySubscriptionByConsumer
        CloneGroupOffset InvokeBrokerToResetOffset ResetConsumerClientOffset InvokeBrokerToGetConsumerStatus
        GetConsumerStatusFromClient UpdateAndGetGroupForbidden GetConsumerRunningInfo ConsumeMessageDirectly
    }
    lookup { QueryMessage ViewMessageById QueryConsumeQueue ResumeCheckHalfMessage }
    offsets {
        QueryConsumerOffset UpdateConsumerOffset SearchOffsetByTimestamp GetMaxOffset GetMinOffset GetEarliestMsgStoretime
    }
    pop {
        PopMessage AckMessage BatchAckMessage ChangeMessageInvisibleTime Notification PeekMessage PollingInfo QueryAssignment
        SetMessageRequestMode GetAllMessageRequestMode
    }
    pull { PullMessage }
    registration {
        RegisterBroker UnregisterBroker QueryDataVersion BrokerHeartbeat GetBrokerMemberGroup NotifyMinBrokerIdChange
    }
    reply { PushReplyMessageToClient RecallMessage }
    route { GetRouteinfoByTopic GetBrokerClusterInfo }
    send_back { ConsumerSendMsgBack }
    topics {
        UpdateAndCreateTopic UpdateAndCreateTopicList GetAllTopicConfig GetTopicConfig GetTopicStatsInfo DeleteTopicInBroker
        DeleteTopicInNamesrv RegisterTopicInNamesrv GetAllTopicListFromNameserver GetTopicsByCluster GetSystemTopicListFromNs
        GetSystemTopicListFromBroker GetUnitTopicList GetHasUnitSubTopicList GetHasUnitSubUnunitTopicList QueryTopicConsumeByWho
        UpdateAndCreateStaticTopic
    }
    transactions { EndTransaction CheckTransactionState GetTransactions }
}

/// The codes of sends.
const SENDS: [RequestCode; 5] = [
    RequestCode::SendMessage,
    RequestCode::SendMessageV2,
    RequestCode::SendBatchMessage,
    RequestCode::SendReplyMessage,
    RequestCode::SendReplyMessageV2,
];

pub(crate) fn send(data: &[u8]) {
    with_header(data, |header| {
        for code in SENDS {
            let Ok(send) = SendMessage::decode(code, &header.fields) else {
                continue;
            };
            let again = match SendMessage::is_short(code) {
                true => written(header.encoding, code, &send),
                false => written(header.encoding, code, &send.v1()),
            };
            let again = Header::decode(encoding(again[0]), &again[1..], &FrameLimits::default());
            let again = again.expect("what was written is a header");
            let read = SendMessage::decode(code, &again.fields);
            assert_eq!(read.as_ref(), Ok(&send));
        }
    });
}

pub(crate) fn send_seeds() -> Vec<Vec<u8>> {
    let seeds = SENDS.into_iter().flat_map(|code| {
        let shapes = r::fields_of(code).unwrap_or_default();
        seeds_of(code, shapes)
    });
    seeds.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_that_has_fields_has_a_request_here() {
        let known: BTreeSet<i32> = all().iter().map(|(code, ..)| code.as_i32()).collect();
        let others =
            |code: &RequestCode| SENDS.contains(code) || *code == RequestCode::LitePullMessage;
        let missing: Vec<_> = RequestCode::ALL
            .iter()
            .filter(|code| r::fields_of(**code).is_some() && !others(code))
            .filter(|code| !known.contains(&code.as_i32()))
            .collect();
        assert!(
            missing.is_empty(),
            "requests without a fuzz target: {missing:?}"
        );
    }

    #[test]
    fn each_seed_is_read_as_its_request() {
        for (code, shapes, is_read) in all() {
            for seed in seeds_of(code, shapes) {
                let mut was_read = false;
                with_header(&seed, |header| was_read = is_read(header));
                assert!(was_read, "{code:?}");
            }
        }
        for seed in send_seeds() {
            send(&seed);
        }
    }
}
