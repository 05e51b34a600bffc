//! Subscription groups: how their settings at this broker are changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rmq_protocol::bodies::{SubscriptionGroupConfig, SubscriptionGroupTable};
use rmq_protocol::message::LogPosition;
use rmq_protocol::names::{self, NameError};
use rmq_store::{AppendError, SettingsError};
use serde_json::Value;

use crate::attributes::{self, AttributeError};
use crate::data::Data;
use crate::light::LightQueues;
use crate::limits::Limits;
use crate::offsets::ConsumerOffsets;
use crate::tables::groups::{self, GroupTable};
pub(crate) use crate::tables::groups::{GivenCounters, Group};

/// Why a group cannot be had or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GroupError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("field {field} of group {group} is {value}; {expected}")]
    Field {
        group: String,
        field: &'static str,
        value: String,
        expected: String,
    },
    #[error("the broker has {0} groups, the limit (groupsMax); delete some")]
    TooMany(usize),
    #[error("Group {0} not exist!")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] SettingsError),
}

/// Groups that every broker has.
const BUILTIN: [&str; 5] = [
    names::TOOLS_GROUP,
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_PULL",
    "SELF_TEST_C_GROUP",
];

/// All groups of this broker.
pub(crate) struct Groups {
    store: Data,
    table: Arc<GroupTable>,
    /// Held while a change is decided and appended, so that each change builds on the one before it in the log.
    deciding: Mutex<()>,
    limits: Limits,
    /// Whether an unknown group that pulls is made; it can change.
    pub(crate) auto_create: AtomicBool,
    light: Arc<LightQueues>,
}

impl Groups {
    /// The table that the store is opened with.
    pub(crate) fn table_with_builtin(now_ms: i64) -> Arc<GroupTable> {
        Arc::new(GroupTable::new(&BUILTIN, now_ms))
    }

    /// The groups of a store that was opened with `table`.
    pub(crate) fn new(
        store: &Data,
        table: Arc<GroupTable>,
        auto_create: bool,
        limits: Limits,
        light: &Arc<LightQueues>,
    ) -> Self {
        for group in table.all() {
            if group.gives_up_at_once() {
                tracing::warn!(
                    group = group.name(),
                    "the group has no retry queues (retryQueueNums): what its members give back goes to its dead letters at once"
                );
            }
        }
        Self {
            store: store.clone(),
            table,
            deciding: Mutex::default(),
            limits,
            auto_create: AtomicBool::new(auto_create),
            light: Arc::clone(light),
        }
    }

