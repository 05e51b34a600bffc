//! Every header field of every request that the broker serves: a text that is no value of the field, or a value out of its range, is
//! refused with the field's name and the value; nothing changes by it, and the connection stays. The walk follows
//! `rmq_protocol::requests::fields_of`, so a field that is added is tried. Budget: 5 s.

use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{RecordView, batch, batch::BatchEntry};
use rmq_protocol::requests::{FieldKind, fields_of};

use crate::support::{Client, Rig, pull, remark};

const NO_INT32: [&str; 11] = [
    "",
    "abc",
    "1.5",
    " 1 ",
    "2147483648",
    "-2147483649",
    "99999999999999999999",
    "0x1",
    "1e3",
    "--1",
    "١",
];
const NO_INT64: [&str; 9] = [
    "",
    "abc",
    "1.5",
    " 1 ",
    "9223372036854775808",
    "0x1",
    "1e3",
    "--1",
    "١",
];
/// Old clients write a truth that is not set as an empty text, others write 0 and 1.
const NO_TRUTH: [&str; 5] = ["abc", "2", "yes", " true", "truee"];

/// Values of the right form that may be out of a field's range.
pub(crate) const ODD_INTS: [&str; 5] = [
    "-1",
    "-2147483648",
    "2147483647",
    "-9223372036854775808",
    "9223372036854775807",
];
const ODD_TEXTS: [&str; 4] = ["", "a b", "a\u{7}b", LONG];
/// Longer than any name.
pub(crate) const LONG: &str = match std::str::from_utf8(&[b'L'; 300]) {
    Ok(text) => text,
    Err(_) => "",
};

/// What good requests say.
struct Good {
    /// Of the message that is there.
    position: String,
    batch: Vec<u8>,
}

impl Good {
    async fn of(client: &Client) -> Self {
        let answer = client
            .call(RequestCode::PullMessage, &pull("t", 0, 0), &[])
            .await;
        let record = RecordView::iter(answer.body()).next().expect("a record");
        let mut batch = Vec::new();
        let entry = BatchEntry {
            flag: 0,
            body: b"x",
            properties: "",
        };
        batch::encode(&entry, &mut batch).expect("valid");
        Self {
            position: record.expect("whole").position().0.to_string(),
            batch,
        }
    }

    fn body(&self, code: RequestCode) -> &[u8] {
        if code == RequestCode::SendBatchMessage {
            &self.batch
        } else {
            b"x"
        }
    }

    /// A value that a request may have there.
    fn text(&self, code: RequestCode, field: &str) -> &str {
        use RequestCode as Code;
        match field {
            "offset" if matches!(code, Code::ViewMessageById | Code::ConsumerSendMsgBack) => {
                &self.position
            }
            // The subscription is the request's.
            "sysFlag" if matches!(code, Code::PullMessage | Code::LitePullMessage) => "4",
            "topic" | "b" => "t",
            "consumerGroup" | "group" | "srcGroup" | "groupName" | "producerGroup"
            | "compareGroup" | "a" => "g",
            "destGroup" | "filterGroups" => "h",
            "defaultTopic" | "c" => "TBW102",
            "defaultTopicQueueNums" | "d" => "4",
            "queueId"
            | "e"
            | "queueOffset"
            | "offset"
            | "commitOffset"
            | "index"
            | "sysFlag"
            | "f"
            | "flag"
            | "h"
            | "reconsumeTimes"
            | "j"
            | "suspendTimeoutMillis"
            | "subVersion"
            | "delayLevel"
            | "topicSysFlag"
            | "groupSysFlag"
            | "beginTimestamp"
            | "chunk"
            | "from"
            | "needed"
            | "topicSeq"
            | "tranStateTableOffset"
            | "commitLogOffset"
            | "behind"
            | "groupSeq" => "0",
            // A rollback.
            "commitOrRollback" => "12",
            "bornTimestamp" | "g" | "timestamp" => "1",
            "endTimestamp" => "9223372036854775807",
            "properties" | "i" => "",
            "unitMode"
            | "k"
            | "batch"
            | "m"
            | "order"
            | "isOrder"
            | "isForce"
            | "cleanOffset"
            | "offline"
            | "lo"
            | "force"
            | "committed"
            | "jstackEnable"
            | "_UNIQUE_KEY_QUERY"
            | "fromTransactionCheck"
            | "parked" => "false",
            "readable" | "setZeroIfNotFound" => "true",
            "maxReconsumeTimes" | "l" => "16",
            "bname" | "n" | "brokerName" => "broker-a",
            "backup" => "1",
            "bytes" | "maxMsgNums" | "maxMsgBytes" | "maxNum" | "count" | "maxTopicNum"
            | "maxGroupNum" => "10",
            "readQueueNums" | "writeQueueNums" => "1",
            "perm" => "6",
            "topicFilterType" => "SINGLE_TAG",
            "attributes" | "dataVersion" | "lastKey" | "topicList" | "clientAddr"
            | "deadLetterReason" => "",
            "username" | "filter" | "subjectFilter" => "somebody",
            "subject" => "User:somebody",
            "policyType" => "CUSTOM",
            "resource" | "resourceFilter" => "Topic:t",
            "subscription" => "*",
            "expressionType" => "TAG",
            "requestSource" => "-1",
            "key" => "k",
            "indexType" => "K",
            "boundaryType" => "LOWER",
            "originTopic" => "t",
            "clientID" | "clientId" | "proxyFrowardClientId" => "client",
            "originMsgId" | "msgId" | "transactionId" => "7F00000100002A9F0000000000000000",
            "statsName" => "TOPIC_PUT_NUMS",
            "statsKey" => "t",
            "kind" => "switchover",
            "member" => "1",
            "acceptLoss" => "false",
            "request" => "7",
            // v1 t broker-a 1 k
            "recallHandle" => "djEgdCBicm9rZXItYSAxIGs=",
            other => panic!("{code}: no value of field {other} is listed"),
        }
    }

