//! Topics: 17, 18, 21, 351, 215, 202, 305, and the index of a queue: 321.

use std::sync::Arc;

use rmq_protocol::bodies::{TopicConfig, TopicConfigList, TopicFilterType, TopicList};
use rmq_protocol::requests::{
    DeleteTopicInBroker, GetAllTopicConfig, GetAllTopicConfigReply, GetTopicConfig,
    GetTopicStatsInfo, QueryConsumeQueue, UpdateAndCreateTopic,
};
use rmq_transport::{Exchange, Reply};

use super::{done, page_of};
use crate::admin::{queues, refusal::TopicRefusal, topics};
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::handlers::{blocking, change, decode};
use crate::progress::consumption;
use crate::reply::Answer;

pub(crate) fn put(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: UpdateAndCreateTopic<'_> = decode(exchange)?;
    let mut config = TopicConfig {
        perm: request.perm,
        read_queue_nums: request.read_queue_nums,
        write_queue_nums: request.write_queue_nums,
        order: request.order.unwrap_or(false),
        topic_sys_flag: request.topic_sys_flag.unwrap_or(0),
        ..TopicConfig::new(request.topic.as_ref(), 1)
    };
    // Absent and empty: one tag.
    let filter = request.topic_filter_type.as_deref();
    if let Some(name) = filter.filter(|name| !name.is_empty()) {
        let filter = TopicFilterType::from_name(name);
        config.topic_filter_type =
            filter.ok_or_else(|| FormRefusal::FilterType(name.to_owned()))?;
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
    topics::change_attributes(broker, &mut config, changes).map_err(TopicRefusal::from)?;
    put_all(broker, vec![config], exchange)
}

pub(crate) fn put_list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let mut configs = TopicConfigList::from_json(exchange.body)
        .map_err(|error| FormRefusal::Admin("the topics", error))?
        .topic_config_list;
    topics::change_all_attributes(broker, &mut configs)?;
    put_all(broker, configs, exchange)
}

fn put_all(
    broker: &Arc<Broker>,
    configs: Vec<TopicConfig>,
    exchange: &mut Exchange<'_>,
) -> Handled {
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        let lost = topics::put(&broker, &asker, configs).await?;
        if lost.is_empty() {
            return Ok(done());
        }
        Ok(Answer::empty().with_remark(lost))
    })
}

pub(crate) fn delete(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: DeleteTopicInBroker<'_> = decode(exchange)?;
    let name = request.topic.to_string();
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        topics::delete(&broker, &asker, &name).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetAllTopicConfig<'_> = decode(exchange)?;
    let page = [
        ("topicSeq", request.topic_seq),
        ("maxTopicNum", request.max_topic_num),
    ];
    let [from, count] = page_of(page)?;
    blocking(broker, exchange, move |broker| {
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
        let fields = GetAllTopicConfigReply {
            total_topic_num: Some(total as i32),
        };
        Ok(Answer::of(fields, table.to_json()))
    })
}

pub(crate) fn one(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetTopicConfig<'_> = decode(exchange)?;
    let topic = topics::one(broker, &request.topic)?;
    exchange.ok_body(&(), &topic.config.to_json());
    Ok(())
}

pub(crate) fn stats(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetTopicStatsInfo<'_> = decode(exchange)?;
    let topic = topics::known(broker, &request.topic)?;
    blocking(broker, exchange, move |broker| {
        Ok(Answer::body(topics::stats(broker, &topic).to_json()))
    })
}

pub(crate) fn system(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let list = TopicList {
        broker_addr: None,
        topic_list: topics::system(broker),
    };
    exchange.ok_body(&(), &list.to_json());
    Ok(())
}

pub(crate) fn queue_entries(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryConsumeQueue<'_> = decode(exchange)?;
    let queue = queues::queue(broker, &request.topic, request.queue_id)?;
    let group = request.consumer_group.as_deref();
    let subscribed =
        group.and_then(|group| consumption::subscription(broker, group, &request.topic));
    let (from, count) = (request.index, request.count);
    blocking(broker, exchange, move |broker| {
        let mut body = queues::entries(broker, &queue, from, count);
        body.subscription_data = subscribed;
        Ok(Answer::body(body.to_json()))
    })
}
