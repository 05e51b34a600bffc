//! Groups that elect their master: producers and consumers survive whatever happens to it, and nothing that was acknowledged is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rmq_client::{Client, Consumer, Delivery, Message, Producer, StartFrom};
use rmq_testing::TestCluster;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const WITHIN: Duration = Duration::from_secs(30);
/// A silent member leaves the set sooner.
const CUT_FOR: Duration = Duration::from_secs(7);
/// Sends at the same time.
const SENDERS: u32 = 4;

/// What was acknowledged, and when the last of it was.
#[derive(Default)]
struct Acknowledged {
    bodies: BTreeSet<String>,
    last: Option<Instant>,
    failed: Vec<String>,
}

/// Producers that send one message after the other, and a consumer.
struct Traffic {
    acknowledged: Arc<Mutex<Acknowledged>>,
    consumed: Arc<Mutex<BTreeMap<String, u32>>>,
    consumer: Consumer,
    senders: JoinSet<()>,
    stop: CancellationToken,
}

impl Traffic {
    async fn start(client: &Client) -> Self {
        let consumed = Arc::new(Mutex::new(BTreeMap::new()));
        let note = Arc::clone(&consumed);
        let consumer = client
            .consumer("g")
            .subscribe("t", "*")
            .from(StartFrom::First)
            .commit_every(Duration::from_millis(200))
            .handler(move |delivery: Delivery| {
                let body = String::from_utf8_lossy(delivery.message().body()).into_owned();
                *note.lock().entry(body).or_default() += 1;
                async { Ok::<_, Infallible>(()) }
            });
        let consumer = consumer.start().await.unwrap();
        let (acknowledged, stop) = (Arc::default(), CancellationToken::new());
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send(
                client.producer(),
                sender,
                Arc::clone(&acknowledged),
                stop.clone(),
            ));
        }
        Self {
            acknowledged,
            consumed,
            consumer,
            senders,
            stop,
        }
    }

    /// Waits until so many more are acknowledged.
    async fn acknowledges(&self, more: usize) {
        let wanted = self.acknowledged.lock().bodies.len() + more;
        let began = Instant::now();
        while self.acknowledged.lock().bodies.len() < wanted {
            assert!(began.elapsed() < WITHIN, "no {more} more are acknowledged");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it: no send failed, and everything that was acknowledged is consumed.
    async fn end(mut self) {
        self.stop.cancel();
        while self.senders.join_next().await.is_some() {}
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock());
        assert!(acknowledged.failed.is_empty(), "{:?}", acknowledged.failed);
        let began = Instant::now();
        let missing = || {
            let consumed = self.consumed.lock();
            let missing = acknowledged.bodies.iter();
            missing.filter(|body| !consumed.contains_key(*body)).count()
        };
        while missing() > 0 {
            assert!(began.elapsed() < WITHIN, "{} are lost", missing());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.consumer.shutdown().await.unwrap();
    }
}

async fn send(
    producer: Producer,
    sender: u32,
    acknowledged: Arc<Mutex<Acknowledged>>,
    stop: CancellationToken,
) {
    for n in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let body = format!("{sender}-{n}");
        let sent = producer.send(Message::new("t", body.clone())).await;
        let mut acknowledged = acknowledged.lock();
        match sent {
            Ok(_) => {
                acknowledged.bodies.insert(body);
                acknowledged.last = Some(Instant::now());
            }
            Err(error) => acknowledged.failed.push(error.to_string()),
        }
    }
}

/// Prints how long nothing was acknowledged after `what` began.
#[expect(clippy::print_stdout, reason = "the figure is for who looks")]
async fn gap(traffic: &Traffic, what: &str) {
    let began = Instant::now();
    // What was on its way is acknowledged at once; then nothing is until there is a master.
    let mut longest = Duration::ZERO;
    let mut last = traffic.acknowledged.lock().last.unwrap_or(began);
    while began.elapsed() < Duration::from_secs(3) || last.elapsed() > Duration::from_millis(500) {
        let now = traffic.acknowledged.lock().last.unwrap_or(began);
        longest = longest
            .max(now.saturating_duration_since(last))
            .max(last.elapsed());
        last = now;
        assert!(longest < WITHIN, "{what}: nobody is master");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    println!("{what}: nothing was acknowledged for {longest:?}");
}

#[rmq_testing::test(replicas = 2, name_servers = 2)]
async fn a_master_that_goes_costs_a_moment_and_no_message(cluster: TestCluster) {
    cluster.topic("t").queues(2).create().await;
    let client = cluster.connect().await;
    let traffic = Traffic::start(&client).await;
    traffic.acknowledges(50).await;

    let master = cluster.wait_for_master(0).await;
    master.kill().await;
    gap(&traffic, "kill").await;
    master.start().await;
    cluster.replicas_caught_up(0).await;

    let master = cluster.wait_for_master(0).await;
    master.stop().await;
    gap(&traffic, "stop").await;
    master.start().await;
    cluster.replicas_caught_up(0).await;

    let master = cluster.wait_for_master(0).await;
    master.pause();
    gap(&traffic, "pause").await;
    master.resume();
    cluster.replicas_caught_up(0).await;

    let master = cluster.wait_for_master(0).await;
    let others = (0..3).filter(|slot| *slot != master.slot());
    for other in others {
        cluster.partition(master, cluster.member(0, other));
    }
    // Without the others the master acknowledges nothing, also when it has left them out of the set.
    let cut = async {
        tokio::time::sleep(CUT_FOR).await;
        let last = traffic.acknowledged.lock().last.unwrap();
        assert!(
            last.elapsed() + Duration::from_secs(1) > CUT_FOR,
            "the master alone acknowledged a message"
        );
        cluster.heal();
    };
    tokio::join!(gap(&traffic, "partition"), cut);
    cluster.replicas_caught_up(0).await;

    let replica = (cluster.wait_for_master(0).await.slot() + 1) % 3;
    cluster.member(0, replica).wipe_disk().await;
    traffic.acknowledges(20).await;
    cluster.member(0, replica).start().await;
    cluster.replicas_caught_up(0).await;
    traffic.end().await;
    client.shutdown().await;
}
