//! Bodies of requests and answers: each one that can be read says the same when it is written again. The families are the files of
//! `protocol/src/bodies/`.

use std::fmt::Debug;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rmq_protocol::bodies::{self as b, RegisterBrokerBody};
use rmq_protocol::route;
use serde_json::Value;

use crate::recorded;

/// Numbers with a fraction are read and written with this relative error.
const FRACTION_ERROR: f64 = 1e-9;
/// What is written has fields that were left out, and may be longer than a reader takes; of longer bodies it is not asked.
const STATUS_BYTES_MAX: usize = b::GROUP_STATUS_BYTES_MAX;

/// What was read, written and read again is the same.
fn assert_same<T: PartialEq + Debug>(first: &T, second: &T, json: &[u8], again: &[u8]) {
    if first == second {
        return;
    }
    let value = |json: &[u8]| {
        let text = std::str::from_utf8(json).ok()?;
        serde_json::from_str::<Value>(&b::to_strict(text)?).ok()
    };
    let is_close =
        matches!((value(json), value(again)), (Some(one), Some(other)) if are_close(&one, &other));
    assert!(is_close, "{first:?} is read back as {second:?}");
}

/// Two values that differ in the last digits of fractions at most.
fn are_close(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else {
                return false;
            };
            (one - other).abs() <= one.abs() * FRACTION_ERROR
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| are_close(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| are_close(one, other)))
        }
        _ => one == other,
    }
}

