//! What the broker tells Prometheus. The names are those that a RocketMQ 5 broker's scrape shows (with unit and `_total`), so that
//! dashboards and alerts made for it work; additions of our own are in base units. Nothing is computed between scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rmq_protocol::bodies::{Connection, ConsumeType};
use rmq_protocol::names;
use rmq_store::StoreHealth;

use crate::broker::Broker;
use crate::stats;

/// All metrics of a broker as text (OpenMetrics 1.0).
pub(crate) fn encode(broker: &Arc<Broker>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reader(Arc::clone(broker))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Clone, Copy)]
enum Kind {
    /// Only grows; `_total` is appended to its name.
    Counter,
    Gauge,
}

/// One metric: its name, what it means, and where its values come from.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    read: fn(&Broker, &mut Samples),
}

type Labels = Vec<(&'static str, String)>;

/// The values of one metric.
#[derive(Default)]
struct Samples(Vec<(Labels, f64)>);

impl Samples {
    fn one(&mut self, value: f64) {
        self.0.push((Vec::new(), value));
    }

    fn with(&mut self, labels: Labels, value: f64) {
        self.0.push((labels, value));
    }
}

const METRICS: &[Metric] = &[
    Metric {
        name: "rocketmq_messages_in",
        help: "Messages stored",
        kind: Kind::Counter,
        read: |broker, out| of_topics(broker, out, stats::MESSAGES),
    },
    Metric {
        name: "rocketmq_throughput_in",
        help: "Bytes stored",
        kind: Kind::Counter,
        read: |broker, out| of_topics(broker, out, stats::BYTES),
    },
    Metric {
        name: "rocketmq_messages_out",
        help: "Messages delivered, by consumer group",
        kind: Kind::Counter,
        read: |broker, out| of_groups(broker, out, |(messages, _)| messages),
    },
    Metric {
        name: "rocketmq_throughput_out",
        help: "Bytes delivered, by consumer group",
        kind: Kind::Counter,
        read: |broker, out| of_groups(broker, out, |(_, bytes)| bytes),
    },
    Metric {
        name: "rocketmq_send_to_dlq_messages",
        help: "Messages given up and put among the dead letters",
        kind: Kind::Counter,
        read: dead_letters,
    },
    Metric {
        name: "rocketmq_consumer_lag_messages",
        help: "Messages that a group has not yet confirmed",
        kind: Kind::Gauge,
        read: lag,
    },
    Metric {
        name: "rocketmq_broker_permission",
        help: "6 read and write, 4 read, 2 write",
        kind: Kind::Gauge,
        read: |broker, out| out.one(f64::from(broker.permission())),
    },
    Metric {
        name: "rocketmq_registration_rivals",
        help: "Name servers at which another broker has this broker's name and id",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.registrations.rivals().len() as f64),
    },
    Metric {
        name: "rocketmq_connection_memory_bytes",
        help: "Bytes that connections hold beyond their small allowances: received in part, and waiting to be sent",
        kind: Kind::Gauge,
        read: |broker, out| {
            let memory = broker.memory.usage();
            out.one((memory.received + memory.sending) as f64);
        },
    },
    Metric {
        name: "rocketmq_connection_memory_limit_bytes",
        help: "The bound of rocketmq_connection_memory_bytes (memoryBytes); each half is for one direction",
        kind: Kind::Gauge,
        read: |broker, out| {
            let memory = broker.memory.usage();
            out.one((memory.received_max + memory.sending_max) as f64);
        },
    },
    Metric {
        name: "rocketmq_connection_memory_waiting",
        help: "Connections and answers that wait because connections hold too much memory",
        kind: Kind::Gauge,
        read: |broker, out| {
            let memory = broker.memory.usage();
            out.one((memory.waiting_to_read + memory.waiting_to_send) as f64);
        },
    },
    Metric {
        name: "rocketmq_topic_number",
        help: "Topics",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.topics.len() as f64),
    },
    Metric {
        name: "rocketmq_consumer_group_number",
        help: "Subscription groups",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.groups.len() as f64),
    },
    Metric {
        name: "rocketmq_producer_connections",
        help: "Connected producers",
        kind: Kind::Gauge,
        read: producers,
    },
    Metric {
        name: "rocketmq_consumer_connections",
        help: "Connected consumers",
        kind: Kind::Gauge,
        read: consumers,
    },
    Metric {
        name: "rocketmq_storage_size_bytes",
        help: "Bytes of log and index on the disk",
        kind: Kind::Gauge,
        read: |broker, out| {
            let stats = broker.store.stats();
            storage(out, stats.log_bytes as f64 + stats.index_bytes as f64);
        },
    },
    Metric {
        name: "rocketmq_storage_flush_behind_bytes",
        help: "Bytes written and not yet durable",
        kind: Kind::Gauge,
        read: |broker, out| {
            let positions = broker.store.positions();
            storage(
                out,
                positions.written.saturating_sub(positions.flushed) as f64,
            );
        },
    },
    Metric {
        name: "rocketmq_storage_dispatch_behind_bytes",
        help: "Bytes written that the index does not know yet",
        kind: Kind::Gauge,
        read: |broker, out| {
            let positions = broker.store.positions();
            storage(
                out,
                positions.written.saturating_sub(positions.dispatched) as f64,
            );
        },
    },
    Metric {
        name: "rocketmq_storage_message_reserve_time_milliseconds",
        help: "Age of the oldest message",
        kind: Kind::Gauge,
        read: |broker, out| {
            storage(
                out,
                broker
                    .store
                    .stats()
                    .oldest_ms
                    .map_or(0.0, |oldest| (broker.now_ms() - oldest).max(0) as f64),
            );
        },
    },
    Metric {
        name: "rocketmq_storage_held_bytes",
        help: "Bytes of segments that stay beyond their time for delayed messages in them",
        kind: Kind::Gauge,
        read: |broker, out| storage(out, load(&broker.retention.held_bytes)),
    },
    Metric {
        name: "rocketmq_delayed_messages_dropped",
        help: "Delayed messages that came due after their topic had been deleted",
        kind: Kind::Counter,
        read: |broker, out| out.with(Vec::new(), load(&broker.delay.dropped)),
    },
    Metric {
        name: "rocketmq_clock_jumps",
        help: "Jumps of the system's clock since the start",
        kind: Kind::Counter,
        read: |broker, out| {
            let watch = &broker.clock_watch;
            for (direction, counter) in [("ahead", &watch.jumps_ahead), ("back", &watch.jumps_back)]
            {
                out.with(vec![("direction", direction.to_owned())], load(counter));
            }
        },
    },
    Metric {
        name: "rocketmq_build_info",
        help: "1, with the version as label",
        kind: Kind::Gauge,
        read: |_, out| out.with(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0),
    },
    Metric {
        name: "rocketmq_broker_role",
        help: "1 for the role that this broker has",
        kind: Kind::Gauge,
        read: |_, out| out.with(vec![("role", "master".to_owned())], 1.0),
    },
    Metric {
        name: "rocketmq_store_writable",
        help: "1 while the store takes messages, 0 when the disk is full or failed",
        kind: Kind::Gauge,
        read: |broker, out| {
            out.one(f64::from(u8::from(
                broker.store.health() == StoreHealth::Writable,
            )))
        },
    },
    Metric {
        name: "rocketmq_store_recovery_seconds",
        help: "How long the last recovery took",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.store.stats().recovery_took.as_secs_f64()),
    },
    Metric {
        name: "rocketmq_store_damaged_ranges",
        help: "Parts of the log whose checksums are wrong",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.store.damage().len() as f64),
    },
    Metric {
        name: "rocketmq_disk_free_ratio",
        help: "Free share of the disk, 0 to 1",
        kind: Kind::Gauge,
        read: |broker, out| out.one(1.0 - broker.store.stats().space.used_ratio()),
    },
    Metric {
        name: "rocketmq_rejected_requests",
        help: "Sends and pulls that were refused",
        kind: Kind::Counter,
        read: |broker, out| out.one(load(&broker.stats.refused)),
    },
    Metric {
        name: "rocketmq_waiting_pulls",
        help: "Pulls that wait for a message",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.waiters.len() as f64),
    },
    Metric {
        name: "rocketmq_name_server_registered",
        help: "1 while the name server knows this broker",
        kind: Kind::Gauge,
        read: |broker, out| {
            for server in broker.registrations.health() {
                out.with(
                    vec![("name_server", server.addr)],
                    f64::from(u8::from(server.registered)),
                );
            }
        },
    },
    Metric {
        name: "process_start_time_seconds",
        help: "Start of the broker, Unix seconds",
        kind: Kind::Gauge,
        read: |broker, out| out.one(broker.started_ms as f64 / 1_000.0),
    },
    Metric {
        name: "process_resident_memory_bytes",
        help: "Memory of the process",
        kind: Kind::Gauge,
        read: |_, out| {
            if let Some(bytes) = resident_bytes() {
                out.one(bytes as f64);
            }
        },
    },
];

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn storage(out: &mut Samples, value: f64) {
    out.with(
        vec![
            ("storage_type", "local".to_owned()),
            ("storage_medium", "disk".to_owned()),
        ],
        value,
    );
}

