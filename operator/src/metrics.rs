//! Metrics of the operator itself. The page docs/reference/metrics.md is made of the families declared here.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family as Series;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rmq_process::{Family, FamilyKind, PROCESS_FAMILIES, ProcessMetrics};

const RECONCILES: Family = Family {
    name: "rmq_operator_reconciles",
    kind: FamilyKind::Counter,
    unit: "looks",
    labels: &["kind"],
    help: "Looks at objects",
    question: "Does the operator work? Does it look again and again without an end?",
};
const ERRORS: Family = Family {
    name: "rmq_operator_reconcile_errors",
    kind: FamilyKind::Counter,
    unit: "looks",
    labels: &["kind", "reason"],
    help: "Looks that failed, by reason",
    question: "What keeps the operator from its work?",
};
const DURATIONS: Family = Family {
    name: "rmq_operator_reconcile_duration_seconds",
    kind: FamilyKind::Histogram,
    unit: "seconds",
    labels: &["kind"],
    help: "How long a look took",
    question: "Is the API server slow, or a broker?",
};
const LEADER: Family = Family {
    name: "rmq_operator_leader",
    kind: FamilyKind::Gauge,
    unit: "0 or 1",
    labels: &[],
    help: "1 when this process is the one that acts",
    question: "Does exactly one of the operator's pods act?",
};
const CONDITION: Family = Family {
    name: "rmq_operator_condition",
    kind: FamilyKind::Gauge,
    unit: "-1, 0 or 1",
    labels: &["kind", "namespace", "name", "condition"],
    help: "1: the condition is true; 0: false; -1: unknown",
    question: "Which object is not Ready, or Stalled until somebody changes it?",
};

const CERTIFICATE: Family = Family {
    name: "rmq_operator_certificate_not_after_seconds",
    kind: FamilyKind::Gauge,
    unit: "seconds since 1970",
    labels: &["kind", "namespace", "name", "certificate"],
    help: "End of the certificate of an object's servers, or of the CA that signs it (certificate: server, authority)",
    question: "Which certificate expires before it is renewed?",
};

/// Every family of metrics that the operator tells.
#[must_use]
pub fn metric_families() -> Vec<Family> {
    let own = [
        RECONCILES,
        ERRORS,
        DURATIONS,
        LEADER,
        CONDITION,
        CERTIFICATE,
    ];
    own.into_iter().chain(PROCESS_FAMILIES).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfError {
    kind: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    kind: String,
    namespace: String,
    name: String,
    condition: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCertificate {
    kind: String,
    namespace: String,
    name: String,
    certificate: &'static str,
}

/// Certificates that have a figure for each object.
const CERTIFICATES: [&str; 2] = ["server", "authority"];

/// Conditions that have a figure for each object.
pub(crate) const CONDITIONS: [&str; 3] = ["Ready", "Progressing", "Stalled"];

fn of_condition(kind: &str, namespace: &str, name: &str, condition: &str) -> OfCondition {
    OfCondition {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        condition: condition.to_owned(),
    }
}

/// All figures.
pub(crate) struct Metrics {
    registry: Registry,
    reconciles: Series<OfKind, Counter>,
    errors: Series<OfError, Counter>,
    durations: Series<OfKind, Histogram>,
    leader: Gauge,
    conditions: Series<OfCondition, Gauge>,
    certificates: Series<OfCertificate, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let reconciles = Series::default();
        let errors = Series::default();
        let durations = Series::<OfKind, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ])
        });
        let leader = Gauge::default();
        let conditions = Series::default();
        let certificates = Series::default();
        registry.register(RECONCILES.name, RECONCILES.help, reconciles.clone());
        registry.register(ERRORS.name, ERRORS.help, errors.clone());
        registry.register(DURATIONS.name, DURATIONS.help, durations.clone());
        registry.register(LEADER.name, LEADER.help, leader.clone());
        registry.register(CONDITION.name, CONDITION.help, conditions.clone());
        registry.register(CERTIFICATE.name, CERTIFICATE.help, certificates.clone());
        let started_ms = jiff::Timestamp::now().as_millisecond();
        registry.register_collector(Box::new(ProcessMetrics { started_ms }));
        Arc::new(Self {
            registry,
            reconciles,
            errors,
            durations,
            leader,
            conditions,
            certificates,
        })
    }

    pub(crate) fn looked(&self, kind: &str, took: Duration, error: Option<&str>) {
        let of = OfKind {
            kind: kind.to_owned(),
        };
        self.reconciles.get_or_create(&of).inc();
        self.durations
            .get_or_create(&of)
            .observe(took.as_secs_f64());
        if let Some(reason) = error {
            let of = OfError {
                kind: kind.to_owned(),
                reason: reason.to_owned(),
            };
            self.errors.get_or_create(&of).inc();
        }
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets the figure of one condition of an object: 1 true, 0 false, -1 unknown.
    pub(crate) fn condition(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        condition: &str,
        value: i64,
    ) {
        let of = of_condition(kind, namespace, name, condition);
        self.conditions.get_or_create(&of).set(value);
    }

    /// Sets the last second, Unix, of a certificate of an object: of its servers (`server`), or of the CA (`authority`). None: it has none.
    pub(crate) fn certificate(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        certificate: &'static str,
        not_after_s: Option<i64>,
    ) {
        let of = OfCertificate {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            certificate,
        };
        match not_after_s {
            Some(not_after_s) => {
                self.certificates.get_or_create(&of).set(not_after_s);
            }
            None => {
                self.certificates.remove(&of);
            }
        }
    }

    /// Drops the figures of an object that is gone.
    pub(crate) fn forget(&self, kind: &str, namespace: &str, name: &str) {
        for condition in CONDITIONS {
            let of = of_condition(kind, namespace, name, condition);
            self.conditions.remove(&of);
        }
        for certificate in CERTIFICATES {
            self.certificate(kind, namespace, name, certificate, None);
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_is_told() {
        let metrics = Metrics::new();
        metrics.looked("Topic", Duration::from_millis(3), Some("Timeout"));
        metrics.leads(true);
        metrics.condition("Topic", "shop", "orders", "Ready", 1);
        let ends = Some(1_800_000_000);
        metrics.certificate("NameServer", "shop", "main", "authority", ends);
        let problems = rmq_process::scrape_problems(&metric_families(), &[], &metrics.text());
        assert_eq!(problems, Vec::<String>::new(), "{}", metrics.text());
    }
}
