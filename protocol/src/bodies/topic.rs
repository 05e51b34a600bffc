//! Topics: their settings, lists of them, and how a broker says which it has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lenient::{self, java_enum};
use super::{QueueMap, bodies};

/// Version of a broker's settings; equal only when all three are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Goes up with each change.
    #[serde(deserialize_with = "lenient::int")]
    pub counter: i64,
    /// Version of the replication state, 0 without one.
    pub state_version: i64,
    /// When it was changed last, Unix milliseconds.
    pub timestamp: i64,
}

java_enum! {
    /// Whether messages have one tag or several.
    pub enum TopicFilterType {
        /// One.
        #[default]
        SingleTag = "SINGLE_TAG",
        /// Several.
        MultiTag = "MULTI_TAG",
    } also {}
}

impl TopicFilterType {
    fn from_ordinal(number: usize) -> Option<Self> {
        [Self::SingleTag, Self::MultiTag].get(number).copied()
    }
}

/// Settings of a topic at one broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes such as `message.type`.
    #[serde(deserialize_with = "lenient::or_null")]
    pub attributes: BTreeMap<String, String>,
    /// Whether it is an order topic.
    pub order: bool,
    /// Permission bits, see [`crate::route::perm`].
    pub perm: i32,
    /// Queues that may be read.
    pub read_queue_nums: i32,
    /// One tag or several.
    #[serde(deserialize_with = "lenient::known")]
    pub topic_filter_type: TopicFilterType,
    /// The name.
    #[serde(deserialize_with = "lenient::or_null")]
    pub topic_name: String,
    /// System flag.
    pub topic_sys_flag: i32,
    /// Queues that may be written.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    /// Sixteen queues, readable and writable, as in the original.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: crate::route::perm::READ | crate::route::perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: TopicFilterType::default(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

impl TopicConfig {
    /// A readable and writable topic.
    #[must_use]
    pub fn new(topic_name: impl Into<String>, queues: i32) -> Self {
        Self {
            topic_name: topic_name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            ..Self::default()
        }
    }
}

/// Topics to create (code 18).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// The topics.
    #[serde(deserialize_with = "lenient::objects")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// All topics of a broker (codes 21 and 103). Static topics' mappings are passed through unread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    /// Version of the settings.
    #[serde(deserialize_with = "lenient::object")]
    pub data_version: DataVersion,
    /// Version of the mappings.
    #[serde(
        deserialize_with = "lenient::optional_object",
        skip_serializing_if = "Option::is_none"
    )]
    pub mapping_data_version: Option<DataVersion>,
    /// The topics by name.
    #[serde(deserialize_with = "lenient::objects_by_name")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
    /// Mappings of static topics, in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_detail_map: Option<serde_json::Value>,
    /// Mappings of static topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_info_map: Option<serde_json::Value>,
}

/// Names of topics.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// The broker that answers, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// The names.
    #[serde(deserialize_with = "lenient::or_null")]
    pub topic_list: Vec<String>,
}

/// Names of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// The names.
    #[serde(deserialize_with = "lenient::or_null")]
    pub group_list: Vec<String>,
}

/// Bounds of one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// When its newest message was stored, Unix milliseconds; 0 when empty.
    pub last_update_timestamp: i64,
    /// Offset after the newest message.
    pub max_offset: i64,
    /// Offset of the oldest message.
    pub min_offset: i64,
}

/// Bounds of a topic's queues (code 202).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    pub offset_table: QueueMap<TopicOffset>,
    /// Messages stored a second.
    pub topic_put_tps: f64,
    /// Messages in queues that the topic no longer lets anybody read. An addition to the original's fields, which its tools ignore.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable_messages: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

bodies! {
    DataVersion: plain; TopicConfig: plain; TopicConfigList: plain; TopicConfigTable: plain; TopicList: plain; GroupList: plain;
    TopicStatsTable: maps;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_stats_are_written_byte_for_byte() {
        let text = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":1,"topic":"t"}:{"lastUpdateTimestamp":1795355430112,"maxOffset":7,"minOffset":0},{"brokerName":"broker-a","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#;
        let stats = TopicStatsTable::from_json(text.as_bytes()).unwrap();
        assert_eq!(stats.offset_table.0[0].0.queue_id, 1);
        assert_eq!(String::from_utf8(stats.to_json()).unwrap(), text);
    }

    #[test]
    fn names_that_look_like_keys_survive() {
        let mut stats = TopicStatsTable::default();
        stats.offset_table.push(
            super::super::MessageQueue::new("a\"b\\", "{\"brokerName\":", 3),
            TopicOffset::default(),
        );
        assert_eq!(TopicStatsTable::from_json(&stats.to_json()).unwrap(), stats);
    }
}
