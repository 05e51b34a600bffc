//! Recall of a message that waits for a timer: 370.

use std::sync::Arc;

use rmq_protocol::requests::{RecallMessage, RecallMessageReply};
use rmq_transport::Exchange;

use super::refusal::Handled;
use super::{bounded, decode};
use crate::broker::Broker;
use crate::messages::recall;
use crate::reply::Answer;

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: RecallMessage<'_> = decode(exchange)?;
    let (topic, handle) = (request.topic.to_string(), request.recall_handle.to_string());
    bounded(broker, exchange, move |broker| async move {
        let msg_id = recall::recall(&broker, &topic, &handle).await?;
        let region = broker.config.region.clone();
        Ok(Answer::fields(RecallMessageReply {
            msg_id,
            msg_region: Some(region),
        }))
    })
}
