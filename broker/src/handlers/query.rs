//! Looking messages up: by key or unique key (12), by position (33).

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{
    INDEX_KEY, INDEX_TAG, INDEX_UNIQUE, QueryMessage, QueryMessageReply, ViewMessageById,
};
use rmq_transport::{Exchange, Reply};

use super::refusal::{FormRefusal, Handled};
use super::{blocking, decode};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::limits;
use crate::messages::look_up::{self, ByKey, LookUp};
use crate::messages::refusal::LookUpRefusal;
use crate::reply::{self, Answer};
use crate::requester::Requester;

pub(crate) fn by_key(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryMessage<'_> = decode(exchange)?;
    let of_type = match request.index_type.as_deref() {
        None | Some("" | INDEX_KEY) => LookUp::AnyKey,
        Some(INDEX_UNIQUE) => LookUp::UniqueKey,
        Some(INDEX_TAG) => LookUp::Tag,
        Some(other) => return Err(FormRefusal::IndexType(other.to_owned()).into()),
    };
    // The older form counts, and has a number of its own (apache/rocketmq `QueryMessageProcessor`).
    let (kind, messages_max) = match request.unique_key_query {
        Some(true) => (LookUp::UniqueKey, limits::QUERY_UNIQUE_MAX),
        _ => (of_type, request.max_num),
    };
    // `lastKey` is for an index in RocksDB; the original's index in files passes over it too (`IndexService.queryOffset`).
    let wanted = ByKey {
        topic: request.topic.to_string(),
        key: request.key.to_string(),
        kind,
        messages_max,
        from_ms: request.begin_timestamp,
        to_ms: request.end_timestamp,
    };
    let reply = exchange.park();
    look_up::by_key(broker, wanted, move |broker, found| {
        let found = match found {
            Ok(found) => found,
            Err(refusal) => return reply::refuse_later(reply, &refusal.into()),
        };
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
    });
    Ok(())
}

pub(crate) fn by_position(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: ViewMessageById<'_> = decode(exchange)?;
    let position = request.offset;
    let requester = Requester::of(broker, exchange, exchange.asker())?;
    blocking(broker, exchange, move |broker| {
        let found = look_up::by_position(broker, position)?;
        if let Some(requester) = &requester {
            let view = found.view().ok_or(LookUpRefusal::NothingFound)?;
            requester.may_look_at(broker, &view)?;
        }
        Ok(Answer::body(found))
    })
}
