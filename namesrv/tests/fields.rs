//! Every header field and every JSON field that the name server reads: a text that is no value of the field, or a value of another kind,
//! is refused with the field's name and the value; nothing changes by it, and the connection stays. The walk follows
//! `rmq_protocol::requests::fields_of` and the bodies as they are written, so a field that is added is tried. Budget: 3 s.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use rmq_namesrv::RunningNameServer;
use rmq_protocol::bodies::{
    DataVersion, RegisterBrokerBody, TopicConfig, TopicConfigTable, TopicFilterType,
    parse_properties,
};
use rmq_protocol::requests::{FieldKind, FieldShape, fields_of};
use rmq_protocol::route::{BrokerData, QueueData, TopicRoute};
use rmq_protocol::{FieldSource, RequestCode};
use rmq_transport::{Caller, OwnedFrame};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(10);
const NO_NUMBERS: [&str; 9] = [
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
const NO_TRUTHS: [&str; 5] = ["abc", "2", "yes", " true", "truee"];

/// A value that a request may have there.
fn good(code: RequestCode, field: &str) -> &'static str {
    match field {
        "topic" => "t",
        "brokerName" => "a",
        "clusterName" | "cluster" => "c",
        "brokerAddr" => "1.1.1.1:1",
        "haServerAddr" => "1.1.1.1:2",
        "brokerId" | "bodyCrc32" | "epoch" | "maxOffset" | "confirmOffset" | "electionPriority" => {
            "0"
        }
        "heartbeatTimeoutMillis" | "heartbeatTimeoutMills" => "60000",
        "masterEpoch" => "1",
        "enableActingMaster" | "compressed" | "acceptStandardJsonOnly" => "false",
        "__ZONE_NAME" => "z",
        "namespace" => "n",
        "key" => "k",
        "value" => "v",
        other => panic!("{code}: no value of field {other} is listed"),
    }
}

/// Numbers that are of a field's type and that it cannot mean.
fn out_of_range(code: RequestCode, field: &str) -> &'static [&'static str] {
    match (code, field) {
        (_, "brokerId") => &["-2", "-9223372036854775808"],
        (_, "masterEpoch") => &["0", "-1", "-9223372036854775808"],
        (RequestCode::RegisterBroker, "heartbeatTimeoutMillis") => {
            &["-1", "3600001", "9223372036854775807"]
        }
        // Another sum than the body has.
        (RequestCode::RegisterBroker, "bodyCrc32") => &["-1", "1", "2147483647"],
        // Nothing here reads what these say.
        (
            RequestCode::BrokerHeartbeat,
            "epoch" | "electionPriority" | "maxOffset" | "confirmOffset" | "heartbeatTimeoutMills",
        ) => &[],
        _ => panic!("{code}: no bounds of field {field} are listed"),
    }
}

/// Texts that a field's text cannot be: an empty one where a name is meant, and one that is too long.
fn no_texts(code: RequestCode, field: &str) -> Vec<String> {
    let long = "x".repeat(70_000);
    match (code, field) {
        (RequestCode::RegisterBroker, "haServerAddr" | "__ZONE_NAME") => vec![long],
        // A value may be empty, and has only the bound of all settings together.
        (RequestCode::PutKvConfig, "value") => vec![],
        (RequestCode::PutKvConfig, _) => vec![String::new()],
        // Not read, as in the original.
        (RequestCode::UnregisterBroker, "clusterName") => vec![],
        // Without one it is every cluster.
        (RequestCode::DeleteTopicInNamesrv, "clusterName") => vec![long],
        _ => vec![String::new(), long],
    }
}

struct Client(Caller);

impl Client {
    async fn call(
        &self,
        code: RequestCode,
        fields: &(dyn FieldSource + Sync),
        body: &[u8],
    ) -> OwnedFrame {
        let called = self.0.call(code.as_i32(), fields, body, WAIT);
        called.await.expect("an answer")
    }

    /// Everything that a request could change.
    async fn state(&self) -> Vec<Vec<u8>> {
        let mut state = Vec::new();
        let asked: [(RequestCode, &[(&str, &str)]); 6] = [
            (RequestCode::GetBrokerClusterInfo, &[]),
            (RequestCode::GetAllTopicListFromNameserver, &[]),
            (RequestCode::GetRouteinfoByTopic, &[("topic", "t")]),
            (RequestCode::GetKvlistByNamespace, &[("namespace", "n")]),
            (RequestCode::GetNamesrvConfig, &[]),
            (
                RequestCode::GetBrokerMemberGroup,
                &[("clusterName", "c"), ("brokerName", "a")],
            ),
        ];
        for (code, fields) in asked {
            let answer = self.call(code, &fields, b"").await;
            assert_eq!(answer.code(), 0, "{code}: {}", remark(&answer));
            state.push(answer.body().to_vec());
        }
        state
    }
}

fn remark(frame: &OwnedFrame) -> String {
    let header = frame.header();
    let remark = header.remark.as_ref();
    remark.map_or_else(String::new, |remark| remark.to_cow().into_owned())
}

