//! Where the values come from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmq_access::{Refusals, Unauthenticated};
use rmq_protocol::bodies::{Connection, ConsumeType};
use rmq_protocol::code::{RequestCode, ResponseCode};
use rmq_protocol::names;
use rmq_store::QueueRef;

use super::samples::{Histogram, Labels, Samples};
use crate::broker::Broker;
use crate::limits;
use crate::listeners::LISTENERS;
use crate::messages::look_up;
use crate::quota::Limit;
use crate::stats::requests::{BOUNDS_US, Took};
use crate::tables::offsets::topic_and_group;
use crate::topics::Topic;
use crate::transactions::state::Ends;

/// Refusals that alerts ask for: their series are there before the first of them.
const REFUSALS_SHOWN: &[ResponseCode] = &[
    ResponseCode::FlushDiskTimeout,
    ResponseCode::MessageIllegal,
    ResponseCode::NoPermission,
    ResponseCode::ServiceNotAvailable,
    ResponseCode::SystemError,
    ResponseCode::TopicNotExist,
];

pub(super) fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

pub(super) fn certificates(broker: &Broker, out: &mut Samples) {
    let tls = &broker.member.tls;
    let of_ports = tls.ports().map(|tls| ("server", tls.status().not_after_s));
    let of_client = tls.own_not_after_s().map(|end| ("client", end));
    for (of, not_after_s) in of_ports.into_iter().chain(of_client) {
        out.with(vec![("use", of.to_owned())], not_after_s as f64);
    }
}

pub(super) fn handshakes(broker: &Broker, out: &mut Samples) {
    let Some(tls) = broker.member.tls.ports() else {
        return;
    };
    let status = tls.status();
    for (result, count) in [
        ("full", status.full),
        ("resumed", status.resumed),
        ("failed", status.failed),
    ] {
        out.with(vec![("result", result.to_owned())], count as f64);
    }
}

pub(super) fn storage(out: &mut Samples, value: f64) {
    out.with(
        vec![
            ("storage_type", "local".to_owned()),
            ("storage_medium", "disk".to_owned()),
        ],
        value,
    );
}

/// Whether topic or group belong to the system: those that every broker has, the topics of its cluster's and its own name, and the retry and
/// dead letter topics of the system's groups.
pub(super) fn is_system(broker: &Broker, topic: &str, group: Option<&str>) -> bool {
    let own = [&broker.config.cluster_name, &broker.config.broker_name];
    let of_group = topic
        .strip_prefix(names::RETRY_PREFIX)
        .or_else(|| topic.strip_prefix(names::DLQ_PREFIX));
    names::is_system_topic(topic)
        || own.iter().any(|name| *name == topic)
        || of_group.is_some_and(names::is_system_group)
        || group.is_some_and(names::is_system_group)
}

pub(super) fn of_topics(broker: &Broker, out: &mut Samples, counter: usize) {
    for topic in broker.topics.all() {
        let kind = match topic
            .config
            .attributes
            .get("message.type")
            .map(String::as_str)
        {
            Some("FIFO") => "fifo",
            Some("DELAY") => "delay",
            Some("TRANSACTION") => "transaction",
            Some("PRIORITY") => "priority",
            _ => "normal",
        };
        let labels = vec![
            ("topic", topic.name().to_owned()),
            ("message_type", kind.to_owned()),
            (
                "is_system",
                is_system(broker, topic.name(), None).to_string(),
            ),
        ];
        let put = topic
            .counted()
            .map_or(0, |counted| counted.put.total(counter));
        out.with(labels, put as f64);
    }
}

pub(super) fn half_messages(broker: &Broker, out: &mut Samples) {
    for (topic, count) in broker.transactions.table.by_topic() {
        out.with(vec![("topic", topic)], count as f64);
    }
}

/// The ends of each topic's transactions, of topics that there are.
fn all_ends(broker: &Broker) -> Vec<(String, Arc<Ends>)> {
    let is_there = |topic: &str| broker.topics.with_settings(topic).is_some();
    broker.transactions.all_ends(is_there)
}

pub(super) fn ends(broker: &Broker, out: &mut Samples, pick: fn(&Ends) -> f64) {
    for (topic, ends) in all_ends(broker) {
        out.with(vec![("topic", topic)], pick(&ends));
    }
}

pub(super) fn finish_latency(broker: &Broker, out: &mut Samples) {
    for (topic, ends) in all_ends(broker) {
        let (counts, sum_s) = ends.latency.read();
        let took = Histogram::of(ends.latency.bounds(), &counts, sum_s, 1.0);
        out.histogram(vec![("topic", topic)], took);
    }
}

