//! Questions to the API server that no watch answers, and how several kinds read objects.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::context::Context;
use crate::observe;

/// Orders objects by age: the older of two is the smaller. Where two objects want the same thing, the older has it.
pub(crate) fn age(object: &impl ResourceExt) -> (Option<Timestamp>, String) {
    let made = object.meta().creation_timestamp.as_ref();
    (made.map(|time| time.0), object.name_any())
}

/// Whether the whole namespace is being deleted. No object may delay that.
pub(crate) async fn is_terminating(context: &Context, namespace: &str) -> bool {
    let api: Api<Namespace> = Api::all(context.client.clone());
    match api.get_opt(namespace).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::warn!(namespace, "cannot look at the namespace: {error}");
            false
        }
    }
}

/// Why pods are not made, or claims have no volume, as far as events tell.
pub(crate) async fn why_missing(
    context: &Context,
    namespace: &str,
    workload: &str,
    claims: &[&PersistentVolumeClaim],
) -> Option<observe::Problem> {
    let api: Api<Event> = Api::namespaced(context.client.clone(), namespace);
    let pending = claims.iter().filter(|claim| observe::is_pending(claim));
    let names = pending
        .map(|claim| ("PersistentVolumeClaim", claim.name_any()))
        .chain([("StatefulSet", workload.to_owned())]);
    for (kind, name) in names {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
        let events = ListParams::default().fields(&fields).limit(50);
        let warnings = api.list(&events).await.ok()?.items.into_iter();
        let warnings = warnings.map(|event| observe::Warning {
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            at: event
                .last_timestamp
                .map(|time| time.0)
                .or(event.event_time.map(|time| time.0)),
        });
        let found = observe::of_events(&format!("{kind} {name}"), warnings.collect());
        if found.is_some() {
            return found;
        }
    }
    None
}
