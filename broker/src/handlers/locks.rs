//! Queue locks of orderly consumers: 41 and 42.

use rmq_protocol::bodies::{LockBatch, LockedQueues};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::NoFields;
use rmq_transport::Exchange;

use crate::broker::Broker;

pub(crate) fn lock(broker: &Broker, exchange: &mut Exchange<'_>) {
    let request = match LockBatch::from_json(exchange.body) {
        Ok(request) => request,
        Err(error) => {
            return exchange.fail(
                ResponseCode::SystemError,
                format!("the lock request cannot be read: {error}"),
            );
        }
    };
    if let Some(problem) = unusable(&request) {
        return exchange.fail(ResponseCode::InvalidParameter, problem);
    }
    let queues = broker.locks.lock(
        &request.consumer_group,
        &request.client_id,
        request.mq_set,
        broker.connection_now_ms(),
    );
    exchange.ok_body(
        &(),
        &LockedQueues {
            lock_ok_mq_set: queues,
        }
        .to_json(),
    );
}

/// What a request says that no client or queue can be.
fn unusable(request: &LockBatch) -> Option<String> {
    for (field, value) in [
        ("clientId", &request.client_id),
        ("consumerGroup", &request.consumer_group),
    ] {
        if value.is_empty() {
            return Some(format!("field {field} is empty"));
        }
    }
    let queue = request.mq_set.iter().find(|queue| queue.queue_id < 0)?;
    Some(format!(
        "field queueId is {}: no queue of topic {} has a negative number",
        queue.queue_id, queue.topic
    ))
}

pub(crate) fn unlock(broker: &Broker, exchange: &mut Exchange<'_>) {
    let request = match LockBatch::from_json(exchange.body) {
        Ok(request) => request,
        Err(error) => {
            return exchange.fail(
                ResponseCode::SystemError,
                format!("the unlock request cannot be read: {error}"),
            );
        }
    };
    if let Some(problem) = unusable(&request) {
        return exchange.fail(ResponseCode::InvalidParameter, problem);
    }
    broker
        .locks
        .unlock(&request.consumer_group, &request.client_id, &request.mq_set);
    exchange.ok(&NoFields);
}
