//! Cleaning up: 306, 316, 329.

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_transport::Exchange;

use crate::audit;
use crate::broker::Broker;
use crate::retention;

/// The index goes with the log and topics are never left behind: there is nothing to clean by hand.
pub(crate) fn nothing_to_do(exchange: &mut Exchange<'_>) {
    exchange.ok(&());
}

pub(crate) fn remove_expired(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let asker = audit::asker(exchange);
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let bytes = || format!("{} bytes of log", broker.store.stats().log_bytes);
        let before = bytes();
        match retention::run_now(broker) {
            Ok(()) => {
                let name = &broker.config.broker_name;
                asker.changed(
                    "expired messages removed",
                    name,
                    Some(before),
                    Some(bytes()),
                );
                reply.ok(&());
            }
            Err(error) => reply.fail(ResponseCode::SystemError, error.to_string()),
        }
    });
}
