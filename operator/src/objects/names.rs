//! Names, labels, ports and addresses. No other file makes names.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use rmq_crds::NameServer;

/// Labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// The manager of the fields of children (server-side apply).
pub(crate) const FIELD_MANAGER: &str = "rmq-operator";
/// Keeps a BrokerGroup until its messages were consumed, and a Topic, SubscriptionGroup or User until it is deleted at the brokers.
pub(crate) const FINALIZER: &str = "rmq.rs/cleanup";

/// Label with the name of the NameServer object: on everything of a cluster.
pub(crate) const CLUSTER: &str = "rmq.rs/cluster";
/// Label with the name of the BrokerGroup object: on everything of a group.
pub(crate) const BROKER_GROUP: &str = "rmq.rs/broker-group";
/// Label with the kind of server.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";
/// Value of [`COMPONENT`].
pub(crate) const NAME_SERVER: &str = "name-server";
/// Value of [`COMPONENT`].
pub(crate) const BROKER: &str = "broker";

/// Value of [`COMPONENT`] of a pod that restores a backup.
pub(crate) const RESTORE: &str = "restore";

/// Label of pods of groups with replicas: such a group has a disruption budget of its own.
pub(crate) const ELECTED: &str = "rmq.rs/elected";
/// Label of pods of groups with replicas: what the broker is now. It follows the election, and clients use name servers instead.
pub(crate) const ROLE: &str = "rmq.rs/role";
/// Value of [`ROLE`].
pub(crate) const MASTER: &str = "master";
/// Value of [`ROLE`].
pub(crate) const REPLICA: &str = "replica";
/// Label of Kubernetes with the name of a StatefulSet's pod.
pub(crate) const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label of Kubernetes with the number of a StatefulSet's pod.
pub(crate) const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// Where name servers listen.
pub(crate) const NAME_SERVER_PORT: i32 = 9876;
/// Where brokers listen.
pub(crate) const BROKER_PORT: i32 = 10911;
/// Where members of a group copy the log.
pub(crate) const BROKER_REPLICATION_PORT: i32 = 10912;
/// Where brokers listen for old clients.
pub(crate) const BROKER_FAST_PORT: i32 = 10909;
/// Health and metrics of name servers.
pub(crate) const NAME_SERVER_MANAGEMENT_PORT: i32 = 9878;
/// Health and metrics of brokers.
pub(crate) const BROKER_MANAGEMENT_PORT: i32 = 10999;

/// The StatefulSet, headless Service, ConfigMap and disruption budget of a NameServer object.
pub(crate) fn name_servers(object: &str) -> String {
    format!("{object}-namesrv")
}

/// The Secret with the keys of a cluster, where its NameServer object names no other.
pub(crate) fn access(name_server: &str) -> String {
    format!("{name_server}-access")
}

/// The Secret of a User object for workloads.
pub(crate) fn binding(user: &str) -> String {
    format!("{user}-binding")
}

/// The disruption budget of all brokers of a cluster.
pub(crate) fn brokers_of(name_server: &str) -> String {
    format!("{name_server}-brokers")
}

/// The StatefulSet, headless Service and ConfigMap of a BrokerGroup object; of a group with replicas also the election, its Lease, the
/// account with its role, and the disruption budget.
pub(crate) fn brokers(object: &str) -> String {
    format!("{object}-broker")
}

/// The Service of the external listener.
pub(crate) fn external(workload: &str) -> String {
    format!("{workload}-external")
}

/// The Service of the external listener of one member. The first has that of a broker alone, so it keeps its port.
pub(crate) fn external_of(workload: &str, slot: i32) -> String {
    match slot {
        0 => external(workload),
        slot => format!("{}-{slot}", external(workload)),
    }
}

/// The Service of the pods with this role.
pub(crate) fn role_service(workload: &str, role: &str) -> String {
    format!("{workload}-{role}")
}

/// The Secret with the certificate of a workload's servers, where the operator makes it.
pub(crate) fn certificates(workload: &str) -> String {
    format!("{workload}-tls")
}

/// The Secret with the CA of a NameServer object.
pub(crate) fn authority(name_server: &str) -> String {
    format!("{name_server}-ca")
}

/// The pod that restores a backup into the volume of the first broker.
pub(crate) fn restorer(workload: &str) -> String {
    format!("{workload}-restore")
}

/// The volume claim of a StatefulSet's pod.
pub(crate) fn claim(workload: &str, index: i32) -> String {
    format!("data-{}", pod(workload, index))
}

/// The number of a StatefulSet's pod.
pub(crate) fn slot(pod: &str) -> Option<i64> {
    pod.rsplit_once('-')?.1.parse().ok()
}

/// The pod of a StatefulSet.
pub(crate) fn pod(workload: &str, index: i32) -> String {
    format!("{workload}-{index}")
}

