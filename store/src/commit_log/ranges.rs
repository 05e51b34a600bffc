//! Sets of stretches of the log.

use std::collections::BTreeMap;

/// A stretch of the log below the durable watermark that cannot be read. What is around it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRange {
    /// Its first byte in the log.
    pub from: u64,
    /// The byte after its last.
    pub to: u64,
}

/// Stretches, ends by beginnings; no two of them touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a stretch. Returns whether something of it is new.
    pub(super) fn add(&mut self, from: u64, to: u64) -> bool {
        self.add_below(usize::MAX, from, to)
    }

    /// As [`add`](Self::add), but one that would be more than `max` is not kept.
    pub(super) fn add_below(&mut self, max: usize, from: u64, to: u64) -> bool {
        let touching: Vec<(u64, u64)> = self
            .0
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
            self.0.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        if self.0.len() < max {
            self.0.insert(first, last);
        }
        true
    }

    /// Takes a stretch out.
    pub(super) fn remove(&mut self, range: DamagedRange) {
        let parts: Vec<DamagedRange> = self.within(range).collect();
        for DamagedRange { from, to } in parts {
            let before = self.0.range(..=from).next_back();
            let Some((start, end)) = before.map(|(start, end)| (*start, *end)) else {
                continue;
            };
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, from);
            }
            if to < end {
                self.0.insert(to, end);
            }
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for range in other.list() {
            self.add(range.from, range.to);
        }
    }

    /// Joins the two stretches with the least between them, what is between included.
    pub(super) fn join_nearest(&mut self) {
        let nearest = self
            .0
            .iter()
            .zip(self.0.keys().skip(1))
            .min_by_key(|((_, end), next)| **next - **end)
            .map(|((_, end), next)| (*end, *next));
        if let Some((end, next)) = nearest {
            self.add(end, next);
        }
    }

    /// Forgets what ends at or below a position. Returns whether there was something.
    pub(super) fn forget_below(&mut self, position: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|_, to| *to > position);
        self.0.len() < before
    }

    /// Forgets what lies at or above a position. Returns whether there was something.
    pub(super) fn forget_from(&mut self, position: u64) -> bool {
        let gone = self.0.split_off(&position);
        let mut is_some = !gone.is_empty();
        if let Some(mut last) = self.0.last_entry()
            && *last.get() > position
        {
            last.insert(position);
            is_some = true;
        }
        is_some
    }

    /// What of a stretch is in here.
    pub(super) fn within(&self, range: DamagedRange) -> impl Iterator<Item = DamagedRange> {
        self.0
            .range(..range.to)
            .map(move |(from, to)| DamagedRange {
                from: range.from.max(*from),
                to: range.to.min(*to),
            })
            .filter(|part| part.from < part.to)
    }

    /// All of them, by position.
    pub(super) fn list(&self) -> Vec<DamagedRange> {
        self.0
            .iter()
            .map(|(from, to)| DamagedRange {
                from: *from,
                to: *to,
            })
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> DamagedRange {
        DamagedRange { from, to }
    }

    #[test]
    fn stretches_that_touch_become_one_and_the_known_ones_are_not_new() {
        let mut ranges = Ranges::default();
        assert!(ranges.add(100, 200));
        assert!(ranges.add(300, 400));
        assert!(!ranges.add(100, 200) && !ranges.add(310, 320));
        assert!(ranges.add(150, 250));
        assert!(ranges.add(500, 600));
        assert!(ranges.add(250, 300), "it closes the gap");
        assert_eq!(ranges.list(), [range(100, 400), range(500, 600)]);
        let mut without = ranges.clone();
        without.remove(range(150, 520));
        assert_eq!(without.list(), [range(100, 150), range(520, 600)]);
        without.remove(range(110, 120));
        without.remove(range(0, 110));
        assert_eq!(without.list(), [range(120, 150), range(520, 600)]);
        let within: Vec<_> = ranges.within(range(50, 510)).collect();
        assert_eq!(within, [range(100, 400), range(500, 510)]);
        assert_eq!(ranges.within(range(400, 500)).count(), 0);
        assert!(ranges.add(0, 1_000));
        assert_eq!(ranges.list(), [range(0, 1_000)]);
        assert!(!ranges.forget_from(1_000) && ranges.forget_from(400));
        assert_eq!(ranges.list(), [range(0, 400)]);
        assert!(!ranges.forget_below(399) && ranges.forget_below(400));
    }

    #[test]
    fn the_nearest_are_joined() {
        let mut ranges = Ranges::default();
        for (from, to) in [(0, 10), (100, 110), (115, 120), (300, 310)] {
            ranges.add(from, to);
        }
        ranges.join_nearest();
        assert_eq!(
            ranges.list(),
            [range(0, 10), range(100, 120), range(300, 310)]
        );
        let mut one = Ranges::default();
        one.join_nearest();
        one.add(1, 2);
        one.join_nearest();
        assert_eq!(one.list(), [range(1, 2)]);
    }
}
