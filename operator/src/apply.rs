//! Writes the children of an object (server-side apply, and only those that differ), its finalizer, and deletes.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::annotations::APPLIED;
use crate::context::Context;
use crate::elections;
use crate::error::Error;
use crate::objects::names::{self, FIELD_MANAGER, FINALIZER};
use crate::objects::{Children, hash, is_owned_by};
use crate::watch::Watch;

/// Applies all children in their order.
pub(crate) async fn children<K>(
    context: &Context,
    owner: &K,
    wanted: &Children,
) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    // Without `..`: a new kind of child that is not applied here does not compile.
    let Children {
        accounts,
        roles,
        role_bindings,
        leases,
        elections,
        claims,
        pods,
        config_maps,
        services,
        disruption_budgets,
        stateful_sets,
    } = wanted;
    let stores = &context.stores;
    for object in accounts {
        apply(context, owner, &stores.accounts, object).await?;
    }
    for object in roles {
        apply(context, owner, &stores.roles, object).await?;
    }
    for object in role_bindings {
        apply(context, owner, &stores.role_bindings, object).await?;
    }
    for object in leases {
        elections::lease(context, object).await?;
    }
    for object in elections {
        elections::apply(context, owner, object).await?;
    }
    for object in claims {
        make(context, &stores.claims, object).await?;
    }
    for object in pods {
        make(context, &stores.pods, object).await?;
    }
    for object in config_maps {
        apply(context, owner, &stores.config_maps, object).await?;
    }
    for object in services {
        apply(context, owner, &stores.services, object).await?;
    }
    for object in disruption_budgets {
        apply(context, owner, &stores.disruption_budgets, object).await?;
    }
    for object in stateful_sets {
        grow_volumes(context, owner, object).await?;
        apply(context, owner, &stores.stateful_sets, object).await?;
    }
    // The Service of a listener that is no longer wanted. All other children live as long as their owner.
    let uid = owner.uid().unwrap_or_default();
    let term = services.first().and_then(names::owner_term);
    for service in stores.services.of(&term.unwrap_or_default()) {
        let is_kept = |keep: &Service| keep.name_any() == service.name_any();
        if is_owned_by(&*service, &uid) && !services.iter().any(is_kept) {
            delete(context, &*service).await?;
        }
    }
    Ok(())
}

/// Makes an object that is not there. One that is there is left as it is.
async fn make<K>(context: &Context, watch: &Watch<K>, wanted: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (name, namespace) = (wanted.name_any(), wanted.namespace().unwrap_or_default());
    if watch.get(&namespace, &name).is_some() {
        return Ok(());
    }
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, wanted).await {
        Ok(_) => Ok(()),
        // The watch has not shown it yet.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Error::doing(format!("making {} \"{name}\"", K::kind(&())))(
            error,
        )),
    }
}

/// Deletes exactly this object, not another one of the same name.
pub(crate) async fn delete<K>(context: &Context, object: &K) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    delete_by(context, object, DeleteParams::default()).await
}

/// Deletes exactly this pod without waiting for its node.
pub(crate) async fn delete_now(context: &Context, pod: &Pod) -> Result<(), Error> {
    delete_by(context, pod, DeleteParams::default().grace_period(0)).await
}

async fn delete_by<K>(context: &Context, object: &K, params: DeleteParams) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..params
    };
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        // The object is gone, or another one has its name.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(Error::doing(format!(
            "deleting {} \"{name}\"",
            K::kind(&())
        ))(error)),
    }
}

async fn apply<O, K>(
    context: &Context,
    owner: &O,
    watch: &Watch<K>,
    wanted: &K,
) -> Result<(), Error>
where
    O: Resource<DynamicType = ()>,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let name = wanted.name_any();
    let namespace = wanted.namespace().unwrap_or_default();
    let mut value = serde_json::to_value(wanted)?;
    let hash = hash(&value);
    value["metadata"]["annotations"][APPLIED] = Value::String(hash.clone());
    let kind = K::kind(&());
    let live = watch.get(&namespace, &name);
    let api: Api<K> = Api::namespaced(context.client.clone(), &namespace);
    let uid = owner.uid().unwrap_or_default();
    let foreign = || {
        Error::NameTaken(format!(
            "{kind} \"{name}\" exists and does not belong to this object: delete it, or rename this object"
        ))
    };
    match &live {
        Some(live) => {
            if !is_owned_by(&**live, &uid) {
                return Err(foreign());
            }
            let unchanged = live.annotations().get(APPLIED) == Some(&hash);
            if unchanged && contains(&serde_json::to_value(&**live)?, &value) {
                return Ok(());
            }
        }
        None => {
            let there = api.get_metadata_opt(&name).await;
            let there = there.map_err(Error::doing(format!("looking for {kind} \"{name}\"")))?;
            if there.is_some_and(|there| !is_owned_by(&there, &uid)) {
                return Err(foreign());
            }
        }
    }
    api.patch(
        &name,
        &PatchParams::apply(FIELD_MANAGER).force(),
        &Patch::Apply(&value),
    )
    .await
    .map_err(Error::doing(format!("applying {kind} \"{name}\"")))?;
    if live.is_some() {
        tracing::info!(%kind, namespace, name, "changed");
    }
    Ok(())
}

