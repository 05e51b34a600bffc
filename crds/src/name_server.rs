//! `NameServer`.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives make types public that lib.rs exports, and repeat names in printcolumn"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Authorization, NameServerAuthentication};
use crate::reference::{ExternalListener, Image, PodOverrides, ServerTls, ServerTlsStatus};

/// Name servers that belong together: brokers register with each of them, clients ask one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "NameServer",
    plural = "nameservers",
    singular = "nameserver",
    shortname = "rmqns",
    category = "rmq",
    namespaced,
    status = "NameServerStatus",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    validation = Rule::new("size(self.metadata.name) <= 40").message("the name has at most 40 characters, as names of pods and services are made of it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name begins with a letter and has small letters, digits and - only, as names of services are made of it"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Addresses", type_ = "string", priority = 1, json_path = ".status.addresses"),
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
    validation = ("!has(oldSelf.authentication) || has(self.authentication)", "authentication cannot be taken away, as stored passwords are sealed with a key of its Secret: set authentication.enabled: false"),
    validation = ("!has(self.authorization) || !self.authorization.enabled || (has(self.authentication) && self.authentication.enabled)", "authorization needs authentication: rules are those of users, so set authentication.enabled: true")
)]
pub struct NameServerSpec {
    /// How many name servers. Two or more: one of them can be lost.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,

    /// The image of the servers.
    #[serde(default)]
    pub image: Image,

    /// Resources of a server's container. Default: requests of 50m CPU and 64Mi memory, limit of 256Mi memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::reference::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Keys of the name server's configuration (`rmq-namesrv --print-config` explains them). Those that the operator sets are refused.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "without_nulls"
    )]
    #[schemars(extend("maxProperties" = 64))]
    pub config: BTreeMap<String, Scalar>,

    /// Users, and whether requests must be signed. Here and with enabled: false, the servers of the cluster have keys and sign, and serve everybody. Default: no users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<NameServerAuthentication>,

    /// Whether the rules of users of authentication.usersSecretName count at the name servers. Default: each of them may everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,

    /// How clients outside of the cluster reach the name servers. Default: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_listener: Option<ExternalListener>,

    /// TLS of the name servers. Default: they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,

    /// Changes in the pods.
    #[serde(default)]
    pub pod: PodOverrides,
}

fn two() -> i32 {
    2
}

/// A value of a configuration: text, a number, or true and false.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Number(f64),
    /// Text.
    Text(String),
}

/// A map without the keys that are null: as everywhere in Kubernetes, null says nothing.
pub(crate) fn without_nulls<'de, D>(deserializer: D) -> Result<BTreeMap<String, Scalar>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let all = Option::<BTreeMap<String, Option<Scalar>>>::deserialize(deserializer)?;
    let all = all.unwrap_or_default().into_iter();
    Ok(all.filter_map(|(key, value)| Some((key, value?))).collect())
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    /// A structural schema knows no "one of several types", and rules cannot see such a value: the operator says what is none of them.
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Text, a number, or true and false.",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl Default for NameServerSpec {
    /// Two name servers.
    fn default() -> Self {
        Self {
            replicas: two(),
            image: Image::default(),
            resources: None,
            config: BTreeMap::new(),
            authentication: None,
            authorization: None,
            external_listener: None,
            tls: None,
            pod: PodOverrides::default(),
        }
    }
}

/// What the operator saw.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameServerStatus {
    /// The generation of the object that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that there are.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Selector of the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// What clients in the cluster are given: `host:port;host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<String>,
    /// What clients outside of the cluster are given, where an external listener is wanted: `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_addresses: Option<String>,
    /// TLS of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTlsStatus>,
    /// The Secret with the keys of the cluster, once the operator has seen or made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_secret: Option<String>,
    /// Ready, Progressing, Stalled, Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
