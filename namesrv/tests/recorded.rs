//! Requests that real clients sent to the original's name server, byte for byte, and what it answered: ours answers the same.

use std::collections::BTreeMap;

use bytes::BytesMut;
use rmq_namesrv::{Deps, NameServer, NameServerConfig};
use rmq_protocol::bodies::{KvTable, RegisterBrokerBody, TopicConfig, TopicList, parse_properties};
use rmq_protocol::header::{CommandHead, FieldSink, FieldSource, Header};
use rmq_protocol::message::crc32_masked;
use rmq_protocol::route::{ClusterInfo, TopicRoute};
use rmq_protocol::{FrameLimits, HeaderEncoding, RequestCode, Split, encode_frame, split};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Codes of the name server that no recorded client sent.
const UNSEEN: &[i32] = &[217, 304, 311, 312, 313, 322, 901, 904];

struct Pair {
    line: usize,
    code: i32,
    encoding: HeaderEncoding,
    request: Value,
    raw_request: Vec<u8>,
    request_body: String,
    answer: Value,
    /// `None` when it was too long to be kept.
    answer_body: Option<String>,
}

fn is_name_server_code(code: i64) -> bool {
    matches!(
        code,
        100..=106 | 205 | 206 | 216 | 219 | 224 | 318 | 319 | 327
    )
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.as_bytes().chunks(2).map(digits).collect()
}

fn pairs() -> Vec<Pair> {
    let lines = include_str!("../../protocol/testdata/frames.jsonl").lines();
    let frames: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let text = |frame: &Value| frame["text"].as_str().map(str::to_owned);
    let is_wanted = |frame: &Value| {
        frame["direction"] == "request" && is_name_server_code(frame["code"].as_i64().unwrap())
    };
    let wanted = frames.iter().zip(&frames[1..]).enumerate();
    wanted
        .filter(|(_, (request, _))| is_wanted(request))
        .map(|(line, (request, answer))| {
            assert_eq!(
                request["code"], answer["request"],
                "the answer follows its request"
            );
            let binary = request["encoding"] == "binary";
            Pair {
                line: line + 1,
                code: i32::try_from(request["code"].as_i64().unwrap()).unwrap(),
                encoding: if binary {
                    HeaderEncoding::Binary
                } else {
                    HeaderEncoding::Json
                },
                request: request["header"].clone(),
                raw_request: if binary {
                    unhex(request["hex"].as_str().unwrap())
                } else {
                    request["header"].to_string().into_bytes()
                },
                request_body: text(request).unwrap_or_default(),
                answer: answer["header"].clone(),
                answer_body: text(answer),
            }
        })
        .collect()
}

struct Fields(BTreeMap<String, String>);

impl FieldSource for Fields {
    fn visit(&self, sink: &mut dyn FieldSink) {
        for (key, value) in &self.0 {
            sink.pair(key, value);
        }
    }
}

