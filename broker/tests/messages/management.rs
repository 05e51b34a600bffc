//! The management port.

use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{Deps, RunningBroker};
use rmq_protocol::bodies::{ConsumerData, HeartbeatData, ProducerData, SubscriptionData};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::OffsetMessageId;
use rmq_protocol::requests::UpdateConsumerOffset;
use rmq_transport::ManualClock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Rig, get, message, pull, remark, value};

pub(crate) async fn waiting_pulls(broker: &RunningBroker) -> u64 {
    let (status, metrics) = get(broker, "/metrics").await;
    assert_eq!(status, 200);
    value(&metrics, "rocketmq_waiting_pulls", &[]).expect("the gauge") as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn health_version_and_metrics_are_served() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.management = "127.0.0.1:0".to_owned()
    })
    .await;
    let client = rig.client();
    for number in 0..3 {
        client
            .send(&message("measured", number, ""), b"x")
            .await
            .expect("stored");
    }
    client.pull(&pull("measured", 0, 0)).await;

    assert_eq!(get(&rig.broker, "/livez").await, (200, "ok\n".to_owned()));
    let (status, text) = get(&rig.broker, "/readyz").await;
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("store"), "{text}");
    let (status, text) = get(&rig.broker, "/version").await;
    assert_eq!(status, 200);
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    assert_eq!(get(&rig.broker, "/nothing").await.0, 404);

    let (status, metrics) = get(&rig.broker, "/metrics").await;
    assert_eq!(status, 200);
    let common = [
        "cluster=\"DefaultCluster\"",
        "node_type=\"broker\"",
        "node_id=\"broker-a\"",
    ];
    let of_topic = [
        common.as_slice(),
        &["topic=\"measured\"", "is_system=\"false\""],
    ]
    .concat();
    assert_eq!(
        value(&metrics, "rocketmq_messages_in_total", &of_topic),
        Some(3.0),
        "{metrics}"
    );
    let of_group = [
        common.as_slice(),
        &["consumer_group=\"readers\"", "topic=\"measured\""],
    ]
    .concat();
    assert_eq!(
        value(&metrics, "rocketmq_messages_out_total", &of_group),
        Some(1.0),
        "{metrics}"
    );
    assert_eq!(
        value(&metrics, "rocketmq_broker_permission", &common),
        Some(6.0)
    );
    assert!(
        value(
            &metrics,
            "rocketmq_storage_size_bytes",
            &["storage_medium=\"disk\""]
        )
        .is_some_and(|bytes| bytes > 0.0)
    );
    assert!(metrics.ends_with("# EOF\n"));
    rig.stop().await;
}

/// Everything that is declared is told, with its labels, and nothing else; what alerts ask for has series before anything happened.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_declared_is_told() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.management = "127.0.0.1:0".to_owned();
        // Nobody is there, and its series is.
        config.name_servers = "127.0.0.1:1".to_owned();
    })
    .await;
    let (_, quiet) = get(&rig.broker, "/metrics").await;
    for series in [
        "rocketmq_rpc_latency_seconds_count{request_code=\"SEND_MESSAGE_V2\"",
        "rocketmq_rpc_latency_seconds_count{request_code=\"PULL_MESSAGE\"",
        "rocketmq_rejected_requests_total{reason=\"SERVICE_NOT_AVAILABLE\"",
        "rocketmq_storage_sync_seconds_count{",
        "rocketmq_delay_lateness_seconds_count{",
    ] {
        assert!(
            quiet.lines().any(|line| line.starts_with(series)),
            "{series} in {quiet}"
        );
    }

    let client = rig.client();
    client
        .create_group("offline", |group| {
            let quota = ("quota.messages".to_owned(), "9".to_owned());
            group.attributes.extend([quota]);
        })
        .await;
    client.put("measured", "", "one").await;
    client.put("measured", "DELAY\u{1}1\u{2}", "two").await;
    // One transaction stays open, and one is rolled back.
    client.put("deals", "TRAN_MSG\u{1}true\u{2}", "open").await;
    let ended = client.put("deals", "TRAN_MSG\u{1}true\u{2}", "ended").await;
    let id: OffsetMessageId = ended.msg_id.parse().expect("an offset id");
    let (offset, position) = (ended.queue_offset.to_string(), id.position.to_string());
    let end = [
        ("producerGroup", "producers"),
        ("tranStateTableOffset", offset.as_str()),
        ("commitLogOffset", position.as_str()),
        ("commitOrRollback", "12"),
        ("msgId", ""),
    ];
    let answer = client.call(RequestCode::EndTransaction, &end, &[]).await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    client.pull(&pull("measured", 0, 0)).await;
    let heartbeat = HeartbeatData {
        client_id: "one".to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "online".to_owned(),
            subscription_data_set: vec![SubscriptionData::tags("measured", "*", 1)],
            ..ConsumerData::default()
        }],
        producer_data_set: vec![ProducerData {
            group_name: "producers".to_owned(),
        }],
        ..HeartbeatData::default()
    };
    client
        .call(RequestCode::HeartBeat, &(), &heartbeat.to_json())
        .await;
    let refused = client.send(&message("measured", 900, ""), b"x").await;
    let refused = refused.expect_err("there is no such queue").code;
    let reason = ResponseCode::from_i32(refused)
        .expect("a known code")
        .name();
    client
        .put("measured", "TIMER_DELAY_SEC\u{1}80000\u{2}", "later")
        .await;
    let metrics = async {
        loop {
            let (_, metrics) = get(&rig.broker, "/metrics").await;
            // What waits is counted from when the broker leads.
            if metrics.contains("rocketmq_timing_messages{topic=\"measured\"") {
                return metrics;
            }
        }
    };
    let metrics = tokio::time::timeout(PATIENCE, metrics).await;
    let metrics = metrics.expect("a timer is counted");
    let mut problems = rmq_process::scrape_problems(
        &rmq_broker::metric_families(),
        &rmq_broker::METRIC_LABELS,
        &metrics,
    );
    // A lone master has no replica (`replicas/seen.rs`), and one without TLS has no certificate (`replicas/tls.rs`).
    problems.retain(|problem| {
        !problem.starts_with("rocketmq_replication_") && !problem.starts_with("rocketmq_tls_")
    });
    assert_eq!(problems, Vec::<String>::new(), "{metrics}");

    let is = |name: &str, labels: &[&str]| value(&metrics, name, labels);
    let took = "rocketmq_rpc_latency_seconds_count";
    assert_eq!(is(took, &["request_code=\"SEND_MESSAGE_V2\""]), Some(6.0));
    let timers = ["topic=\"measured\""];
    assert_eq!(is("rocketmq_timing_messages", &timers), Some(1.0));
    let day = ["timer_bound_s=\"86400\""];
    assert_eq!(is("rocketmq_timer_message_snapshot", &day), Some(1.0));
    assert_eq!(is(took, &["request_code=\"PULL_MESSAGE\""]), Some(1.0));
    // Answered by a task, later.
    assert_eq!(
        is(
            took,
            &["request_code=\"UPDATE_AND_CREATE_SUBSCRIPTIONGROUP\""]
        ),
        Some(1.0)
    );
    assert!(
        is("rocketmq_rpc_latency_seconds_sum", &["SEND_MESSAGE_V2"]).is_some_and(|sum| sum > 0.0)
    );
    let refused = [format!("reason=\"{reason}\"")];
    assert_eq!(
        is("rocketmq_rejected_requests_total", &[&refused[0]]),
        Some(1.0),
        "{metrics}"
    );
    let online = "rocketmq_consumer_connections";
    assert_eq!(is(online, &["consumer_group=\"online\""]), Some(1.0));
    assert_eq!(is(online, &["consumer_group=\"offline\""]), Some(0.0));
    let messages = "rocketmq_messages_in_total";
    for (topic, system) in [
        ("measured", false),
        ("DefaultCluster", true),
        ("broker-a", true),
        ("TBW102", true),
    ] {
        let labels = [
            format!("topic=\"{topic}\""),
            format!("is_system=\"{system}\""),
        ];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert!(is(messages, &labels).is_some(), "{topic} in {metrics}");
    }
    assert_eq!(
        is("rocketmq_connections", &["listener=\"remoting\""]),
        Some(1.0)
    );
    assert_eq!(is("rocketmq_connections_limit", &[]), Some(20_000.0));
    rig.stop().await;
}

