//! Who may ask servers: `spec.authentication` and `spec.authorization` of `NameServer` and `BrokerGroup`.
#![allow(
    unreachable_pub,
    reason = "the derives make types public that lib.rs exports"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Users of the operator and of the brokers, whether or not requests must be signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.secretName) == has(oldSelf.secretName) && (!has(self.secretName) || self.secretName == oldSelf.secretName)", "authentication.secretName cannot be changed: stored passwords are sealed with the key of the Secret")
)]
pub struct NameServerAuthentication {
    /// Whether name servers serve signed requests only; clients ask for routes without a signature. They begin with that when all brokers of the cluster sign.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The Secret with the keys of the cluster: operator.json, broker.json and users.key (docs/operate/users.md). Default: NAME-access, which the operator makes where it is missing. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// The Secret with further users of the name servers and their rules, users.json. The operator never reads it. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub users_secret_name: Option<String>,
}

/// Whether brokers serve signed requests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// Whether each request must be signed by a user. The NameServer needs spec.authentication, which has the keys.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// Whether rules of users count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Whether users who are not super may only do what their rules allow. Needs authentication.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}
