//! All that one look at a broker group has seen. Decisions depend on nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use rmq_client::protocol::bodies::GroupStatus;
use rmq_crds::{BrokerGroup, BrokerGroupElection, NameServer};

use crate::annotations;
use crate::objects::{Advertised, is_owned_by, names};
use crate::observe::{self, Problem};
use crate::tls;

use super::backlog::Backlog;
use super::view::View;

/// What one look has seen.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    pub(super) object: &'a BrokerGroup,
    /// The image of brokers whose object names none.
    pub(super) default_image: &'a str,
    pub(super) now: Timestamp,
    /// The NameServer object of the cluster, when it exists.
    pub(super) name_server: Option<Arc<NameServer>>,
    /// The other groups of the cluster.
    pub(super) others: Vec<Other>,
    /// The addresses that clients are told, by slot, when the group has an external listener and they are known.
    pub(super) advertised: Vec<Option<Advertised>>,
    /// The election of a group with replicas, and what it says.
    pub(super) election: Option<Arc<BrokerGroupElection>>,
    pub(super) view: Option<View>,
    pub(super) lease: LeaseSeen,
    /// What the master says of the others. None: not known, or not asked.
    pub(super) told: Option<GroupStatus>,
    pub(super) set: Option<Arc<StatefulSet>>,
    /// The brokers of the group that have a pod, by name of the pod.
    pub(super) members: Vec<Member>,
    pub(super) claims: Vec<Arc<PersistentVolumeClaim>>,
    /// Nodes of pods that had to be gone, by name.
    pub(super) nodes: BTreeMap<String, NodeSeen>,
    /// Members whose volume is bound to a node that is no more, by slot, and why one thinks so.
    pub(super) stranded: BTreeMap<i64, String>,
    /// Bytes of a segment of the log, as the brokers' files have them. None: there is no file yet.
    pub(super) segment_bytes: Option<String>,
    /// The pod that restores a backup.
    pub(super) restorer: Option<Restorer>,
    /// Why pods are not made or claims have no volume, as far as events tell.
    pub(super) missing: Option<Problem>,
    /// Another group of the cluster that has the turn to restart a broker.
    pub(super) turn: Option<String>,
    /// How long nothing was stored by a broker that is out of the routes before its restart. None: not known, or not asked.
    pub(super) quiet: Option<SignedDuration>,
    /// Name servers that do not show a broker that was restarted.
    pub(super) missing_at: Vec<String>,
    /// Its certificates, and how far all servers of the cluster are with TLS.
    pub(super) tls: Arc<tls::Seen>,
    pub(super) spans: tls::Spans,
    /// What only the removal of the group depends on.
    pub(super) end: Option<End>,
}

/// The Lease of a group with replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LeaseSeen {
    /// It is there, or it does not matter.
    #[default]
    There,
    /// There is none.
    Missing,
    /// That of an earlier object of this name, which is about to go.
    Going,
}

/// A node, as far as a pod that should be gone is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeSeen {
    /// Its kubelet says that it is ready.
    Answers,
    /// It does not.
    Silent {
        /// A person has said that it is off for good.
        is_out_of_service: bool,
    },
    /// There is no such node.
    Gone,
    /// It could not be looked at.
    Unknown(String),
}

/// The pod that restores a backup into the volume of the first broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Restorer {
    pub(super) name: String,
    pub(super) uid: String,
    /// Whether the volume has everything.
    pub(super) has_succeeded: bool,
    /// Whether Kubernetes runs it no more.
    pub(super) has_failed: bool,
    pub(super) is_terminating: bool,
    /// Why it does not run.
    pub(super) problem: Option<Problem>,
    /// How its container ended last, and what it said.
    pub(super) ended: Option<String>,
}

/// Another group of the cluster.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) group: Arc<BrokerGroup>,
    /// Whether it has pods, and all of them are ready.
    pub(super) is_up: bool,
}

