//! The round of writing: one `pwrite` of everything staged, by the thread that comes first; it writes for all others.
//!
//! A thread that finds another one writing leaves its answer in the list of [`acks`](super::acks) and continues: the writer runs
//! another round before it stops. With sync flush the flusher thread runs the rounds, each with one `fdatasync`.

use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::acks::{Done, Goal};
use super::log::CommitLog;
use super::staging::{Fresh, Writer};
use super::takers::TAKEN_BYTES_MAX;
use crate::config::FlushMode;
use crate::derived::Arrival;
use crate::error::AppendError;
use crate::vital::Vital;

/// A staging buffer larger than this is not kept.
const KEEP_STAGING_BYTES: usize = 4 << 20;

/// Answers everybody who waits when the thread that writes panics.
struct OnPanic<'a>(&'a CommitLog);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Err(error) = self.0.files.health.check_writable()
        {
            self.0.acks.fail(&error);
        }
    }
}

impl CommitLog {
    /// Whether [`try_settle`](Self::try_settle) writes on the thread that calls it.
    pub(crate) fn settles_in_place(&self) -> bool {
        self.config.flush != FlushMode::Sync
    }

    /// Up to where a goal is reached.
    fn reached(&self, goal: Goal) -> u64 {
        match goal {
            Goal::Written => self.files.positions.written.load(Ordering::Acquire),
            Goal::Flushed => self.files.positions.flushed.load(Ordering::Acquire),
            Goal::Settled => self.dispatcher.dispatched(),
        }
    }

    /// Settles what lies below `end` on this thread, as far as that takes no waiting for anybody. `None`: [`settle`](Self::settle) is
    /// to follow.
    pub(crate) fn try_settle(&self, end: u64) -> Option<Result<(), AppendError>> {
        self.try_reach(end, Goal::Settled)
    }

    /// Calls `done`, here or on the thread that gets there, when everything below `end` is confirmed and visible, or cannot be.
    pub(crate) fn settle(&self, end: u64, done: Done) {
        self.reach(end, Goal::Settled, done);
    }

    /// As [`try_settle`](Self::try_settle), for what is flushed.
    pub(crate) fn try_flush(&self, end: u64) -> Option<Result<(), AppendError>> {
        self.try_reach(end, Goal::Flushed)
    }

    /// As [`settle`](Self::settle), for what is flushed.
    pub(crate) fn flush(&self, end: u64, done: Done) {
        self.reach(end, Goal::Flushed, done);
    }

    /// Whether a thread that waits for a goal writes what is staged.
    fn writes_in_place(&self, goal: Goal) -> bool {
        goal == Goal::Written || self.settles_in_place()
    }

    pub(super) fn try_reach(&self, end: u64, goal: Goal) -> Option<Result<(), AppendError>> {
        if self.reached(goal) >= end {
            return Some(self.acks.check());
        }
        if goal == Goal::Flushed || !self.writes_in_place(goal) {
            return None;
        }
        let written = self.write_round(self.write.try_lock()?);
        self.write_for_others();
        match written {
            Ok(()) => (self.reached(goal) >= end).then(|| self.acks.check()),
            Err(error) => Some(Err(error)),
        }
    }

    pub(super) fn reach(&self, end: u64, goal: Goal, done: Done) {
        let waits = self.acks.wait(end, goal, done, || {
            if self.reached(goal) >= end {
                return Some(Ok(()));
            }
            self.files.health.check_writable().err().map(Err)
        });
        if !waits {
            return;
        }
        if self.writes_in_place(goal) {
            self.write_for_others();
        }
        if goal == Goal::Flushed || !self.writes_in_place(goal) {
            let appended = self.files.positions.appended.load(Ordering::Acquire);
            self.flush.want(end.min(appended));
        }
    }

    /// Tells everybody whose position is reached.
    pub(super) fn wake(&self) {
        self.acks.wake(|goal| self.reached(goal));
    }

