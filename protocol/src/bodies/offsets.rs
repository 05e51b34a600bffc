//! How far groups have consumed (codes 43, 208, 220 to 223, 303, 308, 317).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DataVersion, MessageQueue, QueueMap, bodies};

/// One group's state in one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetWrapper {
    /// Offset after the newest message.
    pub broker_offset: i64,
    /// The next offset to consume.
    pub consumer_offset: i64,
    /// Store time of the last consumed message, Unix milliseconds; 0 when none.
    pub last_timestamp: i64,
    /// The next offset to pull.
    pub pull_offset: i64,
}

/// One group's state (code 208).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages consumed a second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: QueueMap<OffsetWrapper>,
}

/// All groups' state (code 317).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStatsList {
    /// The broker that answers.
    pub broker_addr: String,
    /// One map for each group.
    pub consume_stats_list: Vec<BTreeMap<String, Vec<ConsumeStats>>>,
    /// Messages not yet consumed.
    pub total_diff: i64,
    /// Messages pulled but not yet consumed.
    pub total_inflight_diff: i64,
}

/// Offsets to continue from (codes 220, 222).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// By queue.
    pub offset_table: QueueMap<i64>,
}

/// The same for C++ clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBodyForC {
    /// One entry for each queue.
    pub offset_table: Vec<QueueOffsetForC>,
}

/// An offset of one queue, flat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueOffsetForC {
    /// The broker group.
    pub broker_name: String,
    /// The offset.
    pub offset: i64,
    /// The queue.
    pub queue_id: i32,
    /// The topic.
    pub topic: String,
}

/// What clients hold (codes 221, 223).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    /// By client, then by queue.
    pub consumer_table: BTreeMap<String, QueueMap<i64>>,
    /// By queue, of the client that answers.
    pub message_queue_table: QueueMap<i64>,
}

/// Times of one queue (code 303), Unix milliseconds and as `yyyy-MM-dd#HH:mm:ss:SSS`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueTimeSpan {
    /// Store time of the last consumed message.
    pub consume_time_stamp: i64,
    /// The same as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume_time_stamp_str: Option<String>,
    /// How old the oldest message is that is not consumed yet, milliseconds.
    pub delay_time: i64,
    /// Store time of the newest message.
    pub max_time_stamp: i64,
    /// The same as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time_stamp_str: Option<String>,
    /// The queue.
    pub message_queue: MessageQueue,
    /// Store time of the oldest message.
    pub min_time_stamp: i64,
    /// The same as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_time_stamp_str: Option<String>,
}

/// Times of all queues (code 303).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeTimeSpans {
    /// One for each queue.
    pub consume_time_span_set: Vec<QueueTimeSpan>,
}

/// All committed offsets of a broker (code 43): `topic@group` to queue to offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsetTable {
    /// Version of the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_version: Option<DataVersion>,
    /// The offsets.
    pub offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
}

/// Offsets of one group's queues (code 308).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorrectionOffsets {
    /// By queue.
    pub correction_offsets: BTreeMap<i32, i64>,
}

bodies! {
    ConsumeStats: maps; ConsumeStatsList: maps; ResetOffsetBody: maps; ResetOffsetBodyForC: plain; ConsumerStatusBody: maps;
    ConsumeTimeSpans: plain; ConsumerOffsetTable: plain; CorrectionOffsets: plain;
}
