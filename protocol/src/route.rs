//! Where a topic lives (codes 105 and 217) and which brokers there are (106).
//!
//! Routes are written compact and with quoted broker ids: the Go client cuts `brokerAddrs` apart itself at commas and colons.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bodies::{BodyError, lenient, object_from_slice};

/// Permission bits of a topic or broker.
pub mod perm {
    /// Unknown topics inherit from this one.
    pub const INHERIT: i32 = 1;
    /// May be written.
    pub const WRITE: i32 = 2;
    /// May be read.
    pub const READ: i32 = 4;
    /// Priority.
    pub const PRIORITY: i32 = 8;

    /// The bits that allow this.
    #[must_use]
    pub const fn of(read: bool, write: bool) -> i32 {
        (if read { READ } else { 0 }) | (if write { WRITE } else { 0 })
    }

    /// Whether reading is allowed.
    #[must_use]
    pub const fn is_readable(perm: i32) -> bool {
        perm & READ != 0
    }

    /// Whether writing is allowed.
    #[must_use]
    pub const fn is_writable(perm: i32) -> bool {
        perm & WRITE != 0
    }

    /// Whether unknown topics may inherit.
    #[must_use]
    pub const fn is_inherited(perm: i32) -> bool {
        perm & INHERIT != 0
    }
}

/// Broker id of a master.
pub const MASTER_ID: i64 = 0;

/// A topic's brokers and queues.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// Addresses of the brokers.
    #[serde(deserialize_with = "lenient::objects")]
    pub broker_datas: Vec<BrokerData>,
    /// Obsolete filter servers, by broker address.
    pub filter_server_table: BTreeMap<String, Vec<String>>,
    /// Fixed queues of an order topic, `broker:queues;...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_topic_conf: Option<String>,
    /// Queues at each broker.
    #[serde(deserialize_with = "lenient::objects")]
    pub queue_datas: Vec<QueueData>,
    /// Of static topics, passed through unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_queue_mapping_by_broker: Option<serde_json::Value>,
}

/// Addresses of one broker group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerData {
    /// Broker id to `host:port`; 0 is the master.
    pub broker_addrs: BTreeMap<i64, String>,
    /// Name of the group.
    pub broker_name: String,
    /// Its cluster.
    pub cluster: String,
    /// Whether a replica may act as master.
    pub enable_acting_master: bool,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_name: Option<String>,
}

impl BrokerData {
    /// The master's address.
    #[must_use]
    pub fn master(&self) -> Option<&str> {
        self.broker_addrs.get(&MASTER_ID).map(String::as_str)
    }
}

/// Queues of a topic at one broker group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueData {
    /// The broker group.
    pub broker_name: String,
    /// Permission bits, see [`perm`].
    pub perm: i32,
    /// Queues that may be read.
    pub read_queue_nums: i32,
    /// System flag of the topic.
    pub topic_sys_flag: i32,
    /// Queues that may be written.
    pub write_queue_nums: i32,
}

/// All clusters and brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterInfo {
    /// Broker group to its addresses.
    pub broker_addr_table: BTreeMap<String, BrokerData>,
    /// Cluster to its broker groups.
    pub cluster_addr_table: BTreeMap<String, Vec<String>>,
}

macro_rules! json {
    ($($name:ident)*) => {$(
        impl $name {
            /// Compact JSON with quoted integer keys.
            #[must_use]
            pub fn to_json(&self) -> Vec<u8> {
                serde_json::to_vec(self).expect("plain data always serialises")
            }

            /// Reads JSON, also with unquoted integer keys.
            ///
            /// # Errors
            /// When it is not JSON of this shape.
            pub fn from_json(bytes: &[u8]) -> Result<Self, BodyError> {
                object_from_slice(stringify!($name), bytes)
            }
        }
    )*};
}
json! { TopicRoute BrokerData ClusterInfo }

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = r#"{"brokerDatas":[{"brokerAddrs":{"0":"127.0.0.1:20811"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}]}"#;

    #[test]
    fn a_recorded_route_is_written_byte_for_byte() {
        let route = TopicRoute::from_json(ROUTE.as_bytes()).unwrap();
        assert_eq!(route.broker_datas[0].master(), Some("127.0.0.1:20811"));
        assert_eq!(String::from_utf8(route.to_json()).unwrap(), ROUTE);
    }

    #[test]
    fn unquoted_broker_ids_are_read() {
        let lenient = ROUTE.replace("\"0\":", "0:");
        assert_eq!(
            TopicRoute::from_json(lenient.as_bytes()).unwrap(),
            TopicRoute::from_json(ROUTE.as_bytes()).unwrap()
        );
    }
}
