//! Transactions: their ends (37), checks that begin again (323), which are open (320020).

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::message::LogPosition;
use rmq_protocol::requests::{EndTransaction, GetTransactions, ResumeCheckHalfMessage};
use rmq_store::{AppendError, Temperature};
use rmq_transport::{Exchange, PendingReply, Reply};

use super::batch::Batch;
use super::refusal::{FormRefusal, Handled};
use super::{blocking, change, decode, in_time};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::reply::{self, Answer};
use crate::transactions::end::{self, End, Ended};
use crate::transactions::list::{self, LIST_MAX, Wanted};
use crate::transactions::refusal::EndRefusal;
use crate::transactions::resume;

pub(crate) fn end(
    broker: &Arc<Broker>,
    batch: &mut Batch,
    exchange: &mut Exchange<'_>,
    _code: RequestCode,
) -> Handled {
    let request: EndTransaction<'_> = decode(exchange)?;
    let wanted = End {
        group: request.producer_group.into_owned(),
        queue_offset: request.tran_state_table_offset,
        position: request.commit_log_offset,
        kind: request.commit_or_rollback,
        is_answer: request.from_transaction_check.unwrap_or(false),
    };
    let peer = exchange.peer.remote_addr();
    match logged(
        end::end(broker, &wanted, Temperature::HotOnly),
        &wanted,
        peer,
    )? {
        Ended::Unknown => exchange.reply(ResponseCode::Success, None, &(), &[]),
        Ended::At(position) => {
            batch.appended = true;
            settle(broker, position, exchange.header.code, exchange.park());
        }
        Ended::Cold => {
            let (then, reply) = (Arc::clone(broker), exchange.park());
            let code = exchange.header.code;
            broker.run_blocking(move || {
                let ended = end::end(&then, &wanted, Temperature::MayWait);
                match logged(ended, &wanted, peer) {
                    Ok(Ended::At(position)) => settle(&then, position, code, reply),
                    Ok(Ended::Unknown | Ended::Cold) => reply::later(reply, Ok(Answer::empty())),
                    Err(refusal) => reply::refuse_later(reply, &refusal.into()),
                }
            });
        }
    }
    Ok(())
}

/// An end that is refused is logged: most producers wait for no answer.
fn logged(
    ended: Result<Ended, EndRefusal>,
    wanted: &End,
    peer: SocketAddr,
) -> Result<Ended, EndRefusal> {
    ended.inspect_err(|refusal| {
        tracing::warn!(
            group = wanted.group,
            %peer,
            is_answer = wanted.is_answer,
            "the end of a transaction is refused: {refusal}"
        );
    })
}

/// Answers when the end counts.
fn settle(broker: &Arc<Broker>, at: LogPosition, code: i32, reply: PendingReply) {
    let then = Arc::clone(broker);
    let done = Box::new(move |stored: Result<(), AppendError>| {
        let stored = stored.map_err(|error| EndRefusal::Append(error).into());
        let stored = stored.and_then(|()| in_time(&then, code, Answer::empty()));
        reply::later(reply, stored);
    });
    let (acks, clock) = (&broker.member.acks, &*broker.clock);
    acks.settle(&broker.store, clock, at, done);
}

pub(crate) fn resume(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ResumeCheckHalfMessage<'_> = decode(exchange)?;
    let id = request.msg_id.as_deref().unwrap_or_default().to_owned();
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        resume::resume(&broker, &id).await?;
        asker.changed("half message to be checked again", &id, None, None);
        Ok(Answer::empty())
    })
}

pub(crate) fn list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetTransactions = decode(exchange)?;
    let behind = match request.behind {
        None => None,
        Some(number) => Some(u64::try_from(number).map_err(|_| FormRefusal::Negative {
            field: "behind",
            number,
        })?),
    };
    let wanted = Wanted {
        behind,
        is_parked: request.parked.unwrap_or(false),
        max: request
            .max_num
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(LIST_MAX),
    };
    blocking(broker, exchange, move |broker| {
        Ok(Answer::body(list::list(broker, &wanted).to_json()))
    })
}
