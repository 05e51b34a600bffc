//! Figures about the operator itself.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

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
    reconciles: Family<OfKind, Counter>,
    errors: Family<OfError, Counter>,
    durations: Family<OfKind, Histogram>,
    leader: Gauge,
    conditions: Family<OfCondition, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("rmq_operator");
        let reconciles = Family::default();
        let errors = Family::default();
        let durations = Family::<OfKind, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ])
        });
        let leader = Gauge::default();
        let conditions = Family::default();
        registry.register("reconciles", "Looks at objects", reconciles.clone());
        registry.register(
            "reconcile_errors",
            "Looks that failed, by reason",
            errors.clone(),
        );
        registry.register(
            "reconcile_duration_seconds",
            "How long a look took",
            durations.clone(),
        );
        registry.register(
            "leader",
            "1 when this process is the one that acts",
            leader.clone(),
        );
        registry.register(
            "condition",
            "1: the condition is true; 0: false; -1: unknown",
            conditions.clone(),
        );
        Arc::new(Self {
            registry,
            reconciles,
            errors,
            durations,
            leader,
            conditions,
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

    /// What one of an object's conditions is.
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

    /// There is no such object any more.
    pub(crate) fn forget(&self, kind: &str, namespace: &str, name: &str) {
        for condition in CONDITIONS {
            let of = of_condition(kind, namespace, name, condition);
            self.conditions.remove(&of);
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
