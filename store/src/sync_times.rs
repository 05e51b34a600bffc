//! How long making the log durable took: counted by whoever syncs, read by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the classes, inclusive, microseconds; one more class takes the rest.
pub const SYNC_BOUNDS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Classes, with the one for the rest.
const CLASSES: usize = SYNC_BOUNDS_US.len() + 1;

/// Syncs of the log since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syncs {
    /// Syncs by class of [`SYNC_BOUNDS_US`]; the last is beyond all of them.
    pub counts: [u64; CLASSES],
    /// What all of them took, microseconds.
    pub sum_us: u64,
}

#[derive(Debug, Default)]
pub(crate) struct SyncTimes {
    counts: [AtomicU64; CLASSES],
    sum_us: AtomicU64,
}

impl SyncTimes {
    pub(crate) fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = SYNC_BOUNDS_US.partition_point(|bound| us > *bound);
        if let Some(count) = self.counts.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Syncs {
        let mut counts = [0; CLASSES];
        for (out, count) in counts.iter_mut().zip(&self.counts) {
            *out = count.load(Ordering::Relaxed);
        }
        Syncs {
            counts,
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_the_rest_has_a_class() {
        let times = SyncTimes::default();
        for us in [0, 50, 51, 5_000_000, 5_000_001] {
            times.add(Duration::from_micros(us));
        }
        let read = times.read();
        assert_eq!((read.counts[0], read.counts[1]), (2, 1));
        assert_eq!((read.counts[CLASSES - 2], read.counts[CLASSES - 1]), (1, 1));
        assert_eq!(read.sum_us, 10_000_102);
    }
}
