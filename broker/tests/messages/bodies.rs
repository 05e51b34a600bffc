//! Every field of every JSON body that the broker reads, and every setting that can be changed: a value that is none is refused with
//! the field's name and the value; nothing changes by it, and the connection stays. The walk follows the bodies as they are written, and
//! the samples name every field, so a field that is added is tried. Budget: 5 s.

use std::collections::{BTreeMap, BTreeSet};

use rmq_protocol::bodies::{
    CheckClientConfigBody, ConsumeFromWhere, ConsumeType, ConsumerData, HeartbeatData, LockBatch,
    MessageModel, MessageQueue, ProducerData, SimpleSubscriptionData, SubscriptionData,
    SubscriptionGroupConfig, SubscriptionGroupList, TopicConfig, TopicConfigList, TopicFilterType,
};
use rmq_protocol::code::RequestCode;
use serde_json::{Value, json};

use crate::fields::{self, LONG, ODD_INTS};
use crate::support::{Client, remark};

fn subscription() -> SubscriptionData {
    SubscriptionData {
        class_filter_mode: false,
        code_set: vec![2_598_919],
        expression_type: "TAG".to_owned(),
        sub_string: "TagA".to_owned(),
        sub_version: 1,
        tags_set: vec!["TagA".to_owned()],
        topic: "t".to_owned(),
    }
}

fn heartbeat() -> HeartbeatData {
    HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            consume_from_where: ConsumeFromWhere::LastOffset,
            consume_type: ConsumeType::Passively,
            group_name: "g".to_owned(),
            message_model: MessageModel::Clustering,
            subscription_data_set: vec![subscription()],
            unit_mode: false,
        }],
        heartbeat_fingerprint: 1,
        producer_data_set: vec![ProducerData {
            group_name: "producers".to_owned(),
        }],
        without_sub: false,
    }
}

fn group() -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        attributes: BTreeMap::from([("priority.factor".to_owned(), "100".to_owned())]),
        broker_id: 0,
        consume_broadcast_enable: true,
        consume_enable: true,
        consume_from_min_enable: true,
        consume_message_orderly: false,
        consume_timeout_minute: 15,
        group_name: "g".to_owned(),
        group_retry_policy: json!({"type": "CUSTOMIZED"}).into(),
        group_sys_flag: 0,
        notify_consumer_ids_changed_enable: true,
        retry_max_times: 16,
        retry_queue_nums: 1,
        subscription_data_set: Some(vec![SimpleSubscriptionData {
            expression: "*".to_owned(),
            expression_type: "TAG".to_owned(),
            topic: "t".to_owned(),
            version: 1,
        }]),
        which_broker_when_consume_slowly: 1,
    }
}

fn topic() -> TopicConfig {
    TopicConfig {
        attributes: BTreeMap::from([("+message.type".to_owned(), "NORMAL".to_owned())]),
        order: false,
        perm: 6,
        read_queue_nums: 1,
        topic_filter_type: TopicFilterType::SingleTag,
        topic_name: "t".to_owned(),
        topic_sys_flag: 0,
        write_queue_nums: 1,
    }
}

/// A good body of each code that has one.
fn samples() -> Vec<(RequestCode, Value)> {
    let lock = LockBatch {
        client_id: "one".to_owned(),
        consumer_group: "g".to_owned(),
        mq_set: vec![MessageQueue {
            broker_name: "broker-a".to_owned(),
            queue_id: 0,
            topic: "t".to_owned(),
        }],
        only_this_broker: false,
    };
    let check = CheckClientConfigBody {
        client_id: "one".to_owned(),
        group: "g".to_owned(),
        namespace: Some("n".to_owned()),
        subscription_data: subscription(),
    };
    let groups = SubscriptionGroupList {
        group_config_list: vec![SubscriptionGroupConfig::new("first"), group()],
    };
    let topics = TopicConfigList {
        topic_config_list: vec![TopicConfig::new("first", 1), topic()],
    };
    let tree = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("strict JSON");
    vec![
        (RequestCode::HeartBeat, tree(heartbeat().to_json())),
        (RequestCode::CheckClientConfig, tree(check.to_json())),
        (RequestCode::LockBatchMq, tree(lock.to_json())),
        (RequestCode::UnlockBatchMq, tree(lock.to_json())),
        (
            RequestCode::UpdateAndCreateSubscriptiongroup,
            tree(group().to_json()),
        ),
        (
            RequestCode::UpdateAndCreateSubscriptiongroupList,
            tree(groups.to_json()),
        ),
        (
            RequestCode::UpdateAndCreateTopicList,
            tree(topics.to_json()),
        ),
    ]
}

