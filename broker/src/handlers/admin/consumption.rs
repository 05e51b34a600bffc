//! How far groups are: 208, 317, 303, 300, 308, 343, 345.

use std::sync::Arc;

use rmq_protocol::bodies::{
    ConsumeTimeSpans, CorrectionOffsets, GroupList, QuerySubscriptionBody, TopicList,
};
use rmq_protocol::requests::{
    GetBrokerConsumeStats, GetConsumeStats, QueryConsumeTimeSpan, QueryCorrectionOffset,
    QuerySubscriptionByConsumer, QueryTopicConsumeByWho, QueryTopicsByConsumer,
};
use rmq_transport::{Exchange, Reply};

use crate::admin::topics;
use crate::broker::Broker;
use crate::handlers::refusal::Handled;
use crate::handlers::{blocking, decode};
use crate::progress::consumption;
use crate::reply::Answer;

pub(crate) fn of_group(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetConsumeStats<'_> = decode(exchange)?;
    let group = request.consumer_group.to_string();
    let list = request.topic_list.as_deref().unwrap_or_default().split(';');
    let topics = request.topic.as_deref().into_iter().chain(list);
    let topics = topics.filter(|topic| !topic.is_empty());
    let topics: Vec<String> = topics.map(str::to_owned).collect();
    blocking(broker, exchange, move |broker| {
        let stats = consumption::of_group(broker, &group, topics);
        Ok(Answer::body(stats.to_json()))
    })
}

pub(crate) fn of_broker(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetBrokerConsumeStats = decode(exchange)?;
    let only_order = request.is_order.unwrap_or(false);
    blocking(broker, exchange, move |broker| {
        let stats = consumption::of_broker(broker, only_order);
        Ok(Answer::body(stats.to_json()))
    })
}

pub(crate) fn time_span(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryConsumeTimeSpan<'_> = decode(exchange)?;
    let topic = topics::known(broker, &request.topic)?;
    let group = request.group.to_string();
    blocking(broker, exchange, move |broker| {
        let spans = ConsumeTimeSpans {
            consume_time_span_set: consumption::time_spans(broker, &topic, &group),
        };
        Ok(Answer::body(spans.to_json()))
    })
}

pub(crate) fn groups_of_topic(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryTopicConsumeByWho<'_> = decode(exchange)?;
    let group_list = consumption::groups_of_topic(broker, &request.topic);
    exchange.ok_body(&(), &GroupList { group_list }.to_json());
    Ok(())
}

pub(crate) fn topics_of_group(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryTopicsByConsumer<'_> = decode(exchange)?;
    let list = TopicList {
        broker_addr: Some(broker.identity.addr.clone()),
        topic_list: consumption::topics_of_group(broker, &request.group),
    };
    exchange.ok_body(&(), &list.to_json());
    Ok(())
}

pub(crate) fn correction(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QueryCorrectionOffset<'_> = decode(exchange)?;
    let topic = topics::known(broker, &request.topic)?;
    let left_out: Vec<&str> = request
        .filter_groups
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .collect();
    let body = CorrectionOffsets {
        correction_offsets: consumption::lowest(broker, &topic, &left_out, &request.compare_group),
    };
    exchange.ok_body(&(), &body.to_json());
    Ok(())
}

pub(crate) fn subscription(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: QuerySubscriptionByConsumer<'_> = decode(exchange)?;
    let body = QuerySubscriptionBody {
        group: request.group.to_string(),
        subscription_data: consumption::subscription(broker, &request.group, &request.topic),
        topic: request.topic.to_string(),
    };
    exchange.ok_body(&(), &body.to_json());
    Ok(())
}
