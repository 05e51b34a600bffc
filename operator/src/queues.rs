//! Objects that are to be looked at, one queue for each of our kinds. Many wakes of one object become one look.

use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic, User};
use tokio::sync::mpsc;

/// The end of a queue that takes wakes.
pub(crate) type Sender<K> = mpsc::UnboundedSender<ObjectRef<K>>;
/// The end of a queue that a controller reads.
pub(crate) type Receiver<K> = mpsc::UnboundedReceiver<ObjectRef<K>>;

/// Where wakes go.
pub(crate) struct Queues {
    pub(crate) name_servers: Sender<NameServer>,
    pub(crate) broker_groups: Sender<BrokerGroup>,
    pub(crate) topics: Sender<Topic>,
    pub(crate) subscription_groups: Sender<SubscriptionGroup>,
    pub(crate) users: Sender<User>,
}

/// The other ends of [`Queues`].
pub(crate) struct Receivers {
    pub(crate) name_servers: Receiver<NameServer>,
    pub(crate) broker_groups: Receiver<BrokerGroup>,
    pub(crate) topics: Receiver<Topic>,
    pub(crate) subscription_groups: Receiver<SubscriptionGroup>,
    pub(crate) users: Receiver<User>,
}

impl Queues {
    /// Empty queues, and their other ends.
    pub(crate) fn new() -> (Self, Receivers) {
        let (name_servers, of_name_servers) = mpsc::unbounded_channel();
        let (broker_groups, of_broker_groups) = mpsc::unbounded_channel();
        let (topics, of_topics) = mpsc::unbounded_channel();
        let (subscription_groups, of_subscription_groups) = mpsc::unbounded_channel();
        let (users, of_users) = mpsc::unbounded_channel();
        let queues = Self {
            name_servers,
            broker_groups,
            topics,
            subscription_groups,
            users,
        };
        let receivers = Receivers {
            name_servers: of_name_servers,
            broker_groups: of_broker_groups,
            topics: of_topics,
            subscription_groups: of_subscription_groups,
            users: of_users,
        };
        (queues, receivers)
    }

    /// Asks for a look at a broker group.
    pub(crate) fn wake_group(&self, namespace: &str, name: &str) {
        wake(&self.broker_groups, namespace, name);
    }
}

/// Asks for a look at an object.
pub(crate) fn wake<K>(queue: &Sender<K>, namespace: &str, name: &str)
where
    K: Resource<DynamicType = ()>,
{
    // The other end is gone when the process ends.
    let _ = queue.send(ObjectRef::new(name).within(namespace));
}
