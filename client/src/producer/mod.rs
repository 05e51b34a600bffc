//! Sending: one by one, pipelined, as a batch, or without an answer.

mod batch;
mod batching;
mod beats;
mod builder;
mod deliver;
mod isolation;
mod pending;
mod picking;
mod recall;
mod receipt;
mod request;
mod sending;
mod sink;
mod traces;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rmq_protocol::requests::SendMessage;
use rmq_protocol::{RequestCode, Text};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::client::Client;
use crate::compression::Compression;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::message_traces::Subject;
use crate::queue::Queue;

pub use batch::SharedError;
pub use batching::Batching;
pub(crate) use beats::Beats;
pub use builder::ProducerBuilder;
pub(crate) use isolation::Isolation;
pub use pending::PendingSend;
use sending::{Hooks, Sending};

pub use receipt::SendReceipt;
pub(crate) use request::Requests;
pub use sink::MessageSink;
pub use transaction::{Decision, Transaction};

/// No call waits longer.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// Sends messages. Cheap to clone; clones share the limit of sends in flight.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Message;
/// let producer = client.producer_builder().group("checkout").max_in_flight(1_000).build();
/// // Pipelined: `submit` returns as soon as there is room, the answer comes later.
/// let first = producer.submit(Message::new("orders", "1")).await?;
/// let second = producer.submit(Message::new("orders", "2")).await?;
/// println!("{} {}", first.await?.queue_offset(), second.await?.queue_offset());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    client: Client,
    shared: Arc<ProducerState>,
    within: Duration,
}

/// What all clones of a producer share.
#[derive(Debug)]
pub(crate) struct ProducerState {
    group: String,
    retries: u32,
    auto_create: bool,
    message_bytes_max: usize,
    batcher: Option<Arc<batching::Batcher>>,
    isolates: bool,
    compression: Option<Compression>,
    trace_context: bool,
    hooks: Hooks,
    room: Arc<Semaphore>,
    turn: AtomicUsize,
    deliver_within: Duration,
    /// Whether it has sent anything.
    has_begun: AtomicBool,
}

/// Where a message goes.
enum Target<'t> {
    /// Any queue, or the one of its ordering key.
    Any(Option<&'t str>),
    Queue(&'t Queue),
}

/// A message ready for the wire; repetitions send the same, so they carry the same id.
struct Outgoing {
    code: RequestCode,
    topic: String,
    ordering_key: Option<String>,
    body: bytes::Bytes,
    properties: String,
    flag: i32,
    sys_flag: i32,
    unique_id: String,
    /// When it was made, Unix milliseconds.
    born_ms: i64,
    /// Of a retry: how often it was given back, and after how many times it is given up.
    reconsume_times: i32,
    max_reconsume_times: Option<i32>,
    /// What traces say of it, where they are written.
    traced: Option<Box<Subject>>,
}

impl Outgoing {
    /// Any queue, or the one of its ordering key.
    fn any_queue(&self) -> Target<'_> {
        Target::Any(self.ordering_key.as_deref())
    }
}

impl Producer {
    pub(crate) fn new(client: Client, shared: Arc<ProducerState>) -> Self {
        let within = shared.deliver_within;
        Self {
            client,
            shared,
            within,
        }
    }

