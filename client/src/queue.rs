//! One queue of a topic at a broker group.

use std::fmt;
use std::sync::Arc;

use rmq_protocol::bodies::MessageQueue;

/// A queue: the unit of order and of offsets.
///
/// ```
/// let queue = rmq_client::Queue::new("orders", "broker-a", 3);
/// assert_eq!(queue.to_string(), "orders/broker-a/3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    topic: Arc<str>,
    broker: Arc<str>,
    id: i32,
}

impl Queue {
    /// Names a queue; whether it exists shows when it is used.
    pub fn new(topic: impl Into<Arc<str>>, broker: impl Into<Arc<str>>, id: i32) -> Self {
        Self {
            topic: topic.into(),
            broker: broker.into(),
            id,
        }
    }

    /// The queue with this number, of the same topic at the same broker group.
    pub(crate) fn sibling(self, id: i32) -> Self {
        Self { id, ..self }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The name of the broker group.
    #[must_use]
    pub fn broker(&self) -> &str {
        &self.broker
    }

    /// Its number at that broker group, from 0.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.broker, self.id)
    }
}

impl From<&MessageQueue> for Queue {
    fn from(queue: &MessageQueue) -> Self {
        Self::new(
            queue.topic.as_str(),
            queue.broker_name.as_str(),
            queue.queue_id,
        )
    }
}

impl From<&Queue> for MessageQueue {
    fn from(queue: &Queue) -> Self {
        Self::new(queue.topic(), queue.broker(), queue.id())
    }
}
