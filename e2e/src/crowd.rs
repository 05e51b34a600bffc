//! Several producers and a reader at every queue, each with a connection of its own, all noting what happens in one history.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmq_client::{Client, Message, PullOptions, Queue};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::history::{History, Key, Place};

/// Longest time for messages to be acked or delivered.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// The place of a queue.
#[must_use]
pub fn place(queue: &Queue) -> Place {
    Place::queue(queue.broker(), queue.id())
}

/// A message's body: its key, then padding that depends on it, up to 3 KiB.
#[must_use]
pub fn body(key: Key) -> Vec<u8> {
    let mut body = format!("{key} ").into_bytes();
    let length = body.len() + usize::try_from((key.number * 7_919) % 3_000).unwrap_or_default();
    body.resize(
        length,
        b'a' + u8::try_from(key.number % 26).unwrap_or_default(),
    );
    body
}

/// The key of a body.
#[must_use]
pub fn key(body: &[u8]) -> Option<Key> {
    let text = body.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Remembers over crashes how far everybody is.
#[derive(Debug, Default)]
pub struct Crowd {
    history: Arc<History>,
    next_number: HashMap<u32, u64>,
    next_offset: HashMap<Place, i64>,
}

/// Producers and readers at work.
#[derive(Debug)]
pub struct Working {
    history: Arc<History>,
    stop: Arc<AtomicBool>,
    clients: Vec<Client>,
    producers: Vec<(u32, JoinHandle<u64>)>,
    readers: Vec<(Place, JoinHandle<i64>)>,
}

impl Crowd {
    /// What happened so far.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Puts `per_queue` producers and a reader to work at every queue. `connect` gives each of them a client.
    pub async fn start(
        &self,
        queues: &[Queue],
        per_queue: u32,
        connect: impl AsyncFn() -> Client,
    ) -> Working {
        let mut working = Working {
            history: Arc::clone(&self.history),
            stop: Arc::default(),
            clients: Vec::new(),
            producers: Vec::new(),
            readers: Vec::new(),
        };
        for (index, queue) in (0..).zip(queues) {
            for producer in index * per_queue..(index + 1) * per_queue {
                let client = connect().await;
                let first = self.next_number.get(&producer).copied().unwrap_or(0);
                let history = Arc::clone(&self.history);
                let stop = Arc::clone(&working.stop);
                let key = Key {
                    producer,
                    number: first,
                };
                let task = produce(client.clone(), queue.clone(), key, history, stop);
                working.producers.push((producer, tokio::spawn(task)));
                working.clients.push(client);
            }
            let client = connect().await;
            let at = place(queue);
            let next = self.next_offset.get(&at).copied().unwrap_or(0);
            let task = read(
                client.clone(),
                queue.clone(),
                next,
                Arc::clone(&self.history),
                Arc::clone(&working.stop),
            );
            working.readers.push((at, tokio::spawn(task)));
            working.clients.push(client);
        }
        working
    }

    /// Waits until all have noticed the end, and remembers how far they are.
    ///
    /// # Panics
    /// When a producer or reader panicked: it saw something that may not be.
    pub async fn finish(&mut self, working: Working) {
        working.stop.store(true, Ordering::Relaxed);
        for (producer, task) in working.producers {
            let next = task.await.expect("a producer sees nothing forbidden");
            self.next_number.insert(producer, next);
        }
        for (at, task) in working.readers {
            let next = task.await.expect("a reader sees nothing forbidden");
            self.next_offset.insert(at, next);
        }
        for client in working.clients {
            client.shutdown().await;
        }
    }

    /// Reads all queues whole into the history, in place of what was read before.
    ///
    /// # Panics
    /// When a queue cannot be read or has a foreign message.
    pub async fn read_all(&self, client: &Client, queues: &[Queue]) {
        read_all(&self.history, client, queues).await;
    }
}

/// Reads all queues whole into a history, in place of what was read before.
///
/// # Panics
/// When a queue cannot be read or has a foreign message.
pub async fn read_all(history: &History, client: &Client, queues: &[Queue]) {
    history.forget_reads();
    for queue in queues {
        let at = place(queue);
        let read = async {
            let messages = client.pull_all(queue).await?;
            let min = client.admin().min_offset(queue).await?;
            let max = client.admin().max_offset(queue).await?;
            Ok::<_, rmq_client::Error>((messages, min, max))
        };
        let (messages, min, max) = read
            .await
            .unwrap_or_else(|error| panic!("{queue} cannot be read: {error}"));
        for message in &messages {
            let offset = message.queue_offset();
            let key = key(message.body());
            let key = key.unwrap_or_else(|| panic!("{queue} has a foreign message at {offset}"));
            history.read(&at, offset, key, message.body());
        }
        history.read_all_of(&at, min, max);
    }
}

impl Working {
    /// Waits until `more` messages were acked, and as many delivered, since this call.
    ///
    /// # Panics
    /// When that takes longer than 60 s.
    pub async fn progress(&self, more: usize) {
        self.more(more, more).await;
    }

    /// Waits until `more` messages were acked since this call, delivered or not.
    ///
    /// # Panics
    /// When that takes longer than 60 s.
    pub async fn acked(&self, more: usize) {
        self.more(more, 0).await;
    }

    async fn more(&self, more_acked: usize, more_delivered: usize) {
        let count = || (self.history.acked_count(), self.history.delivered_count());
        let (acked, delivered) = count();
        let progress = async {
            loop {
                let now = count();
                if now.0 >= acked + more_acked && now.1 >= delivered + more_delivered {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let result = tokio::time::timeout(PROGRESS_WITHIN, progress).await;
        assert!(
            result.is_ok(),
            "of {more_acked} and {more_delivered} more, {:?} were acked and delivered, from {acked} and {delivered}",
            count()
        );
    }
}

/// Sends pipelined until the stop or a failed send; answers the next number.
async fn produce(
    client: Client,
    queue: Queue,
    mut key: Key,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
) -> u64 {
    // Each message is sent once: a repetition could be stored twice, which would not be the broker's fault.
    let producer = client
        .producer_builder()
        .group("crowd")
        .max_in_flight(16)
        .retries(0)
        .build();
    let at = place(&queue);
    let (submitted, mut results) = mpsc::unbounded_channel();
    let outcomes = {
        let (history, stop, at) = (Arc::clone(&history), Arc::clone(&stop), at.clone());
        tokio::spawn(async move {
            while let Some((key, pending)) = results.recv().await {
                let pending: rmq_client::PendingSend = pending;
                match pending.await {
                    Ok(receipt) => history.acked(key, &at, receipt.queue_offset()),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        if !error.may_have_been_processed() {
                            history.refused(key);
                        }
                    }
                }
            }
        })
    };
    while !stop.load(Ordering::Relaxed) {
        let body = body(key);
        history.sending(key, &at, &body);
        let sent = key;
        key.number += 1;
        match producer
            .submit_to(&queue, Message::new(queue.topic(), body))
            .await
        {
            Ok(pending) => {
                // The receiver lives until this sender is dropped.
                let _ = submitted.send((sent, pending));
            }
            Err(error) => {
                if !error.may_have_been_processed() {
                    history.refused(sent);
                }
                break;
            }
        }
    }
    drop(submitted);
    outcomes.await.expect("noting outcomes does not panic");
    key.number
}

/// Follows the queue's end until the stop or a failed pull; answers the next offset.
async fn read(
    client: Client,
    queue: Queue,
    mut next: i64,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
) -> i64 {
    let at = place(&queue);
    let options = PullOptions::default()
        .group("crowd-readers")
        .max_messages(32)
        .wait(Duration::from_millis(200));
    while !stop.load(Ordering::Relaxed) {
        let Ok(pulled) = client.pull(&queue, next, &options).await else {
            break;
        };
        for message in &pulled.messages {
            let offset = message.queue_offset();
            assert_eq!(
                offset, next,
                "{queue}: an offset was left out or came twice"
            );
            let key = key(message.body()).expect("the message is one of ours");
            history.delivered(&at, offset, key, message.body());
            next += 1;
        }
        assert!(
            !pulled.messages.is_empty() || pulled.next_offset == next,
            "{queue}: sent on from {next} to {} without a message",
            pulled.next_offset
        );
    }
    next
}
