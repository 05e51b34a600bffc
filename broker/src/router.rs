//! From the request to its handler, by the [table of request codes](crate::requests).

use std::sync::Arc;

use rmq_protocol::code::RequestCode;
use rmq_transport::Exchange;

use crate::broker::Broker;
use crate::group::pass;
use crate::handlers::batch::Batch;
use crate::handlers::pass_on;
use crate::handlers::refusal::{Handled, Refusal};
use crate::messages::refusal::PullRefusal;
use crate::reply;
use crate::requests::{Handler, Roles, Serving, reads_log, row};
use crate::role::Role;

/// Has a request handled, and counts it when it is answered in place.
pub(crate) fn route(broker: &Arc<Broker>, batch: &mut Batch, exchange: &mut Exchange<'_>) {
    exchange.begin(
        *batch
            .began_us
            .get_or_insert_with(|| broker.clock.monotonic_us()),
    );
    let handled = handle(broker, batch, exchange);
    reply::in_place(&broker.requests, &mut batch.answered, exchange, handled);
}

fn handle(broker: &Arc<Broker>, batch: &mut Batch, exchange: &mut Exchange<'_>) -> Handled {
    let number = exchange.header.code;
    let code = RequestCode::from_i32(number).ok_or(Refusal::UnknownCode(number))?;
    let row = row(code);
    let is_served = match row.roles {
        Roles::Any => true,
        Roles::Master | Roles::PassedOn => broker.role.is_master(),
    };
    if is_served && row.roles != Roles::Any && broker.member.term.is_over() {
        return Err(Refusal::TermIsOver(code));
    }
    if !is_served
        && row.roles == Roles::PassedOn
        && let Some(master) = pass::master(broker)
    {
        return pass_on::handle(broker, exchange, code, master);
    }
    match row.serving {
        Serving::One(_) | Serving::Batched(_) if !is_served => match broker.role.get() {
            role @ Role::Closed { .. } => Err(Refusal::Closed(code, role)),
            role => Err(Refusal::NotMaster(code, role)),
        },
        Serving::One(_) if !broker.role.is_master() && is_missing(broker, code) => {
            Err(Refusal::Incomplete(code))
        }
        Serving::One(handle) if reads_log(code) && broker.store.awaits_confirmation() => {
            unconfirmed(handle, broker, exchange, code)
        }
        Serving::One(handle) => handle(broker, exchange),
        Serving::Batched(handle) => handle(broker, batch, exchange, code),
        Serving::Elsewhere(at) => Err(Refusal::Elsewhere(code, at)),
        Serving::Unneeded(because) => Err(Refusal::Unneeded(code, because)),
        Serving::NotYet | Serving::Nowhere => Err(Refusal::NotServed(code)),
    }
}

/// Whether this replica lacks what the request asks for.
fn is_missing(broker: &Broker, code: RequestCode) -> bool {
    reads_log(code) && broker.store.incomplete_below().is_some()
}

/// Answers with what was found. What was not found may be there: a client that is told that a group has no offset begins anew.
fn unconfirmed(
    handle: Handler,
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    code: RequestCode,
) -> Handled {
    let finds = matches!(
        code,
        RequestCode::PullMessage | RequestCode::LitePullMessage
    );
    if !finds {
        return Err(Refusal::Unconfirmed(code));
    }
    handle(broker, exchange).map_err(|refusal| match refusal {
        Refusal::Pull(
            PullRefusal::NoGroup { .. }
            | PullRefusal::GroupDeleted(_)
            | PullRefusal::NoTopic(_)
            | PullRefusal::NoQueue { .. },
        ) => Refusal::Unconfirmed(code),
        other => other,
    })
}