/// Pointer to each value of a tree, but of lists only to the last item.
fn places(tree: &Value, at: &str, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.to_owned());
    }
    match tree {
        Value::Object(object) => {
            for (name, value) in object {
                self::places(value, &format!("{at}/{}", name.replace('/', "~1")), places);
            }
        }
        Value::Array(list) => {
            if let Some(last) = list.last() {
                self::places(last, &format!("{at}/{}", list.len() - 1), places);
            }
        }
        _ => {}
    }
}

/// Values of another kind than this one.
fn of_another_kind(value: &Value) -> Vec<Value> {
    let huge: Value = serde_json::from_str("99999999999999999999").expect("a number");
    match value {
        Value::Null => vec![],
        Value::Bool(_) => vec![json!("yes"), json!(1), json!(1.5), json!([]), json!({})],
        Value::Number(_) => {
            vec![
                json!("abc"),
                json!(1.5),
                huge,
                json!(true),
                json!([]),
                json!({}),
            ]
        }
        // No ordinal number of any enum either.
        Value::String(_) => vec![json!(77), json!(1.5), json!(true), json!([]), json!({})],
        Value::Array(_) => vec![json!("abc"), json!(5), json!(true), json!({})],
        Value::Object(_) => vec![json!("abc"), json!(5), json!(true), json!([])],
    }
}

/// Values of the same kind that no good body has.
fn odd(value: &Value) -> Vec<Value> {
    match value {
        Value::Number(_) => ODD_INTS
            .iter()
            .map(|number| serde_json::from_str(number).expect("a number"))
            .collect(),
        Value::String(_) => vec![json!(""), json!("a b"), json!(LONG)],
        _ => vec![],
    }
}

/// The field that a place is of: its name, or that of the list.
fn field_of(place: &str) -> &str {
    let mut names = place.rsplit('/');
    let name = names.find(|name| name.parse::<usize>().is_err());
    name.unwrap_or_default().trim_start_matches('+')
}

/// How a value stands in a refusal.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => String::new(),
        Value::Number(number) if number.as_u64().is_none() && number.as_i64().is_none() => {
            // Too large for any integer: read as a fraction.
            number.as_f64().map_or_else(String::new, |number| {
                if number > 1e18 {
                    String::new()
                } else {
                    number.to_string()
                }
            })
        }
        other => other
            .to_string()
            .trim_matches('"')
            .chars()
            .take(32)
            .collect(),
    }
}