    /// Writes everything appended before the call and dispatches what of it is confirmed. With sync flush it only tells the flusher
    /// that somebody wants it.
    pub(crate) fn write_out(&self) -> Result<(), AppendError> {
        let positions = &self.files.positions;
        let target = positions.appended.load(Ordering::Acquire);
        if self.dispatcher.dispatched() >= target {
            return self.files.health.check_writable();
        }
        if !self.settles_in_place() {
            self.flush.want(target);
            return Ok(());
        }
        let written = {
            // Who has it has dispatched what it wrote.
            let writer = self.write.lock();
            if positions.written.load(Ordering::Acquire) >= target {
                Ok(())
            } else {
                self.write_round(writer)
            }
        };
        self.write_for_others();
        written
    }

    /// Writes what is staged below `end` when it has become too much: a thread that appends faster than the disk writes waits for the
    /// disk here.
    pub(super) fn relieve(&self, end: u64) -> Result<(), AppendError> {
        // Not what is appended by now: other threads write that position all the time.
        let written = self.files.positions.written.load(Ordering::Acquire);
        if end.saturating_sub(written) <= self.config.staged_bytes_max {
            Ok(())
        } else if self.settles_in_place() {
            self.write_out()
        } else if self.following.is_on() {
            self.write_round(self.write.lock())
        } else {
            self.write_and_sync().map(|_| ())
        }
    }

    /// Writes for those who found somebody else writing. It is called after each use of the writer.
    fn write_for_others(&self) {
        let positions = &self.files.positions;
        while positions.staged() > 0
            && self.acks.wanted() > positions.written.load(Ordering::Acquire)
        {
            let Some(writer) = self.write.try_lock() else {
                return;
            };
            if self.write_round(writer).is_err() {
                // They are told.
                return;
            }
        }
    }

    /// One round with async flush.
    fn write_round(&self, writer: MutexGuard<'_, Writer>) -> Result<(), AppendError> {
        self.round(writer, false)?;
        self.flush.written(&self.files);
        Ok(())
    }

    /// One round with sync flush: write, sync, dispatch. Returns the end of what is flushed.
    pub(super) fn write_and_sync(&self) -> Result<u64, AppendError> {
        self.round(self.write.lock(), true)
    }

    /// One round of a follower with sync flush. While it syncs, more is written.
    pub(super) fn write_then_sync(&self) -> Result<u64, AppendError> {
        let end = self.round(self.write.lock(), false)?;
        self.write_for_others();
        if let Err(error) = self.files.sync_up_to(end) {
            self.fail_waiters(&error);
            return Err(error);
        }
        self.show_copied();
        Ok(end)
    }

    /// Writes what is staged, syncs it where that is promised, and shows what is confirmed by it. Returns the end of it.
    fn round(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        is_synced: bool,
    ) -> Result<u64, AppendError> {
        let on_panic = OnPanic(self);
        // A panic in here, on whichever thread, leaves records behind that nobody writes.
        let vital = Vital::new(&self.files.health, "a thread that wrote the log");
        let written = self
            .write_staged(&mut writer)
            .and_then(|end| match is_synced {
                // Replicas copy while the disk works.
                true => {
                    let confirmed = self.files.positions.confirmed.load(Ordering::Acquire);
                    self.files.announce_written(confirmed, false);
                    self.files.sync_up_to(end).map(|()| end)
                }
                false => Ok(end),
            })
            .inspect(|end| self.show(&mut writer, *end, is_synced));
        vital.done();
        let end = match written {
            Ok(end) => end,
            Err(error) => {
                drop(writer);
                self.fail_waiters(&error);
                return Err(error);
            }
        };
        let mut arrivals = std::mem::take(&mut writer.arrivals);
        let mut fresh = std::mem::take(&mut writer.fresh);
        drop(writer);
        match is_synced {
            // Written and flushed were told by then.
            true => self.files.announce_confirmed(),
            false => self.offer(&mut fresh),
        }
        self.dispatcher.announce(&mut arrivals);
        self.keep(arrivals, fresh.bytes);
        if self.following.is_on() {
            self.show_copied();
        } else {
            self.wake();
        }
        drop(on_panic);
        Ok(end)
    }

    /// Follower: shows what is confirmed, and tells everybody whose position is reached.
    fn show_copied(&self) {
        if let Err(error) = self.catch_up() {
            tracing::warn!(%error, "what was copied cannot be shown yet; it is tried again with the next write");
            self.wake();
        }
    }

