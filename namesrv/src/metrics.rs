//! Figures for `/metrics`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rmq_protocol::{RequestCode, ResponseCode};

use rmq_transport::MemoryUse;

use crate::registry::Sizes;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    request_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All figures. Labels are closed sets: codes that do not exist share one.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<ByRequest, Counter>,
    rejected: Family<ByReason, Counter>,
    brokers: Gauge,
    groups: Gauge,
    topics: Gauge,
    entries: Gauge,
    memory: Gauge,
    memory_max: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::<i64>::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let brokers = gauge(
            &mut registry,
            "rocketmq_nameserver_brokers",
            "Registered broker addresses",
        );
        let groups = gauge(
            &mut registry,
            "rocketmq_nameserver_broker_groups",
            "Registered broker groups",
        );
        let topics = gauge(&mut registry, "rocketmq_route_topics", "Registered topics");
        let entries = gauge(
            &mut registry,
            "rocketmq_route_entries",
            "Registered pairs of a topic and a broker group",
        );
        let memory = gauge(
            &mut registry,
            "rocketmq_connection_memory_bytes",
            "Bytes that connections hold beyond their small allowances",
        );
        let memory_max = gauge(
            &mut registry,
            "rocketmq_connection_memory_limit_bytes",
            "The bound of rocketmq_connection_memory_bytes (memoryBytes)",
        );
        let requests = Family::<ByRequest, Counter>::default();
        registry.register(
            "rocketmq_nameserver_requests",
            "Requests received",
            requests.clone(),
        );
        let rejected = Family::<ByReason, Counter>::default();
        registry.register(
            "rocketmq_rejected_requests",
            "Requests answered with an error",
            rejected.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry.register("rocketmq_build_info", "1; the version is a label", build);
        Self {
            registry,
            requests,
            rejected,
            brokers,
            groups,
            topics,
            entries,
            memory,
            memory_max,
        }
    }

    pub(crate) fn request(&self, code: Option<RequestCode>) {
        let request_code = code.map_or("unknown", RequestCode::name);
        self.requests
            .get_or_create(&ByRequest { request_code })
            .inc();
    }

    pub(crate) fn refused(&self, code: ResponseCode) {
        let reason = code.name();
        self.rejected.get_or_create(&ByReason { reason }).inc();
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self, sizes: Sizes, memory: MemoryUse) -> String {
        for (gauge, value) in [
            (&self.brokers, sizes.brokers),
            (&self.groups, sizes.groups),
            (&self.topics, sizes.topics),
            (&self.entries, sizes.entries),
            (&self.memory, memory.received + memory.sending),
            (&self.memory_max, memory.received_max + memory.sending_max),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