/// Recorded bodies of which a type, as it was written again, lets no name out.
fn recorded_as(again: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let names = |json: &[u8]| -> Option<Vec<String>> {
        let strict = b::to_strict(std::str::from_utf8(json).ok()?)?;
        let value: Value = serde_json::from_str(&strict).ok()?;
        Some(value.as_object()?.keys().cloned().collect())
    };
    let texts = recorded::frames()
        .into_iter()
        .filter_map(|frame| frame.text);
    let mut found: Vec<Vec<u8>> = texts
        .map(String::into_bytes)
        .filter(|json| {
            let known = again(json).and_then(|again| names(&again));
            let there = names(json);
            matches!((known, there), (Some(known), Some(there)) if !there.is_empty() && there.iter().all(|name| known.contains(name)))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

macro_rules! families {
    ($($family:ident { $($body:ident)* } $([$($seed:literal)*])?)*) => {
        $(pub(crate) fn $family(data: &[u8]) {
            $(is_read::$body(data);)*
        })*

        /// Whether bytes are read as a body, which is read back then.
        #[allow(non_snake_case, reason = "each function has the name of its type")]
        mod is_read {
            use super::{b::*, route::*, STATUS_BYTES_MAX, assert_same};

            $($(pub(super) fn $body(data: &[u8]) -> bool {
                let Ok(body) = $body::from_json(data) else {
                    return false;
                };
                let json = body.to_json();
                if json.len() > STATUS_BYTES_MAX {
                    return true;
                }
                let read = $body::from_json(&json);
                let read = read.unwrap_or_else(|error| panic!("{body:?} is not read back: {error}"));
                assert_same(&body, &read, &json, &read.to_json());
                true
            })*)*
        }

        pub(crate) mod seeds {
            use super::{b::*, route::*, recorded_as};

            $(pub(crate) fn $family() -> Vec<Vec<u8>> {
                let mut seeds: Vec<Vec<u8>> = vec![$($($seed.as_bytes().to_vec()),*)?];
                $(seeds.extend(recorded_as(|json| Some($body::from_json(json).ok()?.to_json())));)*
                seeds
            })*
        }

        /// The bodies of each family, each with whether bytes are read as it, and the seeds of the family.
        #[cfg(test)]
        #[allow(clippy::type_complexity, reason = "a list of tests")]
        fn all() -> Vec<(&'static str, Vec<(&'static str, fn(&[u8]) -> bool)>, Vec<Vec<u8>>)> {
            vec![$((
                stringify!($family),
                vec![$((stringify!($body), is_read::$body as fn(&[u8]) -> bool)),*],
                seeds::$family(),
            )),*]
        }
    };
}

families! {
    access { UserInfo AclInfo } [
        r#"{"password":"p\u0001","userStatus":"enable","userType":"Super","username":"u"}"#
        r#"{"policies":[{"entries":[{"actions":["Pub","Sub"],"decision":"Allow","resource":"Topic:*","sourceIps":["10.0.0.0/8"]}],"policyType":"Custom"}],"subject":"User:u"}"#
    ]
    assignment { QueryAssignmentBody QueryAssignmentReply MessageRequestModeBody MessageRequestModes } [
        r#"{"clientId":"c","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"t"}"#
        r#"{"messageQueueAssignments":[{"attachments":{"a":"b"},"messageQueue":{"brokerName":"b","queueId":0,"topic":"t"},"mode":"PULL"}]}"#
        r#"{"consumerGroup":"g","mode":"POP","popShareQueueNum":1,"topic":"t"}"#
        r#"{"messageRequestModeMap":{"t":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":0,"topic":"t"}}}}"#
    ]
    backup { BackupBegun } [
        r#"{"backup":"1","begins":0,"cluster":"c","group":"g","idleMs":60000,"incarnation":"00000000000000000000000000000abc","isMaster":true,"member":1,"position":18446744073709551615}"#
    ]
    connection { ConsumerList ConsumerConnection ProducerConnection ProducerTable } [
        r#"{"consumerIdList":["10.0.0.9@12345#98765"]}"#
        r#"{"connectionSet":[{"clientAddr":"10.0.0.9:4","clientId":"c","language":"GO","version":513,"subscriptions":{"t":"*"}}],"consumeFromWhere":4,"consumeType":"CONSUME_PASSIVELY","messageModel":"BROADCASTING","subscriptionTable":{"t":{"classFilterMode":false,"codeSet":[1],"expressionType":"TAG","subString":"a","subVersion":1,"tagsSet":["a"],"topic":"t"}}}"#
        r#"{"data":{"g":[{"clientId":"c","language":"JAVA","lastUpdateTimestamp":1,"remoteIP":"10.0.0.9","version":513}]}}"#
    ]
    consume_queue { ConsumeQueueBody CheckRocksdbCqBody } [
        r#"{"filterData":"f","maxQueueIndex":9,"minQueueIndex":0,"queueData":[{"bitMap":"b","eval":true,"extendDataJson":"{}","msg":"m","physicOffset":1,"physicSize":2,"tagsCode":-3}],"subscriptionData":{"topic":"t"}}"#
        r#"{"checkResult":"x","checkStatus":2}"#
    ]
    group { SubscriptionGroupConfig SubscriptionGroupList SubscriptionGroupTable GroupForbidden QuerySubscriptionBody } [
        r#"{"attributes":{"quota.messages":"5"},"brokerId":0,"consumeEnable":false,"groupName":"g","groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2.5}},"retryMaxTimes":16,"retryQueueNums":1,"subscriptionDataSet":[{"expression":"*","expressionType":"TAG","topic":"t","version":"17"}],"whichBrokerWhenConsumeSlowly":1}"#
        r#"{"group":"g","readable":null,"topic":"t"}"#
        r#"{"group":"g","subscriptionData":{"topic":"t","codeSet":["17"]},"topic":"t"}"#
    ]
    group_status { GroupStatus } [
        r#"{"ackMode":"inSync","brokerName":"b","confirmed":1,"election":"etcd","end":2,"epoch":3,"findings":[{"code":"lag","severity":"warning","text":"x"}],"master":0,"me":1,"members":[{"client":"h:1","connected":true,"flushed":1,"inSync":true,"incarnation":"00000000000000000000000000000abc","lagBytes":0,"lagMs":1,"partial":false,"received":2,"replication":"h:2","role":"replica","slot":1}],"minInSync":2,"nowMs":5,"outcome":{"ok":true,"request":"r","text":""},"phase":"steady","place":"p","placeAway":false,"possiblyLost":{"epoch":1,"from":2,"to":3},"state":"s","switchover":{"kind":"switchover","request":"r","to":1},"writesClosed":"why"}"#
    ]
    heartbeat { SubscriptionData HeartbeatData CheckClientConfigBody } [
        r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_MIN_OFFSET","consumeType":0,"groupName":"g","messageModel":"Clustering","subscriptionDataSet":[{"classFilterMode":false,"codeSet":["1",2],"expressionType":"","subString":"a||b","subVersion":"1","tagsSet":["a","b"],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":-1,"producerDataSet":[{"groupName":"p"}],"withoutSub":false}"#
        r#"{"clientId":"c","group":"g","namespace":"n","subscriptionData":{"topic":"t"}}"#
    ]
    locks { LockBatch LockedQueues }
    offsets {
        ConsumeStats ConsumeStatsList ResetOffsetBody ResetOffsetBodyForC ConsumerStatusBody ConsumeTimeSpans ConsumerOffsetTable
        CorrectionOffsets
    } [
        r#"{"consumeTps":1.5,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"brokerOffset":1,"consumerOffset":2,"lastTimestamp":3,"pullOffset":4}}}"#
        r#"{"brokerAddr":"a","consumeStatsList":[{"g":[{"consumeTps":0.0,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{}}}]}],"totalDiff":1,"totalInflightDiff":2}"#
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:17}}"#
        r#"{"offsetTable":[{"brokerName":"b","offset":1,"queueId":0,"topic":"t"}]}"#
        r#"{"consumerTable":{"c":{{"brokerName":"b","queueId":0,"topic":"t"}:17}},"messageQueueTable":{{"brokerName":"b","queueId":1,"topic":"t"}:-1}}"#
        r#"{"consumeTimeSpanSet":[{"consumeTimeStamp":1,"consumeTimeStampStr":"x","delayTime":2,"maxTimeStamp":3,"maxTimeStampStr":"y","messageQueue":{"brokerName":"b","queueId":0,"topic":"t"},"minTimeStamp":4,"minTimeStampStr":"z"}]}"#
        r#"{"dataVersion":{"counter":"1","stateVersion":0,"timestamp":5},"offsetTable":{"t@g":{0:1,"1":2}}}"#
        r#"{"correctionOffsets":{0:17}}"#
    ]
    registration { RegisterBrokerBody BrokerMemberGroupBody KvTable } [
        r#"{"filterServerList":["a"],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},"mappingDataVersion":{"counter":1},"topicConfigTable":{"t":{"attributes":{"a":"b"},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":4}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{"t":{"topic":"t","currIdMap":{"0":1.5}}}}}"#
        r#"{"brokerMemberGroup":{"brokerAddrs":{0:"10.0.0.1:10911","-1":"x"},"brokerName":"b","cluster":"c"}}"#
        r#"{"table":{"a":"b"}}"#
    ]
    replication { HaRuntimeInfo EpochCache } [
        r#"{"haClientRuntimeInfo":{"lastReadTimestamp":1,"masterAddr":"a","maxOffset":2},"haConnectionInfo":[{"addr":"a","diff":1,"inSync":true,"slaveAckOffset":2,"transferFromWhere":3,"transferredByteInSecond":4}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":5}"#
        r#"{"brokerId":0,"brokerName":"b","clusterName":"c","epochList":[{"endOffset":1,"epoch":2,"startOffset":0}],"maxOffset":9}"#
    ]
    route { TopicRoute ClusterInfo }
    running { ConsumerRunningInfo ConsumeMessageDirectlyResult } [
        r#"{"jstack":"j","mqPopTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"droped":true,"lastPopTimestamp":1,"waitAckCount":2}},"mqTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"cachedMsgCount":1,"cachedMsgSizeInMiB":2,"locked":true}},"properties":{"a":"b"},"statusTable":{"t":{"consumeFailedMsgs":1,"consumeFailedTPS":0.1,"consumeOKTPS":1e3,"consumeRT":2.5,"pullRT":0.0,"pullTPS":1.0}},"subscriptionSet":[{"topic":"t"}],"userConsumerInfo":{"x":"y"}}"#
        r#"{"autoCommit":true,"consumeResult":1,"order":false,"remark":"r","spentTimeMills":7}"#
    ]
    stats { BrokerStatsData } [
        r#"{"statsDay":{"avgpt":1.5,"sum":2,"tps":0.3},"statsHour":{},"statsMinute":{"sum":-1}}"#
    ]
    timers { TimerMetrics } [
        r#"{"dataVersion":{"counter":1},"timingCount":{"t":{"count":1,"timeStamp":2}}}"#
    ]
    topic { DataVersion TopicConfig TopicConfigList TopicConfigTable TopicList GroupList TopicStatsTable } [
        r#"{"topicConfigList":[{"topicName":"t","topicFilterType":1,"attributes":null}]}"#
        r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":1,"maxOffset":2,"minOffset":0}},"topicPutTps":1.25,"unreadableMessages":3}"#
    ]
    transactions { TransactionList } [
        r#"{"next":5,"openCount":1,"parkedCount":2,"transactions":[{"bodySize":1,"checks":2,"commitLogOffset":3,"keys":"k","lastCheckTimestamp":4,"nextCheckTimestamp":5,"offsetMsgId":"x","producerGroup":"g","queueId":0,"state":"parked","storeTimestamp":6,"topic":"t","transactionId":"y"}]}"#
    ]
}

