//! A load on a cluster, from outside of it, that knows what was acknowledged and what arrived.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rmq_client::{Client, Consumer, Message, Position, StartFrom};
use tokio::task::JoinHandle;

use crate::java::{self, Sending};
use crate::world::{World, admin, outside, until};

const SENDERS: u32 = 4;
/// Loads of this process: scenarios share clusters, and each message stands for one send of one of them.
static LOADS: AtomicU32 = AtomicU32::new(0);

/// The text of a message: of which load and which sender, and its number there.
type Body = String;

#[derive(Default)]
struct Notes {
    stop: AtomicBool,
    gap: Mutex<Gap>,
    acked: Mutex<BTreeSet<Body>>,
    arrived: Mutex<BTreeSet<Body>>,
    errors: Mutex<Vec<String>>,
}

/// The longest time without an acknowledgement.
struct Gap {
    last: Instant,
    longest: Duration,
}

impl Default for Gap {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }
}

impl Gap {
    fn acked(&mut self) {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

/// Senders and one consumer that go on until [`Load::finish`].
pub(crate) struct Load {
    notes: Arc<Notes>,
    senders: Vec<JoinHandle<()>>,
    consumer: Consumer,
    client: Client,
    java: Option<Sending>,
}

impl Load {
    /// Begins on topic `orders` as group `billing`, by the cluster's external addresses.
    pub(crate) fn start(world: &World, namespace: &str) -> Result<Self, String> {
        let addresses = outside(world, namespace)?;
        let load = world.runtime.block_on(Self::begin(&addresses));
        let mut load = load.map_err(|error| format!("the load does not begin: {error}"))?;
        load.java = java::send(world, namespace)?;
        load.goes_on(50)?;
        Ok(load)
    }

    async fn begin(addresses: &str) -> Result<Self, rmq_client::Error> {
        let client = Client::connect(addresses).await?;
        client
            .wait_for_route("orders", Duration::from_secs(30))
            .await?;
        let notes = Arc::new(Notes::default());
        let arrived = Arc::clone(&notes);
        let consumer = client
            .consumer("billing")
            .subscribe("orders", "*")
            .from(StartFrom::First)
            .handler(move |delivery| {
                let arrived = Arc::clone(&arrived);
                async move {
                    let text = String::from_utf8_lossy(delivery.body()).into_owned();
                    arrived.arrived.lock().unwrap().insert(text);
                    Ok::<(), std::convert::Infallible>(())
                }
            })
            .start()
            .await?;
        let load = LOADS.fetch_add(1, Ordering::Relaxed);
        let senders = (0..SENDERS)
            .map(|sender| {
                let name = format!("{load} {sender}");
                tokio::spawn(send(client.clone(), name, Arc::clone(&notes)))
            })
            .collect();
        Ok(Self {
            notes,
            senders,
            consumer,
            client,
            java: None,
        })
    }

    /// Waits until so many more messages are acknowledged.
    pub(crate) fn goes_on(&self, more: usize) -> Result<(), String> {
        let before = self.notes.acked.lock().unwrap().len();
        until(Duration::from_secs(60), || {
            let now = self.notes.acked.lock().unwrap().len();
            if now >= before + more {
                Ok(())
            } else {
                Err(format!(
                    "{} of {more} messages were acknowledged: {:?}",
                    now - before,
                    self.notes.errors.lock().unwrap().last()
                ))
            }
        })
    }

    /// Begins to look for the longest time without an acknowledgement.
    pub(crate) fn watch_gap(&self) {
        *self.notes.gap.lock().unwrap() = Gap::default();
    }

    /// The longest time without an acknowledgement since [`watch_gap`](Self::watch_gap).
    pub(crate) fn longest_gap(&self) -> Duration {
        let gap = self.notes.gap.lock().unwrap();
        gap.longest.max(gap.last.elapsed())
    }

    /// No send failed so far after the client's own retries.
    pub(crate) fn no_errors(&self, what: &str) -> Result<(), String> {
        let errors = self.notes.errors.lock().unwrap();
        match errors.first() {
            None => Ok(()),
            Some(first) => Err(format!("{what}: {} sends failed: {first}", errors.len())),
        }
    }

    /// Failed sends so far, after the client's own retries.
    pub(crate) fn failed(&self) -> usize {
        self.notes.errors.lock().unwrap().len()
    }

    /// Ends it. Nothing acknowledged may be missing at the consumer.
    pub(crate) fn finish(self, world: &World) -> Result<Outcome, String> {
        self.notes.stop.store(true, Ordering::Release);
        world.runtime.block_on(async {
            for sender in self.senders {
                sender.await.map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })?;
        let acked = self.notes.acked.lock().unwrap().clone();
        let arrived = until(Duration::from_secs(90), || {
            let arrived = self.notes.arrived.lock().unwrap();
            let missing = acked.difference(&arrived).count();
            if missing == 0 {
                Ok(())
            } else {
                Err(format!(
                    "{missing} of {} acknowledged messages did not arrive",
                    acked.len()
                ))
            }
        });
        world.runtime.block_on(async {
            // The test is about the messages.
            let _ = self.consumer.shutdown().await;
            self.client.shutdown().await;
        });
        arrived?;
        if let Some(java) = self.java {
            java.finish(world)?;
        }
        let errors = self.notes.errors.lock().unwrap().clone();
        Ok(Outcome { acked, errors })
    }
}

/// What a load came to.
pub(crate) struct Outcome {
    acked: BTreeSet<Body>,
    errors: Vec<String>,
}

impl Outcome {
    /// No send failed after the client's own retries.
    pub(crate) fn expect_no_errors(&self) -> Result<(), String> {
        match self.errors.first() {
            None => Ok(()),
            Some(first) => Err(format!(
                "{} sends failed beside {} that were acknowledged; the first: {first}",
                self.errors.len(),
                self.acked.len()
            )),
        }
    }

    /// Every acknowledged message can still be read at the brokers, by somebody who begins at the oldest. A name server that has just
    /// started knows each broker a few seconds later: until then there are fewer.
    pub(crate) fn expect_readable(&self, world: &World, namespace: &str) -> Result<(), String> {
        let addresses = outside(world, namespace)?;
        until(Duration::from_secs(60), || {
            let stored = admin(world, &addresses, async |client| {
                let reader = client.reader("orders").from(Position::Earliest);
                reader.open().await?.all().await
            })?;
            let stored: BTreeSet<Body> = stored
                .iter()
                .map(|message| String::from_utf8_lossy(message.body()).into_owned())
                .collect();
            match self.acked.difference(&stored).next() {
                None => Ok(()),
                Some(first) => Err(format!(
                    "{} of {} acknowledged messages are gone; the first: {first}",
                    self.acked.difference(&stored).count(),
                    self.acked.len()
                )),
            }
        })
    }
}

async fn send(client: Client, sender: String, notes: Arc<Notes>) {
    let producer = client.producer();
    let mut number = 0u32;
    while !notes.stop.load(Ordering::Acquire) {
        let body = format!("{sender} {number}");
        match producer.send(Message::new("orders", body.clone())).await {
            Ok(_) => {
                notes.gap.lock().unwrap().acked();
                notes.acked.lock().unwrap().insert(body);
            }
            Err(error) => notes.errors.lock().unwrap().push(error.to_string()),
        }
        number += 1;
        // A few hundred a second: the nodes share two cores with everything else.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
