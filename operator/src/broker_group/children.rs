//! The children of a BrokerGroup object. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, EnvVar, PersistentVolumeClaim, PersistentVolumeClaimSpec, ResourceRequirements,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;
use rmq_config::{BrokerConfig, Configuration as _};
use rmq_crds::{
    BrokerGroup, DeletionPolicy, ElectionAckMode, ExternalListener, ExternalType, Flush, Scalar,
};

use crate::annotations;
use crate::objects::names::{self, Labels};
use crate::objects::tls::Tls;
use crate::objects::{Advertised, Children, external, hash, headless, keyring, metadata, pod};
use crate::yaml;

use super::membership::Membership;
use super::{electing, live};

/// The variable with the host that clients are told.
const ADVERTISE: &str = "RMQ_BROKER_ADVERTISE";

/// What the children depend on besides the object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    /// The image of an object that names none.
    pub(super) default_image: &'a str,
    /// The address of the external listener of each broker, by slot.
    pub(super) advertised: &'a [Option<Advertised>],
    /// The election of a group with replicas.
    pub(super) membership: Option<&'a Membership>,
    /// TLS of the brokers.
    pub(super) tls: Option<Tls<'a>>,
    /// The Secret with the keys of the cluster, where it has some.
    pub(super) access: Option<&'a str>,
}

/// The children as they must be. As long as a group with an external listener lacks an address of it, only what the listener needs is made.
pub(super) fn build(object: &BrokerGroup, given: Given<'_>) -> Children {
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let spec = &object.spec;
    let workload = names::brokers(&name);
    let labels = names::labels(names::BROKER, &name, &spec.name_server_ref.name);
    let selector = names::selector(names::BROKER, &name);
    let meta = |name: String| metadata(object, name, &labels);
    let port = ("remoting", names::BROKER_PORT);
    let fast = ("fast", names::BROKER_FAST_PORT);
    let management = ("management", names::BROKER_MANAGEMENT_PORT);
    let replication = ("replication", names::BROKER_REPLICATION_PORT);
    let membership = given.membership;
    let pods = membership.map_or(1, |membership| membership.pods);

    let mut children = Children::default();
    let mut ports = vec![port, fast, management];
    ports.extend(membership.map(|_| replication));
    let service = headless(meta(workload.clone()), &selector, &ports);
    children.services.push(service);
    let mut listen = pod::port(port.0, port.1);
    if let Some(listener) = &spec.listeners.external {
        if listener.type_ == ExternalType::HostPort {
            listen.host_port = listener.host_port;
        }
        for slot in 0..pods {
            let of_slot = ExternalListener {
                node_port: listener.node_port.map(|port| port + slot),
                ..listener.clone()
            };
            let selector = match membership {
                None => selector.clone(),
                Some(_) => names::member_selector(&name, slot),
            };
            let meta = meta(names::external_of(&workload, slot));
            let mut service = external(meta, &selector, &of_slot, port);
            // A broker that no name server shows is not ready. Clients that have its address reach it anyway.
            if let Some(spec) = service.as_mut().and_then(|service| service.spec.as_mut()) {
                spec.publish_not_ready_addresses = Some(true);
            }
            children.services.extend(service);
        }
    }
    if lacks_address(object, given) {
        return children;
    }
    if let Some(membership) = membership {
        electing::add(&mut children, object, membership, &labels);
    }
    let mut settings = configuration(object, &namespace, given);
    settings.extend(given.tls.iter().flat_map(Tls::of_brokers));
    let mut env = Vec::new();
    let (files, command) = match membership {
        None => {
            env.push(pod::field("POD_NAME", "metadata.name"));
            env.extend(advertise(given.advertised.first(), &workload, &namespace));
            let file = ("broker.yaml".to_owned(), yaml::write(&settings));
            (BTreeMap::from([file]), "/etc/rmq/broker.yaml")
        }
        Some(_) => {
            let index = format!("metadata.labels['{}']", names::POD_INDEX);
            env.push(pod::field("POD_INDEX", &index));
            let own = given.advertised.iter().flatten().next();
            if own.is_some_and(|advertised| advertised.host.is_none()) {
                env.push(pod::field(ADVERTISE, "status.hostIP"));
            }
            let file = |slot| {
                let advertised = given.advertised.get(usize::try_from(slot).unwrap_or(0));
                let own = of_member(slot, advertised, &workload, &namespace);
                let all: BTreeMap<_, _> = settings.clone().into_iter().chain(own).collect();
                (format!("broker-{slot}.yaml"), yaml::write(&all))
            };
            (
                (0..pods).map(file).collect(),
                "/etc/rmq/broker-$(POD_INDEX).yaml",
            )
        }
    };
    children.config_maps.push(ConfigMap {
        metadata: meta(workload.clone()),
        data: Some(files),
        ..ConfigMap::default()
    });
    let mut pod_labels = labels.clone();
    if membership.is_some() {
        pod_labels.insert(names::ELECTED.to_owned(), "true".to_owned());
    }
    let mut volumes = if spec.storage.ephemeral {
        vec![pod::ephemeral("data")]
    } else {
        Vec::new()
    };
    let mut mounts = vec![pod::data_mount()];
    if let Some(secret) = given.access {
        let (volume, mount) = keyring::of_broker_pods(secret);
        volumes.push(volume);
        mounts.push(mount);
    }
    let mut ports = vec![
        listen,
        pod::port(fast.0, fast.1),
        pod::port(management.0, management.1),
    ];
    ports.extend(membership.map(|_| pod::port(replication.0, replication.1)));
    let template = pod::template(pod::Server {
        name: "broker",
        command: ["rmq-broker", "--config", command]
            .map(str::to_owned)
            .to_vec(),
        image: &spec.image,
        default_image: given.default_image,
        ports,
        management_port: management.1,
        env,
        resources: resources(object),
        config_map: workload.clone(),
        volumes,
        mounts,
        tls: given.tls,
        overrides: &spec.pod,
        labels: pod_labels,
        annotations: annotations(object, settings, given),
        apart: names::brokers_selector(&spec.name_server_ref.name),
        elected: membership.map(|_| pod::Elected {
            account: electing::account(object),
            group: selector.clone(),
        }),
    });
    let retention = match spec.storage.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    children.stateful_sets.push(StatefulSet {
        metadata: meta(workload.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(pods),
            service_name: Some(workload),
            pod_management_policy: Some("Parallel".to_owned()),
            // The operator deletes the pods itself, one by one, when their brokers are out of the routes.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(retention.to_owned()),
                    when_scaled: Some("Retain".to_owned()),
                },
            ),
            selector: LabelSelector {
                match_labels: Some(selector.clone()),
                ..LabelSelector::default()
            },
            template,
            volume_claim_templates: claim(object, selector).map(|claim| vec![claim]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    });
    children
}

