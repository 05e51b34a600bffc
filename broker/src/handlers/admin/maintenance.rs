//! Cleaning up: 306, 316, 329.

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::retention;

/// The index goes with the log and topics are never left behind: there is nothing to clean by hand.
pub(crate) fn nothing_to_do(exchange: &mut Exchange<'_>) {
    exchange.ok(&());
}

pub(crate) fn remove_expired(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    broker.run_blocking(exchange.park(), |broker, reply| {
        match retention::run_now(broker) {
            Ok(()) => reply.ok(&()),
            Err(error) => reply.fail(ResponseCode::SystemError, error.to_string()),
        }
    });
}
