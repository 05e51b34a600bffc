//! Makes the election of a group with replicas, and keeps its spec as wanted. Its status is the brokers', and a person's request in its spec
//! stays as it is. A change is of the version that was seen: brokers may have changed the master or the set since.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use rmq_crds::BrokerGroupElection;
use serde_json::json;

use crate::context::Context;
use crate::error::Error;
use crate::objects::is_owned_by;
use crate::objects::names::{self, FIELD_MANAGER};

/// Makes the election, or changes its spec.
pub(crate) async fn apply<K>(
    context: &Context,
    owner: &K,
    wanted: &BrokerGroupElection,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let (name, namespace) = (wanted.name_any(), wanted.namespace().unwrap_or_default());
    let api: Api<BrokerGroupElection> = Api::namespaced(context.client.clone(), &namespace);
    let Some(live) = context.stores.elections.get(&namespace, &name) else {
        // One that is there and not seen yet is not changed: that makes a conflict, and another look.
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = api.create(&params, wanted).await;
        return made.map(drop).map_err(Error::doing(format!(
            "making BrokerGroupElection \"{name}\""
        )));
    };
    // One without an owner stayed with its volumes.
    let uid = owner.uid().unwrap_or_default();
    let is_ours = names::owner(&*live) == names::owner(wanted)
        && (live.owner_references().is_empty() || is_owned_by(&*live, &uid));
    if !is_ours {
        return Err(Error::NameTaken(format!(
            "BrokerGroupElection \"{name}\" exists and does not belong to this object: delete it, or rename this object"
        )));
    }
    let has_labels = wanted
        .labels()
        .iter()
        .all(|(label, value)| live.labels().get(label) == Some(value));
    let mut spec = wanted.spec.clone();
    spec.unclean_election = live.spec.unclean_election.clone();
    if spec == live.spec && has_labels && wanted.owner_references() == live.owner_references() {
        return Ok(());
    }
    let mut fields = serde_json::to_value(&spec)?;
    if spec.switchover.is_none() {
        fields["switchover"] = serde_json::Value::Null;
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": live.resource_version(),
            "labels": wanted.labels(),
            "ownerReferences": wanted.owner_references(),
        },
        "spec": fields,
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let changed = api.patch(&name, &params, &Patch::Merge(&patch)).await;
    changed.map(drop).map_err(Error::doing(format!(
        "changing BrokerGroupElection \"{name}\""
    )))?;
    tracing::info!(namespace, name, "the election was changed");
    Ok(())
}

/// Makes a Lease. One that is there is the brokers'.
pub(crate) async fn lease(context: &Context, wanted: &Lease) -> Result<(), Error> {
    let (name, namespace) = (wanted.name_any(), wanted.namespace().unwrap_or_default());
    let api: Api<Lease> = Api::namespaced(context.client.clone(), &namespace);
    match api.create(&PostParams::default(), wanted).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Error::doing(format!("making Lease \"{name}\""))(error)),
    }
}
