//! A broker whose role changes while it runs.

use std::time::Duration;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::FieldSource;
use rmq_transport::{Caller, CallerConfig, OwnedFrame, RefuseIncoming, TcpConnector};

use super::*;
use crate::role::Role;

mod lives;
mod promotion;
mod registration;
#[path = "../../tests/messages/support.rs"]
#[allow(dead_code, reason = "the tests of messages use the rest")]
mod support;

async fn ask(caller: &Caller, code: RequestCode, fields: &(dyn FieldSource + Sync)) -> OwnedFrame {
    let patience = Duration::from_secs(20);
    let answer = caller.call(code.as_i32(), fields, &[], patience).await;
    answer.expect("an answer")
}

#[tokio::test]
async fn a_broker_that_becomes_a_replica_refuses_what_only_masters_do_and_serves_the_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = BrokerConfig {
        listen: "127.0.0.1:0".to_owned(),
        management: String::new(),
        data_dir: folder.path().to_owned(),
        segment_bytes: 16 << 20,
        ..BrokerConfig::default()
    };
    let listeners = Listeners::bind(&config).await.expect("a port");
    let addr = listeners.addr();
    let running = BrokerServer::start_on(listeners, config, Deps::default())
        .await
        .expect("the broker starts");
    assert_eq!(running.addr(), addr, "the port that was passed in");
    let caller = Caller::new(
        addr.to_string(),
        Arc::new(TcpConnector),
        CallerConfig::default(),
        Arc::new(RefuseIncoming),
    );
    let topic = [
        ("topic", "orders"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
    ];
    let put = RequestCode::UpdateAndCreateTopic;
    let role_in_config = async || {
        let answer = ask(&caller, RequestCode::GetBrokerConfig, &()).await;
        let text = String::from_utf8(answer.body().to_vec()).expect("text");
        let line = text.lines().find(|line| line.starts_with("brokerRole="));
        line.unwrap_or_default().to_owned()
    };

    assert_eq!(ask(&caller, put, &topic).await.code(), 0);
    assert_eq!(role_in_config().await, "brokerRole=ASYNC_MASTER");

    let of = Some("10.0.0.7:10911".to_owned());
    let broker = running.lives.broker().expect("a life");
    broker.role.set(Role::Replica { of });
    let refused = ask(&caller, put, &topic).await;
    assert_eq!(
        refused.code(),
        ResponseCode::SystemError.as_i32(),
        "a replica changes nothing"
    );
    let header = refused.header();
    let remark = header
        .remark
        .as_ref()
        .map(|text| text.to_cow().into_owned());
    let remark = remark.unwrap_or_default();
    assert!(remark.contains("replica of 10.0.0.7:10911"), "{remark}");
    assert_eq!(role_in_config().await, "brokerRole=SLAVE");

    broker.role.set(Role::Master { epoch: 2 });
    assert_eq!(ask(&caller, put, &topic).await.code(), 0);
    running.shutdown().await.expect("a clean stop");
}
