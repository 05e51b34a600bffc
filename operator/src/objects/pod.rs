//! Pods of servers: what both kinds have in common.

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, HTTPGetAction, LocalObjectReference, ObjectFieldSelector,
    PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, TopologySpreadConstraint, Volume,
    VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rmq_crds::{Image, PodOverrides};

use crate::annotations;

use super::names::Labels;
use super::tls::Tls;

/// User and group of the servers in our images.
const USER: i64 = 10_001;

/// The variable with the form of a server's log lines.
const LOG_FORMAT: &str = "RMQ_LOG_FORMAT";

/// Label of a node's name.
const NODE: &str = "kubernetes.io/hostname";
/// Label of a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

/// Seconds between the signal to stop and the kill. A broker hands over within 5 and writes what is in flight; what it acknowledged is in the
/// system's cache by then, which a kill leaves alone. Kubernetes looks again at a namespace that goes after half of the longest of its pods.
const GRACE_SECONDS: i64 = 30;

/// What differs between the servers.
pub(crate) struct Server<'a> {
    /// Name of the container.
    pub(crate) name: &'static str,
    pub(crate) command: Vec<String>,
    pub(crate) image: &'a Image,
    pub(crate) default_image: &'a str,
    pub(crate) ports: Vec<ContainerPort>,
    pub(crate) management_port: i32,
    pub(crate) env: Vec<EnvVar>,
    pub(crate) resources: ResourceRequirements,
    pub(crate) config_map: String,
    /// Volumes besides the configuration and /tmp, and where they are mounted.
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
    pub(crate) tls: Option<Tls<'a>>,
    pub(crate) overrides: &'a PodOverrides,
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    /// Pods that should run on different nodes.
    pub(crate) apart: Labels,
    /// What members of a group with replicas have besides.
    pub(crate) elected: Option<Elected>,
}

/// What members of a group with replicas have besides.
pub(crate) struct Elected {
    /// Their account, whose token they need.
    pub(crate) account: String,
    /// All members of the group: no node may have two of them while another has none.
    pub(crate) group: Labels,
}

pub(crate) fn port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

pub(crate) fn text(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        ..EnvVar::default()
    }
}

/// A variable with a field of the pod.
pub(crate) fn field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: path.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// `requests` and `limits` of CPU and memory.
pub(crate) fn resources(
    requests: &[(&str, &str)],
    limits: &[(&str, &str)],
) -> ResourceRequirements {
    let map = |pairs: &[(&str, &str)]| {
        let quantities = pairs
            .iter()
            .map(|(name, quantity)| ((*name).to_owned(), Quantity((*quantity).to_owned())));
        (!pairs.is_empty()).then(|| quantities.collect())
    };
    ResourceRequirements {
        requests: map(requests),
        limits: map(limits),
        ..ResourceRequirements::default()
    }
}

