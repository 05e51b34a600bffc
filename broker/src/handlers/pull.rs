//! Pulling: 11 and 361. What each code means to clients: apache/rocketmq `PullMessageProcessor`.

use std::sync::Arc;

use bytes::BytesMut;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{PullMessage, PullMessageReply, pull_flag, pull_status};
use rmq_protocol::route::MASTER_ID;
use rmq_store::{ReadOutcome, ReadStatus};
use rmq_transport::{Exchange, PendingReply, Reply};

use super::decode;
use super::refusal::Handled;
use crate::broker::Broker;
use crate::filter::FilterError;
use crate::limits;
use crate::messages::deliver::{self, Later, Puller, Sees};
use crate::messages::pull::{self, Pull, PullPlan, Wanted};
use crate::messages::refusal::PullRefusal;
use crate::reply;

/// The answer to a pull, but for its records.
struct Answer {
    code: ResponseCode,
    status: &'static str,
    fields: PullMessageReply,
}

/// A client that is answered later.
struct Remote {
    reply: PendingReply,
    broker: Arc<Broker>,
}

impl Puller for Remote {
    fn owner(&self) -> u64 {
        self.reply.peer().id()
    }

    fn give(self, plan: &PullPlan, outcome: &ReadOutcome) {
        let answer = answer(&self.broker, plan, outcome);
        self.reply.reply_with_body(
            answer.code,
            Some(answer.status.into()),
            &answer.fields,
            outcome.total_bytes,
            |out| copy_records(outcome, out),
        );
    }

    fn refuse(self, refusal: PullRefusal) {
        reply::refuse_later(self.reply, &refusal.into());
    }

    fn forget(self) {
        self.reply.forget();
    }
}

pub(crate) fn handle(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: PullMessage<'_> = decode(exchange)?;
    let has = |flag: i32| request.sys_flag & flag != 0;
    if has(pull_flag::CLASS_FILTER) {
        return Err(PullRefusal::from(FilterError::Class).into());
    }
    let asked = Pull {
        group: &request.consumer_group,
        connection: exchange.peer.id(),
        topic: &request.topic,
        queue_id: request.queue_id,
        offset: request.queue_offset,
        wanted: if has(pull_flag::SUBSCRIPTION) {
            Wanted::Expression {
                text: request.subscription.as_deref().unwrap_or("*"),
                kind: request.expression_type.as_deref(),
            }
        } else {
            Wanted::Subscription {
                version: request.sub_version,
                kind: request.expression_type.as_deref(),
            }
        },
        commit: has(pull_flag::COMMIT_OFFSET).then_some(request.commit_offset),
        messages_max: request.max_msg_nums,
        bytes_max: request.max_msg_bytes,
        suspend_ms: if has(pull_flag::SUSPEND) {
            request.suspend_timeout_millis
        } else {
            0
        },
    };
    let plan = match pull::plan(broker, exchange, &asked) {
        Ok(plan) => plan,
        Err(PullRefusal::Quota { group, over }) => {
            let refusal = PullRefusal::Quota { group, over };
            hold(broker, exchange, refusal, over.wait_ms);
            return Ok(());
        }
        Err(refusal) => return Err(refusal.into()),
    };
    if let Some(offset) = plan.moved_to {
        let fields = PullMessageReply {
            next_begin_offset: offset,
            ..bounds(&plan)
        };
        let status = Some(pull_status::OFFSET_TOO_SMALL.into());
        exchange.reply(ResponseCode::PullOffsetMoved, status, &fields, &[]);
        return Ok(());
    }
    let began_ms = broker.monotonic_ms();
    let outcome = deliver::look(broker, &plan);
    match deliver::why_later(broker, &plan, &outcome, began_ms) {
        None => {
            let answer = answer(broker, &plan, &outcome);
            exchange.reply_with_body(
                answer.code,
                Some(answer.status.into()),
                &answer.fields,
                outcome.total_bytes,
                |out| copy_records(&outcome, out),
            );
            deliver::count(broker, &plan, &outcome, began_ms);
        }
        Some(why) => {
            let pending = match why {
                Later::Arrival { .. } => exchange.park().untimed(),
                Later::Disk | Later::Room { .. } => exchange.park(),
            };
            let remote = Remote {
                reply: pending,
                broker: Arc::clone(broker),
            };
            deliver::give_later(broker, plan, remote, why);
        }
    }
    Ok(())
}

