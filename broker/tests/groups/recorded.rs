//! Requests of real clients and tools, recorded in front of the original's broker: the same request gets an answer of the same shape.

use std::collections::BTreeSet;

use rmq_protocol::bodies::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq_protocol::code::RequestCode;
use serde_json::Value;

use crate::support::{Client, Rig, remark};

/// Codes that are replayed. What is missing here is either replayed elsewhere (sends, pulls) or speaks of a message or client
/// of the recording that cannot be brought back.
const CODES: &[i64] = &[
    15, 17, 18, 21, 26, 28, 29, 30, 31, 32, 34, 35, 41, 42, 43, 45, 200, 201, 202, 203, 207, 208,
    215, 225, 300, 303, 305, 306, 314, 316, 317, 328, 329, 343, 345, 351, 352, 907,
];

struct Recorded {
    line: usize,
    code: i64,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    answer_code: i64,
    answer_fields: BTreeSet<String>,
    answer_body: Option<Value>,
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Requests that were answered with success, whose bodies are whole.
fn recorded() -> Vec<Recorded> {
    let frames: Vec<Value> = include_str!("../../../protocol/testdata/frames.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a recorded frame"))
        .collect();
    let mut all = Vec::new();
    for (line, pair) in frames.windows(2).enumerate() {
        let [request, answer] = pair else { continue };
        let code = request["code"].as_i64().unwrap_or_default();
        let is_pair = request["direction"] == "request"
            && answer["direction"] == "response"
            && answer["request"] == request["code"];
        if !is_pair || !CODES.contains(&code) || answer["code"] != 0 {
            continue;
        }
        let fields = request["header"]["extFields"].as_object();
        all.push(Recorded {
            line: line + 1,
            code,
            fields: fields
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), text_of(value)))
                .collect(),
            body: request["text"]
                .as_str()
                .unwrap_or_default()
                .as_bytes()
                .to_vec(),
            answer_code: answer["code"].as_i64().unwrap_or_default(),
            answer_fields: answer["header"]["extFields"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect(),
            // Bodies with objects as keys are not JSON; their readers are tested in the protocol crate.
            answer_body: answer["text"]
                .as_str()
                .and_then(|text| serde_json::from_str(text).ok()),
        });
    }
    all
}

impl Recorded {
    fn field(&self, names: &[&str]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.fields.iter().find(|(key, _)| key == name))
            .map(|(_, value)| value.as_str())
    }
}

/// The topics, groups and clients that the request speaks of.
async fn prepare(client: &Client, request: &Recorded) {
    let topic = request.field(&["topic"]).filter(|topic| !topic.is_empty());
    if let Some(topic) = topic
        && !rmq_protocol::names::is_system_topic(topic)
        && request.code != 17
    {
        client.create_topic(topic, 16, 6).await;
    }
    let group = request.field(&["consumerGroup", "group", "groupName", "srcGroup"]);
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        client.create_group(group, |_| {}).await;
        let data = HeartbeatData {
            client_id: "recorded".to_owned(),
            consumer_data_set: vec![ConsumerData {
                group_name: group.to_owned(),
                subscription_data_set: vec![SubscriptionData::tags(topic.unwrap_or("t"), "*", 1)],
                ..ConsumerData::default()
            }],
            ..HeartbeatData::default()
        };
        assert_eq!(
            client
                .call(RequestCode::HeartBeat, &(), &data.to_json())
                .await
                .code(),
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests_are_answered_in_the_same_shape() {
    let rig = Rig::start().await;
    let client = rig.client();
    let requests = recorded();
    let codes: BTreeSet<i64> = requests.iter().map(|request| request.code).collect();
    assert!(
        requests.len() >= 60 && codes.len() >= 25,
        "{} requests of {} codes",
        requests.len(),
        codes.len()
    );
    let mut problems = Vec::new();
    for request in &requests {
        prepare(&client, request).await;
        let code = RequestCode::from_i32(request.code as i32).expect("a known code");
        let answer = client.call(code, &request.fields, &request.body).await;
        let at = format!("line {} {code}", request.line);
        if i64::from(answer.code()) != request.answer_code {
            problems.push(format!(
                "{at}: code {} ({}) instead of {}",
                answer.code(),
                remark(&answer),
                request.answer_code
            ));
            continue;
        }
        let header = answer.header();
        let fields: BTreeSet<String> = header
            .fields
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect();
        if fields != request.answer_fields {
            problems.push(format!(
                "{at}: fields {fields:?} instead of {:?}",
                request.answer_fields
            ));
        }
        if let Some(Value::Object(expected)) = &request.answer_body {
            match serde_json::from_slice::<Value>(answer.body()) {
                Ok(Value::Object(ours)) => {
                    for key in expected.keys().filter(|key| !ours.contains_key(*key)) {
                        problems.push(format!("{at}: the body has no {key}"));
                    }
                }
                // Ours has something in a table that was empty in the recording.
                _ if String::from_utf8_lossy(answer.body()).contains("{{") => {}
                _ => problems.push(format!(
                    "{at}: the body is no object: {}",
                    String::from_utf8_lossy(answer.body())
                )),
            }
        }
    }
    assert!(
        problems.is_empty(),
        "{} of {} differ:\n{}",
        problems.len(),
        requests.len(),
        problems.join("\n")
    );
    rig.stop().await;
}
