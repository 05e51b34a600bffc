//! SIGKILL in the middle of a load: what was acknowledged is there afterwards, once, in order, where the ack said.

use rmq_client::{Client, Queue};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rmq_e2e::crowd::{Crowd, Working};
use rmq_e2e::history::Report;

const TOPIC: &str = "crash";
const QUEUES: u16 = 4;

/// One producer at every queue, and a reader.
async fn load(cluster: &Cluster, crowd: &Crowd, queues: &[Queue]) -> Working {
    crowd
        .start(queues, 1, async || cluster.client().await)
        .await
}

/// Reads everything and demands that nothing is wrong.
async fn check(cluster: &mut Cluster, client: &Client, crowd: &Crowd) -> Report {
    let queues = cluster.queues(client, TOPIC).await;
    crowd.read_all(client, &queues).await;
    let report = crowd.history().check();
    assert!(
        report.violations.is_empty(),
        "{report}\nthe broker's log:\n{}",
        cluster.broker().log()
    );
    report
}

/// Kills the broker in each cycle after some acks while more messages are under way, starts it again, and checks everything so far.
async fn cycles(flush: FlushMode, cycles: usize) -> Report {
    let mut cluster = Cluster::start(1, flush);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut crowd = Crowd::default();
    let mut report = Report::default();
    for cycle in 0..cycles {
        let queues = cluster.queues(&client, TOPIC).await;
        let working = load(&cluster, &crowd, &queues).await;
        // Other places each time: right after the start, in the middle, after many.
        working.acked(1 + cycle * 37 % 400).await;
        cluster.kill_broker();
        crowd.finish(working).await;
        cluster.start_broker();
        report = check(&mut cluster, &client, &crowd).await;
    }
    assert!(
        report.unknown_stored + report.unknown_gone > 0,
        "no kill fell into the middle of a send, so nothing was tried: {report}"
    );
    client.shutdown().await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_lose_nothing_that_the_disk_had() {
    let report = cycles(FlushMode::Sync, 30).await;
    assert!(report.acked > 4_000, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_that_the_system_had() {
    cycles(FlushMode::Async, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_name_servers_may_be_killed_at_any_time() {
    let mut cluster = Cluster::start(2, FlushMode::Sync);
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut crowd = Crowd::default();
    for cycle in 0..6 {
        let victim = cycle % 2;
        let queues = cluster.queues(&client, TOPIC).await;
        let working = load(&cluster, &crowd, &queues).await;
        working.acked(50).await;
        cluster.kill_name_server(victim);
        // Sends continue: the other name server knows everything.
        working.acked(150).await;
        // The other one also shows where a broker is that crashed and came back elsewhere.
        cluster.kill_broker();
        crowd.finish(working).await;
        cluster.start_broker();
        check(&mut cluster, &client, &crowd).await;
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
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let client = cluster.client().await;
    let queues = cluster.create_topic(&client, TOPIC, QUEUES).await;
    let mut crowd = Crowd::default();
    let working = load(&cluster, &crowd, &queues).await;
    working.acked(300).await;
    let status = cluster.take_broker().stop();
    crowd.finish(working).await;
    assert_eq!(status.code(), Some(0));
    assert!(
        client.refresh_route(TOPIC).await.is_err(),
        "it left the routes"
    );
    cluster.start_broker();
    check(&mut cluster, &client, &crowd).await;
    client.shutdown().await;
}