/// Refuses a pull that the quota leaves no room for, when there is room again: clients ask again soon, and each would else ask many times.
#[cold]
fn hold(broker: &Broker, exchange: &mut Exchange<'_>, refusal: PullRefusal, wait_ms: i64) {
    let reply = exchange.park().untimed();
    let until_ms = broker.monotonic_ms() + wait_ms.min(limits::QUOTA_HOLD_MS_MAX);
    let until = broker.clock.sleep_until_ms(until_ms);
    broker.run_task(async move {
        until.await;
        reply::refuse_later(reply, &refusal.into());
    });
}

fn copy_records(outcome: &ReadOutcome, out: &mut BytesMut) {
    for record in &outcome.records {
        out.extend_from_slice(record);
    }
}

fn answer(broker: &Broker, plan: &PullPlan, outcome: &ReadOutcome) -> Answer {
    use pull_status as status;
    let (code, status, next) = match outcome.status {
        ReadStatus::Found => (ResponseCode::Success, status::FOUND, outcome.next_offset),
        ReadStatus::NoMatch => (
            ResponseCode::PullRetryImmediately,
            status::NO_MATCHED_MESSAGE,
            outcome.next_offset,
        ),
        ReadStatus::Removed | ReadStatus::Cold => (
            ResponseCode::PullRetryImmediately,
            status::MESSAGE_WAS_REMOVING,
            outcome.next_offset,
        ),
        // Not one of the codes at which clients ask again at once.
        ReadStatus::Unavailable => (
            ResponseCode::SystemError,
            "the index of this queue cannot be read, nor written again from the log, for now; the broker's log says why",
            outcome.next_offset,
        ),
        ReadStatus::AtEnd => (
            ResponseCode::PullNotFound,
            status::OFFSET_OVERFLOW_ONE,
            outcome.next_offset,
        ),
        ReadStatus::NoMessageInQueue if plan.offset == 0 => {
            (ResponseCode::PullNotFound, status::NO_MESSAGE_IN_QUEUE, 0)
        }
        ReadStatus::NoMessageInQueue => (
            ResponseCode::PullOffsetMoved,
            status::NO_MESSAGE_IN_QUEUE,
            0,
        ),
        ReadStatus::OffsetTooSmall => (
            ResponseCode::PullOffsetMoved,
            status::OFFSET_TOO_SMALL,
            outcome.min_offset,
        ),
        ReadStatus::OffsetTooBig => (
            ResponseCode::PullOffsetMoved,
            status::OFFSET_OVERFLOW_BADLY,
            outcome.max_offset,
        ),
    };
    let suggested = deliver::next_broker(broker, plan, outcome);
    let is_judged =
        outcome.status == ReadStatus::Found || outcome.status == ReadStatus::Unavailable;
    let (code, next) = match deliver::sees(broker) {
        // The master is asked, from the same offset (apache/rocketmq `PullMessageProcessor.composeResponseHeader`).
        Sees::Part if !is_judged && suggested == MASTER_ID => {
            let next = match outcome.status {
                ReadStatus::NoMatch => next,
                _ => plan.offset,
            };
            (ResponseCode::PullRetryImmediately, next)
        }
        Sees::AllThereIs if code == ResponseCode::PullOffsetMoved => {
            (ResponseCode::PullNotFound, plan.offset)
        }
        _ => (code, next),
    };
    let fields = PullMessageReply {
        suggest_which_broker_id: suggested,
        next_begin_offset: next,
        min_offset: outcome.min_offset,
        max_offset: outcome.max_offset,
        ..bounds(plan)
    };
    Answer {
        code,
        status,
        fields,
    }
}

fn bounds(plan: &PullPlan) -> PullMessageReply {
    PullMessageReply {
        suggest_which_broker_id: MASTER_ID,
        next_begin_offset: plan.offset,
        min_offset: plan.queue.min_offset(),
        max_offset: plan.queue.max_offset(),
        offset_delta: None,
        topic_sys_flag: Some(plan.topic.config.topic_sys_flag),
        group_sys_flag: Some(plan.group.config.group_sys_flag),
        forbidden_type: None,
    }
}
