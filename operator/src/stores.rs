//! The objects of the API server as the watches last saw them.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use rmq_crds::{BrokerGroup, BrokerGroupElection, NameServer, SubscriptionGroup, Topic, User};

use crate::objects::names;
use crate::watch::Watch;

/// One watch for each kind.
pub(crate) struct Stores {
    pub(crate) name_servers: Watch<NameServer>,
    pub(crate) broker_groups: Watch<BrokerGroup>,
    pub(crate) topics: Watch<Topic>,
    pub(crate) subscription_groups: Watch<SubscriptionGroup>,
    pub(crate) users: Watch<User>,
    pub(crate) elections: Watch<BrokerGroupElection>,
    pub(crate) accounts: Watch<ServiceAccount>,
    pub(crate) roles: Watch<Role>,
    pub(crate) role_bindings: Watch<RoleBinding>,
    pub(crate) stateful_sets: Watch<StatefulSet>,
    pub(crate) services: Watch<Service>,
    pub(crate) config_maps: Watch<ConfigMap>,
    pub(crate) disruption_budgets: Watch<PodDisruptionBudget>,
    pub(crate) pods: Watch<Pod>,
    pub(crate) claims: Watch<PersistentVolumeClaim>,
}

impl Stores {
    /// Waits until each watch has its first full list.
    pub(crate) async fn ready(&self) {
        let Self {
            name_servers,
            broker_groups,
            topics,
            subscription_groups,
            users,
            elections,
            accounts,
            roles,
            role_bindings,
            stateful_sets,
            services,
            config_maps,
            disruption_budgets,
            pods,
            claims,
        } = self;
        name_servers.ready().await;
        broker_groups.ready().await;
        topics.ready().await;
        subscription_groups.ready().await;
        users.ready().await;
        elections.ready().await;
        accounts.ready().await;
        roles.ready().await;
        role_bindings.ready().await;
        stateful_sets.ready().await;
        services.ready().await;
        config_maps.ready().await;
        disruption_budgets.ready().await;
        pods.ready().await;
        claims.ready().await;
    }

    /// The volume claims of a group, found by their labels: claims of an older template can have other names.
    pub(crate) fn claims_of(
        &self,
        namespace: &str,
        group: &str,
    ) -> Vec<Arc<PersistentVolumeClaim>> {
        self.claims
            .of(&names::term(names::BROKER, namespace, group))
    }

    /// The pods of a group, by name.
    pub(crate) fn pods_of(&self, namespace: &str, group: &str) -> Vec<Arc<Pod>> {
        self.pods.of(&names::term(names::BROKER, namespace, group))
    }

    /// The pods that restore a backup for a group.
    pub(crate) fn restorers_of(&self, namespace: &str, group: &str) -> Vec<Arc<Pod>> {
        self.pods.of(&names::term(names::RESTORE, namespace, group))
    }

    /// The broker groups of a cluster, by name.
    pub(crate) fn groups_of(&self, namespace: &str, name_server: &str) -> Vec<Arc<BrokerGroup>> {
        self.broker_groups
            .of(&names::cluster_term(namespace, name_server))
    }
}
