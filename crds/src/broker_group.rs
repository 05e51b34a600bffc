//! `BrokerGroup`.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives make types public that lib.rs exports, and repeat names in printcolumn"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::{Authentication, Authorization};
use crate::election::{ElectionAckMode, ElectionRequest};
use crate::name_server::{Scalar, without_nulls};
use crate::reference::{
    DeletionPolicy, ExternalListener, Image, NameServerRef, PodOverrides, ServerTls,
    ServerTlsStatus,
};

/// A broker group: one master, and its replicas, under one broker name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "BrokerGroup",
    plural = "brokergroups",
    singular = "brokergroup",
    shortname = "rmqb",
    category = "rmq",
    namespaced,
    status = "BrokerGroupStatus",
    validation = Rule::new("size(self.metadata.name) <= 40").message("the name has at most 40 characters, as names of pods and services are made of it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name begins with a letter and has small letters, digits and - only, as names of services are made of it"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Broker", type_ = "string", json_path = ".status.brokerName"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".status.clusterName"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Master", type_ = "string", json_path = ".status.master"),
    printcolumn(name = "In-Sync", type_ = "integer", json_path = ".status.inSyncReplicas"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.rollout.step"),
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
    validation = ("self.nameServerRef == oldSelf.nameServerRef", "nameServerRef cannot be changed: make another BrokerGroup"),
    validation = ("has(self.clusterName) == has(oldSelf.clusterName) && (!has(self.clusterName) || self.clusterName == oldSelf.clusterName)", "clusterName cannot be changed: make another BrokerGroup"),
    validation = ("has(self.brokerName) == has(oldSelf.brokerName) && (!has(self.brokerName) || self.brokerName == oldSelf.brokerName)", "brokerName cannot be changed: make another BrokerGroup"),
    validation = ("self.replicas != 2 || (has(self.replication) && has(self.replication.ackMode) && (self.replication.ackMode in ['memory', 'flushed'] || has(self.replication.minInSync)))", "two brokers need your choice in replication: ackMode inSync with minInSync 1 (a broker that is alone takes messages) or 2 (it does not), or ackMode memory or flushed; three brokers have safe defaults"),
    validation = ("!has(self.replication) || !has(self.replication.minInSync) || self.replication.minInSync <= self.replicas", "replication.minInSync is more than replicas: no message would ever be taken"),
    validation = ("self.replicas == 1 || oldSelf.replicas == 1 || (has(self.replication) && has(self.replication.ackMode) ? self.replication.ackMode : 'inSync') == (has(oldSelf.replication) && has(oldSelf.replication.ackMode) ? oldSelf.replication.ackMode : 'inSync')", "replication.ackMode cannot be changed while the group has replicas: make another BrokerGroup and drain this one"),
    validation = ("has(self.restoreFrom) == has(oldSelf.restoreFrom) && (!has(self.restoreFrom) || self.restoreFrom == oldSelf.restoreFrom)", "restoreFrom cannot be changed: it says what a new group begins with, so make another BrokerGroup"),
    validation = ("!has(self.restoreFrom) || has(self.storage.size)", "restoreFrom needs a volume: storage.size"),
    validation = ("self.replicas == 1 || !has(self.listeners.external) || self.listeners.external.type == 'NodePort' || !has(self.listeners.external.advertisedHost)", "one advertisedHost with type LoadBalancer or HostPort would be the address of all brokers of the group: leave advertisedHost out, or use type NodePort"),
    validation = ("!has(self.authorization) || !self.authorization.enabled || (has(self.authentication) && self.authentication.enabled)", "authorization needs authentication: rules are those of users, so set authentication.enabled: true")
)]
pub struct BrokerGroupSpec {
    /// The NameServer object whose servers the brokers register with.
    pub name_server_ref: NameServerRef,

    /// The cluster's name in RocketMQ. Default: the name of the NameServer object. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[a-zA-Z0-9_-]+$"))]
    pub cluster_name: Option<String>,

    /// The brokers' name in RocketMQ. Default: metadata.name. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127), regex(pattern = r"^[a-zA-Z0-9_-]+$"))]
    pub broker_name: Option<String>,

