//! The management port.

use rmq_broker::{Deps, RunningBroker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PATIENCE, Rig, message, pull};

/// Status and body.
pub(crate) async fn get(broker: &RunningBroker, path: &str) -> (u16, String) {
    let addr = broker.management_addr().expect("a management port");
    let mut stream = TcpStream::connect(addr).await.expect("connects");
    stream
        .write_all(
            format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
        .expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("read");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}

pub(crate) fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

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
