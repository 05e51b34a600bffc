//! Which queues a client consumes, decided by the broker (codes 400, 401, 402).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MessageModel, MessageQueue, bodies};

/// Asks for the queues of a client (code 400).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentBody {
    /// The client.
    pub client_id: String,
    /// Its group.
    pub consumer_group: String,
    /// One member or all.
    pub message_model: MessageModel,
    /// The rule, such as `AVG`.
    pub strategy_name: String,
    /// The topic.
    pub topic: String,
}

/// One queue and how to consume it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueAssignment {
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<BTreeMap<String, String>>,
    /// The queue.
    pub message_queue: MessageQueue,
    /// `PULL` or `POP`.
    pub mode: String,
}

/// The queues of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignmentReply {
    /// The queues.
    pub message_queue_assignments: Vec<QueueAssignment>,
}

/// How a group consumes a topic (code 401).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestModeBody {
    /// The group.
    pub consumer_group: String,
    /// `PULL` or `POP`.
    pub mode: String,
    /// Queues that members share when popping.
    pub pop_share_queue_num: i32,
    /// The topic.
    pub topic: String,
}

/// All of them (code 402): topic to group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageRequestModes {
    /// By topic, then by group.
    pub message_request_mode_map: BTreeMap<String, BTreeMap<String, MessageRequestModeBody>>,
}

bodies! {
    QueryAssignmentBody: plain; QueryAssignmentReply: plain; MessageRequestModeBody: plain; MessageRequestModes: plain;
}
