//! How far groups are: 208, 317, 303, 300, 343, 345.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_protocol::bodies::{
    ConsumeStats, ConsumeStatsList, ConsumeTimeSpans, GroupList, OffsetWrapper,
    QuerySubscriptionBody, QueueTimeSpan, TopicList,
};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{
    GetBrokerConsumeStats, GetConsumeStats, QueryConsumeTimeSpan, QuerySubscriptionByConsumer,
    QueryTopicConsumeByWho, QueryTopicsByConsumer,
};
use rmq_transport::Exchange;

use super::queue_name;
use super::queues::store_time;
use crate::broker::Broker;
use crate::handlers::decode;
use crate::stats::{MESSAGES, Span};

pub(crate) fn of_group(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetConsumeStats<'_>>(exchange) else {
        return;
    };
    let group = request.consumer_group.to_string();
    let mut topics: Vec<String> = request
        .topic
        .iter()
        .map(ToString::to_string)
        .filter(|topic| !topic.is_empty())
        .collect();
    if let Some(list) = &request.topic_list {
        topics.extend(
            list.split(';')
                .filter(|topic| !topic.is_empty())
                .map(str::to_owned),
        );
    }
    broker.run_blocking(exchange.park(), move |broker, reply| {
        broker.catch_up();
        let topics = if topics.is_empty() {
            broker.offsets.topics_of(&group)
        } else {
            topics
        };
        reply.ok_body(&(), &stats(broker, &group, &topics).to_json());
    });
}

fn stats(broker: &Broker, group: &str, topics: &[String]) -> ConsumeStats {
    let mut stats = ConsumeStats::default();
    let settings = broker.groups.get(group);
    for name in topics {
        let Some(topic) = broker.topics.get(name) else {
            continue;
        };
        for queue in topic
            .queues
            .iter()
            .take(usize::try_from(topic.config.read_queue_nums).unwrap_or(0))
        {
            let max = queue.max_offset();
            let consumer_offset = broker
                .offsets
                .get(name, group, queue.queue_id())
                .unwrap_or_else(|| queue.first_offset())
                .max(0);
            let last = consumer_offset - 1;
            let last_timestamp = if last >= queue.min_offset() && last < max {
                store_time(broker, queue, last).unwrap_or(0)
            } else {
                0
            };
            stats.offset_table.push(
                queue_name(broker, name, queue.queue_id()),
                OffsetWrapper {
                    broker_offset: max,
                    consumer_offset,
                    last_timestamp,
                    pull_offset: consumer_offset,
                },
            );
        }
        if let Some(given) = settings.as_ref().and_then(|group| group.counters.of(name)) {
            let minute = given.got.snapshot(&broker.stats.sampler, Span::Minute);
            stats.consume_tps += minute.rate(MESSAGES);
        }
    }
    stats
}

pub(crate) fn of_broker(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetBrokerConsumeStats>(exchange) else {
        return;
    };
    let only_order = request.is_order.unwrap_or(false);
    broker.run_blocking(exchange.park(), move |broker, reply| {
        broker.catch_up();
        let mut list = ConsumeStatsList {
            broker_addr: broker.identity.addr.clone(),
            ..ConsumeStatsList::default()
        };
        for group in broker.groups.all() {
            let topics: Vec<String> = broker
                .offsets
                .topics_of(group.name())
                .into_iter()
                .filter(|topic| {
                    !only_order
                        || broker
                            .topics
                            .get(topic)
                            .is_some_and(|topic| topic.config.order)
                })
                .collect();
            if topics.is_empty() {
                continue;
            }
            let stats = stats(broker, group.name(), &topics);
            list.total_diff += stats
                .offset_table
                .iter()
                .map(|(_, queue)| (queue.broker_offset - queue.consumer_offset).max(0))
                .sum::<i64>();
            list.consume_stats_list
                .push(BTreeMap::from([(group.name().to_owned(), vec![stats])]));
        }
        reply.ok_body(&(), &list.to_json());
    });
}

pub(crate) fn time_span(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryConsumeTimeSpan<'_>>(exchange) else {
        return;
    };
    let Some(topic) = broker.topics.get(&request.topic) else {
        return exchange.fail(
            ResponseCode::TopicNotExist,
            format!("topic[{}] not exist", request.topic),
        );
    };
    let group = request.group.to_string();
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let spans = topic
            .queues
            .iter()
            .map(|queue| {
                let (min, max) = (queue.min_offset(), queue.max_offset());
                let time = |offset: i64| {
                    if offset >= min && offset < max {
                        store_time(broker, queue, offset)
                    } else {
                        None
                    }
                };
                let consumed = broker
                    .offsets
                    .get(topic.name(), &group, queue.queue_id())
                    .unwrap_or_else(|| queue.first_offset());
                let (first, last) = (time(min).unwrap_or(-1), time(max - 1).unwrap_or(-1));
                let consume_time_stamp = if consumed > queue.first_offset() {
                    time(consumed - 1).unwrap_or(first)
                } else {
                    first
                };
                let delay_time = if consumed < max && consume_time_stamp > 0 {
                    (broker.now_ms() - consume_time_stamp).max(0)
                } else {
                    0
                };
                QueueTimeSpan {
                    consume_time_stamp,
                    consume_time_stamp_str: None,
                    delay_time,
                    max_time_stamp: last,
                    max_time_stamp_str: None,
                    message_queue: queue_name(broker, topic.name(), queue.queue_id()),
                    min_time_stamp: first,
                    min_time_stamp_str: None,
                }
            })
            .collect();
        reply.ok_body(
            &(),
            &ConsumeTimeSpans {
                consume_time_span_set: spans,
            }
            .to_json(),
        );
    });
}

pub(crate) fn groups_of_topic(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryTopicConsumeByWho<'_>>(exchange) else {
        return;
    };
    let mut group_list = broker.offsets.groups_of(&request.topic);
    for online in broker.sessions.consumers() {
        if online.subscription(&request.topic).is_some() {
            group_list.push(online.name().to_owned());
        }
    }
    group_list.sort_unstable();
    group_list.dedup();
    exchange.ok_body(&(), &GroupList { group_list }.to_json());
}

pub(crate) fn topics_of_group(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QueryTopicsByConsumer<'_>>(exchange) else {
        return;
    };
    let mut topic_list = broker.offsets.topics_of(&request.group);
    if let Some(online) = broker.sessions.consumer(&request.group) {
        for subscription in online.subscriptions() {
            topic_list.push(subscription.data.topic.clone());
        }
    }
    topic_list.sort_unstable();
    topic_list.dedup();
    exchange.ok_body(
        &(),
        &TopicList {
            broker_addr: Some(broker.identity.addr.clone()),
            topic_list,
        }
        .to_json(),
    );
}

pub(crate) fn subscription(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<QuerySubscriptionByConsumer<'_>>(exchange) else {
        return;
    };
    let subscription_data = broker
        .sessions
        .consumer(&request.group)
        .and_then(|group| group.subscription(&request.topic))
        .map(|subscription| subscription.data.clone());
    let body = QuerySubscriptionBody {
        group: request.group.to_string(),
        subscription_data,
        topic: request.topic.to_string(),
    };
    exchange.ok_body(&(), &body.to_json());
}
