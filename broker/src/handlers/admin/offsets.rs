//! Offsets that an administrator sets: 222, 314; all of them: 43, 45.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_protocol::bodies::{
    ConsumerOffsetTable, MessageQueue, QueueOffsetForC, ResetOffsetBody, ResetOffsetBodyForC,
};
use rmq_protocol::header::Language;
use rmq_protocol::requests::{CloneGroupOffset, InvokeBrokerToResetOffset};
use rmq_transport::{Exchange, Reply};

use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::handlers::{change, decode};
use crate::progress::reset::{self, Reset};
use crate::reply::Answer;

pub(crate) fn reset(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: InvokeBrokerToResetOffset<'_> = decode(exchange)?;
    let (topic, group) = (request.topic.to_string(), request.group.to_string());
    let wanted = Reset {
        one_queue: request.queue_id.unwrap_or(-1),
        offset: request.offset,
        time_ms: request.timestamp,
        force: request.is_force.unwrap_or(true),
    };
    let for_c = exchange.header.language == Language::Cpp;
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        let resets = reset::reset(&broker, &asker, &topic, &group, wanted).await?;
        Ok(Answer::body(after_reset(&broker, &topic, &resets, for_c)))
    })
}

/// The new offsets as the caller reads them.
fn after_reset(broker: &Broker, topic: &str, resets: &[(i32, i64)], for_c: bool) -> Vec<u8> {
    let broker_name = broker.config.broker_name.as_str();
    if for_c {
        let offset_table = resets
            .iter()
            .map(|(queue_id, offset)| QueueOffsetForC {
                broker_name: broker_name.to_owned(),
                offset: *offset,
                queue_id: *queue_id,
                topic: topic.to_owned(),
            })
            .collect();
        return ResetOffsetBodyForC { offset_table }.to_json();
    }
    let offset_table = resets
        .iter()
        .map(|(queue_id, offset)| (MessageQueue::new(topic, broker_name, *queue_id), *offset))
        .collect();
    ResetOffsetBody { offset_table }.to_json()
}

pub(crate) fn clone(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: CloneGroupOffset<'_> = decode(exchange)?;
    let (from, to) = (
        request.src_group.to_string(),
        request.dest_group.to_string(),
    );
    let topic = request.topic.as_deref().filter(|topic| !topic.is_empty());
    let topic = topic.map(str::to_owned);
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        reset::copy(&broker, &asker, topic.as_deref(), &from, &to).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let table = ConsumerOffsetTable {
        data_version: None,
        offset_table: broker.offsets.all(),
    };
    exchange.ok_body(&(), &table.to_json());
    Ok(())
}

pub(crate) fn delays(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let progress = broker.delay.progress().into_iter();
    let table: BTreeMap<usize, i64> = progress.map(|(level, next, _)| (level, next)).collect();
    let body = serde_json::to_vec(&serde_json::json!({ "offsetTable": table }));
    exchange.ok_body(&(), &body.map_err(FormRefusal::Encode)?);
    Ok(())
}
