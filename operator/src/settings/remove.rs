//! The end of a `Topic`, `SubscriptionGroup` or `User` object.

use kube::ResourceExt;
use rmq_crds::{DeletionPolicy, NameServer};

use crate::annotations;
use crate::apply;
use crate::broker_group;
use crate::conditions::Verdict;
use crate::context::Context;
use crate::credentials;
use crate::error::Error;
use crate::fetch::is_terminating;
use crate::objects::names;

use super::kind::Placed;

/// Deletes the topic or group at the brokers, when its object asks for that, and lets the object go. Returns the verdict when the object
/// must stay for now. A namespace or cluster that goes too is never delayed. `name_server` is None when the brokers are left alone.
pub(super) async fn remove<K: Placed>(
    object: &K,
    name_server: Option<&NameServer>,
    context: &Context,
) -> Result<Option<Verdict>, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let cluster = name_server.filter(|found| found.metadata.deletion_timestamp.is_none());
    if object.common().deletion == DeletionPolicy::Delete
        && let Some(name_server) = cluster
        && !is_terminating(context, &namespace).await
        && let Some(verdict) = delete(object, name_server, context).await?
    {
        return Ok(Some(verdict));
    }
    apply::finalizer(context, object, false).await?;
    Ok(None)
}

/// Deletes it at the brokers; the verdict says why it could not be deleted.
async fn delete<K: Placed>(
    object: &K,
    name_server: &NameServer,
    context: &Context,
) -> Result<Option<Verdict>, Error> {
    let addresses = names::name_server_addresses(name_server);
    let deleted = async {
        credentials::sign(name_server, context).await?;
        let client = context.clusters.client(&addresses).await?;
        object.delete(&client).await
    };
    match deleted.await {
        Ok(Ok(())) => {
            let (noun, name) = (K::NOUN, object.common().name);
            let note = format!("{noun} {name} is deleted at all brokers");
            context.events.note(object, "Deleted", note).await;
            Ok(None)
        }
        Ok(Err(refused)) => Ok(Some(Verdict::stalled("DeletionRefused", refused))),
        // No broker ever served, so none can have it.
        Err(Error::Cluster(_)) if never_served(name_server, context) => Ok(None),
        Err(Error::Cluster(error)) => {
            let message = format!(
                "{error}; the object goes when the cluster answers, or with annotation {}=\"false\"",
                annotations::MANAGED
            );
            Ok(Some(Verdict::progressing("ClusterUnreachable", message)))
        }
        Err(error) => Err(error),
    }
}

/// Whether no broker of the cluster ever served, as the BrokerGroup objects tell. Without such objects nobody knows.
fn never_served(name_server: &NameServer, context: &Context) -> bool {
    let namespace = name_server.namespace().unwrap_or_default();
    let stores = &context.stores;
    let groups = stores.groups_of(&namespace, &name_server.name_any());
    let served = |group: &std::sync::Arc<_>| broker_group::may_have_served(group);
    !groups.is_empty() && !groups.iter().any(served)
}