fn fields<'v>(
    code: RequestCode,
    shapes: &[FieldShape],
    wrong: &str,
    value: Option<&'v str>,
) -> Vec<(&'static str, &'v str)> {
    let each = shapes.iter().filter_map(|shape| {
        let text = if shape.name == wrong {
            value?
        } else {
            good(code, shape.name)
        };
        Some((shape.name, text))
    });
    each.collect()
}

/// A name server with a broker, a topic and a setting.
async fn prepared() -> (RunningNameServer, Client) {
    let (server, caller) = support::start().await;
    let client = Client(caller);
    for (code, body) in [
        (RequestCode::RegisterBroker, registration().to_json()),
        (RequestCode::PutKvConfig, Vec::new()),
    ] {
        let shapes = fields_of(code).expect("read");
        let request = fields(code, shapes, "", None);
        let answer = client.call(code, &request.as_slice(), &body).await;
        assert_eq!(answer.code(), 0, "{code}: {}", remark(&answer));
    }
    (server, client)
}

#[tokio::test]
async fn no_header_field_is_guessed() {
    let (server, client) = prepared().await;
    let before = client.state().await;
    let (mut served, mut tried) = (0, 0);
    for code in RequestCode::ALL.iter().copied() {
        let none: [(&str, &str); 0] = [];
        let answer = client.call(code, &none.as_slice(), b"").await;
        if answer.code() == 3 {
            let text = remark(&answer);
            assert!(text.contains(code.name()), "{code}: {text}");
            continue;
        }
        served += 1;
        let shapes = fields_of(code).unwrap_or_else(|| panic!("{code} is served"));
        for shape in shapes {
            let wrong: Vec<&str> = match shape.kind {
                FieldKind::Text => vec![],
                FieldKind::Int32 => [&NO_NUMBERS[..], &["2147483648", "-2147483649"]].concat(),
                FieldKind::Int64 => [&NO_NUMBERS[..], &["-9223372036854775809"]].concat(),
                FieldKind::Truth => NO_TRUTHS.to_vec(),
            };
            let beyond = match shape.kind {
                FieldKind::Int32 | FieldKind::Int64 => out_of_range(code, shape.name),
                FieldKind::Text | FieldKind::Truth => &[],
            };
            for value in wrong.iter().chain(beyond) {
                let request = fields(code, shapes, shape.name, Some(value));
                let answer = client.call(code, &request.as_slice(), b"{}").await;
                let text = remark(&answer);
                let what = format!("{code} {}={value:?}: {} {text}", shape.name, answer.code());
                assert_ne!(answer.code(), 0, "{what}");
                let named = text.contains(&format!("field {} ", shape.name));
                assert!(named && text.contains(&format!("{value:?}")), "{what}");
                tried += 1;
            }
            if shape.kind == FieldKind::Text {
                for value in no_texts(code, shape.name) {
                    // Where it names something, there is nothing of that name, and nothing changes.
                    let request = fields(code, shapes, shape.name, Some(&value));
                    let answer = client.call(code, &request.as_slice(), b"{}").await;
                    let makes = [RequestCode::RegisterBroker, RequestCode::PutKvConfig];
                    let is_refused = answer.code() != 0 && remark(&answer).contains(shape.name);
                    let length = value.len();
                    assert!(
                        is_refused || !makes.contains(&code),
                        "{code} {} of {length} bytes: {} {}",
                        shape.name,
                        answer.code(),
                        remark(&answer)
                    );
                    tried += 1;
                }
            }
            if shape.is_required {
                let request = fields(code, shapes, shape.name, None);
                let answer = client.call(code, &request.as_slice(), b"{}").await;
                assert_ne!(answer.code(), 0, "{code} without {}", shape.name);
                let text = remark(&answer);
                assert!(text.contains(shape.name), "{code}: {text}");
                tried += 1;
            }
        }
    }
    assert!(
        served > 20 && tried > 100,
        "{served} codes, {tried} requests"
    );
    // A registration of a part, which only brokers of this project send.
    let code = RequestCode::RegisterBroker;
    let mut request = fields(code, fields_of(code).expect("read"), "", None);
    request.push(("partialRegistration", "maybe"));
    let answer = client.call(code, &request.as_slice(), b"{}").await;
    let text = remark(&answer);
    assert_ne!(answer.code(), 0);
    assert!(
        text.contains("partialRegistration") && text.contains("\"maybe\""),
        "{text}"
    );
    assert_eq!(client.state().await, before, "nothing changed");
    server.shutdown().await;
}

fn version() -> DataVersion {
    DataVersion {
        counter: 1,
        state_version: 0,
        timestamp: 1,
    }
}

