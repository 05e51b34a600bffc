//! Entries of a queue's index (codes 321, 354).

use serde::{Deserialize, Serialize};

use super::{SubscriptionData, bodies};

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueData {
    /// Of SQL filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_map: Option<String>,
    /// Whether its bit map passed the group's filter; `false` of an entry without one.
    pub eval: bool,
    /// Of SQL filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend_data_json: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// Position in the log.
    pub physic_offset: i64,
    /// Bytes of the record.
    pub physic_size: i32,
    /// Hash of the tag.
    pub tags_code: i64,
}

/// Entries of one queue (code 321).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeQueueBody {
    /// The group's filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Offset after the newest.
    pub max_queue_index: i64,
    /// Offset of the oldest.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<ConsumeQueueData>,
    /// The group's subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<SubscriptionData>,
}

/// Answer to code 354.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckRocksdbCqBody {
    /// What was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_result: Option<String>,
    /// 0 well, 1 not, 2 running or not applicable.
    pub check_status: i32,
}

bodies! { ConsumeQueueBody: plain; CheckRocksdbCqBody: plain; }