/// Whether the address of a broker for clients is not known yet.
pub(super) fn lacks_address(object: &BrokerGroup, given: Given<'_>) -> bool {
    let pods = given.membership.map_or(1, |membership| membership.pods);
    let known = given.advertised.iter().take_while(|one| one.is_some());
    let pods = usize::try_from(pods).unwrap_or(usize::MAX);
    object.spec.listeners.external.is_some() && known.count() < pods
}

/// The annotations of pods: another hash restarts them.
fn annotations(
    object: &BrokerGroup,
    mut settings: BTreeMap<String, Scalar>,
    given: Given<'_>,
) -> Labels {
    // A running broker takes these settings, so they do not restart it.
    settings.retain(|key, _| !live::is_live(key));
    let text = yaml::write(&settings);
    let listener = object.spec.listeners.external.as_ref();
    let hash = match (given.membership, listener) {
        // The address of a broker alone is in the template.
        (None, _) | (_, None) => hash(&text),
        // Kubernetes keeps the ports that it has chosen.
        (Some(_), Some(listener)) => {
            let balanced = match listener.type_ {
                ExternalType::LoadBalancer => given.advertised,
                ExternalType::NodePort | ExternalType::HostPort => &[],
            };
            let hosts: Vec<_> = balanced.iter().flatten().map(|one| &one.host).collect();
            let port = (listener.node_port, listener.host_port);
            hash(&(text, &listener.advertised_host, port, hosts))
        }
    };
    let mut annotations = Labels::from([(annotations::CONFIG_HASH.to_owned(), hash)]);
    if let Some(secret) = given.access {
        annotations.insert(annotations::ACCESS.to_owned(), secret.to_owned());
    }
    if let Some(restart) = object.annotations().get(annotations::RESTART) {
        annotations.insert(annotations::RESTART.to_owned(), restart.clone());
    }
    annotations
}

/// What clients are told of a broker that is alone.
fn advertise(
    advertised: Option<&Option<Advertised>>,
    workload: &str,
    namespace: &str,
) -> Vec<EnvVar> {
    match advertised.and_then(Option::as_ref) {
        None => vec![pod::text(
            ADVERTISE,
            names::host("$(POD_NAME)", workload, namespace),
        )],
        Some(advertised) => vec![
            match &advertised.host {
                Some(host) => pod::text(ADVERTISE, host),
                None => pod::field(ADVERTISE, "status.hostIP"),
            },
            pod::text("RMQ_BROKER_ADVERTISE_PORT", advertised.port.to_string()),
        ],
    }
}

