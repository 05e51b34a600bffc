//! The objects of a cluster, and the servers that the cluster's NameServer and BrokerGroup objects ask for.

use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rmq_crds::{BrokerGroup, NameServer};
use serde_json::json;

use super::access::Kubernetes;
use super::problem::Problem;

/// Objects that are read at once.
const PAGE: u32 = 500;

/// Servers that an object asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The object, as `kubectl` names it: `brokergroup/broker-a`.
    pub(crate) object: String,
    /// The broker's name in RocketMQ; none for name servers.
    pub(crate) broker: Option<String>,
    pub(crate) replicas: i32,
    /// Pods that serve, as the operator says.
    pub(crate) ready: i32,
    /// What the operator says is wrong.
    pub(crate) why: Option<String>,
}

impl Kubernetes {
    /// The servers that the cluster's objects ask for; none where only addresses are known. Objects that are being deleted ask for nothing.
    pub(crate) async fn wanted(&self) -> Result<Vec<Wanted>, Problem> {
        let Some(cluster) = &self.cluster else {
            return Ok(Vec::new());
        };
        let mut all = Vec::new();
        let api: Api<NameServer> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = api.get_opt(cluster).await;
        let found =
            found.map_err(|error| Problem::of(error, "get", "nameservers", &self.namespace))?;
        if let Some(object) = found {
            let status = object.status.clone().unwrap_or_default();
            all.push(Wanted {
                object: format!("nameserver/{cluster}"),
                broker: None,
                replicas: object.spec.replicas,
                ready: status.ready_replicas,
                why: why(&status.conditions),
            });
        }
        let groups = self.broker_groups(cluster).await?;
        all.extend(groups.into_iter().map(|group| {
            let status = group.status.clone().unwrap_or_default();
            Wanted {
                object: format!("brokergroup/{}", group.name_any()),
                broker: Some(group.broker_name().to_owned()),
                replicas: group.spec.replicas,
                ready: status.ready_replicas,
                why: why(&status.conditions),
            }
        }));
        Ok(all)
    }

    /// The BrokerGroup objects of a cluster that are not being deleted.
    async fn broker_groups(&self, cluster: &str) -> Result<Vec<BrokerGroup>, Problem> {
        let api: Api<BrokerGroup> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut page = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let listed = api.list(&page).await;
            let list = listed
                .map_err(|error| Problem::of(error, "list", "brokergroups", &self.namespace))?;
            all.extend(list.items.into_iter().filter(|group| {
                group.spec.name_server_ref.name == cluster
                    && group.metadata.deletion_timestamp.is_none()
            }));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// The BrokerGroup object of a broker, by its name in RocketMQ.
    pub(crate) async fn broker_group(&self, broker: &str) -> Result<Option<BrokerGroup>, Problem> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let groups = self.broker_groups(cluster).await?;
        let mut groups = groups.into_iter();
        Ok(groups.find(|group| group.broker_name() == broker))
    }

    /// Asks the operator to make a member of a group anew, or takes that back.
    pub(crate) async fn ask_for_rebuild(
        &self,
        group: &BrokerGroup,
        slot: Option<u32>,
    ) -> Result<(), Problem> {
        let api: Api<BrokerGroup> = Api::namespaced(self.client.clone(), &self.namespace);
        let slot = slot.map(|slot| slot.to_string());
        let patch =
            json!({"metadata": {"uid": group.uid(), "annotations": {rmq_crds::REBUILD: slot}}});
        let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
        let patched = api.patch_metadata(&group.name_any(), &params, &patch).await;
        patched
            .map(drop)
            .map_err(|error| Problem::of(error, "patch", "brokergroups", &self.namespace))
    }
}

/// The message of the condition `Ready`, unless it is true.
fn why(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> Option<String> {
    let mut conditions = conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    (ready.status != "True").then(|| format!("{}: {}", ready.reason, ready.message))
}
