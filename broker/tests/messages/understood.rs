//! What a message or a request says is understood or refused with its name and value, never guessed. Budget: 3 s.

use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{batch, batch::BatchEntry, property};
use rmq_protocol::requests::SendMessage;

use crate::support::{Client, Rig, message, pull, remark};

/// Texts that are no whole number of 32 bits.
const NO_NUMBERS: [&str; 10] = [
    "",
    "abc",
    "1.5",
    " 1 ",
    "2147483648",
    "-2147483649",
    "0x1",
    "1e3",
    "--1",
    "١",
];

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_understood_or_refused() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    let mut refused: Vec<(&str, &str, &str)> = NO_NUMBERS
        .iter()
        .map(|value| (property::DELAY, *value, *value))
        .collect();
    for value in ["yes", "1", " true", "true ", "truee"] {
        refused.push((property::TRAN_MSG, value, value));
    }
    for value in ["true", "TRUE", "True"] {
        refused.push((property::TRAN_MSG, value, "transactional"));
    }
    for name in [
        property::TIMER_DELAY_SEC,
        property::TIMER_DELAY_MS,
        property::TIMER_DELIVER_MS,
    ] {
        for value in ["5", "abc", "-1", "1.5", "0"] {
            refused.push((name, value, "delay level"));
        }
    }
    refused.push((property::REPLY_TO_CLIENT, "client@1", "reply"));
    for (name, value, says) in refused {
        let properties = format!("{name}\u{1}{value}\u{2}");
        let answer = client
            .send(&message("t", 0, &properties), b"x")
            .await
            .expect_err(&properties);
        // Not 1, 2, 14 or 16: Java producers would try three times.
        assert_eq!(answer.code, 13, "{properties}: {answer:?}");
        assert!(
            answer.remark.contains(name) && answer.remark.contains(says),
            "{properties}: {answer:?}"
        );
        // The same as a member of a batch.
        let mut body = Vec::new();
        let entry = BatchEntry {
            flag: 0,
            body: b"x",
            properties: &properties,
        };
        batch::encode(&entry, &mut body).expect("valid");
        let request = SendMessage {
            batch: true,
            ..message("t", 0, "")
        };
        let code = RequestCode::SendBatchMessage;
        let answer = client.call(code, &request, &body).await;
        assert_eq!(answer.code(), 13, "{properties}: {}", remark(&answer));
    }
    assert_eq!(client.pull(&pull("t", 0, 0)).await.code, 19, "none stored");

    // What real clients send, and what the broker does not act on.
    let taken = [
        (property::DELAY, "0"),
        (property::DELAY, "-1"),
        (property::DELAY, "-2147483648"),
        (property::DELAY, "+0"),
        (property::TRAN_MSG, "false"),
        (property::TRAN_MSG, "FALSE"),
        (property::WAIT, "maybe"),
        (property::MSG_TYPE, "anything"),
        (property::RECONSUME_TIME, "x"),
        (property::MAX_RECONSUME_TIMES, "1.5"),
        (property::INSTANCE_ID, " "),
        (property::CLUSTER, "elsewhere"),
        (property::REAL_QID, "abc"),
        (property::DELAY_STAMP, "1,2,3"),
        (property::UNIQ_KEY, " "),
    ];
    for (name, value) in taken {
        client
            .put("t", &format!("{name}\u{1}{value}\u{2}"), name)
            .await;
    }
    let pulled = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(pulled.records.len(), taken.len());
    // The broker's own are the broker's.
    for record in &pulled.records {
        assert_eq!(record.property(property::DELAY_STAMP), None);
        assert_eq!(record.property(property::CLUSTER), Some("DefaultCluster"));
    }
    // A level beyond the last is the last.
    client.put("t", "DELAY\u{1}2147483647\u{2}", "late").await;
    let parked = client.pull(&pull("SCHEDULE_TOPIC_XXXX", 17, 0)).await;
    assert_eq!(parked.bodies(), ["late"]);
    rig.stop().await;
}

/// A request with all fields that the broker reads, and which of them are numbers or truths.
struct Fields {
    code: RequestCode,
    fields: Vec<(&'static str, &'static str)>,
}

