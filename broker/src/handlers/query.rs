//! Looking messages up: by key or unique key (12), by position (33).

use std::sync::Arc;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{
    INDEX_KEY, INDEX_UNIQUE, QueryMessage, QueryMessageReply, ViewMessageById,
};
use rmq_store::KeyKind;
use rmq_transport::{Exchange, Reply};

use super::refusal::{FormRefusal, Handled};
use super::{blocking, decode};
use crate::broker::Broker;
use crate::messages::look_up::{self, ByKey};
use crate::reply::{self, Answer};

pub(crate) fn by_key(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryMessage<'_> = decode(exchange)?;
    if let Some(kind) = request.index_type.as_deref()
        && !["", INDEX_KEY, INDEX_UNIQUE].contains(&kind)
    {
        return Err(FormRefusal::IndexType(kind.to_owned()).into());
    }
    let wanted = ByKey {
        topic: request.topic.to_string(),
        key: request.key.to_string(),
        kind: if request.is_unique() {
            KeyKind::UniqueKey
        } else {
            KeyKind::Key
        },
        messages_max: request.max_num,
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
    blocking(broker, exchange, move |broker| {
        Ok(Answer::body(look_up::by_position(broker, position)?))
    })
}
