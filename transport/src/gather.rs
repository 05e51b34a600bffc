//! Lets the batches of several connections end together.
//!
//! A batch whose end is costly, such as a write to a file, may wait until the other connections that are ready on this thread have
//! handled theirs: the first end then pays for all. Waiting is one turn of the scheduler and never a time. A thread on which it
//! was in vain several times in a row tries it less and less often: a single busy connection should not pay for company that is not
//! there.

use std::cell::Cell;

/// Batches that end at once after a turn in vain, at most; half of it after the one before, and so on.
const SKIP_MAX: u32 = 64;

thread_local! {
    /// Batches handled on this thread.
    static BATCHES: Cell<u64> = const { Cell::new(0) };
    /// How many of them before the last end of one on this thread.
    static ENDED: Cell<u64> = const { Cell::new(0) };
    /// How many may still end at once.
    static SKIPPING: Cell<u32> = const { Cell::new(0) };
    /// How many end at once after the next turn in vain.
    static SKIP: Cell<u32> = const { Cell::new(1) };
}

/// A batch that waits.
#[derive(Debug)]
pub(crate) struct Turn {
    thread: usize,
    batches: u64,
    has_company: bool,
}

/// Tells threads apart.
fn this_thread() -> usize {
    BATCHES.with(|batches| std::ptr::from_ref(batches).addr())
}

/// A batch was handled on this thread.
pub(crate) fn count_batch() {
    BATCHES.set(BATCHES.get().wrapping_add(1));
}

/// A batch ends on this thread, after the turn that it waited, if it did.
pub(crate) fn batch_ends(turn: Option<Turn>) {
    let batches = BATCHES.get();
    if let Some(turn) = turn {
        // Only a thread that had nothing to do takes it from where it waited.
        let was_taken = turn.thread != this_thread();
        if was_taken || (turn.batches == batches && !turn.has_company) {
            let skip = SKIP.get();
            SKIPPING.set(skip);
            SKIP.set(SKIP_MAX.min(2 * skip));
        } else {
            SKIP.set(1);
        }
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
        thread: this_thread(),
        batches,
        // Others were handled and have not ended: they wait too.
        has_company: batches.wrapping_sub(ENDED.get()) > 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches that are handled and end at once until one waits for a turn.
    fn next_turn() -> (u32, Turn) {
        let mut ended = 0;
        loop {
            count_batch();
            match wait_a_turn() {
                Some(turn) => return (ended, turn),
                None => {
                    batch_ends(None);
                    ended += 1;
                }
            }
        }
    }

    #[test]
    fn turns_in_vain_make_them_rarer_and_company_makes_them_frequent_again() {
        std::thread::spawn(|| {
            let in_vain = || {
                let (ended, turn) = next_turn();
                batch_ends(Some(turn));
                ended
            };
            let ended: Vec<u32> = (0..9).map(|_| in_vain()).collect();
            assert_eq!(ended, [0, 1, 2, 4, 8, 16, 32, 64, 64]);

            let (_, first) = next_turn();
            let (at_once, second) = next_turn();
            assert_eq!(at_once, 0, "others wait too");
            batch_ends(Some(first));
            batch_ends(Some(second));
            assert_eq!((in_vain(), in_vain()), (0, 1));

            let (_, turn) = next_turn();
            let taken = std::thread::spawn(move || {
                batch_ends(Some(turn));
                next_turn().0
            });
            assert_eq!(taken.join().expect("a thread"), 1, "it had nothing to do");
        })
        .join()
        .expect("a thread");
    }
}
