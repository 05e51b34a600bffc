//! Subscription groups: their settings at this broker.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::bodies::{DataVersion, SubscriptionGroupConfig, SubscriptionGroupTable};
use rmq_protocol::names::{self, NameError};
use rmq_store::{Change, SettingsError, Store, Table};
use serde_json::Value;

use crate::attributes::{self, AttributeError};
use crate::limits::Limits;
use crate::stats::{self, ByQueue, Counted, Flow};

/// A group and what it has been given since the broker started.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) config: SubscriptionGroupConfig,
    /// Topics that it may not read.
    pub(crate) forbidden: BTreeMap<String, i32>,
    pub(crate) counters: Arc<GroupCounters>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupCounters {
    given: RwLock<HashMap<Box<str>, Arc<GivenCounters>, foldhash::fast::RandomState>>,
    pub(crate) dead_letters: AtomicU64,
}

/// What a group has been given of one topic, and has given back.
#[derive(Debug, Default)]
pub(crate) struct GivenCounters {
    pub(crate) got: Flow,
    /// Milliseconds and number of the pulls of each queue that found messages.
    pub(crate) get_took: ByQueue<2>,
    pub(crate) sent_back: Counted,
    pub(crate) given_up: Counted,
}

impl GroupCounters {
    /// Those of a topic, without allocating once they are there.
    pub(crate) fn given(&self, topic: &str) -> Arc<GivenCounters> {
        if let Some(given) = self.given.read().get(topic) {
            return Arc::clone(given);
        }
        Arc::clone(self.given.write().entry(topic.into()).or_default())
    }

    /// Messages and bytes by topic, sorted.
    pub(crate) fn by_topic(&self) -> BTreeMap<String, (u64, u64)> {
        let given = self.given.read();
        given
            .iter()
            .map(|(topic, given)| {
                let got = (
                    given.got.total(stats::MESSAGES),
                    given.got.total(stats::BYTES),
                );
                (topic.to_string(), got)
            })
            .collect()
    }

    /// Those of a topic, when there are any.
    pub(crate) fn of(&self, topic: &str) -> Option<Arc<GivenCounters>> {
        self.given.read().get(topic).cloned()
    }

    /// Forgets a topic that is gone.
    pub(crate) fn forget(&self, topic: &str) {
        self.given.write().remove(topic);
    }
}

impl Group {
    pub(crate) fn name(&self) -> &str {
        &self.config.group_name
    }

    /// Whether a message that a member gives back goes to the dead letters at once, as the group has no retry queues. Such a group is not
    /// made any more; the original loses the message.
    pub(crate) fn gives_up_at_once(&self) -> bool {
        self.config.retry_queue_nums <= 0
    }

    /// Whether the group may read the topic (code 353 forbids it).
    pub(crate) fn may_read(&self, topic: &str) -> bool {
        self.forbidden.get(topic).is_none_or(|bits| *bits & 1 == 0)
    }
}

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

/// All groups of this broker.
pub(crate) struct Groups {
    store: Store,
    table: RwLock<HashMap<Arc<str>, Arc<Group>, foldhash::fast::RandomState>>,
    limits: Limits,
    version: Mutex<DataVersion>,
    /// Whether an unknown group that pulls is made; it can change.
    pub(crate) auto_create: AtomicBool,
}

/// What the store keeps of a group.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    config: SubscriptionGroupConfig,
    #[serde(default)]
    forbidden: BTreeMap<String, i32>,
}