    /// The group. One that is named as a light queue and has no settings has those of a new group.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.table.get(name).or_else(|| {
            let config = || SubscriptionGroupConfig::new(name);
            let is_light = self.light.is_group(name);
            is_light.then(|| self.table.group(config(), BTreeMap::new()))
        })
    }

    /// Whether a group is named as a light queue, and has no settings.
    pub(crate) fn is_light(&self, name: &str) -> bool {
        self.light.is_group(name) && self.table.get(name).is_none()
    }

    /// The group, made when it is missing and that is allowed.
    pub(crate) fn get_or_create(&self, name: &str, now_ms: i64) -> Result<Arc<Group>, GroupError> {
        if let Some(group) = self.get(name) {
            return Ok(group);
        }
        names::validate_group(name)?;
        if !self.auto_create.load(Ordering::Relaxed) && !names::is_system_group(name) {
            return Err(GroupError::Unknown(name.to_owned()));
        }
        let group = {
            let _deciding = self.deciding.lock();
            if let Some(group) = self.table.newest(name) {
                return Ok(group);
            }
            let config = SubscriptionGroupConfig::new(name);
            let group = self.table.group(config, BTreeMap::new());
            match self.append(&group, true) {
                Ok(_) => {}
                // A replica does not make groups; one that its master does not know counts here until the replica ends.
                Err(GroupError::Store(SettingsError::Append(AppendError::NotMaster))) => {
                    self.table.insert(&group);
                    self.table.changed(now_ms);
                    return Ok(group);
                }
                // A full or failed disk must not keep consumers from reading: the defaults are made again after a restart.
                Err(GroupError::Store(SettingsError::Append(error))) => {
                    tracing::warn!(group = name, "a new group is not stored: {error}");
                    self.table.insert(&group);
                    self.table.changed(now_ms);
                }
                Err(error) => return Err(error),
            }
            group
        };
        // Nobody waits for it; a pull brings no write that would take it along. What fails here fails the next send, which says so.
        let _ = self.store.write_out();
        Ok(group)
    }

    /// Whether a group may have these settings.
    pub(crate) fn check(&self, config: &SubscriptionGroupConfig) -> Result<(), GroupError> {
        check(config, self.limits.queues_per_topic)?;
        let known = self.get(&config.group_name);
        let current = known.as_ref().map(|group| &group.config.attributes);
        attributes::change_group(current, &config.attributes)?;
        Ok(())
    }

    /// Creates or changes a group; returns when that is as durable as a message, and counts.
    pub(crate) async fn put(&self, mut config: SubscriptionGroupConfig) -> Result<(), GroupError> {
        check(&config, self.limits.queues_per_topic)?;
        let end = {
            let _deciding = self.deciding.lock();
            let known = self.table.newest(&config.group_name);
            let current = known.as_ref().map(|group| &group.config.attributes);
            config.attributes = attributes::change_group(current, &config.attributes)?;
            let forbidden = known.map(|group| group.forbidden.clone());
            let group = self.table.group(config, forbidden.unwrap_or_default());
            self.append(&group, false)?
        };
        Ok(self.store.settings()?.wait(end).await?)
    }

    /// Allows or forbids a group to read a topic; returns when that is as durable as a message, and counts.
    pub(crate) async fn set_readable(
        &self,
        name: &str,
        topic: &str,
        readable: bool,
    ) -> Result<(), GroupError> {
        let end = {
            let _deciding = self.deciding.lock();
            let known = self.table.newest(name);
            let known = known.ok_or_else(|| GroupError::Unknown(name.to_owned()))?;
            let mut forbidden = known.forbidden.clone();
            if readable {
                forbidden.remove(topic);
            } else {
                forbidden.insert(topic.to_owned(), 1);
            }
            let group = self.table.group(known.config.clone(), forbidden);
            self.append(&group, false)?
        };
        Ok(self.store.settings()?.wait(end).await?)
    }

    /// Removes a group, and with it the `offsets` that it has, with one record where it fits one; returns when that is as durable as a
    /// message. Whether there was one.
    pub(crate) async fn delete(
        &self,
        name: &str,
        offsets: Option<&ConsumerOffsets>,
    ) -> Result<bool, GroupError> {
        let (was_there, end) = {
            let _deciding = self.deciding.lock();
            let was_there = self.table.newest(name).is_some();
            let changes = match was_there {
                true => vec![groups::remove(name)],
                false => Vec::new(),
            };
            let (first_end, end) = match offsets {
                Some(offsets) => {
                    let removed = offsets.remove_group_with(changes, name)?;
                    (removed.first_end, removed.end)
                }
                None if was_there => {
                    let end = self.store.settings()?.put(&changes)?;
                    (Some(end), Some(end))
                }
                None => (None, None),
            };
            if let Some(end) = first_end.filter(|_| was_there) {
                self.table.appended(name, None, end.0, false);
            }
            (was_there, end)
        };
        if let Some(end) = end {
            self.store.settings()?.wait(end).await?;
        }
        Ok(was_there)
    }

    /// Appends a group's settings.
    fn append(&self, group: &Arc<Group>, is_seen: bool) -> Result<LogPosition, GroupError> {
        let max = self.limits.groups;
        if self.len() >= max && self.table.newest(group.name()).is_none() {
            return Err(GroupError::TooMany(max));
        }
        let change = groups::set(group).map_err(|_| GroupError::TooMany(max))?;
        let end = self.store.settings()?.put(&[change])?;
        let (name, group) = (group.name(), Arc::clone(group));
        self.table.appended(name, Some(group), end.0, is_seen);
        Ok(end)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.table.all()
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn table(&self) -> SubscriptionGroupTable {
        let all = self.all();
        SubscriptionGroupTable {
            data_version: self.table.version(),
            forbidden_table: all
                .iter()
                .filter(|group| !group.forbidden.is_empty())
                .map(|group| (group.name().to_owned(), group.forbidden.clone()))
                .collect(),
            subscription_group_table: all
                .iter()
                .map(|group| (group.name().to_owned(), group.config.clone()))
                .collect(),
        }
    }
}

