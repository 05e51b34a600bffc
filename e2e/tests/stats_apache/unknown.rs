//! What is asked about names that do not exist, and the answers of both: the same code, and the same empty or default body.

use std::collections::BTreeMap;

use rmq_protocol::bodies::to_strict;
use rmq_protocol::code::RequestCode as Code;
use serde_json::Value;

use crate::Broker;

/// A question, and why our answer differs where it shall. `NONE` in a value stands for a name that nothing has.
type Question = (Code, &'static [(&'static str, &'static str)], &'static str);

const SAME: &str = "";
// docs/reference/compatibility.md, "Groups and topics that do not exist".
const FORBIDS_NOTHING: &str = "the original forbids a group that is not there";
const NO_EMPTY_QUEUE: &str = "a name that is misspelt is no empty queue";
const NO_DELAY: &str = "the original's delay is the time since 1970";
const OFFLINE: &str = "206 is what every other request about an offline group gets";

/// Of a broker with the topic `load` of two queues, the group `g`, and no message.
const OF_A_BROKER: &[Question] = &[
    (
        Code::ViewBrokerStatsData,
        &[("statsName", "NONE"), ("statsKey", "load")],
        SAME,
    ),
    (
        Code::ViewBrokerStatsData,
        &[("statsName", "TOPIC_PUT_NUMS"), ("statsKey", "NONE")],
        SAME,
    ),
    (
        Code::ViewBrokerStatsData,
        &[("statsName", "GROUP_GET_NUMS"), ("statsKey", "load@NONE")],
        SAME,
    ),
    (
        Code::ViewBrokerStatsData,
        &[("statsName", "GROUP_GET_NUMS"), ("statsKey", "")],
        SAME,
    ),
    (
        Code::ViewBrokerStatsData,
        &[("statsName", "BROKER_PUT_NUMS"), ("statsKey", "NONE")],
        SAME,
    ),
    (Code::GetTopicStatsInfo, &[("topic", "NONE")], SAME),
    (Code::GetTopicConfig, &[("topic", "NONE")], SAME),
    (Code::QueryTopicConsumeByWho, &[("topic", "NONE")], SAME),
    (Code::QueryTopicsByConsumer, &[("group", "NONE")], SAME),
    (
        Code::QuerySubscriptionByConsumer,
        &[("group", "NONE"), ("topic", "load")],
        SAME,
    ),
    (
        Code::QuerySubscriptionByConsumer,
        &[("group", "g"), ("topic", "NONE")],
        SAME,
    ),
    (
        Code::GetConsumeStats,
        &[("consumerGroup", "NONE"), ("topic", "load")],
        SAME,
    ),
    (
        Code::GetConsumeStats,
        &[("consumerGroup", "g"), ("topic", "NONE")],
        SAME,
    ),
    (Code::GetConsumeStats, &[("consumerGroup", "NONE")], SAME),
    (
        Code::GetConsumerConnectionList,
        &[("consumerGroup", "NONE")],
        SAME,
    ),
    (
        Code::GetConsumerListByGroup,
        &[("consumerGroup", "NONE")],
        SAME,
    ),
    (
        Code::GetProducerConnectionList,
        &[("producerGroup", "NONE")],
        SAME,
    ),
    (
        Code::GetConsumerRunningInfo,
        &[
            ("consumerGroup", "NONE"),
            ("clientId", "NONE"),
            ("jstackEnable", "false"),
        ],
        SAME,
    ),
    (
        Code::QueryConsumeTimeSpan,
        &[("topic", "NONE"), ("group", "g")],
        SAME,
    ),
    (
        Code::QueryConsumeTimeSpan,
        &[("topic", "load"), ("group", "NONE")],
        NO_DELAY,
    ),
    (
        Code::QueryConsumerOffset,
        &[
            ("consumerGroup", "NONE"),
            ("topic", "load"),
            ("queueId", "0"),
        ],
        SAME,
    ),
    (
        Code::QueryConsumerOffset,
        &[("consumerGroup", "g"), ("topic", "NONE"), ("queueId", "0")],
        SAME,
    ),
    (
        Code::QueryConsumerOffset,
        &[("consumerGroup", "g"), ("topic", "load"), ("queueId", "7")],
        SAME,
    ),
    (
        Code::UpdateConsumerOffset,
        &[
            ("consumerGroup", "NONE"),
            ("topic", "load"),
            ("queueId", "0"),
            ("commitOffset", "1"),
        ],
        SAME,
    ),
    (
        Code::UpdateConsumerOffset,
        &[
            ("consumerGroup", "g"),
            ("topic", "NONE"),
            ("queueId", "0"),
            ("commitOffset", "1"),
        ],
        SAME,
    ),
    (
        Code::GetMaxOffset,
        &[("topic", "NONE"), ("queueId", "0")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::GetMaxOffset,
        &[("topic", "load"), ("queueId", "7")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::GetMinOffset,
        &[("topic", "NONE"), ("queueId", "0")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::GetMinOffset,
        &[("topic", "load"), ("queueId", "7")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::SearchOffsetByTimestamp,
        &[("topic", "NONE"), ("queueId", "0"), ("timestamp", "1")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::SearchOffsetByTimestamp,
        &[("topic", "load"), ("queueId", "7"), ("timestamp", "1")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::GetEarliestMsgStoretime,
        &[("topic", "NONE"), ("queueId", "0")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::GetEarliestMsgStoretime,
        &[("topic", "load"), ("queueId", "7")],
        NO_EMPTY_QUEUE,
    ),
    (
        Code::QueryMessage,
        &[
            ("topic", "NONE"),
            ("key", "k"),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ],
        SAME,
    ),
    (
        Code::QueryMessage,
        &[
            ("topic", "load"),
            ("key", "NONE"),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9223372036854775807"),
        ],
        SAME,
    ),
    (Code::ViewMessageById, &[("offset", "1048576")], SAME),
    (
        Code::QueryConsumeQueue,
        &[
            ("topic", "NONE"),
            ("queueId", "0"),
            ("index", "0"),
            ("count", "1"),
            ("consumerGroup", "g"),
        ],
        SAME,
    ),
    (
        Code::InvokeBrokerToResetOffset,
        &[
            ("topic", "NONE"),
            ("group", "g"),
            ("timestamp", "0"),
            ("isForce", "true"),
        ],
        SAME,
    ),
    (
        Code::InvokeBrokerToResetOffset,
        &[
            ("topic", "load"),
            ("group", "NONE"),
            ("timestamp", "0"),
            ("isForce", "true"),
        ],
        SAME,
    ),
    (
        Code::InvokeBrokerToGetConsumerStatus,
        &[("topic", "NONE"), ("group", "g")],
        OFFLINE,
    ),
    (
        Code::InvokeBrokerToGetConsumerStatus,
        &[("topic", "load"), ("group", "NONE")],
        OFFLINE,
    ),
    (
        Code::CloneGroupOffset,
        &[
            ("srcGroup", "NONE"),
            ("destGroup", "g"),
            ("topic", "load"),
            ("offline", "false"),
        ],
        SAME,
    ),
    (
        Code::UpdateAndGetGroupForbidden,
        &[("group", "NONE"), ("topic", "load")],
        FORBIDS_NOTHING,
    ),
    (Code::DeleteTopicInBroker, &[("topic", "NONE")], SAME),
    (
        Code::DeleteSubscriptiongroup,
        &[("groupName", "NONE"), ("cleanOffset", "true")],
        SAME,
    ),
    (
        Code::UnregisterClient,
        &[("clientID", "NONE"), ("producerGroup", "NONE")],
        SAME,
    ),
    (
        Code::ConsumeMessageDirectly,
        &[
            ("consumerGroup", "NONE"),
            ("clientId", "NONE"),
            ("msgId", "7F00000100002A9F0000000000000000"),
        ],
        SAME,
    ),
    (
        Code::PullMessage,
        &[
            ("consumerGroup", "g"),
            ("topic", "NONE"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ],
        SAME,
    ),
    (
        Code::PullMessage,
        &[
            ("consumerGroup", "NONE"),
            ("topic", "load"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ],
        SAME,
    ),
    (
        Code::PullMessage,
        &[
            ("consumerGroup", "g"),
            ("topic", "load"),
            ("queueId", "7"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ],
        SAME,
    ),
    (
        Code::ConsumerSendMsgBack,
        &[
            ("offset", "1048576"),
            ("group", "g"),
            ("delayLevel", "1"),
            ("originTopic", "load"),
            ("maxReconsumeTimes", "16"),
            ("unitMode", "false"),
        ],
        SAME,
    ),
    (Code::GetSubscriptiongroupConfig, &[("group", "NONE")], SAME),
];

/// Of a name server that knows this broker.
const OF_A_NAME_SERVER: &[Question] = &[
    (Code::GetRouteinfoByTopic, &[("topic", "NONE")], SAME),
    (
        Code::GetKvConfig,
        &[("namespace", "NONE"), ("key", "k")],
        SAME,
    ),
    (Code::GetKvlistByNamespace, &[("namespace", "NONE")], SAME),
    (
        Code::DeleteKvConfig,
        &[("namespace", "NONE"), ("key", "k")],
        SAME,
    ),
    (Code::GetTopicsByCluster, &[("cluster", "NONE")], SAME),
    (Code::WipeWritePermOfBroker, &[("brokerName", "NONE")], SAME),
    (Code::AddWritePermOfBroker, &[("brokerName", "NONE")], SAME),
    (Code::DeleteTopicInNamesrv, &[("topic", "NONE")], SAME),
    (
        Code::DeleteTopicInNamesrv,
        &[("topic", "NONE"), ("clusterName", "NONE")],
        SAME,
    ),
    (Code::GetUnitTopicList, &[], SAME),
    (Code::GetHasUnitSubTopicList, &[], SAME),
    (Code::GetHasUnitSubUnunitTopicList, &[], SAME),
    (
        Code::GetBrokerMemberGroup,
        &[("clusterName", "NONE"), ("brokerName", "NONE")],
        SAME,
    ),
];

/// Asks ours and theirs all of it.
pub(crate) async fn compare(
    brokers: &[Broker; 2],
    name_servers: &[Broker; 2],
) -> Result<(), String> {
    let mut problems = Vec::new();
    for (servers, questions) in [(brokers, OF_A_BROKER), (name_servers, OF_A_NAME_SERVER)] {
        for (index, (code, fields, differs)) in questions.iter().enumerate() {
            let none = format!("none-{index}");
            let fields: Vec<(&str, String)> = fields
                .iter()
                .map(|(name, value)| (*name, value.replace("NONE", &none)))
                .collect();
            let fields: Vec<(&str, &str)> = fields
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let [ours, theirs] =
                [&servers[0], &servers[1]].map(|server| ask(server, *code, &fields));
            let (ours, theirs) = (ours.await?, theirs.await?);
            if (ours == theirs) != differs.is_empty() {
                problems.push(format!("{code:?} {fields:?}: {ours:?}, Apache {theirs:?}"));
            }
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("; ")),
    }
}

/// What comes back: the code, the fields of the header, and what the body says.
#[derive(Debug, PartialEq)]
struct Answer {
    code: i32,
    fields: BTreeMap<String, String>,
    body: Option<Value>,
}

async fn ask(server: &Broker, code: Code, fields: &[(&str, &str)]) -> Result<Answer, String> {
    let answer = server.call(code, &fields, &[]).await?;
    // Each has a name and an address of its own.
    let body = String::from_utf8_lossy(answer.body())
        .replace("broker-java", "broker-a")
        .replace(&server.addr, "ADDRESS");
    let read = || {
        let mut value: Value = serde_json::from_str(&to_strict(&body)?).ok()?;
        plain(&mut value);
        Some(value)
    };
    let header = answer.header();
    // Clients read them of a success only.
    let told = header.fields.iter().filter(|_| answer.code() == 0);
    Ok(Answer {
        code: answer.code(),
        fields: told
            .map(|(name, value)| (name.to_owned(), value.to_cow().into_owned()))
            .collect(),
        body: match body.is_empty() {
            true => None,
            false => Some(read().ok_or_else(|| format!("{code:?} is answered with {body}"))?),
        },
    })
}

/// Without the spellings that mean the same: 0.0 and 0, an absent field and null.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(plain);
        }
        Value::Array(values) => values.iter_mut().for_each(plain),
        Value::Number(number) => *value = Value::from(number.as_f64()),
        _ => {}
    }
}
