//! SIGKILL in the middle of a load: what was acknowledged is there afterwards, once, in order, where the ack said.

use rmq_client::Client;
use rmq_e2e::checker::History;
use rmq_e2e::cluster::{Cluster, Flush};
use rmq_e2e::load::{Load, read_all};

const TOPIC: &str = "crash";
const QUEUES: u16 = 4;

/// Loads, kills the broker after `messages` acks while more are under way, starts it again, and checks everything so far.
async fn one_cycle(cluster: &mut Cluster, client: &Client, history: &mut History, messages: u64) {
    let queues = cluster.queues(client, TOPIC).await;
    let load = Load::start(client, &queues, history.next_number(), 64);
    load.acked(messages).await;
    cluster.kill_broker();
    history.merge(load.finish().await);
    cluster.start_broker();
    let queues = cluster.queues(client, TOPIC).await;
    let violations = history.check(&read_all(client, &queues).await);
    assert!(
        violations.is_empty(),
        "{}\nthe broker's log:\n{}",
        violations.join("\n"),
        cluster.broker().log()
    );
}

async fn cycles(flush: Flush, cycles: u64) -> History {
    let mut cluster = Cluster::start(1, flush);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut history = History::default();
    for cycle in 0..cycles {
        // Other places each time: right after the start, in the middle, after many.
        one_cycle(&mut cluster, &client, &mut history, 1 + cycle * 37 % 400).await;
    }
    assert!(
        history.unacked() > 0,
        "no kill fell into the middle of a send, so nothing was tried"
    );
    client.shutdown().await;
    history
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_lose_nothing_that_the_disk_had() {
    let history = cycles(Flush::Sync, 30).await;
    assert!(history.acked() > 4_000, "{}", history.acked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_that_the_system_had() {
    cycles(Flush::Async, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_name_servers_may_be_killed_at_any_time() {
    let mut cluster = Cluster::start(2, Flush::Sync);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut history = History::default();
    for cycle in 0..6 {
        let victim = cycle % 2;
        let queues = cluster.queues(&client, TOPIC).await;
        let load = Load::start(&client, &queues, history.next_number(), 64);
        load.acked(50).await;
        cluster.kill_name_server(victim);
        // Sending goes on: the other one knows everything.
        load.acked(200).await;
        // And so does finding a broker that crashed and came back elsewhere.
        cluster.kill_broker();
        history.merge(load.finish().await);
        cluster.start_broker();
        let queues = cluster.queues(&client, TOPIC).await;
        let violations = history.check(&read_all(&client, &queues).await);
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        // The dead one comes back empty at its old address, and learns again.
        cluster.start_name_server(victim);
        let alone = Client::connect(format!("rmq://{}", cluster.name_server(victim).addr()))
            .await
            .unwrap();
        cluster.queues(&alone, TOPIC).await;
        alone.shutdown().await;
    }
    client.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gentle_stop_finishes_what_is_under_way() {
    let mut cluster = Cluster::start(1, Flush::Async);
    let client = cluster.client().await;
    let queues = cluster.create_topic(&client, TOPIC, QUEUES).await;
    let load = Load::start(&client, &queues, 0, 64);
    load.acked(300).await;
    let status = cluster.take_broker().stop();
    let history = load.finish().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        client.refresh_route(TOPIC).await.is_err(),
        "it left the routes"
    );
    cluster.start_broker();
    let queues = cluster.queues(&client, TOPIC).await;
    let violations = history.check(&read_all(&client, &queues).await);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    client.shutdown().await;
}
