//! Does what was decided about a broker group.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use rmq_crds::{BrokerGroup, BrokerGroupElection, NameServer, RebuildClaim};
use serde_json::json;

use crate::apply;
use crate::context::Context;
use crate::error::Error;
use crate::objects::names;
use crate::status;

use super::decision::{Decision, Step};
use super::look::READ;
use super::memory::Memory;
use super::observed::Member;
use super::quiet::Purpose;

/// Applies the children, and labels the pods.
pub(super) async fn apply(
    object: &BrokerGroup,
    decision: &Decision,
    context: &Context,
) -> Result<(), Error> {
    if let Some(children) = &decision.children {
        apply::children(context, object, children).await?;
    }
    for (member, role) in &decision.labels {
        label(object, member, role, context).await?;
    }
    Ok(())
}

/// Writes into the label of a pod what its broker is.
async fn label(
    object: &BrokerGroup,
    member: &Member,
    role: &str,
    context: &Context,
) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({"metadata": {"uid": member.uid, "labels": {names::ROLE: role}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match api.patch_metadata(&member.name, &params, &patch).await {
        Ok(_) => Ok(()),
        // The pod is gone, or another one has its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(Error::doing(format!("labelling pod \"{}\"", member.name))(
            error,
        )),
    }
}

/// Does the step. An error keeps the status as it was, so that the next look tries the step again.
pub(super) async fn carry_out(
    object: &BrokerGroup,
    decision: &mut Decision,
    context: &Arc<Context>,
    memory: &Memory,
) -> Result<(), Error> {
    let cluster = Cluster::of(object, context);
    let uid = object.uid().unwrap_or_default();
    match &decision.step {
        Step::Nothing => {}
        Step::Hold => {
            apply::finalizer(context, object, true).await?;
        }
        Step::Release => {
            // People hear of the end while the object is still there.
            tell(object, decision, context).await;
            decision.events.clear();
            apply::finalizer(context, object, false).await?;
        }
        Step::Give { epoch, brokers } => {
            if let Some(name_server) = &cluster.name_server {
                let live = &memory.live;
                live.give(object, *epoch, brokers, name_server, context);
            }
        }
        Step::Quiesce { pod_uid } => {
            let purpose = Purpose::Restart(pod_uid.clone());
            // A failure is tried again in the next look, until the time of the step is up.
            if let Err(error) = cluster.stop_writes(object, &uid, purpose, memory).await {
                let broker = object.broker_name();
                tracing::warn!(broker, "cannot take the broker out of the routes: {error}");
            }
        }
        Step::Delete { pod, uid, election } => {
            if is_as_seen(object, election.as_deref(), context).await? {
                delete(object, pod, uid, context).await?;
            }
        }
        Step::Rebuild {
            pod,
            uid,
            claim,
            election,
        } => {
            if is_as_seen(object, election.as_deref(), context).await? {
                // The claim goes when nothing uses it any more, so before the pod: the next pod must not find it.
                if let Some(claim) = claim {
                    delete_claim(object, claim, context).await?;
                }
                delete(object, pod, uid, context).await?;
            }
        }
        Step::ForceDelete { pod, uid } => {
            let namespace = object.namespace().unwrap_or_default();
            let found = context.stores.pods.get(&namespace, pod);
            if let Some(found) = found.filter(|found| found.uid().as_deref() == Some(uid)) {
                apply::delete_now(context, &found).await?;
            }
        }
        Step::EndRestore { pod, uid } => delete(object, pod, uid, context).await?,
        Step::ForgetElection => {
            let namespace = object.namespace().unwrap_or_default();
            let name = names::brokers(&object.name_any());
            if let Some(election) = context.stores.elections.get(&namespace, &name) {
                apply::delete(context, &*election).await?;
            }
        }
        Step::Finish { pod_uid, wish } => {
            let client = context.clusters.client(&cluster.addresses).await?;
            client.admin().allow_writes(object.broker_name()).await?;
            memory.quiet.end(&uid, &Purpose::Restart(pod_uid.clone()));
            memory.turns.end(&cluster.key, &object.name_any());
            if let Some(wish) = wish {
                apply::without_annotation(context, object, wish).await?;
            }
        }
        Step::Close { refuse } => {
            // The status is written after a failure too: the drain's time limit counts from it.
            if let Err(error) = cluster.close(object, &uid, *refuse, memory).await {
                let broker = object.broker_name();
                tracing::warn!(broker, "cannot close the broker: {error}");
                decision.cannot_close(&error.to_string());
            }
        }
    }
    Ok(())
}

