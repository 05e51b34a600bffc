//! From the request to its handler, by the [table of request codes](crate::requests).

use std::sync::Arc;

use rmq_access::{NotPassed, Passed, Refusals, Request};
use rmq_protocol::code::RequestCode;
use rmq_protocol::message::OffsetMessageId;
use rmq_protocol::requests::{EndTransaction, ResumeCheckHalfMessage};
use rmq_transport::Exchange;

use crate::access::{Access, certificate_of};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::group::pass;
use crate::handlers::batch::Batch;
use crate::handlers::refusal::{Handled, Refusal};
use crate::handlers::{decode, pass_on};
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
    let handled = match handle(broker, batch, exchange) {
        Err(Refusal::NotPassed(why)) => not_passed(broker, exchange, why),
        handled => handled,
    };
    reply::in_place(&broker.requests, &mut batch.answered, exchange, handled);
}

fn handle(broker: &Arc<Broker>, batch: &mut Batch, exchange: &mut Exchange<'_>) -> Handled {
    let number = exchange.header.code;
    let code = RequestCode::from_i32(number).ok_or(Refusal::UnknownCode(number))?;
    let row = row(code);
    if let Some(access) = &broker.access {
        admit(broker, access, batch, exchange, code)?;
    }
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

/// Lets a request pass whose sender is known, and may.
fn admit(
    broker: &Broker,
    access: &Access,
    batch: &mut Batch,
    exchange: &mut Exchange<'_>,
    code: RequestCode,
) -> Handled {
    let topic = match code {
        // What it ends is about a topic, whatever the request says; old producers say nothing.
        RequestCode::EndTransaction => ended_topic(broker, exchange),
        RequestCode::ResumeCheckHalfMessage => checked_topic(broker, exchange),
        _ => None,
    };
    let passed = access.gate.pass(
        &Request {
            code,
            rights: row(code).rights,
            header: exchange.header,
            body: exchange.body,
            from: exchange.peer.remote_addr().ip(),
            certificate: certificate_of(exchange),
            about: topic.as_deref(),
        },
        &mut batch.recent,
    )?;
    exchange.is_verified = matches!(passed, Passed::User(_));
    Ok(())
}

/// The topic of the half message that a request ends.
fn ended_topic(broker: &Broker, exchange: &Exchange<'_>) -> Option<String> {
    let request: EndTransaction<'_> = decode(exchange).ok()?;
    topic_of_half(broker, u64::try_from(request.commit_log_offset).ok()?)
}

/// The topic of the half message that is to be checked again.
fn checked_topic(broker: &Broker, exchange: &Exchange<'_>) -> Option<String> {
    let request: ResumeCheckHalfMessage<'_> = decode(exchange).ok()?;
    let id: OffsetMessageId = request.msg_id.as_deref()?.parse().ok()?;
    topic_of_half(broker, id.position.0)
}

fn topic_of_half(broker: &Broker, position: u64) -> Option<String> {
    let table = &broker.transactions.table;
    let names = match table.get(position) {
        Some(half) => half.names,
        None => match table.parked_of(position) {
            Some((_, parked)) => parked.names,
            None => table.parked(position)?.names,
        },
    };
    Some(names.topic.to_string())
}

/// Refuses a request whose sender is not known, or may not. A source that fails again and again waits for its answers.
#[cold]
fn not_passed(broker: &Arc<Broker>, exchange: &mut Exchange<'_>, why: NotPassed) -> Handled {
    let Some(access) = &broker.access else {
        return Err(why.into());
    };
    let from = exchange.peer.remote_addr().ip();
    let is_beyond = access
        .refusals
        .count(from, &why, broker.connection_now_ms());
    if !is_beyond {
        let name = RequestCode::from_i32(exchange.header.code).map_or("unknown", RequestCode::name);
        exchange.asker().refused(name, &why.to_string());
        return Err(why.into());
    }
    if matches!(why, NotPassed::Denied(_)) {
        return Err(why.into());
    }
    let (then, reply) = (Arc::clone(broker), exchange.park());
    broker.run_task(async move {
        then.connection_clock.sleep_ms(Refusals::DELAY_MS).await;
        reply::refuse_later(reply, &why.into());
    });
    Ok(())
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