/// How late a group is: the age of its oldest message, by the clock of the broker; nothing when it has all.
#[tokio::test(flavor = "multi_thread")]
async fn lag_is_told_in_seconds() {
    let clock = ManualClock::at(1_800_000_000_000);
    let deps = Deps {
        clock: Arc::new(clock.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| config.management = "127.0.0.1:0".to_owned()).await;
    let client = rig.client();
    client.create_topic("measured", 1, 6).await;
    client.create_group("late", |_| {}).await;
    client.put("measured", "", "one").await;
    clock.advance(Duration::from_secs(90));
    client.put("measured", "", "two").await;
    clock.advance(Duration::from_secs(30));
    for (offset, seconds) in [(0, 120.0), (1, 30.0), (2, 0.0)] {
        let commit = UpdateConsumerOffset {
            consumer_group: "late".into(),
            topic: "measured".into(),
            queue_id: 0,
            commit_offset: offset,
            broker_name: None,
        };
        client
            .call(RequestCode::UpdateConsumerOffset, &commit, &[])
            .await;
        let (_, metrics) = get(&rig.broker, "/metrics").await;
        let lag = |name| {
            value(
                &metrics,
                name,
                &["consumer_group=\"late\"", "topic=\"measured\""],
            )
        };
        assert_eq!(
            lag("rocketmq_consumer_lag_seconds"),
            Some(seconds),
            "{metrics}"
        );
        assert_eq!(
            lag("rocketmq_consumer_lag_messages"),
            Some(2.0 - offset as f64)
        );
        // It was given nothing since the start, and has a series.
        assert_eq!(lag("rocketmq_messages_out_total"), Some(0.0));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_no_name_server_knows_is_not_ready_and_says_why() {
    // A port where nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let rig = Rig::start_with(Deps::default(), |config| {
        config.management = "127.0.0.1:0".to_owned();
        config.name_servers = closed.to_string();
    })
    .await;
    let (status, text) = get(&rig.broker, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains(&closed.to_string()), "{text}");
    assert_eq!(get(&rig.broker, "/livez").await.0, 200);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_kept_open_does_not_hold_up_the_stop() {
    let rig = Rig::start_with(Deps::default(), |config| {
        config.management = "127.0.0.1:0".to_owned()
    })
    .await;
    let mut half = TcpStream::connect(rig.broker.management_addr().expect("a port"))
        .await
        .expect("connects");
    half.write_all(b"GET /livez HTTP/1.1\r\n")
        .await
        .expect("written");
    // Accepted before the next one, which is answered.
    get(&rig.broker, "/livez").await;
    tokio::time::timeout(PATIENCE, rig.stop())
        .await
        .expect("the stop ends");
}
