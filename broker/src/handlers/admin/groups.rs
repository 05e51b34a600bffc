//! Subscription groups: 200, 225, 201, 352, 207, 353.

use std::sync::Arc;

use rmq_protocol::bodies::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList};
use rmq_protocol::requests::{
    DeleteSubscriptionGroup, GetAllSubscriptionGroupConfig, GetAllSubscriptionGroupConfigReply,
    GetSubscriptionGroupConfig, UpdateAndGetGroupForbidden,
};
use rmq_transport::{Exchange, Reply};

use super::page_of;
use crate::admin::groups;
use crate::audit::Origin;
use crate::broker::Broker;
use crate::handlers::refusal::{FormRefusal, Handled};
use crate::handlers::{bounded, change, decode};
use crate::reply::Answer;

pub(crate) fn put(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let config = SubscriptionGroupConfig::from_json(exchange.body)
        .map_err(|error| FormRefusal::Admin("the group", error))?;
    put_all(broker, vec![config], exchange)
}

pub(crate) fn put_list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let list = SubscriptionGroupList::from_json(exchange.body)
        .map_err(|error| FormRefusal::Admin("the groups", error))?;
    put_all(broker, list.group_config_list, exchange)
}

fn put_all(
    broker: &Arc<Broker>,
    configs: Vec<SubscriptionGroupConfig>,
    exchange: &mut Exchange<'_>,
) -> Handled {
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        groups::put(&broker, &asker, configs).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn delete(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: DeleteSubscriptionGroup<'_> = decode(exchange)?;
    let name = request.group_name.to_string();
    let with_offsets = request.clean_offset.unwrap_or(false);
    let asker = exchange.asker();
    change(broker, exchange, async move |broker| {
        groups::delete(&broker, &asker, &name, with_offsets).await?;
        Ok(Answer::empty())
    })
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetAllSubscriptionGroupConfig<'_> = decode(exchange)?;
    let page = [
        ("groupSeq", request.group_seq),
        ("maxGroupNum", request.max_group_num),
    ];
    let [from, count] = page_of(page)?;
    let mut table = broker.groups.table();
    let total = table.subscription_group_table.len() as i32;
    if let Some(count) = count {
        table.subscription_group_table = table
            .subscription_group_table
            .into_iter()
            .skip(from.unwrap_or(0))
            .take(count)
            .collect();
    }
    let fields = GetAllSubscriptionGroupConfigReply {
        total_group_num: Some(total),
    };
    exchange.ok_body(&fields, &table.to_json());
    Ok(())
}

pub(crate) fn one(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: GetSubscriptionGroupConfig<'_> = decode(exchange)?;
    let group = groups::one(broker, exchange, &request.group)?;
    exchange.ok_body(&(), &group.config.to_json());
    Ok(())
}

pub(crate) fn forbidden(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) -> Handled {
    let request: UpdateAndGetGroupForbidden<'_> = decode(exchange)?;
    let (group, topic) = (request.group.to_string(), request.topic.to_string());
    let wanted = request.readable;
    let asker = exchange.asker();
    let answer = async move |broker: Arc<Broker>| {
        let readable = groups::readable(&broker, &asker, &group, &topic, wanted).await?;
        let body = GroupForbidden {
            group,
            readable: Some(readable),
            topic,
        };
        Ok(Answer::body(body.to_json()).with_remark(""))
    };
    match wanted {
        Some(_) => change(broker, exchange, answer),
        None => bounded(broker, exchange, answer),
    }
}
