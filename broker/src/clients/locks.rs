//! Queue locks of orderly consumers.

use rmq_protocol::bodies::{LockBatch, MessageQueue};

use super::refusal::ClientRefusal;
use crate::broker::Broker;

/// Locks queues for a client of a group; those that the client has now.
///
/// # Errors
/// No client, or no queue, can be as it says.
pub(crate) fn lock(broker: &Broker, wanted: LockBatch) -> Result<Vec<MessageQueue>, ClientRefusal> {
    check(&wanted)?;
    let (group, client_id) = (&wanted.consumer_group, &wanted.client_id);
    let now_ms = broker.connection_now_ms();
    Ok(broker.locks.lock(group, client_id, wanted.mq_set, now_ms))
}

/// Gives locks back.
///
/// # Errors
/// As [`lock`].
pub(crate) fn unlock(broker: &Broker, held: &LockBatch) -> Result<(), ClientRefusal> {
    check(held)?;
    let (group, client_id) = (&held.consumer_group, &held.client_id);
    broker.locks.unlock(group, client_id, &held.mq_set);
    Ok(())
}

fn check(wanted: &LockBatch) -> Result<(), ClientRefusal> {
    for (field, value) in [
        ("clientId", &wanted.client_id),
        ("consumerGroup", &wanted.consumer_group),
    ] {
        if value.is_empty() {
            return Err(ClientRefusal::Empty(field));
        }
    }
    match wanted.mq_set.iter().find(|queue| queue.queue_id < 0) {
        Some(queue) => Err(ClientRefusal::NegativeQueue {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
        }),
        None => Ok(()),
    }
}
