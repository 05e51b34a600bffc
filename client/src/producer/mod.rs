//! Sending: one by one, pipelined, as a batch, or without an answer.

mod batch;
mod batching;
mod beats;
mod builder;
mod deliver;
mod isolation;
mod pending;
mod receipt;
mod sending;
mod sink;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rmq_protocol::message::java_hash_code;
use rmq_protocol::names::AUTO_CREATE_TOPIC;
use rmq_protocol::requests::SendMessage;
use rmq_protocol::{RequestCode, Text};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::client::Client;
use crate::compression::Compression;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::queue::Queue;
use crate::remote::Remote;

pub use batch::SharedError;
pub use batching::Batching;
pub(crate) use beats::Beats;
pub use builder::ProducerBuilder;
pub(crate) use isolation::Isolation;
pub use pending::PendingSend;
use sending::{Hooks, Sending};

pub use receipt::{SendReceipt, SendStatus};
pub use sink::MessageSink;

/// A limit beyond which nobody waits.
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
    shared: Arc<Shared>,
    within: Duration,
}

/// What all clones of a producer share.
#[derive(Debug)]
pub(crate) struct Shared {
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
struct Prepared {
    code: RequestCode,
    topic: String,
    body: bytes::Bytes,
    properties: String,
    flag: i32,
    sys_flag: i32,
    unique_id: String,
}

impl Producer {
    pub(crate) fn new(client: Client, shared: Arc<Shared>) -> Self {
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
    /// When the message cannot be sent or no broker stored it in time. [`Error::may_have_been_processed`] says whether one of the tries
    /// may have stored it.
    ///
    /// # Cancel safety
    /// The message of a dropped call may be stored, or not; [`submit`](Producer::submit) sends on its own. With
    /// [`batching`](ProducerBuilder::batching), a message that was gathered is sent anyway.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, Error> {
        let (message, sending) = self.begin(message)?;
        let deadline = self.deadline();
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

    /// As [`Producer::send`], by whoever holds the room for it.
    async fn send_now(
        &self,
        message: Message,
        deadline: Instant,
        sending: Sending,
    ) -> Result<SendReceipt, Error> {
        let prepared = match self.prepare(&message) {
            Ok(prepared) => prepared,
            Err(error) => return Err(sending.failed(error)),
        };
        let target = Target::Any(message.ordering_key());
        let sent = self.deliver(&prepared, &target, deadline, &sending.span);
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
        let (message, sending) = self.begin(message)?;
        let deadline = self.deadline();
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare_for(queue, &message)?))
        };
        let (_room, prepared) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        let target = Target::Queue(queue);
        let sent = self.deliver(&prepared, &target, deadline, &sending.span);
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
    /// A dropped call sends nothing. Once it has returned the send goes on, also without its [`PendingSend`].
    pub async fn submit(&self, message: Message) -> Result<PendingSend, Error> {
        let (message, sending) = self.begin(message)?;
        let deadline = self.deadline();
        let ready = async {
            let room = self.room(deadline).await?;
            self.check(&message)?;
            match self.batcher_for(&message) {
                Some(batcher) => Ok((room, Err(batcher))),
                None => Ok((room, Ok(self.prepare(&message)?))),
            }
        };
        let (room, prepared) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(batcher) => {
                let answer = batcher.add(self, message, room, sending);
                return Ok(PendingSend::gathered(answer));
            }
        };
        self.make_ready(&prepared.topic, &Target::Any(message.ordering_key()))
            .await;
        let producer = self.clone();
        Ok(PendingSend::start(&self.client, async move {
            let _room = room;
            let target = Target::Any(message.ordering_key());
            let sent = producer.deliver(&prepared, &target, deadline, &sending.span);
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
        let (message, sending) = self.begin(message)?;
        let deadline = self.deadline();
        let ready = async {
            let room = self.room(deadline).await?;
            Ok((room, self.prepare_for(queue, &message)?))
        };
        let (room, prepared) = match ready.await {
            Ok(ready) => ready,
            Err(error) => return Err(sending.failed(error)),
        };
        self.make_ready(&prepared.topic, &Target::Queue(queue))
            .await;
        let (producer, queue) = (self.clone(), queue.clone());
        Ok(PendingSend::start(&self.client, async move {
            let _room = room;
            let target = Target::Queue(&queue);
            let sent = producer.deliver(&prepared, &target, deadline, &sending.span);
            let sent = sent.await;
            sending.ended(sent)
        })
        .await)
    }

    /// Hands a message to a connection and does not wait for an answer: nobody knows whether it was stored.
    ///
    /// # Errors
    /// When the message cannot be sent or there is no connection.
    ///
    /// # Cancel safety
    /// The message of a dropped call may have been handed over, or not.
    pub async fn send_and_forget(&self, message: Message) -> Result<(), Error> {
        let (message, sending) = self.begin(message)?;
        let sent = async {
            let prepared = self.prepare(&message)?;
            let target = Target::Any(message.ordering_key());
            let (queue, remote) = self.pick(&prepared.topic, &target, None).await?;
            let request = self.request(&prepared, &queue);
            remote
                .one_way(prepared.code.as_i32(), &request, &prepared.body)
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

    fn deadline(&self) -> Instant {
        // Longer than any program runs, and short enough to be added.
        Instant::now() + self.within.min(FOR_EVER)
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

    fn prepare(&self, message: &Message) -> Result<Prepared, Error> {
        self.check(message)?;
        let unique_id = self.client.next_unique_id();
        let (body, sys_flag) = match &self.shared.compression {
            Some(compression) => compression.deflate(message.body()),
            None => (message.body().clone(), 0),
        };
        Ok(Prepared {
            code: RequestCode::SendMessageV2,
            topic: message.topic().to_owned(),
            body,
            sys_flag,
            properties: message.encode_properties(&unique_id)?,
            flag: message.user_flag(),
            unique_id,
        })
    }

    fn prepare_for(&self, queue: &Queue, message: &Message) -> Result<Prepared, Error> {
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

    fn request<'r>(&'r self, prepared: &'r Prepared, queue: &'r Queue) -> SendMessage<'r> {
        let mut request = SendMessage::new(self.shared.group.as_str(), prepared.topic.as_str());
        request.queue_id = queue.id();
        request.born_timestamp = self.client.now_ms();
        request.flag = prepared.flag;
        request.sys_flag = prepared.sys_flag;
        request.properties = Text::Plain(&prepared.properties);
        request.batch = prepared.code == RequestCode::SendBatchMessage;
        request.broker_name = Some(queue.broker().into());
        request
    }

    /// A queue and the master of its broker group; another broker than `avoid` where there is one.
    async fn pick(
        &self,
        topic: &str,
        target: &Target<'_>,
        avoid: Option<&str>,
    ) -> Result<(Queue, Remote), Error> {
        let route = match self.client.route(topic).await {
            Err(error) if error.kind() == ErrorKind::NoRoute && self.shared.auto_create => {
                return self.pick_for_new(topic, target, error).await;
            }
            route => route?,
        };
        let no_queue = || {
            Error::new(
                ErrorKind::NoRoute,
                format!("topic \"{topic}\" has no queue that can be written"),
            )
            .advice("its brokers may be down or read-only")
        };
        let queue = match target {
            Target::Queue(queue) => (*queue).clone(),
            Target::Any(key) => {
                let all = route.writable();
                match key {
                    // The same key must always give the same queue.
                    Some(key) => by_key(all, key).ok_or_else(no_queue)?.clone(),
                    None => self.any(all, avoid).ok_or_else(no_queue)?.clone(),
                }
            }
        };
        let addr = route.master(queue.broker()).ok_or_else(no_queue)?;
        Ok((queue, self.client.remote(addr)))
    }

    /// A topic that does not exist yet is created by the broker that gets its first message, as the template topic says.
    async fn pick_for_new(
        &self,
        topic: &str,
        target: &Target<'_>,
        unknown: Error,
    ) -> Result<(Queue, Remote), Error> {
        const QUEUES: i32 = 4;
        let Ok(template) = self.client.route(AUTO_CREATE_TOPIC).await else {
            return Err(unknown);
        };
        let queues: Vec<Queue> = template
            .writable()
            .iter()
            .filter(|queue| queue.id() < QUEUES)
            .map(|queue| Queue::new(topic, queue.broker(), queue.id()))
            .collect();
        let queue = match target {
            Target::Queue(queue) => Some(*queue),
            Target::Any(Some(key)) => by_key(&queues, key),
            Target::Any(None) => self.in_turn(&queues),
        };
        let Some(queue) = queue.cloned() else {
            return Err(unknown);
        };
        let Some(addr) = template.master(queue.broker()) else {
            return Err(unknown);
        };
        let remote = self.client.remote(addr);
        Ok((queue, remote))
    }

    /// The next queue in turn; one of another broker than `avoid` and those that are passed over, where there is one.
    fn any<'q>(&self, all: &'q [Queue], avoid: Option<&str>) -> Option<&'q Queue> {
        let isolation = self.client.isolation();
        let isolates = self.shared.isolates && isolation.is_active();
        if avoid.is_none() && !isolates {
            return self.in_turn(all);
        }
        let is_good = |queue: &&Queue| !(isolates && isolation.is_isolated(queue.broker()));
        let others = || all.iter().filter(|queue| Some(queue.broker()) != avoid);
        let good: Vec<&Queue> = others().filter(is_good).collect();
        if let Some(queue) = self.in_turn(&good) {
            return Some(queue);
        }
        let others: Vec<&Queue> = others().collect();
        self.in_turn(&others).copied().or_else(|| self.in_turn(all))
    }

    fn in_turn<'q, Q>(&self, queues: &'q [Q]) -> Option<&'q Q> {
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        queues.get(turn.checked_rem(queues.len())?)
    }
}

fn by_key<'q>(queues: &'q [Queue], key: &str) -> Option<&'q Queue> {
    let hash = java_hash_code(key).unsigned_abs() as usize;
    queues.get(hash.checked_rem(queues.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_gives_the_same_queue() {
        let queues: Vec<_> = (0..4).map(|id| Queue::new("t", "b", id)).collect();
        let first = by_key(&queues, "customer-1").unwrap();
        assert_eq!(by_key(&queues, "customer-1"), Some(first));
        // i32::MIN has no positive counterpart.
        assert!(by_key(&queues, "polygenelubricants").is_some());
        assert!(by_key(&[], "x").is_none());
    }
}
