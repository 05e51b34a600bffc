//! Consuming as a member of a group: queues are divided among the members, messages go to a handler or a stream, offsets are kept.

mod assign;
mod control;
mod delivery;
mod ending;
mod filter;
mod handler;
mod held;
mod progress;
mod rebalance;
mod settings;
mod start;
mod state;
mod steered;
mod stream;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rmq_protocol::names::retry_topic;
use tokio::sync::oneshot;

pub use assign::Assignment;
pub use control::Control;
pub use delivery::Delivery;
pub use filter::Filter;
pub use handler::HandledBuilder;
pub use settings::Retry;
pub use start::StartFrom;
pub use stream::{Batches, Deliveries};

use self::settings::{BroadcastOffsets, ConsumerSettings, Subscription};
use self::state::{ConsumerState, Item};
use crate::client::Client;
use crate::error::Error;
use crate::message::check_delay;

/// Default number of messages that a handler gets at once.
const CONCURRENCY: usize = 32;

/// Builds a consumer.
///
/// ```no_run
/// # async fn bill(_: rmq_client::Delivery) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::{Filter, Retry};
///
/// client
///     .consumer("billing")
///     .subscribe("orders", Filter::tags(["paid"]))
///     .concurrency(32)
///     .retry(Retry::up_to(8))
///     .handler(|delivery| async move { bill(delivery).await })
///     .run_until(std::future::pending::<()>())
///     .await
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct ConsumerBuilder {
    client: Client,
    group: String,
    subscriptions: Vec<Subscription>,
    settings: ConsumerSettings,
    concurrency: usize,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            subscriptions: Vec::new(),
            settings: ConsumerSettings::default(),
            concurrency: CONCURRENCY,
        }
    }

    /// Adds a topic, or changes what is wanted of it: [`Filter`], `"*"`, or tags as `"a || b"`. All members of a group must
    /// subscribe to the same.
    pub fn subscribe(mut self, topic: impl Into<String>, filter: impl Into<Filter>) -> Self {
        let (topic, filter) = (topic.into(), filter.into());
        self.subscriptions.retain(|other| other.topic != topic);
        self.subscriptions.push(Subscription { topic, filter });
        self
    }

    /// Messages that a handler works on at once. Default 32.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages.max(1);
        self
    }

    /// One message of a queue after the other: the next one comes when the one before is done with. Brokers lock the queues, so this
    /// holds across all members.
    pub fn ordered(mut self) -> Self {
        self.settings.ordered = true;
        self
    }

    /// Every member gets every message. Offsets are forgotten when the consumer ends; see [`ConsumerBuilder::broadcast_offsets`].
    pub fn broadcast(mut self) -> Self {
        self.settings
            .broadcast
            .get_or_insert(BroadcastOffsets::Memory);
        self
    }

    /// Every member gets every message; this one keeps its offsets in a file, which has the form that Java clients write.
    pub fn broadcast_offsets(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.broadcast = Some(BroadcastOffsets::File(file.into()));
        self
    }

    /// Where to begin in a queue of which the group has no offset yet. Default [`StartFrom::Last`].
    pub fn from(mut self, start: StartFrom) -> Self {
        self.settings.from = start;
        self
    }

    /// How often and when a failed message comes again. Default: as the group's settings at the broker say.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = retry;
        self
    }

    /// How queues are divided among the members. Default [`Assignment::Average`], as Java and Go clients do.
    pub fn assignment(mut self, assignment: Assignment) -> Self {
        self.settings.assignment = assignment;
        self
    }

    /// Messages and bytes of bodies that may be in memory at once, waiting or being handled. Default 4,096 and 64 MiB; beside them
    /// one answer of at most 256 KiB, or one message, waits for each queue.
    pub fn prefetch(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.prefetch_messages = messages.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self.settings.prefetch_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// Time between commits of offsets: what a crash brings again at most. Default 5 s.
    pub fn commit_every(mut self, pause: Duration) -> Self {
        self.settings.commit_every = pause.max(Duration::from_millis(10));
        self
    }

    /// How long the end of the consumer waits for what is being handled; then handlers are dropped where they stand, and other members
    /// get those messages again. The whole end takes two seconds more at most. Default 25 s: Kubernetes kills after 30 s.
    pub fn drain_within(mut self, limit: Duration) -> Self {
        self.settings.drain_within = limit;
        self
    }

    /// Messages go to `handler`: its `Ok` acknowledges, its `Err` and its panic let the message come again later, and to the dead
    /// letters when that was too often.
    pub fn handler<H, F, E>(self, handler: H) -> HandledBuilder
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display + Send + 'static,
    {
        HandledBuilder::new(self, handler)
    }

    /// As [`ConsumerBuilder::handler`], for a handler that blocks: it runs in threads of the consumer's own, as many as
    /// [`ConsumerBuilder::concurrency`] says, and takes none from the runtime. A thread cannot be dropped: at the end of
    /// [`ConsumerBuilder::drain_within`] a handler that still runs is left to itself, and what it does no longer counts.
    ///
    /// ```no_run
    /// # fn write_to_database(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// let consumer = client
    ///     .consumer("archive")
    ///     .subscribe("orders", "*")
    ///     .concurrency(4)
    ///     .handler_blocking(|order| write_to_database(order.message().body()))
    ///     .start()
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn handler_blocking<H, E>(self, handler: H) -> HandledBuilder
    where
        H: Fn(Delivery) -> Result<(), E> + Send + Sync + 'static,
        E: std::fmt::Display + 'static,
    {
        HandledBuilder::blocking(self, handler)
    }

    /// As [`ConsumerBuilder::handler`], for a service of `tower`: layers around a handler are those of `tower::ServiceBuilder`, where the
    /// first that is added sees the message first and the result last. An error of the service, or of its readiness, lets the message
    /// come again, whichever layer it is of. Each message goes to a clone.
    ///
    /// ```no_run
    /// # async fn bill(_: rmq_client::Delivery) -> Result<(), std::io::Error> { Ok(()) }
    /// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
    /// use std::time::Duration;
    /// use tower::ServiceBuilder;
    ///
    /// let service = ServiceBuilder::new()
    ///     .map_request(|order: rmq_client::Delivery| { println!("{}", order.message_id()); order })
    ///     .timeout(Duration::from_secs(10))
    ///     .service_fn(bill);
    /// client.consumer("billing").subscribe("orders", "*").service(service).start().await?;
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "tower")]
    pub fn service<S>(self, service: S) -> HandledBuilder
    where
        S: tower_service::Service<Delivery, Response = ()> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: std::fmt::Display + Send + 'static,
    {
        self.handler(move |delivery| {
            let mut service = service.clone();
            async move {
                std::future::poll_fn(|context| service.poll_ready(context)).await?;
                service.call(delivery).await
            }
        })
    }

    /// Messages come as a stream; each has to be settled.
    ///
    /// # Errors
    /// When the group or a topic has a name that is not allowed, or a broker does not answer.
    ///
    /// # Cancel safety
    /// A dropped call joins nothing: what has begun ends in order, as a dropped [`Consumer`] does.
    pub async fn stream(self) -> Result<Deliveries, Error> {
        let (consumer, items) = self.start().await?;
        Ok(Deliveries::new(consumer, items))
    }

    async fn start(mut self) -> Result<(Consumer, async_channel::Receiver<Item>), Error> {
        if self.subscriptions.is_empty() {
            return Err(Error::invalid(format!(
                "the consumer of group \"{}\" subscribes to no topic",
                self.group
            )));
        }
        if self.settings.ordered && self.settings.broadcast.is_some() {
            return Err(Error::invalid(
                "an ordered consumer cannot broadcast: locks are the group's, not a member's",
            ));
        }
        if self.settings.waits_at_brokers()
            && let Some(pause) = self.settings.retry.pause_max()
        {
            check_delay(pause).map_err(|error| error.doing("the pauses of Retry::backoff"))?;
        }
        let mut member = self.client.member_of(self.group.as_str());
        for subscription in &self.subscriptions {
            subscription.filter.check()?;
            rmq_protocol::names::validate_topic(&subscription.topic)
                .map_err(|error| Error::invalid(error.to_string()))?;
            member = member.subscribe(&subscription.topic, subscription.filter.clone());
        }
        member = match self.settings.from {
            StartFrom::First => member.from_first(),
            _ => member,
        };
        if self.settings.broadcast.is_some() {
            member = member.broadcasting();
        } else {
            self.subscriptions.push(Subscription {
                topic: retry_topic(&self.group),
                filter: Filter::all(),
            });
        }
        let (shared, items) = ConsumerState::new(
            self.client.clone(),
            self.group,
            self.settings,
            self.subscriptions,
        )?;
        self.client.notices().serve(&shared.group, &shared)?;
        self.client
            .waits_at_most(shared.settings.drain_within + ending::FAREWELL);
        let control = Control {
            shared: Arc::clone(&shared),
        };
        // From here on the consumer ends in order, even when its start is no longer awaited.
        let consumer = Consumer { control };
        // A task joins, so a caller that stops waiting leaves no half member behind.
        let (begun, begins) = oneshot::channel();
        shared.spawn(rebalance::run(Arc::clone(&shared), member, begun));
        if let Err(error) = begins.await.unwrap_or_else(|_| Err(Error::closed())) {
            // Nothing is held yet: that nothing has to be given back is no news.
            let _ = consumer.shutdown().await;
            return Err(error);
        }
        shared.spawn(rebalance::keep_offsets(Arc::clone(&shared)));
        if shared.settings.ordered {
            shared.spawn(rebalance::keep_locks(Arc::clone(&shared)));
        }
        Ok((consumer, items))
    }
}

