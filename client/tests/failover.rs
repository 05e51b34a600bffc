//! A broker group whose master goes and comes back, or another one in its place: producers and consumers continue by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use rmq_client::protocol::RequestCode;
use rmq_client::protocol::requests::{OffsetReply, QueryConsumerOffset};
use rmq_client::{Client, Deliveries, Message, Queue, StartFrom};
use rmq_testing::{BrokerConfig, ClusterBuilder, TestCluster};

const WITHIN: Duration = Duration::from_secs(30);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let ended = tokio::time::timeout(WITHIN, future).await;
    ended.unwrap_or_else(|_| panic!("{what}: not within {WITHIN:?}"))
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

async fn send(client: &Client, bodies: std::ops::Range<u32>) {
    for n in bodies {
        let message = Message::new("t", n.to_string());
        client.producer().send(message).await.unwrap();
    }
}

/// Consumes and acknowledges so many; how often each body came.
async fn take(deliveries: &mut Deliveries, count: usize, seen: &mut BTreeMap<String, u32>) {
    for _ in 0..count {
        let next = within("the next message", deliveries.next()).await;
        let delivery = next.unwrap().unwrap();
        let body = String::from_utf8_lossy(delivery.message().body()).into_owned();
        *seen.entry(body).or_default() += 1;
        delivery.ack().await.unwrap();
    }
}

async fn consume(client: &Client, group: &str) -> Deliveries {
    let consumer = client.consumer(group).subscribe("t", "*");
    let consumer = consumer
        .from(StartFrom::First)
        .commit_every(Duration::from_millis(50));
    consumer.stream().await.unwrap()
}

async fn committed(client: &Client, group: &str, queue: &Queue) -> Option<i64> {
    let committed = client.admin().committed_offset(group, queue).await;
    committed.ok().flatten()
}

/// What one member has.
async fn offset_at(client: &Client, member: &str, group: &str, queue: &Queue) -> Option<i64> {
    let request = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: queue.topic().into(),
        queue_id: queue.id(),
        set_zero_if_not_found: Some(false),
        broker_name: None,
    };
    let answer = client.remote(member).call(&request, b"").await.ok()?;
    Some(answer.fields::<OffsetReply>().ok()?.offset)
}

/// A master and a replica that stays one.
fn pair() -> ClusterBuilder {
    TestCluster::builder().replicas(1).fixed_roles()
}

/// Alone, each member of these groups takes messages.
fn alone(config: &mut BrokerConfig) {
    config.min_in_sync = 1;
}

#[test]
fn consumers_read_from_a_replica_until_the_master_is_back() {
    rmq_testing::run(pair(), read_from_a_replica);
}

async fn read_from_a_replica(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let (master, replica) = (cluster.member(0, 0), cluster.member(0, 1));
    let client = cluster.connect().await;
    let queue = client.route("t").await.unwrap().readable()[0].clone();
    send(&client, 0..20).await;
    let mut seen = BTreeMap::new();
    let mut first = consume(&client, "first").await;
    take(&mut first, 10, &mut seen).await;
    first.shutdown().await.unwrap();
    let mut idle = consume(&client, "idle").await;
    take(&mut idle, 20, &mut BTreeMap::new()).await;
    cluster.replicas_caught_up(0).await;
    // Brokers write offsets once a second.
    eventually("the replica has the offsets", async || {
        offset_at(&client, &replica.address(), "first", &queue).await == Some(10)
    })
    .await;

    master.kill().await;
    eventually("the one that waits asks the replica", async || {
        replica.requests(RequestCode::PullMessage) > 0
    })
    .await;
    // A member that comes now continues where its group was; a new group that wants everything gets everything.
    let mut first = consume(&client, "first").await;
    take(&mut first, 10, &mut seen).await;
    let mut new = consume(&client, "new").await;
    take(&mut new, 20, &mut BTreeMap::new()).await;
    let message = Message::new("t", "20");
    let pending = client.producer().submit(message).await.unwrap();

    master.start().await;
    let receipt = within("the send that waited for the master", pending).await;
    assert_eq!(receipt.unwrap().queue_offset(), 20);
    for (group, deliveries) in [
        ("first", &mut first),
        ("new", &mut new),
        ("idle", &mut idle),
    ] {
        take(deliveries, 1, &mut seen).await;
        eventually(
            &format!("the master has the offset of {group}"),
            async || committed(&client, group, &queue).await == Some(21),
        )
        .await;
    }
    assert_eq!(seen.remove("20"), Some(3));
    assert_eq!(seen.len(), 20);
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    client.shutdown().await;
}

#[rmq_testing::test]
async fn an_offset_that_a_killed_master_forgot_is_told_again(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let queue = client.route("t").await.unwrap().readable()[0].clone();
    send(&client, 0..5).await;
    let mut deliveries = consume(&client, "g").await;
    take(&mut deliveries, 5, &mut BTreeMap::new()).await;
    deliveries.consumer().commit().await.unwrap();
    // Within the second in which the broker writes what it was told.
    cluster.broker(0).kill().await;
    cluster.broker(0).start().await;
    eventually("the offset is there again", async || {
        committed(&client, "g", &queue).await == Some(5)
    })
    .await;
    client.shutdown().await;
}

