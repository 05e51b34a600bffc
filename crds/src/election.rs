//! `BrokerGroupElection`: who is master of a broker group. Written by the operator and by brokers, not by people.
#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives make types public that lib.rs exports, and repeat names in printcolumn"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who is master of a broker group, and which of its members have every acknowledged message. The operator makes one for each BrokerGroup
/// with replicas and writes its spec; the brokers of the group write its status. People use `rmq-ctl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rmq.rs",
    version = "v1alpha1",
    kind = "BrokerGroupElection",
    plural = "brokergroupelections",
    singular = "brokergroupelection",
    shortname = "rmqel",
    namespaced,
    status = "BrokerGroupElectionStatus",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch"),
    printcolumn(name = "Master", type_ = "integer", json_path = ".status.master.slot"),
    printcolumn(
        name = "InSync",
        type_ = "string",
        json_path = ".status.inSync[*].slot"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerGroupElectionSpec {
    /// Who may take part.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["slot"]))]
    pub members: Vec<ElectionMember>,

    /// Who must have a message before its sender is told.
    pub ack_mode: ElectionAckMode,

    /// Writes are refused while fewer members, the master among them, are in the in-sync set.
    #[schemars(range(min = 1, max = 16))]
    pub min_in_sync: i32,

    /// A planned move of the master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<ElectionRequest>,

    /// An election that may lose messages. Only a person asks for one, with `rmq-ctl broker promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<ElectionUnclean>,
}

/// A member that may take part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionMember {
    /// Its slot, for life.
    #[schemars(range(min = 0))]
    pub slot: i64,
    /// Where other members reach it, `host:port`.
    #[schemars(length(min = 1, max = 261))]
    pub replication: String,
    /// Where clients reach it, `host:port`.
    #[schemars(length(min = 1, max = 261))]
    pub client: String,
}

/// Who must have a message before its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ElectionAckMode {
    /// The master, in memory.
    Memory,
    /// The master, on its disk.
    Flushed,
    /// Every member of the in-sync set, in memory.
    InSync,
    /// Every member of the in-sync set, on its disk.
    InSyncFlushed,
}

impl ElectionAckMode {
    /// As the settings of brokers say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Flushed => "flushed",
            Self::InSync => "inSync",
            Self::InSyncFlushed => "inSyncFlushed",
        }
    }

    /// Whether an acknowledged message is on a disk, so that no crash of a computer loses it.
    #[must_use]
    pub const fn is_flushed(self) -> bool {
        matches!(self, Self::Flushed | Self::InSyncFlushed)
    }

    /// Whether an acknowledgement waits for the in-sync set.
    #[must_use]
    pub const fn is_in_sync(self) -> bool {
        matches!(self, Self::InSync | Self::InSyncFlushed)
    }
}

/// A request for a new master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionRequest {
    /// The slot of who becomes the master.
    #[schemars(range(min = 0))]
    pub to: i64,
    /// The name of the request. One that was answered is not carried out again.
    #[schemars(length(min = 1, max = 128))]
    pub request: String,
}

/// A request for a new master whatever that one lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionUnclean {
    /// The slot of who becomes the master.
    #[schemars(range(min = 0))]
    pub to: i64,
    /// The name of the request. One that was answered is not carried out again.
    #[schemars(length(min = 1, max = 128))]
    pub request: String,
    /// Whether the person has accepted that messages may be lost.
    pub accept_loss: bool,
}

/// What the brokers agree on. Each change is one write with the `resourceVersion` that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.epoch >= oldSelf.epoch").message("an epoch never falls: a master of the past wrote this"),
    validation = Rule::new("self.epoch > oldSelf.epoch || !has(oldSelf.master) || (has(self.master) && self.master == oldSelf.master)").message("an epoch has one master"),
)]
pub struct BrokerGroupElectionStatus {
    /// Where the group is between two masters.
    pub phase: ElectionPhase,
    /// Grows by one with each master. 0: there was none yet.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// The master of the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<ElectionSeat>,
    /// The members that have every acknowledged message.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub in_sync: Vec<ElectionSeat>,
    /// Grows by one with each change of `inSync`.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub in_sync_version: i64,
    /// The last masters, the oldest first.
    #[serde(default)]
    #[schemars(length(max = 10), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<ElectionTerm>,
    /// A move that was asked for at a broker and is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switchover: Option<ElectionRequest>,
    /// An election with losses that was asked for at a broker and is not answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_election: Option<ElectionUnclean>,
    /// The request of `spec.switchover` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub answered_switchover: Option<String>,
    /// The request of `spec.uncleanElection` that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub answered_unclean_election: Option<String>,
    /// How the last request ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ElectionOutcome>,
}

/// Where a group is between two masters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ElectionPhase {
    /// There was no master yet.
    Vacant,
    /// A member has claimed the epoch and gets ready.
    Electing,
    /// The master serves.
    Stable,
    /// The master has closed the writes and waits for the target of a move.
    Transferring,
}

/// A member with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionSeat {
    /// The slot.
    #[schemars(range(min = 0))]
    pub slot: i64,
    /// Which data it has: 32 hexadecimal digits, made with the directory of its store.
    #[schemars(length(max = 32), regex(pattern = r"^[0-9a-f]{32}$"))]
    pub incarnation: String,
}

/// One master's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionTerm {
    /// Its epoch.
    #[schemars(range(min = 0))]
    pub epoch: i64,
    /// The master.
    pub master: ElectionSeat,
    /// Where the log ended when the master began, position in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub start: Option<i64>,
    /// Why it began.
    pub reason: ElectionReason,
}

/// Why a term began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ElectionReason {
    /// The group had no master before.
    First,
    /// The master before was gone.
    Failure,
    /// The master before had handed over.
    Switchover,
    /// All members of the set had lost what was not on their disks; the one with the longest log was taken.
    AllUnclean,
    /// A person accepted a loss.
    Unclean,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ElectionOutcome {
    /// Which one.
    #[schemars(length(max = 128))]
    pub request: String,
    /// Why it was refused or taken back; none when it was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub refused: Option<String>,
}