impl Other {
    /// Whether its status says that it restarts a broker.
    pub(super) fn restarts(&self) -> bool {
        restarts(&self.group)
    }
}

/// One broker of the group: its pod, and what the broker was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Member {
    /// Name of the pod.
    pub(super) name: String,
    /// Uid of the pod.
    pub(super) uid: String,
    /// Number of the pod.
    pub(super) slot: i64,
    /// What its label says that it is, in a group with replicas.
    pub(super) role: Option<String>,
    /// When it has to be gone, if it is being deleted.
    pub(super) gone_at: Option<Timestamp>,
    pub(super) is_ready: bool,
    pub(super) is_terminating: bool,
    /// Whether the pod is made of the current template.
    pub(super) is_current: bool,
    /// How the pod differs from the current template, as the reason of a restart.
    pub(super) differs: &'static str,
    /// Whether the pod is ready, or was.
    pub(super) was_ready: bool,
    /// Whether a container of the pod was ended by a signal.
    pub(super) was_killed: bool,
    /// Says that the kernel killed the broker for its memory, and when.
    pub(super) memory_kill: Option<String>,
    /// Why the pod does not run.
    pub(super) problem: Option<Problem>,
    /// Address of the pod's node.
    pub(super) node: Option<String>,
    /// Name of the pod's node.
    pub(super) node_name: Option<String>,
    /// Since when no node takes the pod.
    pub(super) unplaced_since: Option<Timestamp>,
    /// Whether the broker took the settings that need no restart. None: it has not answered yet.
    pub(super) settings: Option<Result<(), String>>,
}

impl Member {
    /// The broker in this pod. `set` has the template that the pod must match.
    pub(super) fn of(pod: &Pod, set: Option<&StatefulSet>) -> Self {
        let wanted = set.and_then(|set| set.status.as_ref()?.update_revision.as_deref());
        let labels = pod.labels();
        let has = labels.get("controller-revision-hash").map(String::as_str);
        let name = pod.name_any();
        let deletion = pod.metadata.deletion_timestamp.as_ref();
        Self {
            slot: names::slot(&name).unwrap_or(0),
            role: labels.get(names::ROLE).cloned(),
            gone_at: deletion.map(|time| time.0),
            name,
            uid: pod.uid().unwrap_or_default(),
            is_ready: observe::is_ready(pod),
            is_terminating: pod.metadata.deletion_timestamp.is_some(),
            is_current: has == wanted,
            differs: differs(pod, set),
            was_ready: observe::was_ready(pod),
            was_killed: observe::was_killed(pod),
            memory_kill: observe::memory_kill(pod),
            problem: observe::of_pod(pod),
            node: pod
                .status
                .as_ref()
                .and_then(|status| status.host_ip.clone()),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            unplaced_since: observe::unplaced_since(pod),
            settings: None,
        }
    }
}

/// How a pod that is not current differs from the template.
fn differs(pod: &Pod, set: Option<&StatefulSet>) -> &'static str {
    let template = set.and_then(|set| set.spec.as_ref().map(|spec| &spec.template));
    let annotation = |name: &str| {
        let wanted = template
            .and_then(|template| template.metadata.as_ref()?.annotations.as_ref()?.get(name));
        pod.annotations().get(name) == wanted
    };
    let image = |spec: Option<&PodSpec>| spec?.containers.first()?.image.clone();
    let wanted = template.and_then(|template| template.spec.as_ref());
    if image(pod.spec.as_ref()) != image(wanted) {
        "ImageChanged"
    } else if !annotation(annotations::CONFIG_HASH) {
        "ConfigurationChanged"
    } else if !annotation(annotations::RESTART) {
        "RestartRequested"
    } else {
        "PodTemplateChanged"
    }
}