fn requests() -> Vec<Fields> {
    let of = |code, fields: &[(&'static str, &'static str)]| Fields {
        code,
        fields: fields.to_vec(),
    };
    let queue = [("topic", "t"), ("queueId", "0")];
    vec![
        of(
            RequestCode::SendMessage,
            &[
                ("producerGroup", "p"),
                ("topic", "t"),
                ("defaultTopic", "TBW102"),
                ("defaultTopicQueueNums", "4"),
                ("queueId", "0"),
                ("sysFlag", "0"),
                ("bornTimestamp", "1"),
                ("flag", "0"),
                ("properties", ""),
                ("reconsumeTimes", "0"),
                ("unitMode", "false"),
                ("maxReconsumeTimes", "16"),
                ("batch", "false"),
            ],
        ),
        of(
            RequestCode::SendMessageV2,
            &[
                ("a", "p"),
                ("b", "t"),
                ("c", "TBW102"),
                ("d", "4"),
                ("e", "0"),
                ("f", "0"),
                ("g", "1"),
                ("h", "0"),
                ("i", ""),
                ("j", "0"),
                ("k", "false"),
                ("l", "16"),
                ("m", "false"),
            ],
        ),
        of(
            RequestCode::PullMessage,
            &[
                ("consumerGroup", "g"),
                ("topic", "t"),
                ("queueId", "0"),
                ("queueOffset", "0"),
                ("maxMsgNums", "1"),
                ("sysFlag", "4"),
                ("commitOffset", "0"),
                ("suspendTimeoutMillis", "0"),
                ("subscription", "*"),
                ("subVersion", "0"),
                ("expressionType", "TAG"),
                ("maxMsgBytes", "100"),
            ],
        ),
        of(
            RequestCode::ConsumerSendMsgBack,
            &[
                ("offset", "0"),
                ("group", "g"),
                ("delayLevel", "0"),
                ("unitMode", "false"),
                ("maxReconsumeTimes", "16"),
            ],
        ),
        of(
            RequestCode::QueryConsumerOffset,
            &[
                ("consumerGroup", "g"),
                ("topic", "t"),
                ("queueId", "0"),
                ("setZeroIfNotFound", "true"),
            ],
        ),
        of(
            RequestCode::UpdateConsumerOffset,
            &[
                ("consumerGroup", "g"),
                ("topic", "t"),
                ("queueId", "0"),
                ("commitOffset", "0"),
            ],
        ),
        of(RequestCode::GetMaxOffset, &queue),
        of(RequestCode::GetMinOffset, &queue),
        of(RequestCode::GetEarliestMsgStoretime, &queue),
        of(
            RequestCode::SearchOffsetByTimestamp,
            &[("topic", "t"), ("queueId", "0"), ("timestamp", "0")],
        ),
        of(
            RequestCode::QueryMessage,
            &[
                ("topic", "t"),
                ("key", "k"),
                ("maxNum", "1"),
                ("beginTimestamp", "0"),
                ("endTimestamp", "1"),
            ],
        ),
        of(RequestCode::ViewMessageById, &[("offset", "0")]),
    ]
}

async fn ask(
    client: &Client,
    code: RequestCode,
    fields: &[(&str, &str)],
) -> rmq_transport::OwnedFrame {
    client.call(code, &fields, b"x").await
}

