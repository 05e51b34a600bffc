//! A consumer group: the object's settings as the broker's, as fields, and back.

use rmq_client::GroupSpec;
use rmq_client::protocol::bodies::SubscriptionGroupConfig;
use rmq_crds::{SubscriptionGroup, SubscriptionGroupRetry, SubscriptionGroupSpec};

use crate::compare::Change;
use crate::fields::{Field, Fields, Value};

/// The settings that a broker gets. Settings that manifests do not have stay as `live` has them.
pub(crate) fn config(
    group: &SubscriptionGroup,
    live: Option<SubscriptionGroupConfig>,
) -> SubscriptionGroupConfig {
    let spec = &group.spec;
    SubscriptionGroupConfig {
        group_name: group.group_name().to_owned(),
        consume_enable: spec.consume,
        consume_broadcast_enable: spec.broadcast,
        consume_from_min_enable: spec.consume_from_min,
        consume_message_orderly: spec.ordered,
        consume_timeout_minute: spec.consume_timeout_minutes,
        retry_max_times: spec.retry.max_attempts,
        retry_queue_nums: spec.retry.queues,
        attributes: spec.attributes.clone(),
        ..live.unwrap_or_else(|| SubscriptionGroupConfig::new(group.group_name()))
    }
}

/// The settings as fields.
pub(crate) fn fields(config: &SubscriptionGroupConfig) -> Fields {
    let mut fields = Fields::from([
        (Field::Consume, Value::Flag(config.consume_enable)),
        (
            Field::Broadcast,
            Value::Flag(config.consume_broadcast_enable),
        ),
        (
            Field::ConsumeFromMin,
            Value::Flag(config.consume_from_min_enable),
        ),
        (Field::Ordered, Value::Flag(config.consume_message_orderly)),
        (
            Field::ConsumeTimeoutMinutes,
            Value::Number(config.consume_timeout_minute),
        ),
        (
            Field::RetryMaxAttempts,
            Value::Number(config.retry_max_times),
        ),
        (Field::RetryQueues, Value::Number(config.retry_queue_nums)),
    ]);
    let attributes = config.attributes.iter();
    fields.extend(attributes.map(|(name, value)| {
        let value = Value::Text(value.clone());
        (Field::Attribute(name.clone()), value)
    }));
    fields
}

/// The requests that carry a change out: one for each broker, because what stays differs between brokers.
pub(crate) fn specs(
    group: &SubscriptionGroup,
    change: &Change,
    live: impl Fn(&str) -> Option<SubscriptionGroupConfig>,
) -> Vec<GroupSpec> {
    let brokers = change.brokers.iter().map(|broker| {
        let live = live(broker);
        let has = live.iter().flat_map(|live| live.attributes.keys());
        let gone: Vec<String> = has
            .filter(|name| !group.spec.attributes.contains_key(*name))
            .cloned()
            .collect();
        let spec = GroupSpec::from(config(group, live)).brokers([broker]);
        gone.into_iter().fold(spec, GroupSpec::without_attribute)
    });
    brokers.collect()
}

/// The manifest of a group with the settings of a broker.
#[must_use]
pub fn group_manifest(config: &SubscriptionGroupConfig) -> SubscriptionGroupSpec {
    SubscriptionGroupSpec {
        group_name: Some(config.group_name.clone()),
        consume: config.consume_enable,
        broadcast: config.consume_broadcast_enable,
        consume_from_min: config.consume_from_min_enable,
        ordered: config.consume_message_orderly,
        consume_timeout_minutes: config.consume_timeout_minute,
        retry: SubscriptionGroupRetry {
            max_attempts: config.retry_max_times,
            queues: config.retry_queue_nums,
        },
        attributes: config.attributes.clone(),
        ..SubscriptionGroupSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_what_is_changes_nothing() {
        let mut live = SubscriptionGroupConfig::new("g");
        live.retry_max_times = 3;
        let group = SubscriptionGroup::new("g", group_manifest(&live));
        assert_eq!(config(&group, None), live);
    }
}
