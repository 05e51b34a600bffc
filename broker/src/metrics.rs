//! Prometheus metrics under the names that RocketMQ 5 exposes, read from the broker's counters when somebody asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::broker::Broker;

/// All metrics as text.
pub(crate) fn encode(broker: &Arc<Broker>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(BrokerCollector(Arc::clone(broker))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

struct BrokerCollector(Arc<Broker>);

impl fmt::Debug for BrokerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrokerCollector")
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

impl BrokerCollector {
    fn labels<'a>(&'a self, more: &[(&'static str, &'a str)]) -> Labels<'a> {
        let config = &self.0.config;
        let mut labels = vec![
            ("cluster", config.cluster_name.as_str()),
            ("node_type", "broker"),
            ("node_id", config.broker_name.as_str()),
            ("node", self.0.identity.addr.as_str()),
        ];
        labels.extend_from_slice(more);
        labels
    }

    fn counters(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        series: &[(Labels<'_>, u64)],
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            ConstCounter::new(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        series: &[(Labels<'_>, f64)],
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}

fn text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

impl Collector for BrokerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let broker = &*self.0;
        let topics = broker.topics.all();
        let by_topic = |of: fn(&crate::topics::TopicCounters) -> u64| -> Vec<(Labels<'_>, u64)> {
            topics
                .iter()
                .filter(|topic| of(&topic.counters) > 0 || !topic.is_system())
                .map(|topic| {
                    let labels = self.labels(&[
                        ("topic", topic.name()),
                        ("message_type", "normal"),
                        ("is_system", text(topic.is_system())),
                    ]);
                    (labels, of(&topic.counters))
                })
                .collect()
        };
        self.counters(
            &mut encoder,
            "rocketmq_messages_in",
            "Messages stored",
            &by_topic(|counters| counters.messages_in.load(Ordering::Relaxed)),
        )?;
        self.counters(
            &mut encoder,
            "rocketmq_throughput_in",
            "Bytes stored",
            &by_topic(|counters| counters.bytes_in.load(Ordering::Relaxed)),
        )?;
        let groups = broker.groups.all();
        let out = |of: fn(&crate::groups::GroupCounters) -> u64| -> Vec<(Labels<'_>, u64)> {
            groups
                .iter()
                .map(|group| {
                    (
                        self.labels(&[
                            ("consumer_group", group.name()),
                            (
                                "is_system",
                                text(rmq_protocol::names::is_system_group(group.name())),
                            ),
                        ]),
                        of(&group.counters),
                    )
                })
                .collect()
        };
        self.counters(
            &mut encoder,
            "rocketmq_messages_out",
            "Messages given to consumers",
            &out(|counters| counters.messages_out.load(Ordering::Relaxed)),
        )?;
        self.counters(
            &mut encoder,
            "rocketmq_throughput_out",
            "Bytes given to consumers",
            &out(|counters| counters.bytes_out.load(Ordering::Relaxed)),
        )?;
        self.counters(
            &mut encoder,
            "rocketmq_send_to_dlq_messages",
            "Messages given up",
            &out(|counters| counters.dead_letters.load(Ordering::Relaxed)),
        )?;
        self.counters(
            &mut encoder,
            "rocketmq_rejected_requests",
            "Sends and pulls that were refused",
            &[(
                self.labels(&[]),
                broker.stats.refused.load(Ordering::Relaxed),
            )],
        )?;

        // A series for every group that has an offset of a topic: a dead consumer is seen, too.
        let offsets = broker.offsets.all();
        let mut lags = Vec::new();
        for (key, queues) in &offsets {
            let Some((topic, group)) = key.split_once('@') else {
                continue;
            };
            let Some(found) = topics.iter().find(|other| other.name() == topic) else {
                continue;
            };
            let lag: i64 = found
                .queues
                .iter()
                .map(|queue| {
                    (queue.max_offset()
                        - queues
                            .get(&queue.queue_id())
                            .copied()
                            .unwrap_or_else(|| queue.min_offset()))
                    .max(0)
                })
                .sum();
            lags.push((
                self.labels(&[
                    ("consumer_group", group),
                    ("topic", topic),
                    ("is_retry", text(rmq_protocol::names::is_retry_topic(topic))),
                    ("is_system", text(found.is_system())),
                ]),
                lag as f64,
            ));
        }
        self.gauges(
            &mut encoder,
            "rocketmq_consumer_lag_messages",
            "Messages that a group has not consumed yet",
            &lags,
        )?;

        let (producers, consumers) = broker.sessions.counts();
        let positions = broker.store.positions();
        let store = broker.store.stats();
        let writable = matches!(broker.store.health(), rmq_store::StoreHealth::Writable);
        let commit_log: &[(&'static str, &str)] =
            &[("storage_type", "local"), ("storage_medium", "disk")];
        let plain: Vec<(&str, &str, Labels<'_>, f64)> = vec![
            (
                "rocketmq_broker_permission",
                "What the broker allows: 6 read and write",
                self.labels(&[]),
                f64::from(broker.permission()),
            ),
            (
                "rocketmq_topic_number",
                "Topics",
                self.labels(&[]),
                topics.len() as f64,
            ),
            (
                "rocketmq_consumer_group_number",
                "Subscription groups",
                self.labels(&[]),
                groups.len() as f64,
            ),
            (
                "rocketmq_producer_connections",
                "Producers connected",
                self.labels(&[]),
                producers as f64,
            ),
            (
                "rocketmq_consumer_connections",
                "Consumers connected",
                self.labels(&[]),
                consumers as f64,
            ),
            (
                "rocketmq_waiting_pulls",
                "Pulls that wait for a message",
                self.labels(&[]),
                broker.waiters.len() as f64,
            ),
            (
                "rocketmq_storage_size_bytes",
                "Bytes of the log on disk",
                self.labels(commit_log),
                store.log_bytes as f64,
            ),
            (
                "rocketmq_storage_flush_behind_bytes",
                "Bytes written and not flushed",
                self.labels(commit_log),
                positions.written.saturating_sub(positions.flushed) as f64,
            ),
            (
                "rocketmq_storage_dispatch_behind_bytes",
                "Bytes confirmed and not indexed",
                self.labels(commit_log),
                positions.confirmed.saturating_sub(positions.dispatched) as f64,
            ),
            (
                "rocketmq_storage_message_reserve_time_milliseconds",
                "Age of the oldest message",
                self.labels(commit_log),
                store
                    .oldest_ms
                    .map_or(0.0, |oldest| (broker.now_ms() - oldest).max(0) as f64),
            ),
            (
                "rocketmq_disk_free_ratio",
                "Free share of the disk, 0 to 1",
                self.labels(&[]),
                1.0 - store.space.used_ratio(),
            ),
            (
                "rocketmq_store_writable",
                "1 when the store takes messages",
                self.labels(&[]),
                f64::from(u8::from(writable)),
            ),
            (
                "rocketmq_store_recovery_seconds",
                "How long recovery took at the start",
                self.labels(&[]),
                store.recovery_took.as_secs_f64(),
            ),
            (
                "rocketmq_build_info",
                "1; the version is a label",
                self.labels(&[("version", env!("CARGO_PKG_VERSION"))]),
                1.0,
            ),
        ];
        for (name, help, labels, value) in plain {
            self.gauges(&mut encoder, name, help, &[(labels, value)])?;
        }
        Ok(())
    }
}
