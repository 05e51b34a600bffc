//! Looks at a NameServer object: reads the watches, and asks only what the decision depends on. Nothing is changed here.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use rmq_crds::{ExternalType, NameServer};

use crate::annotations;
use crate::context::Context;
use crate::credentials::{self, Access};
use crate::error::Error;
use crate::fetch;
use crate::objects::{advertised, names};
use crate::observe;
use crate::time;
use crate::tls;

use super::scale_in::{self, Shown};

/// All that a decision takes.
pub(super) struct Observed<'a> {
    pub(super) object: &'a NameServer,
    /// The image for an object that names none.
    pub(super) default_image: &'a str,
    pub(super) now: Timestamp,
    pub(super) set: Option<Arc<StatefulSet>>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// The service for clients outside of the cluster.
    pub(super) service: Option<Arc<Service>>,
    /// Why a pod is missing.
    pub(super) missing: Option<observe::Problem>,
    /// Their certificates, and how far all servers of the cluster are with TLS.
    pub(super) tls: tls::Seen,
    pub(super) spans: tls::Spans,
    /// The keys of the cluster.
    pub(super) access: Access,
    /// Whether the name servers' file asks for signatures.
    pub(super) is_enforced: bool,
    /// Broker groups with brokers that have no keys yet.
    pub(super) unsigned: Vec<String>,
    /// What each name server shows, while fewer are wanted.
    pub(super) shown: Vec<(String, Shown)>,
}

impl Observed<'_> {
    /// How many name servers the StatefulSet is to have now.
    pub(super) fn has(&self) -> i32 {
        let set = self.set.as_ref();
        let replicas = set.and_then(|set| set.spec.as_ref()?.replicas);
        replicas.unwrap_or(0)
    }

    /// Whether people want nothing to be done.
    pub(super) fn is_paused(&self) -> bool {
        annotations::is(self.object, annotations::PAUSED, "true")
    }
}

/// One look.
///
/// # Errors
/// The API server does not give or take the Secret with the keys.
pub(super) async fn look<'a>(
    object: &'a NameServer,
    context: &'a Context,
) -> Result<Observed<'a>, Error> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let workload = names::name_servers(&name);
    let stores = &context.stores;
    let term = names::term(names::NAME_SERVER, &namespace, &name);
    let external = names::external(&workload);
    let mut observed = Observed {
        object,
        default_image: &context.image,
        now: time::now(),
        set: stores.stateful_sets.get(&namespace, &workload),
        pods: stores.pods.of(&term),
        service: stores.services.get(&namespace, &external),
        missing: None,
        tls: tls::Seen::default(),
        spans: tls::spans(context, &namespace, &name),
        access: Access::Open,
        is_enforced: is_enforced(&namespace, &workload, context),
        unsigned: unsigned(&namespace, &name, context),
        shown: Vec::new(),
    };
    if object.metadata.deletion_timestamp.is_some() || observed.is_paused() {
        return Ok(observed);
    }
    observed.tls = tls::look(context, servers(&observed), observed.now).await?;
    let (seen, spans) = (&observed.tls, &observed.spans);
    tls::secure(context, object, names::NAME_SERVER, spans, seen).await;
    observed.access = credentials::prepare(object, context).await?;
    if observe::missing_pods(observed.set.as_deref(), object.spec.replicas) {
        observed.missing = fetch::why_missing(context, &namespace, &workload, &[]).await;
    }
    let has = observed.has();
    if scale_in::is_asked(object, has) {
        observed.shown = scale_in::ask(object, has, context).await;
    }
    Ok(observed)
}

/// What of the name servers their certificate depends on.
fn servers<'a>(observed: &'a Observed<'_>) -> tls::Servers<'a> {
    let object = observed.object;
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let workload = names::name_servers(&name);
    let services = [names::external(&workload)];
    let mut hosts = names::hosts(&workload, &services, &namespace);
    let pods: Vec<&Pod> = observed.pods.iter().map(|pod| &**pod).collect();
    let outside = external_addresses(object, observed.service.as_deref(), &pods);
    let outside = outside.unwrap_or_default();
    let outside = outside
        .split(';')
        .filter_map(|addr| Some(addr.rsplit_once(':')?.0));
    let outside: Vec<String> = outside.map(str::to_owned).collect();
    hosts.extend(outside.iter().cloned());
    let inside = (0..object.spec.replicas).map(|index| {
        let pod = names::pod(&workload, index);
        names::host(&pod, &workload, &namespace)
    });
    let all = names::name_servers_host(&name, &namespace);
    tls::Servers {
        wanted: object.spec.tls.as_ref(),
        name_server: object,
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        set: observed.set.as_deref(),
        hosts,
        reached_at: [all].into_iter().chain(inside).chain(outside).collect(),
        are_brokers: false,
        workload,
    }
}

/// The addresses that clients outside of the cluster use.
pub(super) fn external_addresses(
    object: &NameServer,
    service: Option<&Service>,
    pods: &[&Pod],
) -> Option<String> {
    let listener = object.spec.external_listener.as_ref()?;
    let node_of = |pod: &&Pod| pod.status.as_ref()?.host_ip.clone();
    let nodes = pods.iter().filter_map(node_of);
    match listener.type_ {
        ExternalType::HostPort => {
            let port = listener.host_port?;
            let mut nodes: Vec<String> = nodes.collect();
            nodes.sort();
            nodes.dedup();
            Some(
                nodes
                    .iter()
                    .map(|node| format!("{node}:{port}"))
                    .collect::<Vec<_>>()
                    .join(";"),
            )
        }
        ExternalType::NodePort | ExternalType::LoadBalancer => {
            let found = advertised(listener, service)?;
            let host = found.host.or_else(|| nodes.min())?;
            Some(format!("{host}:{}", found.port))
        }
    }
}

/// Whether the file of the name servers asks for signatures.
fn is_enforced(namespace: &str, workload: &str, context: &Context) -> bool {
    let files = context.stores.config_maps.get(namespace, workload);
    let data = files.as_ref().and_then(|files| files.data.as_ref());
    let mut files = data.into_iter().flat_map(|data| data.values());
    files.any(|file| {
        file.lines()
            .any(|line| line == "authenticationEnabled: true")
    })
}

/// Broker groups of the cluster with brokers that have no keys: name servers that asked for signatures would not know them any more.
fn unsigned(namespace: &str, name: &str, context: &Context) -> Vec<String> {
    let groups = context.stores.groups_of(namespace, name).into_iter();
    let lacks = |group: &String| {
        let pods = context.stores.pods_of(namespace, group);
        pods.iter()
            .any(|pod| !pod.annotations().contains_key(annotations::ACCESS))
    };
    groups.map(|group| group.name_any()).filter(lacks).collect()
}