    /// A request with one value that is not good; without the field when there is none.
    fn request<'v>(
        &'v self,
        code: RequestCode,
        wrong: &str,
        value: Option<&'v str>,
    ) -> Vec<(&'static str, &'v str)> {
        let shapes = fields_of(code).unwrap_or_default().iter();
        let each = shapes.filter_map(|shape| {
            let text = if shape.name == wrong {
                value?
            } else {
                self.text(code, shape.name)
            };
            Some((shape.name, text))
        });
        each.collect()
    }

    async fn ask(
        &self,
        client: &Client,
        code: RequestCode,
        wrong: &str,
        value: Option<&str>,
    ) -> (i32, String) {
        let request = self.request(code, wrong, value);
        let answer = client
            .call(code, &request.as_slice(), self.body(code))
            .await;
        (answer.code(), remark(&answer))
    }
}

/// The codes that a broker does not answer with "not supported".
async fn served(client: &Client) -> Vec<RequestCode> {
    let mut served = Vec::new();
    for code in RequestCode::ALL {
        let none: [(&str, &str); 0] = [];
        let answer = client.call(*code, &none.as_slice(), b"").await;
        if answer.code() == 3 {
            // Refused once, by name, and with a code that no client tries again.
            assert!(remark(&answer).contains(code.name()), "{code}");
            continue;
        }
        assert!(fields_of(*code).is_some(), "{code} is served");
        served.push(*code);
    }
    served
}

/// Everything that a request could change.
pub(crate) async fn state(client: &Client) -> Vec<Vec<u8>> {
    let mut state = Vec::new();
    for code in [
        RequestCode::GetAllTopicConfig,
        RequestCode::GetAllSubscriptiongroupConfig,
        RequestCode::GetAllConsumerOffset,
        RequestCode::GetBrokerConfig,
        RequestCode::GetAllDelayOffset,
        RequestCode::GetAllProducerInfo,
    ] {
        let none: [(&str, &str); 0] = [];
        let answer = client.call(code, &none.as_slice(), b"").await;
        assert_eq!(answer.code(), 0, "{code}: {}", remark(&answer));
        state.push(answer.body().to_vec());
    }
    let stored = client.pull(&pull("t", 0, 0)).await;
    state.push(stored.bodies().concat().into_bytes());
    state
}

