//! Parts that several kinds share.
#![allow(
    unreachable_pub,
    reason = "the derives make types public that lib.rs exports"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A `NameServer` object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameServerRef {
    /// Name of the NameServer object.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

/// What becomes of the thing in the cluster when its object is deleted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted too.
    Delete,
}

/// The image of a server and how it gets to the node.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Reference of the image, `registry/name:tag` or with a digest. Default: the one that the operator was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub reference: Option<String>,
    /// When a node fetches the image. Default: IfNotPresent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Names of Secrets of this namespace with credentials of the registry. The operator never reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub pull_secrets: Vec<String>,
}

/// When a node fetches an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// As a container has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What is changed in the pods that the operator makes. A field that is not here is the operator's.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.env) || self.env.all(e, e.name != 'POD_NAME' && e.name != 'POD_INDEX' && !e.name.startsWith('RMQ_BROKER_') && !e.name.startsWith('RMQ_NAMESRV_'))", "env: POD_NAME, POD_INDEX, RMQ_BROKER_… and RMQ_NAMESRV_… are set by the operator; settings belong into config")
)]
pub struct PodOverrides {
    /// More labels of the pods. Labels of the operator cannot be replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// More annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Affinity. Default: pods of the same kind of server rather stand on different nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_object")]
    pub affinity: Option<Affinity>,
    /// Tolerations of taints of nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
    /// Spread over zones or nodes. Default: over nodes, as far as it can be done; brokers of a group with replicas over nodes in any case, and over zones as far as it can be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["topologyKey", "whenUnsatisfiable"]))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Service account of the pods. Default: the namespace's `default`, and its token is not mounted. Brokers of a group with replicas have an account of their own by default, and its token; another account gets the same role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Environment variables of the server's container, after the operator's own. Keys of the configuration belong into `config`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,
    /// Seconds between the signal to stop and the kill. Default: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub termination_grace_period_seconds: Option<i64>,
}

/// Requests and limits as in a container, with a rule: the API server knows no quantity in a custom resource by itself, and a pod of a wrong
/// one is refused long after the object was taken.
pub(crate) fn resources(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = ResourceRequirements::json_schema(generator);
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, part) in properties.into_iter().flatten() {
        if let Some(part) = part.as_object_mut()
            && matches!(name.as_str(), "limits" | "requests")
        {
            let quantity = json!({
                "description": "A quantity such as 500m, 2 or 4Gi.",
                "x-kubernetes-int-or-string": true
            });
            part.insert("additionalProperties".to_owned(), quantity);
            part.insert("maxProperties".to_owned(), json!(8));
            let rule = "self.all(name, isQuantity(string(self[name])) && !string(self[name]).startsWith('-'))";
            let message = format!(
                "{name} are quantities such as 500m, 2, 4Gi or 4G; there is no suffix KB, MB or GB"
            );
            part.insert(
                "x-kubernetes-validations".to_owned(),
                json!([{"rule": rule, "message": message}]),
            );
        }
    }
    schema.insert("nullable".to_owned(), json!(true));
    schema
}

/// Affinity is thousands of lines of schema; the API server checks it when the pod is made.
fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "Affinity as in a pod. Default: pods of the same kind of server rather stand on different nodes.",
        "nullable": true,
        "x-kubernetes-preserve-unknown-fields": true
    })
}

/// How a server can be reached from outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.type == 'HostPort' || !has(self.hostPort)", "hostPort belongs to type HostPort"),
    validation = ("self.type == 'HostPort' ? has(self.hostPort) : true", "type HostPort needs hostPort"),
    validation = ("self.type == 'NodePort' || !has(self.nodePort)", "nodePort belongs to type NodePort"),
    validation = ("self.type == 'LoadBalancer' || !has(self.loadBalancerClass)", "loadBalancerClass belongs to type LoadBalancer")
)]
pub struct ExternalListener {
    /// How: a port of every node, a load balancer, or a port of the node that the pod runs on.
    #[serde(rename = "type")]
    pub type_: ExternalType,
    /// NodePort: which port; brokers of a group with replicas have it and the ports after it. Default: Kubernetes chooses, and they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub node_port: Option<i32>,
    /// HostPort: which port of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub host_port: Option<i32>,
    /// LoadBalancer: its class. Default: that of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer_class: Option<String>,
    /// Host that clients are told. Default: the node's address, or what the load balancer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-zA-Z0-9.:-]+$"))]
    pub advertised_host: Option<String>,
    /// Annotations of the Service, such as the settings of a load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

/// Kinds of external listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExternalType {
    /// The same port of every node (Service of type NodePort).
    NodePort,
    /// A load balancer (Service of type LoadBalancer).
    LoadBalancer,
    /// A port of the node that the pod runs on.
    HostPort,
}

/// TLS of servers, on the ports that they have anyway. A change is brought about in steps, so that brokers and clients of a running cluster go on.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.clientCertificates) || self.clientCertificates != 'required' || (has(self.mode) && self.mode == 'enforcing')", "clientCertificates required keeps out nobody whose connection is plain: set mode to enforcing, or clientCertificates to optional"),
    validation = ("!has(self.secretName) || self.secretName.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "secretName is the name of a Secret: small letters, digits, - and . only")
)]
pub struct ServerTls {
    /// Which connections are taken: disabled (plain ones), permissive (plain ones and TLS), enforcing (TLS).
    #[serde(default)]
    pub mode: ServerTlsMode,
    /// Whether clients show certificates that ca.crt of the Secret has signed: none (they are not asked), optional (one that is shown must be good), required (who shows none is refused).
    #[serde(default)]
    pub client_certificates: ServerTlsClientCertificates,
    /// A Secret of this namespace with tls.crt, tls.key and ca.crt, as cert-manager writes it. Servers take changes of it without a restart. Default: the operator makes a CA for the cluster and a certificate, and renews both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
}

/// Which connections servers take.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServerTlsMode {
    /// Plain ones.
    Disabled,
    /// Plain ones, and those with TLS.
    #[default]
    Permissive,
    /// Those with TLS.
    Enforcing,
}

impl std::fmt::Display for ServerTlsMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Permissive => "permissive",
            Self::Enforcing => "enforcing",
        })
    }
}

/// Whether clients show certificates.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServerTlsClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// Those who have one show it.
    Optional,
    /// Those without one are refused.
    Required,
}

/// TLS of servers as the operator saw it.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTlsStatus {
    /// Which connections all pods take now.
    #[serde(default)]
    pub mode: ServerTlsMode,
    /// The Secret with the certificate. Clients find in its ca.crt whom to trust.
    pub secret_name: String,
    /// The end of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}
