//! Frames and records of the original: each one decodes, and what we encode says the same.

use std::collections::BTreeMap;

use bytes::BytesMut;
use rmq_protocol::bodies;
use rmq_protocol::header::{CommandHead, FieldSink, FieldSource, Fields, Header, NoFields};
use rmq_protocol::message::{RecordView, property};
use rmq_protocol::requests::{self as r, FieldError, Reply, Request, SendMessage};
use rmq_protocol::route::{ClusterInfo, TopicRoute};
use rmq_protocol::{
    FrameLimits, HeaderEncoding, Language, RequestCode, Split, encode_frame, split,
};
use serde_json::Value;

struct Recorded {
    line: usize,
    code: i32,
    /// The request that a response answers, or the request itself.
    request: i32,
    is_response: bool,
    encoding: HeaderEncoding,
    header: Value,
    raw_header: Vec<u8>,
    text: Option<String>,
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn frames() -> Vec<Recorded> {
    let lines = include_str!("../testdata/frames.jsonl").lines();
    let frames: Vec<Recorded> = lines
        .enumerate()
        .map(|(line, text)| {
            let frame: Value = serde_json::from_str(text).unwrap();
            let code = frame["code"].as_i64().unwrap() as i32;
            let header = frame["header"].clone();
            let binary = frame["encoding"] == "binary";
            Recorded {
                line: line + 1,
                code,
                request: frame["request"].as_i64().map_or(code, |code| code as i32),
                is_response: frame["direction"].as_str().unwrap().contains("response"),
                encoding: if binary {
                    HeaderEncoding::Binary
                } else {
                    HeaderEncoding::Json
                },
                raw_header: if binary {
                    unhex(frame["hex"].as_str().unwrap())
                } else {
                    header.to_string().into_bytes()
                },
                header,
                text: frame["text"].as_str().map(str::to_owned),
            }
        })
        .collect();
    assert_eq!(frames.len(), 544);
    frames
}

/// Fields as a map; a null object and an absent one are the same.
fn recorded_fields(header: &Value) -> BTreeMap<String, String> {
    let Some(fields) = header["extFields"].as_object() else {
        return BTreeMap::new();
    };
    fields
        .iter()
        .map(|(key, value)| {
            (
                key.clone(),
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            )
        })
        .collect()
}

fn decoded_fields(fields: &Fields<'_>) -> BTreeMap<String, String> {
    fields
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_cow().into_owned()))
        .collect()
}

#[derive(Default)]
struct Collected(BTreeMap<String, String>);

impl FieldSink for Collected {
    fn str(&mut self, key: &'static str, value: &str) {
        self.pair(key, value);
    }

    fn int(&mut self, key: &'static str, value: i64) {
        self.pair(key, &value.to_string());
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.pair(key, &value.to_string());
    }

    fn pair(&mut self, key: &str, value: &str) {
        assert!(
            self.0.insert(key.to_owned(), value.to_owned()).is_none(),
            "{key} written twice"
        );
    }
}

fn collect(source: &dyn FieldSource) -> BTreeMap<String, String> {
    let mut collected = Collected::default();
    source.visit(&mut collected);
    collected.0
}

#[test]
fn every_frame_decodes_to_what_the_recorder_saw() {
    let limits = FrameLimits::default();
    for frame in frames() {
        let header = Header::decode(frame.encoding, &frame.raw_header, &limits)
            .unwrap_or_else(|error| panic!("line {}: {error}", frame.line));
        assert_eq!(header.code, frame.code, "line {}", frame.line);
        assert_eq!(
            header.is_response(),
            frame.is_response,
            "line {}",
            frame.line
        );
        assert_eq!(
            header.language.name(),
            frame.header["language"].as_str().unwrap()
        );
        for (name, value) in [
            ("version", header.version),
            ("opaque", header.opaque),
            ("flag", header.flag),
        ] {
            assert_eq!(
                i64::from(value),
                frame.header[name].as_i64().unwrap(),
                "line {} {name}",
                frame.line
            );
        }
        let remark = header
            .remark
            .as_ref()
            .map(|remark| remark.to_cow().into_owned())
            .unwrap_or_default();
        assert_eq!(
            remark,
            frame.header["remark"].as_str().unwrap_or_default(),
            "line {}",
            frame.line
        );
        assert_eq!(
            decoded_fields(&header.fields),
            recorded_fields(&frame.header),
            "line {}",
            frame.line
        );
    }
}

