//! The children of a BrokerGroup object. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;
use rmq_crds::{BrokerGroup, DeletionPolicy, ExternalType, Flush, Scalar};

use crate::annotations;
use crate::objects::names::{self, Labels};
use crate::objects::{Advertised, Children, external, hash, headless, metadata, pod};
use crate::yaml;

use super::live;

/// The children as they must be. `default_image` is for an object that names none. `advertised` is the address of the external listener;
/// as long as a group with such a listener lacks it, only the Services are made.
pub(crate) fn build(
    object: &BrokerGroup,
    default_image: &str,
    advertised: Option<&Advertised>,
) -> Children {
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

    let mut children = Children::default();
    let service = headless(meta(workload.clone()), &selector, &[port, fast, management]);
    children.services.push(service);
    let mut listen = pod::port(port.0, port.1);
    if let Some(listener) = &spec.listeners.external {
        if listener.type_ == ExternalType::HostPort {
            listen.host_port = listener.host_port;
        }
        let mut service = external(meta(names::external(&workload)), &selector, listener, port);
        // A broker that no name server shows is not ready. Clients that have its address reach it anyway.
        if let Some(spec) = service.as_mut().and_then(|service| service.spec.as_mut()) {
            spec.publish_not_ready_addresses = Some(true);
        }
        children.services.extend(service);
        if advertised.is_none() {
            return children;
        }
    }
    let mut settings = configuration(object, &namespace);
    let config = yaml::write(&settings);
    // A running broker takes these settings, so they do not restart it.
    settings.retain(|key, _| !live::is_live(key));
    let mut annotations = Labels::from([(
        annotations::CONFIG_HASH.to_owned(),
        hash(&yaml::write(&settings)),
    )]);
    if let Some(restart) = object.annotations().get(annotations::RESTART) {
        annotations.insert(annotations::RESTART.to_owned(), restart.clone());
    }
    children.config_maps.push(ConfigMap {
        metadata: meta(workload.clone()),
        data: Some([("broker.yaml".to_owned(), config)].into()),
        ..ConfigMap::default()
    });
    let mut env = vec![pod::field("POD_NAME", "metadata.name")];
    match advertised {
        None => env.push(pod::text(
            "RMQ_BROKER_ADVERTISE",
            names::host("$(POD_NAME)", &workload, &namespace),
        )),
        Some(advertised) => {
            env.push(match &advertised.host {
                Some(host) => pod::text("RMQ_BROKER_ADVERTISE", host),
                None => pod::field("RMQ_BROKER_ADVERTISE", "status.hostIP"),
            });
            env.push(pod::text(
                "RMQ_BROKER_ADVERTISE_PORT",
                advertised.port.to_string(),
            ));
        }
    }
    let volumes = if spec.storage.ephemeral {
        vec![pod::ephemeral("data")]
    } else {
        Vec::new()
    };
    let template = pod::template(pod::Server {
        name: "broker",
        command: ["rmq-broker", "--config", "/etc/rmq/broker.yaml"]
            .map(str::to_owned)
            .to_vec(),
        image: &spec.image,
        default_image,
        ports: vec![
            listen,
            pod::port(fast.0, fast.1),
            pod::port(management.0, management.1),
        ],
        management_port: management.1,
        env,
        resources: spec
            .resources
            .clone()
            .unwrap_or_else(|| pod::resources(&[("cpu", "250m"), ("memory", "512Mi")], &[])),
        config_map: workload.clone(),
        volumes,
        mounts: vec![pod::data_mount()],
        overrides: &spec.pod,
        labels: labels.clone(),
        annotations,
        apart: names::brokers_selector(&spec.name_server_ref.name),
        grace_seconds: 120,
    });
    let retention = match spec.storage.deletion_policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    children.stateful_sets.push(StatefulSet {
        metadata: meta(workload.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(spec.replicas),
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

fn claim(object: &BrokerGroup, labels: Labels) -> Option<PersistentVolumeClaim> {
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

/// The broker's configuration file.
fn configuration(object: &BrokerGroup, namespace: &str) -> BTreeMap<String, Scalar> {
    let spec = &object.spec;
    let mut config = spec.config.extra.clone();
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
    let typed = &spec.config;
    set(
        "autoCreateTopic",
        Scalar::Bool(live::auto_creates_topics(typed)),
    );
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

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::objects;

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
            let children = build(&object, "rmq:test", told.as_ref());
            insta::assert_snapshot!(case, yaml::write(&children));
        }
    }

    #[test]
    fn a_listener_without_its_address_makes_the_services_alone() {
        let object: BrokerGroup = yaml::case("broker-group-node-port");
        let children = build(&object, "rmq:test", None);
        assert_eq!(children.services.len(), 2);
        assert!(children.stateful_sets.is_empty() && children.config_maps.is_empty());
    }

    #[test]
    fn what_a_broker_takes_while_it_runs_restarts_nothing() {
        let mut object: BrokerGroup = yaml::case("broker-group-small");
        let hash_of = |object: &BrokerGroup| {
            let children = build(object, "rmq:test", None);
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