/// Texts of properties.
pub(crate) fn config(data: &[u8]) {
    let Ok(pairs) = b::parse_properties(data) else {
        return;
    };
    let text = b::write_properties(
        pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    let read = b::parse_properties(&text);
    let read = read.unwrap_or_else(|error| panic!("{pairs:?} is not read back: {error}"));
    let written = |text: &str| text.replace(['\r', '\n'], " ").trim().to_owned();
    let pairs: Vec<(String, String)> = pairs
        .iter()
        .map(|(name, value)| (written(name), written(value)))
        .collect();
    assert_eq!(read, pairs, "{}", text.escape_ascii());
}

pub(crate) fn config_seeds() -> Vec<Vec<u8>> {
    [
        "brokerName=broker-a\nflushDiskType = ASYNC_FLUSH\n# a comment\n\nlistenPort:10911\n",
        "a\\ b\\=c=d\\\\e\\u00fc\\n\\t\nempty=\n=nameless\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// A registration that is compressed here: one byte for the version, and what is compressed.
pub(crate) fn compressed(data: &[u8]) {
    let Some((first, plain)) = data.split_first() else {
        return;
    };
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("to memory");
    registration_of(&encoder.finish().expect("to memory"), *first);
}

/// A registration that was compressed by who sends it: one byte for the version, and the body.
pub(crate) fn deflated(data: &[u8]) {
    if let Some((first, body)) = data.split_first() {
        registration_of(body, *first);
    }
}

fn registration_of(bytes: &[u8], version: u8) {
    let version = match version & 1 {
        0 => 513,
        _ => 399,
    };
    let Ok(body) = RegisterBrokerBody::from_compressed(bytes, version) else {
        return;
    };
    let again = body.to_compressed().expect("to memory");
    let read = RegisterBrokerBody::from_compressed(&again, 513);
    let read = read.unwrap_or_else(|error| panic!("{body:?} is not read back: {error}"));
    assert_same(&body, &read, &body.to_json(), &read.to_json());
}

/// A registration with topics, a filter server and a mapping.
fn registration_to_compress() -> RegisterBrokerBody {
    let json = r#"{"filterServerList":["a"],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},
        "topicConfigTable":{"t":{"attributes":{"a":"b"},"perm":6,"readQueueNums":4,"topicName":"t","writeQueueNums":4},
        "u":{"topicName":"u","topicFilterType":"MULTI_TAG"}},"topicQueueMappingInfoMap":{"t":{"topic":"t","x":1}}}}"#;
    RegisterBrokerBody::from_json(json.as_bytes()).expect("a registration")
}

pub(crate) fn deflated_seeds() -> Vec<Vec<u8>> {
    let body = registration_to_compress();
    let bytes = body.to_compressed().expect("to memory");
    // Many topics in few bytes: memory must not follow what they become.
    let mut plain = 2_i32.to_be_bytes().to_vec();
    plain.extend_from_slice(b"{}");
    plain.extend_from_slice(&2_000_i32.to_be_bytes());
    for number in 0..2_000 {
        let topic = format!("{number:x} 1 1 6 X");
        plain.extend_from_slice(&(topic.len() as i32).to_be_bytes());
        plain.extend_from_slice(topic.as_bytes());
    }
    plain.extend_from_slice(&2_i32.to_be_bytes());
    plain.extend_from_slice(b"[]");
    let mut encoder = ZlibEncoder::new(vec![0], Compression::best());
    encoder.write_all(&plain).expect("to memory");
    let many = encoder.finish().expect("to memory");
    // Nothing but zeros.
    let mut encoder = ZlibEncoder::new(vec![0], Compression::best());
    encoder.write_all(&vec![0; 1 << 20]).expect("to memory");
    let zeros = encoder.finish().expect("to memory");
    vec![
        [vec![0], bytes.clone()].concat(),
        [vec![1], bytes].concat(),
        many,
        zeros,
    ]
}

pub(crate) fn compressed_seeds() -> Vec<Vec<u8>> {
    let bytes = registration_to_compress()
        .to_compressed()
        .expect("to memory");
    let mut plain = Vec::new();
    let mut decoder = flate2::write::ZlibDecoder::new(&mut plain);
    decoder.write_all(&bytes).expect("what was compressed");
    decoder.finish().expect("all of it");
    [0, 1]
        .map(|version| [vec![version], plain.clone()].concat())
        .to_vec()
}

/// JSON as fastjson writes it becomes JSON proper, and what is proper stays as it is.
pub(crate) fn fastjson(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let strict = b::to_strict(text);
    let proper = serde_json::from_str::<Value>(text);
    let rewritten = strict
        .as_ref()
        .map(|strict| serde_json::from_str::<Value>(strict));
    match (proper, rewritten) {
        (Ok(proper), Some(rewritten)) => {
            let rewritten = rewritten.unwrap_or_else(|error| panic!("{strict:?}: {error}"));
            assert_eq!(rewritten, proper);
        }
        // Deeper than one of the two goes.
        (Ok(_), None) => assert!(text.matches(['[', '{']).count() > 64, "{text}"),
        (Err(_), Some(Ok(rewritten))) => {
            let again = strict.as_deref().and_then(b::to_strict);
            let again = again.map(|again| serde_json::from_str::<Value>(&again));
            assert!(
                matches!(again, Some(Ok(again)) if again == rewritten),
                "{strict:?}"
            );
        }
        (Err(_), _) => {}
    }
}

pub(crate) fn fastjson_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = [
        r#"{{"brokerName":"b","queueId":0,"topic":"t"}:{"a":[1,2,],},0:'x',name:null,"s":"\u00fc\"\\"}"#,
        r#"[true,false,null,-1.5e3,"",{}]"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    let recorded = recorded::frames()
        .into_iter()
        .filter_map(|frame| frame.text);
    seeds.extend(recorded.map(String::into_bytes).take(200));
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_body_has_a_seed_that_says_something() {
        for (family, bodies, seeds) in all() {
            for (name, is_read) in bodies {
                let says = seeds.iter().filter(|seed| seed.len() > 12);
                assert!(
                    says.filter(|seed| is_read(seed)).count() > 0,
                    "{family}: {name}"
                );
            }
        }
        for seed in compressed_seeds() {
            compressed(&seed);
        }
    }

    /// Bodies are declared in lists, `bodies! { Name: plain; }`: each is of a family here.
    #[test]
    fn each_body_of_the_protocol_is_in_its_family() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/src/bodies");
        let mut missing = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the bodies") {
            let path = entry.expect("a file").path();
            let family = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let text = std::fs::read_to_string(&path).expect("text");
            let lists = text.split("\nbodies! {").skip(1);
            let lists = lists.filter_map(|list| list.split('}').next());
            let declared = lists.flat_map(|list| list.split(';'));
            let mut names: Vec<&str> = declared
                .filter_map(|body| Some(body.split_once(':')?.0.trim()))
                .collect();
            if text.contains("impl GroupStatus {") {
                names.push("GroupStatus");
            }
            let known = all().into_iter().find(|(known, ..)| *known == family);
            for name in names {
                let is_known = known
                    .as_ref()
                    .is_some_and(|(_, bodies, _)| bodies.iter().any(|(known, _)| *known == name));
                if !is_known {
                    missing.push(format!("{family}: {name}"));
                }
            }
        }
        assert!(
            missing.is_empty(),
            "bodies without a fuzz target: {missing:?}"
        );
    }
}
