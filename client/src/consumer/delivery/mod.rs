//! A message given to a consumer, to be settled once.

mod hand_back;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use rmq_protocol::message::property;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::held::Held;
use crate::error::{Error, ErrorKind};
use crate::message::{check_delay, delay_level};
use crate::message_traces::{Consuming, Ended};
use crate::metrics::QueueMeters;
use crate::queue::Queue;
use crate::received::ReceivedMessage;
use crate::trace::{Received, TraceContext};

/// Sends a message to the dead letters instead of delaying it.
const DEAD_LETTER: i32 = -1;
/// How long a settlement waits for a broker to take the message back.
pub(crate) const HAND_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Default pause before an ordered or broadcast message comes again.
const LOCAL_PAUSE: Duration = Duration::from_secs(1);
/// Default attempts of a broadcast message.
const BROADCAST_TIMES: u32 = 16;

/// A message given to a consumer. It is settled by value: acknowledged, given back for later, or put to the dead letters.
/// One that a stream gives and that is dropped unsettled comes again, with a warning.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use std::time::Duration;
///
/// let mut deliveries = client.consumer("billing").subscribe("orders", "*").stream().await?;
/// while let Some(delivery) = deliveries.next().await? {
///     println!("{} attempt {}: {:?}", delivery.topic(), delivery.attempt(), delivery.message().body());
///     match delivery.attempt() {
///         1 => delivery.retry().await?,
///         2 => delivery.retry_after(Duration::from_secs(60)).await?,
///         3 => delivery.ack().await?,
///         _ => delivery.dead_letter("too often").await?,
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a delivery that is dropped comes again"]
pub struct Delivery {
    inner: Arc<Inner>,
    /// Handlers settle by their result, streams by the delivery.
    by_drop: bool,
}

#[derive(Debug)]
pub(super) struct Inner {
    message: ReceivedMessage,
    held: Arc<Held>,
    /// Messages from before a seek settle nothing.
    generation: u64,
    /// Attempts in this process before this one.
    repeated: u32,
    settled: AtomicBool,
    /// Whether it took room that it gives back.
    bytes: u32,
    received: Received,
    /// Since a handler or a reader has it, where message traces are written.
    traced: OnceLock<Box<Consuming>>,
}

/// A task that asks a broker to take a message back.
type HandingBack = JoinHandle<Option<Result<(), Error>>>;

/// What became of a message.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Done,
    /// After a pause, where somebody asks for one; and why, where somebody says it.
    Again(Option<Duration>, Option<String>),
    DeadLetter(String),
}

impl Delivery {
    pub(super) fn new(
        message: ReceivedMessage,
        held: Arc<Held>,
        generation: u64,
        repeated: u32,
        bytes: u32,
    ) -> Self {
        held.one_out();
        let received = Received::new(&held.shared().group, &message, attempt(&message, repeated));
        let inner = Inner {
            received,
            message,
            held,
            generation,
            repeated,
            settled: AtomicBool::new(false),
            bytes,
            traced: OnceLock::new(),
        };
        Self {
            inner: Arc::new(inner),
            by_drop: true,
        }
    }

