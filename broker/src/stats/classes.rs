//! Counts by class, for what happens seldom enough that all threads may count together.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often a value lay in which class, and the sum of all values.
#[derive(Debug)]
pub(crate) struct Classes {
    /// Upper bounds, inclusive, rising; one more class takes the rest.
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Classes {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value; negative ones are 0.
    pub(crate) fn add(&self, value: i64) {
        let value = u64::try_from(value).unwrap_or(0);
        let class = self.bounds.partition_point(|bound| value > *bound);
        self.counts[class].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn bounds(&self) -> &'static [u64] {
        self.bounds
    }

    /// The counts by class, and the sum.
    pub(crate) fn read(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed)).collect();
        (counts, self.sum.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive() {
        let classes = Classes::new(&[10, 20]);
        for value in [-5, 10, 11, 20, 21, 1_000] {
            classes.add(value);
        }
        assert_eq!(classes.read(), (vec![2, 2, 2], 1_062));
    }
}
