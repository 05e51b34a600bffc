//! The audit: one line for each change that a request makes, with who asked, from where, and what was before and is after; and none for
//! what changes nothing. Budget: 3 s.

#[path = "../../process/tests/audit_lines/mod.rs"]
mod audit_lines;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rmq_protocol::RequestCode as Code;
use rmq_protocol::bodies::{RegisterBrokerBody, TopicConfig};
use rmq_protocol::route::{QueueData, TopicRoute};
use rmq_transport::Caller;
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(10);
const USER: &str = "alice";

fn take_lines() -> Vec<Value> {
    audit_lines::take(|_| true)
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A request that changes something, and its line; `None` is "there is none".
struct Change<'a> {
    code: Code,
    fields: Fields<'a>,
    body: Vec<u8>,
    what: &'a str,
    subject: &'a str,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

struct Client(Caller);

impl Client {
    async fn ask(&self, code: Code, fields: Fields<'_>, body: &[u8]) -> i32 {
        let mut all = vec![("AccessKey", USER)];
        all.extend(fields);
        let all = all.as_slice();
        let called = self.0.call(code.as_i32(), &all, body, WAIT);
        called.await.expect("an answer").code()
    }
}

/// The fields of a broker that registers or leaves.
const BROKER: Fields<'static> = &[
    ("brokerName", "a"),
    ("brokerAddr", "1.1.1.1:1"),
    ("clusterName", "c"),
    ("brokerId", "0"),
];
const KEY: Fields<'static> = &[("namespace", "n"), ("key", "k")];

fn changes() -> Vec<Change<'static>> {
    let change = |code, fields, what, subject, before, after| Change {
        code,
        fields,
        body: Vec::new(),
        what,
        subject,
        before,
        after,
    };
    let route = TopicRoute {
        queue_datas: vec![QueueData {
            broker_name: "a".to_owned(),
            perm: 6,
            read_queue_nums: 4,
            topic_sys_flag: 0,
            write_queue_nums: 4,
        }],
        ..TopicRoute::default()
    };
    vec![
        change(
            Code::PutKvConfig,
            &[("namespace", "n"), ("key", "k"), ("value", "v")],
            "key-value setting put",
            "n/k",
            None,
            Some("v"),
        ),
        change(
            Code::PutKvConfig,
            &[("namespace", "n"), ("key", "k"), ("value", "w")],
            "key-value setting put",
            "n/k",
            Some("v"),
            Some("w"),
        ),
        change(
            Code::DeleteKvConfig,
            KEY,
            "key-value setting deleted",
            "n/k",
            Some("w"),
            None,
        ),
        change(
            Code::WipeWritePermOfBroker,
            &[("brokerName", "a")],
            "write permission wiped",
            "a",
            Some("there, 2 topics"),
            Some("wiped, 2 topics"),
        ),
        change(
            Code::AddWritePermOfBroker,
            &[("brokerName", "a")],
            "write permission given back",
            "a",
            Some("wiped, 2 topics"),
            Some("there, 2 topics"),
        ),
        Change {
            body: route.to_json(),
            ..change(
                Code::RegisterTopicInNamesrv,
                &[("topic", "made")],
                "topic put into the routes",
                "made",
                None,
                Some("a: 4 read and 4 write queues, permission 6"),
            )
        },
        change(
            Code::DeleteTopicInNamesrv,
            &[("topic", "made")],
            "topic deleted from the routes",
            "made",
            Some("a: 4 read and 4 write queues, permission 6"),
            None,
        ),
        Change {
            body: b"brokersMax=7\nsupportActingMaster=true\n".to_vec(),
            ..change(
                Code::UpdateNamesrvConfig,
                &[],
                "settings changed until the name server's next start",
                "name server",
                Some("supportActingMaster=false brokersMax=10000"),
                Some("supportActingMaster=true brokersMax=7"),
            )
        },
        change(
            Code::UnregisterBroker,
            BROKER,
            "broker unregistered",
            "a",
            Some("id 0 at 1.1.1.1:1"),
            None,
        ),
    ]
}