async fn put(client: &Client, code: RequestCode, body: &Value) -> (i32, String) {
    let answer = client.call(code, &(), body.to_string().as_bytes()).await;
    (answer.code(), remark(&answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_is_guessed() {
    let (rig, client) = fields::prepared().await;
    let before = fields::state(&client).await;
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (code, body) in samples() {
        let mut all = Vec::new();
        places(&body, "", &mut all);
        for place in all {
            let values = body.pointer(&place).map(of_another_kind);
            for value in values.unwrap_or_default() {
                let mut changed = body.clone();
                *changed.pointer_mut(&place).expect("there") = value.clone();
                let (answer, text) = put(&client, code, &changed).await;
                tried += 1;
                if answer == 0 || !text.contains(field_of(&place)) || !text.contains(&shown(&value))
                {
                    wrong.push(format!("{code} {place}={value}: {answer} {text}"));
                }
            }
        }
        for text in ["", "[]", "5", "\"abc\"", "{", "null", "{\"a\"}"] {
            let answer = client.call(code, &(), text.as_bytes()).await;
            if answer.code() == 0 {
                wrong.push(format!("{code} {text:?} is taken"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 300, "{tried}");
    assert_eq!(fields::state(&client).await, before, "nothing changed");
    rig.stop().await;
}

const BEATS: &[RequestCode] = &[RequestCode::HeartBeat];
const CHECKS: &[RequestCode] = &[RequestCode::CheckClientConfig];
const LOCKS: &[RequestCode] = &[RequestCode::LockBatchMq, RequestCode::UnlockBatchMq];
const GROUPS: &[RequestCode] = &[
    RequestCode::UpdateAndCreateSubscriptiongroup,
    RequestCode::UpdateAndCreateSubscriptiongroupList,
];
const ALL: &[RequestCode] = &[];
const ANY: &[&str] = &[];
const NAMES: &[&str] = &["a b", "LLLLLLLLLLLLLLLLLLLLLLLLLLLLLLLL"];
const INT32: &[&str] = &["-1", "-2147483648", "2147483647"];
const LARGE: &[&str] = &["2147483647", "9223372036854775807"];

/// Fields whose odd values have a meaning, with the values, and what a body with them gets. The first row that fits counts.
const MEANT: &[(&[RequestCode], &str, &[&str], i32)] = &[
    // A client of any name; a group that cannot be is not connected, and its pulls are refused.
    (BEATS, "clientID", NAMES, 0),
    (BEATS, "groupName", ANY, 0),
    (BEATS, "expressionType", ANY, 0),
    (BEATS, "consumeFromWhere", &[""], 0),
    (BEATS, "consumeType", &[""], 0),
    (BEATS, "messageModel", &[""], 0),
    (BEATS, "heartbeatFingerprint", INT32, 0),
    (ALL, "codeSet", INT32, 0),
    (ALL, "subVersion", ANY, 0),
    (ALL, "subString", ANY, 0),
    (ALL, "tagsSet", ANY, 0),
    (ALL, "topic", ANY, 0),
    // Not read by a check.
    (CHECKS, "clientId", ANY, 0),
    (CHECKS, "group", ANY, 0),
    (CHECKS, "namespace", ANY, 0),
    (CHECKS, "expressionType", &[""], 0),
    (LOCKS, "clientId", NAMES, 0),
    (LOCKS, "consumerGroup", NAMES, 0),
    (LOCKS, "brokerName", ANY, 0),
    (LOCKS, "queueId", &["2147483647"], 0),
    (ALL, "brokerId", LARGE, 0),
    (ALL, "whichBrokerWhenConsumeSlowly", LARGE, 0),
    (ALL, "consumeTimeoutMinute", &["2147483647"], 0),
    (ALL, "groupSysFlag", INT32, 0),
    (ALL, "topicSysFlag", INT32, 0),
    // None and fewer: the first failure is the last.
    (ALL, "retryMaxTimes", INT32, 0),
    // Kept for proxies.
    (ALL, "version", ANY, 0),
    (GROUPS, "expression", ANY, 0),
    (GROUPS, "expressionType", ANY, 0),
    (ALL, "topicFilterType", &[""], 0),
];

fn meant(code: RequestCode, place: &str, value: &Value) -> Option<i32> {
    let text = shown(value);
    let meant = MEANT.iter().find(|(codes, name, values, _)| {
        (codes.is_empty() || codes.contains(&code))
            && *name == field_of(place)
            && (values.is_empty() || values.contains(&text.as_str()))
    });
    meant.map(|(_, _, _, answer)| *answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_values_are_refused_or_have_a_meaning() {
    let (rig, client) = fields::prepared().await;
    let before = fields::state(&client).await;
    let mut wrong = Vec::new();
    let mut taken = Vec::new();
    for (code, body) in samples() {
        let mut all = Vec::new();
        places(&body, "", &mut all);
        for place in all {
            let values = body.pointer(&place).map(odd);
            for value in values.unwrap_or_default() {
                let mut changed = body.clone();
                *changed.pointer_mut(&place).expect("there") = value.clone();
                if let Some(answer) = meant(code, &place, &value) {
                    taken.push((code, place.clone(), changed, answer));
                    continue;
                }
                let (answer, text) = put(&client, code, &changed).await;
                if answer == 0
                    || !fields::is_named(&text, field_of(&place))
                    || !fields::is_shown(&text, value.as_str().unwrap_or(&shown(&value)))
                {
                    wrong.push(format!("{code} {place}={}: {answer} {text}", shown(&value)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fields::state(&client).await, before, "nothing changed");
    for (code, place, body, expected) in taken {
        let (answer, text) = put(&client, code, &body).await;
        if answer != expected {
            wrong.push(format!("{code} {place}: {answer}, not {expected}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_understood_or_refused() {
    let (rig, client) = fields::prepared().await;
    let code = RequestCode::UpdateBrokerConfig;
    let answer = client.call(code, &(), b"noSuchSetting=1").await;
    let text = remark(&answer);
    let list = text
        .split_once("; while the broker runs, only ")
        .and_then(|(_, rest)| rest.split_once(" can be changed"))
        .map(|(list, _)| list)
        .expect("the settings that can be changed");
    let settings: BTreeSet<&str> = list.split(", ").chain(["keepBrokerPermission"]).collect();
    assert!(settings.len() > 5, "{list}");
    let before = fields::state(&client).await;
    for setting in settings {
        for value in [
            "",
            "abc",
            "-1",
            "1.5",
            "99999999999999999999",
            "0x6",
            "6 6",
            "TRUE ",
        ] {
            // One good setting before and after it: none of them is changed either.
            let body = format!("fileReservedTime=7\n{setting}={value}\nfileReservedTime=8\n");
            let answer = client.call(code, &(), body.as_bytes()).await;
            let text = remark(&answer);
            assert_eq!(answer.code(), 29, "{setting}={value}: {text}");
            assert!(
                text.contains(setting) && text.contains(&format!("{:?}", value.trim())),
                "{setting}={value}: {text}"
            );
        }
    }
    assert_eq!(fields::state(&client).await, before, "nothing changed");
    rig.stop().await;
}
