//! What was repaired in the log of a member, over all lives of its broker.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_store::PutAside;

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    /// Damaged ranges that were written again, in part at least.
    pub(crate) mended_ranges: AtomicU64,
    /// Messages that were cut off the end of the log.
    pub(crate) cut_messages: AtomicU64,
    /// The last end of a log that this member had confirmed, and its group had not.
    parted: Mutex<Option<PutAside>>,
    /// Why the last range that was tried is damaged still.
    failure: Mutex<Option<String>>,
}

impl Repairs {
    /// A damaged range was written again.
    pub(super) fn mended(&self) {
        self.mended_ranges.fetch_add(1, Ordering::Relaxed);
    }

    /// The end of the log was cut off.
    pub(super) fn cut(&self, kept: &PutAside) {
        self.cut_messages
            .fetch_add(kept.messages, Ordering::Relaxed);
    }

    /// The end of the log was put aside although it was confirmed here: the store is about to be replaced. It counts once, however often that is
    /// tried.
    pub(super) fn parted(&self, kept: &PutAside) {
        let mut parted = self.parted.lock();
        if parted.as_ref() != Some(kept) {
            self.cut(kept);
            *parted = Some(kept.clone());
        }
    }

    /// The last end of the log that was put aside although it was confirmed here.
    pub(crate) fn last_parted(&self) -> Option<PutAside> {
        self.parted.lock().clone()
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