    /// The topic that it was sent to, also when it comes again by way of the group's retry topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        let message = &self.inner.message;
        message
            .property(property::RETRY_TOPIC)
            .unwrap_or_else(|| message.topic())
    }

    /// The trace that the message belongs to, when its producer said so. A handler runs in it: what it sends carries it on.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        self.inner.trace()
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &ReceivedMessage {
        &self.inner.message
    }

    /// Which attempt it is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt()
    }

    /// It is done with: the group does not get it again.
    ///
    /// # Errors
    /// None today; other ways of consumption ask the broker.
    ///
    /// # Cancel safety
    /// It waits for nothing. A future that is never polled is a delivery that is dropped: it comes again.
    pub async fn ack(mut self) -> Result<(), Error> {
        self.by_drop = false;
        self.inner.settle_done();
        Ok(())
    }

    /// It comes again after `pause`, or goes to the dead letters when it was tried often enough. Brokers round the pause up to one of
    /// their delay levels.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when the pause is longer than the longest level, two hours; then it comes again as the consumer's
    /// [`Retry`](crate::Retry) says. [`ErrorKind::Timeout`] when no broker took it back within 30 s, which is tried further; an error too
    /// when the consumer ends before. A message that no broker took comes again without a pause.
    ///
    /// # Cancel safety
    /// Once it was polled the message is handed back, also when nobody waits for that. A future that is never polled is a delivery that
    /// is dropped: it comes again.
    pub async fn retry_after(self, pause: Duration) -> Result<(), Error> {
        if self.inner.held.shared().settings.waits_at_brokers() {
            check_delay(pause)?;
        }
        self.settle(Outcome::Again(Some(pause), None)).await
    }

    /// It comes again as the consumer's [`Retry`](crate::Retry) says.
    ///
    /// # Errors
    /// As [`Delivery::retry_after`].
    ///
    /// # Cancel safety
    /// As [`Delivery::retry_after`].
    pub async fn retry(self) -> Result<(), Error> {
        self.settle(Outcome::Again(None, None)).await
    }

    /// It goes to the group's dead letters at once. `why` is logged and becomes its property `DEAD_LETTER_REASON`, which
    /// `rmq-ctl dlq show` prints; at most 1,024 bytes of it are kept. Brokers other than ours keep the letter without the property.
    ///
    /// # Errors
    /// As [`Delivery::retry_after`].
    ///
    /// # Cancel safety
    /// As [`Delivery::retry_after`].
    pub async fn dead_letter(self, why: impl Into<String>) -> Result<(), Error> {
        self.settle(Outcome::DeadLetter(why.into())).await
    }

    async fn settle(mut self, outcome: Outcome) -> Result<(), Error> {
        self.by_drop = false;
        self.inner.settle_otherwise(outcome).await
    }

    /// Replies to who sent the message and waits ([`Producer::request`](crate::Producer::request)). It settles nothing.
    ///
    /// # Errors
    /// As [`Producer::reply`](crate::Producer::reply).
    ///
    /// # Cancel safety
    /// The reply of a dropped call may be sent.
    pub async fn reply(&self, body: impl Into<Bytes>) -> Result<(), Error> {
        let client = &self.inner.held.shared().client;
        client.producer().reply(&self.inner.message, body).await
    }

    /// A worker or the stream's reader has it now.
    pub(super) fn note_taken(&self) {
        let inner = &self.inner;
        inner.held.note_taken(inner.message.queue_offset());
        inner.trace_begin();
    }

    /// For a handler: the delivery no longer settles itself, the other half does.
    pub(super) fn split(mut self) -> (Self, Arc<Inner>) {
        self.by_drop = false;
        let inner = Arc::clone(&self.inner);
        (self, inner)
    }

    pub(super) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    /// Whether nobody waits for it any more: its queue went to another member, or somebody sought to another offset.
    pub(super) fn is_stale(&self) -> bool {
        self.inner.is_stale()
    }

    /// Forgets a stale delivery without a word.
    pub(super) fn discard(mut self) {
        self.by_drop = false;
    }
}

impl Deref for Delivery {
    type Target = ReceivedMessage;

    fn deref(&self) -> &ReceivedMessage {
        &self.inner.message
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let inner = &self.inner;
        if !self.by_drop || inner.settled.load(Ordering::Acquire) || inner.is_stale() {
            return;
        }
        tracing::warn!(
            message_id = inner.message.message_id(),
            queue = %inner.message.queue(),
            "a delivery was dropped without ack, retry or dead_letter: it comes again"
        );
        drop(inner.begin(Outcome::Again(None, None), Ended::Failed));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.held.shared().give_room_back(self.bytes);
        self.held.one_back();
    }
}

impl Inner {
    pub(super) fn attempt(&self) -> u32 {
        attempt(&self.message, self.repeated)
    }