#[tokio::test(flavor = "multi_thread")]
async fn header_fields_are_understood_or_refused() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("g", |_| {}).await;
    client.put("t", "KEYS\u{1}k\u{2}", "only").await;
    let mut tried = 0;
    for request in requests() {
        for (index, (name, good)) in request.fields.iter().enumerate() {
            let is_number = good.parse::<i64>().is_ok();
            let is_truth = good.parse::<bool>().is_ok();
            if !is_number && !is_truth {
                continue;
            }
            for wrong in [
                "abc",
                "",
                "1.5",
                " 1 ",
                "99999999999999999999",
                "0x1",
                "yes",
            ] {
                // Old clients write a truth that is not set as an empty text.
                if is_truth && wrong.is_empty() {
                    continue;
                }
                let mut fields = request.fields.clone();
                fields[index].1 = wrong;
                let answer = ask(&client, request.code, &fields).await;
                let what = format!("{} {name}={wrong:?}", request.code.name());
                assert_ne!(answer.code(), 0, "{what}");
                let text = remark(&answer);
                assert!(
                    text.contains(name) && text.contains(&format!("{wrong:?}")),
                    "{what}: {text}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
    let pulled = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["only"], "none of them was stored");
    rig.stop().await;
}

/// A field of a request, a number that it may have by its form, and the code that it leads to.
const OUT_OF_RANGE: [(RequestCode, &str, &str, i32); 20] = [
    (RequestCode::SendMessage, "queueId", "1", 29),
    (RequestCode::SendMessage, "queueId", "2147483647", 29),
    // The broker picks.
    (RequestCode::SendMessage, "queueId", "-1", 0),
    (RequestCode::SendMessage, "reconsumeTimes", "-1", 13),
    (RequestCode::SendMessage, "defaultTopicQueueNums", "-5", 0),
    (RequestCode::PullMessage, "queueId", "-1", 29),
    (RequestCode::PullMessage, "queueId", "1", 29),
    (RequestCode::PullMessage, "queueOffset", "-1", 21),
    (
        RequestCode::PullMessage,
        "queueOffset",
        "-9223372036854775808",
        21,
    ),
    (
        RequestCode::PullMessage,
        "queueOffset",
        "9223372036854775807",
        21,
    ),
    // Waits no longer than the broker's longest, and not at all for a negative time.
    (
        RequestCode::PullMessage,
        "suspendTimeoutMillis",
        "-9223372036854775808",
        0,
    ),
    (
        RequestCode::PullMessage,
        "suspendTimeoutMillis",
        "9223372036854775807",
        0,
    ),
    (RequestCode::ConsumerSendMsgBack, "offset", "-1", 1),
    (
        RequestCode::ConsumerSendMsgBack,
        "offset",
        "9223372036854775807",
        1,
    ),
    (RequestCode::UpdateConsumerOffset, "commitOffset", "-1", 1),
    (RequestCode::UpdateConsumerOffset, "queueId", "-1", 29),
    (RequestCode::GetMaxOffset, "queueId", "-1", 29),
    (RequestCode::GetMinOffset, "queueId", "7", 29),
    (RequestCode::SearchOffsetByTimestamp, "queueId", "-1", 29),
    (RequestCode::ViewMessageById, "offset", "-1", 1),
];

#[tokio::test(flavor = "multi_thread")]
async fn numbers_out_of_their_range_have_their_code() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    client.create_group("g", |_| {}).await;
    client.put("t", "KEYS\u{1}k\u{2}", "only").await;
    for (code, name, value, expected) in OUT_OF_RANGE {
        let request = requests()
            .into_iter()
            .find(|request| request.code == code)
            .expect("listed");
        let mut fields = request.fields;
        for field in &mut fields {
            if field.0 == name {
                field.1 = value;
            }
        }
        let answer = ask(&client, code, &fields).await;
        let what = format!("{} {name}={value}: {}", code.name(), remark(&answer));
        assert_eq!(answer.code(), expected, "{what}");
        if expected == 13 {
            assert!(remark(&answer).contains(name) && remark(&answer).contains(value));
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_that_are_not_there_are_refused_at_the_first_request() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for code in [
        RequestCode::PopMessage,
        RequestCode::AckMessage,
        RequestCode::ChangeMessageInvisibletime,
        RequestCode::QueryAssignment,
        RequestCode::SendReplyMessage,
        RequestCode::SendReplyMessageV2,
        RequestCode::RecallMessage,
        RequestCode::EndTransaction,
    ] {
        let answer = client.call(code, &(), &[]).await;
        let text = remark(&answer);
        assert_eq!(answer.code(), 3, "{}: {text}", code.name());
        assert!(text.contains(code.name()), "{text}");
    }
    // A filter by properties: when a consumer starts (46), and at each pull.
    let mut request = pull("t", 0, 0);
    request.expression_type = Some("SQL92".into());
    request.subscription = Some("a > 1".into());
    let pulled = client.pull(&request).await;
    assert_eq!(pulled.code, 1);
    assert!(pulled.remark.contains("SQL92"), "{}", pulled.remark);
    let check = br#"{"clientId":"c","group":"g","subscriptionData":{"topic":"t","subString":"a > 1","expressionType":"SQL92","subVersion":1}}"#;
    let answer = client
        .call(RequestCode::CheckClientConfig, &(), check)
        .await;
    assert_eq!(answer.code(), 1);
    assert!(remark(&answer).contains("SQL92"), "{}", remark(&answer));
    rig.stop().await;
}