fn probe(path: &str, port: i32, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

pub(crate) fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// The pod template.
pub(crate) fn template(server: Server<'_>) -> PodTemplateSpec {
    let overrides = server.overrides;
    let mut labels = overrides.labels.clone();
    labels.extend(server.labels);
    let mut annotations = overrides.annotations.clone();
    annotations.extend(server.annotations);
    let stage = server.tls.as_ref().and_then(|tls| tls.stage.word());
    annotations.extend(stage.map(|stage| (annotations::TLS.to_owned(), stage.to_owned())));
    let mut env = server.env;
    // Programs read the logs of pods first. The object can set another form.
    if !overrides.env.iter().any(|one| one.name == LOG_FORMAT) {
        env.push(text(LOG_FORMAT, "json"));
    }
    env.extend(overrides.env.iter().cloned());
    let mut volumes = vec![
        Volume {
            name: "config".to_owned(),
            config_map: Some(ConfigMapVolumeSource {
                name: server.config_map,
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: "tmp".to_owned(),
            empty_dir: Some(EmptyDirVolumeSource::default()),
            ..Volume::default()
        },
    ];
    volumes.extend(server.volumes);
    volumes.extend(server.tls.as_ref().map(Tls::volume));
    let mut mounts = vec![
        mount("config", "/etc/rmq", true),
        mount("tmp", "/tmp", false),
    ];
    mounts.extend(server.mounts);
    mounts.extend(server.tls.as_ref().map(Tls::mount));
    let apart = LabelSelector {
        match_labels: Some(server.apart.clone()),
        ..LabelSelector::default()
    };
    let over = |key: &str, otherwise: &str, pods: &LabelSelector| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: otherwise.to_owned(),
        label_selector: Some(pods.clone()),
        ..TopologySpreadConstraint::default()
    };
    let spread = match &server.elected {
        _ if !overrides.topology_spread_constraints.is_empty() => {
            overrides.topology_spread_constraints.clone()
        }
        None => vec![over(ZONE, "ScheduleAnyway", &apart)],
        Some(elected) => {
            let group = LabelSelector {
                match_labels: Some(elected.group.clone()),
                ..LabelSelector::default()
            };
            vec![
                over(NODE, "DoNotSchedule", &group),
                over(ZONE, "ScheduleAnyway", &group),
            ]
        }
    };
    let account = overrides
        .service_account_name
        .clone()
        .or_else(|| server.elected.as_ref().map(|of| of.account.clone()));
    let affinity = overrides.affinity.clone().unwrap_or_else(|| Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: NODE.to_owned(),
                        label_selector: Some(apart),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    });
    let some = |map: Labels| (!map.is_empty()).then_some(map);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: some(labels),
            annotations: some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![Container {
                name: server.name.to_owned(),
                image: Some(
                    server
                        .image
                        .reference
                        .clone()
                        .unwrap_or_else(|| server.default_image.to_owned()),
                ),
                image_pull_policy: Some(
                    server
                        .image
                        .pull_policy
                        .map_or("IfNotPresent", |policy| policy.as_str())
                        .to_owned(),
                ),
                command: Some(server.command),
                env: Some(env),
                ports: Some(server.ports),
                resources: Some(server.resources),
                volume_mounts: Some(mounts),
                // After a crash, a broker may need minutes to read its log.
                startup_probe: Some(probe("/livez", server.management_port, 1, 600)),
                liveness_probe: Some(probe("/livez", server.management_port, 10, 6)),
                readiness_probe: Some(probe("/readyz", server.management_port, 2, 2)),
                security_context: Some(SecurityContext {
                    allow_privilege_escalation: Some(false),
                    read_only_root_filesystem: Some(true),
                    capabilities: Some(Capabilities {
                        drop: Some(vec!["ALL".to_owned()]),
                        ..Capabilities::default()
                    }),
                    ..SecurityContext::default()
                }),
                // The pod's status says then why the container ended.
                termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
                ..Container::default()
            }],
            affinity: Some(affinity),
            automount_service_account_token: Some(account.is_some()),
            enable_service_links: Some(false),
            image_pull_secrets: (!server.image.pull_secrets.is_empty()).then(|| {
                let names = server.image.pull_secrets.iter();
                names
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect()
            }),
            node_selector: some(overrides.node_selector.clone()),
            priority_class_name: overrides.priority_class_name.clone(),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            service_account_name: account,
            termination_grace_period_seconds: Some(
                overrides
                    .termination_grace_period_seconds
                    .unwrap_or(GRACE_SECONDS),
            ),
            tolerations: (!overrides.tolerations.is_empty()).then(|| overrides.tolerations.clone()),
            topology_spread_constraints: Some(spread),
            volumes: Some(volumes),
            ..PodSpec::default()
        }),
    }
}

/// A directory that goes with the pod.
pub(crate) fn ephemeral(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

/// The mount of the volume with the messages.
pub(crate) fn data_mount() -> VolumeMount {
    mount("data", "/data", false)
}
