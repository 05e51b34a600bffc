//! What is left after a stop, and after a kill.

use rmq_broker::{BrokerServer, Deps, Flush};
use rmq_ports::Port;
use rmq_protocol::code::RequestCode;
use rmq_protocol::requests::{OffsetReply, QueryConsumerOffset, Reply, UpdateConsumerOffset};
use rmq_protocol::route::perm;

use crate::support::{Client, Rig, config, message, pull, remark};

async fn fill(client: &Client) {
    client
        .create_topic("kept", 3, perm::READ | perm::WRITE)
        .await;
    client
        .create_group("kept-group", |group| group.retry_max_times = 5)
        .await;
    for number in 0..50 {
        client
            .send(
                &message("kept", number % 3, "TAGS\u{1}t\u{2}"),
                number.to_string().as_bytes(),
            )
            .await
            .expect("stored");
    }
}

async fn check(client: &Client) {
    let mut bodies = Vec::new();
    for queue in 0..3 {
        let pulled = client.pull(&pull("kept", queue, 0)).await;
        for (offset, record) in pulled.records.iter().enumerate() {
            assert_eq!(record.offset, offset as i64);
            bodies.push(record.text().parse::<i32>().expect("a number"));
        }
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (0..50).collect::<Vec<_>>(), "each message once");
    let refused = client
        .send(&message("kept", 3, ""), b"x")
        .await
        .expect_err("three queues");
    assert_eq!(refused.code, 29);
    // Offsets go on where they were.
    let next = client
        .send(&message("kept", 0, ""), b"50")
        .await
        .expect("stored");
    assert_eq!(next.queue_offset, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_broker_has_everything_when_it_is_back() {
    let rig = Rig::start().await;
    let client = rig.client();
    fill(&client).await;
    let commit = UpdateConsumerOffset {
        consumer_group: "kept-group".into(),
        topic: "kept".into(),
        queue_id: 1,
        commit_offset: 9,
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::UpdateConsumerOffset, &commit, &[])
        .await;
    assert_eq!(answer.code(), 0, "{}", remark(&answer));
    let Rig { broker, folder } = rig;
    broker.shutdown().await.expect("a clean stop");

    let broker = BrokerServer::start(config(folder.path()), Deps::default())
        .await
        .expect("starts again");
    let client = Client::to(&broker);
    check(&client).await;
    let query = QueryConsumerOffset {
        consumer_group: "kept-group".into(),
        topic: "kept".into(),
        queue_id: 1,
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client
        .call(RequestCode::QueryConsumerOffset, &query, &[])
        .await;
    assert_eq!(
        OffsetReply::decode(&answer.header().fields)
            .expect("kept")
            .offset,
        9
    );
    broker.shutdown().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_has_every_acknowledged_message() {
    for flush in [Flush::Async, Flush::Sync] {
        let rig = Rig::start_with(Deps::default(), |config| config.flush = flush).await;
        fill(&rig.client()).await;
        let Rig { broker, folder } = rig;
        broker.kill().await;

        let broker = BrokerServer::start(config(folder.path()), Deps::default())
            .await
            .expect("starts again");
        check(&Client::to(&broker)).await;
        broker.shutdown().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_answers_nobody_any_more() {
    let rig = Rig::start().await;
    let client = rig.client();
    client.put("t", "", "x").await;
    rig.broker.kill().await;
    let answer = client
        .try_call(RequestCode::SendMessageV2, &message("t", 0, ""), b"y")
        .await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_do_not_share_a_folder() {
    let rig = Rig::start().await;
    let second = BrokerServer::start(config(rig.folder.path()), Deps::default()).await;
    let error = second.expect_err("the folder is in use").to_string();
    assert!(
        error.contains(&rig.folder.path().display().to_string()),
        "{error}"
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_port_answers_like_the_first() {
    // With a port of the system's choice there is none.
    let rig = Rig::start().await;
    assert_eq!(rig.broker.fast_addr(), None);
    rig.stop().await;
    let port = Port::hold_with(&[-2]).expect("two ports");
    let folder = tempfile::tempdir().expect("a folder");
    let mut fixed = config(folder.path());
    fixed.listen = port.addr().to_string();
    let broker = BrokerServer::start(fixed, Deps::default()).await;
    let broker = broker.expect("it starts");
    let fast = broker.fast_addr().expect("the second port");
    assert_eq!(fast.port(), port.number() - 2);
    Client::at(&fast.to_string())
        .put("t", "", "by the side door")
        .await;
    assert_eq!(
        Client::to(&broker).pull(&pull("t", 0, 0)).await.bodies(),
        ["by the side door"]
    );
    broker.shutdown().await.expect("a clean stop");
}
