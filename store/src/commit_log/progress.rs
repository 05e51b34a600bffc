//! How far the log has come, and the one rule for what can no longer be truncated.
//!
//! ```text
//! appended ≥ written ≥ flushed         of this store
//! stored    = written with async flush, flushed with sync flush: what an own crash does not take, as the flush mode promises
//! confirmed = the smaller of stored and replicated
//! ```
//! `replicated` is what every other store that must have it holds. A master without replicas waits for nobody: it is the end of all
//! positions. Entries are dispatched, and so become visible and reach runs and tables, below confirmed only.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crate::config::FlushMode;

/// No other store has to hold anything.
const BY_NOBODY: u64 = u64::MAX;

/// Log positions, each the end of what it speaks of.
#[derive(Debug)]
pub(crate) struct Progress {
    is_sync: bool,
    pub(crate) appended: AtomicU64,
    /// `pwrite` returned.
    pub(crate) written: AtomicU64,
    /// `fdatasync` returned. Below `confirmed` with async flush.
    pub(crate) flushed: AtomicU64,
    replicated: AtomicU64,
    /// Can no longer be truncated.
    pub(crate) confirmed: AtomicU64,
    /// Confirmed stays where it is.
    is_fenced: AtomicBool,
    /// Records from here on were checked by this process: replayed, or written.
    pub(crate) checked_from: AtomicU64,
    /// Newest store time that recovery has found, Unix milliseconds.
    pub(crate) newest_ms: AtomicI64,
}

impl Progress {
    pub(crate) fn new(flush: FlushMode) -> Self {
        Self {
            is_sync: flush == FlushMode::Sync,
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            replicated: AtomicU64::new(BY_NOBODY),
            confirmed: AtomicU64::new(0),
            is_fenced: AtomicBool::new(false),
            checked_from: AtomicU64::new(0),
            newest_ms: AtomicI64::new(0),
        }
    }

    /// The log ends at `end` when it is opened, and is durable below `flushed`. Below `confirmed` nothing can be truncated; more than that
    /// is confirmed by others only, where `confirmed` is not the end.
    pub(crate) fn begin(&self, end: u64, flushed: u64, confirmed: Option<u64>) {
        for mark in [&self.appended, &self.written] {
            mark.store(end, Ordering::Release);
        }
        self.flushed.store(flushed, Ordering::Release);
        self.replicated
            .store(confirmed.unwrap_or(BY_NOBODY), Ordering::Release);
        self.confirmed
            .store(confirmed.unwrap_or(end), Ordering::Release);
    }

    /// Follower: its group has confirmed what lies below `position`. It speaks of what is here, so it reaches no further than that.
    pub(crate) fn replicated_to(&self, position: u64) {
        let here = self.appended.load(Ordering::Acquire);
        self.replicated
            .fetch_max(position.min(here), Ordering::AcqRel);
    }

    /// Master: every other store that must have it holds what lies below `position`; `None`: there is no such store.
    pub(crate) fn set_replicated(&self, position: Option<u64>) {
        self.replicated
            .store(position.unwrap_or(BY_NOBODY), Ordering::Release);
    }

    /// The log was cut at `position`, at or above confirmed.
    pub(crate) fn cut_at(&self, position: u64) {
        for mark in [&self.appended, &self.written, &self.flushed] {
            mark.fetch_min(position, Ordering::AcqRel);
        }
    }

    /// What this store has for sure, as its flush mode promises.
    pub(crate) fn stored(&self) -> u64 {
        let mark = if self.is_sync {
            &self.flushed
        } else {
            &self.written
        };
        mark.load(Ordering::Acquire)
    }

    /// From now on nothing more is confirmed.
    pub(crate) fn fence(&self) {
        self.is_fenced.store(true, Ordering::Release);
    }

    /// Moves confirmed as far as the rule allows, and returns it. It never goes back.
    pub(crate) fn confirm(&self) -> u64 {
        if self.is_fenced.load(Ordering::Acquire) {
            return self.confirmed.load(Ordering::Acquire);
        }
        let allowed = self.stored().min(self.replicated.load(Ordering::Acquire));
        self.confirmed
            .fetch_max(allowed, Ordering::AcqRel)
            .max(allowed)
    }

    /// Bytes that are appended and not written.
    pub(crate) fn staged(&self) -> u64 {
        let appended = self.appended.load(Ordering::Acquire);
        appended.saturating_sub(self.written.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmed_is_what_is_stored_here_and_everywhere_it_must_be() {
        for flush in [FlushMode::default(), FlushMode::Sync] {
            let progress = Progress::new(flush);
            let set = |mark: &AtomicU64, position| mark.store(position, Ordering::Release);
            set(&progress.written, 300);
            set(&progress.flushed, 100);
            let stored = if flush == FlushMode::Sync { 100 } else { 300 };
            assert_eq!((progress.stored(), progress.confirm()), (stored, stored));
            set(&progress.written, 500);
            set(&progress.flushed, 500);
            set(&progress.replicated, 400);
            assert_eq!(progress.confirm(), 400);
            set(&progress.replicated, 200);
            assert_eq!(progress.confirm(), 400, "it never goes back");
            set(&progress.replicated, BY_NOBODY);
            assert_eq!(progress.confirm(), 500);
            set(&progress.written, 600);
            set(&progress.flushed, 600);
            progress.fence();
            assert_eq!(progress.confirm(), 500, "nothing more is confirmed");
        }
    }
}