    /// The same producer with another limit for what is sent by it: how long a send tries before it fails. The limit of sends in flight
    /// stays a common one.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use rmq_client::Message;
    ///
    /// let producer = client.producer();
    /// let quick = producer.deliver_within(Duration::from_secs(2));
    /// quick.send(Message::new("ticks", "1")).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn deliver_within(&self, limit: Duration) -> Self {
        Self {
            within: limit,
            ..self.clone()
        }
    }

    /// The producer's group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.shared.group
    }

    /// Sends a message to a queue of its topic, in turn, and waits until it is stored, for
    /// [`deliver_within`](ProducerBuilder::deliver_within) at most. What can pass is tried again until then, at another broker where
    /// there is one; the message keeps its id, but can then be stored twice.
    ///
    /// # Errors
    /// When the message cannot be sent or no broker stored it in time. The kind is [`ErrorKind::Indeterminate`] when one of the tries may
    /// have stored it.
    ///
    /// # Cancel safety
    /// The message of a dropped call may be stored, or not; [`submit`](Producer::submit) sends on its own. With
    /// [`batching`](ProducerBuilder::batching), a message that was gathered is sent anyway.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, Error> {
        let (message, sending) = self.begin_send(message)?;
        let deadline = self.deadline(sending.began);
        let room = match self.room(deadline).await {
            Ok(room) => room,
            Err(error) => return Err(sending.failed(error)),
        };
        if let Some(batcher) = self.batcher_for(&message) {
            return match self.check(&message) {
                Ok(()) => PendingSend::gathered(batcher.add(self, message, room, sending)).await,
                Err(error) => Err(sending.failed(error)),
            };
        }
        let _room = room;
        self.send_now(message, deadline, sending).await
    }

    /// As [`Producer::send`], for a caller that holds the room for the message.
    async fn send_now(
        &self,
        message: Message,
        deadline: Instant,
        sending: Sending,
    ) -> Result<SendReceipt, Error> {
        let outgoing = match self.prepare(message) {
            Ok(outgoing) => outgoing,
            Err(error) => return Err(sending.failed(error)),
        };
        let sent = self.deliver(outgoing, None, deadline, &sending.span);
        let sent = sent.await;
        sending.ended(sent)
    }

    /// Sends what [`ProducerBuilder::batching`] holds back, without waiting for more.
    ///
    /// ```no_run
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use rmq_client::{Batching, Message};
    ///
    /// let producer = client.producer_builder().batching(Batching::linger(Duration::from_secs(1))).build();
    /// let pending = producer.submit(Message::new("orders", "1")).await?;
    /// producer.flush();
    /// pending.await?;
    /// # Ok(()) }
    /// ```
    pub fn flush(&self) {
        if let Some(batcher) = &self.shared.batcher {
            batcher.flush(self);
        }
    }

    /// What gathers the message with others, when it may be.
    fn batcher_for(&self, message: &Message) -> Option<&Arc<batching::Batcher>> {
        let batcher = self.shared.batcher.as_ref()?;
        // Who leaves together has the same time.
        let has_own_limit = self.within != self.shared.deliver_within;
        let compression = self.shared.compression.as_ref();
        let leaves_alone =
            has_own_limit || compression.is_some_and(|how| how.wants(message.body().len()));
        (message.may_be_batched() && !leaves_alone).then_some(batcher)
    }

    /// Sends a message to one queue and waits until it is stored. Messages that are sent to a queue one after the other keep their order.
    ///
    /// # Errors
    /// When the message cannot be sent or the broker did not store it.
    ///
    /// # Cancel safety
    /// As [`Producer::send`].
    pub async fn send_to(&self, queue: &Queue, message: Message) -> Result<SendReceipt, Error> {
        let (message, sending) = self.begin_send(message)?;
        let deadline = self.deadline(sending.began);
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare_for(queue, message)?))
        };
        let (_room, outgoing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        let sent = self.deliver(outgoing, Some(queue), deadline, &sending.span);
        let sent = sent.await;
        sending.ended(sent)
    }

    /// Sends a message and returns as soon as there is room for another one; the result comes with [`PendingSend`], which may be
    /// dropped. While the connection stands, messages leave in the order of the calls.
    ///
    /// # Errors
    /// When the message cannot be sent at all, or there was no room in time.
    ///
    /// # Cancel safety
    /// A dropped call sends nothing. After the call has returned, the send continues, even without its [`PendingSend`].
    pub async fn submit(&self, message: Message) -> Result<PendingSend, Error> {
        let (message, sending) = self.begin_send(message)?;
        let deadline = self.deadline(sending.began);
        let ready = async {
            let room = self.room(deadline).await?;
            self.check(&message)?;
            match self.batcher_for(&message) {
                Some(batcher) => Ok((room, Err((batcher, message)))),
                None => Ok((room, Ok(self.prepare(message)?))),
            }
        };
        let (room, outgoing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        let outgoing = match outgoing {
            Ok(outgoing) => outgoing,
            Err((batcher, message)) => {
                let answer = batcher.add(self, message, room, sending);
                return Ok(PendingSend::gathered(answer));
            }
        };
        self.make_ready(&outgoing.topic, &outgoing.any_queue())
            .await;
        let producer = self.clone();
        Ok(PendingSend::start(&self.client, async move {
            let _room = room;
            let sent = producer.deliver(outgoing, None, deadline, &sending.span);
            let sent = sent.await;
            sending.ended(sent)
        })
        .await)
    }

    /// As [`Producer::submit`], to one queue.
    ///
    /// # Errors
    /// As [`Producer::submit`].
    ///
    /// # Cancel safety
    /// As [`Producer::submit`].
    pub async fn submit_to(&self, queue: &Queue, message: Message) -> Result<PendingSend, Error> {
        let (message, sending) = self.begin_send(message)?;
        let deadline = self.deadline(sending.began);
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare_for(queue, message)?))
        };
        let (room, outgoing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        self.make_ready(&outgoing.topic, &Target::Queue(queue))
            .await;
        let (producer, queue) = (self.clone(), queue.clone());
        Ok(PendingSend::start(&self.client, async move {
            let _room = room;
            let sent = producer.deliver(outgoing, Some(&queue), deadline, &sending.span);
            let sent = sent.await;
            sending.ended(sent)
        })
        .await)
    }

    /// Hands a message to a connection and does not wait for an answer: whether the message was stored is not known.
    ///
    /// # Errors
    /// When the message cannot be sent or there is no connection.
    ///
    /// # Cancel safety
    /// The message of a dropped call may have been handed over, or not.
    pub async fn send_and_forget(&self, message: Message) -> Result<(), Error> {
        let (message, sending) = self.begin_send(message)?;
        let sent = async {
            let outgoing = self.prepare(message)?;
            let target = outgoing.any_queue();
            let (queue, remote) = self.pick(&outgoing.topic, &target, None).await?;
            let request = self.fields_of(&outgoing, &queue);
            remote
                .one_way(outgoing.code.as_i32(), &request, &outgoing.body)
                .await
        };
        let sent = sent.await;
        sending.handed_over(sent)
    }

    /// Fetches the route and connects where that is missing: what would wait for it together would leave in any order.
    async fn make_ready(&self, topic: &str, target: &Target<'_>) {
        if matches!(target, Target::Any(None)) {
            // Only messages of one queue have an order.
            let _ = self.client.route(topic).await;
        } else if let Ok((_, remote)) = self.pick(topic, target, None).await {
            // A failure is the send's to report.
            let _ = remote.ready().await;
        }
    }

    /// Until when what was begun then is tried.
    fn deadline(&self, began: Instant) -> Instant {
        // Longer than any program runs, and short enough to be added.
        began + self.within.min(FOR_EVER)
    }

    async fn room(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        // Read first: all sends of all threads share it.
        let has_begun = &self.shared.has_begun;
        if !has_begun.load(Ordering::Relaxed) && !has_begun.swap(true, Ordering::Relaxed) {
            let producer = Arc::downgrade(&self.shared);
            self.client.beats().begin(&self.client, producer);
        }
        if let Ok(room) = Arc::clone(&self.shared.room).try_acquire_owned() {
            return Ok(room);
        }
        let room = Arc::clone(&self.shared.room).acquire_owned();
        match tokio::time::timeout_at(deadline, room).await {
            Ok(room) => room.map_err(|_| Error::closed()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!(
                    "no room within {:?}: too many sends of this producer are in flight",
                    self.within
                ),
            )
            .advice("brokers do not keep up, or max_in_flight is too low")),
        }
    }

    fn check(&self, message: &Message) -> Result<(), Error> {
        if message.body().is_empty() {
            return Err(Error::invalid(format!(
                "a message for \"{}\" has no body; brokers refuse that",
                message.topic()
            )));
        }
        self.check_size(message.topic(), message.body().len())
    }

    fn prepare(&self, mut message: Message) -> Result<Outgoing, Error> {
        self.check(&message)?;
        let born_ms = self.client.now_ms();
        let retry = message.take_retry().unwrap_or_default();
        let unique_id = retry.id.unwrap_or_else(|| self.client.unique_id(born_ms));
        let properties = message.encode_properties(&unique_id)?;
        let flag = message.user_flag();
        let traced = self.client.traces();
        let traced = traced.and_then(|traces| traces.subject(&message));
        let (topic, body, ordering_key) = message.into_parts();
        let (body, sys_flag) = match &self.shared.compression {
            Some(compression) => compression.deflate(&body),
            None => (body, 0),
        };
        Ok(Outgoing {
            code: RequestCode::SendMessageV2,
            topic,
            ordering_key,
            body,
            sys_flag,
            properties,
            flag,
            unique_id,
            born_ms,
            reconsume_times: retry.times,
            max_reconsume_times: retry.times_max,
            traced,
        })
    }

    fn prepare_for(&self, queue: &Queue, message: Message) -> Result<Outgoing, Error> {
        if queue.topic() != message.topic() {
            return Err(Error::invalid(format!(
                "a message for \"{}\" cannot go to {queue}",
                message.topic()
            )));
        }
        self.prepare(message)
    }

    fn check_size(&self, topic: &str, bytes: usize) -> Result<(), Error> {
        let max = self.shared.message_bytes_max;
        if bytes > max {
            return Err(Error::invalid(format!(
                "a message for \"{topic}\" has {bytes} bytes, at most {max} are allowed"
            )));
        }
        Ok(())
    }

    fn fields_of<'r>(&'r self, outgoing: &'r Outgoing, queue: &'r Queue) -> SendMessage<'r> {
        let mut request = SendMessage::new(self.shared.group.as_str(), outgoing.topic.as_str());
        request.queue_id = queue.id();
        request.born_timestamp = outgoing.born_ms;
        request.flag = outgoing.flag;
        request.reconsume_times = outgoing.reconsume_times;
        request.max_reconsume_times = outgoing.max_reconsume_times;
        request.sys_flag = outgoing.sys_flag;
        request.properties = Text::Plain(&outgoing.properties);
        request.batch = outgoing.code == RequestCode::SendBatchMessage;
        request.broker_name = Some(queue.broker().into());
        request
    }
}
