//! What administrators and tools ask: mqadmin, dashboards, exporters. Shapes and remarks as Apache RocketMQ 5.5.0 answers.

pub(crate) mod config;
pub(crate) mod connections;
pub(crate) mod consumption;
pub(crate) mod groups;
pub(crate) mod maintenance;
pub(crate) mod offsets;
pub(crate) mod queues;
pub(crate) mod relay;
pub(crate) mod runtime;
pub(crate) mod statistics;
pub(crate) mod topics;

use std::borrow::Cow;

use rmq_protocol::bodies::MessageQueue;
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::NoFields;
use rmq_transport::{Exchange, PendingReply};

use crate::broker::Broker;

/// Upstream's remark where a handler sets none.
const NO_REMARK: Cow<'static, str> = Cow::Borrowed("not set any response code");

/// Success as the original's administration answers it.
fn done(reply: PendingReply) {
    reply.reply(ResponseCode::Success, Some(NO_REMARK), &NoFields, &[]);
}

/// Where a page of a list begins and how long it is, as header fields with their names; answers itself when one is negative.
fn page_of(
    exchange: &mut Exchange<'_>,
    fields: [(&'static str, Option<i32>); 2],
) -> Option<[Option<usize>; 2]> {
    let mut page = [None; 2];
    for ((field, number), size) in fields.into_iter().zip(&mut page) {
        let Some(number) = number else { continue };
        *size = usize::try_from(number).ok();
        if size.is_none() {
            exchange.fail(
                ResponseCode::InvalidParameter,
                format!("field {field} is negative: {number}"),
            );
            return None;
        }
    }
    Some(page)
}

/// A queue's name in tables.
fn queue_name(broker: &Broker, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic, broker.config.broker_name.as_str(), queue_id)
}
