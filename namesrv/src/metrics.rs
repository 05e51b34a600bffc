//! Figures for `/metrics`. The page docs/reference/metrics.md is made of the families declared here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Series;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rmq_access::{NotPassed, Unauthenticated};
use rmq_process::{Family, FamilyKind, PROCESS_FAMILIES, ProcessMetrics};
use rmq_protocol::{RequestCode, ResponseCode};
use rmq_transport::{MemoryUse, TlsServer};

use crate::registry::Sizes;

const BROKERS: Family = Family::gauge(
    "rocketmq_nameserver_brokers",
    "brokers",
    "Registered broker addresses",
    "Are all brokers registered here? The value is the same at every name server.",
);
const GROUPS: Family = Family::gauge(
    "rocketmq_nameserver_broker_groups",
    "broker groups",
    "Registered broker groups",
    "Is a whole broker group gone?",
);
const TOPICS: Family = Family::gauge(
    "rocketmq_route_topics",
    "topics",
    "Registered topics",
    "How near is the name server to topicsMax?",
);
const ENTRIES: Family = Family::gauge(
    "rocketmq_route_entries",
    "entries",
    "Registered pairs of a topic and a broker group",
    "How near is the name server to routeEntriesMax?",
);
const MEMORY: Family = Family::gauge(
    "rocketmq_connection_memory_bytes",
    "bytes",
    "Bytes that connections hold beyond their small allowances",
    "How near are connections to their bound of memory?",
);
const MEMORY_LIMIT: Family = Family::gauge(
    "rocketmq_connection_memory_limit_bytes",
    "bytes",
    "The bound of rocketmq_connection_memory_bytes (memoryBytes)",
    "What is that bound?",
);
const CONNECTIONS: Family = Family::gauge(
    "rocketmq_connections",
    "connections",
    "Open connections of clients, brokers and tools",
    "How many clients and brokers are connected?",
);
const CONNECTIONS_LIMIT: Family = Family::gauge(
    "rocketmq_connections_limit",
    "connections",
    "The bound of rocketmq_connections (connectionsMax)",
    "How near is the name server to refusing clients?",
);
const REQUESTS: Family = Family {
    name: "rocketmq_nameserver_requests",
    kind: FamilyKind::Counter,
    unit: "requests",
    labels: &["request_code"],
    help: "Requests received",
    question: "Who asks how much: clients for routes, brokers with registrations?",
};
const REJECTED: Family = Family {
    name: "rocketmq_rejected_requests",
    kind: FamilyKind::Counter,
    unit: "requests",
    labels: &["reason"],
    help: "Requests answered with an error, by the code of the answer",
    question: "Do clients ask for topics that nobody has?",
};
const TLS_NOT_AFTER: Family = Family {
    name: "rocketmq_tls_certificate_not_after_seconds",
    kind: FamilyKind::Gauge,
    unit: "seconds",
    labels: &["use"],
    help: "When a certificate in use ends, Unix time; use is server or client",
    question: "Does a certificate end soon? Alert on the difference to time().",
};
const TLS_STALE: Family = Family::gauge(
    "rocketmq_tls_certificate_stale",
    "1",
    "1 while the files of the certificate cannot be used and an older one is; the log says why",
    "Did a new certificate not arrive?",
);
const TLS_HANDSHAKES: Family = Family {
    name: "rocketmq_tls_handshakes",
    kind: FamilyKind::Counter,
    unit: "handshakes",
    labels: &["result"],
    help: "TLS handshakes: full, resumed (a session was continued), failed",
    question: "Do clients fail to connect with TLS? Do they connect again and again?",
};
const FAILURES: Family = Family {
    name: "rocketmq_authentication_failures",
    kind: FamilyKind::Counter,
    unit: "requests",
    labels: &["reason"],
    help: "Requests whose sender was not known (authenticationEnabled), by reason",
    question: "Does somebody try passwords? Does a broker have an old one?",
};
const DENIED: Family = Family {
    name: "rocketmq_authorization_refusals",
    kind: FamilyKind::Counter,
    unit: "requests",
    labels: &[],
    help: "Requests of known users who may not (authorizationEnabled), and registrations of other users' broker groups",
    question: "Does a tool lack a right? Does a broker take another one's name?",
};
const BUILD: Family = Family {
    name: "rocketmq_build_info",
    kind: FamilyKind::Gauge,
    unit: "1",
    labels: &["version"],
    help: "1, with the version as label",
    question: "Which versions run?",
};