/// What only the removal of a group depends on.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Whether the whole namespace is deleted.
    pub(super) namespace_ends: bool,
    /// Whether a name server shows the broker. Known for a group that never served, whose pod may not be known to be ready yet.
    pub(super) is_shown: bool,
    /// What the broker and the name servers said, or why they did not. None: not asked.
    pub(super) closing: Option<Result<Closing, String>>,
}

/// How far a broker is closed, and what it still holds.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// Whether the broker refuses messages.
    pub(super) refuses: bool,
    /// The name server that still lets producers write to a broker that refuses messages, in words.
    pub(super) open: Option<String>,
    /// How long nothing was stored. None when the broker does not say how many messages it has stored.
    pub(super) quiet: Option<SignedDuration>,
    /// The messages that are left: seen last, so that messages that were stored before the broker was seen closed are counted.
    pub(super) left: Backlog,
}

impl Observed<'_> {
    pub(super) fn name(&self) -> String {
        self.object.name_any()
    }

    pub(super) fn namespace(&self) -> String {
        self.object.namespace().unwrap_or_default()
    }

    /// The name of the cluster among all clusters of all namespaces.
    pub(super) fn cluster(&self) -> String {
        let name_server = &self.object.spec.name_server_ref.name;
        format!("{}/{name_server}", self.namespace())
    }

    /// Whether the status of this group of the cluster says that it restarts a broker.
    pub(super) fn restarts(&self, group: &str) -> bool {
        let mut others = self.others.iter();
        (self.name() == group && restarts(self.object))
            || others.any(|other| other.group.name_any() == group && other.restarts())
    }

    /// The first problem of pods and volumes.
    pub(super) fn problem(&self) -> Option<Problem> {
        let mut of_pods = self
            .members
            .iter()
            .filter_map(|member| member.problem.clone());
        let of_claims = || {
            self.claims
                .iter()
                .find_map(|claim| observe::of_claim(claim))
        };
        of_pods.next().or_else(of_claims)
    }

    /// The broker that takes the messages: the master, where one is elected.
    pub(super) fn master(&self) -> Option<&Member> {
        let mut members = self.members.iter();
        match &self.view {
            None => members.find(|member| member.is_ready),
            Some(view) => {
                let master = view.serving()?;
                members.find(|member| member.slot == master && member.is_ready)
            }
        }
    }

    /// Where a member is reached inside of the cluster, `host:port`.
    pub(super) fn client_address(&self, slot: i64) -> Option<String> {
        let members = &self.election.as_ref()?.spec.members;
        let member = members.iter().find(|member| member.slot == slot)?;
        Some(member.client.clone())
    }

    /// Whether the election belongs to this object, and not to an earlier one of its name.
    pub(super) fn owns_election(&self) -> bool {
        let uid = self.object.uid().unwrap_or_default();
        let election = self.election.as_deref();
        election.is_some_and(|election| is_owned_by(election, &uid))
    }

    /// The time of this look, for statuses.
    pub(super) fn time(&self) -> Time {
        Time(self.now)
    }
}

fn restarts(group: &BrokerGroup) -> bool {
    let status = group.status.as_ref();
    status.is_some_and(|status| status.rollout.is_some())
}

#[cfg(test)]
impl<'a> Observed<'a> {
    /// A look that saw nothing but the object.
    pub(super) fn nothing(object: &'a BrokerGroup, now: Timestamp) -> Self {
        Self {
            object,
            default_image: "rmq:test",
            now,
            name_server: None,
            others: Vec::new(),
            advertised: Vec::new(),
            election: None,
            view: None,
            lease: LeaseSeen::There,
            told: None,
            set: None,
            members: Vec::new(),
            claims: Vec::new(),
            nodes: BTreeMap::new(),
            stranded: BTreeMap::new(),
            segment_bytes: None,
            restorer: None,
            missing: None,
            turn: None,
            quiet: None,
            missing_at: Vec::new(),
            tls: Arc::default(),
            spans: tls::Spans::default(),
            end: None,
        }
    }
}
