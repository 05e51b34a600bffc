//! Quotas of topics and groups, the types of topics' messages, and limits of reads from the disk. No test waits for real.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::Deps;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::requests::UpdateAndCreateTopic;
use rmq_transport::ManualClock;

use crate::support::{Client, Refused, Rig, get, message, parked, pull, remark, value};

const START_MS: i64 = 1_800_000_000_000;
const BUSY: i32 = ResponseCode::SystemBusy.as_i32();
const ILLEGAL: i32 = ResponseCode::MessageIllegal.as_i32();

async fn start(clock: &ManualClock) -> Rig {
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    Rig::start_with(deps, |config| {
        config.management = "127.0.0.1:0".to_owned();
    })
    .await
}

/// Changes the topic's attributes, as `mqadmin updateTopic --attributes` does.
async fn attributes(client: &Client, changes: &str) -> Result<(), Refused> {
    let request = UpdateAndCreateTopic {
        topic: "t".into(),
        default_topic: None,
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: None,
        topic_sys_flag: None,
        order: None,
        attributes: Some(changes.to_owned().into()),
        force: None,
    };
    let answer = client
        .call(RequestCode::UpdateAndCreateTopic, &request, &[])
        .await;
    match answer.code() {
        0 => Ok(()),
        code => Err(Refused {
            code,
            remark: remark(&answer),
        }),
    }
}

/// Sends until it is refused; how many were taken, and the refusal.
async fn until_refused(client: &Client, body: &[u8]) -> (usize, Refused) {
    for taken in 0..100 {
        if let Err(refused) = client.send(&message("t", 0, ""), body).await {
            return (taken, refused);
        }
    }
    panic!("nothing was refused");
}

