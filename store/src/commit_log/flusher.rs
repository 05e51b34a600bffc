//! Group commit: one thread writes and syncs for everybody who waits.
//!
//! With sync flush it does both. With async flush the appenders write, and it only syncs: at the latest `interval_ms` after the first
//! unsynced write, sooner when enough bytes wait or somebody asks for it. It sleeps while there is nothing to do. When the store becomes read-only, for
//! whatever reason, it tells everybody who waits, and ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files::Files;
use super::flush::Flush;
use super::log::CommitLog;
use crate::config::FlushMode;
use crate::vital::{self, Vital};

/// The watermark is written at most this often, beside the syncs.
const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);

impl CommitLog {
    /// Starts the flusher thread.
    pub(crate) fn start_flusher(self: &Arc<Self>) -> io::Result<()> {
        let log = Arc::downgrade(self);
        self.files.health.set_on_poison(move || {
            if let Some(log) = log.upgrade() {
                log.flush.wake_up();
            }
        });
        self.flush.start(self)
    }
}

impl Flush {
    fn start(&self, log: &Arc<CommitLog>) -> io::Result<()> {
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
                    .run_async(&running, Duration::from_millis(interval_ms)),
            }
            vital.done();
        })?;
        *self.thread.lock() = Some(thread);
        Ok(())
    }

    fn run_sync(&self, log: &CommitLog) {
        let files = &log.files;
        let mut last_watermark = Instant::now();
        let mut watermark_lags = false;
        loop {
            let wanted = {
                let mut state = self.state.lock();
                let mut timed_out = false;
                while !state.is_over(files)
                    && !timed_out
                    && state.wanted <= files.positions.flushed.load(Ordering::Acquire)
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
                if state.is_over(files) {
                    return;
                }
                !timed_out
            };
            if !wanted {
                // Nothing more comes for now: what was acknowledged last must not be taken for a torn tail.
                self.raise_watermark(files);
                watermark_lags = false;
                continue;
            }
            let flushed = match log.following.is_on() {
                true => log.write_then_sync(),
                false => log.write_and_sync(),
            };
            if flushed.is_err() {
                // Poisoned: nothing is ever flushed again.
                return;
            }
            watermark_lags = true;
            if last_watermark.elapsed() >= WATERMARK_INTERVAL {
                self.raise_watermark(files);
                last_watermark = Instant::now();
                watermark_lags = false;
            }
        }
    }

    fn run_async(&self, log: &CommitLog, interval: Duration) {
        let files: &Files = &log.files;
        let positions = &files.positions;
        loop {
            {
                let mut state = self.state.lock();
                while !state.is_over(files)
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
                while !state.is_over(files)
                    && !self.urgent.load(Ordering::Acquire)
                    && state.wanted <= positions.flushed.load(Ordering::Acquire)
                {
                    if self.wake.wait_until(&mut state, deadline).timed_out() {
                        break;
                    }
                }
                if state.is_over(files) {
                    return;
                }
            }
            self.urgent.store(false, Ordering::Release);
            let end = positions.written.load(Ordering::Acquire);
            if files.sync_up_to(end).is_err() {
                // Poisoned and logged there.
                return;
            }
            log.wake();
            self.raise_watermark(files);
        }
    }
}

/// The flusher thread has ended: who waits is told why, unless the log is being closed, which writes for all.
struct Ended<'a>(&'a CommitLog);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.files.health.check_writable() {
            self.0.fail_waiters(&error);
        }
    }
}
