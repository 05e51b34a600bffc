//! Requests of real clients, recorded in front of the original's broker: the same bytes get an equivalent answer here.

use std::collections::BTreeSet;

use rmq_protocol::bodies::{ConsumerData, HeartbeatData, MessageModel, SubscriptionData};
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::Header;
use rmq_protocol::message::RecordView;
use rmq_protocol::message::batch::{self, BatchEntry};
use rmq_protocol::requests::{PullMessage, Request as _, SendMessage};
use rmq_protocol::route::perm;
use rmq_protocol::{FrameLimits, HeaderEncoding, Split, split};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Client, Rig, message};

struct Exchange {
    line: usize,
    code: i32,
    encoding: HeaderEncoding,
    header: Vec<u8>,
    body: Option<Vec<u8>>,
    answer: Value,
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

/// Requests with these codes that were answered.
fn recorded(codes: &[i64]) -> Vec<Exchange> {
    let frames: Vec<Value> = include_str!("../../../protocol/testdata/frames.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a recorded frame"))
        .collect();
    let mut exchanges = Vec::new();
    for (line, pair) in frames.windows(2).enumerate() {
        let [request, answer] = pair else { continue };
        let wanted =
            request["direction"] == "request" && codes.iter().any(|code| request["code"] == *code);
        if !wanted || answer["direction"] != "response" {
            continue;
        }
        let binary = request["encoding"] == "binary";
        exchanges.push(Exchange {
            line: line + 1,
            code: request["code"].as_i64().expect("a code") as i32,
            encoding: if binary {
                HeaderEncoding::Binary
            } else {
                HeaderEncoding::Json
            },
            header: if binary {
                unhex(request["hex"].as_str().expect("hex"))
            } else {
                request["header"].to_string().into_bytes()
            },
            body: request["text"]
                .as_str()
                .map(|text| text.as_bytes().to_vec()),
            answer: answer.clone(),
        });
    }
    exchanges
}

fn frame(encoding: HeaderEncoding, header: &[u8], body: &[u8]) -> Vec<u8> {
    let kind: u32 = match encoding {
        HeaderEncoding::Json => 0,
        HeaderEncoding::Binary => 1,
    };
    let mut out = Vec::new();
    out.extend_from_slice(&((4 + header.len() + body.len()) as u32).to_be_bytes());
    out.extend_from_slice(&(kind << 24 | header.len() as u32).to_be_bytes());
    out.extend_from_slice(header);
    out.extend_from_slice(body);
    out
}