/// Every family of metrics that a name server tells.
#[must_use]
pub fn metric_families() -> Vec<Family> {
    let own = [
        BROKERS,
        GROUPS,
        TOPICS,
        ENTRIES,
        REQUESTS,
        REJECTED,
        FAILURES,
        DENIED,
        CONNECTIONS,
        CONNECTIONS_LIMIT,
        MEMORY,
        MEMORY_LIMIT,
        TLS_NOT_AFTER,
        TLS_STALE,
        TLS_HANDSHAKES,
        BUILD,
    ];
    own.into_iter().chain(PROCESS_FAMILIES).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    request_code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByUse {
    r#use: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// All figures. Labels are closed sets: codes that do not exist share one.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Series<ByRequest, Counter>,
    rejected: Series<ByReason, Counter>,
    failures: Series<ByReason, Counter>,
    denied: Counter,
    brokers: Gauge,
    groups: Gauge,
    topics: Gauge,
    entries: Gauge,
    memory: Gauge,
    memory_max: Gauge,
    connections: Gauge,
    open: AtomicI64,
    tls: Option<Tls>,
}

/// What is told of TLS, where there is a certificate.
#[derive(Debug)]
struct Tls {
    server: Arc<TlsServer>,
    not_after: Series<ByUse, Gauge>,
    is_stale: Gauge,
    handshakes: Series<ByResult, Counter>,
}

impl Tls {
    fn look(&self) {
        let status = self.server.status();
        let of_server = ByUse { r#use: "server" };
        self.not_after
            .get_or_create(&of_server)
            .set(status.not_after_s);
        self.is_stale.set(i64::from(status.is_stale));
        for (result, count) in [
            ("full", status.full),
            ("resumed", status.resumed),
            ("failed", status.failed),
        ] {
            let counter = self.handshakes.get_or_create(&ByResult { result });
            counter.inner().store(count, Ordering::Relaxed);
        }
    }
}

impl Metrics {
    /// `started_ms` is when the server started, Unix milliseconds; `tls` is that of its port.
    pub(crate) fn new(started_ms: i64, connections_max: i64, tls: Option<Arc<TlsServer>>) -> Self {
        let mut registry = Registry::default();
        let gauge = |registry: &mut Registry, family: Family| {
            let gauge = Gauge::<i64>::default();
            registry.register(family.name, family.help, gauge.clone());
            gauge
        };
        let brokers = gauge(&mut registry, BROKERS);
        let groups = gauge(&mut registry, GROUPS);
        let topics = gauge(&mut registry, TOPICS);
        let entries = gauge(&mut registry, ENTRIES);
        let memory = gauge(&mut registry, MEMORY);
        let memory_max = gauge(&mut registry, MEMORY_LIMIT);
        let connections = gauge(&mut registry, CONNECTIONS);
        gauge(&mut registry, CONNECTIONS_LIMIT).set(connections_max);
        let requests = Series::<ByRequest, Counter>::default();
        registry.register(REQUESTS.name, REQUESTS.help, requests.clone());
        let rejected = Series::<ByReason, Counter>::default();
        // An alert on the first one needs the zero before.
        let reason = ResponseCode::TopicNotExist.name();
        drop(rejected.get_or_create(&ByReason { reason }));
        registry.register(REJECTED.name, REJECTED.help, rejected.clone());
        let tls = tls.map(|server| {
            let handshakes = Series::<ByResult, Counter>::default();
            let (name, help) = (TLS_HANDSHAKES.name, TLS_HANDSHAKES.help);
            registry.register(name, help, handshakes.clone());
            let not_after = Series::<ByUse, Gauge>::default();
            let (name, help) = (TLS_NOT_AFTER.name, TLS_NOT_AFTER.help);
            registry.register(name, help, not_after.clone());
            Tls {
                server,
                not_after,
                is_stale: gauge(&mut registry, TLS_STALE),
                handshakes,
            }
        });
        let failures = Series::<ByReason, Counter>::default();
        for reason in Unauthenticated::REASONS {
            drop(failures.get_or_create(&ByReason { reason }));
        }
        registry.register(FAILURES.name, FAILURES.help, failures.clone());
        let denied = Counter::default();
        registry.register(DENIED.name, DENIED.help, denied.clone());
        let build = Series::<Build, Gauge>::default();
        let version = env!("CARGO_PKG_VERSION");
        build.get_or_create(&Build { version }).set(1);
        registry.register(BUILD.name, BUILD.help, build);
        registry.register_collector(Box::new(ProcessMetrics { started_ms }));
        Self {
            registry,
            requests,
            rejected,
            failures,
            denied,
            brokers,
            groups,
            topics,
            entries,
            memory,
            memory_max,
            connections,
            open: AtomicI64::new(0),
            tls,
        }
    }

    pub(crate) fn connected(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
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

    pub(crate) fn not_passed(&self, why: &NotPassed) {
        match why {
            NotPassed::Unauthenticated(why) => {
                let reason = why.reason();
                self.failures.get_or_create(&ByReason { reason }).inc();
            }
            NotPassed::Denied(_) => self.denied_one(),
        }
    }

    pub(crate) fn denied_one(&self) {
        self.denied.inc();
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self, sizes: Sizes, memory: MemoryUse) -> String {
        for (gauge, value) in [
            (&self.brokers, sizes.brokers),
            (&self.groups, sizes.groups),
            (&self.topics, sizes.topics),
            (&self.entries, sizes.entries),
            (&self.memory, memory.held()),
            (&self.memory_max, memory.bound()),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.connections.set(self.open.load(Ordering::Relaxed));
        if let Some(tls) = &self.tls {
            tls.look();
        }
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
