//! Subscription groups: 200, 225, 201, 352, 207, 353.

use std::sync::Arc;

use rmq_process::Asker;
use rmq_protocol::bodies::{GroupForbidden, SubscriptionGroupConfig, SubscriptionGroupList};
use rmq_protocol::code::ResponseCode;
use rmq_protocol::names;
use rmq_protocol::requests::{
    DeleteSubscriptionGroup, GetAllSubscriptionGroupConfig, GetAllSubscriptionGroupConfigReply,
    GetSubscriptionGroupConfig, UpdateAndGetGroupForbidden,
};
use rmq_transport::{Exchange, PendingReply};

use super::page_of;
use crate::audit;
use crate::broker::Broker;
use crate::handlers::decode;
use crate::reply;

pub(crate) fn put(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    match SubscriptionGroupConfig::from_json(exchange.body) {
        Ok(config) => put_all(
            broker,
            vec![config],
            audit::asker(exchange),
            exchange.park(),
        ),
        Err(error) => exchange.fail(
            ResponseCode::InvalidParameter,
            format!("the group cannot be read: {error}"),
        ),
    }
}

pub(crate) fn put_list(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    match SubscriptionGroupList::from_json(exchange.body) {
        Ok(list) => put_all(
            broker,
            list.group_config_list,
            audit::asker(exchange),
            exchange.park(),
        ),
        Err(error) => exchange.fail(
            ResponseCode::InvalidParameter,
            format!("the groups cannot be read: {error}"),
        ),
    }
}

fn put_all(
    broker: &Arc<Broker>,
    configs: Vec<SubscriptionGroupConfig>,
    asker: Asker,
    reply: PendingReply,
) {
    // All or none.
    for config in &configs {
        if let Err(error) = broker.groups.check(config) {
            return reply.fail(reply::of_group(&error), error.to_string());
        }
    }
    let then = Arc::clone(broker);
    broker.run_task(async move {
        for config in configs {
            if let Some(off) = switched_off(&then, &config) {
                tracing::warn!(group = config.group_name, "{off}");
            }
            let name = config.group_name.clone();
            let before = then.groups.get(&name);
            if let Err(error) = then.groups.put(config, then.now_ms()).await {
                return reply.fail(reply::of_group(&error), error.to_string());
            }
            if let Some(group) = then.groups.get(&name) {
                let known = before.as_ref().map(|before| &before.config);
                let (created, changed) = ("group created", "group changed");
                audit::put(&asker, created, changed, &name, known, &group.config);
            }
        }
        reply.ok(&());
    });
}

/// What a change of a group keeps from its members that they got before.
fn switched_off(broker: &Broker, config: &SubscriptionGroupConfig) -> Option<&'static str> {
    let before = broker.groups.get(&config.group_name);
    let before = before.map_or_else(
        || SubscriptionGroupConfig::new(&config.group_name),
        |group| group.config.clone(),
    );
    if before.consume_enable && !config.consume_enable {
        return Some(
            "the group gets no messages from now on (consumeEnable); those that expire meanwhile (retentionHours) it never gets",
        );
    }
    if before.consume_broadcast_enable && !config.consume_broadcast_enable {
        return Some(
            "members that broadcast get no messages from now on (consumeBroadcastEnable); those that expire meanwhile (retentionHours) they never get",
        );
    }
    None
}

pub(crate) fn delete(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<DeleteSubscriptionGroup<'_>>(exchange) else {
        return;
    };
    let (name, clean) = (
        request.group_name.to_string(),
        request.clean_offset.unwrap_or(false),
    );
    let asker = audit::asker(exchange);
    let reply = exchange.park();
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let before = then.groups.get(&name);
        match then.groups.delete(&name, then.now_ms()).await {
            Ok(was_there) => {
                if was_there {
                    let before = before.and_then(|group| audit::text(&group.config));
                    let what = if clean {
                        "group deleted, with its offsets"
                    } else {
                        "group deleted"
                    };
                    asker.changed(what, &name, before, None);
                }
                if clean && let Err(error) = then.offsets.remove_group(&name).await {
                    return reply.fail(reply::of_settings(&error), error.to_string());
                }
                // Nobody reads its retries any more.
                if let Err(error) = then
                    .topics
                    .delete(&names::retry_topic(&name), then.now_ms())
                    .await
                {
                    return reply.fail(reply::of_topic(&error), error.to_string());
                }
                reply.ok(&());
            }
            Err(error) => reply.fail(reply::of_group(&error), error.to_string()),
        }
    });
}

pub(crate) fn all(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetAllSubscriptionGroupConfig<'_>>(exchange) else {
        return;
    };
    let page = [
        ("groupSeq", request.group_seq),
        ("maxGroupNum", request.max_group_num),
    ];
    let Some([from, count]) = page_of(exchange, page) else {
        return;
    };
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
    exchange.ok_body(
        &GetAllSubscriptionGroupConfigReply {
            total_group_num: Some(total),
        },
        &table.to_json(),
    );
}

pub(crate) fn one(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<GetSubscriptionGroupConfig<'_>>(exchange) else {
        return;
    };
    match audit::group_of(broker, exchange, &request.group) {
        Ok(group) => exchange.ok_body(&(), &group.config.to_json()),
        Err(error) => exchange.fail(
            reply::of_group(&error),
            format!("No group in this broker. group: {}: {error}", request.group),
        ),
    }
}

pub(crate) fn forbidden(broker: &Arc<Broker>, exchange: &mut Exchange<'_>) {
    let Some(request) = decode::<UpdateAndGetGroupForbidden<'_>>(exchange) else {
        return;
    };
    let (name, topic, readable) = (
        request.group.to_string(),
        request.topic.to_string(),
        request.readable,
    );
    let asker = audit::asker(exchange);
    let reply = exchange.park();
    let then = Arc::clone(broker);
    broker.run_task(async move {
        let Some(group) = then.groups.get(&name) else {
            return reply.fail(
                ResponseCode::SubscriptionGroupNotExist,
                format!("Group {name} not exist!"),
            );
        };
        if let Some(readable) = readable
            && let Err(error) = then
                .groups
                .set_readable(&group, &topic, readable, then.now_ms())
                .await
        {
            return reply.fail(reply::of_group(&error), error.to_string());
        }
        let before = group.may_read(&topic);
        let now = then
            .groups
            .get(&name)
            .is_none_or(|group| group.may_read(&topic));
        if before != now {
            let (what, subject) = ("right to read changed", format!("{name} on {topic}"));
            asker.changed(
                what,
                &subject,
                Some(before.to_string()),
                Some(now.to_string()),
            );
        }
        let body = GroupForbidden {
            group: name,
            readable: Some(now),
            topic,
        };
        reply.reply(ResponseCode::Success, Some("".into()), &(), &body.to_json());
    });
}