/// Every topic that a group was given something of since the start, or that it has an offset of: one that is offline has series too.
pub(super) fn of_groups(broker: &Broker, out: &mut Samples, pick: fn((u64, u64)) -> u64) {
    for group in broker.groups.all() {
        let mut given: BTreeMap<String, (u64, u64)> = broker
            .offsets
            .topics_of(group.name())
            .into_iter()
            .filter(|topic| broker.topics.with_settings(topic).is_some())
            .map(|topic| (topic, (0, 0)))
            .collect();
        given.extend(
            group
                .counted()
                .map(|counted| counted.by_topic())
                .unwrap_or_default(),
        );
        for (topic, given) in given {
            let labels = vec![
                ("is_retry", names::is_retry_topic(&topic).to_string()),
                (
                    "is_system",
                    is_system(broker, &topic, Some(group.name())).to_string(),
                ),
                ("topic", topic),
                ("consumer_group", group.name().to_owned()),
            ];
            out.with(labels, pick(given) as f64);
        }
    }
}

/// Each limit of each quota, and of what `pick` asks.
pub(super) fn quotas(broker: &Broker, out: &mut Samples, pick: fn((Limit, u64, u64)) -> u64) {
    let mut all = Vec::new();
    for topic in broker.topics.all() {
        if let Some(quota) = &topic.quota {
            all.push(("topic", topic.name().to_owned(), Arc::clone(quota)));
        }
    }
    for group in broker.groups.all() {
        if let Some(quota) = &group.quota {
            all.push(("group", group.name().to_owned(), Arc::clone(quota)));
        }
    }
    for (resource, name, quota) in all {
        for limit in quota.limits() {
            let labels = vec![
                ("resource", resource.to_owned()),
                ("name", name.clone()),
                ("limit", limit.0.name().to_owned()),
            ];
            out.with(labels, pick(limit) as f64);
        }
    }
}

pub(super) fn dead_letters(broker: &Broker, out: &mut Samples) {
    for group in broker.groups.all() {
        let labels = vec![
            ("consumer_group", group.name().to_owned()),
            ("topic", names::dlq_topic(group.name())),
            (
                "is_system",
                names::is_system_group(group.name()).to_string(),
            ),
        ];
        let dead_letters = group
            .counted()
            .map_or(0.0, |counted| load(&counted.dead_letters));
        out.with(labels, dead_letters);
    }
}

/// A group and a topic that it reads, with its offsets.
struct Reading {
    group: String,
    topic: Arc<Topic>,
    offsets: BTreeMap<i32, i64>,
}

impl Reading {
    /// Where the group continues in a queue; a queue without an offset counts from its beginning.
    fn next(&self, queue: &QueueRef) -> i64 {
        let offset = self.offsets.get(&queue.queue_id()).copied();
        offset.unwrap_or(0).max(queue.min_offset())
    }

    fn behind(&self, queue: &QueueRef) -> i64 {
        (queue.max_offset() - self.next(queue)).max(0)
    }

    fn labels(&self, broker: &Broker) -> Labels {
        let name = self.topic.name();
        vec![
            ("is_retry", self.topic.retry_group().is_some().to_string()),
            (
                "is_system",
                is_system(broker, name, Some(&self.group)).to_string(),
            ),
            ("consumer_group", self.group.clone()),
            ("topic", name.to_owned()),
        ]
    }
}

/// Every topic that a group has confirmed something of, or is subscribed to now.
fn readings(broker: &Broker) -> Vec<Reading> {
    let mut read: BTreeMap<(String, String), BTreeMap<i32, i64>> = BTreeMap::new();
    for (key, offsets) in broker.offsets.all() {
        if let Some((topic, group)) = topic_and_group(&key) {
            read.insert((group.to_owned(), topic.to_owned()), offsets);
        }
    }
    for group in broker.sessions.consumers() {
        for subscription in group.subscriptions() {
            read.entry((group.name().to_owned(), subscription.data.topic.clone()))
                .or_default();
        }
    }
    let readings = read.into_iter().filter_map(|((group, topic), offsets)| {
        Some(Reading {
            group,
            // A series for each light queue would be too many.
            topic: broker.topics.with_settings(&topic)?,
            offsets,
        })
    });
    readings.collect()
}

pub(super) fn lag(broker: &Broker, out: &mut Samples) {
    for reading in readings(broker) {
        let behind: i64 = reading
            .topic
            .queues
            .iter()
            .map(|queue| reading.behind(queue))
            .sum();
        out.with(reading.labels(broker), behind as f64);
    }
}

