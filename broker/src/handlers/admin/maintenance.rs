//! Cleaning up: 306, 316, 329.

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_transport::Exchange;

use crate::broker::Broker;

/// The index goes with the log and topics are never left behind: there is nothing to clean by hand.
pub(crate) fn nothing_to_do(exchange: &mut Exchange<'_>) {
    exchange.ok(&());
}

pub(crate) fn remove_expired(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    broker.run_blocking(exchange.park(), |broker, reply| {
        match broker.store.run_retention(broker.now_ms()) {
            Ok(_) => reply.ok(&()),
            Err(error) => reply.fail(ResponseCode::SystemError, error.to_string()),
        }
    });
}
