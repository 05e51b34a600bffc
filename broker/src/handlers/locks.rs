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
    broker
        .locks
        .unlock(&request.consumer_group, &request.client_id, &request.mq_set);
    exchange.ok(&NoFields);
}