/// Tells of the events, and writes the status.
pub(super) async fn record(
    object: &BrokerGroup,
    decision: &Decision,
    context: &Context,
) -> Result<(), Error> {
    tell(object, decision, context).await;
    match &decision.status {
        Some((status, verdict)) => status::record(context, object, status.clone(), verdict).await,
        None => Ok(()),
    }
}

async fn tell(object: &BrokerGroup, decision: &Decision, context: &Context) {
    for news in &decision.events {
        context.events.tell(object, news).await;
    }
}

/// Whether the election has this version still: what a deletion was decided of holds then. The next look decides again otherwise.
async fn is_as_seen(
    object: &BrokerGroup,
    version: Option<&str>,
    context: &Context,
) -> Result<bool, Error> {
    let Some(version) = version else {
        return Ok(true);
    };
    let namespace = object.namespace().unwrap_or_default();
    let name = names::brokers(&object.name_any());
    let api: Api<BrokerGroupElection> = Api::namespaced(context.client.clone(), &namespace);
    let now = api.get_metadata_opt(&name).await;
    let now = now.map_err(Error::doing(format!("reading the election \"{name}\"")))?;
    Ok(now.and_then(|now| now.resource_version()).as_deref() == Some(version))
}

/// Deletes this pod, and no later pod of its name.
async fn delete(
    object: &BrokerGroup,
    pod: &str,
    uid: &str,
    context: &Context,
) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let pods = &context.stores.pods;
    let has_uid = |pod: &Arc<Pod>| pod.uid().as_deref() == Some(uid);
    match pods.get(&namespace, pod).filter(has_uid) {
        Some(pod) => apply::delete(context, &*pod).await,
        None => Ok(()),
    }
}

/// Deletes this volume claim, and no later one of its name.
async fn delete_claim(
    object: &BrokerGroup,
    claim: &RebuildClaim,
    context: &Context,
) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let found = context.stores.claims.get(&namespace, &claim.name);
    let has_uid = |found: &Arc<PersistentVolumeClaim>| found.uid().as_ref() == Some(&claim.uid);
    match found.filter(has_uid) {
        Some(found) => apply::delete(context, &*found).await,
        None => Ok(()),
    }
}

/// The cluster of a group.
struct Cluster<'a> {
    context: &'a Context,
    /// Its name among all clusters of all namespaces.
    key: String,
    name_server: Option<Arc<NameServer>>,
    addresses: Vec<String>,
}

impl<'a> Cluster<'a> {
    fn of(object: &BrokerGroup, context: &'a Context) -> Self {
        let namespace = object.namespace().unwrap_or_default();
        let name = &object.spec.name_server_ref.name;
        let name_server = context.stores.name_servers.get(&namespace, name);
        let addresses = name_server.as_deref().map(names::name_server_addresses);
        Self {
            context,
            key: format!("{namespace}/{name}"),
            name_server,
            addresses: addresses.unwrap_or_default(),
        }
    }

    /// Takes the broker out of the routes, and begins to count how long it stores nothing.
    async fn stop_writes(
        &self,
        object: &BrokerGroup,
        uid: &str,
        purpose: Purpose,
        memory: &Memory,
    ) -> Result<(), Error> {
        let admin = self.context.clusters.client(&self.addresses).await?.admin();
        let broker = object.broker_name();
        admin.stop_writes(broker).await?;
        if !memory.quiet.has_begun(uid, &purpose) {
            memory.quiet.ask(&admin, broker, uid, purpose).await?;
        }
        Ok(())
    }

    /// Takes the broker out of the routes, and makes it refuse messages.
    async fn close(
        &self,
        object: &BrokerGroup,
        uid: &str,
        refuse: bool,
        memory: &Memory,
    ) -> Result<(), Error> {
        self.stop_writes(object, uid, Purpose::Leaving, memory)
            .await?;
        if refuse {
            let admin = self.context.clusters.client(&self.addresses).await?.admin();
            // A later broker on this volume starts with the permission of its file.
            let change = [
                ("brokerPermission", READ),
                ("keepBrokerPermission", "false"),
            ];
            admin
                .update_broker_config(object.broker_name(), &change)
                .await?;
        }
        Ok(())
    }
}