/// What is compared of an answer.
#[derive(Debug)]
struct Answered {
    encoding: HeaderEncoding,
    code: i32,
    opaque: i32,
    remark: Option<String>,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

async fn ask(stream: &mut TcpStream, bytes: &[u8]) -> Answered {
    stream.write_all(bytes).await.expect("written");
    let mut read = Vec::new();
    loop {
        if let Split::Frame { frame, .. } = split(&read, &FrameLimits::default()).expect("a frame")
        {
            let header = Header::decode(frame.encoding, frame.header, &FrameLimits::default())
                .expect("a header");
            assert!(header.is_response());
            return Answered {
                encoding: frame.encoding,
                code: header.code,
                opaque: header.opaque,
                remark: header
                    .remark
                    .as_ref()
                    .map(|remark| remark.to_cow().into_owned()),
                fields: header
                    .fields
                    .iter()
                    .map(|(key, value)| (key.to_owned(), value.to_cow().into_owned()))
                    .collect(),
                body: frame.body.to_vec(),
            };
        }
        assert!(
            stream.read_buf(&mut read).await.expect("read") > 0,
            "the broker closed the connection"
        );
    }
}

fn keys(answer: &Value) -> BTreeSet<String> {
    answer["header"]["extFields"]
        .as_object()
        .map(|fields| fields.keys().cloned().collect())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_sends_are_answered_alike() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.broker.addr())
        .await
        .expect("connects");
    let exchanges = recorded(&[10, 310, 320]);
    assert!(exchanges.len() >= 12, "{}", exchanges.len());
    for exchange in exchanges {
        let line = exchange.line;
        let header = Header::decode(exchange.encoding, &exchange.header, &FrameLimits::default())
            .expect("a header");
        let code = RequestCode::from_i32(exchange.code).expect("a known code");
        // Long bodies were cut in the recording: made anew, as long as they were.
        let expected = exchange.answer["code"].as_i64().expect("a code") as i32;
        let ids = exchange.answer["header"]["extFields"]["msgId"]
            .as_str()
            .map_or(0, |ids| ids.split(',').count());
        let body = match (code, expected) {
            (RequestCode::SendBatchMessage, _) => {
                let mut body = Vec::new();
                for _ in 0..ids {
                    batch::encode(
                        &BatchEntry {
                            flag: 0,
                            body: b"m",
                            properties: "TAGS\u{1}A\u{2}",
                        },
                        &mut body,
                    )
                    .expect("valid");
                }
                body
            }
            (_, 13) => vec![b'x'; (4 << 20) + 1],
            _ => exchange.body.clone().unwrap_or_else(|| b"x".to_vec()),
        };
        let answered = ask(
            &mut stream,
            &frame(exchange.encoding, &exchange.header, &body),
        )
        .await;
        assert_eq!(answered.code, expected, "line {line}: {answered:?}");
        assert_eq!(
            (answered.opaque, answered.encoding),
            (header.opaque, exchange.encoding),
            "line {line}"
        );
        if expected != 0 {
            continue;
        }
        let field = |name: &str| {
            answered
                .fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let names: BTreeSet<String> = answered.fields.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(names, keys(&exchange.answer), "line {line}");
        assert_eq!(
            field("msgId").map(|found| found.split(',').filter(|id| id.len() == 32).count()),
            Some(ids),
            "line {line}"
        );
        let send = SendMessage::decode(code, &header.fields).expect("a send");
        assert_eq!(
            field("queueId"),
            Some(send.queue_id.to_string().as_str()),
            "line {line}"
        );
        if send.properties.to_cow().contains("UNIQ_KEY") {
            assert_eq!(
                field("transactionId"),
                exchange.answer["header"]["extFields"]["transactionId"].as_str(),
                "line {line}"
            );
        }
        for same in ["MSG_REGION", "TRACE_ON"] {
            assert_eq!(
                field(same),
                exchange.answer["header"]["extFields"][same].as_str(),
                "line {line}"
            );
        }
    }
    rig.stop().await;
}

/// Brings the broker into the state that the recorded answer speaks of.
async fn prepare(client: &Client, request: &PullMessage<'_>, answer: &Value) {
    let (topic, group) = (&*request.topic, &*request.consumer_group);
    let remark = answer["header"]["remark"].as_str().unwrap_or_default();
    let code = answer["code"].as_i64().expect("a code");
    if code == 17 {
        return;
    }
    client
        .create_topic(topic, request.queue_id + 1, perm::READ | perm::WRITE)
        .await;
    client
        .create_group(group, |config| {
            config.consume_enable = !remark.contains("subscription group no permission");
            config.consume_broadcast_enable = !remark.contains("broadcast");
        })
        .await;
    let model = if remark.contains("broadcast") {
        MessageModel::Broadcasting
    } else {
        MessageModel::Clustering
    };
    let beat = HeartbeatData {
        client_id: "recorded".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            message_model: model,
            subscription_data_set: vec![SubscriptionData::tags(topic, "*", request.sub_version)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    assert_eq!(
        client
            .call(RequestCode::HeartBeat, &(), &beat.to_json())
            .await
            .code(),
        0
    );
    let held = answer["header"]["extFields"]["maxOffset"]
        .as_str()
        .map_or(0, |max| max.parse::<i64>().expect("a number"));
    let wanted = request
        .subscription
        .as_deref()
        .filter(|tags| !tags.is_empty() && *tags != "*");
    let tag = if code == 0 {
        wanted.unwrap_or("any")
    } else {
        "unwanted"
    };
    for _ in 0..held {
        client
            .send(
                &message(topic, request.queue_id, &format!("TAGS\u{1}{tag}\u{2}")),
                b"m",
            )
            .await
            .expect("stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_pulls_are_answered_alike() {
    let rig = Rig::start().await;
    let client = rig.client();
    let mut stream = TcpStream::connect(rig.broker.addr())
        .await
        .expect("connects");
    let exchanges = recorded(&[11, 361]);
    assert!(exchanges.len() >= 10, "{}", exchanges.len());
    for exchange in exchanges {
        let line = exchange.line;
        let header = Header::decode(exchange.encoding, &exchange.header, &FrameLimits::default())
            .expect("a header");
        let request = PullMessage::decode(&header.fields).expect("a pull");
        prepare(&client, &request, &exchange.answer).await;
        let answered = ask(
            &mut stream,
            &frame(exchange.encoding, &exchange.header, &[]),
        )
        .await;
        let expected = &exchange.answer["header"];
        assert_eq!(
            i64::from(answered.code),
            exchange.answer["code"].as_i64().expect("a code"),
            "line {line}: {answered:?}"
        );
        let words = expected["remark"]
            .as_str()
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        assert!(
            answered
                .remark
                .as_deref()
                .unwrap_or_default()
                .starts_with(words.trim()),
            "line {line}: {words} and {answered:?}"
        );
        let names: BTreeSet<String> = answered.fields.iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(names, keys(&exchange.answer), "line {line}");
        for (name, value) in &answered.fields {
            assert_eq!(
                Some(value.as_str()),
                expected["extFields"][name].as_str(),
                "line {line}: {name}"
            );
        }
        if answered.code == 0 {
            let records = RecordView::iter(&answered.body)
                .filter(|record| record.is_ok())
                .count();
            let from = request.queue_offset;
            let next = answered
                .fields
                .iter()
                .find(|(key, _)| key == "nextBeginOffset")
                .map(|(_, next)| next.parse::<i64>().expect("a number"));
            assert_eq!(next, Some(from + records as i64), "line {line}");
        }
    }
    rig.stop().await;
}