/// The age of the oldest message that a group has not confirmed: one look at the log for each queue in which the group is behind.
pub(super) fn lag_seconds(broker: &Broker, out: &mut Samples) {
    let now_ms = broker.now_ms();
    let mut looks = 0;
    for reading in readings(broker) {
        let behind = reading
            .topic
            .queues
            .iter()
            .filter(|queue| reading.behind(queue) > 0);
        let mut oldest_ms = None;
        for queue in behind {
            looks += 1;
            if looks > limits::LAG_LOOKS_MAX {
                return;
            }
            let stored_ms = look_up::store_time(broker, queue, reading.next(queue));
            oldest_ms = [oldest_ms, stored_ms].into_iter().flatten().min();
        }
        let age_ms = oldest_ms.map_or(0, |oldest_ms| (now_ms - oldest_ms).max(0));
        out.with(reading.labels(broker), age_ms as f64 / 1_000.0);
    }
}

/// Connections with the same labels are one series.
pub(super) fn tally(out: &mut Samples, connections: impl Iterator<Item = Labels>) {
    let mut counts: BTreeMap<Labels, u64> = BTreeMap::new();
    for labels in connections {
        *counts.entry(labels).or_default() += 1;
    }
    for (labels, count) in counts {
        out.with(labels, count as f64);
    }
}

pub(super) fn producers(broker: &Broker, out: &mut Samples) {
    let table = broker
        .sessions
        .producer_table(broker.now_ms(), broker.connection_now_ms());
    tally(
        out,
        table.data.values().flatten().map(|producer| {
            vec![
                ("language", producer.language.to_lowercase()),
                ("version", producer.version.to_string()),
                ("protocol_type", "remoting".to_owned()),
            ]
        }),
    );
}

pub(super) fn consumers(broker: &Broker, out: &mut Samples) {
    let groups = broker.sessions.consumers();
    let connections: Vec<Labels> = groups
        .iter()
        .flat_map(|group| {
            let online = group.connection();
            let mode = if online.consume_type == ConsumeType::Passively {
                "push"
            } else {
                "pull"
            };
            let labels = move |connection: &Connection| {
                vec![
                    ("consumer_group", group.name().to_owned()),
                    ("language", connection.language.to_lowercase()),
                    ("version", connection.version.to_string()),
                    ("consume_mode", mode.to_owned()),
                    ("protocol_type", "remoting".to_owned()),
                    (
                        "is_system",
                        names::is_system_group(group.name()).to_string(),
                    ),
                ]
            };
            online.connection_set.iter().map(labels).collect::<Vec<_>>()
        })
        .collect();
    // A group that nobody is connected for has a series: an alert needs the zero.
    for group in broker.groups.all() {
        let is_online = groups
            .iter()
            .any(|online| online.name() == group.name() && !online.members().is_empty());
        if !is_online {
            let system = is_system(broker, "", Some(group.name())).to_string();
            out.with(
                vec![
                    ("consumer_group", group.name().to_owned()),
                    ("language", String::new()),
                    ("version", String::new()),
                    ("consume_mode", String::new()),
                    ("protocol_type", String::new()),
                    ("is_system", system),
                ],
                0.0,
            );
        }
    }
    tally(out, connections.into_iter());
}

pub(super) fn requests(broker: &Broker, out: &mut Samples) {
    let mut read = broker.requests.read();
    // What every broker is there for has series before the first request.
    for code in [RequestCode::SendMessageV2, RequestCode::PullMessage] {
        if !read.iter().any(|(known, _)| *known == code) {
            read.push((code, Took::default()));
        }
    }
    for (code, took) in read {
        out.histogram(
            vec![("request_code", code.name().to_owned())],
            Histogram::of(&BOUNDS_US, &took.counts, took.sum_us, 1e6),
        );
    }
}

pub(super) fn refusals(broker: &Broker, out: &mut Samples) {
    let mut refusals: BTreeMap<&str, u64> =
        REFUSALS_SHOWN.iter().map(|code| (code.name(), 0)).collect();
    refusals.extend(
        broker
            .requests
            .refusals()
            .map(|(code, count)| (code.name(), count)),
    );
    for (reason, count) in refusals {
        out.with(vec![("reason", reason.to_owned())], count as f64);
    }
}

/// All reasons from the start, so that the first failure is a step.
pub(super) fn authentication_failures(broker: &Broker, out: &mut Samples) {
    let mut failures: BTreeMap<&str, u64> =
        Unauthenticated::REASONS.map(|reason| (reason, 0)).into();
    if let Some(access) = &broker.access {
        failures.extend(access.refusals.unauthenticated());
    }
    for (reason, count) in failures {
        out.with(vec![("reason", reason.to_owned())], count as f64);
    }
}

pub(super) fn of_access(broker: &Broker, out: &mut Samples, count: fn(&Refusals) -> u64) {
    let counted = broker.access.as_ref();
    let counted = counted.map_or(0, |access| count(&access.refusals));
    out.one(counted as f64);
}

pub(super) fn connections(broker: &Broker, out: &mut Samples) {
    for (listener, open) in LISTENERS.iter().zip(&broker.open) {
        out.with(vec![("listener", (*listener).to_owned())], load(open));
    }
}
