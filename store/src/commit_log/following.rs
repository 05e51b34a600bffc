//! How far a follower has come in its log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::copied::Copied;
use super::window::Window;

/// What a follower knows of its way through the log.
#[derive(Default)]
pub(super) struct Following {
    /// For the message path of a master, which follows nobody.
    pub(super) is_on: AtomicBool,
    /// The tables are those at this position, and the log does not reach it yet; 0: it does.
    incomplete_below: AtomicU64,
    /// The master has told where its log begins: nothing above is removed here.
    master_begins: AtomicU64,
    at: Mutex<At>,
    /// What was written and not dispatched.
    pub(super) copied: Copied,
}

/// How far a follower has come.
#[derive(Default)]
pub(super) struct At {
    /// Everything below was dispatched; a record ends there, or a segment.
    pub(super) position: u64,
    /// Largest store time below it, Unix milliseconds.
    pub(super) newest_ms: i64,
    /// What is not in memory any more is read with it, a few messages at a time.
    pub(super) window: Window,
}

impl Following {
    /// Dispatches from a position on.
    pub(super) fn from(position: u64, newest_ms: i64, incomplete_below: Option<u64>) -> Self {
        Self {
            is_on: AtomicBool::new(true),
            incomplete_below: AtomicU64::new(incomplete_below.unwrap_or(0)),
            master_begins: AtomicU64::new(0),
            at: Mutex::new(At {
                position,
                newest_ms,
                window: Window::default(),
            }),
            copied: Copied::default(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Where the tables are, while the log does not reach them.
    pub(super) fn incomplete_below(&self) -> Option<u64> {
        Some(self.incomplete_below.load(Ordering::Acquire)).filter(|position| *position > 0)
    }

    /// The log of the master begins at `position`.
    pub(super) fn set_master_begins(&self, position: u64) {
        self.master_begins.fetch_max(position, Ordering::AcqRel);
    }

    /// Segments that end above stay: the master has them, or has not said yet what it has.
    pub(super) fn expires_below(&self) -> u64 {
        match self.is_on() {
            true => self.master_begins.load(Ordering::Acquire),
            false => u64::MAX,
        }
    }

    /// The log has come up to the tables.
    pub(super) fn complete(&self) {
        self.incomplete_below.store(0, Ordering::Release);
    }

    /// Held while nothing may be dispatched.
    pub(super) fn hold(&self) -> MutexGuard<'_, At> {
        self.at.lock()
    }
}
