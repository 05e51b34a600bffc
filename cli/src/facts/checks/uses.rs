//! Topics that take or give no messages, and groups that get none, by the settings at all brokers together.

use std::collections::{BTreeMap, BTreeSet};

use rmq_client::protocol::bodies::TopicList;
use rmq_client::protocol::names::{is_dlq_topic, is_retry_topic, is_system_group, is_system_topic};
use rmq_client::protocol::requests::GetAllTopicListFromNameserver;
use rmq_client::protocol::route::{ClusterInfo, perm};

use crate::cluster::Cluster;
use crate::facts::broker_state::Broker;
use crate::facts::check::Check;

/// Names in one sentence; more are counted.
const NAMED: usize = 5;

/// The checks of all topics and groups of users.
pub(crate) async fn checks(
    cluster: &Cluster,
    views: &[(String, ClusterInfo)],
    brokers: &[Broker],
) -> Vec<Check> {
    let mut checks = of_topics(brokers);
    checks.extend(of_groups(brokers));
    for (address, info) in views {
        let request = GetAllTopicListFromNameserver {};
        let answer = cluster.client.remote(address).call(&request, b"").await;
        let list = answer
            .ok()
            .and_then(|answer| TopicList::from_json(answer.body()).ok());
        if let Some(list) = list {
            let known: BTreeSet<String> = list.topic_list.into_iter().collect();
            checks.extend(without_route(address, info, &known, brokers));
        }
    }
    checks
}

fn is_of_users(topic: &str, brokers: &[Broker]) -> bool {
    !(is_system_topic(topic)
        || is_retry_topic(topic)
        || is_dlq_topic(topic)
        || brokers.iter().any(|broker| {
            let cluster = broker.cluster.as_str();
            broker.name() == topic
                || cluster == topic
                || topic.strip_suffix("_REPLY_TOPIC") == Some(cluster)
        }))
}

/// The first names, and how many more there are.
fn named(names: &[&str]) -> String {
    let first = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn of_topics(brokers: &[Broker]) -> Vec<Check> {
    // Whether a queue can be written anywhere, and whether one can be read.
    let mut topics: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for broker in brokers {
        let (takes, gives) = broker.serves();
        for (name, config) in &broker.topics {
            if !is_of_users(name, brokers) {
                continue;
            }
            let (writable, readable) = topics.entry(name).or_default();
            *writable |= takes && perm::is_writable(config.perm) && config.write_queue_nums > 0;
            *readable |= gives && perm::is_readable(config.perm) && config.read_queue_nums > 0;
        }
    }
    let count = topics.len();
    let of = |id, does: &str, cannot: &str, is_fine: fn(&(bool, bool)) -> bool| {
        let bad: Vec<&str> = topics
            .iter()
            .filter(|(_, state)| !is_fine(state))
            .map(|(name, _)| *name)
            .collect();
        match bad.as_slice() {
            [] => Check::new(id, "topics", true, format!("all {count} {does}")),
            bad => Check::new(
                id,
                "topics",
                false,
                format!(
                    "{} of {count} {cannot} at any broker: {} (rmq-ctl doctor TOPIC says why)",
                    bad.len(),
                    named(bad)
                ),
            ),
        }
    };
    if count == 0 {
        return Vec::new();
    }
    vec![
        of(
            "topics-writable",
            "take messages",
            "take no messages",
            |state| state.0,
        ),
        of(
            "topics-readable",
            "give messages",
            "give no messages",
            |state| state.1,
        ),
    ]
}

fn of_groups(brokers: &[Broker]) -> Option<Check> {
    let mut off: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut count = BTreeSet::new();
    for broker in brokers {
        for (name, config) in &broker.groups {
            if is_system_group(name) {
                continue;
            }
            count.insert(name.as_str());
            if !config.consume_enable {
                off.entry(name).or_default().push(broker.name());
            }
        }
    }
    let count = count.len();
    if count == 0 {
        return None;
    }
    if off.is_empty() {
        let says = format!("all {count} may consume");
        return Some(Check::new("groups-consume", "groups", true, says));
    }
    let off: Vec<String> = off
        .into_iter()
        .map(|(group, brokers)| format!("{group} at {}", named(&brokers)))
        .collect();
    let off: Vec<&str> = off.iter().map(String::as_str).collect();
    let says = format!(
        "{} of {count} may not consume: {} (rmq-ctl set group GROUP consume=true)",
        off.len(),
        named(&off)
    );
    Some(Check::new("groups-consume", "groups", false, says))
}

/// Topics of a broker without a route at a name server that knows the broker.
fn without_route(
    address: &str,
    info: &ClusterInfo,
    known: &BTreeSet<String>,
    brokers: &[Broker],
) -> Option<Check> {
    let here = |broker: &&Broker| info.broker_addr_table.contains_key(broker.name());
    let missing: BTreeSet<&str> = brokers
        .iter()
        .filter(here)
        .flat_map(|broker| broker.topics.keys())
        .filter(|topic| !known.contains(*topic) && is_of_users(topic, brokers))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let missing: Vec<&str> = missing.into_iter().collect();
    let says = format!(
        "has no route of {} topics that brokers have: {}; clients that ask there find none, look at the brokers' logs",
        missing.len(),
        named(&missing)
    );
    let subject = format!("nameserver/{address}");
    Some(Check::new("topics-routed", subject, false, says))
}