    /// Brokers of the group: 1 is a master alone. More elect their master among themselves, and the others copy its messages: 3 survive the loss of one broker.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,

    /// What an acknowledgement promises in a group with replicas. Needed for 2 replicas; it has no effect for 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,

    /// The image of the brokers.
    #[serde(default)]
    pub image: Image,

    /// Where messages are kept.
    pub storage: Storage,

    /// Resources of a broker's container. Default: requests of 250m CPU and 512Mi memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::reference::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Configuration of the brokers.
    #[serde(default)]
    pub config: BrokerGroupConfig,

    /// Where the brokers can be reached.
    #[serde(default)]
    pub listeners: Listeners,

    /// TLS of the brokers: of their ports, and of their connections to name servers and to each other. Default: they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,

    /// How changes get to running brokers.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,

    /// What is done before the group is removed.
    #[serde(default)]
    pub drain: Drain,

    /// Changes in the pods.
    #[serde(default)]
    pub pod: PodOverrides,

    /// What is done about the pod of a replica whose node does not answer.
    #[serde(default)]
    pub node_down_policy: NodeDownPolicy,

    /// The backup that the group begins with. Its first broker gets the data of the backup, the others copy them. Only for a group without volumes of its own; it cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFrom>,

    /// Whether requests must be signed by users. Default: the brokers serve everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,

    /// Whether the rules of users count. Default: each user may everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
}

fn one() -> i32 {
    1
}

/// What an acknowledgement promises in a group with replicas.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.minInSync) || self.minInSync == 1 || !has(self.ackMode) || self.ackMode in ['inSync', 'inSyncFlushed']", "minInSync above 1 promises nothing with ackMode memory or flushed, which wait for no replica: use inSync or inSyncFlushed")
)]
pub struct Replication {
    /// Who must have a message before its sender is told. It cannot be changed while the group has replicas. Default: inSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_mode: Option<ElectionAckMode>,
    /// Messages are refused while fewer brokers, the master counted, have everything. With as many as replicas, each restart of a broker stops the group for its time. Default: 2 with ackMode inSync and inSyncFlushed, otherwise 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub min_in_sync: Option<i32>,
}

/// Where messages are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.size) != (has(self.ephemeral) && self.ephemeral)", "either size (a volume that stays), or ephemeral: true (messages are lost with the pod)"),
    validation = ("!has(self.size) || (isQuantity(string(self.size)) && quantity(string(self.size)).isGreaterThan(quantity('0')))", "size is a quantity such as 100Gi"),
    validation = ("!has(self.size) || !has(oldSelf.size) || quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0", "size can only grow"),
    validation = ("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)", "storageClassName cannot be changed: make another BrokerGroup and drain this one"),
    validation = ("(has(self.ephemeral) && self.ephemeral) == (has(oldSelf.ephemeral) && oldSelf.ephemeral)", "ephemeral cannot be changed: make another BrokerGroup and drain this one")
)]
pub struct Storage {
    /// Size of each broker's volume, such as 100Gi. It can grow where the storage class allows it; it cannot shrink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub size: Option<Quantity>,
    /// Class of the volumes. Default: that of the cluster. It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Keep messages in the pod instead: they are lost with it. For tests.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// What becomes of the volumes when this object is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Configuration of the brokers of a group.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroupConfig {
    /// When a message is acknowledged. Default: Async.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flush: Option<Flush>,
    /// Hours that messages are kept. Default: 72.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 87600))]
    pub retention_hours: Option<i32>,
    /// Largest body of a message in bytes. Default: 4194304.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_message_bytes: Option<i32>,
    /// Whether a topic is made when a message for an unknown one arrives. Default: false, as topics are objects here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create_topic: Option<bool>,
    /// Whether a subscription group is made when an unknown one pulls. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create_subscription_group: Option<bool>,
    /// Other keys of the broker's configuration (`rmq-broker --print-config` explains them). Unknown ones and those that the operator sets are refused with the condition Stalled.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "without_nulls"
    )]
    #[schemars(extend("maxProperties" = 64))]
    pub extra: BTreeMap<String, Scalar>,
}