fn fields(header: &Value) -> BTreeMap<String, String> {
    let fields = header["extFields"].as_object();
    let pairs = fields.into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

struct Answer {
    encoding: HeaderEncoding,
    code: i32,
    opaque: i32,
    flag: i32,
    remark: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Connection(TcpStream);

impl Connection {
    async fn ask(&mut self, frame: &[u8]) -> Answer {
        self.0.write_all(frame).await.unwrap();
        let mut bytes = vec![0; 4];
        self.0.read_exact(&mut bytes).await.unwrap();
        let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        bytes.resize(4 + length, 0);
        self.0.read_exact(&mut bytes[4..]).await.unwrap();
        let limits = FrameLimits::default();
        let Split::Frame { frame, .. } = split(&bytes, &limits).unwrap() else {
            panic!("a whole frame was read");
        };
        let header = Header::decode(frame.encoding, frame.header, &limits).unwrap();
        let mut fields = BTreeMap::new();
        for (key, value) in header.fields.iter() {
            fields.insert(key.to_owned(), value.to_cow().into_owned());
        }
        Answer {
            encoding: frame.encoding,
            code: header.code,
            opaque: header.opaque,
            flag: header.flag,
            remark: header
                .remark
                .map(|remark| remark.to_string())
                .unwrap_or_default(),
            fields,
            body: frame.body.to_vec(),
        }
    }

    /// Something that comes before the recorded request; it must succeed.
    async fn before(&mut self, code: RequestCode, pairs: &[(&str, &str)], body: &[u8]) {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut frame = BytesMut::new();
        let head = CommandHead::request(code.as_i32(), 1);
        encode_frame(
            &mut frame,
            HeaderEncoding::Json,
            &head,
            &Fields(pairs.collect()),
            body,
        );
        let answer = self.ask(&frame).await;
        assert_eq!(answer.code, 0, "{code:?}: {}", answer.remark);
    }

    async fn register(&mut self, name: &str, addr: &str, cluster: &str, topics: Vec<TopicConfig>) {
        let mut body = RegisterBrokerBody::default();
        // A first registration of one topic would be refused.
        let more = [
            TopicConfig::new("TBW102", 8),
            TopicConfig::new("SELF_TEST_TOPIC", 1),
        ];
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        table.extend(
            topics
                .into_iter()
                .chain(more)
                .map(|topic| (topic.topic_name.clone(), topic)),
        );
        let fields = [
            ("brokerName", name),
            ("brokerAddr", addr),
            ("clusterName", cluster),
            ("haServerAddr", "127.0.0.1:20812"),
            ("brokerId", "0"),
            ("enableActingMaster", "false"),
        ];
        self.before(RequestCode::RegisterBroker, &fields, &body.to_json())
            .await;
    }

    /// Makes the name server what the original was when it was asked.
    async fn prepare(&mut self, pair: &Pair) {
        let asked = fields(&pair.request);
        let answered = fields(&pair.answer);
        let body = pair.answer_body.as_deref().unwrap_or_default().as_bytes();
        match pair.code {
            101 => {
                if let Some(value) = answered.get("value") {
                    let (namespace, key) = (asked["namespace"].as_str(), asked["key"].as_str());
                    let put = [
                        ("namespace", namespace),
                        ("key", key),
                        ("value", value.as_str()),
                    ];
                    self.before(RequestCode::PutKvConfig, &put, b"").await;
                }
            }
            219 => {
                for (key, value) in KvTable::from_json(body).unwrap().table {
                    let namespace = asked["namespace"].as_str();
                    let put = [
                        ("namespace", namespace),
                        ("key", key.as_str()),
                        ("value", value.as_str()),
                    ];
                    self.before(RequestCode::PutKvConfig, &put, b"").await;
                }
            }
            105 if !body.is_empty() => {
                let route = TopicRoute::from_json(body).unwrap();
                for (data, queues) in route.broker_datas.iter().zip(&route.queue_datas) {
                    let mut topic = TopicConfig::new(asked["topic"].as_str(), 1);
                    topic.perm = queues.perm;
                    topic.read_queue_nums = queues.read_queue_nums;
                    topic.write_queue_nums = queues.write_queue_nums;
                    topic.topic_sys_flag = queues.topic_sys_flag;
                    let addr = data.master().unwrap();
                    self.register(&data.broker_name, addr, &data.cluster, vec![topic])
                        .await;
                }
            }
            106 => {
                for data in ClusterInfo::from_json(body)
                    .unwrap()
                    .broker_addr_table
                    .values()
                {
                    let addr = data.master().unwrap();
                    self.register(&data.broker_name, addr, &data.cluster, Vec::new())
                        .await;
                }
            }
            205 | 327 => {
                let count = answered.values().next().unwrap().parse::<usize>().unwrap();
                // Two come with every registration.
                let topics = (2..count).map(|number| TopicConfig::new(format!("t{number}"), 1));
                self.register(
                    "broker-a",
                    "127.0.0.1:20811",
                    "DefaultCluster",
                    topics.collect(),
                )
                .await;
            }
            104 | 206 | 216 | 224 => {
                self.register("broker-a", "127.0.0.1:20811", "DefaultCluster", Vec::new())
                    .await;
            }
            _ => {}
        }
    }
}

/// The recorded request; only a body that was not kept is replaced by one of ours, with its check sum.
fn frame(pair: &Pair) -> BytesMut {
    let mut frame = BytesMut::new();
    if pair.code == 103 {
        let mut body = RegisterBrokerBody::default();
        let table = &mut body.topic_config_serialize_wrapper.topic_config_table;
        for name in ["TBW102", "SELF_TEST_TOPIC"] {
            table.insert(name.to_owned(), TopicConfig::new(name, 1));
        }
        let body = body.to_json();
        let mut fields = fields(&pair.request);
        fields.insert("bodyCrc32".to_owned(), crc32_masked(&body).to_string());
        let opaque = i32::try_from(pair.request["opaque"].as_i64().unwrap()).unwrap();
        let head = CommandHead::request(103, opaque);
        encode_frame(&mut frame, pair.encoding, &head, &Fields(fields), &body);
        return frame;
    }
    let mark = match pair.encoding {
        HeaderEncoding::Json => 0,
        HeaderEncoding::Binary => 1 << 24,
    };
    let (header, body) = (&pair.raw_request, pair.request_body.as_bytes());
    let length = u32::try_from(4 + header.len() + body.len()).unwrap();
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&(u32::try_from(header.len()).unwrap() | mark).to_be_bytes());
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
    frame
}

fn check_body(pair: &Pair, body: &[u8]) {
    let at = format!("line {}", pair.line);
    let Some(recorded) = pair.answer_body.as_deref() else {
        match pair.code {
            // Lists too long to be kept: ours has what was registered.
            206 | 224 => {
                let topics = TopicList::from_json(body).unwrap().topic_list;
                assert_eq!(topics, ["SELF_TEST_TOPIC", "TBW102"], "{at}");
            }
            _ => assert!(body.is_empty(), "{at}"),
        }
        return;
    };
    match pair.code {
        // Of the original's settings these mean something here.
        319 => {
            let names = |text: &[u8]| -> BTreeMap<_, _> {
                parse_properties(text).unwrap().into_iter().collect()
            };
            let (theirs, ours) = (names(recorded.as_bytes()), names(body));
            for key in [
                "orderMessageEnable",
                "kvConfigPath",
                "enableAllTopicList",
                "enableTopicList",
                "notifyMinBrokerIdChanged",
                "scanNotActiveBrokerInterval",
                "deleteTopicWithBrokerRegistration",
                "supportActingMaster",
                "needWaitForService",
                "waitSecondsForService",
            ] {
                assert!(
                    theirs.contains_key(key) && ours.contains_key(key),
                    "{at}: {key}"
                );
            }
        }
        // Byte for byte where the original quotes integer keys; ours always does, which every client reads.
        105 if recorded.contains("{\"0\":") => {
            assert_eq!(String::from_utf8_lossy(body), recorded, "{at}");
        }
        105 => assert_eq!(
            TopicRoute::from_json(body).unwrap(),
            TopicRoute::from_json(recorded.as_bytes()).unwrap(),
            "{at}"
        ),
        106 => assert_eq!(
            ClusterInfo::from_json(body).unwrap(),
            ClusterInfo::from_json(recorded.as_bytes()).unwrap(),
            "{at}"
        ),
        _ => assert_eq!(String::from_utf8_lossy(body), recorded, "{at}"),
    }
}

#[tokio::test]
async fn recorded_requests_are_answered_as_the_original_does() {
    let pairs = pairs();
    let mut seen: Vec<i32> = pairs.iter().map(|pair| pair.code).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(
        seen,
        [
            100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 219, 224, 318, 319, 327
        ]
    );
    for pair in &pairs {
        let config = NameServerConfig {
            listen: "127.0.0.1:0".to_owned(),
            management: String::new(),
            ..NameServerConfig::default()
        };
        let server = NameServer::start(config, Deps::default()).await.unwrap();
        let stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let mut connection = Connection(stream);
        connection.prepare(pair).await;
        let answer = connection.ask(&frame(pair)).await;
        let at = format!("line {}: {}", pair.line, answer.remark);
        assert_eq!(answer.encoding, pair.encoding, "{at}");
        assert_eq!(
            i64::from(answer.code),
            pair.answer["code"].as_i64().unwrap(),
            "{at}"
        );
        assert_eq!(
            i64::from(answer.opaque),
            pair.answer["opaque"].as_i64().unwrap(),
            "{at}"
        );
        assert_eq!(
            i64::from(answer.flag),
            pair.answer["flag"].as_i64().unwrap(),
            "{at}"
        );
        assert_eq!(answer.fields, fields(&pair.answer), "{at}");
        // The original adds the address of a help page.
        let remark = pair.answer["remark"].as_str().unwrap_or_default();
        let remark = remark.lines().next().unwrap_or_default();
        assert_eq!(answer.remark, remark, "{at}");
        check_body(pair, &answer.body);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn every_code_has_an_answer() {
    let config = NameServerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        ..NameServerConfig::default()
    };
    let server = NameServer::start(config, Deps::default()).await.unwrap();
    let mut connection = Connection(TcpStream::connect(server.local_addr()).await.unwrap());
    for code in RequestCode::ALL {
        for encoding in [HeaderEncoding::Json, HeaderEncoding::Binary] {
            let mut frame = BytesMut::new();
            // A code that does not fit into two bytes cannot be sent in a binary header.
            if encoding == HeaderEncoding::Binary && i16::try_from(code.as_i32()).is_err() {
                continue;
            }
            let head = CommandHead::request(code.as_i32(), 7);
            encode_frame(&mut frame, encoding, &head, &(), b"");
            let answer = connection.ask(&frame).await;
            assert_eq!((answer.opaque, answer.encoding), (7, encoding));
            let ours =
                is_name_server_code(i64::from(code.as_i32())) || UNSEEN.contains(&code.as_i32());
            assert_eq!(
                answer.code == 3,
                !ours,
                "{code:?}: {} {}",
                answer.code,
                answer.remark
            );
            assert!(
                ours || answer.remark.contains(code.name()),
                "{code:?}: {}",
                answer.remark
            );
        }
    }
    server.shutdown().await;
}
