//! A consumer gives a message back: 36.

use std::sync::Arc;

use rmq_protocol::requests::ConsumerSendMsgBack;
use rmq_transport::Exchange;

use super::refusal::Handled;
use super::{decode, in_time};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::messages::send_back::{self, SendBack};
use crate::reply::{self, Answer};
use crate::requester::Requester;

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ConsumerSendMsgBack<'_> = decode(exchange)?;
    let group = send_back::group(broker, exchange, &request.group)?;
    let requester = Requester::of(broker, exchange, exchange.asker())?;
    let back = SendBack {
        position: request.offset,
        delay_level: request.delay_level,
        max_attempts: request.max_reconsume_times,
        origin_topic: request.origin_topic.as_deref().map(str::to_owned),
        reason: request.dead_letter_reason.as_deref().map(str::to_owned),
        requester,
    };
    let (then, reply) = (Arc::clone(broker), exchange.park());
    let (on_time, code) = (Arc::clone(broker), exchange.header.code);
    broker.run_blocking(move || {
        send_back::send_back(&then, &group, &back, move |stored| {
            let stored = stored.map_err(Into::into);
            let stored = stored.and_then(|()| in_time(&on_time, code, Answer::empty()));
            reply::later(reply, stored);
        });
    });
    Ok(())
}
