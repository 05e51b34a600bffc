//! The end of a group: producers leave, consumers take what is left, then it goes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use rmq_client::Client;
use rmq_crds::{BrokerGroup, DrainStatus, NameServer};

use crate::annotations;
use crate::apply;
use crate::build::names;
use crate::conditions::Verdict;
use crate::context::Context;
use crate::controller::{again, tell};
use crate::error::Error;

/// How often the lag is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Groups that a status names.
const GROUPS_MAX: usize = 10;

pub(super) async fn reconcile(
    object: &BrokerGroup,
    name_server: Option<&NameServer>,
    context: &Context,
) -> Result<Action, Error> {
    let is_ours = object
        .finalizers()
        .iter()
        .any(|name| name == names::FINALIZER);
    if !is_ours {
        return Ok(Action::await_change());
    }
    let namespace = object.namespace().unwrap_or_default();
    if let Some(why) = released(object, name_server, context, &namespace).await {
        context.note(object, "DrainSkipped", why).await;
        return end(object, context).await;
    }
    let Some(name_server) = name_server else {
        return end(object, context).await;
    };
    let addresses = names::name_server_addresses(
        &name_server.name_any(),
        &namespace,
        name_server.spec.replicas,
    );
    let mut status = object.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let since = status
        .drain
        .as_ref()
        .map_or_else(|| context.now(), |drain| drain.since.clone());
    let waited = now.duration_since(since.0);
    let is_over = waited >= jiff::SignedDuration::from_secs(object.spec.drain.timeout_seconds);
    if status.drain.is_none() {
        context
            .note(
                object,
                "DrainStarted",
                format!(
                    "broker {} takes no more messages; it goes when all were consumed, or in {} s",
                    object.broker_name(),
                    object.spec.drain.timeout_seconds
                ),
            )
            .await;
    }
    let client = context.clusters.client(&addresses).await;
    let left = match &client {
        Ok(client) => left(client, object.broker_name())
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (messages, groups, problem) = match left {
        Ok((0, _)) if waited.as_secs() >= 1 => {
            context
                .note(object, "Drained", "all messages were consumed")
                .await;
            return end(object, context).await;
        }
        Ok((messages, groups)) => (messages, groups, None),
        Err(problem) => (0, Vec::new(), Some(problem)),
    };
    if is_over {
        context
            .warn(
                object,
                "DrainTimedOut",
                format!(
                    "removed after {} s although {messages} messages were not consumed",
                    waited.as_secs()
                ),
            )
            .await;
        return end(object, context).await;
    }
    let message = match problem {
        None => format!(
            "{messages} messages are not consumed yet, by {}; annotation {}=\"true\" ends the wait",
            groups.join(", "),
            annotations::SKIP_DRAIN
        ),
        Some(problem) => format!(
            "cannot tell what is left: {problem}; annotation {}=\"true\" ends the wait",
            annotations::SKIP_DRAIN
        ),
    };
    status.drain = Some(DrainStatus {
        since,
        messages,
        groups,
    });
    status.rollout = None;
    status.observed_generation = object.metadata.generation;
    let verdict = Verdict::progressing("Draining", message);
    verdict.write(
        &mut status.conditions,
        object.metadata.generation,
        &context.now(),
    );
    tell(
        context,
        object,
        object.status.as_ref().map(|status| &*status.conditions),
        &verdict,
    )
    .await;
    apply::status(context, object, object.status.as_ref(), &status).await?;
    Ok(again(LOOK))
}

/// Why nothing has to be waited for.
async fn released(
    object: &BrokerGroup,
    name_server: Option<&NameServer>,
    context: &Context,
    namespace: &str,
) -> Option<&'static str> {
    if !object.spec.drain.enabled {
        return Some("spec.drain.enabled is false");
    }
    if annotations::is(object, annotations::SKIP_DRAIN, "true") {
        return Some("the annotation says so");
    }
    if name_server.is_none_or(|name_server| name_server.metadata.deletion_timestamp.is_some()) {
        return Some("the cluster's NameServer object goes too");
    }
    if is_terminating(context, namespace).await {
        return Some("the namespace goes too");
    }
    let ever_served = object
        .status
        .as_ref()
        .is_some_and(|status| status.replicas > 0);
    (!ever_served).then_some("it never had a broker")
}

/// Whether the whole namespace is being deleted: nothing of it may hold that up.
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

/// Messages at this broker that a group has not consumed, and the groups, the farthest behind first.
async fn left(client: &Client, broker: &str) -> Result<(i64, Vec<String>), rmq_client::Error> {
    let admin = client.admin();
    admin.stop_writes(broker).await?;
    let mut behind = Vec::new();
    for group in admin.groups().await? {
        let stats = admin.consume_stats(&group, None).await?;
        let of_broker = stats
            .offset_table
            .0
            .iter()
            .filter(|(queue, _)| queue.broker_name == broker);
        let lag: i64 = of_broker
            .map(|(_, offset)| (offset.broker_offset - offset.consumer_offset).max(0))
            .sum();
        if lag > 0 {
            behind.push((lag, group));
        }
    }
    behind.sort_by(|one, other| other.cmp(one));
    let total = behind.iter().map(|(lag, _)| lag).sum();
    let groups = behind
        .into_iter()
        .take(GROUPS_MAX)
        .map(|(lag, group)| format!("{group} ({lag})"));
    Ok((total, groups.collect()))
}

async fn end(object: &BrokerGroup, context: &Context) -> Result<Action, Error> {
    apply::finalizer(context, object, false).await?;
    Ok(Action::await_change())
}