fn of_topics(broker: &Broker, out: &mut Samples, counter: usize) {
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
            _ => "normal",
        };
        let labels = vec![
            ("topic", topic.name().to_owned()),
            ("message_type", kind.to_owned()),
            ("is_system", topic.is_system().to_string()),
        ];
        out.with(labels, topic.counters.put.total(counter) as f64);
    }
}

fn of_groups(broker: &Broker, out: &mut Samples, pick: fn((u64, u64)) -> u64) {
    for group in broker.groups.all() {
        for (topic, given) in group.counters.by_topic() {
            let labels = vec![
                ("is_retry", names::is_retry_topic(&topic).to_string()),
                (
                    "is_system",
                    (names::is_system_topic(&topic) || names::is_system_group(group.name()))
                        .to_string(),
                ),
                ("topic", topic),
                ("consumer_group", group.name().to_owned()),
            ];
            out.with(labels, pick(given) as f64);
        }
    }
}

fn dead_letters(broker: &Broker, out: &mut Samples) {
    for group in broker.groups.all() {
        let labels = vec![
            ("consumer_group", group.name().to_owned()),
            ("topic", names::dlq_topic(group.name())),
            (
                "is_system",
                names::is_system_group(group.name()).to_string(),
            ),
        ];
        out.with(labels, load(&group.counters.dead_letters));
    }
}

