//! State of replication as tools ask for it (codes 907 and 1007).

use serde::{Deserialize, Serialize};

use super::bodies;

/// Of a replica: its connection to the master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaClientInfo {
    /// Unix milliseconds.
    pub last_read_timestamp: i64,
    /// Unix milliseconds.
    pub last_write_timestamp: i64,
    /// The master's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master_addr: Option<String>,
    /// What the master has flushed.
    pub master_flush_offset: i64,
    /// End of the log.
    pub max_offset: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// Of a master: one replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaConnectionInfo {
    /// Its address.
    pub addr: String,
    /// Bytes that it is behind.
    pub diff: i64,
    /// Whether it counts as in sync.
    pub in_sync: bool,
    /// What it has.
    pub slave_ack_offset: i64,
    /// What is being sent.
    pub transfer_from_where: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HaRuntimeInfo {
    /// Of a replica.
    pub ha_client_runtime_info: HaClientInfo,
    /// Of a master, one for each replica.
    pub ha_connection_info: Vec<HaConnectionInfo>,
    /// Replicas in sync.
    pub in_sync_slave_nums: i32,
    /// Whether it is the master.
    pub master: bool,
    /// End of the master's log.
    pub master_commit_log_max_offset: i64,
}

/// Which master wrote which part of the log (code 1007; apache/rocketmq `EpochEntryCache`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochCache {
    /// The broker's id.
    pub broker_id: i64,
    /// The broker group.
    pub broker_name: String,
    /// Its cluster.
    pub cluster_name: String,
    /// The epochs, oldest first.
    pub epoch_list: Vec<EpochEntry>,
    /// End of the log.
    pub max_offset: i64,
}

/// The part of the log that one master wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EpochEntry {
    /// Its end; `i64::MAX` of the last one.
    pub end_offset: i64,
    /// Counts the masters.
    pub epoch: i32,
    /// Its beginning.
    pub start_offset: i64,
}

bodies! { HaRuntimeInfo: plain; EpochCache: plain; }
