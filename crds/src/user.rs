//! `User`.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives make types public that lib.rs exports, and repeat names in printcolumn"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{DeletionPolicy, NameServerRef};

/// A user of the brokers that one set of name servers knows: an access key with its password, and rights. The operator writes both into a Secret for workloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "User",
    plural = "users",
    singular = "user",
    shortname = "rmqu",
    category = "rmq",
    namespaced,
    status = "UserStatus",
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name has at most 63 characters, as the name of a Secret is made of it"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "User", type_ = "string", json_path = ".status.userName"),
    printcolumn(name = "Super", type_ = "boolean", json_path = ".spec.super"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.binding.name"),
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
    validation = ("has(self.userName) == has(oldSelf.userName) && (!has(self.userName) || self.userName == oldSelf.userName)", "userName cannot be changed: make another User"),
    validation = ("!has(oldSelf.nameServerRef) || (has(self.nameServerRef) && self.nameServerRef == oldSelf.nameServerRef)", "nameServerRef cannot be changed: make another User"),
    validation = ("!has(self.super) || !self.super || !has(self.rights) || size(self.rights) == 0", "a super user may everything: leave rights out, or super")
)]
pub struct UserSpec {
    /// The user's name, which is the access key of clients. Default: metadata.name. Printable ASCII without spaces; it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[!-~]+$"))]
    pub user_name: Option<String>,

    /// The NameServer object of the cluster, which needs spec.authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_server_ref: Option<NameServerRef>,

    /// The Secret with the password (the secret key of clients). Default: the operator makes a password, and keeps it in the Secret of status.binding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<PasswordSecret>,

    /// Whether the user may everything.
    #[serde(default, rename = "super", skip_serializing_if = "std::ops::Not::not")]
    pub is_super: bool,

    /// Whether requests of the user are served.
    #[serde(default = "yes")]
    pub enabled: bool,

    /// What the user may, and may not. What no right allows is refused, and what one denies is refused whatever else allows it. At most one for each resource and policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub rights: Vec<UserRight>,

    /// What becomes of the user at the brokers when this object is deleted.
    #[serde(default = "delete")]
    pub deletion_policy: DeletionPolicy,
}

fn yes() -> bool {
    true
}

fn delete() -> DeletionPolicy {
    DeletionPolicy::Delete
}

/// A key of a Secret of the same namespace, with a password of up to 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn password() -> String {
    "password".to_owned()
}

/// What a user may, or may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("[has(self.topic), has(self.group), has(self.cluster)].filter(is, is).size() == 1", "a right is about one of topic, group and cluster")
)]
pub struct UserRight {
    /// The topic. `orders-*`: all topics whose names begin so; `*`: all topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^*\s]*[*]?$"))]
    pub topic: Option<String>,
    /// The consumer group, or groups as for topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^*\s]*[*]?$"))]
    pub group: Option<String>,
    /// The cluster's name in RocketMQ, or clusters as for topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^*\s]*[*]?$"))]
    pub cluster: Option<String>,
    /// What is done with it.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub actions: Vec<UserAction>,
    /// Whether that is allowed or denied.
    #[serde(default)]
    pub decision: UserDecision,
    /// Networks that requests come from for the right to count, such as 10.1.0.0/16. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub source_ips: Vec<String>,
    /// Rights of Default are asked where no right of Custom matches.
    #[serde(default)]
    pub policy: UserPolicy,
}

impl UserRight {
    /// The resource, as RocketMQ writes it: `Topic:orders`.
    #[must_use]
    pub fn resource(&self) -> String {
        let of =
            |kind: &str, name: &Option<String>| name.as_ref().map(|name| format!("{kind}:{name}"));
        // The rules of the schema let one of them through.
        of("Topic", &self.topic)
            .or_else(|| of("Group", &self.group))
            .or_else(|| of("Cluster", &self.cluster))
            .unwrap_or_default()
    }
}

/// What is done with a topic, a group or the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserAction {
    /// All of them.
    All,
    /// Send to a topic.
    Pub,
    /// Read a topic as a group: needed for both.
    Sub,
    /// Create and change topics and groups.
    Create,
    /// Move offsets; of the cluster: change configuration, users and rules.
    Update,
    /// Delete topics and groups.
    Delete,
    /// Look at settings and progress.
    Get,
    /// List topics or groups.
    List,
}

impl UserAction {
    /// As RocketMQ writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Pub => "Pub",
            Self::Sub => "Sub",
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
            Self::Get => "Get",
            Self::List => "List",
        }
    }
}

/// Allowed or denied.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserDecision {
    /// Allowed.
    #[default]
    Allow,
    /// Denied, whatever else allows it.
    Deny,
}

impl UserDecision {
    /// As RocketMQ writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// When a right is asked.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UserPolicy {
    /// First.
    #[default]
    Custom,
    /// Where no right of Custom matches.
    Default,
}

impl UserPolicy {
    /// As RocketMQ writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custom => "Custom",
            Self::Default => "Default",
        }
    }
}

impl User {
    /// The user's name in RocketMQ.
    #[must_use]
    pub fn user_name(&self) -> &str {
        let name = self.spec.user_name.as_deref();
        name.or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

impl Default for UserSpec {
    /// A user who is enabled and may nothing.
    fn default() -> Self {
        Self {
            user_name: None,
            name_server_ref: None,
            password_secret: None,
            is_super: false,
            enabled: yes(),
            rights: Vec::new(),
            deletion_policy: delete(),
        }
    }
}

/// What the operator saw.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserStatus {
    /// The generation of the object that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The user's name in RocketMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Broker groups that have the user with the rights of this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broker_groups: Vec<String>,
    /// The Secret for workloads: type, provider, host, port, nameServer, username and password (a service binding).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<UserBinding>,
    /// Ready, Progressing, Stalled, Paused. Another object that wants the same makes this one Stalled with the reason ResourceConflict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A Secret for workloads.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserBinding {
    /// Name of the Secret.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_manifests() {
        for action in [
            UserAction::All,
            UserAction::Pub,
            UserAction::Sub,
            UserAction::Create,
            UserAction::Update,
            UserAction::Delete,
            UserAction::Get,
            UserAction::List,
        ] {
            assert_eq!(serde_json::json!(action), action.name());
        }
        for decision in [UserDecision::Allow, UserDecision::Deny] {
            assert_eq!(serde_json::json!(decision), decision.name());
        }
        for policy in [UserPolicy::Custom, UserPolicy::Default] {
            assert_eq!(serde_json::json!(policy), policy.name());
        }
    }

    #[test]
    fn an_empty_spec_is_a_user_without_rights() {
        let spec: UserSpec = serde_json::from_value(serde_json::json!({})).expect("all optional");
        assert_eq!(spec, UserSpec::default());
        assert!(spec.enabled && !spec.is_super && spec.rights.is_empty());
    }
}