#[test]
fn every_frame_encodes_again() {
    let limits = FrameLimits::default();
    for frame in frames() {
        let header = Header::decode(frame.encoding, &frame.raw_header, &limits).unwrap();
        let head = CommandHead {
            code: header.code,
            opaque: header.opaque,
            flag: header.flag,
            language: header.language,
            version: header.version,
            remark: header
                .remark
                .as_ref()
                .map(|remark| remark.to_cow().into_owned().into()),
        };
        let fields: &dyn FieldSource = if frame.header.get("extFields").is_none_or(Value::is_null) {
            &()
        } else {
            &header.fields
        };
        let body = frame.text.as_deref().unwrap_or_default().as_bytes();
        let mut out = BytesMut::new();
        encode_frame(&mut out, frame.encoding, &head, fields, body);
        let Split::Frame {
            frame: raw,
            consumed,
        } = split(&out, &limits).unwrap()
        else {
            panic!("incomplete")
        };
        assert_eq!(
            (consumed, raw.body, raw.encoding),
            (out.len(), body, frame.encoding),
            "line {}",
            frame.line
        );
        match frame.encoding {
            HeaderEncoding::Binary => {
                assert_eq!(raw.header, frame.raw_header, "line {}", frame.line)
            }
            HeaderEncoding::Json => {
                let mut ours: Value = serde_json::from_slice(raw.header).unwrap();
                let mut theirs = frame.header.clone();
                // Go and C++ leave the last one out; the C++ client writes some fields as numbers.
                ours.as_object_mut()
                    .unwrap()
                    .remove("serializeTypeCurrentRPC");
                theirs
                    .as_object_mut()
                    .unwrap()
                    .remove("serializeTypeCurrentRPC");
                theirs
                    .as_object_mut()
                    .unwrap()
                    .retain(|_, value| !value.is_null());
                if let Some(fields) = theirs.get_mut("extFields").and_then(Value::as_object_mut) {
                    for value in fields.values_mut().filter(|value| !value.is_string()) {
                        *value = Value::String(value.to_string());
                    }
                }
                assert_eq!(ours, theirs, "line {}", frame.line);
            }
        }
    }
}

/// Reads the typed request of a code and writes it again; `None` for codes without typed fields.
fn request_fields(
    code: RequestCode,
    fields: &Fields<'_>,
) -> Option<Result<BTreeMap<String, String>, FieldError>> {
    macro_rules! typed {
        ($($name:ident),* $(,)?) => {
            match code {
                RequestCode::SendMessage | RequestCode::SendReplyMessage => {
                    Some(SendMessage::decode(code, fields).map(|send| collect(&send.v1())))
                }
                RequestCode::SendMessageV2 | RequestCode::SendBatchMessage | RequestCode::SendReplyMessageV2 => {
                    Some(SendMessage::decode(code, fields).map(|send| collect(&send)))
                }
                RequestCode::LitePullMessage => Some(r::PullMessage::decode(fields).map(|pull| collect(&pull))),
                $(code if code == <r::$name as Request>::CODE => {
                    Some(<r::$name as Request>::decode(fields).map(|request| collect(&request)))
                })*
                _ => None,
            }
        };
    }
    typed!(
        PullMessage,
        QueryMessage,
        QueryConsumerOffset,
        UpdateConsumerOffset,
        UpdateAndCreateTopic,
        UpdateAndCreateTopicList,
        GetAllTopicConfig,
        UpdateBrokerConfig,
        GetBrokerConfig,
        GetBrokerRuntimeInfo,
        SearchOffsetByTimestamp,
        GetMaxOffset,
        GetMinOffset,
        GetEarliestMsgStoretime,
        ViewMessageById,
        HeartBeat,
        UnregisterClient,
        ConsumerSendMsgBack,
        EndTransaction,
        GetConsumerListByGroup,
        CheckTransactionState,
        NotifyConsumerIdsChanged,
        LockBatchMq,
        UnlockBatchMq,
        CheckClientConfig,
        PutKvConfig,
        GetKvConfig,
        DeleteKvConfig,
        RegisterBroker,
        UnregisterBroker,
        GetRouteinfoByTopic,
        GetBrokerClusterInfo,
        UpdateAndCreateSubscriptionGroup,
        GetAllSubscriptionGroupConfig,
        GetTopicStatsInfo,
        GetConsumerConnectionList,
        GetProducerConnectionList,
        WipeWritePermOfBroker,
        GetAllTopicListFromNameserver,
        DeleteSubscriptionGroup,
        GetConsumeStats,
        DeleteTopicInBroker,
        DeleteTopicInNamesrv,
        GetKvListByNamespace,
        GetConsumerStatusFromClient,
        InvokeBrokerToResetOffset,
        InvokeBrokerToGetConsumerStatus,
        GetTopicsByCluster,
        UpdateAndCreateSubscriptionGroupList,
        QueryTopicConsumeByWho,
        QueryConsumeTimeSpan,
        GetSystemTopicListFromBroker,
        CleanExpiredConsumeQueue,
        GetConsumerRunningInfo,
        ConsumeMessageDirectly,
        CloneGroupOffset,
        ViewBrokerStatsData,
        CleanUnusedTopic,
        GetBrokerConsumeStats,
        UpdateNamesrvConfig,
        GetNamesrvConfig,
        QueryConsumeQueue,
        PushReplyMessageToClient,
        AddWritePermOfBroker,
        GetAllProducerInfo,
        DeleteExpiredCommitLog,
        QueryTopicsByConsumer,
        QuerySubscriptionByConsumer,
        GetTopicConfig,
        UpdateAndGetGroupForbidden,
        CheckRocksdbCqWriteProgress,
        RecallMessage,
        QueryAssignment,
        SetMessageRequestMode,
        GetAllMessageRequestMode,
        GetBrokerHaStatus,
        ResetMasterFlushOffset,
        AuthCreateUser,
        AuthUpdateUser,
        AuthDeleteUser,
        AuthGetUser,
        AuthListUser,
        AuthCreateAcl,
        AuthUpdateAcl,
        AuthDeleteAcl,
        AuthGetAcl,
        AuthListAcl,
        PopMessage,
        AckMessage,
        ChangeMessageInvisibleTime,
        Notification,
        BatchAckMessage,
    )
}