/// When a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Flush {
    /// When the node's system has it: a crash of the broker loses nothing, a crash of the node the last fifth of a second.
    Async,
    /// When the disk has it.
    Sync,
}

/// Where brokers can be reached. A broker has one address for all clients: with an external listener, clients in the cluster use that too.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listeners {
    /// How clients outside of the cluster reach the brokers. Default: they do not (but `rmq-ctl tunnel` can).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalListener>,
}

/// What is done about the pod of a replica whose node does not answer any more.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NodeDownPolicy {
    /// It stays until the node answers, is deleted, or has the taint node.kubernetes.io/out-of-service.
    #[default]
    Wait,
    /// It is deleted without its node when it had to be gone for 30 seconds, and comes back elsewhere if its volume can. The broker may still run there: it acknowledges nothing any more. Only with volumes that one node at a time can use.
    ForceDeletePods,
}

/// A backup that a new group begins with, as `rmq-ctl backup` takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.place.startsWith('s3://') != has(self.claimName)", "either place: s3://BUCKET/PREFIX, or claimName (a volume with backups) and place: a folder of that volume, such as prod or ."),
    validation = ("self.place.startsWith('s3://') || !self.place.matches('^/|(^|/)[.][.](/|$)')", "place is a folder below the volume of claimName, such as prod or ."),
    validation = ("!has(self.claimName) || (!has(self.endpoint) && !has(self.region))", "endpoint and region are for place: s3://…")
)]
pub struct RestoreFrom {
    /// Where the backups are: s3://BUCKET/PREFIX, or a folder of the volume of claimName.
    #[schemars(length(min = 1, max = 1024))]
    pub place: String,
    /// The volume claim of this namespace that has the backups. It is only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: Option<String>,
    /// The broker group whose backup it is. Not needed where there are backups of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 127))]
    pub group: Option<String>,
    /// The backup, an ID of `rmq-ctl backup list`. Default: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub backup: Option<String>,
    /// The S3 server, where it is not that of AWS: http://HOST:PORT or https://HOST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub endpoint: Option<String>,
    /// The region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// A Secret of this namespace whose keys are variables as the tools of AWS know them: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY. The operator never reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// A Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How changes get to running brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStrategy {
    /// RollingUpdate: the operator restarts one broker of the cluster after the other. OnDelete: a broker gets them when somebody deletes its pod.
    #[serde(default, rename = "type")]
    pub type_: UpdateType,
    /// Longest time, seconds, that a broker waits read-only for producers to move to other brokers before it is stopped. Clients look at the routes every 30 seconds: less than that makes their sends fail once.
    #[serde(default = "forty_five")]
    #[schemars(range(min = 0, max = 3600))]
    pub quiesce_timeout_seconds: i32,
}

/// Clients look at the routes every 30 seconds; a client that has just learned that the broker before is back must learn this one's leave too.
fn forty_five() -> i32 {
    45
}

impl Default for UpdateStrategy {
    fn default() -> Self {
        Self {
            type_: UpdateType::default(),
            quiesce_timeout_seconds: forty_five(),
        }
    }
}

/// Who restarts brokers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// The operator.
    #[default]
    RollingUpdate,
    /// Somebody who deletes the pod.
    OnDelete,
}

/// What is done before a group is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Whether the deletion of the object waits until all messages were consumed.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Longest wait, seconds; then the brokers are removed anyway. Messages stay on the volumes when `storage.deletionPolicy` is Retain.
    #[serde(default = "hour")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub timeout_seconds: i64,
}

fn yes() -> bool {
    true
}

fn hour() -> i64 {
    3_600
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            enabled: yes(),
            timeout_seconds: hour(),
        }
    }
}

impl BrokerGroup {
    /// The brokers' name in RocketMQ.
    #[must_use]
    pub fn broker_name(&self) -> &str {
        let name = self.spec.broker_name.as_deref();
        name.or(self.metadata.name.as_deref()).unwrap_or_default()
    }