pub(crate) async fn prepared() -> (Rig, Client) {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("g", |_| {}).await;
    client.create_group("readers", |_| {}).await;
    client.put("t", "KEYS\u{1}k\u{2}", "only").await;
    (rig, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_is_guessed() {
    let (rig, client) = prepared().await;
    let good = Good::of(&client).await;
    let served = served(&client).await;
    let before = state(&client).await;
    let mut tried = 0;
    for code in served {
        for shape in fields_of(code).unwrap_or_default() {
            let wrong: &[&str] = match shape.kind {
                FieldKind::Text => &[],
                FieldKind::Int32 => &NO_INT32,
                FieldKind::Int64 => &NO_INT64,
                FieldKind::Truth => &NO_TRUTH,
            };
            for value in wrong {
                let (answer, text) = good.ask(&client, code, shape.name, Some(value)).await;
                let what = format!("{code} {}={value:?}: {answer} {text}", shape.name);
                assert_ne!(answer, 0, "{what}");
                let named = text.contains(&format!("field {} ", shape.name));
                assert!(named && text.contains(&format!("{value:?}")), "{what}");
                tried += 1;
            }
            if shape.is_required {
                let (answer, text) = good.ask(&client, code, shape.name, None).await;
                assert_ne!(answer, 0, "{code} without {}", shape.name);
                assert!(text.contains(shape.name), "{code}: {text}");
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "{tried}");
    assert_eq!(state(&client).await, before, "nothing changed");
    rig.stop().await;
}

const SENDS: &[RequestCode] = &[
    RequestCode::SendMessage,
    RequestCode::SendMessageV2,
    RequestCode::SendBatchMessage,
];
const REPLIES: &[RequestCode] = &[
    RequestCode::SendReplyMessage,
    RequestCode::SendReplyMessageV2,
];
const PULLS: &[RequestCode] = &[RequestCode::PullMessage, RequestCode::LitePullMessage];
const READS: &[RequestCode] = &[RequestCode::ReadBackupTables, RequestCode::ReadBackupLog];
const USER_CHANGES: &[RequestCode] = &[RequestCode::AuthCreateUser, RequestCode::AuthUpdateUser];
const USER_READS: &[RequestCode] = &[RequestCode::AuthDeleteUser, RequestCode::AuthGetUser];
const ACL_CHANGES: &[RequestCode] = &[RequestCode::AuthCreateAcl, RequestCode::AuthUpdateAcl];
const ALL: &[RequestCode] = &[];
const ANY: &[&str] = &[];
const NEGATIVE: &[&str] = &["-1", "-2147483648", "-9223372036854775808"];
const LARGE: &[&str] = &["2147483647", "9223372036854775807"];

/// Values of the right form that no good request has, and what they get where that is no refusal with name and value: as from
/// Apache RocketMQ, which takes them with this meaning. The first row that fits counts.
const MEANT: &[(&[RequestCode], &str, &[&str], i32)] = &[
    // The body is read first, and is nobody and no rule: `users.rs`.
    (USER_CHANGES, "username", ANY, 29),
    (ACL_CHANGES, "subject", ANY, 29),
    // No user has such a name, and none is listed.
    (USER_READS, "username", &["a b", "a\u{7}b", LONG], 0),
    (&[RequestCode::AuthListUser], "filter", ANY, 0),
    (&[RequestCode::AuthListAcl], "subjectFilter", ANY, 0),
    (&[RequestCode::AuthListAcl], "resourceFilter", ANY, 0),
    // Of every type, and for every resource; the user is not there.
    (&[RequestCode::AuthDeleteAcl], "policyType", &[""], 3_001),
    (&[RequestCode::AuthDeleteAcl], "resource", &[""], 3_001),
    // The message of the handle is not there.
    (&[RequestCode::RecallMessage], "producerGroup", ANY, 604),
    (&[RequestCode::RecallMessage], "bname", ANY, 604),
    // There is no such half message.
    (&[RequestCode::EndTransaction], "topic", ANY, 1),
    (&[RequestCode::EndTransaction], "producerGroup", ANY, 1),
    (
        &[RequestCode::EndTransaction],
        "tranStateTableOffset",
        ANY,
        1,
    ),
    (&[RequestCode::EndTransaction], "commitLogOffset", LARGE, 1),
    (&[RequestCode::EndTransaction], "transactionId", ANY, 1),
    (&[RequestCode::EndTransaction], "bname", ANY, 1),
    (&[RequestCode::ResumeCheckHalfMessage], "topic", ANY, 1),
    (&[RequestCode::GetTransactions], "behind", LARGE, 0),
    // Kept as they come, or not read at all.
    (SENDS, "producerGroup", ANY, 0),
    (&[RequestCode::UnregisterClient], "producerGroup", ANY, 0),
    (
        &[RequestCode::ConsumeMessageDirectly],
        "topicSysFlag",
        ANY,
        1,
    ),
    (ALL, "a", ANY, 0),
    (ALL, "defaultTopic", ANY, 0),
    (ALL, "c", ANY, 0),
    (ALL, "bname", ANY, 0),
    (ALL, "n", ANY, 0),
    (ALL, "flag", ANY, 0),
    (ALL, "h", ANY, 0),
    (ALL, "bornTimestamp", ANY, 0),
    (ALL, "g", ANY, 0),
    (ALL, "properties", ANY, 0),
    (ALL, "i", ANY, 0),
    (SENDS, "sysFlag", ANY, 0),
    (SENDS, "f", ANY, 0),
    (ALL, "topicSysFlag", ANY, 0),
    (ALL, "requestSource", ANY, 0),
    (ALL, "proxyFrowardClientId", ANY, 0),
    (ALL, "originMsgId", ANY, 0),
    (ALL, "originTopic", ANY, 0),
    (ALL, "deadLetterReason", ANY, 0),
    (ALL, "dataVersion", ANY, 0),
    (ALL, "lastKey", ANY, 0),
    (ALL, "clientID", ANY, 0),
    // There is no such copy, and one that has ended is no error.
    (READS, "chunk", LARGE, 22),
    (READS, "from", LARGE, 22),
    (READS, "needed", LARGE, 22),
    (READS, "bytes", LARGE, 22),
    (&[RequestCode::EndBackup], "backup", ANY, 0),
    // What an existing topic has counts.
    (ALL, "defaultTopicQueueNums", ANY, 0),
    (ALL, "d", ANY, 0),
    // The broker picks the queue.
    (SENDS, "queueId", NEGATIVE, 0),
    (SENDS, "e", NEGATIVE, 0),
    // Counts only in retry topics; a message that was tried that often is given up there.
    (&[RequestCode::SendBatchMessage], "j", ANY, 0),
    (SENDS, "reconsumeTimes", LARGE, 0),
    (SENDS, "j", LARGE, 0),
    (ALL, "maxReconsumeTimes", ANY, 0),
    (ALL, "l", ANY, 0),
    (ALL, "delayLevel", ANY, 0),
    // Outside of the queue: where to go on stands in the answer.
    (PULLS, "queueOffset", ANY, 21),
    // As few, as many and as long as the broker allows.
    (ALL, "maxMsgNums", ANY, 0),
    (ALL, "maxMsgBytes", ANY, 0),
    (ALL, "maxNum", ANY, 0),
    (ALL, "count", ANY, 0),
    (ALL, "suspendTimeoutMillis", ANY, 0),
    (ALL, "topicSeq", LARGE, 0),
    (ALL, "maxTopicNum", LARGE, 0),
    (ALL, "groupSeq", LARGE, 0),
    (ALL, "maxGroupNum", LARGE, 0),
    // Without the bit for its own subscription the group's counts, and it has no member.
    (PULLS, "sysFlag", &["-2147483648"], 24),
    // The bit for class filters.
    (PULLS, "sysFlag", ANY, 1),
    (ALL, "subVersion", ANY, 0),
    // Nothing has such a tag.
    (ALL, "subscription", &[""], 0),
    (ALL, "subscription", ANY, 20),
    (ALL, "expressionType", &[""], 0),
    // Stored only when a bit of the flags says so.
    (PULLS, "commitOffset", ANY, 0),
    // An offset that is ahead is kept: the group goes on at the end.
    (ALL, "commitOffset", LARGE, 0),
    // From the end.
    (ALL, "index", ANY, 0),
    // Times of any age; nothing was stored before or after some.
    (ALL, "timestamp", ANY, 0),
    (ALL, "boundaryType", ANY, 0),
    (ALL, "beginTimestamp", &["9223372036854775807"], 22),
    (ALL, "beginTimestamp", ANY, 0),
    (ALL, "endTimestamp", &["9223372036854775807"], 0),
    (ALL, "endTimestamp", ANY, 22),
    (&[RequestCode::QueryMessage], "topic", ANY, 22),
    (ALL, "key", ANY, 22),
    (ALL, "indexType", &[""], 0),
    (&[RequestCode::ViewMessageById], "topic", ANY, 0),
    (ALL, "topicFilterType", &[""], 0),
    (ALL, "attributes", &[""], 0),
    // All queues; by the time.
    (
        &[RequestCode::InvokeBrokerToResetOffset],
        "queueId",
        NEGATIVE,
        0,
    ),
    // None; by the time.
    (
        &[RequestCode::InvokeBrokerToResetOffset],
        "offset",
        &["-1"],
        0,
    ),
    // What nobody has is gone already, or has nothing.
    (
        &[RequestCode::DeleteTopicInBroker],
        "topic",
        &["a b", "a\u{7}b", LONG],
        0,
    ),
    (ALL, "groupName", ANY, 0),
    (ALL, "srcGroup", ANY, 0),
    (ALL, "filterGroups", ANY, 0),
    (ALL, "compareGroup", ANY, 0),
    (ALL, "topicList", ANY, 0),
    (
        &[
            RequestCode::QueryTopicConsumeByWho,
            RequestCode::QuerySubscriptionByConsumer,
            RequestCode::GetConsumeStats,
            RequestCode::CloneGroupOffset,
            RequestCode::UpdateAndGetGroupForbidden,
        ],
        "topic",
        ANY,
        0,
    ),
    (
        &[
            RequestCode::QueryConsumeTimeSpan,
            RequestCode::QueryTopicsByConsumer,
            RequestCode::QuerySubscriptionByConsumer,
        ],
        "group",
        ANY,
        0,
    ),
    (
        &[
            RequestCode::QueryConsumerOffset,
            RequestCode::GetConsumeStats,
            RequestCode::QueryConsumeQueue,
            RequestCode::UnregisterClient,
        ],
        "consumerGroup",
        ANY,
        0,
    ),
    // Nobody is online to be asked.
    (
        &[RequestCode::InvokeBrokerToGetConsumerStatus],
        "topic",
        ANY,
        206,
    ),
    // Any number that is short enough; the roles of this group are fixed.
    (ALL, "request", &["a b", "a\u{7}b"], 16),
    (ALL, "clientAddr", ANY, 206),
    (&[RequestCode::ConsumeMessageDirectly], "topic", ANY, 1),
    (ALL, "msgId", ANY, 1),
    (ALL, "brokerName", ANY, 1),
    (ALL, "groupSysFlag", ANY, 1),
    (ALL, "clientId", ANY, 1),
];

/// Whether a refusal names a field: by its name, or by the thing that it is of.
pub(crate) fn is_named(text: &str, field: &str) -> bool {
    let things = [
        "topic",
        "group",
        "queue",
        "offset",
        "perm",
        "client",
        "consumer",
        "attribute",
        "stats",
    ];
    // The one-letter names stand for the long ones.
    let short = fields_of(RequestCode::SendMessageV2).unwrap_or_default();
    let long = fields_of(RequestCode::SendMessage).unwrap_or_default();
    let field = short
        .iter()
        .position(|shape| shape.name == field)
        .map_or(field, |index| long[index].name);
    let lower = field.to_lowercase();
    let mut things = things.iter().filter(|thing| lower.contains(**thing));
    text.contains(field) || things.any(|thing| text.to_lowercase().contains(*thing))
}

/// Whether a refusal shows a value: as it is, escaped, cut, or by its length.
pub(crate) fn is_shown(text: &str, value: &str) -> bool {
    let shown: String = value.chars().take(32).collect();
    text.contains(&shown)
        || text.contains(&shown.escape_debug().to_string())
        || text.contains(&value.len().to_string())
}

fn meant(code: RequestCode, field: &str, value: &str) -> Option<i32> {
    if REPLIES.contains(&code) && !["topic", "b"].contains(&field) {
        // Nobody waits for the reply.
        return Some(1);
    }
    let meant = MEANT.iter().find(|(codes, name, values, _)| {
        (codes.is_empty() || codes.contains(&code))
            && *name == field
            && (values.is_empty() || values.contains(&value))
    });
    meant.map(|(_, _, _, answer)| *answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_out_of_their_range_are_refused_or_have_a_meaning() {
    let (rig, client) = prepared().await;
    let good = Good::of(&client).await;
    let served = served(&client).await;
    let before = state(&client).await;
    let mut wrong = Vec::new();
    let mut taken = Vec::new();
    for code in served {
        for shape in fields_of(code).unwrap_or_default() {
            let odd: &[&str] = match shape.kind {
                FieldKind::Text => &ODD_TEXTS,
                FieldKind::Int32 => &ODD_INTS[..3],
                FieldKind::Int64 => &ODD_INTS,
                FieldKind::Truth => &[],
            };
            for value in odd.iter().copied() {
                if let Some(answer) = meant(code, shape.name, value) {
                    taken.push((code, shape.name, value, answer));
                    continue;
                }
                let (answer, text) = good.ask(&client, code, shape.name, Some(value)).await;
                if answer == 0 || !is_named(&text, shape.name) || !is_shown(&text, value) {
                    let shown: String = value.chars().take(32).collect();
                    wrong.push(format!("{code} {}={shown:?}: {answer} {text}", shape.name));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(state(&client).await, before, "nothing changed");
    for (code, name, value, expected) in taken {
        let (answer, text) = good.ask(&client, code, name, Some(value)).await;
        if answer != expected {
            let shown: String = value.chars().take(32).collect();
            wrong.push(format!(
                "{code} {name}={shown:?}: {answer}, not {expected}: {text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.stop().await;
}