/// Fields that every reader ignores.
fn is_ignored(key: &str) -> bool {
    matches!(
        key,
        "AccessKey"
            | "Signature"
            | "OnsChannel"
            | "ReqT"
            | "ns"
            | "nsd"
            | "futureField"
            | "zzz-unknown"
            | "bname"
    )
}

#[test]
fn typed_requests_read_and_write_every_field() {
    let limits = FrameLimits::default();
    let mut untyped = Vec::new();
    for frame in frames().iter().filter(|frame| !frame.is_response) {
        let Some(code) = RequestCode::from_i32(frame.code) else {
            assert_eq!(frame.code, 9999);
            continue;
        };
        let header = Header::decode(frame.encoding, &frame.raw_header, &limits).unwrap();
        let Some(written) = request_fields(code, &header.fields) else {
            untyped.push(code.as_i32());
            continue;
        };
        let recorded = decoded_fields(&header.fields);
        let written = match written {
            Ok(written) => written,
            // The recording has one send with nothing but a group, on purpose.
            Err(error) => {
                assert!(
                    recorded.len() < 5 && error.to_string().contains("missing"),
                    "line {}: {error}",
                    frame.line
                );
                continue;
            }
        };
        for (key, value) in &recorded {
            let same = match written.get(key) {
                None => {
                    is_ignored(key)
                        || recorded
                            .get("_UNIQUE_KEY_QUERY")
                            .is_some_and(|_| key == "_UNIQUE_KEY_QUERY")
                }
                Some(ours) if ours == value => true,
                // The C++ client's booleans.
                Some(ours) => matches!(
                    (ours.as_str(), value.as_str()),
                    ("false", "0") | ("true", "1")
                ),
            };
            assert!(
                same,
                "line {}: {key} was {value:?}, is {:?}",
                frame.line,
                written.get(key)
            );
        }
    }
    untyped.sort_unstable();
    untyped.dedup();
    // Of features that are not there: cold data, read-ahead, pop roll-back, light topics.
    assert_eq!(
        untyped,
        [
            2001, 2002, 2003, 2004, 200_056, 200_074, 200_075, 200_076, 200_077, 200_078
        ]
    );
}

