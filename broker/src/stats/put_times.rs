//! How long sends took: the distribution of the last whole minute, and the longest since the start.
//!
//! Classes, bounds and the way a share is interpolated are those of apache/rocketmq `StoreStatsService`.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Classes that are shown, by their upper bound in milliseconds: the first is inclusive, the others exclusive.
const CLASSES: [(i64, &str); 13] = [
    (0, "[<=0ms]"),
    (10, "[0~10ms]"),
    (50, "[10~50ms]"),
    (100, "[50~100ms]"),
    (200, "[100~200ms]"),
    (500, "[200~500ms]"),
    (1_000, "[500ms~1s]"),
    (2_000, "[1~2s]"),
    (3_000, "[2~3s]"),
    (4_000, "[3~4s]"),
    (5_000, "[4~5s]"),
    (10_000, "[5~10s]"),
    (i64::MAX, "[10s~]"),
];
/// Width and number of the buckets that shares are computed of, milliseconds; one more takes the rest.
const WIDTHS: [(i64, usize); 7] = [
    (1, 20),
    (2, 15),
    (5, 10),
    (10, 10),
    (50, 6),
    (100, 5),
    (1_000, 9),
];
/// Of [`WIDTHS`], and the rest.
const BUCKETS: usize = 76;

#[derive(Debug)]
pub(crate) struct PutTimes {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BUCKETS],
    max_ms: AtomicU64,
    /// The last whole minute; absent in the first.
    last: Mutex<Option<Minute>>,
}

#[derive(Debug, Clone, Copy)]
struct Minute {
    classes: [u64; CLASSES.len()],
    buckets: [u64; BUCKETS],
}

impl Default for PutTimes {
    fn default() -> Self {
        Self {
            classes: std::array::from_fn(|_| AtomicU64::new(0)),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            max_ms: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }
}

/// Upper bounds of the buckets, inclusive, milliseconds.
fn bounds() -> impl Iterator<Item = i64> {
    WIDTHS
        .iter()
        .flat_map(|(width, count)| std::iter::repeat_n(*width, *count))
        .scan(0, |bound, width| {
            *bound += width;
            Some(*bound)
        })
        .chain([i64::MAX])
}

impl PutTimes {
    /// `requests` took `ms` each.
    pub(crate) fn add(&self, ms: i64, requests: u64) {
        let ms = ms.max(0);
        // Nearly all: no search.
        let (class, bucket) = if ms == 0 {
            (0, 0)
        } else {
            let class = CLASSES[1..].iter().position(|(bound, _)| ms < *bound);
            let bucket = bounds().position(|bound| ms <= bound);
            (
                class.map_or(CLASSES.len() - 1, |class| class + 1),
                bucket.unwrap_or(BUCKETS - 1),
            )
        };
        self.classes[class].fetch_add(requests, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(requests, Ordering::Relaxed);
        let ms = ms as u64;
        if ms > self.max_ms.load(Ordering::Relaxed) {
            self.max_ms.fetch_max(ms, Ordering::Relaxed);
        }
    }

    /// The longest since the start, milliseconds.
    pub(crate) fn max_ms(&self) -> u64 {
        self.max_ms.load(Ordering::Relaxed)
    }

    /// A minute has passed.
    pub(crate) fn end_minute(&self) {
        let minute = Minute {
            classes: std::array::from_fn(|class| self.classes[class].swap(0, Ordering::Relaxed)),
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].swap(0, Ordering::Relaxed)),
        };
        *self.last.lock() = Some(minute);
    }

    /// The classes with their numbers; `null` in the first minute.
    pub(crate) fn distribution(&self) -> String {
        let Some(last) = *self.last.lock() else {
            return "null".to_owned();
        };
        let mut text = String::new();
        for ((_, name), count) in CLASSES.iter().zip(last.classes) {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}:{count} ");
        }
        text
    }

    /// The time that this share of the requests stayed below, milliseconds.
    pub(crate) fn share(&self, share: f64) -> f64 {
        let Some(last) = *self.last.lock() else {
            return 0.0;
        };
        let total: u64 = last.buckets.iter().sum();
        let wanted = (total as f64 * share) as u64;
        let (mut passed, mut lower) = (0, 0);
        for (bound, count) in bounds().zip(last.buckets) {
            if wanted <= passed + count {
                if count == 0 {
                    return lower as f64;
                }
                let part = (wanted - passed) as f64 / count as f64;
                return lower as f64 + (bound - lower) as f64 * part;
            }
            passed += count;
            lower = bound;
        }
        lower as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_shown_when_it_is_over() {
        let times = PutTimes::default();
        assert_eq!(bounds().count(), BUCKETS);
        times.add(0, 90);
        times.add(10, 9);
        times.add(12_345, 1);
        assert_eq!(
            (times.distribution().as_str(), times.share(0.99)),
            ("null", 0.0)
        );
        times.end_minute();
        assert_eq!(
            times.distribution(),
            "[<=0ms]:90 [0~10ms]:0 [10~50ms]:9 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 \
             [4~5s]:0 [5~10s]:0 [10s~]:1 "
        );
        assert_eq!((times.share(0.99), times.max_ms()), (10.0, 12_345));
        assert!((times.share(0.45) - 0.5).abs() < 1e-9);
        times.end_minute();
        assert!(times.distribution().starts_with("[<=0ms]:0 "));
        assert_eq!((times.share(0.999), times.max_ms()), (0.0, 12_345));
    }

    #[test]
    fn every_time_has_its_class_and_bucket() {
        for (ms, class) in [(1, 1), (9, 1), (10, 2), (999, 6), (1_000, 7), (10_000, 12)] {
            let times = PutTimes::default();
            times.add(ms, 1);
            assert_eq!(times.classes[class].load(Ordering::Relaxed), 1, "{ms}");
        }
    }
}
