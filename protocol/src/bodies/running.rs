//! What a running consumer does (codes 307, 309).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{QueueMap, SubscriptionData, bodies};

/// One queue of a pushing consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessQueueInfo {
    /// Messages held.
    pub cached_msg_count: i32,
    /// Highest offset held.
    pub cached_msg_max_offset: i64,
    /// Lowest offset held.
    pub cached_msg_min_offset: i64,
    /// Bytes held, MiB.
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_in_mib: i32,
    /// The committed offset.
    pub commit_offset: i64,
    /// Whether it was given up (spelling of the wire).
    pub droped: bool,
    /// Unix milliseconds.
    pub last_consume_timestamp: i64,
    /// Unix milliseconds.
    pub last_lock_timestamp: i64,
    /// Unix milliseconds.
    pub last_pull_timestamp: i64,
    /// Whether it is locked for orderly consumption.
    pub locked: bool,
    /// Messages being consumed in order.
    pub transaction_msg_count: i32,
    /// Highest of their offsets.
    pub transaction_msg_max_offset: i64,
    /// Lowest of their offsets.
    pub transaction_msg_min_offset: i64,
    /// How often unlocking was tried.
    pub try_unlock_times: i64,
}

/// One queue of a popping consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PopProcessQueueInfo {
    /// Whether it was given up.
    pub droped: bool,
    /// Unix milliseconds.
    pub last_pop_timestamp: i64,
    /// Messages waiting for an ack.
    pub wait_ack_count: i32,
}

/// Rates of one topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumeStatus {
    /// Failures.
    #[serde(rename = "consumeFailedMsgs")]
    pub consume_failed_msgs: i64,
    /// Failures a second.
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    /// Successes a second.
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    /// Milliseconds a message.
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    /// Milliseconds a pull.
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    /// Messages pulled a second.
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerRunningInfo {
    /// Stacks of its threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jstack: Option<String>,
    /// Queues it pops.
    pub mq_pop_table: QueueMap<PopProcessQueueInfo>,
    /// Queues it pulls.
    pub mq_table: QueueMap<ProcessQueueInfo>,
    /// Its settings, names beginning with `PROP_`.
    pub properties: BTreeMap<String, String>,
    /// Rates by topic.
    pub status_table: BTreeMap<String, ConsumeStatus>,
    /// Its subscriptions.
    pub subscription_set: Vec<SubscriptionData>,
    /// Of the user's own.
    pub user_consumer_info: BTreeMap<String, String>,
}

/// How a directly consumed message ended (code 309).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeMessageDirectlyResult {
    /// Whether the consumer commits by itself.
    pub auto_commit: bool,
    /// `CR_SUCCESS`, `CR_LATER`, `CR_ROLLBACK`, `CR_COMMIT`, `CR_THROW_EXCEPTION` or `CR_RETURN_NULL`.
    #[serde(deserialize_with = "consume_result")]
    pub consume_result: String,
    /// Whether it consumes in order.
    pub order: bool,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remark: Option<String>,
    /// Time taken, milliseconds.
    pub spent_time_mills: i64,
}

/// The result by name (Java) or by number (Go).
fn consume_result<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    const NAMES: [&str; 6] = [
        "CR_SUCCESS",
        "CR_LATER",
        "CR_ROLLBACK",
        "CR_COMMIT",
        "CR_THROW_EXCEPTION",
        "CR_RETURN_NULL",
    ];
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(name) => name,
        serde_json::Value::Number(number) => {
            let index = number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok());
            index
                .and_then(|index| NAMES.get(index))
                .copied()
                .unwrap_or_default()
                .to_owned()
        }
        _ => String::new(),
    })
}

bodies! { ConsumerRunningInfo: maps; ConsumeMessageDirectlyResult: plain; }
