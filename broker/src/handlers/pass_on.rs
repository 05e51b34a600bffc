//! What clients ask of a replica and only the master does: the request goes on to the master, and the answer back.

use std::sync::Arc;

use rmq_protocol::code::RequestCode;
use rmq_protocol::signature::{ACCESS_KEY_FIELD, SIGNATURE_FIELD};
use rmq_transport::{Caller, Exchange};

use super::own_fields;
use super::refusal::{Handled, Refusal};
use crate::access::user_of;
use crate::broker::Broker;
use crate::group::pass::CALL_TIMEOUT;
use crate::reply;
use crate::requester::{FOR_ADDRESS_FIELD, FOR_USER_FIELD};
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
        let own = [
            ACCESS_KEY_FIELD,
            SIGNATURE_FIELD,
            FOR_USER_FIELD,
            FOR_ADDRESS_FIELD,
        ];
        fields.retain(|(name, _)| !own.contains(&name.as_str()));
        if let Some(user) = user_of(exchange).filter(|_| broker.access.is_some()) {
            let address = exchange.peer.remote_addr().ip().to_string();
            fields.push((FOR_USER_FIELD.to_owned(), user));
            fields.push((FOR_ADDRESS_FIELD.to_owned(), address));
        }
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