/// A running consumer. A dropped consumer ends as [`Control::shutdown`] does, in the background.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let consumer = client
///     .consumer("billing")
///     .subscribe("orders", "*")
///     .handler(|delivery| async move { println!("{}", delivery.topic()); Ok::<_, std::io::Error>(()) })
///     .start()
///     .await?;
/// consumer.pause();
/// for queue in consumer.assignment() {
///     println!("{queue}: {:?}", consumer.position(&queue));
///     consumer.seek(&queue, 0)?;
/// }
/// println!("{} {} {}", consumer.group(), consumer.is_paused(), consumer.lag().await?);
/// consumer.resume();
/// consumer.commit().await?;
/// consumer.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Consumer {
    control: Control,
}

impl Consumer {
    /// A handle for elsewhere.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Runs until `end` is ready or a [`Control`] asks for the end, then ends as [`Control::shutdown`] does.
    ///
    /// # Errors
    /// As [`Control::shutdown`].
    ///
    /// # Cancel safety
    /// Dropping it drops the consumer, which ends in order without anybody waiting for it.
    pub async fn run_until(self, end: impl Future) -> Result<(), Error> {
        tokio::select! {
            _ = end => {}
            () = self.control.ends() => {}
        }
        self.control.shutdown().await
    }

    /// As [`Control::shutdown`].
    ///
    /// # Errors
    /// As [`Control::shutdown`].
    ///
    /// # Cancel safety
    /// Dropping the future drops the consumer: the consumer then ends by itself.
    pub async fn shutdown(self) -> Result<(), Error> {
        self.control.shutdown().await
    }
}

impl Deref for Consumer {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}
