//! A disk that fails, and addresses that are longer.

use std::sync::Arc;

use rmq_broker::{Deps, Flush};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::{OffsetMessageId, RecordView};
use rmq_protocol::requests::ViewMessageById;
use rmq_store::fs::{Fault, FaultyFs, Operation, RealFs};

use crate::support::{Rig, message, pull};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_taken_and_everything_before_is_served() {
    let fs = FaultyFs::new(Arc::new(RealFs));
    let deps = Deps {
        fs: Arc::new(fs.clone()),
        ..Deps::default()
    };
    let rig = Rig::start_with(deps, |config| {
        config.flush = Flush::Sync;
        config.management = "127.0.0.1:0".to_owned();
    })
    .await;
    let client = rig.client();
    client.put("t", "", "before").await;
    assert_eq!(crate::management::get(&rig.broker, "/readyz").await.0, 200);

    fs.plan(Fault {
        operation: Operation::Sync,
        path_contains: rig.folder.path().display().to_string(),
        after: 0,
        // Every one: others than that of the log, such as of zeros written ahead, may come first.
        times: usize::MAX,
        kind: std::io::ErrorKind::Other,
    });
    let first = client
        .send(&message("t", 0, ""), b"lost")
        .await
        .expect_err("not flushed");
    // Stored perhaps, but not as safely as promised.
    assert_eq!(first.code, 10, "{first:?}");
    fs.clear();
    // The disk works again, but what the system dropped nobody knows: no further message until a restart.
    let second = client
        .send(&message("t", 0, ""), b"refused")
        .await
        .expect_err("read-only");
    assert!([10, 14].contains(&second.code), "{second:?}");
    assert!(!second.remark.is_empty());
    let (status, text) = crate::management::get(&rig.broker, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("read-only"), "{text}");
    let pulled = client.pull(&pull("t", 0, 0)).await;
    assert_eq!(pulled.bodies(), ["before"], "{pulled:?}");
    // A consumer that comes now can read, too.
    let beat = rmq_protocol::bodies::HeartbeatData {
        client_id: "late".to_owned(),
        consumer_data_set: vec![rmq_protocol::bodies::ConsumerData {
            group_name: "late".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client
        .call(RequestCode::HeartBeat, &(), &beat.to_json())
        .await;
    assert_eq!(answer.code(), 0, "{}", crate::support::remark(&answer));
    // A stop that could not write everything says so.
    assert!(rig.broker.shutdown().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_broker_may_have_long_addresses() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // A machine without IPv6 cannot have such clients.
        return;
    }
    let rig = Rig::start_with(Deps::default(), |config| {
        config.listen = "[::1]:0".to_owned()
    })
    .await;
    assert!(
        rig.broker.advertised().starts_with("[::1]:"),
        "{}",
        rig.broker.advertised()
    );
    let client = rig.client();
    let reply = client.put("t", "TAGS\u{1}t\u{2}", "far away").await;
    let id: OffsetMessageId = reply.msg_id.parse().expect("an id");
    assert_eq!(id.host, rig.broker.addr());
    assert_eq!(client.pull(&pull("t", 0, 0)).await.bodies(), ["far away"]);
    let view = ViewMessageById {
        topic: None,
        offset: id.position.0 as i64,
    };
    let answer = client.call(RequestCode::ViewMessageById, &view, &[]).await;
    let record = RecordView::parse(answer.body()).expect("a record");
    assert_eq!(
        (record.body(), record.store_host()),
        (&b"far away"[..], rig.broker.addr())
    );
    rig.stop().await;
}
