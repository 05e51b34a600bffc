//! Messages that are held back for a moment, to leave together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::sending::{self, Sending};
use super::{Producer, SendReceipt};
use crate::error::Error;
use crate::message::Message;

/// How messages are gathered into batches.
///
/// ```
/// use std::time::Duration;
/// use rmq_client::Batching;
///
/// let batching = Batching::linger(Duration::from_millis(5)).max_messages(64);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Batching {
    linger: Duration,
    max_messages: usize,
    max_bytes: usize,
}

impl Batching {
    /// A message waits at most so long for others of its topic; at most 128 messages or 128 KiB leave together.
    pub fn linger(linger: Duration) -> Self {
        Self {
            linger: linger.min(Duration::from_secs(10)),
            max_messages: 128,
            max_bytes: 128 * 1024,
        }
    }

    /// Messages that leave together at most.
    pub fn max_messages(mut self, messages: usize) -> Self {
        self.max_messages = messages.max(1);
        self
    }

    /// Bytes of bodies that leave together at most.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes.max(1);
        self
    }
}

pub(super) type Answer = oneshot::Receiver<Result<SendReceipt, Error>>;

/// Messages of one topic that wait for others.
#[derive(Debug, Default)]
struct Open {
    messages: Vec<Message>,
    answers: Vec<oneshot::Sender<Result<SendReceipt, Error>>>,
    /// Held until they are answered, with or without a listener.
    rooms: Vec<OwnedSemaphorePermit>,
    sendings: Vec<Sending>,
    bytes: usize,
    /// Tells one gathering from the next.
    number: u64,
}

/// The open batches of a producer.
#[derive(Debug)]
pub(super) struct Batcher {
    batching: Batching,
    open: Mutex<HashMap<String, Open>>,
}

impl Batcher {
    pub(super) fn new(batching: Batching) -> Self {
        Self {
            batching,
            open: Mutex::default(),
        }
    }

    /// Puts a message to the others of its topic; they leave when they are enough, or when the first has waited long enough.
    pub(super) fn add(
        self: &Arc<Self>,
        producer: &Producer,
        message: Message,
        room: OwnedSemaphorePermit,
        sending: Sending,
    ) -> Answer {
        let (sender, answer) = oneshot::channel();
        let topic = message.topic().to_owned();
        let mut full = None;
        let mut begun = None;
        {
            let mut open = self.open.lock();
            let batch = open.entry(topic.clone()).or_default();
            let bytes = message.body().len();
            if !batch.messages.is_empty() && batch.bytes + bytes > self.batching.max_bytes {
                full = Some(batch.take());
            }
            batch.bytes += bytes;
            batch.messages.push(message);
            batch.rooms.push(room);
            batch.sendings.push(sending);
            batch.answers.push(sender);
            if batch.messages.len() >= self.batching.max_messages
                || batch.bytes >= self.batching.max_bytes
            {
                // Two can be full at once: the one before, and this message alone.
                if let Some(before) = full.take() {
                    self.leave(producer, before);
                }
                full = Some(batch.take());
            } else if batch.messages.len() == 1 {
                begun = Some(batch.number);
            }
        }
        if let Some(full) = full {
            self.leave(producer, full);
        }
        if let Some(number) = begun {
            let (batcher, producer) = (Arc::clone(self), producer.clone());
            let linger = self.batching.linger;
            producer.client.tasks().clone().spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(linger) => {}
                    () = producer.client.stopped().cancelled() => {}
                }
                let waited = {
                    let mut open = batcher.open.lock();
                    let batch = open.get_mut(&topic).filter(|batch| batch.number == number);
                    batch.map(Open::take)
                };
                if let Some(waited) = waited {
                    batcher.leave(&producer, waited);
                }
            });
        }
        answer
    }

    /// Sends what is open now.
    pub(super) fn flush(self: &Arc<Self>, producer: &Producer) {
        let open: Vec<Open> = self.open.lock().values_mut().map(Open::take).collect();
        for batch in open {
            self.leave(producer, batch);
        }
    }

    fn leave(&self, producer: &Producer, batch: Open) {
        if batch.messages.is_empty() {
            return;
        }
        let producer = producer.clone();
        producer.client.tasks().clone().spawn(async move {
            let Open {
                mut messages,
                mut answers,
                rooms: _rooms,
                mut sendings,
                ..
            } = batch;
            let deadline = producer.deadline(Instant::now());
            // A message is sent even when its receipt is not awaited.
            if messages.len() == 1 {
                if let (Some(message), Some(answer), Some(sending)) =
                    (messages.pop(), answers.pop(), sendings.pop())
                {
                    let _ = answer.send(producer.send_now(message, deadline, sending).await);
                }
                return;
            }
            match producer.send_chunks(&messages, deadline).await {
                Ok(results) => {
                    let ended = sendings.into_iter().zip(results);
                    for (answer, (sending, result)) in answers.into_iter().zip(ended) {
                        let result = sending.ended_with(result);
                        let _ = answer.send(result.map_err(|error| Error::shared(&error)));
                    }
                }
                Err(error) => {
                    let error = Arc::new(sending::failed(sendings, error));
                    for answer in answers {
                        let _ = answer.send(Err(Error::shared(&error)));
                    }
                }
            }
        });
    }
}

impl Open {
    fn take(&mut self) -> Self {
        let next = Self {
            number: self.number + 1,
            ..Self::default()
        };
        std::mem::replace(self, next)
    }
}