#[test]
fn typed_replies_read_and_write_every_field() {
    let limits = FrameLimits::default();
    let mut read = 0;
    for frame in frames()
        .iter()
        .filter(|frame| frame.is_response && frame.code == 0)
    {
        let header = Header::decode(frame.encoding, &frame.raw_header, &limits).unwrap();
        let recorded = decoded_fields(&header.fields);
        if recorded.is_empty() {
            continue;
        }
        macro_rules! reply {
            ($name:ident) => {
                collect(
                    &r::$name::decode(&header.fields)
                        .unwrap_or_else(|error| panic!("line {}: {error}", frame.line)),
                )
            };
        }
        let written = match frame.request {
            10 | 310 | 320 | 325 => reply!(SendMessageReply),
            11 | 361 => reply!(PullMessageReply),
            12 => reply!(QueryMessageReply),
            14 | 29 | 30 | 31 => reply!(OffsetReply),
            21 => reply!(GetAllTopicConfigReply),
            26 => reply!(GetBrokerConfigReply),
            32 => reply!(TimestampReply),
            34 => reply!(HeartBeatReply),
            101 => reply!(GetKvConfigReply),
            201 => reply!(GetAllSubscriptionGroupConfigReply),
            205 => reply!(WipeWritePermOfBrokerReply),
            327 => reply!(AddWritePermOfBrokerReply),
            370 => reply!(RecallMessageReply),
            200_050 => reply!(PopMessageReply),
            200_053 => reply!(ChangeMessageInvisibleTimeReply),
            200_054 => reply!(NotificationReply),
            other => panic!("line {}: fields in the answer to {other}", frame.line),
        };
        assert_eq!(written, recorded, "line {}", frame.line);
        read += 1;
    }
    assert!(read >= 60, "{read}");
}

/// Reads a body of a code and writes it again; `None` where the body is no JSON of ours.
fn body_again(frame: &Recorded, text: &str) -> Option<Vec<u8>> {
    macro_rules! body {
        ($type:ty) => {
            Some(
                <$type>::from_json(text.as_bytes())
                    .unwrap_or_else(|error| panic!("line {}: {error}", frame.line))
                    .to_json(),
            )
        };
    }
    match (frame.request, frame.is_response) {
        (18, false) => body!(bodies::TopicConfigList),
        (21, true) => body!(bodies::TopicConfigTable),
        (28, true) | (219, true) => body!(bodies::KvTable),
        (34, false) => body!(bodies::HeartbeatData),
        (38, true) => body!(bodies::ConsumerList),
        (41 | 42, false) => body!(bodies::LockBatch),
        (41, true) => body!(bodies::LockedQueues),
        (46, false) => body!(bodies::CheckClientConfigBody),
        (103, false) => body!(bodies::RegisterBrokerBody),
        (105, true) => body!(TopicRoute),
        (106, true) => body!(ClusterInfo),
        (200, false) => body!(bodies::SubscriptionGroupConfig),
        (201, true) => body!(bodies::SubscriptionGroupTable),
        (202, true) => body!(bodies::TopicStatsTable),
        (203, true) => body!(bodies::ConsumerConnection),
        (204, true) => body!(bodies::ProducerConnection),
        (206 | 224 | 305 | 343, true) => body!(bodies::TopicList),
        (208, true) => body!(bodies::ConsumeStats),
        (221 | 223, true) => body!(bodies::ConsumerStatusBody),
        (222, true) => body!(bodies::ResetOffsetBody),
        (225, false) => body!(bodies::SubscriptionGroupList),
        (300, true) => body!(bodies::GroupList),
        (303, true) => body!(bodies::ConsumeTimeSpans),
        (307, true) => body!(bodies::ConsumerRunningInfo),
        (309, true) => body!(bodies::ConsumeMessageDirectlyResult),
        (315, true) => body!(bodies::BrokerStatsData),
        (317, true) => body!(bodies::ConsumeStatsList),
        (321, true) => body!(bodies::ConsumeQueueBody),
        (328, true) => body!(bodies::ProducerTable),
        (345, true) => body!(bodies::QuerySubscriptionBody),
        (351, true) => body!(bodies::TopicConfig),
        (353, true) => body!(bodies::GroupForbidden),
        (354, true) => body!(bodies::CheckRocksdbCqBody),
        (400, false) => body!(bodies::QueryAssignmentBody),
        (400, true) => body!(bodies::QueryAssignmentReply),
        (401, false) => body!(bodies::MessageRequestModeBody),
        (402, true) => body!(bodies::MessageRequestModes),
        (907, true) => body!(bodies::HaRuntimeInfo),
        (3001 | 3002, false) | (3004, true) => body!(bodies::UserInfo),
        (3006 | 3007, false) | (3009, true) => body!(bodies::AclInfo),
        _ => None,
    }
}

