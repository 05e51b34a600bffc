//! `rmq-ctl health` in every state in which sends or reads fail: each is planted, shown, and gives exit code 10.

mod common;

use common::servers::{findings, name_server, only, registered, run};
use rmq_client::protocol::requests::DeleteTopicInNamesrv;
use rmq_client::{GroupSpec, Message, TopicSpec};
use rmq_testing::TestCluster;

async fn health(cluster: &TestCluster) -> Vec<(String, String)> {
    findings(&cluster.name_server_list(), &["health"]).await
}

fn ids(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(id, _)| id.as_str()).collect()
}

/// PERM of the only broker, in `health` and in `get brokers`.
async fn perm(cluster: &TestCluster) -> String {
    let list = cluster.name_server_list();
    let path = "jsonpath={.items[?@.id=='broker-writable'].perm}";
    let health = run(&list, &["health", "-o", path]).await;
    let line = ["get", "brokers", "-o", "jsonpath={.items[0].perm}"];
    let listed = run(&list, &line).await.ok();
    assert_eq!(health.out, listed, "{}", health.err);
    listed.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_of_a_broker() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    assert_eq!(health(&cluster).await, []);
    assert_eq!(perm(&cluster).await, "rw");
    let admin = cluster.client().await.admin();
    let set = async |perm: &str| {
        let settings = [("brokerPermission", perm)];
        let set = admin.update_broker_config("broker-0", &settings).await;
        set.unwrap();
    };
    set("4").await;
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["broker-writable", "topics-writable"]);
    assert!(found[0].1.contains("brokerPermission=6"), "{found:?}");
    assert!(found[1].1.contains("orders"), "{found:?}");
    assert_eq!(perm(&cluster).await, "r");
    set("2").await;
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["broker-readable", "topics-readable"]);
    assert_eq!(perm(&cluster).await, "w");
    set("6").await;
    assert_eq!(health(&cluster).await, []);
    // Drained: the broker itself permits everything, the routes do not.
    admin.stop_writes("broker-0").await.unwrap();
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["broker-writable", "topics-writable"]);
    let says = ["it is drained", "rmq-ctl broker undrain broker-0"];
    assert!(
        says.iter().all(|says| found[0].1.contains(says)),
        "{found:?}"
    );
    assert_eq!(perm(&cluster).await, "r");
    admin.allow_writes("broker-0").await.unwrap();
    assert_eq!(health(&cluster).await, []);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_groups_that_nobody_can_use() {
    let cluster = TestCluster::start().await;
    let admin = cluster.client().await.admin();
    for (topic, read, write) in [
        ("open", true, true),
        ("closed", true, false),
        ("mute", false, true),
    ] {
        let spec = TopicSpec::new(topic).queues(1).permissions(read, write);
        admin.create_topic(&spec).await.unwrap();
    }
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["topics-writable", "topics-readable"]);
    assert!(
        found[0]
            .1
            .contains("1 of 3 take no messages at any broker: closed "),
        "{found:?}"
    );
    assert!(
        found[1]
            .1
            .contains("1 of 3 give no messages at any broker: mute "),
        "{found:?}"
    );
    for topic in ["closed", "mute"] {
        admin.delete_topic(topic).await.unwrap();
    }
    let group = GroupSpec::new("billing");
    admin.create_group(&group).await.unwrap();
    assert_eq!(health(&cluster).await, []);
    let off = group.consumable(false);
    admin.create_group(&off).await.unwrap();
    let found = health(&cluster).await;
    only(&found, "groups-consume", "billing at broker-0");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_without_room() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    cluster.broker(0).fill_disk();
    let client = cluster.client().await;
    let producer = client.producer_builder().retries(0).build();
    let message = || Message::new("orders", vec![b'x'; 256 * 1024]);
    while producer.send(message()).await.is_ok() {}
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["broker-writable", "topics-writable"]);
    assert!(found[0].1.contains("takes no messages: "), "{found:?}");
    cluster.broker(0).repair();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_failed_makes_the_store_read_only() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    let producer = client.producer_builder().retries(0).build();
    let message = |text: &'static str| Message::new("orders", text);
    producer.send(message("before")).await.unwrap();
    assert_eq!(health(&cluster).await, []);
    cluster.broker(0).break_disk();
    producer.send(message("lost")).await.unwrap_err();
    // The disk works again, and the store stays read-only: nobody knows what the disk has kept.
    cluster.broker(0).repair();
    producer.send(message("refused")).await.unwrap_err();
    let found = health(&cluster).await;
    assert_eq!(ids(&found), ["broker-writable", "topics-writable"]);
    for part in ["takes no messages: ", "read-only", "os error 5", "restart"] {
        assert!(found[0].1.contains(part), "{part}: {found:?}");
    }
    let left = client.reader("orders").open().await.unwrap().all().await;
    assert_eq!(left.unwrap()[0].body(), "before");
    cluster.broker(0).kill().await;
    cluster.broker(0).start().await;
    assert_eq!(health(&cluster).await, []);
    producer.send(message("after")).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumped() {
    let cluster = TestCluster::start().await;
    cluster.clock().jump_ms(-7_200_000);
    only(&health(&cluster).await, "broker-clock", "2h back");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_servers_that_differ() {
    let cluster = TestCluster::builder().name_servers(2).start().await;
    cluster.topic("orders").create().await;
    let list = cluster.name_server_list();
    // One of them has forgotten a topic.
    let client = cluster.client().await;
    let forgets = client.url().name_servers()[1].clone();
    let request = DeleteTopicInNamesrv {
        topic: "orders".into(),
        cluster_name: None,
    };
    let asked = client.remote(&forgets).call(&request, b"").await;
    asked.unwrap();
    only(&health(&cluster).await, "topics-routed", "orders");
    // One of them never knew the broker.
    let other = name_server().await;
    let first = list.split(';').next().unwrap();
    let both = format!("{first};{}", other.local_addr());
    let found = findings(&both, &["health"]).await;
    only(&found, "broker-registered", "not registered with");
    // One of them does not answer.
    cluster.name_server(1).stop().await;
    only(&health(&cluster).await, "name-server-answers", "");
    other.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_not_there() {
    let server = name_server().await;
    let list = server.local_addr().to_string();
    let found = findings(&list, &["health"]).await;
    only(&found, "brokers-registered", "no broker");
    // It died, or is starting again: the routes still have it.
    let dead = registered(&server, "broker-x", "127.0.0.1:1", 0, "orders").await;
    only(&findings(&list, &["health"]).await, "broker-answers", "");
    dead.shutdown().await;
    let replica = registered(&server, "broker-y", "127.0.0.1:1", 1, "orders").await;
    let found = findings(&list, &["health"]).await;
    assert!(ids(&found).contains(&"broker-has-master"), "{found:?}");
    replica.shutdown().await;
    server.shutdown().await;
}
