//! Subscription groups: made, changed, deleted and described.

use std::sync::Arc;

use rmq_process::Asker;
use rmq_protocol::bodies::SubscriptionGroupConfig;
use rmq_protocol::names;

use super::refusal::GroupRefusal;
use crate::audit::{self, Origin};
use crate::broker::Broker;
use crate::groups::Group;

/// Creates or changes groups: all or, when one of them may not be so, none.
///
/// # Errors
/// A group may not be so, or cannot be stored.
pub(crate) async fn put(
    broker: &Broker,
    asker: &Asker,
    configs: Vec<SubscriptionGroupConfig>,
) -> Result<(), GroupRefusal> {
    for config in &configs {
        broker.groups.check(config)?;
    }
    for config in configs {
        if let Some(off) = switched_off(broker, &config) {
            tracing::warn!(group = config.group_name, "{off}");
        }
        let name = config.group_name.clone();
        let before = broker.groups.get(&name);
        broker.groups.put(config).await?;
        if let Some(group) = broker.groups.get(&name) {
            let known = before.as_ref().map(|before| &before.config);
            let (created, changed) = ("group created", "group changed");
            audit::put(asker, created, changed, &name, known, &group.config);
        }
    }
    Ok(())
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

/// Deletes a group, with its offsets when that is wanted.
///
/// # Errors
/// The change cannot be stored.
pub(crate) async fn delete(
    broker: &Broker,
    asker: &Asker,
    name: &str,
    with_offsets: bool,
) -> Result<(), GroupRefusal> {
    let before = broker.groups.get(name);
    let offsets = with_offsets.then_some(&broker.offsets);
    if broker.groups.delete(name, offsets).await? {
        let before = before.and_then(|group| audit::text(&group.config));
        let what = if with_offsets {
            "group deleted, with its offsets"
        } else {
            "group deleted"
        };
        asker.changed(what, name, before, None);
    }
    // Nobody reads its retries any more.
    let retries = names::retry_topic(name);
    broker.topics.delete(&retries, &broker.offsets).await?;
    Ok(())
}

/// A group whose settings are asked for; made when it is missing and that is allowed.
///
/// # Errors
/// There is no such group.
pub(crate) fn one(
    broker: &Broker,
    origin: &dyn Origin,
    name: &str,
) -> Result<Arc<Group>, GroupRefusal> {
    audit::group_of(broker, origin, name).map_err(|error| GroupRefusal::NotHere {
        group: name.to_owned(),
        error,
    })
}

/// Whether a group may read a topic, after it was allowed or forbidden when that is `wanted`.
///
/// # Errors
/// There is no such group, or the change cannot be stored.
pub(crate) async fn readable(
    broker: &Broker,
    asker: &Asker,
    name: &str,
    topic: &str,
    wanted: Option<bool>,
) -> Result<bool, GroupRefusal> {
    let Some(group) = broker.groups.get(name) else {
        return Err(GroupRefusal::Unknown(name.to_owned()));
    };
    if let Some(readable) = wanted {
        broker.groups.set_readable(name, topic, readable).await?;
    }
    let before = group.may_read(topic);
    let group = broker.groups.get(name);
    let now = group.is_none_or(|group| group.may_read(topic));
    if before != now {
        let subject = format!("{name} on {topic}");
        let (before, after) = (Some(before.to_string()), Some(now.to_string()));
        asker.changed("right to read changed", &subject, before, after);
    }
    Ok(now)
}
