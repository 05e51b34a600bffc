//! The thread that works ahead of the appends: makes the next segment, writes zeros where that pays, and tries again when the next
//! segment could not be made.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::files::{Files, NoSegment};
use crate::config::FlushMode;
use crate::segment::Segment;
use crate::vital;

/// The next try to make a segment while messages are refused.
const REFUSAL_RETRY: Duration = Duration::from_secs(1);
/// With sync flush, real zeros are kept this far ahead of the records.
const ZEROED_AHEAD: u64 = 32 << 20;
/// Syncs of more than this gain less from zeros than writing them costs.
const SMALL_SYNC_BYTES: u64 = 32 << 10;

/// What the thread does next.
enum Task {
    Zeros,
    /// Makes the segment that begins there.
    Segment(u64),
}

impl Files {
    /// Has the next segment made in the background when the current one is more than half full, and zeros written.
    pub(crate) fn prepare_ahead(&self, written: u64) {
        let segments = self.segments.load();
        if self.zeroes(written)
            && segments
                .iter()
                .rev()
                .find(|segment| segment.base() <= written)
                .is_some_and(|segment| segment.wants_zeros(ZEROED_AHEAD))
        {
            let mut spare = self.spare.lock();
            if !spare.zeros_wanted {
                spare.zeros_wanted = true;
                self.spare_wanted.notify_one();
            }
        }
        let Some(last) = segments.last() else { return };
        let base = last.end();
        if written < last.base() + (last.end() - last.base()) / 2 {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.segment.is_none() && spare.wanted != Some(base) && spare.failed != Some(base) {
            spare.wanted = Some(base);
            self.spare_wanted.notify_one();
        }
    }

    pub(crate) fn start_preparer(self: &Arc<Self>) -> io::Result<()> {
        let files = Arc::clone(self);
        let what = "the thread that prepares segments";
        let thread = vital::spawn("rmq-prepare", what, &self.health, move || {
            while let Some(task) = files.next_task() {
                match task {
                    Task::Zeros => files.write_zeros(),
                    Task::Segment(base) => files.make_spare(base),
                }
            }
        })?;
        *self.preparer.lock() = Some(thread);
        let written = self.positions.written.load(Ordering::Acquire);
        self.pace.lock().written = written;
        self.prepare_ahead(written);
        Ok(())
    }

    /// Waits for something to do; `None` at the end.
    fn next_task(&self) -> Option<Task> {
        let mut spare = self.spare.lock();
        loop {
            if spare.stop {
                return None;
            }
            if std::mem::take(&mut spare.zeros_wanted) {
                return Some(Task::Zeros);
            }
            if spare.segment.is_some() {
                self.spare_wanted.wait(&mut spare);
                continue;
            }
            if let Some(base) = spare.wanted {
                return Some(Task::Segment(base));
            }
            if !self.health.is_refusing() {
                self.spare_wanted.wait(&mut spare);
                continue;
            }
            // Tries again even if nobody appends: a producer that was refused may not come back.
            let retry = self.spare_wanted.wait_for(&mut spare, REFUSAL_RETRY);
            if retry.timed_out()
                && self.health.is_refusing()
                && let Some(last) = self.segments().last()
            {
                return Some(Task::Segment(last.end()));
            }
        }
    }

    /// Messages are refused: the preparer begins to try again.
    pub(super) fn try_again(&self) {
        // The lock makes sure that the thread is either before its look at the health or waiting.
        let _spare = self.spare.lock();
        self.spare_wanted.notify_one();
    }

    fn make_spare(&self, base: u64) {
        let _making = self.making.lock();
        // The append may have made it itself meanwhile.
        let made = if self.segment(base).is_some() {
            None
        } else {
            self.make_ahead(base)
        };
        if made.is_some() {
            self.health.accept();
        }
        let mut spare = self.spare.lock();
        spare.wanted = None;
        spare.failed = made.is_none().then_some(base);
        spare.segment = made;
    }

    /// Whether zeros are worth their writing: with sync flush, while little is written at once.
    fn zeroes(&self, written: u64) -> bool {
        if self.config.flush != FlushMode::Sync || !self.config.background {
            return false;
        }
        let mut pace = self.pace.lock();
        let step = written.saturating_sub(pace.written);
        pace.written = written;
        pace.mean = pace.mean - pace.mean / 8 + step / 8;
        pace.mean < SMALL_SYNC_BYTES
    }

    /// Room that is only reserved has to be noted as written when its pages are first synced, which costs the file system a journal
    /// commit. With zeros ahead of the records their syncs write nothing else.
    fn write_zeros(&self) {
        let written = self.positions.written.load(Ordering::Acquire);
        let prepared = self.spare.lock().segment.clone();
        let segments = self.segments();
        let mut ahead = ZEROED_AHEAD;
        for segment in segments
            .iter()
            .chain(&prepared)
            .filter(|segment| segment.end() > written)
        {
            if ahead == 0 {
                return;
            }
            let path = self.segment_path(segment.base());
            let done = self.fs.open(&path).and_then(|file| {
                while !self.spare.lock().stop && segment.zero_ahead(&*file, ahead)? {}
                Ok(())
            });
            if let Err(error) = done {
                tracing::warn!("cannot write zeros to {}: {error}", path.display());
                return;
            }
            ahead = ahead.saturating_sub(segment.end() - written.max(segment.base()));
        }
    }

    fn make_ahead(&self, base: u64) -> Option<Arc<Segment>> {
        match self.create_segment(base) {
            Ok(segment) => Some(segment),
            Err(NoSegment::Refuses(reason)) => {
                if self.health.is_refusing() {
                    // The reason may be another one by now.
                    self.health.refuse(reason);
                } else {
                    // No refusal yet: the append that needs the segment makes it one.
                    tracing::warn!("the next segment of the log cannot be prepared: {reason}");
                }
                None
            }
            Err(NoSegment::ReadOnly(reason)) => {
                self.health.poison(reason);
                None
            }
        }
    }

    pub(crate) fn stop_preparer(&self) {
        {
            let mut spare = self.spare.lock();
            spare.stop = true;
            self.spare_wanted.notify_all();
        }
        if let Some(thread) = self.preparer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares segments panicked");
        }
    }
}