/// Whether each field of a group's settings is one that the broker can act on.
fn check(config: &SubscriptionGroupConfig, queues_max: i32) -> Result<(), GroupError> {
    names::validate_group(&config.group_name)?;
    let demand = |holds: bool, field, value: &dyn std::fmt::Display, expected: String| {
        if holds {
            return Ok(());
        }
        Err(GroupError::Field {
            group: config.group_name.clone(),
            field,
            value: value.to_string(),
            expected,
        })
    };
    for (field, id) in [
        ("brokerId", config.broker_id),
        (
            "whichBrokerWhenConsumeSlowly",
            config.which_broker_when_consume_slowly,
        ),
    ] {
        let expected = "broker ids begin at 0, the master's".to_owned();
        demand(id >= 0, field, &id, expected)?;
    }
    let minutes = config.consume_timeout_minute;
    let expected = "it must be at least 1 minute".to_owned();
    demand(minutes >= 1, "consumeTimeoutMinute", &minutes, expected)?;
    let queues = config.retry_queue_nums;
    let expected = format!(
        "1 to {queues_max} are allowed (queuesPerTopicMax). Without one, what members give back would be lost; retryMaxTimes 0 sends it to the dead letters at once"
    );
    let has_queues = (1..=queues_max).contains(&queues);
    demand(has_queues, "retryQueueNums", &queues, expected)?;
    if let Some((part, value)) = odd_part(&config.group_retry_policy.to_value()) {
        let expected = format!("{part} is none of such a policy");
        demand(false, "groupRetryPolicy", value, expected)?;
    }
    Ok(())
}

/// How long a message waits that its group had `tries` times before and gives back, milliseconds; `None`: the delay levels say it
/// (apache/rocketmq `CustomizedRetryPolicy`, `ExponentialRetryPolicy`, which only proxies and pops ask there).
pub(crate) fn retry_delay_ms(policy: &Value, tries: i32) -> Option<i64> {
    let tries = tries.max(0);
    if policy["type"] == "EXPONENTIAL" {
        let part = &policy["exponentialRetryPolicy"];
        let number = |name: &str, default: i64| part[name].as_i64().unwrap_or(default);
        let mut delay = number("initial", 5_000);
        for _ in 0..tries.min(32) {
            delay = delay.saturating_mul(number("multiplier", 2));
        }
        return Some(delay.min(number("max", 7_200_000)));
    }
    let next = policy["customizedRetryPolicy"]["next"].as_array()?;
    let at = (tries as usize).saturating_add(2);
    next.get(at.min(next.len().checked_sub(1)?))?.as_i64()
}

/// The first delay level that is not shorter, or the longest one.
pub(crate) fn level_of(delays_ms: &[i64], wanted_ms: i64) -> i32 {
    let level = delays_ms.iter().position(|delay| *delay >= wanted_ms);
    level.map_or(delays_ms.len(), |level| level + 1) as i32
}