async fn send_batch(client: &Client, bodies: &[&str], properties: &str) -> Result<(), Refused> {
    let members = bodies.iter().map(|body| (*body, properties));
    client.send_batch("t", members).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_takes_so_many_messages_a_second() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    attributes(&client, "+quota.messages=4")
        .await
        .expect("a quota");
    let (taken, refused) = until_refused(&client, b"x").await;
    assert_eq!((taken, refused.code), (4, BUSY));
    assert_eq!(
        refused.remark,
        "[FLOW]topic t: 4 messages a second (quota.messages) are used up at this broker, start flow control for a while; try again in 250 ms"
    );
    client.put("other", "", "x").await;
    clock.advance(Duration::from_millis(249));
    assert_eq!(until_refused(&client, b"x").await.0, 0);
    clock.advance(Duration::from_millis(1));
    assert_eq!(until_refused(&client, b"x").await.0, 1);

    // Each message of a batch counts, and more than a second's are paid off.
    clock.advance(Duration::from_secs(1));
    send_batch(&client, &["a", "b", "c", "d", "e", "f"], "")
        .await
        .expect("the quota is full");
    clock.advance(Duration::from_millis(500));
    let refused = send_batch(&client, &["g"], "")
        .await
        .expect_err("six are not paid");
    assert!(
        refused.remark.contains("try again in 250 ms"),
        "{}",
        refused.remark
    );
    clock.advance(Duration::from_millis(250));
    assert_eq!(until_refused(&client, b"x").await.0, 1);

    let (_, metrics) = get(&rig.broker, "/metrics").await;
    let of_topic = [
        "resource=\"topic\"",
        "name=\"t\"",
        "limit=\"quota.messages\"",
    ];
    let limit = value(&metrics, "rocketmq_quota_limit", &of_topic);
    let refusals = value(&metrics, "rocketmq_quota_refusals_total", &of_topic);
    assert_eq!((limit, refusals), (Some(4.0), Some(5.0)), "{metrics}");

    attributes(&client, "-quota.messages")
        .await
        .expect("no quota");
    for _ in 0..20 {
        client.put("t", "", "x").await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_and_clients_have_quotas_of_their_own() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let clients = [rig.client(), rig.client(), rig.client()];
    attributes(&clients[0], "+quota.client.bytes=200,+quota.bytes=500")
        .await
        .expect("a quota");
    let body = [b'x'; 100];
    let mut taken = Vec::new();
    for client in &clients {
        let (count, refused) = until_refused(client, &body).await;
        taken.push((count, refused.remark.contains("of each client")));
    }
    assert_eq!(taken, [(2, true), (2, true), (1, false)]);
    let (_, refused) = until_refused(&clients[0], &body).await;
    assert!(
        refused
            .remark
            .starts_with("[FLOW]topic t: 500 bytes a second (quota.bytes)"),
        "{}",
        refused.remark
    );
    clock.advance(Duration::from_millis(200));
    let (taken, refused) = until_refused(&clients[0], &body).await;
    assert_eq!(taken, 0, "{}", refused.remark);
    assert!(
        refused
            .remark
            .contains("200 bytes a second of each client (quota.client.bytes)"),
        "{}",
        refused.remark
    );
    // A message larger than a second's bytes passes when nothing is owed, and is paid off.
    clock.advance(Duration::from_secs(2));
    assert_eq!(until_refused(&clients[1], &[b'x'; 1_000]).await.0, 1);
    clock.advance(Duration::from_secs(4));
    assert_eq!(until_refused(&clients[1], &[b'x'; 1_000]).await.0, 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_given_so_many_messages_a_second_and_asks_again_in_time() {
    let clock = ManualClock::at(START_MS);
    let rig = start(&clock).await;
    let client = rig.client();
    client.create_topic("t", 1, 6).await;
    for number in 0..10 {
        client.put("t", "", &number.to_string()).await;
    }
    client
        .create_group("readers", |group| {
            let quota = ("quota.messages".to_owned(), "2".to_owned());
            group.attributes.extend([quota]);
        })
        .await;
    let first = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(first.bodies(), ["0", "1"], "no more at once");
    // It is refused when it would be served, so that clients do not ask all the time.
    let request = pull("t", 0, 2);
    let waiting = parked(&client, client.pull(&request)).await;
    clock.advance(Duration::from_millis(500));
    let refused = waiting.await;
    assert_eq!(refused.code, ResponseCode::FlowControl.as_i32());
    assert!(
        refused
            .remark
            .starts_with("[FLOW]group readers: 2 messages a second (quota.messages)"),
        "{}",
        refused.remark
    );
    let second = client.pull(&request).await;
    assert_eq!(second.bodies(), ["2", "3"]);
    // Other groups are given everything.
    let mut other = pull("t", 0, 0);
    other.consumer_group = "others".into();
    assert_eq!(client.pull(&other).await.records.len(), 10);
    let (_, metrics) = get(&rig.broker, "/metrics").await;
    let of_group = ["resource=\"group\"", "name=\"readers\""];
    let refusals = value(&metrics, "rocketmq_quota_refusals_total", &of_group);
    assert_eq!(refusals, Some(1.0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_refuses_messages_of_other_types_where_that_is_checked() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.topic_message_type_check = true;
        config.mixed_message_type = true;
    })
    .await;
    let client = rig.client();
    let (plain, ordered) = ("", "__SHARDINGKEY\u{1}k\u{2}");
    let (level, timed) = ("DELAY\u{1}3\u{2}", "TIMER_DELAY_MS\u{1}1000\u{2}");
    let half = "TRAN_MSG\u{1}true\u{2}";
    for (kind, taken) in [
        ("NORMAL", &[plain][..]),
        ("FIFO", &[ordered]),
        ("DELAY", &[level, timed]),
        ("TRANSACTION", &[half]),
        ("MIXED", &[plain, ordered, level, timed, half]),
    ] {
        attributes(&client, &format!("+message.type={kind}"))
            .await
            .expect("a type");
        for properties in [plain, ordered, level, timed, half] {
            let sent = client.send(&message("t", 0, properties), b"x").await;
            if taken.contains(&properties) {
                assert!(sent.is_ok(), "{kind} {properties:?}: {sent:?}");
                continue;
            }
            let refused = sent.expect_err("another type");
            assert_eq!(refused.code, ILLEGAL);
            let says =
                format!("TopicMessageType validate failed, the expected type is {kind}, but");
            assert!(refused.remark.starts_with(&says), "{}", refused.remark);
        }
    }
    attributes(&client, "+message.type=FIFO")
        .await
        .expect("a type");
    assert_eq!(
        send_batch(&client, &["a", "b"], plain)
            .await
            .expect_err("of another type")
            .code,
        ILLEGAL
    );
    send_batch(&client, &["a", "b"], ordered)
        .await
        .expect("in order");
    attributes(&client, "-message.type").await.expect("no type");
    client.put("t", plain, "x").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_not_checked_by_default_as_by_the_original() {
    let rig = Rig::start().await;
    let client = rig.client();
    attributes(&client, "+message.type=FIFO")
        .await
        .expect("a type");
    client.put("t", "", "x").await;
    client.put("t", "DELAY\u{1}3\u{2}", "x").await;
    let refused = attributes(&client, "+message.type=MIXED").await;
    assert_eq!(
        refused,
        Err(Refused {
            code: ResponseCode::InvalidParameter.as_i32(),
            remark: "MIXED message type is not supported; attribute message.type takes it where the broker has enableMixedMessageType".to_owned(),
        })
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_cold_reads_are_set_shown_and_removed() {
    let rig = Rig::start().await;
    let client = rig.client();
    let limits = async || {
        let code = RequestCode::GetColdDataFlowCtrInfo;
        let answer = client.call(code, &(), &[]).await;
        assert_eq!(answer.code(), 0, "{}", remark(&answer));
        let body: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        for name in ["runtimeTable", "globalAcc", "cgColdReadThreshold"] {
            assert!(!body[name].is_null(), "{body}");
        }
        body["configTable"].clone()
    };
    let set = async |body: &[u8]| {
        let code = RequestCode::UpdateColdDataFlowCtrConfig;
        client.call(code, &(), body).await
    };
    client
        .create_group("one", |group| group.retry_max_times = 3)
        .await;
    assert_eq!(set(b"one=5000\ntwo=1\n").await.code(), 0);
    assert_eq!(limits().await, serde_json::json!({"one": 5_000, "two": 1}));
    let wrong = set(b"one=much\n").await;
    let invalid = ResponseCode::InvalidParameter.as_i32();
    assert_eq!(wrong.code(), invalid, "{}", remark(&wrong));
    for group in ["one", "nobody"] {
        let code = RequestCode::RemoveColdDataFlowCtrConfig;
        let answer = client.call(code, &(), group.as_bytes()).await;
        assert_eq!(answer.code(), 0, "{group}: {}", remark(&answer));
    }
    assert_eq!(limits().await, serde_json::json!({"two": 1}));
    rig.stop().await;
}
