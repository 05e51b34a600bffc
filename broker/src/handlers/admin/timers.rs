//! How far timers have come (60), and how many messages wait (61).

use std::sync::Arc;

use rmq_transport::{Exchange, Reply};

use crate::admin::timers;
use crate::broker::Broker;
use crate::handlers::blocking;
use crate::handlers::refusal::{Handled, Refusal};
use crate::messages::refusal::RecallRefusal;
use crate::reply::Answer;

pub(crate) fn checkpoint(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    blocking(broker, exchange, |broker| {
        let checkpoint = timers::checkpoint(broker);
        let checkpoint = checkpoint.map_err(|error| Refusal::Recall(RecallRefusal::Read(error)))?;
        Ok(Answer::body(checkpoint.to_bytes()))
    })
}

pub(crate) fn metrics(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    exchange.ok_body(&(), &timers::metrics(broker).to_json());
    Ok(())
}