/// The settings that only this member has.
fn of_member(
    slot: i32,
    advertised: Option<&Option<Advertised>>,
    workload: &str,
    namespace: &str,
) -> BTreeMap<String, Scalar> {
    let mut own = BTreeMap::from([("brokerId".to_owned(), Scalar::Integer(slot.into()))]);
    let host = match advertised.and_then(Option::as_ref) {
        None => Some(names::host(
            &names::pod(workload, slot),
            workload,
            namespace,
        )),
        Some(advertised) => {
            let port = Scalar::Integer(advertised.port.into());
            own.insert("advertisePort".to_owned(), port);
            advertised.host.clone()
        }
    };
    // Without a host, that of the node is in a variable.
    own.extend(host.map(|host| ("advertise".to_owned(), Scalar::Text(host))));
    own
}

/// What a broker asks for.
pub(super) fn resources(object: &BrokerGroup) -> ResourceRequirements {
    let usual = || pod::resources(&[("cpu", "250m"), ("memory", "512Mi")], &[]);
    object.spec.resources.clone().unwrap_or_else(usual)
}

/// The volume claim of each broker. None: messages stay in the pod.
pub(super) fn claim(object: &BrokerGroup, labels: Labels) -> Option<PersistentVolumeClaim> {
    let storage = &object.spec.storage;
    let size = storage.size.clone()?;
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some("data".to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// What all brokers of the group have in their configuration files.
fn configuration(
    object: &BrokerGroup,
    namespace: &str,
    given: Given<'_>,
) -> BTreeMap<String, Scalar> {
    let membership = given.membership;
    let spec = &object.spec;
    let mut config = spec.config.extra.clone();
    if given.access.is_some() {
        config.extend(keyring::broker_settings());
    }
    let mut set = |key: &str, value: Scalar| config.insert(key.to_owned(), value);
    let text = |value: &str| Scalar::Text(value.to_owned());
    let name_servers = names::name_servers_host(&spec.name_server_ref.name, namespace);
    set("clusterName", text(object.cluster_name()));
    set("brokerName", text(object.broker_name()));
    set("listen", text(&format!("0.0.0.0:{}", names::BROKER_PORT)));
    set(
        "management",
        text(&format!("0.0.0.0:{}", names::BROKER_MANAGEMENT_PORT)),
    );
    set(
        "nameServers",
        text(&format!("{name_servers}:{}", names::NAME_SERVER_PORT)),
    );
    set("lookUpNameServers", Scalar::Bool(true));
    set("dataDir", text("/data"));
    match membership {
        Some(membership) => {
            set("election", text("kubernetes"));
            set("electionNamespace", text(namespace));
            set("electionName", text(&names::brokers(&object.name_any())));
            set("ackMode", text(membership.ack_mode.as_str()));
        }
        None => {
            let chosen = spec.replication.as_ref().and_then(|of| of.ack_mode);
            // A broker alone waits for no other.
            if let Some(ElectionAckMode::Flushed | ElectionAckMode::InSyncFlushed) = chosen {
                set("ackMode", text(ElectionAckMode::Flushed.as_str()));
            }
        }
    }
    let typed = &spec.config;
    set(
        "autoCreateTopic",
        Scalar::Bool(live::auto_creates_topics(typed)),
    );
    let wanted = spec.authentication.map(|of| of.enabled);
    if let Some(enabled) = wanted {
        set("authenticationEnabled", Scalar::Bool(enabled));
    }
    if let Some(of) = spec.authorization {
        set("authorizationEnabled", Scalar::Bool(of.enabled));
    }
    if let Some(flush) = typed.flush {
        let flush = match flush {
            Flush::Async => "async",
            Flush::Sync => "sync",
        };
        set("flush", text(flush));
    }
    if let Some(hours) = typed.retention_hours {
        set("retentionHours", Scalar::Integer(hours.into()));
    }
    if let Some(bytes) = typed.max_message_bytes {
        set("maxMessageBytes", Scalar::Integer(bytes.into()));
    }
    if let Some(create) = typed.auto_create_subscription_group {
        set("autoCreateSubscriptionGroup", Scalar::Bool(create));
    }
    config
}

/// The broker's own value of a setting.
pub(super) fn default_of(key: &str) -> String {
    let all = BrokerConfig::default().pairs();
    let mut all = all.into_iter();
    all.find(|(known, _)| *known == key)
        .map(|(_, value)| value.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::objects;

    fn given(advertised: &[Option<Advertised>]) -> Given<'_> {
        Given {
            default_image: "rmq:test",
            advertised,
            membership: None,
            tls: None,
            access: None,
        }
    }

    #[test]
    fn brokers_with_keys_have_them_in_files_and_none_in_their_settings() {
        let mut object: BrokerGroup = yaml::case("broker-group-small");
        object.spec.authentication = Some(rmq_crds::Authentication { enabled: true });
        object.spec.authorization = Some(rmq_crds::Authorization { enabled: true });
        let given = Given {
            access: Some("main-access"),
            ..given(&[])
        };
        let children = build(&object, given);
        insta::assert_snapshot!("broker-group-closed", yaml::write(&children));
    }

    #[test]
    fn objects_of_a_broker_group() {
        for case in [
            "broker-group-small",
            "broker-group-full",
            "broker-group-node-port",
        ] {
            let object: BrokerGroup = yaml::case(case);
            let service: Service = serde_json::from_value(
                serde_json::json!({"spec": {"ports": [{"port": 10911, "nodePort": 31000}]}}),
            )
            .expect("a service");
            let listener = object.spec.listeners.external.as_ref();
            let told = listener.and_then(|listener| objects::advertised(listener, Some(&service)));
            let children = build(&object, given(&[told]));
            insta::assert_snapshot!(case, yaml::write(&children));
        }
    }

    #[test]
    fn brokers_connect_with_tls_from_one_stage_on() {
        let object: BrokerGroup = yaml::case("broker-group-small");
        let file = |stage| {
            let tls = Tls {
                stage,
                secret: "a-broker-tls",
                wanted: None,
            };
            let given = Given {
                tls: Some(tls),
                ..given(&[])
            };
            let children = build(&object, given);
            let files = children.config_maps[0].data.clone().expect("files");
            let file = files.into_values().next().expect("one");
            let of_tls = file.lines().filter(|line| line.starts_with("tls"));
            let hash = children.stateful_sets[0].spec.clone().expect("a spec");
            (of_tls.map(str::to_owned).collect::<Vec<_>>(), hash.template)
        };
        let (accepts, template) = file(crate::tls::Stage::Accepts);
        assert_eq!(
            accepts,
            [
                "tlsCaFile: /etc/rmq-tls/ca.crt",
                "tlsCertificateFile: /etc/rmq-tls/tls.crt",
                "tlsClientAuth: none",
                "tlsKeyFile: /etc/rmq-tls/tls.key",
                "tlsMode: permissive",
            ]
        );
        let (connects, next) = file(crate::tls::Stage::Connects);
        assert_ne!(template, next, "another stage restarts the pods");
        let more: Vec<_> = connects
            .iter()
            .filter(|line| !accepts.contains(line))
            .collect();
        assert_eq!(
            more,
            [
                "tlsOutgoing: true",
                "tlsOutgoingCaFile: /etc/rmq-tls/ca.crt",
                "tlsOutgoingCertificateFile: /etc/rmq-tls/tls.crt",
                "tlsOutgoingKeyFile: /etc/rmq-tls/tls.key",
            ]
        );
        let (enforces, _) = file(crate::tls::Stage::Enforces);
        assert!(
            enforces.contains(&"tlsMode: enforcing".to_owned()),
            "{enforces:?}"
        );
    }

    #[test]
    fn a_listener_without_its_address_makes_the_services_alone() {
        let object: BrokerGroup = yaml::case("broker-group-node-port");
        let children = build(&object, given(&[]));
        assert_eq!(children.services.len(), 2);
        assert!(children.stateful_sets.is_empty() && children.config_maps.is_empty());
    }

    #[test]
    fn what_a_broker_takes_while_it_runs_restarts_nothing() {
        let mut object: BrokerGroup = yaml::case("broker-group-small");
        let hash_of = |object: &BrokerGroup| {
            let children = build(object, given(&[]));
            let spec = children.stateful_sets[0].spec.as_ref();
            let template = spec.map(|spec| &spec.template);
            (hash(&template), children.config_maps[0].data.clone())
        };
        let before = hash_of(&object);
        object.spec.config.retention_hours = Some(5);
        object.spec.config.max_message_bytes = Some(1_024);
        object.spec.config.auto_create_topic = Some(true);
        object.spec.config.auto_create_subscription_group = Some(false);
        let live = hash_of(&object);
        assert_eq!(before.0, live.0, "no restart");
        assert_ne!(before.1, live.1, "the next start has it");
        object.spec.config.flush = Some(Flush::Sync);
        assert_ne!(hash_of(&object).0, live.0);
    }
}
