//! Subscription groups: their settings, lists of them, what they are forbidden.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{DataVersion, SubscriptionData, bodies, lenient};

/// Settings of a group at one broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Attributes; none are defined so far.
    #[serde(deserialize_with = "lenient::or_null")]
    pub attributes: BTreeMap<String, String>,
    /// Broker id that it reads from, normally the master's 0.
    pub broker_id: i64,
    /// Whether broadcasting is allowed.
    pub consume_broadcast_enable: bool,
    /// Whether consuming is allowed.
    pub consume_enable: bool,
    /// Legacy.
    pub consume_from_min_enable: bool,
    /// Whether it consumes in order.
    pub consume_message_orderly: bool,
    /// Longest time for one message, minutes.
    pub consume_timeout_minute: i32,
    /// The name.
    #[serde(deserialize_with = "lenient::or_null")]
    pub group_name: String,
    /// Delays between attempts, passed through: `{"type":"CUSTOMIZED"}` or `{"type":"EXPONENTIAL",...}`.
    pub group_retry_policy: RetryPolicy,
    /// System flag.
    pub group_sys_flag: i32,
    /// Whether members are told at once that others came or went.
    pub notify_consumer_ids_changed_enable: bool,
    /// Attempts before a message goes to the dead letters.
    pub retry_max_times: i32,
    /// Queues of the retry topic; 0 forbids giving messages back.
    pub retry_queue_nums: i32,
    /// Simple declaration of subscriptions.
    #[serde(
        deserialize_with = "lenient::optional_objects",
        skip_serializing_if = "Option::is_none"
    )]
    pub subscription_data_set: Option<Vec<SimpleSubscriptionData>>,
    /// Broker id to read from when far behind.
    pub which_broker_when_consume_slowly: i64,
}

/// Delays between attempts, as JSON that is passed through. Nearly every group has the default, `{"type":"CUSTOMIZED"}`, which takes no memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryPolicy(Option<Box<Value>>);

impl RetryPolicy {
    /// The policy as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.0 {
            Some(policy) => (**policy).clone(),
            None => serde_json::json!({"type": "CUSTOMIZED"}),
        }
    }
}

impl From<Value> for RetryPolicy {
    fn from(policy: Value) -> Self {
        let is_default = policy == Self::default().to_value();
        Self((!is_default).then(|| Box::new(policy)))
    }
}

impl Serialize for RetryPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RetryPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// A declared subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SimpleSubscriptionData {
    /// The filter.
    pub expression: String,
    /// Its type.
    pub expression_type: String,
    /// The topic.
    pub topic: String,
    /// Its version.
    #[serde(deserialize_with = "lenient::int")]
    pub version: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: String::new(),
            group_retry_policy: RetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl SubscriptionGroupConfig {
    /// A group with the original's defaults.
    #[must_use]
    pub fn new(group_name: impl Into<String>) -> Self {
        Self {
            group_name: group_name.into(),
            ..Self::default()
        }
    }
}

/// Groups to create (code 225).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupList {
    /// The groups.
    #[serde(deserialize_with = "lenient::objects")]
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// All groups of a broker (code 201).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupTable {
    /// Version of the settings.
    pub data_version: DataVersion,
    /// Group to topic to forbidden bits.
    #[serde(deserialize_with = "lenient::or_null")]
    pub forbidden_table: BTreeMap<String, BTreeMap<String, i32>>,
    /// The groups by name.
    #[serde(deserialize_with = "lenient::or_null")]
    pub subscription_group_table: BTreeMap<String, SubscriptionGroupConfig>,
}

/// Whether a group may read a topic (code 353).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupForbidden {
    /// The group.
    pub group: String,
    /// Whether it may.
    pub readable: Option<bool>,
    /// The topic.
    pub topic: String,
}

/// A group's subscription to one topic (code 345).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QuerySubscriptionBody {
    /// The group.
    pub group: String,
    /// The subscription, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
    /// The topic.
    pub topic: String,
}

bodies! {
    SubscriptionGroupConfig: plain; SubscriptionGroupList: plain; SubscriptionGroupTable: plain; GroupForbidden: plain;
    QuerySubscriptionBody: plain;
}