fn topics() -> TopicConfigTable {
    let topic = TopicConfig {
        attributes: BTreeMap::from([("message.type".to_owned(), "NORMAL".to_owned())]),
        order: false,
        perm: 6,
        read_queue_nums: 4,
        topic_filter_type: TopicFilterType::SingleTag,
        topic_name: "t".to_owned(),
        topic_sys_flag: 0,
        write_queue_nums: 4,
    };
    TopicConfigTable {
        data_version: version(),
        mapping_data_version: Some(version()),
        // One alone would be taken for a change of this topic.
        topic_config_table: BTreeMap::from([
            ("t".to_owned(), topic),
            ("u".to_owned(), TopicConfig::new("u", 4)),
        ]),
        // Passed through unread.
        topic_queue_mapping_detail_map: None,
        topic_queue_mapping_info_map: None,
    }
}

fn registration() -> RegisterBrokerBody {
    RegisterBrokerBody {
        filter_server_list: vec!["1.1.1.1:3".to_owned()],
        topic_config_serialize_wrapper: topics(),
    }
}

fn samples() -> Vec<(RequestCode, Value)> {
    let route = TopicRoute {
        broker_datas: vec![BrokerData {
            broker_addrs: BTreeMap::from([(0, "1.1.1.1:1".to_owned())]),
            broker_name: "a".to_owned(),
            cluster: "c".to_owned(),
            enable_acting_master: false,
            zone_name: Some("z".to_owned()),
        }],
        filter_server_table: BTreeMap::from([("1.1.1.1:1".to_owned(), vec!["x".to_owned()])]),
        order_topic_conf: Some("a:4".to_owned()),
        queue_datas: vec![QueueData {
            broker_name: "a".to_owned(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
        topic_queue_mapping_by_broker: None,
    };
    let tree = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("strict JSON");
    vec![
        (RequestCode::RegisterBroker, tree(registration().to_json())),
        (RequestCode::QueryDataVersion, tree(version().to_json())),
        (RequestCode::RegisterTopicInNamesrv, tree(route.to_json())),
    ]
}

/// Pointer to each value of a tree.
fn places(tree: &Value, at: &str, places: &mut Vec<String>) {
    if !at.is_empty() {
        places.push(at.to_owned());
    }
    let inside: Vec<(String, &Value)> = match tree {
        Value::Object(object) => object
            .iter()
            .map(|(name, value)| (name.replace('/', "~1"), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (name, value) in inside {
        self::places(value, &format!("{at}/{name}"), places);
    }
}

fn of_another_kind(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![],
        Value::Bool(_) => vec![json!("yes"), json!(1), json!([]), json!({})],
        Value::Number(_) => vec![
            json!("abc"),
            json!(1.5),
            json!(1e300),
            json!(true),
            json!([]),
            json!({}),
        ],
        Value::String(_) => vec![json!(5), json!(true), json!([]), json!({})],
        Value::Array(_) => vec![json!("abc"), json!(5), json!({})],
        Value::Object(_) => vec![json!("abc"), json!(5), json!([])],
    }
}

#[tokio::test]
async fn no_field_of_a_body_is_guessed() {
    let (server, client) = prepared().await;
    let before = client.state().await;
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (code, body) in samples() {
        let shapes = fields_of(code).expect("read");
        let request = fields(code, shapes, "", None);
        let mut all = Vec::new();
        places(&body, "", &mut all);
        for place in all {
            let mut names = place.rsplit('/');
            let field = names.find(|name| name.parse::<usize>().is_err());
            let field = field.unwrap_or_default().replace("~1", "/");
            let values = body.pointer(&place).map(of_another_kind);
            for value in values.unwrap_or_default() {
                let mut changed = body.clone();
                *changed.pointer_mut(&place).expect("there") = value.clone();
                let bytes = changed.to_string();
                let answer = client
                    .call(code, &request.as_slice(), bytes.as_bytes())
                    .await;
                let text = remark(&answer);
                tried += 1;
                if answer.code() == 0 || !text.contains(&field) {
                    wrong.push(format!("{code} {place}={value}: {} {text}", answer.code()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 100, "{tried}");
    // Every setting, whether it can be changed or not.
    let answer = client.call(RequestCode::GetNamesrvConfig, &(), b"").await;
    let settings = parse_properties(answer.body()).expect("settings");
    assert!(settings.len() > 15, "{settings:?}");
    for (setting, _) in settings {
        for value in ["abc", "1.5", "-1", "99999999999999999999"] {
            let body = format!("{setting}={value}\n");
            let code = RequestCode::UpdateNamesrvConfig;
            let answer = client.call(code, &(), body.as_bytes()).await;
            let text = remark(&answer);
            assert_ne!(answer.code(), 0, "{setting}={value}");
            let at_start = text.contains("can only be set at the start");
            // The version is told beside the settings, and is none.
            let is_none = setting == "rmqVersion" && text.contains("there is no setting");
            let shown = at_start || is_none || text.contains(value);
            assert!(
                text.contains(&setting) && shown,
                "{setting}={value}: {text}"
            );
        }
    }
    assert_eq!(client.state().await, before, "nothing changed");
    server.shutdown().await;
}
