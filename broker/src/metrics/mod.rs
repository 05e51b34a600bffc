//! What the broker tells Prometheus. The names are those that a RocketMQ 5 broker's scrape shows (with unit and `_total`), so that
//! dashboards and alerts made for it work; additions of our own are in base units. Nothing is computed between scrapes.

mod families;
mod read;
mod replication;
mod samples;
mod timers;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use rmq_process::{Family, FamilyKind, PROCESS_FAMILIES, process_values};

use self::families::METRICS;
use self::samples::{Labels, Samples};
use crate::broker::Broker;

/// Labels that every series of a broker has, beside those of its family.
pub const METRIC_LABELS: [&str; 4] = ["cluster", "node_type", "node_id", "node"];

/// Every family of metrics that a broker tells.
#[must_use]
pub fn metric_families() -> Vec<Family> {
    let own = METRICS.iter().map(|metric| metric.family);
    own.chain(PROCESS_FAMILIES).collect()
}

/// All metrics of a broker as text (OpenMetrics 1.0).
pub(crate) fn encode(broker: &Arc<Broker>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reader(Arc::clone(broker))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// Reads the broker when Prometheus asks.
struct Reader(Arc<Broker>);

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    fn family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        family: &Family,
        samples: Samples,
    ) -> Result<(), fmt::Error> {
        let kind = match family.kind {
            FamilyKind::Counter => MetricType::Counter,
            FamilyKind::Gauge => MetricType::Gauge,
            FamilyKind::Histogram => MetricType::Histogram,
        };
        let mut out = encoder.encode_descriptor(family.name, family.help, None, kind)?;
        let own = [
            self.0.config.cluster_name.clone(),
            "broker".to_owned(),
            self.0.config.broker_name.clone(),
            self.0.identity.addr.clone(),
        ];
        let with_own = |mut labels: Labels| {
            labels.extend(METRIC_LABELS.into_iter().zip(own.iter().cloned()));
            labels
        };
        for (labels, value) in samples.values {
            let labels = with_own(labels);
            let one = out.encode_family(&labels)?;
            match family.kind {
                FamilyKind::Counter => ConstCounter::new(value).encode(one)?,
                _ => ConstGauge::new(value).encode(one)?,
            }
        }
        for (labels, took) in samples.histograms {
            let labels = with_own(labels);
            let mut one = out.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(took.sum, took.count, &took.buckets, None)?;
        }
        Ok(())
    }
}

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let mut samples = Samples::default();
            (metric.read)(&self.0, &mut samples);
            self.family(&mut encoder, &metric.family, samples)?;
        }
        let values = process_values(self.0.started_ms);
        for (family, value) in PROCESS_FAMILIES.iter().zip(values) {
            let mut samples = Samples::default();
            if let Some(value) = value {
                samples.one(value);
            }
            self.family(&mut encoder, family, samples)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_unique_and_explained() {
        let mut seen = std::collections::BTreeSet::new();
        for family in metric_families() {
            let name = family.name;
            assert!(seen.insert(name), "{name} is there twice");
            for ending in ["_total", "_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(ending), "{name}: the kind adds {ending}");
            }
            assert!(!family.help.is_empty() && !family.unit.is_empty(), "{name}");
            assert!(family.question.contains(['?', '.']), "{name}");
            for (unit, ending) in [("seconds", "_seconds"), ("bytes", "_bytes")] {
                // Upstream's names of counters of bytes stay as they are.
                let upstream = name.starts_with("rocketmq_throughput");
                assert!(
                    family.unit != unit || name.ends_with(ending) || upstream,
                    "{name}"
                );
            }
        }
    }
}
