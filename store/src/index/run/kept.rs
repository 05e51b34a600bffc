//! Blocks of entries that a thread read last. A reader of a queue takes a few entries of a block at a time, and comes back for the next.

use std::cell::RefCell;

use super::format::{BLOCK_BYTES_MAX, BlockBuffer, RunDamaged};
use super::read::Run;

/// Blocks that a thread keeps.
const SLOTS: usize = 32;

struct Kept {
    /// Identity of the run; 0: nothing.
    run: u64,
    block: usize,
    len: usize,
    bytes: Box<BlockBuffer>,
}

thread_local! {
    static KEPT: RefCell<[Option<Kept>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

impl Run {
    /// Shows a block of entries, checked when it was read.
    pub(super) fn with_entry_block<R>(
        &self,
        block: usize,
        show: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, RunDamaged> {
        KEPT.with(|kept| {
            let Ok(mut slots) = kept.try_borrow_mut() else {
                // Whoever is shown a block reads another one.
                return self.entry_block(block, &mut [0; BLOCK_BYTES_MAX]).map(show);
            };
            let wrong = || self.file.damage("it refers to what it does not have");
            let slot = (self.identity as usize).wrapping_add(block) % SLOTS;
            let kept = slots.get_mut(slot).ok_or_else(wrong)?;
            let kept = kept.get_or_insert_with(|| Kept {
                run: 0,
                block: 0,
                len: 0,
                bytes: Box::new([0; BLOCK_BYTES_MAX]),
            });
            if kept.run != self.identity || kept.block != block {
                kept.run = 0;
                kept.len = self.entry_block(block, &mut kept.bytes)?.len();
                (kept.run, kept.block) = (self.identity, block);
            }
            Ok(show(kept.bytes.get(..kept.len).unwrap_or_default()))
        })
    }
}
