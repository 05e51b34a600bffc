//! Group commit: one thread writes and syncs for everybody who waits.
//!
//! With sync flush it does both, and acknowledges. With async flush the appenders write, and it only syncs: at the latest
//! `interval_ms` after the first unsynced write, sooner when enough bytes wait. It sleeps while there is nothing to do.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{CommitLog, Done, Files};
use crate::config::FlushMode;
use crate::error::AppendError;
use crate::vital::{self, Vital};
use crate::watermark::Watermark;

/// The watermark is written at most this often, beside the syncs.
const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Flush {
    mode: FlushMode,
    state: Mutex<State>,
    wake: Condvar,
    /// The thread waits for the first write (async).
    idle: AtomicBool,
    /// The thread was told that enough bytes wait (async).
    urgent: AtomicBool,
    waiters: Mutex<Vec<(u64, Done)>>,
    watermark: Mutex<Watermark>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    /// Somebody wants this position flushed (sync).
    wanted: u64,
    stop: bool,
}

impl Flush {
    pub(crate) fn new(mode: FlushMode, watermark: Watermark) -> Self {
        Self {
            mode,
            state: Mutex::default(),
            wake: Condvar::new(),
            idle: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            waiters: Mutex::default(),
            watermark: Mutex::new(watermark),
            thread: Mutex::default(),
        }
    }

    pub(crate) fn start(&self, log: &Arc<CommitLog>) -> io::Result<()> {
        // Weak would end it too early: the log stops it in `close` or `abandon`.
        let running = Arc::clone(log);
        let health = Arc::clone(&log.files.health);
        let thread = vital::spawn("rmq-flush", "the flusher thread", &health, move || {
            // However it ends, nobody waits for it any longer.
            let _ended = Ended(&running);
            let vital = Vital::new(&running.files.health, "the flusher thread");
            match running.config.flush {
                FlushMode::Sync => running.flush.run_sync(&running),
                FlushMode::Async { interval_ms, .. } => running
                    .flush
                    .run_async(&running.files, Duration::from_millis(interval_ms)),
            }
            vital.done();
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    /// Sync mode: `up_to` is to be flushed soon.
    pub(crate) fn want(&self, up_to: u64) {
        let mut state = self.state.lock();
        if state.wanted < up_to {
            state.wanted = up_to;
            self.wake.notify_one();
        }
    }

    /// Sync mode: calls `done` once everything below `up_to` is flushed.
    pub(crate) fn wait_for(&self, files: &Files, up_to: u64, done: Done) {
        let outcome = {
            let mut waiters = self.waiters.lock();
            // Looked at under the lock that the flusher takes after it has moved these.
            if files.positions.written.load(Ordering::Acquire) >= up_to {
                Ok(())
            } else if let Err(error) = files.health.check_writable() {
                Err(error)
            } else if self.state.lock().stop {
                Err(AppendError::Closed)
            } else {
                waiters.push((up_to, done));
                drop(waiters);
                return self.want(up_to);
            }
        };
        done(outcome);
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

    fn run_sync(&self, log: &CommitLog) {
        let positions = &log.files.positions;
        let mut last_watermark = Instant::now();
        let mut watermark_lags = false;
        loop {
            let wanted = {
                let mut state = self.state.lock();
                let mut timed_out = false;
                while !state.stop
                    && !timed_out
                    && state.wanted <= positions.written.load(Ordering::Acquire)
                {
                    if watermark_lags {
                        timed_out = self
                            .wake
                            .wait_for(&mut state, WATERMARK_INTERVAL)
                            .timed_out();
                    } else {
                        self.wake.wait(&mut state);
                    }
                }
                if state.stop {
                    return;
                }
                !timed_out
            };
            if !wanted {
                // Nothing more comes for now: what was acknowledged last must not be taken for a torn tail.
                self.raise_watermark(&log.files);
                watermark_lags = false;
                continue;
            }
            match log.write_and_sync() {
                Ok(end) => {
                    self.acknowledge(end);
                    watermark_lags = true;
                    if last_watermark.elapsed() >= WATERMARK_INTERVAL {
                        self.raise_watermark(&log.files);
                        last_watermark = Instant::now();
                        watermark_lags = false;
                    }
                }
                Err(error) => {
                    self.fail_waiters(error, None);
                    // Poisoned: nothing is ever flushed again.
                    return;
                }
            }
        }
    }

    fn run_async(&self, files: &Files, interval: Duration) {
        let positions = &files.positions;
        loop {
            {
                let mut state = self.state.lock();
                while !state.stop
                    && positions.written.load(Ordering::Acquire)
                        <= positions.flushed.load(Ordering::Acquire)
                {
                    self.idle.store(true, Ordering::Release);
                    // Written between the look and the flag: that writer saw no flag.
                    if positions.written.load(Ordering::Acquire)
                        > positions.flushed.load(Ordering::Acquire)
                    {
                        break;
                    }
                    self.wake.wait(&mut state);
                }
                self.idle.store(false, Ordering::Release);
                let deadline = Instant::now() + interval;
                while !state.stop && !self.urgent.load(Ordering::Acquire) {
                    if self.wake.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
                if state.stop {
                    return;
                }
            }
            self.urgent.store(false, Ordering::Release);
            let end = positions.written.load(Ordering::Acquire);
            if files.sync_up_to(end).is_err() {
                // Poisoned and logged there.
                return;
            }
            self.raise_watermark(files);
        }
    }

    /// Sync mode: everything below `end` is flushed.
    pub(crate) fn acknowledge(&self, end: u64) {
        let ready: Vec<(u64, Done)> = {
            let mut waiters = self.waiters.lock();
            waiters.extract_if(.., |(up_to, _)| *up_to <= end).collect()
        };
        for (_, done) in ready {
            done(Ok(()));
        }
    }

    /// Fails whoever still waits; those at or below `acked` are fine.
    pub(crate) fn fail_waiters(&self, error: AppendError, acked: Option<u64>) {
        if let Some(end) = acked {
            self.acknowledge(end);
        }
        let left = std::mem::take(&mut *self.waiters.lock());
        for (_, done) in left {
            done(Err(error.clone()));
        }
    }

    /// Notes how far the log is durable. Not being able to costs a longer recovery and nothing else.
    fn raise_watermark(&self, files: &Files) {
        let flushed = files.positions.flushed.load(Ordering::Acquire);
        if let Err(error) = self.watermark.lock().raise(flushed) {
            tracing::warn!("cannot write the watermark: {error}");
        }
        files.crash_point("watermark.raised");
    }

    /// Raises the watermark for the last time: nothing was written above it.
    pub(crate) fn seal_watermark(&self, files: &Files) -> io::Result<()> {
        self.watermark
            .lock()
            .seal(files.positions.flushed.load(Ordering::Acquire))
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

/// The flusher thread has ended: those who still wait are told why, unless the log is being closed, which writes for them.
struct Ended<'a>(&'a CommitLog);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.files.health.check_writable() {
            self.0.flush.fail_waiters(error, None);
        }
    }
}

impl CommitLog {
    pub(crate) fn seal_watermark(&self) -> io::Result<()> {
        self.flush.seal_watermark(&self.files)
    }
}
