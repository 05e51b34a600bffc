//! Looking messages up: by key or unique key (12), by position (33).

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::message::LogPosition;
use rmq_protocol::requests::{
    INDEX_KEY, INDEX_UNIQUE, QueryMessage, QueryMessageReply, ViewMessageById,
};
use rmq_store::{KeyKind, RecordSlice};
use rmq_transport::{Exchange, PendingReply};

use super::decode;
use crate::broker::Broker;
use crate::limits;
use crate::reply;

pub(crate) fn by_key(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryMessage<'_>>(exchange) else {
        return;
    };
    if let Some(kind) = request.index_type.as_deref()
        && !["", INDEX_KEY, INDEX_UNIQUE].contains(&kind)
    {
        return exchange.fail(
            ResponseCode::SystemError,
            format!(
                "field indexType is {kind:?}; messages are found by K (keys) and U (unique keys)"
            ),
        );
    }
    let unique = request.is_unique();
    let (topic, key) = (request.topic.to_string(), request.key.to_string());
    // A look-up by unique key brings the broker's own number, as upstream's.
    let max = if unique {
        limits::QUERY_MAX / 2
    } else {
        usize::try_from(request.max_num)
            .unwrap_or(0)
            .clamp(1, limits::QUERY_MAX)
    };
    let (from, to) = (request.begin_timestamp, request.end_timestamp);
    let asked = Arc::clone(broker);
    let reply = exchange.park();
    // What is read counts as what waits to be sent.
    broker
        .memory
        .when_room(limits::QUERY_BYTES_MAX, move |room| {
            asked.run_blocking(reply, move |broker, reply| {
                let kind = match unique {
                    true => KeyKind::UniqueKey,
                    false => KeyKind::Key,
                };
                let found = broker.store.find_by_key(&topic, &key, kind, max, from, to);
                answer_by_key(broker, reply, found);
                drop(room);
            });
        });
}

/// Reads and gives as many of the found messages as an answer holds.
fn answer_by_key(broker: &Broker, reply: PendingReply, records: impl Iterator<Item = RecordSlice>) {
    let mut bytes = 0;
    let mut found: Vec<RecordSlice> = Vec::new();
    for record in records {
        bytes += record.len();
        if bytes > limits::QUERY_BYTES_MAX && !found.is_empty() {
            break;
        }
        found.push(record);
    }
    // The newest are found, and the oldest of them comes first (apache/rocketmq `DefaultMessageStore.queryMessage`).
    found.reverse();
    if found.is_empty() {
        return reply.fail(
            ResponseCode::QueryNotFound,
            "can not find message, maybe time range not correct",
        );
    }
    let fields = QueryMessageReply {
        index_last_update_timestamp: broker.now_ms(),
        index_last_update_phyoffset: broker.store.positions().dispatched as i64,
    };
    let bytes = found.iter().map(|record| record.len()).sum();
    reply.reply_with_body(ResponseCode::Success, None, &fields, bytes, |out| {
        for record in &found {
            out.extend_from_slice(record);
        }
    });
}

pub(crate) fn by_position(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<ViewMessageById<'_>>(exchange) else {
        return;
    };
    let position = request.offset;
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let found =
            u64::try_from(position).map(|position| broker.store.record_at(LogPosition(position)));
        match found {
            Ok(Ok(record)) => reply.ok_body(&(), &record),
            Ok(Err(error)) => reply.fail(
                reply::of_read(&error),
                format!("can not find message by the offset, {position}: {error}"),
            ),
            Err(_) => reply.fail(
                ResponseCode::SystemError,
                format!("can not find message by the offset, {position}: it is negative"),
            ),
        }
    });
}
