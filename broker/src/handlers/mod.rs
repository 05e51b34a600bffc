//! One module for each kind of request. A handler decodes the request, calls one operation, and encodes its answer, or returns why not; it
//! keeps no state.

pub(crate) mod admin;
pub(crate) mod batch;
pub(crate) mod clients;
pub(crate) mod link;
pub(crate) mod locks;
pub(crate) mod offsets;
pub(crate) mod pass_on;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod refusal;
pub(crate) mod replies;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod transactions;

use std::ops::Deref;
use std::sync::Arc;

use rmq_access::NotPassed;
use rmq_process::Asker;
use rmq_protocol::code::RequestCode;
use rmq_protocol::header::FieldSource;
use rmq_protocol::message::LogPosition;
use rmq_protocol::requests::Request;
use rmq_protocol::signature::{ACCESS_KEY_FIELD, SIGNATURE_FIELD};
use rmq_transport::Exchange;

use self::refusal::{Handled, Refusal};
use crate::access;
use crate::audit::Origin;
use crate::broker::Broker;
use crate::reply::{self, Answer};
use crate::requester::Requester;

impl Origin for Exchange<'_> {
    fn asker(&self) -> Asker {
        let asker = Asker::new(self.peer.remote_addr(), access::user_of(self));
        match self.is_verified {
            true => asker.verified(),
            false => asker,
        }
    }

    fn may_send_to(&self, broker: &Broker, queues: &[&str]) -> Result<(), NotPassed> {
        match Requester::of(broker, self, self.asker())? {
            Some(requester) => requester.may_send_to(broker, queues.iter().copied()),
            None => Ok(()),
        }
    }
}

/// Decodes the fields of a request.
pub(crate) fn decode<'a, R: Request<'a>>(exchange: &Exchange<'a>) -> Result<R, Refusal> {
    let header = exchange.header;
    Ok(R::decode(&header.fields)?)
}

/// The fields of a request, to be passed on.
fn own_fields(exchange: &Exchange<'_>) -> Vec<(String, String)> {
    exchange
        .header
        .fields
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_cow().into_owned()))
        .collect()
}

/// The same to be passed on to a client. The signature stays here: who has it could ask the broker for the same in its name.
fn fields_for_client(exchange: &Exchange<'_>) -> Vec<(String, String)> {
    let mut fields = own_fields(exchange);
    fields.retain(|(name, _)| name != ACCESS_KEY_FIELD && name != SIGNATURE_FIELD);
    fields
}

/// Answers a request with the result of work that may wait for the disk, or takes long. The work runs away from the connections.
pub(crate) fn blocking<F, B>(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    work: impl FnOnce(&Broker) -> Result<Answer<F, B>, Refusal> + Send + 'static,
) -> Handled
where
    F: FieldSource,
    B: Deref<Target = [u8]>,
{
    let (then, reply) = (Arc::clone(broker), exchange.park());
    let code = exchange.header.code;
    broker.run_blocking(move || {
        let done = work(&then).and_then(|answer| in_time(&then, code, answer));
        reply::later(reply, done);
    });
    Ok(())
}

/// Answers a request with the result of a task.
pub(crate) fn task<F, B, T>(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    task: impl FnOnce(Arc<Broker>) -> T,
) -> Handled
where
    F: FieldSource,
    B: Deref<Target = [u8]>,
    T: Future<Output = Result<Answer<F, B>, Refusal>> + Send + 'static,
{
    let reply = exchange.park();
    let code = exchange.header.code;
    let (then, task) = (Arc::clone(broker), task(Arc::clone(broker)));
    broker.run_task(async move {
        let done = task.await.and_then(|answer| in_time(&then, code, answer));
        reply::later(reply, done);
    });
    Ok(())
}

/// The answer to a request that took a while, if this broker may still give it.
fn in_time<T>(broker: &Broker, code: i32, answer: T) -> Result<T, Refusal> {
    match RequestCode::from_i32(code) {
        Some(code) if broker.member.term.is_over() => Err(Refusal::TermIsOver(code)),
        _ => Ok(answer),
    }
}

/// As [`task`], for a change of what is stored. Refused while too few members are in sync; answered at the latest when the time of an
/// acknowledgement is up. Then the change stays stored, and counts when it is confirmed.
pub(crate) fn change<F, B, T>(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    task: impl FnOnce(Arc<Broker>) -> T,
) -> Handled
where
    F: FieldSource + Send,
    B: Deref<Target = [u8]> + Send,
    T: Future<Output = Result<Answer<F, B>, Refusal>> + Send + 'static,
{
    broker.member.check_writes().map_err(Refusal::TooFew)?;
    bounded(broker, exchange, task)
}

/// As [`change`], for a change that is not for the log alone: it is begun however many members are in sync.
pub(crate) fn bounded<F, B, T>(
    broker: &Arc<Broker>,
    exchange: &mut Exchange<'_>,
    task: impl FnOnce(Arc<Broker>) -> T,
) -> Handled
where
    F: FieldSource + Send,
    B: Deref<Target = [u8]> + Send,
    T: Future<Output = Result<Answer<F, B>, Refusal>> + Send + 'static,
{
    let reply = exchange.park();
    let code = exchange.header.code;
    let (task, then) = (task(Arc::clone(broker)), Arc::clone(broker));
    broker.run_task(async move {
        let mut task = std::pin::pin!(task);
        let late = then.member.acks.late(&*then.clock);
        tokio::select! {
            biased;
            done = &mut task => {
                let done = done.and_then(|answer| in_time(&then, code, answer));
                return reply::later(reply, done);
            }
            () = late => {}
        }
        let end = LogPosition(then.store.positions().appended);
        reply::refuse_later(reply, &Refusal::Late(then.member.why_late(end)));
        // What is begun is completed, and the audit hears of it.
        let _ = task.await;
    });
    Ok(())
}
