//! The children of a NameServer object. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use rmq_crds::{ExternalType, NameServer};

use crate::annotations;
use crate::objects::names::{self, Labels};
use crate::objects::tls::Tls;
use crate::objects::{Children, external, hash, headless, keyring, metadata, one_at_a_time, pod};
use crate::yaml;

/// Seconds between the start of a name server and the restart of the next: brokers find it within five.
const MIN_READY_SECONDS: i32 = 10;

/// The keys of name servers that ask for signatures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    /// The Secret that has them.
    pub(super) secret: &'a str,
    /// The user that brokers sign as.
    pub(super) broker: &'a str,
}

/// The children as they must be. `default_image` is for an object that names none; without `keys` the name servers serve everybody.
pub(super) fn build(
    object: &NameServer,
    default_image: &str,
    keys: Option<Keys<'_>>,
    tls: Option<Tls<'_>>,
) -> Children {
    let name = object.name_any();
    let workload = names::name_servers(&name);
    let labels = names::labels(names::NAME_SERVER, &name, &name);
    let selector = names::selector(names::NAME_SERVER, &name);
    let meta = |name: String| metadata(object, name, &labels);
    let spec = &object.spec;

    let users = spec.authentication.as_ref();
    let users = users.and_then(|of| of.users_secret_name.as_deref());
    let mut config = BTreeMap::new();
    if let Some(keys) = keys {
        let authorizes = spec.authorization.is_some_and(|of| of.enabled);
        config = keyring::name_server_settings(authorizes, users.is_some(), keys.broker);
    }
    // Among them may be another brokerIdentities.
    config.extend(spec.config.clone());
    config.extend(tls.iter().flat_map(Tls::of_ports));
    let config = match config.is_empty() {
        true => String::new(),
        false => yaml::write(&config),
    };
    let keys = keys.map(|keys| keyring::of_name_server_pods(keys.secret, users));
    let (volumes, mounts) = keys.into_iter().flatten().unzip();
    let mut children = Children::default();
    let mut annotations = Labels::from([(annotations::CONFIG_HASH.to_owned(), hash(&config))]);
    if let Some(restart) = object.annotations().get(annotations::RESTART) {
        annotations.insert(annotations::RESTART.to_owned(), restart.clone());
    }
    children.config_maps.push(ConfigMap {
        metadata: meta(workload.clone()),
        data: Some([("namesrv.yaml".to_owned(), config)].into()),
        ..ConfigMap::default()
    });
    let port = ("remoting", names::NAME_SERVER_PORT);
    let management = ("management", names::NAME_SERVER_MANAGEMENT_PORT);
    children.services.push(headless(
        meta(workload.clone()),
        &selector,
        &[port, management],
    ));
    let mut listen = pod::port(port.0, port.1);
    if let Some(listener) = &spec.external_listener {
        if listener.type_ == ExternalType::HostPort {
            listen.host_port = listener.host_port;
        }
        let service = external(meta(names::external(&workload)), &selector, listener, port);
        children.services.extend(service);
    }
    children
        .disruption_budgets
        .push(one_at_a_time(meta(workload.clone()), &selector, None));
    // One budget for the brokers of all groups without replicas: a drain of nodes evicts one of them at a time.
    children.disruption_budgets.push(one_at_a_time(
        meta(names::brokers_of(&name)),
        &names::brokers_selector(&name),
        Some(names::ELECTED),
    ));
    let resources = spec.resources.clone().unwrap_or_else(|| {
        pod::resources(
            &[("cpu", "50m"), ("memory", "64Mi")],
            &[("memory", "256Mi")],
        )
    });
    let template = pod::template(pod::Server {
        name: "namesrv",
        command: [
            "rmq-namesrv",
            "--config",
            "/etc/rmq/namesrv.yaml",
            "--listen",
            "0.0.0.0:9876",
            "--management",
            "0.0.0.0:9878",
        ]
        .map(str::to_owned)
        .to_vec(),
        image: &spec.image,
        default_image,
        ports: vec![listen, pod::port(management.0, management.1)],
        management_port: management.1,
        env: Vec::new(),
        resources,
        config_map: workload.clone(),
        volumes,
        mounts,
        tls,
        overrides: &spec.pod,
        labels: labels.clone(),
        annotations,
        apart: selector.clone(),
        elected: None,
    });
    children.stateful_sets.push(StatefulSet {
        metadata: meta(workload.clone()),
        spec: Some(StatefulSetSpec {
            replicas: Some(spec.replicas),
            service_name: Some(workload),
            pod_management_policy: Some("Parallel".to_owned()),
            min_ready_seconds: Some(MIN_READY_SECONDS),
            selector: LabelSelector {
                match_labels: Some(selector),
                ..LabelSelector::default()
            },
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    });
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_a_name_server() {
        for case in ["name-server-small", "name-server-full"] {
            let object: NameServer = crate::yaml::case(case);
            insta::assert_snapshot!(case, yaml::write(&build(&object, "rmq:test", None, None)));
        }
    }

    #[test]
    fn tls_adds_files_and_settings_and_nothing_of_the_certificate() {
        let mut object: NameServer = crate::yaml::case("name-server-small");
        object.spec.tls = Some(rmq_crds::ServerTls::default());
        let tls = Tls {
            stage: crate::tls::Stage::Accepts,
            secret: "main-namesrv-tls",
            wanted: object.spec.tls.as_ref(),
        };
        let children = build(&object, "rmq:test", None, Some(tls));
        insta::assert_snapshot!("name-server-tls", yaml::write(&children));
    }

    #[test]
    fn name_servers_with_keys_ask_for_signatures() {
        let mut object: NameServer = crate::yaml::case("name-server-small");
        let open = yaml::write(&build(&object, "rmq:test", None, None));
        object.spec.authentication = Some(rmq_crds::NameServerAuthentication {
            enabled: true,
            secret_name: None,
            users_secret_name: Some("people".to_owned()),
        });
        object.spec.authorization = Some(rmq_crds::Authorization { enabled: true });
        assert_eq!(
            yaml::write(&build(&object, "rmq:test", None, None)),
            open,
            "until all brokers sign, nothing is restarted"
        );
        let keys = Keys {
            secret: "main-access",
            broker: "rmq-broker",
        };
        let closed = yaml::write(&build(&object, "rmq:test", Some(keys), None));
        insta::assert_snapshot!("name-server-closed", closed);
    }
}
