//! Which stretches of the log were found in memory a moment ago, so that readers who follow each other ask the system once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes of log that are asked for together.
pub(super) const BLOCK_BYTES: u64 = 256 << 10;
/// Milliseconds for which an answer holds. A page that readers use is the last to leave the memory, so it stays for much longer.
const FRESH_MS: u32 = 20;
/// Blocks that are remembered: 256 MiB of log.
const SLOTS: usize = 1_024;
/// No block: its time is never fresh.
const NONE: u64 = u64::MAX;

/// Answers of the system, by block of the log.
pub(crate) struct Resident {
    began: Instant,
    /// Number of the block in the upper half, milliseconds since `began` in the lower.
    slots: Box<[AtomicU64]>,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(NONE)).collect(),
        }
    }

    pub(super) fn now_ms(&self) -> u32 {
        self.began.elapsed().as_millis() as u32
    }

    /// Whether all of a stretch was in memory a moment before `now_ms`.
    pub(super) fn has(&self, from: u64, to: u64, now_ms: u32) -> bool {
        blocks(from, to).all(|block| self.is_fresh(block, now_ms))
    }

    /// Where the first block begins, from the one of `from` on, of which it is not known.
    pub(super) fn known_to(&self, from: u64, now_ms: u32) -> u64 {
        let first = from / BLOCK_BYTES;
        let unknown = (first..first + SLOTS as u64).find(|block| !self.is_fresh(*block, now_ms));
        unknown.unwrap_or(first) * BLOCK_BYTES
    }

    fn is_fresh(&self, block: u64, now_ms: u32) -> bool {
        self.slot(block).is_some_and(|slot| {
            let known = slot.load(Ordering::Relaxed);
            known >> 32 == block & u64::from(u32::MAX)
                && now_ms.wrapping_sub(known as u32) < FRESH_MS
        })
    }

    /// The blocks of a stretch were in memory at `now_ms`, as far as the log had been written. What is written later is in memory too.
    pub(super) fn found(&self, from: u64, to: u64, now_ms: u32) {
        for block in blocks(from, to) {
            if let Some(slot) = self.slot(block) {
                slot.store(block << 32 | u64::from(now_ms), Ordering::Relaxed);
            }
        }
    }

    fn slot(&self, block: u64) -> Option<&AtomicU64> {
        self.slots.get(block as usize % SLOTS)
    }
}

fn blocks(from: u64, to: u64) -> std::ops::RangeInclusive<u64> {
    from / BLOCK_BYTES..=to.saturating_sub(1).max(from) / BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_its_blocks_and_for_a_moment() {
        let resident = Resident::new();
        assert!(!resident.has(0, 1, 0));
        resident.found(0, 2 * BLOCK_BYTES, 5);
        assert!(resident.has(0, 2 * BLOCK_BYTES, 5));
        assert!(resident.has(17, BLOCK_BYTES + 1, 5 + FRESH_MS - 1));
        assert!(!resident.has(17, BLOCK_BYTES + 1, 5 + FRESH_MS));
        assert!(!resident.has(17, 2 * BLOCK_BYTES + 1, 5));
        assert_eq!(resident.known_to(17, 5), 2 * BLOCK_BYTES);
        assert_eq!(resident.known_to(17, 5 + FRESH_MS), 0);
        // Another block of the same slot.
        let turn = SLOTS as u64 * BLOCK_BYTES;
        assert!(!resident.has(turn, turn + 1, 5));
        resident.found(turn, turn + 1, 6);
        assert!(resident.has(turn, turn + 1, 6) && !resident.has(0, 1, 6));
        // The clock runs over.
        resident.found(0, 1, u32::MAX);
        assert!(resident.has(0, 1, 3));
    }
}
