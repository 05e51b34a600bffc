//! The audit: one line for each change that a request makes, and none for what changes nothing.

use std::collections::BTreeSet;

use rmq_protocol::bodies::{
    ConsumerData, HeartbeatData, SubscriptionData, SubscriptionGroupConfig,
};
use rmq_protocol::code::{RequestCode as Code, ResponseCode};
use rmq_protocol::message::RecordView;
use serde_json::{Value, json};

use crate::audit_lines::{self, listen};
use crate::support::{Client, Rig, pull, send_fields};

/// Takes the lines of a user: many brokers run here.
fn lines_of(user: &str) -> Vec<Value> {
    audit_lines::take(|line| line["claimed_user"] == user)
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Asks with a user's name; the code of the answer.
async fn ask(client: &Client, user: &str, code: Code, fields: Fields<'_>, body: &[u8]) -> i32 {
    let mut all = vec![("AccessKey", user)];
    all.extend(fields);
    let answer = client.call(code, &all.as_slice(), body).await;
    answer.code()
}

fn heartbeat(group: &str) -> Vec<u8> {
    let data = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: group.to_owned(),
            subscription_data_set: vec![SubscriptionData::tags("audited", "*", 1)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    data.to_json()
}

/// A request that changes something, and its line: what, subject, parts of before and after; an empty part is "there is none".
struct Change<'a> {
    code: Code,
    fields: Fields<'a>,
    body: Vec<u8>,
    what: &'a str,
    subject: &'a str,
    before: &'a str,
    after: &'a str,
}

fn change<'a>(code: Code, fields: Fields<'a>, line: [&'a str; 4]) -> Change<'a> {
    let [what, subject, before, after] = line;
    Change {
        code,
        fields,
        body: Vec::new(),
        what,
        subject,
        before,
        after,
    }
}

impl Change<'_> {
    fn with(self, body: Vec<u8>) -> Self {
        Self { body, ..self }
    }
}

/// The line is about this change, and tells who asked.
fn check(change: &Change<'_>, line: &Value, client: &str) {
    let code = change.code;
    assert_eq!(line["message"], change.what, "{code}: {line}");
    assert_eq!(line["subject"], change.subject, "{code}: {line}");
    let address: std::net::SocketAddr = line["client"]
        .as_str()
        .and_then(|addr| addr.parse().ok())
        .expect("an address");
    assert_eq!(address.ip().to_string(), client, "{code}: {line}");
    for (name, part) in [("before", change.before), ("after", change.after)] {
        match line[name].as_str() {
            None => assert_eq!(part, "", "{code}, {name}: {line}"),
            Some(text) => assert!(
                !part.is_empty() && text.contains(part),
                "{code}, {name}: {line}"
            ),
        }
    }
}

const PULL_OF_NEW: Fields<'static> = &[
    ("consumerGroup", "pulls"),
    ("topic", "audited"),
    ("queueId", "0"),
    ("queueOffset", "0"),
    ("maxMsgNums", "1"),
    ("sysFlag", "4"),
    ("commitOffset", "0"),
    ("suspendTimeoutMillis", "0"),
    ("subscription", "*"),
    ("subVersion", "0"),
];