/// What a retry policy says that no policy says, and where; apache/rocketmq `GroupRetryPolicy`.
fn odd_part(policy: &Value) -> Option<(&'static str, &Value)> {
    let positive = |value: &Value| value.as_i64().is_some_and(|number| number > 0);
    let of_object = |value: &'_ Value| value.is_null() || value.is_object();
    if !of_object(policy) {
        return Some(("it", policy));
    }
    let kind = &policy["type"];
    let known = |kind: &str| ["CUSTOMIZED", "EXPONENTIAL"].contains(&kind);
    if !kind.is_null() && !kind.as_str().is_some_and(known) {
        return Some(("type", kind));
    }
    for (name, numbers) in [
        (
            "exponentialRetryPolicy",
            &["initial", "max", "multiplier"][..],
        ),
        ("customizedRetryPolicy", &[]),
    ] {
        let part = &policy[name];
        if !of_object(part) {
            return Some((name, part));
        }
        let wrong =
            |number: &&&'static str| !part[**number].is_null() && !positive(&part[**number]);
        if let Some(number) = numbers.iter().find(wrong) {
            return Some((*number, &part[*number]));
        }
    }
    let next = &policy["customizedRetryPolicy"]["next"];
    let is_list = |list: &Vec<Value>| list.iter().all(positive);
    if !next.is_null() && !next.as_array().is_some_and(is_list) {
        return Some(("next", next));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_policies_say_how_long_a_message_waits() {
        let policy = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(retry_delay_ms(&policy(r#"{"type":"CUSTOMIZED"}"#), 0), None);
        assert_eq!(retry_delay_ms(&policy("{}"), 5), None);
        // The third of the list is the first: the original counts so.
        let customized =
            policy(r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1,2,3,4]}}"#);
        let waits: Vec<_> = (0..4)
            .map(|tries| retry_delay_ms(&customized, tries))
            .collect();
        assert_eq!(waits, [Some(3), Some(4), Some(4), Some(4)]);
        let empty = policy(r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[]}}"#);
        assert_eq!(retry_delay_ms(&empty, 0), None);
        let doubled = policy(r#"{"type":"EXPONENTIAL"}"#);
        let waits: Vec<_> = [0, 1, 2, 20, i32::MAX]
            .map(|tries| retry_delay_ms(&doubled, tries))
            .into();
        assert_eq!(
            waits,
            [
                Some(5_000),
                Some(10_000),
                Some(20_000),
                Some(7_200_000),
                Some(7_200_000)
            ]
        );
        let tripled = policy(
            r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":5000,"multiplier":3}}"#,
        );
        let waits: Vec<_> = (0..3)
            .map(|tries| retry_delay_ms(&tripled, tries))
            .collect();
        assert_eq!(waits, [Some(1_000), Some(3_000), Some(5_000)]);
        let levels = [1_000, 5_000, 10_000];
        let chosen: Vec<_> = [1, 1_000, 1_001, 9_000, 60_000]
            .map(|wanted| level_of(&levels, wanted))
            .into();
        assert_eq!(chosen, [1, 1, 2, 3, 3]);
    }

    #[test]
    fn retry_policies_are_understood() {
        for policy in [
            "null",
            "{}",
            r#"{"type":"CUSTOMIZED"}"#,
            r#"{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":5000,"max":7200000,"multiplier":2}}"#,
            r#"{"type":"CUSTOMIZED","customizedRetryPolicy":{"next":[1000,5000]},"later":1}"#,
        ] {
            let policy = serde_json::from_str(policy).expect("JSON");
            assert_eq!(odd_part(&policy), None);
        }
        for (policy, part) in [
            ("[]", "it"),
            ("5", "it"),
            (r#"{"type":"SOMETIMES"}"#, "type"),
            (r#"{"type":1}"#, "type"),
            (r#"{"exponentialRetryPolicy":[]}"#, "exponentialRetryPolicy"),
            (r#"{"exponentialRetryPolicy":{"max":-1}}"#, "max"),
            (
                r#"{"exponentialRetryPolicy":{"multiplier":1.5}}"#,
                "multiplier",
            ),
            (r#"{"customizedRetryPolicy":{"next":5}}"#, "next"),
            (r#"{"customizedRetryPolicy":{"next":[0]}}"#, "next"),
        ] {
            let policy = serde_json::from_str(policy).expect("JSON");
            assert_eq!(
                odd_part(&policy).map(|(part, _)| part),
                Some(part),
                "{policy}"
            );
        }
    }
}
