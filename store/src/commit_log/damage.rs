//! The stretches of the log that cannot be read, as far as they were met.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Ranges that are remembered; more are only logged.
const RANGES_MAX: usize = 1_000;

/// A stretch of the log below the durable watermark that cannot be read. What is around it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRange {
    /// Its first byte in the log.
    pub from: u64,
    /// The byte after its last.
    pub to: u64,
}

/// Damaged ranges, ends by beginnings; no two of them touch.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<BTreeMap<u64, u64>>);

impl Damage {
    /// Adds a range. Returns whether something of it is new.
    pub(super) fn add(&self, from: u64, to: u64) -> bool {
        let mut ranges = self.0.lock();
        let touching: Vec<(u64, u64)> = ranges
            .range(..=to)
            .rev()
            .map(|(from, to)| (*from, *to))
            .take_while(|(_, end)| *end >= from)
            .collect();
        if touching
            .iter()
            .any(|(start, end)| *start <= from && to <= *end)
        {
            return false;
        }
        let (mut first, mut last) = (from, to);
        for (start, end) in touching {
            ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        if ranges.len() < RANGES_MAX {
            ranges.insert(first, last);
        }
        true
    }

    pub(super) fn ranges(&self) -> Vec<DamagedRange> {
        let ranges = self.0.lock();
        ranges
            .iter()
            .map(|(from, to)| DamagedRange {
                from: *from,
                to: *to,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one_and_the_known_ones_are_not_new() {
        let damage = Damage::default();
        assert!(damage.add(100, 200));
        assert!(damage.add(300, 400));
        assert!(!damage.add(100, 200) && !damage.add(310, 320));
        assert!(damage.add(150, 250));
        assert!(damage.add(500, 600));
        assert!(damage.add(250, 300), "it closes the gap");
        let range = |from, to| DamagedRange { from, to };
        assert_eq!(damage.ranges(), [range(100, 400), range(500, 600)]);
        assert!(damage.add(0, 1_000));
        assert_eq!(damage.ranges(), [range(0, 1_000)]);
    }
}