/// Requests that change nothing that stays, or that are the way of messages and of progress.
const WITHOUT: &[Code] = &[
    Code::SendMessage,
    Code::SendBatchMessage,
    Code::SendReplyMessage,
    Code::SendReplyMessageV2,
    Code::EndTransaction,
    Code::LitePullMessage,
    Code::RecallMessage,
    Code::GetTimerCheckPoint,
    Code::GetTimerMetrics,
    Code::GetColdDataFlowCtrInfo,
    Code::UnregisterClient,
    Code::GetConsumerListByGroup,
    Code::CheckClientConfig,
    Code::LockBatchMq,
    Code::UnlockBatchMq,
    Code::QueryConsumerOffset,
    Code::GetMaxOffset,
    Code::GetMinOffset,
    Code::SearchOffsetByTimestamp,
    Code::GetEarliestMsgStoretime,
    Code::QueryMessage,
    Code::ViewMessageById,
    Code::GetAllTopicConfig,
    Code::GetTopicConfig,
    Code::GetTopicStatsInfo,
    Code::GetSystemTopicListFromBroker,
    Code::QueryConsumeQueue,
    Code::GetAllSubscriptiongroupConfig,
    Code::GetConsumerConnectionList,
    Code::GetProducerConnectionList,
    Code::GetAllProducerInfo,
    Code::GetConsumeStats,
    Code::GetBrokerConsumeStats,
    Code::QueryConsumeTimeSpan,
    Code::QueryTopicConsumeByWho,
    Code::QueryTopicsByConsumer,
    Code::QuerySubscriptionByConsumer,
    Code::QueryCorrectionOffset,
    Code::GetAllConsumerOffset,
    Code::GetAllDelayOffset,
    Code::InvokeBrokerToGetConsumerStatus,
    Code::GetConsumerRunningInfo,
    Code::GetBrokerRuntimeInfo,
    Code::ViewBrokerStatsData,
    Code::GetBrokerHaStatus,
    Code::GetBrokerEpochCache,
    Code::GetGroupStatus,
    Code::RequestGroupMaster,
    Code::RaiseConsumerOffsets,
    Code::BeginBackup,
    Code::ReadBackupTables,
    Code::ReadBackupLog,
    Code::EndBackup,
    Code::GetTransactions,
    Code::AuthGetUser,
    Code::AuthListUser,
    Code::AuthGetAcl,
    Code::AuthListAcl,
    Code::GetBrokerConfig,
    Code::CleanExpiredConsumequeue,
    Code::CleanUnusedTopic,
];

