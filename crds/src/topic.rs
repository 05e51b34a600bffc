//! `Topic`.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives make types public that lib.rs exports, and repeat names in printcolumn"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quota::Quota;
use crate::reference::{DeletionPolicy, NameServerRef};

/// A topic of the brokers that one set of name servers knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "Topic",
    plural = "topics",
    singular = "topic",
    shortname = "rmqt",
    category = "rmq",
    namespaced,
    status = "TopicStatus",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Topic", type_ = "string", json_path = ".status.topicName"),
    printcolumn(name = "Queues", type_ = "integer", json_path = ".spec.queues"),
    printcolumn(name = "Permission", type_ = "string", json_path = ".spec.permission"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.topicName) == has(oldSelf.topicName) && (!has(self.topicName) || self.topicName == oldSelf.topicName)", "topicName cannot be changed: make another Topic"),
    validation = ("!has(oldSelf.nameServerRef) || (has(self.nameServerRef) && self.nameServerRef == oldSelf.nameServerRef)", "nameServerRef cannot be changed: make another Topic"),
    validation = ("!has(self.readQueues) || self.readQueues >= self.queues", "readQueues must not be less than queues: messages of the queues that are left out could not be read")
)]
pub struct TopicSpec {
    /// The topic's name in RocketMQ. Default: metadata.name. Letters, digits, `-`, `_`, `%` and `|`; it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[%|a-zA-Z0-9_-]+$"))]
    pub topic_name: Option<String>,

    /// The NameServer object of the cluster. Needed with the operator; `rmq-ctl apply` talks to the cluster that it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server_ref: Option<NameServerRef>,

    /// Names of the broker groups that shall have the topic. Default: all of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub broker_groups: Vec<String>,

    /// Queues at each broker that messages are written to.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 1024))]
    pub queues: i32,

    /// Queues at each broker that are read. Default: as many as `queues`; more while a topic shrinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub read_queues: Option<i32>,

    /// What clients may do.
    #[serde(default)]
    pub permission: Permission,

    /// The kind of messages. Brokers with `enableTopicMessageTypeCheck` refuse others, and take `Mixed` with `enableMixedMessageType` only. Default: not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_type: Option<MessageType>,

    /// How much clients may send. Beyond it brokers refuse messages with a code at which producers try again. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// Other attributes of the topic, as RocketMQ names them, such as `cleanup.policy`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub attributes: BTreeMap<String, String>,

    /// What becomes of the topic when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Lets `deletionPolicy: Delete` delete a topic that still holds messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delete_non_empty: bool,
}

fn eight() -> i32 {
    8
}

/// What clients may do with a topic.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Permission {
    /// Send and receive.
    #[default]
    ReadWrite,
    /// Receive only.
    ReadOnly,
    /// Send only.
    WriteOnly,
    /// Nothing.
    Deny,
}

impl Permission {
    /// As manifests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "ReadWrite",
            Self::ReadOnly => "ReadOnly",
            Self::WriteOnly => "WriteOnly",
            Self::Deny => "Deny",
        }
    }

    /// Whether messages can be received, and sent.
    #[must_use]
    pub const fn read_write(self) -> (bool, bool) {
        match self {
            Self::ReadWrite => (true, true),
            Self::ReadOnly => (true, false),
            Self::WriteOnly => (false, true),
            Self::Deny => (false, false),
        }
    }

    /// The opposite of [`Permission::read_write`].
    #[must_use]
    pub const fn of(read: bool, write: bool) -> Self {
        match (read, write) {
            (true, true) => Self::ReadWrite,
            (true, false) => Self::ReadOnly,
            (false, true) => Self::WriteOnly,
            (false, false) => Self::Deny,
        }
    }
}

/// The kind of a topic's messages, attribute `message.type` (`common/…/attribute/TopicMessageType.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MessageType {
    /// Ordinary messages.
    Normal,
    /// Messages in order.
    Fifo,
    /// Delayed messages.
    Delay,
    /// Transactional messages.
    Transaction,
    /// Messages with a priority, each in the queue of its priority.
    Priority,
    /// All kinds.
    Mixed,
}

impl MessageType {
    /// As manifests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Fifo => "Fifo",
            Self::Delay => "Delay",
            Self::Transaction => "Transaction",
            Self::Priority => "Priority",
            Self::Mixed => "Mixed",
        }
    }

    /// As the attribute has it.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Fifo => "FIFO",
            Self::Delay => "DELAY",
            Self::Transaction => "TRANSACTION",
            Self::Priority => "PRIORITY",
            Self::Mixed => "MIXED",
        }
    }

    /// The opposite of [`MessageType::attribute`].
    #[must_use]
    pub fn of_attribute(value: &str) -> Option<Self> {
        [
            Self::Normal,
            Self::Fifo,
            Self::Delay,
            Self::Transaction,
            Self::Priority,
            Self::Mixed,
        ]
        .into_iter()
        .find(|kind| kind.attribute().eq_ignore_ascii_case(value))
    }
}

impl Default for TopicSpec {
    /// Eight queues, readable and writable, at all brokers.
    fn default() -> Self {
        Self {
            topic_name: None,
            name_server_ref: None,
            broker_groups: Vec::new(),
            queues: eight(),
            read_queues: None,
            permission: Permission::default(),
            message_type: None,
            quota: None,
            attributes: BTreeMap::new(),
            deletion_policy: DeletionPolicy::default(),
            delete_non_empty: false,
        }
    }
}

impl Topic {
    /// The topic's name in RocketMQ.
    #[must_use]
    pub fn topic_name(&self) -> &str {
        let name = self.spec.topic_name.as_deref();
        name.or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// What the operator saw.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// The generation of the object that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The topic's name in RocketMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// Broker groups that have the topic with the settings of this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker_groups: Vec<String>,
    /// Ready, Progressing, Stalled, Paused. Another object that wants the same makes this one Stalled with the reason ResourceConflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_manifests() {
        for permission in [
            Permission::ReadWrite,
            Permission::ReadOnly,
            Permission::WriteOnly,
            Permission::Deny,
        ] {
            assert_eq!(serde_json::json!(permission), permission.name());
        }
        for kind in [
            MessageType::Normal,
            MessageType::Fifo,
            MessageType::Delay,
            MessageType::Transaction,
            MessageType::Priority,
            MessageType::Mixed,
        ] {
            assert_eq!(serde_json::json!(kind), kind.name());
        }
    }
}
