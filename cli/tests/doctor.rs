//! `rmq-ctl doctor` against faults that were planted: each cause of "no route" is told from the others, and the client outside too.

mod common;

use common::Run;
use common::servers::{findings, name_server, only, registered};
use rmq_client::protocol::bodies::{ConsumerData, HeartbeatData, SubscriptionData};
use rmq_client::protocol::requests::HeartBeat;
use rmq_client::{Client, Filter};
use rmq_testing::TestCluster;

/// What doctor finds: the ids of the checks that are not fine, and what they say.
async fn doctor(name_servers: &str, args: &[&str]) -> Vec<(String, String)> {
    let mut line = vec!["doctor"];
    line.extend(args);
    findings(name_servers, &line).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_where_nothing_is_wrong() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    assert_eq!(doctor(&cluster.name_server_list(), &["orders"]).await, []);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_1_no_name_server_there() {
    let found = doctor("127.0.0.1:1", &["orders"]).await;
    only(
        &found,
        "name-server-reachable",
        "nothing listens at 127.0.0.1:1",
    );
    let found = doctor("no-such-host.invalid:9876", &["orders"]).await;
    only(&found, "name-server-reachable", "is not known here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_2_it_is_no_name_server() {
    let cluster = TestCluster::start().await;
    let found = doctor(&cluster.broker(0).address(), &["orders"]).await;
    only(&found, "name-server-speaks", "it is no name server");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_3_no_broker_is_registered() {
    let name_server = name_server().await;
    let found = doctor(&name_server.local_addr().to_string(), &["orders"]).await;
    only(&found, "brokers-registered", "no broker is registered");
    name_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_4_the_topic_does_not_exist() {
    let cluster = TestCluster::start().await;
    cluster.topic("order-events").create().await;
    let found = doctor(&cluster.name_server_list(), &["orders-events"]).await;
    only(&found, "topic-exists", "do you mean \"order-events\"?");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_5_a_name_server_does_not_know_the_broker() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let other = name_server().await;
    let both = format!("{};{}", cluster.name_server_list(), other.local_addr());
    let found = doctor(&both, &["orders"]).await;
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["name-servers-agree", "route-everywhere"], "{found:?}");
    assert!(
        found[0].1.contains(&other.local_addr().to_string()),
        "{found:?}"
    );
    other.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cause_6_no_queue_can_be_written() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let client = cluster.client().await;
    client.admin().stop_writes("broker-0").await.unwrap();
    let found = doctor(&cluster.name_server_list(), &["orders"]).await;
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["broker-writable", "topic-writable"], "{found:?}");
    assert!(found[0].1.contains("it is drained"), "{found:?}");
    let says = "the write permission is off at broker-0";
    assert!(found[1].1.contains(says), "{found:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_died_and_is_still_in_the_routes() {
    let name_server = name_server().await;
    let client = registered(&name_server, "broker-x", "127.0.0.1:1", 0, "orders").await;
    let found = doctor(&name_server.local_addr().to_string(), &["orders"]).await;
    only(&found, "broker-reachable", "nothing listens at 127.0.0.1:1");
    client.shutdown().await;
    name_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_outside_of_the_brokers_network() {
    let name_server = name_server().await;
    let addr = "broker-a-0.broker-a.shop.svc:10911";
    let client = registered(&name_server, "broker-a", addr, 0, "orders").await;
    let found = doctor(&name_server.local_addr().to_string(), &["orders"]).await;
    only(&found, "client-outside", "an address of its own network");
    client.shutdown().await;
    name_server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_gets_nothing() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let list = cluster.name_server_list();
    let found = doctor(&list, &["orders", "-g", "biling"]).await;
    only(&found, "group-exists", "no broker knows the group");
    let client = cluster.client().await;
    client
        .admin()
        .create_group(&rmq_client::GroupSpec::new("billing").consumable(false))
        .await
        .unwrap();
    let found = doctor(&list, &["orders", "-g", "billing"]).await;
    let ids: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["group-consumes", "group-online"], "{found:?}");
    cluster.shutdown().await;
}

/// A member that only says that it lives: one connection, one client id, one subscription of "orders" in the group "billing".
async fn member(cluster: &TestCluster, id: &str, tags: &str) -> Client {
    let list = cluster.name_server_list().replace(';', ",");
    let client = Client::connect(format!("rmq://{list}")).await.unwrap();
    let heartbeat = HeartbeatData {
        client_id: id.to_owned(),
        consumer_data_set: vec![ConsumerData {
            group_name: "billing".to_owned(),
            subscription_data_set: vec![SubscriptionData::tags("orders", tags, 1)],
            ..ConsumerData::default()
        }],
        ..HeartbeatData::default()
    };
    client
        .remote(&cluster.broker(0).address())
        .call(&HeartBeat {}, &heartbeat.to_json())
        .await
        .unwrap();
    client
}

async fn run(cluster: &TestCluster, args: &[&str]) -> Run {
    common::servers::run(&cluster.name_server_list(), args).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_with_one_client_id() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let members = [
        member(&cluster, "10.0.0.1@7", "*").await,
        member(&cluster, "10.0.0.1@7", "*").await,
        member(&cluster, "10.0.0.1@8", "*").await,
    ];
    let listed = run(&cluster, &["get", "clients", "-g", "billing", "-o", "name"]).await;
    assert_eq!(
        listed.ok(),
        "client/10.0.0.1@7\nclient/10.0.0.1@7\nclient/10.0.0.1@8\n"
    );
    let says = "2 connections have the client id \"10.0.0.1@7\"";
    let described = run(&cluster, &["describe", "group", "billing"]).await.ok();
    assert!(described.contains(says), "{described}");
    let list = cluster.name_server_list();
    only(&doctor(&list, &[]).await, "group-member-ids", says);
    only(
        &doctor(&list, &["orders", "-g", "billing"]).await,
        "group-member-ids",
        says,
    );
    for member in members {
        member.shutdown().await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_want_different_messages() {
    let cluster = TestCluster::start().await;
    cluster.topic("orders").create().await;
    let url = format!("rmq://{}", cluster.name_server_list().replace(';', ","));
    let one = Client::connect(url.clone()).await.unwrap();
    let other = Client::connect(url).await.unwrap();
    let consume = async |client: &Client, tags: &str| {
        let consumer = client.consumer("billing");
        let consumer = consumer.subscribe("orders", Filter::from(tags));
        consumer.stream().await.unwrap()
    };
    let first = consume(&one, "paid || sent").await;
    let second = consume(&other, "sent||paid").await;
    let list = cluster.name_server_list();
    assert_eq!(doctor(&list, &["orders", "-g", "billing"]).await, []);
    second.shutdown().await.unwrap();
    let second = consume(&other, "sent").await;
    let says = "members subscribe to \"orders\" differently";
    only(&doctor(&list, &[]).await, "group-subscriptions", says);
    let described = run(&cluster, &["describe", "group", "billing"]).await.ok();
    assert!(
        described.contains(says) && described.contains("as \"sent\""),
        "{described}"
    );
    first.shutdown().await.unwrap();
    second.shutdown().await.unwrap();
    one.shutdown().await;
    other.shutdown().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumped_is_told() {
    let cluster = TestCluster::start().await;
    let list = cluster.name_server_list();
    cluster.clock().jump_ms(7_200_000);
    let says = "its clock jumped (2h ahead";
    only(&doctor(&list, &[]).await, "broker-clock", says);
    // It agrees with itself for an hour: no problem any more, but worth a note.
    cluster.advance(std::time::Duration::from_secs(3_700));
    assert_eq!(doctor(&list, &[]).await, []);
    let report = run(&cluster, &["doctor"]).await.ok();
    let note = report.lines().find(|line| line.contains(says));
    assert!(
        note.is_some_and(|line| line.starts_with("note")),
        "{report}"
    );
    cluster.shutdown().await;
}