impl Groups {
    pub(crate) fn load(store: &Store, auto_create: bool, limits: Limits, now_ms: i64) -> Self {
        let groups = Self {
            store: store.clone(),
            table: RwLock::default(),
            limits,
            version: Mutex::new(DataVersion {
                counter: 0,
                state_version: 0,
                timestamp: now_ms,
            }),
            auto_create: AtomicBool::new(auto_create),
        };
        for name in [
            names::TOOLS_GROUP,
            "CID_ONSAPI_OWNER",
            "CID_ONSAPI_PERMISSION",
            "CID_ONSAPI_PULL",
            "SELF_TEST_C_GROUP",
        ] {
            groups.insert(SubscriptionGroupConfig::new(name), BTreeMap::new());
        }
        for (name, value) in store.settings().scan(Table::Groups) {
            match serde_json::from_slice::<Stored>(&value) {
                Ok(stored) => {
                    let group = groups.insert(stored.config, stored.forbidden);
                    if group.gives_up_at_once() {
                        tracing::warn!(
                            group = name,
                            "the group has no retry queues (retryQueueNums): what its members give back goes to its dead letters at once"
                        );
                    }
                }
                Err(error) => tracing::error!(
                    group = name,
                    "stored settings of the group cannot be read and are ignored: {error}"
                ),
            }
        }
        groups
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Group>> {
        self.table.read().get(name).cloned()
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
        let config = SubscriptionGroupConfig::new(name);
        let change = self.prepare(&config, &BTreeMap::new())?;
        match self.store.settings().put(&[change]) {
            // Nobody waits for it; a pull brings no write that would take it along. What fails here fails the next send,
            // which says so.
            Ok(_) => drop(self.store.write_out()),
            // A full or failed disk must not keep consumers from reading: the defaults are made again after a restart.
            Err(SettingsError::Append(error)) => {
                tracing::warn!(group = name, "a new group is not stored: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        let group = self.insert(config, BTreeMap::new());
        self.changed(now_ms);
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

    /// Creates or changes a group; returns when that is as durable as a message.
    pub(crate) async fn put(
        &self,
        mut config: SubscriptionGroupConfig,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        check(&config, self.limits.queues_per_topic)?;
        let known = self.get(&config.group_name);
        let current = known.as_ref().map(|group| &group.config.attributes);
        config.attributes = attributes::change_group(current, &config.attributes)?;
        let forbidden = known
            .map(|group| group.forbidden.clone())
            .unwrap_or_default();
        self.store
            .settings()
            .put_and_wait(&[self.prepare(&config, &forbidden)?])
            .await?;
        self.insert(config, forbidden);
        self.changed(now_ms);
        Ok(())
    }

    /// Allows or forbids a group to read a topic.
    pub(crate) async fn set_readable(
        &self,
        group: &Group,
        topic: &str,
        readable: bool,
        now_ms: i64,
    ) -> Result<(), GroupError> {
        let mut forbidden = group.forbidden.clone();
        if readable {
            forbidden.remove(topic);
        } else {
            forbidden.insert(topic.to_owned(), 1);
        }
        self.store
            .settings()
            .put_and_wait(&[self.prepare(&group.config, &forbidden)?])
            .await?;
        self.insert(group.config.clone(), forbidden);
        self.changed(now_ms);
        Ok(())
    }

    pub(crate) async fn delete(&self, name: &str, now_ms: i64) -> Result<bool, GroupError> {
        if self.get(name).is_none() {
            return Ok(false);
        }
        self.store
            .settings()
            .put_and_wait(&[Change::remove(Table::Groups, name)])
            .await?;
        self.table.write().remove(name);
        self.changed(now_ms);
        Ok(true)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        let mut all: Vec<_> = self.table.read().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.table.read().len()
    }

    pub(crate) fn table(&self) -> SubscriptionGroupTable {
        let all = self.all();
        SubscriptionGroupTable {
            data_version: *self.version.lock(),
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

    fn prepare(
        &self,
        config: &SubscriptionGroupConfig,
        forbidden: &BTreeMap<String, i32>,
    ) -> Result<Change, GroupError> {
        let max = self.limits.groups;
        if self.len() >= max && self.get(&config.group_name).is_none() {
            return Err(GroupError::TooMany(max));
        }
        let stored = Stored {
            config: config.clone(),
            forbidden: forbidden.clone(),
        };
        let json = serde_json::to_vec(&stored).map_err(|_| GroupError::TooMany(max))?;
        Ok(Change::set(Table::Groups, config.group_name.clone(), json))
    }

    fn insert(
        &self,
        config: SubscriptionGroupConfig,
        forbidden: BTreeMap<String, i32>,
    ) -> Arc<Group> {
        let mut table = self.table.write();
        let counters = table
            .get(config.group_name.as_str())
            .map(|old| Arc::clone(&old.counters))
            .unwrap_or_default();
        let name: Arc<str> = Arc::from(config.group_name.as_str());
        let group = Arc::new(Group {
            config,
            forbidden,
            counters,
        });
        table.insert(name, Arc::clone(&group));
        group
    }

    fn changed(&self, now_ms: i64) {
        let mut version = self.version.lock();
        version.counter += 1;
        version.timestamp = now_ms;
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
    if let Some((part, value)) = odd_part(&config.group_retry_policy) {
        let expected = format!("{part} is none of such a policy");
        demand(false, "groupRetryPolicy", value, expected)?;
    }
    Ok(())
}

/// What a retry policy says that no policy says, and where; apache/rocketmq `GroupRetryPolicy`. Proxies act on it, brokers do not.
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
