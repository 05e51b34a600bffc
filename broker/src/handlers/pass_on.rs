//! What clients ask of a replica and only the master does: the request goes on to the master, and the answer back.

use std::sync::Arc;

use rmq_protocol::code::RequestCode;
use rmq_protocol::signature::{ACCESS_KEY_FIELD, SIGNATURE_FIELD};
use rmq_transport::{Caller, Exchange};

use super::own_fields;
use super::refusal::{Handled, Refusal};
use crate::broker::Broker;
use crate::group::pass::CALL_TIMEOUT;
use crate::reply;
use crate::secrets::signed;

pub(crate) fn handle(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    code: RequestCode,
    master: Caller,
) -> Handled {
    let (mut fields, body) = (own_fields(exchange), exchange.body.to_vec());
    if broker.signer.is_some() {
        // This broker has checked who asks, and asks for them.
        fields.retain(|(name, _)| name != ACCESS_KEY_FIELD && name != SIGNATURE_FIELD);
    }
    let fields = signed(broker.signer.as_ref(), fields, &body);
    let reply = exchange.park();
    broker.run_task(async move {
        let answer = master.call(code.as_i32(), &fields, &body, CALL_TIMEOUT);
        let answer = answer.await;
        reply::relayed(
            reply,
            answer.map_err(|error| Refusal::NotPassedOn { code, error }),
        );
    });
    Ok(())
}