/// Every topic that a group has confirmed something of, or is subscribed to now; a queue without an offset counts from its beginning.
fn lag(broker: &Broker, out: &mut Samples) {
    let mut read: BTreeMap<(String, String), BTreeMap<i32, i64>> = BTreeMap::new();
    for (key, offsets) in broker.offsets.all() {
        if let Some((topic, group)) = key.split_once('@') {
            read.insert((group.to_owned(), topic.to_owned()), offsets);
        }
    }
    for group in broker.sessions.consumers() {
        for subscription in group.subscriptions() {
            read.entry((group.name().to_owned(), subscription.data.topic.clone()))
                .or_default();
        }
    }
    for ((group, name), offsets) in read {
        let Some(topic) = broker.topics.get(&name) else {
            continue;
        };
        let behind: i64 = topic
            .queues
            .iter()
            .map(|queue| {
                let from = offsets
                    .get(&queue.queue_id())
                    .copied()
                    .unwrap_or(0)
                    .max(queue.min_offset());
                (queue.max_offset() - from).max(0)
            })
            .sum();
        let labels = vec![
            ("is_retry", topic.retry_group().is_some().to_string()),
            (
                "is_system",
                (topic.is_system() || names::is_system_group(&group)).to_string(),
            ),
            ("consumer_group", group),
            ("topic", name),
        ];
        out.with(labels, behind as f64);
    }
}

/// Connections with the same labels are one series.
fn tally(out: &mut Samples, connections: impl Iterator<Item = Labels>) {
    let mut counts: BTreeMap<Labels, u64> = BTreeMap::new();
    for labels in connections {
        *counts.entry(labels).or_default() += 1;
    }
    for (labels, count) in counts {
        out.with(labels, count as f64);
    }
}

fn producers(broker: &Broker, out: &mut Samples) {
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

fn consumers(broker: &Broker, out: &mut Samples) {
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
    tally(out, connections.into_iter());
}

/// Resident memory of this process, as the system counts it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Reads the broker when Prometheus asks.
struct Reader(Arc<Broker>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let broker = &*self.0;
        for metric in METRICS {
            let mut samples = Samples::default();
            (metric.read)(broker, &mut samples);
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for (mut labels, value) in samples.0 {
                labels.push(("cluster", broker.config.cluster_name.clone()));
                labels.push(("node_type", "broker".to_owned()));
                labels.push(("node_id", broker.config.broker_name.clone()));
                labels.push(("node", broker.identity.addr.clone()));
                let one = family.encode_family(&labels)?;
                match metric.kind {
                    Kind::Counter => ConstCounter::new(value as u64).encode(one)?,
                    Kind::Gauge => ConstGauge::new(value).encode(one)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_carry_no_suffix_that_is_added() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in METRICS {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.is_empty());
        }
    }

    #[test]
    fn memory_is_read_from_the_system() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }
}