/// Requests that change nothing that a person decides: questions, and what brokers say of themselves (the log has lines of its own).
const WITHOUT: &[Code] = &[
    Code::RegisterBroker,
    Code::BrokerHeartbeat,
    Code::QueryDataVersion,
    Code::GetKvConfig,
    Code::GetKvlistByNamespace,
    Code::GetRouteinfoByTopic,
    Code::GetBrokerClusterInfo,
    Code::GetBrokerMemberGroup,
    Code::GetAllTopicListFromNameserver,
    Code::GetTopicsByCluster,
    Code::GetSystemTopicListFromNs,
    Code::GetUnitTopicList,
    Code::GetHasUnitSubTopicList,
    Code::GetHasUnitSubUnunitTopicList,
    Code::GetNamesrvConfig,
];

#[tokio::test]
async fn each_change_has_one_line() {
    audit_lines::listen();
    let (server, caller) = support::start().await;
    let client = Client(caller);
    let mut registration = RegisterBrokerBody::default();
    let table = &mut registration.topic_config_serialize_wrapper;
    for topic in ["t", "u"] {
        let config = TopicConfig::new(topic, 4);
        table.topic_config_table.insert(topic.to_owned(), config);
    }
    let registration = registration.to_json();
    assert_eq!(
        client
            .ask(Code::RegisterBroker, BROKER, &registration)
            .await,
        0
    );
    assert_eq!(take_lines(), Vec::<Value>::new());

    let changes = changes();
    for change in &changes {
        let code = change.code;
        assert_eq!(
            client.ask(code, change.fields, &change.body).await,
            0,
            "{code}"
        );
        let lines = take_lines();
        let [line] = lines.as_slice() else {
            panic!("{code}: {lines:?}");
        };
        assert_eq!(line["message"], change.what, "{line}");
        assert_eq!(line["subject"], change.subject, "{line}");
        assert_eq!(line["claimed_user"], USER, "{line}");
        assert_eq!(line["before"].as_str(), change.before, "{line}");
        assert_eq!(line["after"].as_str(), change.after, "{line}");
        let from = line["client"].as_str().unwrap_or_default();
        assert!(from.starts_with("127.0.0.1:"), "{line}");
        // The same once more changes nothing.
        client.ask(code, change.fields, &change.body).await;
        assert_eq!(take_lines(), Vec::<Value>::new(), "{code} again");
    }

    // What is refused, and what names nothing that is there, changes nothing.
    for (code, fields, body) in [
        (
            Code::PutKvConfig,
            &[("namespace", "n"), ("key", ""), ("value", "v")][..],
            "",
        ),
        (Code::DeleteKvConfig, KEY, ""),
        (Code::WipeWritePermOfBroker, &[("brokerName", "none")], ""),
        (Code::AddWritePermOfBroker, &[("brokerName", "none")], ""),
        (Code::RegisterTopicInNamesrv, &[("topic", "a b")], "{}"),
        (Code::DeleteTopicInNamesrv, &[("topic", "none")], ""),
        (Code::UnregisterBroker, BROKER, ""),
        (Code::UpdateNamesrvConfig, &[], "brokersMax=0\n"),
        (
            Code::UpdateNamesrvConfig,
            &[],
            "supportActingMaster=false\nlisten=0.0.0.0:1\n",
        ),
    ] {
        client.ask(code, fields, body.as_bytes()).await;
        assert_eq!(
            take_lines(),
            Vec::<Value>::new(),
            "{code} {fields:?} {body}"
        );
    }

    // Every other request that is served has no line, whatever it brings.
    let changing: BTreeSet<Code> = changes.iter().map(|change| change.code).collect();
    let usual = [BROKER, KEY, &[("topic", "t"), ("cluster", "c")]].concat();
    let mut served = BTreeSet::new();
    for code in Code::ALL.iter().filter(|code| !changing.contains(code)) {
        if client.ask(*code, &usual, b"{}").await != 3 {
            served.insert(*code);
        }
        assert_eq!(take_lines(), Vec::<Value>::new(), "{code}");
    }
    let without: BTreeSet<Code> = WITHOUT.iter().copied().collect();
    assert_eq!(served, without, "each request is in one of the two tables");
    server.shutdown().await;
}
