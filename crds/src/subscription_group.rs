//! `SubscriptionGroup`.
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

/// A consumer group of the brokers that one set of name servers knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "SubscriptionGroup",
    plural = "subscriptiongroups",
    singular = "subscriptiongroup",
    shortname = "rmqg",
    category = "rmq",
    namespaced,
    status = "SubscriptionGroupStatus",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Group", type_ = "string", json_path = ".status.groupName"),
    printcolumn(name = "Consumes", type_ = "boolean", json_path = ".spec.consume"),
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
    validation = ("has(self.groupName) == has(oldSelf.groupName) && (!has(self.groupName) || self.groupName == oldSelf.groupName)", "groupName cannot be changed: make another SubscriptionGroup"),
    validation = ("!has(oldSelf.nameServerRef) || (has(self.nameServerRef) && self.nameServerRef == oldSelf.nameServerRef)", "nameServerRef cannot be changed: make another SubscriptionGroup")
)]
pub struct SubscriptionGroupSpec {
    /// The group's name in RocketMQ. Default: metadata.name. Letters, digits, `-`, `_`, `%` and `|`; it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 120), regex(pattern = r"^[%|a-zA-Z0-9_-]+$"))]
    pub group_name: Option<String>,

    /// The NameServer object of the cluster. Needed with the operator; `rmq-ctl apply` talks to the cluster that it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server_ref: Option<NameServerRef>,

    /// Names of the broker groups that shall have the group. Default: all of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 127)), extend("x-kubernetes-list-type" = "set"))]
    pub broker_groups: Vec<String>,

    /// Whether members get messages. Switch it off to stop a group for a while.
    #[serde(default = "yes")]
    pub consume: bool,

    /// Whether a member may get every message (broadcasting).
    #[serde(default = "yes")]
    pub broadcast: bool,

    /// Whether a new member may begin at the oldest message.
    #[serde(default = "yes")]
    pub consume_from_min: bool,

    /// Whether members consume queue by queue in order.
    #[serde(default)]
    pub ordered: bool,

    /// What becomes of a message that a member could not work on.
    #[serde(default)]
    pub retry: SubscriptionGroupRetry,

    /// Minutes that a member may take for a message before it counts as failed.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 1, max = 1440))]
    pub consume_timeout_minutes: i32,

    /// How much members are given. Beyond it brokers let their pulls wait. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,

    /// Other attributes of the group, as RocketMQ names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub attributes: BTreeMap<String, String>,

    /// What becomes of the group and its offsets when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn yes() -> bool {
    true
}

fn fifteen() -> i32 {
    15
}

/// What becomes of a message that a member could not work on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionGroupRetry {
    /// Attempts before the message goes to the dead letters.
    #[serde(default = "sixteen")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_attempts: i32,
    /// Queues of the retry topic at each broker.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1024))]
    pub queues: i32,
}

fn sixteen() -> i32 {
    16
}

fn one() -> i32 {
    1
}

impl Default for SubscriptionGroupRetry {
    /// 16 attempts, one queue.
    fn default() -> Self {
        Self {
            max_attempts: sixteen(),
            queues: one(),
        }
    }
}

impl Default for SubscriptionGroupSpec {
    /// RocketMQ's usual settings, at all brokers.
    fn default() -> Self {
        Self {
            group_name: None,
            name_server_ref: None,
            broker_groups: Vec::new(),
            consume: true,
            broadcast: true,
            consume_from_min: true,
            ordered: false,
            retry: SubscriptionGroupRetry::default(),
            consume_timeout_minutes: fifteen(),
            quota: None,
            attributes: BTreeMap::new(),
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

impl SubscriptionGroup {
    /// The group's name in RocketMQ.
    #[must_use]
    pub fn group_name(&self) -> &str {
        let name = self.spec.group_name.as_deref();
        name.or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// What the operator saw.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionGroupStatus {
    /// The generation of the object that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The group's name in RocketMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Broker groups that have the group with the settings of this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker_groups: Vec<String>,
    /// Ready, Progressing, Stalled, Paused. Another object that wants the same makes this one Stalled with the reason ResourceConflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