/// Host of a pod, for all pods of the Kubernetes cluster. Their resolvers add the cluster's domain.
pub(crate) fn host(pod: &str, service: &str, namespace: &str) -> String {
    format!("{pod}.{service}.{namespace}.svc")
}

/// The one name of all name servers. Brokers look it up again and again.
pub(crate) fn name_servers_host(object: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc", name_servers(object))
}

/// The one name of all name servers of which this address (`host:port`) is one.
pub(crate) fn all_of(addr: &str) -> Option<&str> {
    let (host, _) = addr.rsplit_once(':')?;
    Some(host.split_once('.')?.1)
}

/// The hosts by which servers are reached in the cluster: by their services, and each pod by its own name. `*` stands for the pods.
pub(crate) fn hosts(workload: &str, services: &[String], namespace: &str) -> BTreeSet<String> {
    // Resolvers add the domain of the cluster; some clients are given names with it.
    let domains = |host: String| [host.clone(), format!("{host}.cluster.local")];
    let services = services.iter().map(String::as_str).chain([workload]);
    let services = services.flat_map(|service| {
        let whole = format!("{service}.{namespace}.svc");
        let short = [service.to_owned(), format!("{service}.{namespace}")];
        short.into_iter().chain(domains(whole))
    });
    let pods = domains(format!("*.{workload}.{namespace}.svc"));
    // Whoever is in the pod, or has a tunnel to it.
    let here = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    services.chain(pods).chain(here).collect()
}

/// Each name server with its port, as clients take it.
pub(crate) fn name_server_addresses(object: &NameServer) -> Vec<String> {
    addresses_of(object, object.spec.replicas)
}

/// The first name servers, each with its port.
pub(crate) fn addresses_of(object: &NameServer, count: i32) -> Vec<String> {
    let workload = name_servers(&object.name_any());
    let namespace = object.namespace().unwrap_or_default();
    let host_of = |index| host(&pod(&workload, index), &workload, &namespace);
    (0..count)
        .map(|index| format!("{}:{NAME_SERVER_PORT}", host_of(index)))
        .collect()
}

/// The labels that select the pods of a workload; they never change.
pub(crate) fn selector(component: &str, object: &str) -> Labels {
    let of = match component {
        NAME_SERVER => CLUSTER,
        _ => BROKER_GROUP,
    };
    Labels::from([
        (COMPONENT.to_owned(), component.to_owned()),
        (of.to_owned(), object.to_owned()),
    ])
}

/// All brokers of a cluster.
pub(crate) fn brokers_selector(name_server: &str) -> Labels {
    Labels::from([
        (COMPONENT.to_owned(), BROKER.to_owned()),
        (CLUSTER.to_owned(), name_server.to_owned()),
    ])
}

/// One broker of a group.
pub(crate) fn member_selector(object: &str, slot: i32) -> Labels {
    let mut labels = selector(BROKER, object);
    labels.insert(POD_NAME.to_owned(), pod(&brokers(object), slot));
    labels
}

/// The brokers of a group that have this role.
pub(crate) fn role_selector(object: &str, role: &str) -> Labels {
    let mut labels = selector(BROKER, object);
    labels.insert(ROLE.to_owned(), role.to_owned());
    labels
}

/// Labels of everything of one object.
pub(crate) fn labels(component: &str, object: &str, name_server: &str) -> Labels {
    let mut labels = selector(component, object);
    let mut set = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    set("app.kubernetes.io/name", "rmq");
    set("app.kubernetes.io/instance", object);
    set("app.kubernetes.io/managed-by", FIELD_MANAGER);
    set(CLUSTER, name_server);
    labels
}

/// Component, namespace and name of the object that a child belongs to, by its labels.
pub(crate) fn owner(child: &impl ResourceExt) -> Option<(String, String, String)> {
    let labels = child.labels();
    // Claims have only these two labels.
    let component = labels.get(COMPONENT)?;
    let of = match component.as_str() {
        NAME_SERVER => CLUSTER,
        _ => BROKER_GROUP,
    };
    Some((
        component.clone(),
        child.namespace()?,
        labels.get(of)?.clone(),
    ))
}

/// The term of all children of an object.
pub(crate) fn term(component: &str, namespace: &str, object: &str) -> String {
    format!("{component}/{namespace}/{object}")
}

/// The term of a child.
pub(crate) fn owner_term(child: &impl ResourceExt) -> Option<String> {
    owner(child).map(|(component, namespace, object)| term(&component, &namespace, &object))
}

/// The term of all objects that name this NameServer object.
pub(crate) fn cluster_term(namespace: &str, name_server: &str) -> String {
    format!("cluster/{namespace}/{name_server}")
}

/// A selector as text, for the scale subresource.
pub(crate) fn as_text(selector: &Labels) -> String {
    let pairs: Vec<String> = selector
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(",")
}
