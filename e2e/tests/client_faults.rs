//! The client crate against real processes that die, move, fall silent and come back: what was acknowledged is consumed, keys keep
//! their order, and memory stays bounded. No user code helps it along.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmq_client::{Client, Delivery, Message, StartFrom};
use rmq_e2e::cluster::{Cluster, FlushMode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

const TOPIC: &str = "faults";
const KEYS: u32 = 4;

/// What was acknowledged and what was consumed, by key.
#[derive(Default)]
struct Notes {
    acked: Mutex<BTreeMap<u32, u64>>,
    consumed: Mutex<BTreeMap<u32, Vec<u64>>>,
    stop: AtomicBool,
    /// Sends that gave up.
    failed: AtomicUsize,
}

impl Notes {
    fn acked(&self) -> u64 {
        self.acked.lock().unwrap().values().sum()
    }

    /// Sends the numbers of a key in order, each until it is acknowledged.
    async fn send(self: Arc<Self>, client: Client, key: u32) {
        let producer = client.producer();
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let message =
                Message::new(TOPIC, format!("{key} {number}")).ordered_by(key.to_string());
            match producer.send(message).await {
                Ok(_) => {
                    number += 1;
                    self.acked.lock().unwrap().insert(key, number);
                }
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn consume(self: Arc<Self>, delivery: Delivery) -> Result<(), std::convert::Infallible> {
        let body = String::from_utf8_lossy(delivery.message().body()).into_owned();
        let (key, number) = body.split_once(' ').expect("a key and a number");
        let mut consumed = self.consumed.lock().unwrap();
        let numbers = consumed.entry(key.parse().unwrap()).or_default();
        numbers.push(number.parse().unwrap());
        Ok(())
    }

    /// Waits until everything that was acknowledged is consumed, and checks the order of each key.
    async fn check(&self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let missing: Vec<String> = {
                let (acked, consumed) = (self.acked.lock().unwrap(), self.consumed.lock().unwrap());
                let missing = acked.iter().filter(|(key, count)| {
                    let mut seen: Vec<u64> = consumed.get(key).cloned().unwrap_or_default();
                    seen.sort_unstable();
                    seen.dedup();
                    // Numbers that were never acknowledged may be there too.
                    seen.iter().filter(|number| *number < *count).count() as u64 != **count
                });
                missing
                    .map(|(key, count)| format!("key {key}: not all of {count}"))
                    .collect()
            };
            if missing.is_empty() {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "acknowledged, not consumed: {missing:?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
        for (key, numbers) in &*self.consumed.lock().unwrap() {
            let mut next = 0;
            for number in numbers {
                // What was seen before may come again; nothing may be skipped.
                assert!(*number <= next, "key {key}: {number} before {next}");
                next = next.max(*number + 1);
            }
        }
    }
}

/// Producers of all keys and one consumer that takes them in order; `fault` happens meanwhile. Returns how many sends gave up.
async fn through(cluster: &mut Cluster, fault: impl AsyncFnOnce(&mut Cluster, &Notes)) -> usize {
    let client = cluster.client().await;
    cluster.create_topic(&client, TOPIC, 2).await;
    let notes = Arc::new(Notes::default());
    let handled = Arc::clone(&notes);
    let consumer = client
        .consumer("faults")
        .subscribe(TOPIC, "*")
        .from(StartFrom::First)
        .ordered()
        .handler(move |delivery| Arc::clone(&handled).consume(delivery))
        .start()
        .await
        .unwrap();
    let sends: Vec<_> = (0..KEYS)
        .map(|key| tokio::spawn(Arc::clone(&notes).send(client.clone(), key)))
        .collect();
    progress(&notes, 200).await;
    fault(cluster, &notes).await;
    // It goes on afterwards as before.
    progress(&notes, 200).await;
    notes.stop.store(true, Ordering::Relaxed);
    for send in sends {
        send.await.unwrap();
    }
    notes.check(Duration::from_secs(60)).await;
    consumer.shutdown().await.unwrap();
    client.shutdown().await;
    notes.failed.load(Ordering::Relaxed)
}

/// Waits until so many more are acknowledged.
async fn progress(notes: &Notes, messages: u64) {
    let target = notes.acked() + messages;
    let deadline = Instant::now() + Duration::from_secs(60);
    while notes.acked() < target {
        assert!(
            Instant::now() < deadline,
            "no progress: {} of {target}",
            notes.acked()
        );
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_moves_to_another_port() {
    let mut cluster = Cluster::start(1, FlushMode::Async);
    let failed = through(&mut cluster, async |cluster, notes| {
        for _ in 0..3 {
            let before = cluster.broker().addr().to_owned();
            cluster.kill_broker();
            cluster.start_broker();
            assert_ne!(cluster.broker().addr(), before);
            progress(notes, 50).await;
        }
    });
    assert_eq!(failed.await, 0, "no send gives up while a broker restarts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_servers_that_are_killed_one_after_the_other() {
    let mut cluster = Cluster::start(2, FlushMode::Async);
    let failed = through(&mut cluster, async |cluster, notes| {
        for index in [0, 1, 0] {
            cluster.kill_name_server(index);
            progress(notes, 50).await;
            cluster.start_name_server(index);
        }
        // With all of them gone, what is known goes on.
        cluster.kill_name_server(0);
        cluster.kill_name_server(1);
        progress(notes, 50).await;
        cluster.start_name_server(0);
        cluster.start_name_server(1);
    });
    assert_eq!(
        failed.await,
        0,
        "no send gives up while name servers restart"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_silent_for_thirty_seconds() {
    let mut cluster = Cluster::start(1, FlushMode::Async);
    through(&mut cluster, async |cluster, _| {
        let pid = i32::try_from(cluster.broker().pid()).unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        // Connections stay and nothing answers, as when a cable is pulled.
        kill_process(pid, Signal::STOP).unwrap();
        sleep(Duration::from_secs(30)).await;
        kill_process(pid, Signal::CONT).unwrap();
    })
    .await;
}
