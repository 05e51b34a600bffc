//! What was repaired in the log of a member, over all lives of its broker.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// Damaged ranges that were written again, in part at least.
    pub(crate) mended_ranges: AtomicU64,
    /// Why the last range that was tried is damaged still.
    failure: Mutex<Option<String>>,
}

impl Repairs {
    /// A damaged range was written again.
    pub(super) fn mended(&self) {
        self.mended_ranges.fetch_add(1, Ordering::Relaxed);
    }

    /// Why a range is damaged still; `None`: nothing is.
    pub(super) fn note_failure(&self, why: Option<String>) {
        *self.failure.lock() = why;
    }

    /// Why the last range that was tried is damaged still.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
}
