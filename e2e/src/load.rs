//! A load that remembers: every message carries a number, and what was acknowledged is known by queue and offset.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rmq_client::{Client, Message, Queue};
use tokio::sync::mpsc;

use crate::checker::History;

/// Bodies are padded to this, so that a kill falls into the middle of writes.
const BODY_BYTES: usize = 512;

/// Sends to some queues, pipelined, until it is told to stop or a send fails.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<History>>,
}

impl Load {
    /// Starts one sender for each queue with `in_flight` messages under way. Numbers begin at `first` in each queue.
    #[must_use]
    pub fn start(client: &Client, queues: &[Queue], first: u64, in_flight: usize) -> Self {
        let (stop, acked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let tasks = queues
            .iter()
            .map(|queue| {
                tokio::spawn(one_queue(
                    client.clone(),
                    queue.clone(),
                    first,
                    in_flight,
                    Arc::clone(&stop),
                    Arc::clone(&acked),
                ))
            })
            .collect();
        Self { stop, acked, tasks }
    }

    /// Waits until that many messages were acknowledged, in all queues together.
    ///
    /// # Panics
    /// When the senders end before.
    pub async fn acked(&self, messages: u64) {
        while self.acked.load(Ordering::Relaxed) < messages {
            assert!(
                self.tasks.iter().any(|task| !task.is_finished()),
                "the load ended after {} messages",
                self.acked.load(Ordering::Relaxed)
            );
            tokio::task::yield_now().await;
        }
    }

    /// Sends no more, waits for what is under way, and says what happened.
    ///
    /// # Panics
    /// When a sender panicked.
    pub async fn finish(self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for task in self.tasks {
            history.merge(task.await.expect("a sender does not panic"));
        }
        history
    }
}

/// A message's body: its number, then padding.
#[must_use]
pub fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_string().into_bytes();
    body.push(b' ');
    body.resize(BODY_BYTES, b'.');
    body
}

/// The number of a body.
#[must_use]
pub fn number(body: &[u8]) -> Option<u64> {
    let text = body.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

async fn one_queue(
    client: Client,
    queue: Queue,
    first: u64,
    in_flight: usize,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
) -> History {
    // Each message is sent once: a repetition could be stored twice, which would not be the broker's fault.
    let producer = client
        .producer_builder()
        .group("load")
        .max_in_flight(in_flight)
        .retries(0)
        .build();
    let broken = Arc::new(AtomicBool::new(false));
    let (submitted, mut results) = mpsc::unbounded_channel();
    let sender = {
        let (queue, broken) = (queue.clone(), Arc::clone(&broken));
        tokio::spawn(async move {
            let mut number = first;
            while !stop.load(Ordering::Relaxed) && !broken.load(Ordering::Relaxed) {
                let Ok(pending) = producer
                    .submit_to(&queue, Message::new(queue.topic(), body(number)))
                    .await
                else {
                    break;
                };
                if submitted.send((number, pending)).is_err() {
                    break;
                }
                number += 1;
            }
        })
    };
    let mut history = History::default();
    let mut acks = BTreeMap::new();
    let mut sent = Vec::new();
    while let Some((number, pending)) = results.recv().await {
        sent.push(number);
        match pending.await {
            Ok(receipt) => {
                acks.insert(number, receipt.queue_offset());
                acked.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => broken.store(true, Ordering::Relaxed),
        }
    }
    sender.await.expect("a sender does not panic");
    history.add(queue, sent, acks);
    history
}

/// Everything that the queues hold: number by offset.
///
/// # Panics
/// When a queue cannot be read or holds something else.
pub async fn read_all(client: &Client, queues: &[Queue]) -> BTreeMap<Queue, Vec<(i64, u64)>> {
    let mut all = BTreeMap::new();
    for queue in queues {
        let messages = client
            .pull_all(queue)
            .await
            .unwrap_or_else(|error| panic!("{queue} cannot be read: {error}"));
        let numbers = messages.iter().map(|message| {
            let number = number(message.body()).unwrap_or_else(|| {
                panic!(
                    "{queue} has a foreign message at {}",
                    message.queue_offset()
                )
            });
            assert_eq!(
                message.body()[..],
                body(number)[..],
                "{queue} has a changed message at {}",
                message.queue_offset()
            );
            (message.queue_offset(), number)
        });
        all.insert(queue.clone(), numbers.collect());
    }
    all
}
