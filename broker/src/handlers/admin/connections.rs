//! Who is connected: 203, 204, 328.

use std::sync::Arc;

use rmq_protocol::requests::{GetConsumerConnectionList, GetProducerConnectionList};
use rmq_transport::{Exchange, Reply};

use crate::broker::Broker;
use crate::clients::members;
use crate::handlers::decode;
use crate::handlers::refusal::Handled;

pub(crate) fn consumers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetConsumerConnectionList<'_> = decode(exchange)?;
    let group = members::online(broker, &request.consumer_group)?;
    exchange.ok_body(&(), &group.connection().to_json());
    Ok(())
}

pub(crate) fn producers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetProducerConnectionList<'_> = decode(exchange)?;
    let connection = members::producers(broker, &request.producer_group)?;
    exchange.ok_body(&(), &connection.to_json());
    Ok(())
}

pub(crate) fn all_producers(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok_body(&(), &members::all_producers(broker).to_json());
    Ok(())
}
