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
use kube::core::object::HasStatus;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};
use parking_lot::Mutex;
use rmq_client::Admin;
use rmq_crds::{BrokerGroup, NameServer, SubscriptionGroup, Topic};

use serde::de::DeserializeOwned;

use crate::apply;
use crate::broker_group::live;
use crate::build::names;
use crate::clusters::Clusters;
use crate::conditions::{Status, Verdict};
use crate::controller::{Queues, tell};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::time;
use crate::watch::Watch;

/// Shared by the whole process.
pub(crate) struct Context {
    pub(crate) client: Client,
    /// The image of servers that do not name one.
    pub(crate) image: String,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clusters: Clusters,
    pub(crate) stores: Stores,
    pub(crate) queues: Queues,
    /// Failures in a row, by object.
    pub(crate) failures: Mutex<HashMap<String, u32>>,
    /// Which group of a cluster may restart a broker, and since when, by cluster: what the cache of statuses does not show yet.
    pub(crate) turns: Mutex<HashMap<String, (String, Timestamp)>>,
    /// What brokers were given while they run.
    pub(crate) live: Mutex<live::Brokers>,
    /// How many may be asked at the same time.
    pub(crate) asking: tokio::sync::Semaphore,
    /// Messages stored by a broker, and since when it is that many, by uid of the pod or group that it is waited for.
    pub(crate) quiet: Mutex<HashMap<String, (u64, Timestamp)>>,
}

/// What is watched, as it was last seen.
pub(crate) struct Stores {
    pub(crate) name_servers: Watch<NameServer>,
    pub(crate) broker_groups: Watch<BrokerGroup>,
    pub(crate) topics: Watch<Topic>,
    pub(crate) subscription_groups: Watch<SubscriptionGroup>,
    pub(crate) stateful_sets: Watch<StatefulSet>,
    pub(crate) services: Watch<Service>,
    pub(crate) config_maps: Watch<ConfigMap>,
    pub(crate) disruption_budgets: Watch<PodDisruptionBudget>,
    pub(crate) pods: Watch<Pod>,
    pub(crate) claims: Watch<PersistentVolumeClaim>,
}

impl Stores {
    /// Waits until each has its first full list.
    pub(crate) async fn ready(&self) {
        self.name_servers.ready().await;
        self.broker_groups.ready().await;
        self.topics.ready().await;
        self.subscription_groups.ready().await;
        self.stateful_sets.ready().await;
        self.services.ready().await;
        self.config_maps.ready().await;
        self.disruption_budgets.ready().await;
        self.pods.ready().await;
        self.claims.ready().await;
    }

    /// The volume claims of a workload: those of an older template may be of another name.
    pub(crate) fn claims_of(
        &self,
        namespace: &str,
        group: &str,
    ) -> Vec<Arc<PersistentVolumeClaim>> {
        self.claims
            .of(&names::term(names::BROKER, namespace, group))
    }

    /// Groups of a cluster, by name.
    pub(crate) fn groups_of(&self, namespace: &str, name_server: &str) -> Vec<Arc<BrokerGroup>> {
        self.broker_groups
            .of(&names::cluster_term(namespace, name_server))
    }
}

impl Context {
    /// Now, for statuses.
    pub(crate) fn now(&self) -> Time {
        Time(time::now())
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
        let now = time::now();
        let mut quiet = self.quiet.lock();
        let seen = quiet.entry(uid.to_owned()).or_insert((stored, now));
        if seen.0 != stored {
            *seen = (stored, now);
        }
        Ok(Some(now.duration_since(seen.1)))
    }

    /// Writes what one look came to: conditions, events and figures, and the status when it is another than before.
    pub(crate) async fn record<K>(
        &self,
        object: &K,
        mut new: K::Status,
        verdict: &Verdict,
    ) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + HasStatus<Status: Status>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let generation = object.meta().generation;
        *new.observed_generation() = generation;
        verdict.write(new.conditions_mut(), generation, &self.now());
        let old = object.status();
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
