//! Clients that leave, or are silent, and who is there.

use std::sync::Arc;

use rmq_protocol::bodies::{MessageModel, ProducerConnection, ProducerTable, SubscriptionData};

use super::refusal::ClientRefusal;
use crate::broker::Broker;
use crate::filter::Filter;
use crate::sessions::{ConsumerGroup, Loss, Member};
use crate::waiters::Woken;

/// A client leaves its groups.
pub(crate) fn unregister(
    broker: &Broker,
    link_id: u64,
    producer_group: Option<&str>,
    consumer_group: Option<&str>,
) {
    let sessions = &broker.sessions;
    let left = sessions.unregister(link_id, producer_group, consumer_group);
    left.iter().for_each(|loss| lost(broker, loss));
}

/// The connection of a client is gone.
pub(crate) fn closed(broker: &Broker, link_id: u64) {
    for waiter in broker.waiters.take_of(Some(link_id)) {
        waiter.wake(Woken::Gone);
    }
    for loss in broker.sessions.closed(link_id) {
        lost(broker, &loss);
    }
}

/// Forgets clients that are silent, and locks that nobody renews.
pub(crate) fn expire(broker: &Broker) {
    for loss in broker.sessions.expire(broker.connection_now_ms()) {
        lost(broker, &loss);
    }
    broker.locks.expire(broker.connection_now_ms());
}

/// Members of a group are gone: frees the queues that they had locked, then tells the others.
fn lost(broker: &Broker, loss: &Loss) {
    for client_id in &loss.clients {
        broker.locks.release(loss.group.name(), client_id);
    }
    notify(broker, &loss.group);
}

/// Tells the members of a group that others came or went.
pub(super) fn notify(broker: &Broker, group: &ConsumerGroup) {
    let wanted = broker
        .groups
        .get(group.name())
        .is_none_or(|settings| settings.config.notify_consumer_ids_changed_enable);
    if wanted && group.model() == MessageModel::Clustering {
        group.notify();
    }
}

/// Ids of the members of a group.
///
/// # Errors
/// There is none. Not an empty list: clients would drop their queues.
pub(crate) fn ids(broker: &Broker, group: &str) -> Result<Vec<String>, ClientRefusal> {
    let online = broker.sessions.consumer(group);
    let ids = online.map(|group| group.client_ids()).unwrap_or_default();
    if ids.is_empty() {
        return Err(ClientRefusal::NoConsumer(group.to_owned()));
    }
    Ok(ids)
}

/// A consumer group that is online.
///
/// # Errors
/// It has no members.
pub(crate) fn online(broker: &Broker, group: &str) -> Result<Arc<ConsumerGroup>, ClientRefusal> {
    let online = broker.sessions.consumer(group);
    online.ok_or_else(|| ClientRefusal::NotOnline(group.to_owned()))
}

/// A member of a consumer group.
///
/// # Errors
/// It is not there.
pub(crate) fn one(broker: &Broker, group: &str, client_id: &str) -> Result<Member, ClientRefusal> {
    let online = broker.sessions.consumer(group);
    let member = online.and_then(|group| group.member(client_id));
    member.ok_or_else(|| ClientRefusal::NoMember {
        group: group.to_owned(),
        client_id: client_id.to_owned(),
    })
}

/// The connections of a producer group.
///
/// # Errors
/// It has none.
pub(crate) fn producers(broker: &Broker, group: &str) -> Result<ProducerConnection, ClientRefusal> {
    let producers = broker.sessions.producer_connection(group);
    producers.ok_or_else(|| ClientRefusal::NoProducers(group.to_owned()))
}

/// All producers.
pub(crate) fn all_producers(broker: &Broker) -> ProducerTable {
    let (now_ms, monotonic_ms) = (broker.now_ms(), broker.connection_now_ms());
    broker.sessions.producer_table(now_ms, monotonic_ms)
}

/// Whether pulls can use a subscription.
///
/// # Errors
/// They cannot.
pub(crate) fn check(broker: &Broker, wanted: &SubscriptionData) -> Result<(), ClientRefusal> {
    Filter::of(wanted, &broker.limits)?;
    Ok(())
}
