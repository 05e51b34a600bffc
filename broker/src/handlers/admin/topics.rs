//! Topics: 17, 18, 21, 351, 215, 202, 305.

use std::sync::Arc;

use rmq_process::Asker;
use rmq_protocol::bodies::{
    TopicConfig, TopicConfigList, TopicFilterType, TopicList, TopicOffset, TopicStatsTable,
};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::names;
use rmq_protocol::requests::{
    DeleteTopicInBroker, GetAllTopicConfig, GetAllTopicConfigReply, GetTopicConfig,
    GetTopicStatsInfo, UpdateAndCreateTopic,
};
use rmq_protocol::route::perm;
use rmq_transport::{Exchange, PendingReply};

use super::{done, page_of, queue_name};
use crate::attributes::{self, AttributeError};
use crate::audit;
use crate::broker::Broker;
use crate::handlers::decode;
use crate::reply;
use crate::stats::{MESSAGES, Span};
use crate::topics::{Topic, TopicError};

pub(crate) fn put(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<UpdateAndCreateTopic<'_>>(exchange) else {
        return;
    };
    let mut config = TopicConfig {
        perm: request.perm,
        read_queue_nums: request.read_queue_nums,
        write_queue_nums: request.write_queue_nums,
        order: request.order.unwrap_or(false),
        topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
        ..TopicConfig::new(request.topic.as_ref(), 1)
    };
    // Absent and empty: one tag.
    if let Some(name) = request
        .topic_filter_type
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        let Some(filter) = TopicFilterType::from_name(name) else {
            return exchange.fail(
                ResponseCode::InvalidParameter,
                format!("field topicFilterType is {name:?}, neither SINGLE_TAG nor MULTI_TAG"),
            );
        };
        config.topic_filter_type = filter;
    }
    let changes = request.attributes.as_deref().unwrap_or_default();
    let changes = changes.split(',').map(str::trim);
    let changes =
        changes
            .filter(|change| !change.is_empty())
            .map(|change| match change.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (change, None),
            });
    if let Err(problem) = change_attributes(broker, &mut config, changes) {
        return exchange.fail(ResponseCode::InvalidParameter, problem.to_string());
    }
    put_all(
        broker,
        vec![config],
        audit::asker(exchange),
        exchange.park(),
    );
}

/// Gives it the attributes that the topic has, with these changes.
fn change_attributes<'a>(
    broker: &Broker,
    config: &mut TopicConfig,
    changes: impl Iterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<(), AttributeError> {
    let known = broker.topics.get(&config.topic_name);
    let current = known.as_ref().map(|topic| &topic.config.attributes);
    config.attributes = attributes::change_topic(current, changes)?;
    Ok(())
}

/// Attributes are changes here too (apache/rocketmq `TopicConfigManager.updateTopicConfig`).
pub(crate) fn put_list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let mut list = match TopicConfigList::from_json(exchange.body) {
        Ok(list) => list.topic_config_list,
        Err(error) => {
            return exchange.fail(
                ResponseCode::InvalidParameter,
                format!("the topics cannot be read: {error}"),
            );
        }
    };
    for config in &mut list {
        let changes = std::mem::take(&mut config.attributes);
        let changes = changes
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_str())));
        if let Err(problem) = change_attributes(broker, config, changes) {
            let problem = format!("topic {}: {problem}", config.topic_name);
            return exchange.fail(ResponseCode::InvalidParameter, problem);
        }
    }
    put_all(broker, list, audit::asker(exchange), exchange.park());
}

fn put_all(broker: &Arc<Broker>, configs: Vec<TopicConfig>, asker: Asker, reply: PendingReply) {
    // All or none.
    for config in &configs {
        let checked = if names::is_system_topic(&config.topic_name) {
            Err(TopicError::System(config.topic_name.clone()))
        } else {
            broker.topics.check(config)
        };
        if let Err(error) = checked {
            return reply.fail(reply::of_topic(&error), error.to_string());
        }
    }
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let mut shrunk = Vec::new();
        for config in configs {
            let before = then.topics.get(&config.topic_name);
            match then.topics.put(config, then.now_ms()).await {
                Ok(topic) => {
                    let known = before.as_ref().map(|before| &before.config);
                    let (created, changed) = ("topic created", "topic changed");
                    audit::put(&asker, created, changed, topic.name(), known, &topic.config);
                    let read = |topic: &Topic| topic.config.read_queue_nums;
                    if before.is_some_and(|before| read(&before) > read(&topic))
                        || written_unread(&topic.config).is_some()
                    {
                        shrunk.push(topic);
                    }
                }
                Err(error) => return reply.fail(reply::of_topic(&error), error.to_string()),
            }
        }
        if shrunk.is_empty() {
            return done(reply);
        }
        then.run_blocking(reply, move |broker, reply| {
            say_unreadable(broker, &shrunk, reply)
        });
    });
}

/// The queues that take messages which nobody may read.
fn written_unread(config: &TopicConfig) -> Option<std::ops::Range<i32>> {
    if !perm::is_writable(config.perm) {
        return None;
    }
    let read = if perm::is_readable(config.perm) {
        config.read_queue_nums
    } else {
        0
    };
    (read < config.write_queue_nums).then_some(read..config.write_queue_nums)
}