    /// The cluster's name in RocketMQ.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        let name = self.spec.cluster_name.as_deref();
        name.unwrap_or(&self.spec.name_server_ref.name)
    }

    /// Who must have a message before its sender is told, in a group with replicas.
    #[must_use]
    pub fn ack_mode(&self) -> ElectionAckMode {
        let chosen = self.spec.replication.as_ref();
        chosen
            .and_then(|chosen| chosen.ack_mode)
            .unwrap_or(ElectionAckMode::InSync)
    }

    /// Brokers that must have everything for messages to be taken, the master counted; at most `spec.replicas`.
    #[must_use]
    pub fn min_in_sync(&self) -> i32 {
        let chosen = self.spec.replication.as_ref();
        let chosen = chosen.and_then(|chosen| chosen.min_in_sync);
        let usual = if self.ack_mode().is_in_sync() { 2 } else { 1 };
        chosen.unwrap_or(usual).min(self.spec.replicas).max(1)
    }
}

/// What the operator saw.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroupStatus {
    /// The generation of the object that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The brokers' name in RocketMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_name: Option<String>,
    /// The cluster's name in RocketMQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// Pods that there are.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Whether a pod of the group was ever ready. `false` is written when the operator first sees a new object, so a group that is `false` holds no message. Absent: made by an earlier version, or on volumes that were there before, and nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ever_served: Option<bool>,
    /// The address that clients are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// TLS of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTlsStatus>,
    /// The pod of the master, in a group with replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// Counts the masters of a group with replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Brokers that have every acknowledged message, the master counted, in a group with replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_sync_replicas: Option<i32>,
    /// The brokers of a group with replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["slot"]))]
    pub members: Vec<MemberStatus>,
    /// With ackMode memory and flushed: what a failover now would lose, bytes of the log, as the master last told; rounded up to MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_bound: Option<i64>,
    /// The restart that is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The restore of a group with restoreFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreStatus>,
    /// What the deletion waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// Ready, Progressing, Stalled, Paused, ConfigSynced, StorageResizing, OutOfMemory, Restored; with replicas also MasterElected, ReplicasInSync, ReplicaOnLostNode, Rebuilding, DataLossPossible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A broker of a group with replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its slot, for life: the number of its pod.
    pub slot: i64,
    /// Its pod.
    pub pod: String,
    /// What it is now.
    pub role: MemberRole,
    /// Whether it has every acknowledged message.
    pub in_sync: bool,
    /// The address that clients are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Bytes of the master's log that it lacks, as the master last told; only of one that is not in sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_bytes: Option<i64>,
}

/// What a broker of a group with replicas is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MemberRole {
    /// It takes messages.
    Master,
    /// It copies them.
    Replica,
}

/// A restart of one broker. Each step is written here before it begins, so that another process can continue it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The pod that is restarted.
    pub pod: String,
    /// Its uid: another pod of the same name is the new one.
    pub pod_uid: String,
    /// What is done now.
    pub step: RolloutStep,
    /// Why it is restarted.
    pub reason: String,
    /// SwitchingOver: who becomes the master. It is asked for in the BrokerGroupElection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<ElectionRequest>,
    /// The broker is made anew: its volume goes with its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
    /// Since when this step is going on.
    pub since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
}

/// What goes with the pod of a broker that is made anew.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebuild {
    /// Its volume claim. None: the broker keeps its messages in its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<RebuildClaim>,
    /// The data that it had in the in-sync set. The broker is done when it is in the set with other data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<String>,
}

/// The volume claim of a broker that is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebuildClaim {
    /// Its name.
    pub name: String,
    /// Its uid: another claim of the same name is the new one.
    pub uid: String,
}

/// Steps of a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStep {
    /// The broker is read-only; producers move to others.
    Quiescing,
    /// The broker is the master of its group; a replica takes over.
    SwitchingOver,
    /// The pod is deleted.
    Stopping,
    /// The new pod starts.
    Starting,
}

/// The restore of a group that begins with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// Since when it is going on.
    pub since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
    /// When the volume of the first broker had everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
}

/// What the removal of a group waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Since when the brokers are read-only.
    pub since: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time,
    /// Messages that some group has not consumed, and delayed messages that wait for their time.
    #[serde(default)]
    pub messages: i64,
    /// The groups that are behind, the one with most messages first; at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}
