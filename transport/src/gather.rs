//! Lets the batches of several connections end together.
//!
//! A batch whose end is costly, such as a write to a file, may wait until the other connections that are ready on this thread have
//! handled theirs: the first end then pays for all. Waiting is one turn of the scheduler and never a time. A thread on which it
//! was in vain stops waiting, and tries again now and then: a single busy connection should not pay for company that is not there.

use std::cell::Cell;

/// Batches that end at once after a turn in vain.
const SKIP: u32 = 64;

thread_local! {
    /// Batches handled on this thread.
    static BATCHES: Cell<u64> = const { Cell::new(0) };
    /// How many of them before the last end of one on this thread.
    static ENDED: Cell<u64> = const { Cell::new(0) };
    /// How many may still end at once.
    static SKIPPING: Cell<u32> = const { Cell::new(0) };
}

/// A batch that waits.
#[derive(Debug)]
pub(crate) struct Turn {
    batches: u64,
    has_company: bool,
}

/// A batch was handled on this thread.
pub(crate) fn count_batch() {
    BATCHES.set(BATCHES.get().wrapping_add(1));
}

/// A batch ends on this thread, after the turn that it waited, if it did.
pub(crate) fn batch_ends(turn: Option<Turn>) {
    let batches = BATCHES.get();
    // On another thread than where it waited the numbers differ as well, and say nothing: then it goes on waiting.
    if turn.is_some_and(|turn| !turn.has_company && turn.batches == batches) {
        SKIPPING.set(SKIP);
    }
    ENDED.set(batches);
}

/// `Some` when the batch should wait a turn.
pub(crate) fn wait_a_turn() -> Option<Turn> {
    let skipping = SKIPPING.get();
    if skipping > 0 {
        SKIPPING.set(skipping - 1);
        return None;
    }
    let batches = BATCHES.get();
    Some(Turn {
        batches,
        // Others were handled and have not ended: they wait too.
        has_company: batches.wrapping_sub(ENDED.get()) > 1,
    })
}