    /// Offers what was just written to those who take it from memory, and tells those who did not.
    fn offer(&self, fresh: &mut Fresh) {
        // Before they look at it themselves.
        let confirmed = self.files.positions.confirmed.load(Ordering::Acquire);
        let is_taken = !fresh.bytes.is_empty() && self.takers.take(fresh.start, &fresh.bytes);
        self.files.announce_written(confirmed, is_taken);
        fresh.bytes.clear();
    }

    /// Keeps buffers for the next round.
    fn keep(&self, arrivals: Vec<Arrival>, bytes: Vec<u8>) {
        if (arrivals.capacity() > 0 || bytes.capacity() > 0)
            && let Some(mut writer) = self.write.try_lock()
        {
            if writer.arrivals.capacity() == 0 {
                writer.arrivals = arrivals;
            }
            if writer.empty.bytes.capacity() == 0 {
                writer.empty.bytes = bytes;
            }
        }
    }

    fn write_staged(&self, writer: &mut Writer) -> Result<u64, AppendError> {
        self.files.health.check_writable()?;
        let empty = std::mem::take(&mut writer.empty);
        let end = self.append.lock().take(&mut writer.parts, empty);
        for part in writer.parts.iter().filter(|part| !part.bytes.is_empty()) {
            let Some(segment) = self.files.segment(part.start) else {
                return Err(self
                    .files
                    .health
                    .poison(format!("there is no segment for position {}", part.start)));
            };
            let written = match part.is_aside {
                true => segment.write_aside(part.start, &part.bytes),
                false => segment.write(part.start, &part.bytes),
            };
            if let Err(error) = written {
                return Err(self.files.health.poison(format!(
                    "writing {} bytes at log position {} to {} failed: {error}",
                    part.bytes.len(),
                    part.start,
                    self.files.segment_path(segment.base()).display()
                )));
            }
        }
        self.files.crash_point("log.written");
        self.files.written(end);
        Ok(end)
    }

    /// Hands what was written to the dispatcher, which shows what is confirmed of it. What waits for replicas stays to be
    /// [offered](Self::offer), unless it is synced, and so known already.
    fn show(&self, writer: &mut Writer, end: u64, is_synced: bool) {
        let positions = &self.files.positions;
        let mut last = None;
        let is_one = writer.parts.len() == 1;
        for mut part in writer.parts.drain(..) {
            self.dispatcher.collect(
                &mut part.entries,
                || positions.confirm(),
                &mut writer.arrivals,
            );
            if self.following.is_on() && !part.bytes.is_empty() {
                let copied = &self.following.copied;
                copied.keep(std::mem::replace(&mut part, copied.spare()));
            }
            last = Some(part);
        }
        if let Some(mut part) = last
            && part.bytes.capacity() <= KEEP_STAGING_BYTES
        {
            // What is confirmed is answered first.
            let is_offered = is_one
                && !is_synced
                && positions.confirmed.load(Ordering::Acquire) < end
                && part.bytes.len() <= TAKEN_BYTES_MAX
                && !self.takers.is_empty();
            if is_offered {
                writer.fresh = Fresh {
                    start: part.start,
                    bytes: std::mem::take(&mut part.bytes),
                };
            }
            part.bytes.clear();
            writer.empty = part;
        }
        self.files.prepare_ahead(end);
    }

    /// Master: shows what became confirmed by the progress of others.
    pub(super) fn show_confirmed(&self) {
        let positions = &self.files.positions;
        let mut arrivals = Vec::new();
        self.dispatcher
            .collect(&mut Vec::new(), || positions.confirm(), &mut arrivals);
        self.dispatcher.announce(&mut arrivals);
        self.files.announce_confirmed();
        self.wake();
    }

    /// What was appended is not stored for sure: everybody who waits is told.
    pub(super) fn fail_waiters(&self, error: &AppendError) {
        self.acks.fail(&match error {
            AppendError::Failed { reason } if !self.settles_in_place() => AppendError::NotFlushed {
                reason: reason.clone(),
            },
            error => error.clone(),
        });
    }
}