/// Whether the object was last applied as it is wanted now.
pub(crate) fn is_applied<K>(live: &K, wanted: &K) -> bool
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let hash = serde_json::to_value(wanted).map(|value| hash(&value));
    live.annotations().get(APPLIED) == hash.ok().as_ref()
}

/// Whether `live` has every value of `wanted`. It can have more: the API server adds defaults.
fn contains(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (_, Value::Null) => true,
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, wanted)| contains(live.get(key).unwrap_or(&Value::Null), wanted)),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| contains(live, wanted))
        }
        (Value::Null, Value::Object(wanted)) => wanted.is_empty(),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (live, wanted) => live == wanted,
    }
}

/// Grows volumes. The claim template of a StatefulSet cannot be changed, so the claims are patched and the StatefulSet is deleted without its
/// pods; the next look makes it again.
async fn grow_volumes<K>(context: &Context, owner: &K, wanted: &StatefulSet) -> Result<(), Error>
where
    K: Resource<DynamicType = ()>,
{
    let name = wanted.name_any();
    let namespace = wanted.namespace().unwrap_or_default();
    let Some(live) = context.stores.stateful_sets.get(&namespace, &name) else {
        return Ok(());
    };
    let (Some(size), Some(has)) = (size_of(wanted), size_of(&live)) else {
        return Ok(());
    };
    if size == has {
        return Ok(());
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    for claim in context.stores.claims_of(&namespace, &owner.name_any()) {
        let claim_name = claim.name_any();
        let patch = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        api.patch(&claim_name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .map_err(Error::doing(format!(
                "growing volume claim \"{claim_name}\" to {size}"
            )))?;
    }
    let api: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        preconditions: Some(Preconditions {
            uid: live.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    api.delete(&name, &params)
        .await
        .map_err(Error::doing(format!(
            "deleting StatefulSet \"{name}\" to make it again with larger volumes"
        )))?;
    context
        .events
        .note(
            owner,
            "StorageResizing",
            format!("volumes grow from {has} to {size}"),
        )
        .await;
    // The garbage collector needs a moment to release the pods.
    Ok(())
}

fn size_of(set: &StatefulSet) -> Option<&str> {
    let claims = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    let requests = claims
        .first()?
        .spec
        .as_ref()?
        .resources
        .as_ref()?
        .requests
        .as_ref()?;
    Some(requests.get("storage")?.0.as_str())
}

/// Whether our finalizer keeps the object.
pub(crate) fn is_held(object: &impl ResourceExt) -> bool {
    object
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == FINALIZER)
}

/// Removes an annotation of the version of the object that was seen.
pub(crate) async fn without_annotation<K>(
    context: &Context,
    object: &K,
    annotation: &str,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let patch = json!({"metadata": {
        "resourceVersion": object.resource_version(),
        "annotations": {annotation: null},
    }});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    match api
        .patch_metadata(&object.name_any(), &params, &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::doing(format!("removing annotation {annotation}"))(
            error,
        )),
    }
}

/// Sets or removes our finalizer. True when the object was changed: it has another version then, and the change wakes it.
pub(crate) async fn finalizer<K>(context: &Context, object: &K, wanted: bool) -> Result<bool, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    if is_held(object) == wanted {
        return Ok(false);
    }
    let mut all: Vec<&str> = object
        .finalizers()
        .iter()
        .map(String::as_str)
        .filter(|other| *other != FINALIZER)
        .collect();
    if wanted {
        all.push(FINALIZER);
    }
    let api: Api<K> = Api::namespaced(
        context.client.clone(),
        &object.namespace().unwrap_or_default(),
    );
    let patch =
        json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": all}});
    match api
        .patch(
            &object.name_any(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        Err(error) => Err(Error::doing("writing the finalizer")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_api_server_are_no_change() {
        let wanted = json!({"a": 1, "list": [{"name": "x"}], "empty": {}, "none": null});
        assert!(contains(
            &json!({"a": 1, "b": 2, "list": [{"name": "x", "port": 1}]}),
            &wanted
        ));
        assert!(!contains(
            &json!({"a": 2, "list": [{"name": "x"}]}),
            &wanted
        ));
        assert!(!contains(
            &json!({"a": 1, "list": [{"name": "x"}, {"name": "y"}]}),
            &wanted
        ));
        assert!(!contains(&json!({"list": [{"name": "x"}]}), &wanted));
    }
}
