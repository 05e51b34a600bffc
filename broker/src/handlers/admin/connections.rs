//! Who is connected: 203, 204, 328.

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{GetConsumerConnectionList, GetProducerConnectionList};
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::handlers::decode;

pub(crate) fn consumers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetConsumerConnectionList<'_>>(exchange) else {
        return;
    };
    match broker.sessions.consumer(&request.consumer_group) {
        Some(group) => exchange.ok_body(&(), &group.connection().to_json()),
        None => exchange.fail(
            ResponseCode::ConsumerNotOnline,
            format!("the consumer group[{}] not online", request.consumer_group),
        ),
    }
}

pub(crate) fn producers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetProducerConnectionList<'_>>(exchange) else {
        return;
    };
    match broker.sessions.producer_connection(&request.producer_group) {
        Some(connection) => exchange.ok_body(&(), &connection.to_json()),
        None => exchange.fail(
            ResponseCode::SystemError,
            format!("the producer group[{}] not exist", request.producer_group),
        ),
    }
}

pub(crate) fn all_producers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    exchange.ok_body(
        &(),
        &broker
            .sessions
            .producer_table(broker.now_ms(), broker.connection_now_ms())
            .to_json(),
    );
}
