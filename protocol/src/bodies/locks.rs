//! Locks of queues for orderly consumption (codes 41, 42).

use serde::{Deserialize, Serialize};

use super::{MessageQueue, bodies, lenient};

/// Queues that a client wants to lock or unlock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockBatch {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// The queues.
    #[serde(deserialize_with = "lenient::objects")]
    pub mq_set: Vec<MessageQueue>,
    /// Whether replicas need not agree.
    pub only_this_broker: bool,
}

/// Queues that the client has now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedQueues {
    /// The queues.
    #[serde(rename = "lockOKMQSet", deserialize_with = "lenient::or_null")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

bodies! { LockBatch: plain; LockedQueues: plain; }
