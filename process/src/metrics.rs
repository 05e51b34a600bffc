//! Families of metrics: how a server declares what it tells Prometheus, and those that every process has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What the values of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows; its series have `_total` at the end of the name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by class; its series have `_bucket`, `_count` and `_sum` at the end of the name.
    Histogram,
}

impl FamilyKind {
    /// As in the `# TYPE` line of a scrape.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A family of metrics: what `/metrics` and its page of the documentation say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name, without the endings that its kind adds.
    pub name: &'static str,
    /// What its values are.
    pub kind: FamilyKind,
    /// Unit of the values: `seconds`, `bytes`, `messages`, …
    pub unit: &'static str,
    /// Labels of its own, beside those that all families of the server have.
    pub labels: &'static [&'static str],
    /// What it is: the `# HELP` line.
    pub help: &'static str,
    /// The question that it answers.
    pub question: &'static str,
}

impl Family {
    /// A gauge without labels of its own.
    #[must_use]
    pub const fn gauge(
        name: &'static str,
        unit: &'static str,
        help: &'static str,
        question: &'static str,
    ) -> Self {
        Self {
            name,
            kind: FamilyKind::Gauge,
            unit,
            labels: &[],
            help,
            question,
        }
    }
}

/// What a scrape has other than is declared: families that are missing, of another kind, without a series, or unknown, and labels that
/// are not those of the family with the `common` ones. For the tests of servers.
#[must_use]
pub fn scrape_problems(declared: &[Family], common: &[&str], text: &str) -> Vec<String> {
    let kinds: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut problems = Vec::new();
    for name in kinds.keys() {
        if !declared.iter().any(|family| family.name == *name) {
            problems.push(format!("{name} is told and not declared"));
        }
    }
    for family in declared {
        let name = family.name;
        if kinds.get(name) != Some(&family.kind.as_str()) {
            problems.push(format!("{name} is {:?} in the scrape", kinds.get(name)));
            continue;
        }
        let ending = match family.kind {
            FamilyKind::Counter => "_total",
            FamilyKind::Gauge => "",
            FamilyKind::Histogram => "_count",
        };
        let wanted: BTreeSet<&str> = family.labels.iter().chain(common).copied().collect();
        let series = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(ending)?;
            match rest.as_bytes().first()? {
                b'{' => rest
                    .strip_prefix('{')?
                    .split_once('}')
                    .map(|(labels, _)| labels),
                b' ' => Some(""),
                _ => None,
            }
        });
        let mut count = 0;
        for labels in series {
            count += 1;
            let has: BTreeSet<&str> = labels
                .split("\",")
                .filter_map(|label| label.split_once("=\"").map(|(name, _)| name))
                .collect();
            if has != wanted {
                problems.push(format!("{name} has the labels {has:?}, not {wanted:?}"));
                break;
            }
        }
        if count == 0 {
            problems.push(format!("{name} has no series"));
        }
    }
    problems
}

/// The families of [`process_values`], in its order.
pub const PROCESS_FAMILIES: [Family; 5] = [
    Family {
        name: "process_cpu_seconds",
        kind: FamilyKind::Counter,
        unit: "seconds",
        labels: &[],
        help: "CPU time of the process, in user and kernel mode",
        question: "How many cores does the process keep busy?",
    },
    Family::gauge(
        "process_resident_memory_bytes",
        "bytes",
        "Memory of the process, mapped files that are in use among it",
        "How near is the process to the limit of its container?",
    ),
    Family::gauge(
        "process_open_fds",
        "descriptors",
        "Open file descriptors: connections and files",
        "Do connections or files leak?",
    ),
    Family::gauge(
        "process_max_fds",
        "descriptors",
        "The limit of process_open_fds (ulimit -n)",
        "How many more connections can the process take?",
    ),
    Family::gauge(
        "process_start_time_seconds",
        "seconds since 1970",
        "When the server started",
        "Has the server restarted?",
    ),
];

/// The values of [`PROCESS_FAMILIES`] now; `None` where the system does not say. `started_ms` is when the server started, Unix milliseconds.
#[must_use]
pub fn process_values(started_ms: i64) -> [Option<f64>; 5] {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    // The descriptor that lists them is one of them.
    let open = std::fs::read_dir("/proc/self/fd").map(|open| open.count().saturating_sub(1));
    [
        Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9),
        resident_bytes().map(|bytes| bytes as f64),
        open.ok().map(|open| open as f64),
        limit.current.map(|max| max as f64),
        Some(started_ms as f64 / 1_000.0),
    ]
}

/// Resident memory of this process, as the system counts it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim();
    kib.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// Tells [`PROCESS_FAMILIES`] to a registry.
#[derive(Debug)]
pub struct ProcessMetrics {
    /// When the server started, Unix milliseconds.
    pub started_ms: i64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (family, value) in PROCESS_FAMILIES.iter().zip(process_values(self.started_ms)) {
            let Some(value) = value else { continue };
            let counter = family.kind == FamilyKind::Counter;
            let kind = if counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let out = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            if counter {
                ConstCounter::new(value).encode(out)?;
            } else {
                ConstGauge::new(value).encode(out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_is_compared_with_what_is_declared() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(ProcessMetrics { started_ms: 7 }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        assert_eq!(
            scrape_problems(&PROCESS_FAMILIES, &[], &text),
            Vec::<String>::new(),
            "{text}"
        );
        let problems = |declared: &[Family], common: &[&str]| {
            scrape_problems(declared, common, &text).join("\n")
        };
        assert!(problems(&PROCESS_FAMILIES[1..], &[]).contains("process_cpu_seconds is told"));
        assert!(problems(&PROCESS_FAMILIES, &["node"]).contains("has the labels {}"));
        let missing = Family::gauge("process_threads", "threads", "x", "y?");
        assert!(problems(&[missing], &[]).contains("process_threads is None"));
    }

    #[test]
    fn the_system_says_all_of_them() {
        let values = process_values(7_000);
        for (family, value) in PROCESS_FAMILIES.iter().zip(values) {
            assert!(value.is_some_and(|value| value > 0.0), "{}", family.name);
        }
        assert_eq!(values[4], Some(7.0));
        let [_, _, Some(before), ..] = values else {
            panic!("{values:?}")
        };
        let files: Vec<_> = (0..64)
            .map(|_| std::fs::File::open("/proc/self/status"))
            .collect();
        let open = process_values(0)[2].unwrap_or_default();
        assert!(open >= before + 32.0, "{before}, then {open}");
        drop(files);
    }
}
