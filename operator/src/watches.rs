//! Starts the watches: our own kinds, and the objects that they are made of.

use futures_util::{StreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::events::Recorder;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use rmq_crds::{BrokerGroup, SubscriptionGroup, Topic, User};
use tokio::task::JoinSet;

use crate::invalid::Invalid;
use crate::objects::names;
use crate::settings;
use crate::stores::Stores;
use crate::watch::{Watch, Watched};

/// Objects in one page of a list. An object is a few KiB.
const PAGE: u32 = 100;

/// Watches all kinds in one namespace, or in all.
pub(crate) fn start(
    client: &Client,
    namespace: Option<&String>,
    recorder: &Recorder,
    tasks: &mut JoinSet<()>,
) -> Stores {
    let ours = format!("app.kubernetes.io/managed-by={}", names::FIELD_MANAGER);
    let mut watches = Watches {
        client,
        namespace,
        recorder,
        tasks,
    };
    Stores {
        name_servers: watches.own(|_| Vec::new()),
        broker_groups: watches.own(|group: &BrokerGroup| {
            vec![names::cluster_term(
                &group.namespace().unwrap_or_default(),
                &group.spec.name_server_ref.name,
            )]
        }),
        topics: watches.own(settings::terms::<Topic>),
        subscription_groups: watches.own(settings::terms::<SubscriptionGroup>),
        users: watches.own(settings::terms::<User>),
        elections: watches.children(&ours, |_| {}),
        accounts: watches.children(&ours, |_| {}),
        roles: watches.children(&ours, |_| {}),
        role_bindings: watches.children(&ours, |_| {}),
        stateful_sets: watches.children(&ours, |_| {}),
        services: watches.children(&ours, |_| {}),
        config_maps: watches.children(&ours, |_| {}),
        disruption_budgets: watches.children(&ours, |_| {}),
        pods: watches.children(&ours, trim_pod),
        claims: watches.children(names::BROKER_GROUP, |_| {}),
    }
}

/// What all watches of one namespace have in common.
struct Watches<'a> {
    client: &'a Client,
    namespace: Option<&'a String>,
    recorder: &'a Recorder,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Watches one of our own kinds. Objects are found by what `terms` gives.
    fn own<K: Watched>(&mut self, terms: fn(&K) -> Vec<String>) -> Watch<K> {
        let (watch, feed) = Watch::new(terms);
        let known = watch.clone();
        let mut invalid = Invalid::new(self.client.clone(), self.recorder.clone());
        let all = self.api::<DeserializeGuard<K>>();
        let events = watcher(all, watcher::Config::default().page_size(PAGE))
            .default_backoff()
            .filter_map(move |event| {
                let sorted = event
                    .map(|event| invalid.sort_out(event, &known))
                    .transpose();
                future::ready(sorted)
            });
        self.tasks.spawn(feed.run(events));
        watch
    }

    /// Watches the children that `selector` selects, without what `trim` takes away. Children are found by their owner.
    fn children<K: Watched>(&mut self, selector: &str, trim: fn(&mut K)) -> Watch<K> {
        let (watch, feed) =
            Watch::new(|object: &K| names::owner_term(object).into_iter().collect());
        let config = watcher::Config::default().labels(selector).page_size(PAGE);
        let events = watcher(self.api::<K>(), config).default_backoff();
        self.tasks.spawn(feed.trimmed(trim).run(events));
        watch
    }
}

/// Keeps of a pod's spec the images and the node, which is all that a look reads: there are many pods.
fn trim_pod(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        let images = spec.containers.iter().map(|container| Container {
            name: container.name.clone(),
            image: container.image.clone(),
            ..Container::default()
        });
        *spec = PodSpec {
            containers: images.collect(),
            node_name: spec.node_name.take(),
            ..PodSpec::default()
        };
    }
}
