//! What every reconcile gets: the API server, what is watched, and the clusters' brokers.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use rmq_client::Admin;
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic};

use serde::de::DeserializeOwned;

use crate::apply;
use crate::clusters::Clusters;
use crate::conditions::{Status, Verdict};
use crate::controller::tell;
use crate::error::Error;
use crate::metrics::Metrics;

/// Shared by the whole process.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The image of servers that do not name one.
    pub(crate) image: String,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clusters: Clusters,
    pub(crate) stores: Stores,
    /// Failures in a row, by object.
    pub(crate) failures: Mutex<HashMap<String, u32>>,
    /// Which group of a cluster may restart a broker, and since when, by cluster: what the cache of statuses does not show yet.
    pub(crate) turns: Mutex<HashMap<String, (String, Timestamp)>>,
    /// Messages stored by a broker, and since when it is that many, by uid of the pod or group that it is waited for.
    pub(crate) quiet: Mutex<HashMap<String, (u64, Timestamp)>>,
}

/// What is watched, as it was last seen.
pub(crate) struct Stores {
    pub(crate) name_servers: Store<NameServer>,
    pub(crate) broker_groups: Store<BrokerGroup>,
    pub(crate) topics: Store<Topic>,
    pub(crate) subscription_groups: Store<SubscriptionGroup>,
    pub(crate) stateful_sets: Store<StatefulSet>,
    pub(crate) services: Store<Service>,
    pub(crate) config_maps: Store<ConfigMap>,
    pub(crate) disruption_budgets: Store<PodDisruptionBudget>,
    pub(crate) pods: Store<Pod>,
    pub(crate) claims: Store<PersistentVolumeClaim>,
}

impl Stores {
    /// Waits until each has its first full list: a child that is only not seen yet is not made again.
    pub(crate) async fn ready(&self) {
        // An error is the end of the process.
        let _ = self.name_servers.wait_until_ready().await;
        let _ = self.broker_groups.wait_until_ready().await;
        let _ = self.topics.wait_until_ready().await;
        let _ = self.subscription_groups.wait_until_ready().await;
        let _ = self.stateful_sets.wait_until_ready().await;
        let _ = self.services.wait_until_ready().await;
        let _ = self.config_maps.wait_until_ready().await;
        let _ = self.disruption_budgets.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        let _ = self.claims.wait_until_ready().await;
    }

    /// The NameServer object of this name.
    pub(crate) fn name_server(&self, namespace: &str, name: &str) -> Option<Arc<NameServer>> {
        self.name_servers
            .get(&ObjectRef::new(name).within(namespace))
    }

    /// The volume claims of a workload.
    pub(crate) fn claims_of(
        &self,
        namespace: &str,
        workload: &str,
    ) -> Vec<Arc<PersistentVolumeClaim>> {
        let prefix = crate::build::names::claims(workload);
        self.claims.state_filter(|claim| {
            claim.namespace().as_deref() == Some(namespace) && claim.name_any().starts_with(&prefix)
        })
    }

    /// Groups of a cluster, by name.
    pub(crate) fn groups_of(&self, namespace: &str, name_server: &str) -> Vec<Arc<BrokerGroup>> {
        let mut groups = self.broker_groups.state_filter(|group| {
            group.spec.name_server_ref.name == name_server
                && group.namespace().as_deref() == Some(namespace)
        });
        groups.sort_by_key(|group| group.name_any());
        groups
    }

    /// Pods with these labels, by name.
    pub(crate) fn pods_of(
        &self,
        namespace: &str,
        selector: &crate::build::names::Labels,
    ) -> Vec<Arc<Pod>> {
        let mut pods = self.pods.state_filter(|pod| {
            pod.namespace().as_deref() == Some(namespace)
                && selector
                    .iter()
                    .all(|(name, value)| pod.labels().get(name) == Some(value))
        });
        pods.sort_by_key(|pod| pod.name_any());
        pods
    }
}

impl Context {
    /// Now, for statuses.
    pub(crate) fn now(&self) -> Time {
        Time(Timestamp::now())
    }

    /// How long a broker has stored exactly as many messages as it has now; none when it does not say how many. `uid` is whom it is
    /// asked for.
    pub(crate) async fn quiet_for(
        &self,
        admin: &Admin,
        broker: &str,
        uid: &str,
    ) -> Result<Option<SignedDuration>, rmq_client::Error> {
        let info = admin.runtime_info(broker).await?;
        let stored = info.get("putMessageTimesTotal");
        let Some(stored) = stored.and_then(|stored| stored.parse().ok()) else {
            return Ok(None);
        };
        let now = Timestamp::now();
        let mut quiet = self.quiet.lock();
        let seen = quiet.entry(uid.to_owned()).or_insert((stored, now));
        if seen.0 != stored {
            *seen = (stored, now);
        }
        Ok(Some(now.duration_since(seen.1)))
    }

    /// Writes what one look came to: conditions, events and figures, and the status when it is another than before.
    pub(crate) async fn record<K, S>(
        &self,
        object: &K,
        old: Option<&S>,
        mut new: S,
        verdict: &Verdict,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
        S: Status,
    {
        let generation = object.meta().generation;
        *new.observed_generation() = generation;
        verdict.write(new.conditions_mut(), generation, &self.now());
        tell(self, object, old.map(Status::conditions), verdict).await;
        apply::status(self, object, old, &new).await
    }

    /// Tells people. A failure to do so is only logged.
    pub(crate) async fn event<K>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        note: impl Into<String>,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let note: String = note.into();
        tracing::info!(kind = %K::kind(&()), namespace = object.namespace(), name = object.name_any(), reason, "{note}");
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1_000).collect()),
            // Events of the same action become one series that keeps the first note: another note is another action.
            action: format!("{reason}-{}", &crate::build::hash(&note)[..6]),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!("cannot write an event: {error}");
        }
    }

    /// Something went as planned.
    pub(crate) async fn note<K>(&self, object: &K, reason: &str, note: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event(object, EventType::Normal, reason, note).await;
    }

    /// Somebody should look.
    pub(crate) async fn warn<K>(&self, object: &K, reason: &str, note: impl Into<String>)
    where
        K: Resource<DynamicType = ()>,
    {
        self.event(object, EventType::Warning, reason, note).await;
    }
}
