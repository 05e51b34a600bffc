//! Settings of a producer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::batching::Batcher;
use super::deliver::DELIVER_WITHIN;
use super::sending::Hooks;
use super::transaction::{Answers, Checker, Decision};
use super::{Batching, Producer, ProducerState};
use crate::client::Client;
use crate::compression::Compression;
use crate::message::Message;
use crate::received::ReceivedMessage;

/// Builds a [`Producer`].
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let producer = client
///     .producer_builder()
///     .group("checkout")
///     .max_in_flight(100)
///     .deliver_within(std::time::Duration::from_secs(10))
///     .auto_create_topic(false)
///     .message_bytes_max(1 << 20)
///     .isolate_slow_brokers(true)
///     .build();
/// println!("{}", producer.group());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ProducerBuilder {
    client: Client,
    group: String,
    max_in_flight: usize,
    retries: u32,
    deliver_within: Duration,
    auto_create: bool,
    message_bytes_max: usize,
    batching: Option<Batching>,
    isolates: bool,
    compression: Option<Compression>,
    trace_context: bool,
    hooks: Hooks,
    checker: Option<Checker>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            group: "rmq-client".to_owned(),
            max_in_flight: 1_024,
            retries: u32::MAX,
            deliver_within: DELIVER_WITHIN,
            auto_create: true,
            message_bytes_max: 4 * 1024 * 1024,
            batching: None,
            isolates: true,
            compression: None,
            trace_context: true,
            hooks: Hooks::default(),
            checker: None,
        }
    }

    /// The group that brokers know the producer by. Default `rmq-client`.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = group.into();
        self
    }

    /// Messages that may wait for an answer at once; further sends wait for room. Default 1,024.
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How long a send tries, waiting for room included: brokers that restart and networks that are cut for a while lose no message.
    /// Default 30 s. [`Producer::deliver_within`] sets it for single sends.
    pub fn deliver_within(mut self, limit: Duration) -> Self {
        self.deliver_within = limit;
        self
    }

    /// Repetitions of a send that failed for a reason that can pass, beside the limit of time. Default: as many as fit into
    /// [`ProducerBuilder::deliver_within`]; 0 sends each message once. An error that waiting hardly mends, such as an unknown topic, is
    /// repeated twice at most.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Whether a message may create its topic, where brokers allow that. Default true.
    pub fn auto_create_topic(mut self, allowed: bool) -> Self {
        self.auto_create = allowed;
        self
    }

    /// Longest body of a message or batch, bytes, before it is compressed. Default 4 MiB, as brokers have it. No request is larger than a frame, 16 MiB with its
    /// header.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Holds messages back for a moment so that several leave in one request: more messages a second for a little latency. Messages
    /// with an ordering key or a delay leave at once, as ever. Default: off.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.batching = Some(batching);
        self
    }

    /// Adds a hook that each message goes through before it is sent: it may change the message, or refuse it. Hooks run in the order in
    /// which they were added, on the sending task and in the span `send`. The first error ends the send: nothing is sent, the later
    /// hooks do not run, and the send's error is [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) with the hook's error as
    /// its source. Repetitions of a send do not run hooks again.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use rmq_client::Message;
    ///
    /// let producer = client
    ///     .producer_builder()
    ///     .before_send(|message: Message| match message.body().len() {
    ///         0..=1_000_000 => Ok(message.property("tenant", "a")),
    ///         _ => Err("too long for a tenant"),
    ///     })
    ///     .build();
    /// producer.send(Message::new("orders", "17")).await?;
    /// # Ok(()) }
    /// ```
    pub fn before_send<H, E>(mut self, hook: H) -> Self
    where
        H: Fn(Message) -> Result<Message, E> + Send + Sync + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.hooks.add(hook);
        self
    }

    /// Whether messages carry the trace that they belong to, in the properties `traceparent` and `tracestate`: see
    /// [`TraceContext`](crate::TraceContext). Default true; 68 bytes of a message that belongs to one.
    pub fn trace_context(mut self, carried: bool) -> Self {
        self.trace_context = carried;
        self
    }

    /// Compresses larger bodies. Default: off, unlike Java clients.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = Some(compression);
        self
    }

    /// Whether brokers that failed or answered slowly are passed over for some seconds, where others serve the topic. Default true.
    pub fn isolate_slow_brokers(mut self, isolate: bool) -> Self {
        self.isolates = isolate;
        self
    }

    /// Answers brokers that ask how a transaction of the group ended: one that this producer has begun and not ended for some seconds, or one of
    /// another member of the group that is gone. The message is the one that [`Producer::begin`] was given. An error is as
    /// [`Decision::Unknown`]: the broker asks again.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) {
    /// use rmq_client::{Decision, ReceivedMessage};
    ///
    /// async fn is_paid(order: &str) -> std::io::Result<bool> {
    ///     Ok(order == "17")
    /// }
    ///
    /// let producer = client
    ///     .producer_builder()
    ///     .group("checkout")
    ///     .transaction_check(|message: ReceivedMessage| async move {
    ///         let order = message.keys().next().unwrap_or_default();
    ///         is_paid(order).await.map(Decision::of)
    ///     })
    ///     .build();
    /// # drop(producer);
    /// # }
    /// ```
    pub fn transaction_check<F, R, E>(mut self, check: F) -> Self
    where
        F: Fn(ReceivedMessage) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Decision, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.checker = Some(Checker::new(check));
        self
    }

    /// The producer. Nothing is sent for that.
    #[must_use]
    pub fn build(self) -> Producer {
        let shared = self.shared();
        if let Some(checker) = self.checker {
            let answers = Answers::new(self.client.downgrade(), &shared, checker);
            self.client.notices().answer_checks(&self.group, answers);
            // Brokers ask whom they know, also a producer that has sent nothing yet.
            shared.has_begun.store(true, Ordering::Relaxed);
            let beats = self.client.beats();
            beats.begin(&self.client, Arc::downgrade(&shared));
        }
        Producer::new(self.client, shared)
    }

    pub(crate) fn shared(&self) -> Arc<ProducerState> {
        Arc::new(ProducerState {
            group: self.group.clone(),
            retries: self.retries,
            deliver_within: self.deliver_within,
            has_begun: AtomicBool::new(false),
            auto_create: self.auto_create,
            message_bytes_max: self.message_bytes_max,
            batcher: self
                .batching
                .map(|batching| Arc::new(Batcher::new(batching))),
            isolates: self.isolates,
            compression: self.compression,
            trace_context: self.trace_context,
            hooks: self.hooks.clone(),
            room: Arc::new(Semaphore::new(self.max_in_flight)),
            turn: AtomicUsize::new(0),
        })
    }
}
