//! Clients and groups: heartbeats (34), leaving (35), who is there (38), checks of filter expressions (46).

use std::sync::Arc;

use rmq_protocol::bodies::{CheckClientConfigBody, ConsumerList, HeartbeatData, MessageModel};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::header::NoFields;
use rmq_protocol::requests::{GetConsumerListByGroup, HeartBeatReply, UnregisterClient};
use rmq_transport::Exchange;

use super::{Batch, decode};
use crate::audit;
use crate::broker::Broker;
use crate::filter::{Filter, FilterError};
use crate::sessions::{ConsumerGroup, Loss};

pub(crate) fn heartbeat(broker: &Broker, batch: &mut Batch, exchange: &mut Exchange<'_>) {
    let mut data = match HeartbeatData::from_json(exchange.body) {
        Ok(data) => data,
        Err(error) => {
            return exchange.fail(
                ResponseCode::SystemError,
                format!("the heartbeat cannot be read: {error}"),
            );
        }
    };
    if data.client_id.is_empty() {
        return exchange.fail(ResponseCode::SystemError, "the heartbeat has no clientID");
    }
    if let Some(problem) = unusable_filter(broker, &data) {
        tracing::warn!(client_id = data.client_id, peer = %exchange.peer.remote_addr(), "heartbeat refused: {problem}");
        return exchange.fail(ResponseCode::SubscriptionParseFailed, problem);
    }
    let began_ms = broker.monotonic_ms();
    let client_id = data.client_id.clone();
    data.consumer_data_set.retain(|consumer| {
        let name = consumer.group_name.as_str();
        let group = match audit::group_of(broker, exchange, name) {
            Ok(group) => group,
            // Java brokers accept the heartbeat without this group and refuse the pulls; so do we, and say so once here.
            Err(error) => {
                tracing::warn!(
                    group = name,
                    client_id,
                    "consumer group cannot be used: {error}"
                );
                return false;
            }
        };
        // Groups that broadcast and those of the system have one too: tools find the brokers of a group by its route.
        match broker.retry_topic(name, group.config.retry_queue_nums.max(1)) {
            Ok(_) => batch.appended = true,
            // The group can read anyway; only what it gives back will be refused.
            Err(error) => {
                tracing::warn!(
                    group = name,
                    client_id,
                    "the group has no retry topic: {error}"
                );
            }
        }
        true
    });
    match broker.sessions.heartbeat(
        exchange.peer,
        &data,
        broker.connection_now_ms(),
        &broker.limits,
    ) {
        Ok(changed) => changed.iter().for_each(|group| notify(broker, group)),
        Err(error) => return exchange.fail(ResponseCode::SystemError, error.to_string()),
    }
    count(broker, &data, began_ms);
    // Short heartbeats are not understood: clients then send theirs in full, which is all they ever need.
    let fields = HeartBeatReply {
        is_support_heart_beat_v2: Some(false),
        is_sub_change: Some(true),
    };
    let unserved = unserved(broker, &data).map(Into::into);
    exchange.reply(ResponseCode::Success, unserved, &fields, &[]);
}

/// Members of a group are gone: frees the queues that they had locked, then tells the others.
pub(crate) fn lost(broker: &Broker, loss: &Loss) {
    for client_id in &loss.clients {
        broker.locks.release(loss.group.name(), client_id);
    }
    notify(broker, &loss.group);
}

fn count(broker: &Broker, data: &HeartbeatData, began_ms: i64) {
    let stats = &broker.stats;
    let took_ms = (broker.monotonic_ms() - began_ms).max(0) as u64;
    for (item, registered) in [
        (&stats.consumers_registered, data.consumer_data_set.len()),
        (&stats.producers_registered, data.producer_data_set.len()),
    ] {
        if registered > 0 {
            let registered = registered as u64;
            item.add(&stats.sampler, [took_ms * registered, registered]);
        }
    }
}

/// A filter that no pull could use: the client hears of it now, as its pulls would only bring nothing.
fn unusable_filter(broker: &Broker, data: &HeartbeatData) -> Option<String> {
    data.consumer_data_set.iter().find_map(|consumer| {
        consumer.subscription_data_set.iter().find_map(|wanted| {
            match Filter::of(wanted, &broker.limits) {
                Err(error @ FilterError::TooLong { .. }) => Some(format!(
                    "the subscription of group {} to topic {} cannot be used: {error}; use fewer or shorter tags, or several groups",
                    consumer.group_name, wanted.topic
                )),
                // What is no tag filter is refused where it is used: other subscriptions of the client are served.
                _ => None,
            }
        })
    })
}

/// The first subscription of a kind that this version does not serve. The heartbeat is taken anyway: a client's other subscriptions are
/// in it too, and Java clients keep sending the one whose consumer failed to start (46). The log says it once, each pull is refused.
fn unserved(broker: &Broker, data: &HeartbeatData) -> Option<String> {
    data.consumer_data_set.iter().find_map(|consumer| {
        consumer.subscription_data_set.iter().find_map(|wanted| {
            let error = Filter::of(wanted, &broker.limits).err()?;
            Some(format!(
                "group {} gets nothing of topic {}: {error}",
                consumer.group_name, wanted.topic
            ))
        })
    })
}

/// Tells the members of a group that others came or went.
pub(crate) fn notify(broker: &Broker, group: &Arc<ConsumerGroup>) {
    let wanted = broker
        .groups
        .get(group.name())
        .is_none_or(|settings| settings.config.notify_consumer_ids_changed_enable);
    if wanted && group.model() == MessageModel::Clustering {
        group.notify();
    }
}

pub(crate) fn unregister(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<UnregisterClient<'_>>(exchange) else {
        return;
    };
    let left = broker.sessions.unregister(
        exchange.peer.id(),
        request.producer_group.as_deref(),
        request.consumer_group.as_deref(),
    );
    left.iter().for_each(|loss| lost(broker, loss));
    exchange.ok(&NoFields);
}

pub(crate) fn consumer_list(broker: &Broker, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetConsumerListByGroup<'_>>(exchange) else {
        return;
    };
    let ids = broker
        .sessions
        .consumer(&request.consumer_group)
        .map(|group| group.client_ids())
        .unwrap_or_default();
    if ids.is_empty() {
        // Not an empty list: clients would drop their queues.
        return exchange.fail(
            ResponseCode::SystemError,
            format!("no consumer for this group, {}", request.consumer_group),
        );
    }
    exchange.ok_body(
        &NoFields,
        &ConsumerList {
            consumer_id_list: ids,
        }
        .to_json(),
    );
}

pub(crate) fn check_config(broker: &Broker, exchange: &mut Exchange<'_>) {
    let body = match CheckClientConfigBody::from_json(exchange.body) {
        Ok(body) => body,
        Err(error) => {
            return exchange.fail(
                ResponseCode::SystemError,
                format!("the request cannot be read: {error}"),
            );
        }
    };
    match Filter::of(&body.subscription_data, &broker.limits) {
        Ok(_) => exchange.ok(&NoFields),
        Err(error @ crate::filter::FilterError::Type(_)) => {
            exchange.fail(ResponseCode::SystemError, error.to_string())
        }
        Err(error) => exchange.fail(ResponseCode::SubscriptionParseFailed, error.to_string()),
    }
}