#[test]
fn a_replica_takes_the_place_of_its_master() {
    rmq_testing::run(pair().brokers_with(alone), |cluster| async move {
        cluster.topic("t").queues(2).create().await;
        let client = cluster.connect().await;
        let mut deliveries = consume(&client, "g").await;
        let mut seen = BTreeMap::new();
        send(&client, 0..10).await;
        take(&mut deliveries, 10, &mut seen).await;
        cluster.replicas_caught_up(0).await;

        let (old, new) = (cluster.member(0, 0), cluster.member(0, 1));
        old.kill().await;
        new.stop().await;
        let waiting = Message::new("t", "10");
        let waiting = client.producer().submit(waiting).await.unwrap();
        new.start_as_master().await;
        within("the send that waited", waiting).await.unwrap();
        send(&client, 11..20).await;
        take(&mut deliveries, 10, &mut seen).await;
        let at = cluster.wait_for_master(0).await;
        assert_eq!(at.slot(), 1);
        old.start().await;
        cluster.replicas_caught_up(0).await;
        send(&client, 20..21).await;
        take(&mut deliveries, 1, &mut seen).await;
        assert_eq!(seen.len(), 21);
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
        client.shutdown().await;
    });
}

#[test]
fn messages_of_a_key_wait_for_their_queue() {
    rmq_testing::run(pair().brokers(2), keys_wait);
}

async fn keys_wait(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let producer = client.producer();
    let keyed = |key: &str| Message::new("t", key.to_owned()).ordered_by(key);
    let mut queues = BTreeMap::new();
    for key in ["a", "b", "c", "d"] {
        let receipt = producer.send(keyed(key)).await.unwrap();
        queues.insert(key, receipt.queue().clone());
    }
    let of_first = queues
        .iter()
        .find(|(_, queue)| queue.broker() == "broker-0");
    let (key, queue) = of_first.expect("four keys use both brokers");
    cluster.member(0, 0).kill().await;
    let pending = producer.submit(keyed(key)).await.unwrap();
    for n in 0..4 {
        let receipt = producer.send(Message::new("t", n.to_string())).await;
        assert_eq!(receipt.unwrap().queue().broker(), "broker-1");
    }
    cluster.member(0, 0).start().await;
    let receipt = within("the send that waited", pending).await.unwrap();
    assert_eq!(receipt.queue(), queue);
    client.shutdown().await;
}

#[test]
fn order_is_kept_by_locks_that_the_new_life_of_a_master_gives() {
    rmq_testing::run(pair(), locks_are_given_again);
}

async fn locks_are_given_again(cluster: TestCluster) {
    cluster.topic("t").queues(1).create().await;
    let client = cluster.connect().await;
    let consumer = client.consumer("g").subscribe("t", "*").ordered();
    let mut deliveries = consumer.from(StartFrom::First).stream().await.unwrap();
    send(&client, 0..5).await;
    let mut bodies = Vec::new();
    for restart in [true, false] {
        for _ in 0..5 {
            let next = within("the next message", deliveries.next()).await;
            let delivery = next.unwrap().unwrap();
            bodies.push(String::from_utf8_lossy(delivery.message().body()).into_owned());
            delivery.ack().await.unwrap();
        }
        if restart {
            cluster.member(0, 0).kill().await;
            cluster.member(0, 0).start().await;
            send(&client, 5..10).await;
        }
    }
    assert_eq!(bodies, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    let lock = RequestCode::LockBatchMq;
    eventually("the new life knows the lock", async || {
        cluster.member(0, 0).requests(lock) > 1
    })
    .await;
    client.shutdown().await;
}

/// A firewall forgets connections without a word: what is sent on them is gone, and nothing ends them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_network_has_forgotten_is_replaced() {
    let cluster = TestCluster::start().await;
    cluster.topic("t").create().await;
    let client = Client::builder(cluster.url())
        .request_timeout(Duration::from_secs(1))
        .connect()
        .await
        .unwrap();
    send(&client, 0..3).await;
    let mut deliveries = consume(&client, "g").await;
    let mut seen = BTreeMap::new();
    take(&mut deliveries, 3, &mut seen).await;
    cluster.broker(0).forget_connections();
    // Whether the first ones are stored nobody knows: a producer tells.
    eventually("a message is acknowledged", async || {
        let message = Message::new("t", "again");
        client.producer().send(message).await.is_ok()
    })
    .await;
    // What waited for messages on the old connection waits on the new one.
    within("it is consumed", async {
        while !seen.contains_key("again") {
            take(&mut deliveries, 1, &mut seen).await;
        }
    })
    .await;
    client.shutdown().await;
    cluster.shutdown().await;
}
