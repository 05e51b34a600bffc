//! What happens to a client, for who wants to know: connections, routes, queues, repetitions.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::broadcast;

use crate::queue::Queue;

/// Events that wait for a reader at most; it is told how many it missed.
const WAITING_MAX: usize = 256;

/// Something that happened.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// use rmq_client::Event;
///
/// let mut events = client.events();
/// while let Some(event) = events.next().await {
///     match event {
///         Event::Disconnected { addr } => eprintln!("{addr} is gone"),
///         Event::NoRoute { group, topic } => eprintln!("{group}: no topic {topic}"),
///         Event::Failed { group, error, .. } => eprintln!("{group}: {error}"),
///         Event::Rebalanced { group, gained, lost } => eprintln!("{group}: +{} -{}", gained.len(), lost.len()),
///         other => eprintln!("{other:?}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A connection stands.
    Connected {
        /// The server, `host:port`.
        addr: String,
    },
    /// A connection is gone; it is opened again when it is needed.
    Disconnected {
        /// The server, `host:port`.
        addr: String,
    },
    /// A topic is served by other brokers or queues than before.
    Rerouted {
        /// The topic.
        topic: String,
    },
    /// A member of a group holds other queues than before.
    Rebalanced {
        /// The group.
        group: String,
        /// Queues that it took.
        gained: Vec<Queue>,
        /// Queues that it gave away.
        lost: Vec<Queue>,
    },
    /// A consumer subscribes to a topic that no name server knows. Told once, and again after the topic came and went.
    NoRoute {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
    },
    /// A consumer cannot read a queue, or cannot commit offsets or renew locks, and tries again.
    Failed {
        /// The group.
        group: String,
        /// The queue, when it is one.
        queue: Option<Queue>,
        /// What failed, and why.
        error: String,
    },
    /// A send failed and is repeated.
    Retrying {
        /// The topic.
        topic: String,
        /// Tries so far.
        attempt: u32,
        /// Why the last one failed.
        error: String,
    },
    /// The reader was too slow for so many events, which it does not get.
    Missed(u64),
}

/// Whom events are told to.
#[derive(Debug)]
pub(crate) struct Announcer {
    sender: broadcast::Sender<Event>,
}

impl Default for Announcer {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(WAITING_MAX),
        }
    }
}

impl Announcer {
    /// Tells an event; the event is made only when there is a listener.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.sender.receiver_count() > 0 {
            // A listener that has stopped meanwhile misses nothing that it wants.
            let _ = self.sender.send(event());
        }
    }

    pub(crate) fn listen(&self) -> Events {
        let receiver = self.sender.subscribe();
        Events(Box::pin(futures_util::stream::unfold(
            receiver,
            |mut receiver| async move {
                match receiver.recv().await {
                    Ok(event) => Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        Some((Event::Missed(missed), receiver))
                    }
                    Err(broadcast::error::RecvError::Closed) => None,
                }
            },
        )))
    }
}

/// Events from now on.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) -> Result<(), rmq_client::Error> {
/// let mut events = client.events();
/// tokio::spawn(async move {
///     while let Some(event) = events.next().await {
///         println!("{event:?}");
///     }
/// });
/// # Ok(()) }
/// ```
#[must_use]
pub struct Events(Pin<Box<dyn Stream<Item = Event> + Send>>);

impl Events {
    /// The next event; `None` when the client was shut down and dropped.
    ///
    /// # Cancel safety
    /// Safe: a dropped wait loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        futures_util::StreamExt::next(&mut self.0).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.0.as_mut().poll_next(context)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// How a client is, for a readiness probe.
///
/// ```no_run
/// # async fn example(client: rmq_client::Client) {
/// let health = client.health().await;
/// if !health.is_ready() {
///     eprintln!("{:?}", health.problem());
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub(crate) problem: Option<String>,
    pub(crate) connections: Vec<(String, bool)>,
}

impl Health {
    /// Whether a name server answers and knows a broker.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.problem.is_none()
    }

    /// Why it is not ready.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Servers that were talked to, `host:port`, and whether a connection stands now.
    #[must_use]
    pub fn connections(&self) -> &[(String, bool)] {
        &self.connections
    }
}
