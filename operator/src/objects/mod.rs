//! The objects of Kubernetes that servers are made of. Pure: the same in, the same out.

pub(crate) mod access;
pub(crate) mod keyring;
pub(crate) mod names;
pub(crate) mod pod;
pub(crate) mod tls;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount, ServicePort, ServiceSpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};
use rmq_crds::{BrokerGroupElection, ExternalListener, ExternalType};
use serde::Serialize;
use sha2::{Digest, Sha256};

use names::Labels;

/// The children of one custom resource, in the order in which they are applied.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Children {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) accounts: Vec<ServiceAccount>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<Role>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) role_bindings: Vec<RoleBinding>,
    /// Leases that are missing: brokers may hold them and not make them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) leases: Vec<Lease>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) elections: Vec<BrokerGroupElection>,
    /// Volume claims that no StatefulSet makes: made once, and left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) claims: Vec<PersistentVolumeClaim>,
    /// Pods that do one thing and end: made once, and left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pods: Vec<Pod>,
    pub(crate) config_maps: Vec<ConfigMap>,
    pub(crate) services: Vec<Service>,
    pub(crate) disruption_budgets: Vec<PodDisruptionBudget>,
    pub(crate) stateful_sets: Vec<StatefulSet>,
}

/// Metadata of a child of `owner`.
pub(crate) fn metadata<K>(owner: &K, name: String, labels: &Labels) -> ObjectMeta
where
    K: Resource<DynamicType = ()>,
{
    ObjectMeta {
        name: Some(name),
        namespace: owner.namespace(),
        labels: Some(labels.clone()),
        owner_references: Some(owner_reference(owner).into_iter().collect()),
        ..ObjectMeta::default()
    }
}

/// The garbage collector removes the child with its owner.
pub(crate) fn owner_reference<K>(owner: &K) -> Option<OwnerReference>
where
    K: Resource<DynamicType = ()>,
{
    owner.controller_owner_ref(&())
}

/// Whether the object with this uid owns a child.
pub(crate) fn is_owned_by(object: &impl ResourceExt, uid: &str) -> bool {
    object
        .owner_references()
        .iter()
        .any(|owner| owner.uid == uid)
}

/// First 16 digits of the SHA-256 of the value as JSON.
pub(crate) fn hash(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let digest = Sha256::digest(json);
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A Service that gives each pod a name. Pods that are not ready have one too: brokers must find name servers that start,
/// and a broker that starts must be found under the name that it registers.
pub(crate) fn headless(metadata: ObjectMeta, selector: &Labels, ports: &[(&str, i32)]) -> Service {
    Service {
        metadata,
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(selector.clone()),
            ports: Some(
                ports
                    .iter()
                    .map(|(name, port)| service_port(name, *port))
                    .collect(),
            ),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// A Service inside of the cluster for the pods with these labels.
pub(crate) fn internal(metadata: ObjectMeta, selector: Labels, port: (&str, i32)) -> Service {
    Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(selector),
            ports: Some(vec![service_port(port.0, port.1)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn service_port(name: &str, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}

/// The Service of an external listener; none for a host port.
pub(crate) fn external(
    mut metadata: ObjectMeta,
    selector: &Labels,
    listener: &ExternalListener,
    port: (&str, i32),
) -> Option<Service> {
    let type_ = match listener.type_ {
        ExternalType::NodePort => "NodePort",
        ExternalType::LoadBalancer => "LoadBalancer",
        ExternalType::HostPort => return None,
    };
    if !listener.annotations.is_empty() {
        metadata.annotations = Some(listener.annotations.clone());
    }
    Some(Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(selector.clone()),
            load_balancer_class: listener.load_balancer_class.clone(),
            // A node without the pod would only forward the connection.
            external_traffic_policy: (listener.type_ == ExternalType::LoadBalancer)
                .then(|| "Local".to_owned()),
            ports: Some(vec![ServicePort {
                node_port: listener.node_port,
                ..service_port(port.0, port.1)
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}

/// Host and port that clients are told instead of the pod's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertised {
    /// None: the address of the node that the pod runs on.
    pub(crate) host: Option<String>,
    pub(crate) port: i32,
}

/// The address of an external listener. None: it has none yet.
pub(crate) fn advertised(
    listener: &ExternalListener,
    service: Option<&Service>,
) -> Option<Advertised> {
    let host = listener.advertised_host.clone();
    match listener.type_ {
        ExternalType::HostPort => Some(Advertised {
            host,
            port: listener.host_port?,
        }),
        ExternalType::NodePort => {
            let port = service?.spec.as_ref()?.ports.as_ref()?.first()?.node_port?;
            Some(Advertised { host, port })
        }
        ExternalType::LoadBalancer => {
            let service = service?;
            let port = service.spec.as_ref()?.ports.as_ref()?.first()?.port;
            let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
            let ingress = balancer.ingress.as_ref()?.first()?;
            let given = ingress.hostname.clone().or_else(|| ingress.ip.clone());
            Some(Advertised {
                host: Some(host.or(given)?),
                port,
            })
        }
    }
}

/// A drain of nodes evicts at most one of these pods at a time. Pods with the label `but` have another budget: a pod has one at most.
pub(crate) fn one_at_a_time(
    metadata: ObjectMeta,
    selector: &Labels,
    but: Option<&str>,
) -> PodDisruptionBudget {
    let mut budget = budget(metadata, selector, 1);
    if let (Some(but), Some(spec)) = (but, &mut budget.spec)
        && let Some(selector) = &mut spec.selector
    {
        selector.match_expressions = Some(vec![LabelSelectorRequirement {
            key: but.to_owned(),
            operator: "DoesNotExist".to_owned(),
            values: None,
        }]);
    }
    budget
}

/// A drain of nodes makes so many of these pods unavailable at the same time at most.
pub(crate) fn budget(metadata: ObjectMeta, selector: &Labels, max: i32) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(max)),
            selector: Some(LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            }),
            // A broker that is not ready does not delay the drain of its node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
