//! What is read for one family: its values, each with its labels.

use rmq_process::Family;

use crate::broker::Broker;

/// A family, and where its values come from.
pub(super) struct Metric {
    pub(super) family: Family,
    pub(super) read: fn(&Broker, &mut Samples),
}

pub(super) type Labels = Vec<(&'static str, String)>;

/// The values of a family.
#[derive(Default)]
pub(super) struct Samples {
    pub(super) values: Vec<(Labels, f64)>,
    pub(super) histograms: Vec<(Labels, Histogram)>,
}

impl Samples {
    pub(super) fn one(&mut self, value: f64) {
        self.values.push((Vec::new(), value));
    }

    pub(super) fn with(&mut self, labels: Labels, value: f64) {
        self.values.push((labels, value));
    }

    pub(super) fn histogram(&mut self, labels: Labels, histogram: Histogram) {
        self.histograms.push((labels, histogram));
    }
}

/// Counts by class, in the unit of the family.
pub(super) struct Histogram {
    pub(super) sum: f64,
    pub(super) count: u64,
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Of counts by class, one more than there are bounds. Bounds and sum are in `per_unit` parts of the unit.
    pub(super) fn of(bounds: &[u64], counts: &[u64], sum: u64, per_unit: f64) -> Self {
        let bounds = bounds.iter().map(|bound| *bound as f64 / per_unit);
        Self {
            sum: sum as f64 / per_unit,
            count: counts.iter().sum(),
            // This is how the encoder knows the class without a bound.
            buckets: bounds
                .chain([f64::MAX])
                .zip(counts.iter().copied())
                .collect(),
        }
    }
}