    fn is_stale(&self) -> bool {
        self.held.is_gone() || self.held.generation() != self.generation
    }

    pub(super) fn place(&self) -> (Queue, i64) {
        let message = &self.message;
        (message.queue().clone(), message.queue_offset())
    }

    fn group(&self) -> &str {
        &self.held.shared().group
    }

    /// The trace that the message belongs to.
    fn trace(&self) -> Option<TraceContext> {
        TraceContext::of(&self.message)
    }

    /// What its handler sends belongs to this.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.received.context(&self.message)
    }

    /// What its handler logs is found by its message.
    pub(super) fn handle_span(&self) -> tracing::Span {
        self.received
            .handle(self.group(), &self.message, self.attempt())
    }

    pub(super) fn meters(&self) -> &QueueMeters {
        self.held.meters()
    }

    pub(super) fn message_id(&self) -> String {
        self.message.message_id()
    }

    /// Whether this call settles the message; false when it was settled before.
    fn settles(&self, ended: Ended) -> bool {
        if self.settled.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.trace_end(ended);
        !self.is_stale()
    }

    /// Says that the consumer has begun with the message, where message traces are written.
    fn trace_begin(&self) {
        let client = &self.held.shared().client;
        let Some(traces) = client.traces() else {
            return;
        };
        let retries = self.attempt() - 1;
        if let Some(begun) = traces.received(client, self.group(), &self.message, retries) {
            // It is taken once.
            let _ = self.traced.set(Box::new(begun));
        }
    }

    /// Says how it ended.
    fn trace_end(&self, ended: Ended) {
        let client = &self.held.shared().client;
        if let (Some(begun), Some(traces)) = (self.traced.get(), client.traces()) {
            traces.consumed(client, self.group(), &self.message, begun, ended);
        }
    }

    /// It is done with.
    pub(super) fn settle_done(&self) {
        if !self.settles(Ended::Success) {
            return;
        }
        let _settle = self.received.settle("ack", None).entered();
        self.meters().acked();
        if self.held.shared().settings.ordered {
            self.held.ordered_outcome(self.generation, Outcome::Done);
        } else {
            self.done();
        }
    }

    /// Lets the message come again, or gives it to the dead letters. A task asks the broker to do so, and this waits for the task for
    /// [`HAND_BACK_WITHIN`] at most. The task continues when this wait ends early or is dropped.
    async fn settle_otherwise(self: &Arc<Self>, outcome: Outcome) -> Result<(), Error> {
        let Some(handing_back) = self.begin(outcome, Ended::Failed) else {
            return Ok(());
        };
        match tokio::time::timeout(HAND_BACK_WITHIN, handing_back).await {
            Ok(Ok(Some(handed_back))) => handed_back,
            // The consumer, or its runtime, has ended.
            Ok(_) => Err(Error::closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("no broker took the message back within {HAND_BACK_WITHIN:?}"),
            )
            .advice(
                "this is tried until the consumer ends; a message that no broker took comes again",
            )),
        }
    }

    /// The task that hands the message back, when a broker has to know.
    fn begin(self: &Arc<Self>, outcome: Outcome, ended: Ended) -> Option<HandingBack> {
        if !self.settles(ended) {
            return None;
        }
        let shared = self.held.shared();
        let settings = &shared.settings;
        if settings.ordered {
            if matches!(outcome, Outcome::Again(..)) {
                drop(self.received.settle("retry", None));
            }
            self.held.ordered_outcome(self.generation, outcome);
            return None;
        }
        if settings.broadcast.is_some() {
            self.again_here(&outcome);
            return None;
        }
        let (level, why) = match outcome {
            Outcome::Done => {
                self.meters().acked();
                self.done();
                return None;
            }
            Outcome::Again(pause, why) => {
                let pause = pause.or_else(|| settings.retry.pause_after(self.attempt()));
                self.meters().retried();
                // Pauses that are too long were refused before.
                (pause.and_then(delay_level).unwrap_or(0), why)
            }
            Outcome::DeadLetter(why) => {
                self.note_dead_letter(&why);
                (DEAD_LETTER, Some(why))
            }
        };
        let inner = Arc::clone(self);
        let span = self.settle_span(level);
        let handing_back = async move { inner.hand_back(level, why.as_deref()).await };
        Some(shared.spawn(handing_back.instrument(span)))
    }

    /// The handler failed; a broker that is slow to take the message back does not hold up the worker.
    pub(super) fn failed(self: &Arc<Self>, why: String, ended: Ended) {
        tracing::warn!(
            message_id = self.message.message_id(),
            queue = %self.message.queue(),
            attempt = self.attempt(),
            "not handled: {why}"
        );
        drop(self.begin(Outcome::Again(None, Some(why)), ended));
    }

    fn settle_span(&self, level: i32) -> tracing::Span {
        match level {
            DEAD_LETTER => self.received.settle("dead_letter", None),
            level => self.received.settle("retry", Some(level)),
        }
    }

    fn note_dead_letter(&self, why: &str) {
        self.meters().dead_lettered();
        tracing::warn!(
            message_id = self.message.message_id(),
            queue = %self.message.queue(),
            attempt = self.attempt(),
            "to the dead letters: {why}"
        );
    }

    fn done(&self) {
        self.held
            .settle(self.generation, self.message.queue_offset());
    }

    /// Settles an ordered message by giving it to the dead letters.
    pub(super) async fn to_dead_letters(&self, why: &str) -> Result<(), Error> {
        self.note_dead_letter(why);
        let span = self.settle_span(DEAD_LETTER);
        self.hand_back(DEAD_LETTER, Some(why))
            .instrument(span)
            .await
    }

    /// The pause before an ordered message is tried again; `None`: it was tried often enough.
    pub(super) fn local_pause(&self, asked: Option<Duration>) -> Option<Duration> {
        let retry = &self.held.shared().settings.retry;
        if retry.times().is_some_and(|times| self.attempt() > times) {
            return None;
        }
        Some(
            asked
                .or_else(|| retry.pause_after(self.attempt()))
                .unwrap_or(LOCAL_PAUSE),
        )
    }

    /// Broadcast messages come again from memory; brokers keep nothing for one member.
    fn again_here(self: &Arc<Self>, outcome: &Outcome) {
        let asked = match outcome {
            Outcome::Done => return self.done(),
            Outcome::Again(asked, _) => *asked,
            Outcome::DeadLetter(_) => None,
        };
        let retry = &self.held.shared().settings.retry;
        let times = retry.times().unwrap_or(BROADCAST_TIMES);
        if matches!(outcome, Outcome::DeadLetter(_)) || self.attempt() > times {
            tracing::error!(
                message_id = self.message.message_id(),
                queue = %self.message.queue(),
                attempts = self.attempt(),
                "a broadcast message is given up: broadcasting has no dead letters"
            );
            let _settle = self.received.settle("given_up", None).entered();
            self.meters().gave_up();
            return self.done();
        }
        let _settle = self.received.settle("retry", None).entered();
        self.meters().retried();
        let pause = asked
            .or_else(|| retry.pause_after(self.attempt()))
            .unwrap_or(LOCAL_PAUSE);
        let again = Arc::clone(self);
        let shared = Arc::clone(self.held.shared());
        let spawner = Arc::clone(&shared);
        spawner.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = again.held.stopped() => return,
            }
            let next = Delivery::new(
                again.message.clone(),
                Arc::clone(&again.held),
                again.generation,
                again.repeated + 1,
                0,
            );
            shared.deliver(next);
        });
    }
}

/// Which attempt a message is, after so many in this process.
fn attempt(message: &ReceivedMessage, repeated: u32) -> u32 {
    u32::try_from(message.reconsume_times()).unwrap_or(0) + repeated + 1
}
