//! The end of a group: producers leave, consumers take what is left, then it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;
use rmq_client::Client;
use rmq_client::protocol::bodies::TopicStatsTable;
use rmq_crds::{BrokerGroup, DrainStatus, NameServer};

use crate::annotations;
use crate::apply;
use crate::build::names;
use crate::conditions::Verdict;
use crate::context::Context;
use crate::controller::again;
use crate::error::Error;
use crate::fetch::is_terminating;
use crate::settings::is_gone;

use super::rollout::QUIET;

/// How often the lag is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// `brokerPermission` of a broker that refuses messages.
const READ: &str = "4";
/// Groups that a status names.
const GROUPS_MAX: usize = 10;

pub(super) async fn reconcile(
    object: &BrokerGroup,
    name_server: Option<&NameServer>,
    context: &Context,
) -> Result<Action, Error> {
    if !apply::is_held(object) {
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
    let addresses = names::name_server_addresses(name_server);
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
    let quiesce = object.spec.update_strategy.quiesce_timeout_seconds;
    let long_enough = waited >= jiff::SignedDuration::from_secs(quiesce.into());
    let left = async {
        let client = context.clusters.client(&addresses).await?;
        let closed = close(&client, object, long_enough, context).await?;
        let (messages, groups) = left(&client, object.broker_name()).await?;
        Ok::<_, Error>((messages, groups, closed))
    };
    let (messages, groups, problem) = match left.await {
        Ok((0, _, true)) => {
            context
                .note(object, "Drained", "all messages were consumed")
                .await;
            return end(object, context).await;
        }
        Ok((messages, groups, _)) => (messages, groups, None),
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
        None if messages == 0 => "producers move to other brokers".to_owned(),
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
    let verdict = Verdict::progressing("Draining", message);
    context.record(object, status, &verdict).await?;
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

/// Takes the broker out of the routes, and makes it refuse messages as soon as producers are gone, or had time to go. True when it
/// refused them before: nothing was acknowledged since.
async fn close(
    client: &Client,
    object: &BrokerGroup,
    long_enough: bool,
    context: &Context,
) -> Result<bool, rmq_client::Error> {
    let admin = client.admin();
    let broker = object.broker_name();
    admin.stop_writes(broker).await?;
    let read_only = admin.broker_config(broker).await?;
    if read_only
        .get("brokerPermission")
        .is_some_and(|permission| permission == READ)
    {
        return Ok(true);
    }
    let uid = object.uid().unwrap_or_default();
    let quiet = context.quiet_for(&admin, broker, &uid).await?;
    let is_quiet = quiet.is_some_and(|quiet| quiet >= QUIET);
    if is_quiet || long_enough {
        admin
            // Whoever gets the volume later starts with what is configured.
            .update_broker_config(
                broker,
                &[
                    ("brokerPermission", READ),
                    ("keepBrokerPermission", "false"),
                ],
            )
            .await?;
    }
    Ok(false)
}

/// Messages at this broker that a group has not consumed, and the groups, the farthest behind first.
async fn left(client: &Client, broker: &str) -> Result<(i64, Vec<String>), rmq_client::Error> {
    let admin = client.admin();
    let mut bounds: BTreeMap<String, Vec<(i32, i64, i64)>> = BTreeMap::new();
    let mut behind = Vec::new();
    for group in admin.groups().await? {
        let stats = admin.consume_stats(&group, None).await?;
        let table = &stats.offset_table.0;
        let topics: BTreeSet<&str> = table
            .iter()
            .map(|(queue, _)| queue.topic.as_str())
            .collect();
        let mut lag = 0;
        for topic in topics {
            if !bounds.contains_key(topic) {
                let of_topic = match admin.topic_stats(topic).await {
                    Ok(stats) => stats,
                    // A topic that was deleted has no messages.
                    Err(error) if is_gone(&error) => TopicStatsTable::default(),
                    Err(error) => return Err(error),
                };
                let of_broker = of_topic.offset_table.0.iter();
                let of_broker = of_broker.filter(|(queue, _)| queue.broker_name == broker);
                let of_broker = of_broker
                    .map(|(queue, offset)| (queue.queue_id, offset.min_offset, offset.max_offset));
                bounds.insert(topic.to_owned(), of_broker.collect());
            }
            for (id, min, max) in bounds.get(topic).into_iter().flatten() {
                // A queue that the group has never got to is not consumed at all.
                let known = table.iter().find(|(queue, _)| {
                    queue.topic == topic && queue.broker_name == broker && queue.queue_id == *id
                });
                let consumed = known.map_or(*min, |(_, offset)| offset.consumer_offset);
                lag += (max - consumed.max(*min)).max(0);
            }
        }
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
    context
        .quiet
        .lock()
        .remove(&object.uid().unwrap_or_default());
    apply::finalizer(context, object, false).await?;
    Ok(Action::await_change())
}