#[tokio::test(flavor = "multi_thread")]
async fn each_change_has_one_line() {
    listen();
    let user = "audit-changes";
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("audited", 1, 6).await;
    client.create_group("readers", |_| {}).await;
    client.put("audited", "", "one").await;
    let first = client.pull(&pull("audited", 0, 0)).await;
    assert_eq!(first.records.len(), 1);
    let frame = client
        .call(Code::PullMessage, &pull("audited", 0, 0), &[])
        .await;
    let position = RecordView::iter(frame.body())
        .find_map(Result::ok)
        .expect("a record")
        .position()
        .0;
    let addr = rig.broker.addr();
    let id = rmq_protocol::message::OffsetMessageId {
        host: addr,
        position: rmq_protocol::message::LogPosition(position),
    }
    .to_string();
    let position = position.to_string();
    let half = client
        .put("audited", "TRAN_MSG\u{1}true\u{2}", "half")
        .await;
    let half = half.msg_id;
    let resumed = [("msgId", half.as_str())];
    let topic = |perm| {
        [
            ("topic", "made"),
            ("readQueueNums", "3"),
            ("writeQueueNums", "3"),
            ("perm", perm),
        ]
    };
    let group = |retries| {
        let mut config = SubscriptionGroupConfig::new("made");
        config.retry_max_times = retries;
        config
    };
    let groups = |name: &str| {
        let config: Value =
            serde_json::from_slice(&SubscriptionGroupConfig::new(name).to_json()).expect("JSON");
        json!({ "groupConfigList": [config] })
            .to_string()
            .into_bytes()
    };
    let rule = |resource: &str| {
        let entry = json!({"resource": resource, "actions": ["Pub"], "decision": "Allow"});
        let policies = json!([{"policyType": "Custom", "entries": [entry]}]);
        json!({ "policies": policies }).to_string().into_bytes()
    };
    let topics = json!({"topicConfigList": [{"topicName": "listed", "readQueueNums": 2, "writeQueueNums": 2, "perm": 6}]});
    let (to_new, to_retry) = (send_fields("sent"), send_fields("%RETRY%again"));
    let (made, changed) = (topic("6"), topic("4"));
    let back = |group| {
        [
            ("offset", position.as_str()),
            ("group", group),
            ("delayLevel", "1"),
        ]
    };
    let given_back = back("returns");
    let directly = [
        ("consumerGroup", "beats"),
        ("clientId", "one"),
        ("msgId", id.as_str()),
    ];
    let changes = [
        change(
            Code::UpdateAndCreateTopic,
            &made,
            ["topic created", "made", "", "\"perm\":6"],
        ),
        change(
            Code::UpdateAndCreateTopic,
            &changed,
            ["topic changed", "made", "{\"perm\":6}", "{\"perm\":4}"],
        ),
        change(
            Code::UpdateAndCreateTopicList,
            &[],
            ["topic created", "listed", "", "\"readQueueNums\":2"],
        )
        .with(topics.to_string().into_bytes()),
        change(
            Code::SendMessageV2,
            &to_new,
            [
                "topic created by its first message",
                "sent",
                "",
                "\"topicName\":\"sent\"",
            ],
        )
        .with(b"x".to_vec()),
        change(
            Code::SendMessageV2,
            &to_retry,
            [
                "group created by its first use",
                "again",
                "",
                "\"groupName\":\"again\"",
            ],
        )
        .with(b"x".to_vec()),
        change(
            Code::UpdateAndCreateSubscriptiongroup,
            &[],
            ["group created", "made", "", "\"retryMaxTimes\":5"],
        )
        .with(group(5).to_json()),
        change(
            Code::UpdateAndCreateSubscriptiongroup,
            &[],
            [
                "group changed",
                "made",
                "{\"retryMaxTimes\":5}",
                "{\"retryMaxTimes\":7}",
            ],
        )
        .with(group(7).to_json()),
        change(
            Code::UpdateAndCreateSubscriptiongroupList,
            &[],
            ["group created", "listed", "", "\"groupName\":\"listed\""],
        )
        .with(groups("listed")),
        change(
            Code::HeartBeat,
            &[],
            [
                "group created by its first use",
                "beats",
                "",
                "\"groupName\":\"beats\"",
            ],
        )
        .with(heartbeat("beats")),
        change(
            Code::PullMessage,
            PULL_OF_NEW,
            [
                "group created by its first use",
                "pulls",
                "",
                "\"groupName\":\"pulls\"",
            ],
        ),
        change(
            Code::ConsumerSendMsgBack,
            &given_back,
            [
                "group created by its first use",
                "returns",
                "",
                "\"groupName\":\"returns\"",
            ],
        ),
        change(
            Code::GetSubscriptiongroupConfig,
            &[("group", "asked")],
            [
                "group created by its first use",
                "asked",
                "",
                "\"groupName\":\"asked\"",
            ],
        ),
        change(
            Code::UpdateAndGetGroupForbidden,
            &[
                ("group", "made"),
                ("topic", "audited"),
                ("readable", "false"),
            ],
            ["right to read changed", "made on audited", "true", "false"],
        ),
        change(
            Code::UpdateConsumerOffset,
            &[
                ("consumerGroup", "made"),
                ("topic", "audited"),
                ("queueId", "0"),
                ("commitOffset", "0"),
            ],
            ["offset set", "made on audited", "{}", "{\"0\":0}"],
        ),
        change(
            Code::InvokeBrokerToResetOffset,
            &[
                ("group", "made"),
                ("topic", "audited"),
                ("timestamp", "-1"),
                ("isForce", "true"),
            ],
            ["offsets reset", "made on audited", "{\"0\":0}", "{\"0\":1}"],
        ),
        change(
            Code::CloneGroupOffset,
            &[
                ("srcGroup", "made"),
                ("destGroup", "copy"),
                ("topic", "audited"),
            ],
            [
                "offsets copied from another group",
                "copy on audited",
                "{}",
                "{\"0\":1}",
            ],
        ),
        change(
            Code::UpdateBrokerConfig,
            &[],
            [
                "settings changed until the broker's next start",
                "broker-a",
                "{\"fileReservedTime\":\"72\",\"maxMessageSize\":\"4194304\"}",
                "{\"fileReservedTime\":\"48\",\"maxMessageSize\":\"65536\"}",
            ],
        )
        .with(b"fileReservedTime=48\nmaxMessageSize=65536\n".to_vec()),
        change(
            Code::UpdateBrokerConfig,
            &[],
            [
                "settings changed until the broker's next start, brokerPermission beyond it",
                "broker-a",
                "{\"brokerPermission\":\"6\"}",
                "{\"brokerPermission\":\"4\"}",
            ],
        )
        .with(b"brokerPermission=4\n".to_vec()),
        change(
            Code::DeleteExpiredCommitlog,
            &[],
            [
                "expired messages removed",
                "broker-a",
                "bytes of log",
                "bytes of log",
            ],
        ),
        change(
            Code::ConsumeMessageDirectly,
            &directly,
            [
                "message handed to a consumer again",
                "beats at one",
                "",
                &id,
            ],
        ),
        change(
            Code::ResumeCheckHalfMessage,
            &resumed,
            ["half message to be checked again", &half, "", ""],
        ),
        change(
            Code::UpdateColdDataFlowCtrConfig,
            &[],
            [
                "group changed",
                "made",
                "\"attributes\":{}",
                "\"cold.read.threshold\":\"5000\"",
            ],
        )
        .with(b"made=5000\n".to_vec()),
        change(
            Code::RemoveColdDataFlowCtrConfig,
            &[],
            [
                "group changed",
                "made",
                "\"cold.read.threshold\":\"5000\"",
                "\"attributes\":{}",
            ],
        )
        .with(b"made".to_vec()),
        change(
            Code::AuthCreateUser,
            &[("username", "eve")],
            ["user created", "eve", "", "\"userType\":\"Normal\""],
        )
        .with(br#"{"password":"p"}"#.to_vec()),
        change(
            Code::AuthUpdateUser,
            &[("username", "eve")],
            ["user changed", "eve", "enable", "disable"],
        )
        .with(br#"{"userStatus":"disable"}"#.to_vec()),
        change(
            Code::AuthCreateAcl,
            &[("subject", "User:eve")],
            ["rules changed", "eve", "", "Topic:a"],
        )
        .with(rule("Topic:a")),
        change(
            Code::AuthUpdateAcl,
            &[("subject", "User:eve")],
            ["rules changed", "eve", "Topic:a", "Topic:b"],
        )
        .with(rule("Topic:b")),
        change(
            Code::AuthDeleteAcl,
            &[("subject", "User:eve"), ("resource", "Topic:a")],
            ["rules deleted", "eve", "Topic:a", "Topic:b"],
        ),
        change(
            Code::AuthDeleteUser,
            &[("username", "eve")],
            ["user deleted", "eve", "disable", ""],
        ),
        change(
            Code::DeleteSubscriptiongroup,
            &[("groupName", "made"), ("cleanOffset", "true")],
            [
                "group deleted, with its offsets",
                "made",
                "\"retryMaxTimes\":7",
                "",
            ],
        ),
        change(
            Code::DeleteTopicInBroker,
            &[("topic", "made")],
            ["topic deleted", "made", "\"perm\":4", ""],
        ),
    ];
    for change in &changes {
        let code = ask(&client, user, change.code, change.fields, &change.body).await;
        // The client of this test does not consume what it is handed.
        assert!(
            code == 0 || code == 12 || change.code == Code::ConsumeMessageDirectly,
            "{}: {code}",
            change.code
        );
        let lines = lines_of(user);
        assert_eq!(lines.len(), 1, "{}: {lines:?}", change.code);
        check(change, &lines[0], "127.0.0.1");
    }
    // The same request changes nothing the second time. Only orders that are new each time have a line again.
    for change in &changes[changes.len() - 2..] {
        ask(&client, user, change.code, change.fields, &change.body).await;
        assert_eq!(lines_of(user), Vec::<Value>::new(), "{}", change.code);
    }

    // Every other request that the broker serves has no line.
    let changing: BTreeSet<Code> = changes.iter().map(|change| change.code).collect();
    let usual = [
        ("topic", "audited"),
        ("group", "readers"),
        ("groupName", "readers"),
        ("consumerGroup", "readers"),
        ("producerGroup", "producers"),
        ("queueId", "0"),
        ("offset", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("timestamp", "0"),
        ("key", "k"),
        ("maxNum", "1"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "1"),
        ("index", "0"),
        ("count", "1"),
        ("clientID", "one"),
        ("clientId", "one"),
        ("statsName", "TOPIC_PUT_NUMS"),
        ("statsKey", "audited"),
        ("isOrder", "false"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
        ("properties", ""),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
    ];
    let mut served = BTreeSet::new();
    for code in Code::ALL.iter().filter(|code| !changing.contains(code)) {
        let answered = ask(&client, user, *code, &usual, b"{}").await;
        if answered != ResponseCode::RequestCodeNotSupported.as_i32() {
            served.insert(*code);
        }
        let lines = lines_of(user);
        assert!(lines.is_empty(), "{code}: {lines:?}");
    }
    let without: BTreeSet<Code> = WITHOUT.iter().copied().collect();
    assert_eq!(served, without, "each request is in one of the two tables");
    rig.stop().await;
}

/// Progress of members is no change; an offset that somebody else sets is one. A refused request changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn progress_and_refusals_have_no_line() {
    listen();
    let user = "audit-progress";
    let rig = Rig::start().await;
    let client = rig.client();
    client.create_topic("audited", 1, 6).await;
    ask(
        &client,
        "audit-setup",
        Code::HeartBeat,
        &[],
        &heartbeat("members"),
    )
    .await;
    let commit = [
        ("consumerGroup", "members"),
        ("topic", "audited"),
        ("queueId", "0"),
        ("commitOffset", "7"),
    ];
    assert_eq!(
        ask(&client, user, Code::UpdateConsumerOffset, &commit, &[]).await,
        0
    );
    assert_eq!(lines_of(user), Vec::<Value>::new());
    let settings = async || {
        let answer = client.call(Code::GetBrokerConfig, &(), &[]).await;
        answer.body().to_vec()
    };
    let before = settings().await;
    for (code, fields, body) in [
        (Code::DeleteTopicInBroker, &[("topic", "TBW102")][..], ""),
        (Code::UpdateBrokerConfig, &[], "fileReservedTime=0\n"),
        (Code::UpdateBrokerConfig, &[], "storePathRootDir=/\n"),
        (
            Code::UpdateBrokerConfig,
            &[],
            "autoCreateTopicEnable=false\nfileReservedTime=48\nmaxMessageSize=0\n",
        ),
        (
            Code::UpdateBrokerConfig,
            &[],
            "autoCreateTopicEnable=false\nbrokerName=other\n",
        ),
        (
            Code::UpdateAndCreateSubscriptiongroup,
            &[],
            "{\"groupName\":\"a b\"}",
        ),
        (
            Code::InvokeBrokerToResetOffset,
            &[("topic", "none"), ("group", "members")],
            "",
        ),
    ] {
        let refused = ask(&client, user, code, fields, body.as_bytes()).await;
        assert_ne!(refused, 0, "{code}");
        assert_eq!(lines_of(user), Vec::<Value>::new(), "{code}");
        // All of a request or nothing of it.
        assert!(settings().await == before, "{code}: {body}");
    }
    let stranger = rig.client();
    let commit = [
        ("consumerGroup", "members"),
        ("topic", "audited"),
        ("queueId", "0"),
        ("commitOffset", "3"),
    ];
    assert_eq!(
        ask(&stranger, user, Code::UpdateConsumerOffset, &commit, &[]).await,
        0
    );
    let lines = lines_of(user);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["before"], "{\"0\":7}", "{}", lines[0]);
    assert_eq!(lines[0]["after"], "{\"0\":3}", "{}", lines[0]);
    rig.stop().await;
}
