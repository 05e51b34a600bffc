//! Offsets of groups (14, 15, 320003) and bounds of queues (29 to 32).

use std::sync::Arc;

use rmq_protocol::bodies::ConsumerOffsetTable;
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::header::NoFields;
use rmq_protocol::requests::{
    GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, OffsetReply, QueryConsumerOffset,
    SearchOffsetByTimestamp, TimestampReply, UpdateConsumerOffset,
};
use rmq_store::Boundary;
use rmq_transport::{Exchange, Reply};

use super::refusal::{FormRefusal, Handled, Refusal};
use super::{blocking, decode};
use crate::broker::Broker;
use crate::progress::bounds;
use crate::progress::commit::{self, Commit};
use crate::reply::Answer;

pub(crate) fn query(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryConsumerOffset<'_> = decode(exchange)?;
    let (topic, group) = (&request.topic, &request.consumer_group);
    let begins = request.set_zero_if_not_found != Some(false);
    let offset = commit::next(broker, topic, group, request.queue_id, begins)?;
    exchange.ok(&OffsetReply { offset });
    Ok(())
}

pub(crate) fn update(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: UpdateConsumerOffset<'_> = decode(exchange)?;
    if broker.member.term.is_over() {
        return Err(Refusal::TermIsOver(RequestCode::UpdateConsumerOffset));
    }
    let told = Commit {
        group: &request.consumer_group,
        topic: &request.topic,
        queue_id: request.queue_id,
        offset: request.commit_offset,
        link_id: exchange.peer.id(),
        is_answered: !exchange.header.is_one_way(),
    };
    commit::commit(broker, exchange, &told)?;
    exchange.ok(&NoFields);
    Ok(())
}

pub(crate) fn raise(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let table = ConsumerOffsetTable::from_json(exchange.body)
        .map_err(|error| FormRefusal::Admin("the table of offsets", error))?;
    commit::raise(broker, &table.offset_table)?;
    exchange.ok(&NoFields);
    Ok(())
}

pub(crate) fn max(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetMaxOffset<'_> = decode(exchange)?;
    let queue = bounds::queue(broker, &request.topic, request.queue_id)?;
    let offset = queue.max_offset();
    exchange.ok(&OffsetReply { offset });
    Ok(())
}

pub(crate) fn min(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetMinOffset<'_> = decode(exchange)?;
    let queue = bounds::queue(broker, &request.topic, request.queue_id)?;
    let offset = queue.min_offset();
    let remark = Some("".into());
    exchange.reply(ResponseCode::Success, remark, &OffsetReply { offset }, &[]);
    Ok(())
}

pub(crate) fn by_time(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: SearchOffsetByTimestamp<'_> = decode(exchange)?;
    let boundary = if request.is_upper() {
        Boundary::Upper
    } else {
        Boundary::Lower
    };
    let time_ms = request.timestamp;
    let queue = bounds::queue(broker, &request.topic, request.queue_id)?;
    blocking(broker, exchange, move |broker| {
        let offset = bounds::by_time(broker, &queue, time_ms, boundary)?;
        Ok(Answer::fields(OffsetReply { offset }))
    })
}

pub(crate) fn earliest(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetEarliestMsgStoretime<'_> = decode(exchange)?;
    let queue = bounds::queue(broker, &request.topic, request.queue_id)?;
    blocking(broker, exchange, move |broker| {
        let timestamp = bounds::earliest_ms(broker, &queue);
        Ok(Answer::fields(TimestampReply { timestamp }))
    })
}