/// Answers with the queues that take messages which nobody reads, and with the number of messages that nobody can read any more. The log and tools show this number.
fn say_unreadable(broker: &Broker, shrunk: &[Arc<Topic>], reply: PendingReply) {
    let mut lost = Vec::new();
    for topic in shrunk {
        let (name, queues) = (topic.name(), topic.config.read_queue_nums);
        if let Some(unread) = written_unread(&topic.config) {
            tracing::warn!(
                topic = name,
                perm = topic.config.perm,
                read_queues = queues,
                write_queues = topic.config.write_queue_nums,
                "messages that are sent to the topic cannot be read: it takes them in queues that nobody may read"
            );
            lost.push(format!("topic {name}: messages that are sent to queues {} to {} cannot be read until readQueueNums is as large as writeQueueNums and perm allows reading", unread.start, unread.end - 1));
        }
        let messages = unreadable(broker, topic);
        if messages > 0 {
            tracing::warn!(
                topic = name,
                queues,
                messages,
                "messages in queues that were taken away cannot be read any more"
            );
            lost.push(format!("topic {name}: {messages} messages in queues from {queues} on cannot be read any more until there are as many read queues again"));
        }
    }
    if lost.is_empty() {
        return done(reply);
    }
    reply.reply(
        ResponseCode::Success,
        Some(lost.join("; ").into()),
        &(),
        &[],
    );
}

/// Messages in queues that the topic no longer lets anybody read.
fn unreadable(broker: &Broker, topic: &Topic) -> i64 {
    let queues = match broker.store.queues_of(topic.name()) {
        Ok(queues) => queues,
        Err(error) => {
            tracing::warn!(
                topic = topic.name(),
                "its former queues cannot be listed: {error}"
            );
            return 0;
        }
    };
    queues
        .iter()
        .filter(|queue| queue.queue_id() >= topic.config.read_queue_nums)
        .map(|queue| queue.max_offset() - queue.min_offset())
        .sum()
}

pub(crate) fn delete(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<DeleteTopicInBroker<'_>>(exchange) else {
        return;
    };
    let name = request.topic.to_string();
    if name.trim().is_empty() {
        return exchange.fail(
            ResponseCode::InvalidParameter,
            "The specified topic is blank.",
        );
    }
    if names::is_system_topic(&name) {
        return exchange.fail(
            ResponseCode::InvalidParameter,
            format!("The topic[{name}] is conflict with system topic."),
        );
    }
    let asker = audit::asker(exchange);
    let reply = exchange.park();
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let before = then.topics.get(&name);
        match then.topics.delete(&name, then.now_ms()).await {
            Ok(was_there) => {
                if was_there {
                    let before = before.and_then(|topic| audit::text(&topic.config));
                    asker.changed("topic deleted", &name, before, None);
                }
                if let Err(error) = then.offsets.remove_topic(&name).await {
                    return reply.fail(reply::of_settings(&error), error.to_string());
                }
                for group in then.groups.all() {
                    group.counters.forget(&name);
                }
                // The caller takes the topic out of the name servers next: a registration that still has it must not come after that.
                then.registrations.soon_current(&then).await;
                reply.ok(&());
            }
            Err(error) => reply.fail(reply::of_topic(&error), error.to_string()),
        }
    });
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetAllTopicConfig<'_>>(exchange) else {
        return;
    };
    let page = [
        ("topicSeq", request.topic_seq),
        ("maxTopicNum", request.max_topic_num),
    ];
    let Some([from, count]) = page_of(exchange, page) else {
        return;
    };
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let mut table = broker.topics.registration();
        let total = table.topic_config_table.len();
        if let Some(count) = count {
            table.topic_config_table = table
                .topic_config_table
                .into_iter()
                .skip(from.unwrap_or(0))
                .take(count)
                .collect();
        }
        reply.ok_body(
            &GetAllTopicConfigReply {
                total_topic_num: Some(total as i32),
            },
            &table.to_json(),
        );
    });
}

pub(crate) fn one(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetTopicConfig<'_>>(exchange) else {
        return;
    };
    match broker.topics.get(&request.topic) {
        Some(topic) => exchange.ok_body(&(), &topic.config.to_json()),
        None => exchange.fail(
            ResponseCode::TopicNotExist,
            format!("No topic in this broker. topic: {}", request.topic),
        ),
    }
}

pub(crate) fn stats(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetTopicStatsInfo<'_>>(exchange) else {
        return;
    };
    let Some(topic) = broker.topics.get(&request.topic) else {
        return exchange.fail(
            ResponseCode::TopicNotExist,
            format!("topic[{}] not exist", request.topic),
        );
    };
    broker.run_blocking(exchange.park(), move |broker, reply| {
        let mut table = TopicStatsTable::default();
        for queue in &topic.queues {
            let (min, max) = (queue.min_offset(), queue.max_offset());
            let last = if max > min {
                super::queues::store_time(broker, queue, max - 1).unwrap_or(0)
            } else {
                0
            };
            table.offset_table.push(
                queue_name(broker, topic.name(), queue.queue_id()),
                TopicOffset {
                    last_update_timestamp: last,
                    max_offset: max,
                    min_offset: min,
                },
            );
        }
        let stats = &broker.stats;
        broker.catch_up();
        let minute = topic.counters.put.snapshot(&stats.sampler, Span::Minute);
        table.topic_put_tps = minute.rate(MESSAGES);
        table.unreadable_messages = unreadable(broker, &topic);
        reply.ok_body(&(), &table.to_json());
    });
}

pub(crate) fn system(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let own = [
        broker.config.cluster_name.as_str(),
        broker.config.broker_name.as_str(),
    ];
    let topic_list = broker
        .topics
        .all()
        .iter()
        .filter(|topic| topic.is_system() || own.contains(&topic.name()))
        .map(|topic| topic.name().to_owned())
        .collect();
    exchange.ok_body(
        &(),
        &TopicList {
            broker_addr: None,
            topic_list,
        }
        .to_json(),
    );
}
