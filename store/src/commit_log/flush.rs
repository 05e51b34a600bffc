//! What waits for the flusher thread, and the watermark that the thread raises.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::files::Files;
use crate::config::FlushMode;
use crate::disk_error::DiskError;
use crate::layout;
use crate::watermark::Watermark;

pub(crate) struct Flush {
    mode: FlushMode,
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    /// The thread waits for the first write (async).
    pub(super) idle: AtomicBool,
    /// The thread was told that enough bytes wait (async).
    pub(super) urgent: AtomicBool,
    watermark: Mutex<Watermark>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
pub(super) struct State {
    /// Somebody wants this position flushed.
    pub(super) wanted: u64,
    pub(super) stop: bool,
}

impl State {
    /// Nothing is flushed any more.
    pub(super) fn is_over(&self, files: &Files) -> bool {
        self.stop || files.health.is_read_only()
    }
}

impl Flush {
    pub(crate) fn new(mode: FlushMode, watermark: Watermark) -> Self {
        Self {
            mode,
            state: Mutex::default(),
            wake: Condvar::new(),
            idle: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            watermark: Mutex::new(watermark),
            thread: Mutex::default(),
        }
    }

    /// `up_to` is to be flushed soon.
    pub(crate) fn want(&self, up_to: u64) {
        let mut state = self.state.lock();
        if state.wanted < up_to {
            state.wanted = up_to;
            self.wake.notify_one();
        }
    }

    /// Async mode: something was written.
    pub(crate) fn written(&self, files: &Files) {
        let FlushMode::Async { bytes, .. } = self.mode else {
            return;
        };
        let positions = &files.positions;
        let unsynced = positions
            .written
            .load(Ordering::Acquire)
            .saturating_sub(positions.flushed.load(Ordering::Acquire));
        let wake = self.idle.swap(false, Ordering::AcqRel)
            || (unsynced >= bytes && !self.urgent.swap(true, Ordering::AcqRel));
        if wake {
            // The lock makes sure that the thread is either before its look at the flags or waiting.
            let _state = self.state.lock();
            self.wake.notify_one();
        }
    }

    /// Notes how far the log is durable. Not being able to costs a longer recovery and nothing else.
    pub(super) fn raise_watermark(&self, files: &Files) {
        let raised = {
            let mut watermark = self.watermark.lock();
            // Read under the lock: a truncation lowers both.
            watermark.raise(files.positions.flushed.load(Ordering::Acquire))
        };
        if let Err(error) = raised {
            tracing::warn!("cannot write the watermark: {error}");
        }
        files.crash_point("watermark.raised");
    }

    /// Raises the watermark for the last time: nothing was written above it.
    pub(crate) fn seal_watermark(&self, files: &Files) -> io::Result<()> {
        let mut watermark = self.watermark.lock();
        watermark.seal(files.positions.flushed.load(Ordering::Acquire))
    }

    /// The log is cut at `position`: nothing behind it is wanted, written or durable any more.
    pub(super) fn lower(&self, files: &Files, position: u64) -> Result<(), DiskError> {
        {
            let mut state = self.state.lock();
            state.wanted = state.wanted.min(position);
        }
        let mut watermark = self.watermark.lock();
        files.lower(position);
        watermark.lower(position).map_err(DiskError::at(
            "lower",
            &layout::watermark(&files.config.dir),
        ))
    }

    /// Has the thread look at the health of the store.
    pub(super) fn wake_up(&self) {
        // The lock makes sure that the thread is either before its look or waiting.
        let _state = self.state.lock();
        self.wake.notify_all();
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        {
            let mut state = self.state.lock();
            state.stop = true;
            self.wake.notify_all();
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the flusher thread panicked");
        }
    }
}