/// Sets are arrays in an order of their own.
fn without_order(value: &mut Value) {
    match value {
        Value::Array(items) => {
            items.iter_mut().for_each(without_order);
            items.sort_by_key(ToString::to_string);
        }
        Value::Object(object) => object.values_mut().for_each(without_order),
        _ => {}
    }
}

#[test]
fn bodies_read_and_write_the_same() {
    let mut read = BTreeMap::new();
    for frame in frames() {
        let Some(text) = &frame.text else { continue };
        if frame.is_response && frame.code != 0 {
            continue;
        }
        let Some(ours) = body_again(&frame, text) else {
            continue;
        };
        *read.entry((frame.request, frame.is_response)).or_insert(0) += 1;
        // What the Java side wrote is complete; Go and C++ leave fields out and write numbers as texts.
        if frame.header["language"] != Language::Java.name() {
            continue;
        }
        let strict = |text: &str| {
            let mut value: Value = serde_json::from_str(&bodies::to_strict(text).unwrap()).unwrap();
            without_order(&mut value);
            value
        };
        assert_eq!(
            strict(std::str::from_utf8(&ours).unwrap()),
            strict(text),
            "line {}",
            frame.line
        );
    }
    assert!(read.len() >= 40, "{read:?}");
}

#[test]
fn properties_text_of_both_servers_is_read() {
    let mut read = 0;
    for frame in frames().iter().filter(|frame| {
        matches!(
            (frame.request, frame.is_response),
            (25 | 318, false) | (26 | 319, true)
        )
    }) {
        if let Some(text) = &frame.text {
            assert!(
                !bodies::parse_properties(text.as_bytes())
                    .unwrap()
                    .is_empty()
            );
            read += 1;
        }
    }
    assert!(read >= 8, "{read}");
}

#[test]
fn every_record_parses_and_encodes_byte_for_byte() {
    let mut count = 0;
    for line in include_str!("../testdata/records.jsonl").lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let bytes = unhex(recorded["hex"].as_str().unwrap());
        let record = RecordView::parse(&bytes).unwrap();
        let int = |name: &str| recorded[name].as_i64().unwrap();
        assert_eq!(record.size() as i64, int("totalSize"));
        assert_eq!(i64::from(record.body_crc()), int("bodyCRC"));
        assert_eq!(i64::from(record.queue_id().0), int("queueId"));
        assert_eq!(i64::from(record.flag()), int("flag"));
        assert_eq!(record.queue_offset().0, int("queueOffset"));
        assert_eq!(record.position().0 as i64, int("physicalOffset"));
        assert_eq!(i64::from(record.sys_flag()), int("sysFlag"));
        assert_eq!(record.born_ms(), int("bornTimestamp"));
        assert_eq!(record.store_ms(), int("storeTimestamp"));
        assert_eq!(record.born_host().to_string(), recorded["bornHost"]);
        assert_eq!(record.store_host().to_string(), recorded["storeHost"]);
        assert_eq!(i64::from(record.reconsume_times()), int("reconsumeTimes"));
        assert_eq!(record.prepared_position(), int("preparedTransactionOffset"));
        assert_eq!(record.body().len() as i64, int("bodyLength"));
        assert_eq!(record.topic(), recorded["topic"]);
        for (name, value) in recorded["properties"].as_object().unwrap() {
            assert_eq!(record.property(name), value.as_str(), "{name}");
        }
        record.check_body_crc().unwrap();
        assert_eq!(record.check_record_crc(), Ok(false));
        let mut again = Vec::new();
        record.fields().encode(&mut again).unwrap();
        assert_eq!(again, bytes);
        assert!(record.property(property::WAIT).is_some());
        count += 1;
    }
    assert_eq!(count, 16);
}

#[test]
fn codes_beyond_sixteen_bits_travel_as_json() {
    let mut out = BytesMut::new();
    encode_frame(
        &mut out,
        HeaderEncoding::Binary,
        &CommandHead::request(200_050, 7),
        &NoFields,
        b"",
    );
    let Split::Frame { frame, .. } = split(&out, &FrameLimits::default()).unwrap() else {
        panic!("incomplete")
    };
    assert_eq!(frame.encoding, HeaderEncoding::Json);
    let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default()).unwrap();
    assert_eq!(header.code, 200_050);
}
