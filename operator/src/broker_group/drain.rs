//! The end of a group: producers leave, consumers take what is left, then it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
use crate::observe;
use crate::settings::is_gone;
use crate::time;

use super::rollout::QUIET;
use super::served;

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
    let now = time::now();
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
        let open = close(&client, object, &addresses, long_enough, context).await?;
        // After the look at whether it is closed: what came before that is counted.
        let left = left(&client, object.broker_name()).await?;
        Ok::<_, Error>((left, open))
    };
    let (left, open, problem) = match left.await {
        Ok((left, None)) if left.messages == 0 => {
            context
                .note(object, "Drained", "all messages were consumed")
                .await;
            return end(object, context).await;
        }
        Ok((left, open)) => (left, open, None),
        Err(problem) => (Left::default(), None, Some(problem)),
    };
    let messages = left.messages;
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
    let ends = ends(object, &since);
    let message = match problem {
        None if messages == 0 => open.unwrap_or_default(),
        None => format!(
            "{messages} messages are not consumed yet, by {}; {ends}",
            left.groups.join(", "),
        ),
        Some(problem) => {
            let pods = names::term(names::BROKER, &namespace, &object.name_any());
            let pods = context.stores.pods.of(&pods);
            let claims = context.stores.claims_of(&namespace, &object.name_any());
            let pods = pods.iter().map(|pod| &**pod);
            let claims = claims.iter().map(|claim| &**claim);
            let why = observe::problems(pods, claims).into_iter().next();
            let why = why.map_or(String::new(), |why| format!(" ({})", why.message));
            format!(
                "cannot tell what is left: {problem}{why}; the drain goes on when the broker serves; {ends}"
            )
        }
    };
    status.drain = Some(DrainStatus {
        since,
        messages,
        groups: left.groups,
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
    let children = names::term(names::BROKER, namespace, &object.name_any());
    let stores = &context.stores;
    let (pods, claims) = (stores.pods.of(&children), stores.claims.of(&children));
    if served::never(object, &pods, &claims) && !is_shown(object, name_server?, context).await {
        return Some("no broker of it ever served");
    }
    let ever_had_one = object
        .status
        .as_ref()
        .is_some_and(|status| status.replicas > 0);
    (!ever_had_one && pods.is_empty()).then_some("it never had a broker")
}

/// Whether a name server shows the broker: it has registered, and its pod may not be known to be ready yet.
async fn is_shown(object: &BrokerGroup, name_server: &NameServer, context: &Context) -> bool {
    let addresses = names::name_server_addresses(name_server);
    let shown = addresses
        .iter()
        .map(|addr| context.clusters.brokers_at(addr));
    let shown = futures_util::future::join_all(shown).await;
    let mut shown = shown.into_iter().flatten();
    shown.any(|brokers| brokers.contains(object.broker_name()))
}

/// When the wait ends by itself, and how a person ends it.
fn ends(object: &BrokerGroup, since: &Time) -> String {
    let longest = jiff::SignedDuration::from_secs(object.spec.drain.timeout_seconds);
    let at = since.0.checked_add(longest);
    let at = at.map_or(String::new(), |at| format!("at {at:.0}, or at once "));
    format!(
        "the wait ends {at}with annotation {}=\"true\"",
        annotations::SKIP_DRAIN
    )
}

/// Takes the broker out of the routes, and makes it refuse messages as soon as producers are gone, or had time to go. None when nothing
/// can be stored any more; else what is still open, in words. The refusal alone is not taken for granted: the broker says it, no name server
/// lets producers write there, and then nothing is stored for [`QUIET`].
async fn close(
    client: &Client,
    object: &BrokerGroup,
    addresses: &[String],
    long_enough: bool,
    context: &Context,
) -> Result<Option<String>, rmq_client::Error> {
    let admin = client.admin();
    let broker = object.broker_name();
    let uid = object.uid().unwrap_or_default();
    let closed = closed_key(&uid);
    admin.stop_writes(broker).await?;
    let config = admin.broker_config(broker).await?;
    let refuses = config
        .get("brokerPermission")
        .is_some_and(|permission| permission == READ);
    if !refuses {
        context.quiet.lock().remove(&closed);
        let quiet = context.quiet_for(&admin, broker, &uid).await?;
        let is_quiet = quiet.is_some_and(|quiet| quiet >= QUIET);
        if is_quiet || long_enough {
            // A later broker on this volume starts with the configured permission.
            let change = [
                ("brokerPermission", READ),
                ("keepBrokerPermission", "false"),
            ];
            admin.update_broker_config(broker, &change).await?;
        }
        return Ok(Some("producers move to other brokers".to_owned()));
    }
    let is_new = !context.quiet.lock().contains_key(&closed);
    if is_new && let Some(open) = context.clusters.writable_at(addresses, broker).await {
        return Ok(Some(open));
    }
    let quiet = context.quiet_for(&admin, broker, &closed).await?;
    Ok(match quiet {
        Some(quiet) if quiet >= QUIET => None,
        Some(_) => Some("nothing more may be stored; a last look follows".to_owned()),
        None => Some("the broker does not say how many messages it has stored".to_owned()),
    })
}

/// Under what the quiet of a closed broker is kept.
fn closed_key(uid: &str) -> String {
    format!("{uid}/closed")
}

/// What is left at a broker.
#[derive(Default)]
struct Left {
    messages: i64,
    /// Whose, the farthest behind first.
    groups: Vec<String>,
}

/// Delayed messages that are not delivered yet: no group can have consumed them (`scheduleMessageOffset_LEVEL`: delivered, stored).
fn delayed(runtime: &BTreeMap<String, String>) -> i64 {
    let levels = runtime
        .iter()
        .filter(|(key, _)| key.starts_with("scheduleMessageOffset_"));
    let waiting = levels.filter_map(|(_, value)| {
        let (delivered, stored) = value.split_once(',')?;
        let number = |text: &str| text.trim().parse::<i64>().ok();
        Some((number(stored)? - number(delivered)?).max(0))
    });
    waiting.sum()
}

/// Messages at this broker that a group has not consumed, or that wait for their time.
async fn left(client: &Client, broker: &str) -> Result<Left, rmq_client::Error> {
    let admin = client.admin();
    // First: what becomes due meanwhile is counted twice rather than not at all.
    let delayed = delayed(&admin.runtime_info(broker).await?);
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
    let total: i64 = behind.iter().map(|(lag, _)| lag).sum();
    let groups = behind
        .into_iter()
        .take(GROUPS_MAX)
        .map(|(lag, group)| format!("{group} ({lag})"));
    let mut groups: Vec<String> = groups.collect();
    if delayed > 0 {
        groups.push(format!("messages that wait for their time ({delayed})"));
    }
    Ok(Left {
        messages: total + delayed,
        groups,
    })
}

async fn end(object: &BrokerGroup, context: &Context) -> Result<Action, Error> {
    let uid = object.uid().unwrap_or_default();
    {
        let mut quiet = context.quiet.lock();
        quiet.remove(&closed_key(&uid));
        quiet.remove(&uid);
    }
    apply::finalizer(context, object, false).await?;
    Ok(Action::await_change())
}
