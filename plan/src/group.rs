//! A consumer group: the object's settings as the broker's, as fields, and back.

use rmq_client::GroupSpec;
use rmq_client::protocol::bodies::SubscriptionGroupConfig;
use rmq_crds::{Quota, SubscriptionGroup, SubscriptionGroupRetry, SubscriptionGroupSpec};

use crate::compare::Change;
use crate::fields::{Field, Fields, Value, of_attribute};

/// The settings that a broker gets. Settings that manifests do not have stay as `live` has them.
pub(crate) fn config(
    group: &SubscriptionGroup,
    live: Option<SubscriptionGroupConfig>,
) -> SubscriptionGroupConfig {
    let spec = &group.spec;
    let mut attributes = spec.attributes.clone();
    attributes.extend(spec.quota.iter().flat_map(Quota::attributes));
    SubscriptionGroupConfig {
        group_name: group.group_name().to_owned(),
        consume_enable: spec.consume,
        consume_broadcast_enable: spec.broadcast,
        consume_from_min_enable: spec.consume_from_min,
        consume_message_orderly: spec.ordered,
        consume_timeout_minute: spec.consume_timeout_minutes,
        retry_max_times: spec.retry.max_attempts,
        retry_queue_nums: spec.retry.queues,
        attributes,
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
    fields.extend(attributes.map(|(name, value)| of_attribute(name, value)));
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
        let has: Vec<String> = live
            .iter()
            .flat_map(|live| live.attributes.keys().cloned())
            .collect();
        let config = config(group, live);
        let gone: Vec<String> = has
            .into_iter()
            .filter(|name| !config.attributes.contains_key(name))
            .collect();
        let spec = GroupSpec::from(config).brokers([broker]);
        gone.into_iter().fold(spec, GroupSpec::without_attribute)
    });
    brokers.collect()
}

/// The manifest of a group with the settings of a broker.
#[must_use]
pub fn group_manifest(config: &SubscriptionGroupConfig) -> SubscriptionGroupSpec {
    let mut attributes = config.attributes.clone();
    SubscriptionGroupSpec {
        quota: Quota::take_from(&mut attributes),
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
        attributes,
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
        live.attributes
            .insert("quota.client.messages".to_owned(), "9".to_owned());
        live.attributes
            .insert("priority.factor".to_owned(), "7".to_owned());
        let group = SubscriptionGroup::new("g", group_manifest(&live));
        let quota = group.spec.quota.as_ref().expect("a quota");
        assert_eq!(quota.client_messages_per_second, Some(9));
        assert_eq!(config(&group, None), live);
    }

    #[test]
    fn a_quota_that_the_object_does_not_have_is_taken_away() {
        let mut live = SubscriptionGroupConfig::new("g");
        let group = SubscriptionGroup::new("g", group_manifest(&live));
        live.attributes
            .insert("quota.messages".to_owned(), "9".to_owned());
        let brokers = ["a".to_owned()];
        let at = [("a".to_owned(), fields(&live))];
        let wanted = fields(&config(&group, None));
        let change = crate::compare::compare("group", "g", &wanted, &brokers, &at);
        let specs = specs(&group, &change, |_| Some(live.clone()));
        assert!(format!("{specs:?}").contains("quota.messages"), "{specs:?}");
    }
}
