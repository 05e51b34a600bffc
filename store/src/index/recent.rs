//! The entries of one queue that no run file holds yet.
//!
//! Dense by construction: entry `i` has the offset `first + i`. Where the log lost records (damage) the missing offsets are kept as
//! holes of size 0, so that an offset stays a plain index.

use std::collections::VecDeque;

/// Where one message lies. 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecentEntry {
    pub(crate) position: u64,
    pub(crate) tag_hash: i64,
    /// Bytes of the whole record; 0 for a hole.
    pub(crate) size: u32,
    /// Store time in ms since the base of the dispatcher; `u32::MAX` = ask the log.
    pub(crate) time: u32,
}

impl RecentEntry {
    pub(crate) fn hole(position: u64, time: u32) -> Self {
        Self {
            position,
            tag_hash: 0,
            size: 0,
            time,
        }
    }

    pub(crate) fn is_hole(&self) -> bool {
        self.size == 0
    }
}

/// More missing offsets than this in one place are not kept as holes; what lies before is given up.
pub(crate) const HOLES_MAX: i64 = 16 << 20;

/// What became of a pushed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It follows the entries so far.
    Dense,
    /// Offsets before it are missing in the log; holes were put in their place.
    AfterGap,
    /// The gap is too large for holes: what came before is no longer reachable.
    Restarted,
    /// The offset is already taken by an earlier record; the entry was not kept.
    Taken,
}

/// The recent entries of one queue.
#[derive(Debug)]
pub(crate) struct Recent {
    first: i64,
    entries: VecDeque<RecentEntry>,
}

impl Recent {
    /// No entries; the first one is expected at `first`.
    pub(crate) fn empty(first: i64) -> Self {
        Self {
            first,
            entries: VecDeque::new(),
        }
    }

    /// Offset of the oldest entry, or of the next one when there is none.
    pub(crate) fn first(&self) -> i64 {
        self.first
    }

    /// Offset after the newest entry.
    pub(crate) fn end(&self) -> i64 {
        self.first + self.entries.len() as i64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> &VecDeque<RecentEntry> {
        &self.entries
    }

    /// `expected` is the offset after everything known of this queue (runs included), used when there are no recent entries.
    pub(crate) fn push(&mut self, offset: i64, entry: RecentEntry, expected: i64) -> Pushed {
        if self.entries.is_empty() {
            if self.entries.capacity() == 0 {
                // Most queues of a large system are idle: do not reserve for a second message.
                self.entries.reserve_exact(1);
            }
            self.entries.push_back(entry);
            self.first = offset;
            return if offset > expected {
                Pushed::AfterGap
            } else {
                Pushed::Dense
            };
        }
        let end = self.end();
        let gap = offset - end;
        if gap < 0 {
            return Pushed::Taken;
        }
        if gap > HOLES_MAX {
            self.entries.clear();
            self.entries.push_back(entry);
            self.first = offset;
            return Pushed::Restarted;
        }
        for _ in 0..gap {
            self.entries
                .push_back(RecentEntry::hole(entry.position, entry.time));
        }
        self.entries.push_back(entry);
        if gap == 0 {
            Pushed::Dense
        } else {
            Pushed::AfterGap
        }
    }

    /// Counts known times from another base.
    pub(crate) fn map_times(&mut self, map: impl Fn(u32) -> u32) {
        for entry in self
            .entries
            .iter_mut()
            .filter(|entry| entry.time != u32::MAX)
        {
            entry.time = map(entry.time);
        }
    }

    /// How many entries lie below a log position.
    pub(crate) fn count_below(&self, position: u64) -> usize {
        self.entries
            .partition_point(|entry| entry.position < position)
    }

    /// Drops the entries that lie below a log position and gives back memory that is no longer needed.
    pub(crate) fn trim_below(&mut self, position: u64) {
        let count = self.count_below(position);
        self.entries.drain(..count);
        self.first += count as i64;
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        } else if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(recent: &Recent, offset: i64) -> Option<RecentEntry> {
        let index = usize::try_from(offset - recent.first()).ok()?;
        recent.entries().get(index).copied()
    }

    fn entry(position: u64) -> RecentEntry {
        RecentEntry {
            position,
            tag_hash: 7,
            size: 10,
            time: 1,
        }
    }

    #[test]
    fn keeps_offsets_dense_over_gaps() {
        let mut recent = Recent::empty(5);
        assert_eq!(recent.push(5, entry(100), 5), Pushed::Dense);
        assert_eq!(recent.push(8, entry(200), 6), Pushed::AfterGap);
        assert_eq!(recent.end(), 9);
        assert!(at(&recent, 6).unwrap().is_hole() && at(&recent, 7).unwrap().is_hole());
        assert_eq!(at(&recent, 8).unwrap().position, 200);
        assert_eq!(recent.push(7, entry(300), 9), Pushed::Taken);
        assert_eq!(
            recent.push(9 + HOLES_MAX + 1, entry(400), 9),
            Pushed::Restarted
        );
        assert_eq!(
            (recent.first(), recent.entries().len()),
            (10 + HOLES_MAX, 1)
        );
    }

    #[test]
    fn trims_by_position() {
        let mut recent = Recent::empty(0);
        for i in 0..100 {
            recent.push(i, entry(i as u64 * 10), i);
        }
        recent.trim_below(255);
        assert_eq!(recent.first(), 26);
        assert_eq!(at(&recent, 25), None);
        assert_eq!(at(&recent, 26).unwrap().position, 260);
        recent.trim_below(u64::MAX);
        assert!(recent.is_empty());
        assert_eq!((recent.first(), recent.end()), (100, 100));
        assert_eq!(recent.entries().capacity(), 0);
    }

    #[test]
    fn an_entry_stays_24_bytes() {
        assert_eq!(size_of::<RecentEntry>(), 24);
    }
}
