//! The way of copied log into a follower: bytes that a master has placed, and what its group has confirmed of them.
//!
//! ```text
//!  LogPiece ──► checked ──► staging ──► write ──► stored            the master is told
//!                                          confirm(position) ──► dispatch: visible, applied, sealed
//! ```
//! A follower dispatches from where it stopped, up to confirmed: what it has copied last is still in memory, and the rest it reads again
//! from the log. So what is not confirmed is in the log alone, whatever its length, and cutting it off undoes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::RecordView;

use super::acks::{Done, Goal};
use super::copied::Next;
use super::following::At;
use super::log::CommitLog;
use super::pieces::{CopyError, filler};
use super::place::Appender;
use super::staging::Part;
use super::truncate::TruncateError;
use super::window::{FILLER_BYTES, Window};
use crate::derived::{Arrival, Entry};
use crate::epochs::Epochs;
use crate::error::{AppendError, ReadError};
use crate::install_mark::InstallMark;
use crate::log_reader::LogReader;
use crate::quarantine::PutAside;

/// Entries are dispatched in batches of this size.
const BATCH: usize = 4_096;

/// The right to copy into a log. There is one, and none beside an [`Appender`].
pub(crate) struct Copier {
    log: Arc<CommitLog>,
}

impl Copier {
    /// For the follower that has opened this log, and nobody else.
    pub(crate) fn new(log: Arc<CommitLog>) -> Self {
        Self { log }
    }

    /// Takes a piece that begins where the log ends, and that nobody reads soon if it `is_aside`. Returns where the log ends now.
    pub(crate) fn copy(
        &self,
        position: u64,
        bytes: &[u8],
        is_aside: bool,
    ) -> Result<u64, CopyError> {
        let log = &*self.log;
        let end = {
            let mut staging = log.append.lock();
            let end = staging.copied(&log.files, position, bytes, is_aside)?;
            log.files.positions.appended.store(end, Ordering::Release);
            end
        };
        log.relieve(end)?;
        Ok(end)
    }

    /// As [`CommitLog::try_settle`], for what is written here.
    pub(crate) fn try_receive(&self, end: u64) -> Option<Result<(), AppendError>> {
        self.log.try_reach(end, Goal::Written)
    }

    /// As [`CommitLog::settle`], for what is written here.
    pub(crate) fn receive(&self, end: u64, done: Done) {
        self.log.reach(end, Goal::Written, done);
    }

    /// As [`CommitLog::try_settle`], for what is stored here, as the flush mode promises.
    pub(crate) fn try_store(&self, end: u64) -> Option<Result<(), AppendError>> {
        self.log.try_reach(end, self.stored())
    }

    /// As [`CommitLog::settle`], for what is stored here, as the flush mode promises.
    pub(crate) fn store(&self, end: u64, done: Done) {
        self.log.reach(end, self.stored(), done);
    }

    fn stored(&self) -> Goal {
        match self.log.settles_in_place() {
            true => Goal::Written,
            false => Goal::Flushed,
        }
    }

    /// What lies below `position` can no longer be truncated. It is visible as far as it is stored here.
    pub(crate) fn confirm(&self, position: u64) -> Result<(), ReadError> {
        self.log.files.positions.replicated_to(position);
        self.log.catch_up()
    }

    /// See [`Follower::truncate_to`](crate::Follower::truncate_to).
    pub(crate) fn truncate_to(
        &self,
        position: u64,
        epochs: &Epochs,
    ) -> Result<Option<PutAside>, TruncateError> {
        self.log.truncate_to(position, epochs)
    }

    /// See [`Follower::put_aside`](crate::Follower::put_aside).
    pub(crate) fn put_aside(
        &self,
        position: u64,
        epochs: &Epochs,
    ) -> Result<Option<PutAside>, TruncateError> {
        self.log.put_aside(position, epochs)
    }

    /// See [`Follower::master_begins`](crate::Follower::master_begins).
    pub(crate) fn master_begins(&self, position: u64) {
        self.log.following.set_master_begins(position);
    }

    /// Where the log ends, once everything copied is stored.
    pub(crate) fn finish(&self) -> Result<u64, AppendError> {
        self.log.write_and_sync()
    }

    /// Becomes the master of its log: what is not confirmed yet waits for that as what a master has appended.
    pub(crate) fn lead(self) -> Result<Appender, ReadError> {
        let log = self.log;
        {
            let mut at = log.following.hold();
            let end = log.files.positions.written.load(Ordering::Acquire);
            log.dispatch_copied(&mut at, end)?;
            at.window = Window::default();
            log.following.copied.clear();
            log.append.lock().newest_ms = at.newest_ms;
            let found = &log.files.positions.newest_ms;
            found.store(at.newest_ms, Ordering::Release);
            log.following.is_on.store(false, Ordering::Release);
        }
        Ok(Appender::new(log))
    }
}

impl CommitLog {
    /// Follower: dispatches what is confirmed and was not yet.
    pub(super) fn catch_up(&self) -> Result<(), ReadError> {
        {
            let mut at = self.following.hold();
            let confirmed = self.files.positions.confirm();
            if self.following.is_on() && at.position < confirmed {
                self.dispatch_copied(&mut at, confirmed)?;
                self.complete(at.position)?;
            }
        }
        self.files.announce_confirmed();
        self.wake();
        Ok(())
    }

    /// When the log has come up to tables from a snapshot: the store is whole, durably.
    fn complete(&self, dispatched: u64) -> Result<(), ReadError> {
        let Some(position) = self.following.incomplete_below() else {
            return Ok(());
        };
        if dispatched < position {
            return Ok(());
        }
        self.dispatcher.settle_queues()?;
        let files = &self.files;
        let removed = LogReader::make_durable(&**files, position)
            .and_then(|()| InstallMark::remove(&*files.fs, &files.config.dir));
        match removed {
            Ok(()) => {
                files.crash_point("install.complete");
                self.following.complete();
                tracing::info!(
                    position,
                    "the log has come up to the tables of the snapshot"
                );
            }
            // It is tried again with the next position that is confirmed.
            Err(error) => tracing::warn!(%error, "it is not noted that the store is whole"),
        }
        Ok(())
    }

    /// Hands records to the dispatcher, from where it stopped up to `to`; it shows those that are confirmed.
    fn dispatch_copied(&self, at: &mut At, to: u64) -> Result<(), ReadError> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut outcome = Ok(());
        let from = at.position;
        let positions = &self.files.positions;
        let written = positions.written.load(Ordering::Acquire);
        let hot_from = written.saturating_sub(self.config.hot_bytes);
        let checked_from = positions.checked_from.load(Ordering::Acquire);
        let mut window = std::mem::take(&mut at.window);
        // What this process has copied or replayed is intact; what was on the disk for long may have decayed.
        window.begin(to, checked_from.max(hot_from));
        let mut visit = |position: u64, bytes: &[u8]| {
            let end = position + bytes.len() as u64;
            if end > to || outcome.is_err() {
                return;
            }
            let entry = RecordView::parse(bytes)
                .map_err(|error| ReadError::NoRecord {
                    position,
                    reason: error.to_string(),
                })
                .and_then(|record| self.dispatcher.entry_of(&record));
            match entry {
                Ok(entry) => {
                    let queue = &entry.queue;
                    queue.set_next_offset(queue.next_offset().max(entry.queue_offset + 1));
                    for (queue, offset) in entry.further.iter().flatten() {
                        queue.set_next_offset(queue.next_offset().max(offset + 1));
                    }
                    at.newest_ms = at.newest_ms.max(entry.store_ms);
                    at.position = end;
                    entries.push(entry);
                }
                Err(error) => outcome = Err(error),
            }
            if entries.len() >= BATCH {
                self.collect(&mut entries, &mut arrivals);
            }
        };
        let mut from = from;
        while from < to {
            from = match self.following.copied.next(from) {
                Next::Log(until) => {
                    let until = until.min(to);
                    self.files.scan_with(&mut window, from, until, &mut visit);
                    until
                }
                Next::Part(part) => {
                    let until = records(&part, from, to, &mut visit);
                    self.following.copied.put_back(part, until);
                    until
                }
            };
        }
        at.window = window;
        self.collect(&mut entries, &mut arrivals);
        self.dispatcher.announce(&mut arrivals);
        outcome
    }

    fn collect(&self, entries: &mut Vec<Entry>, arrivals: &mut Vec<Arrival>) {
        let positions = &self.files.positions;
        self.dispatcher
            .collect(entries, || positions.confirm(), arrivals);
    }
}

/// Shows the records of a part from `from` on that end at or below `to`; they were checked when they were copied. Returns from where on there
/// may be more.
fn records(part: &Part, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> u64 {
    let mut position = from;
    while position < to {
        let at = usize::try_from(position - part.start).unwrap_or(usize::MAX);
        let rest = part.bytes.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return position;
        }
        if let Some(left) = filler(rest) {
            return position + left.max(FILLER_BYTES);
        }
        let size = rest
            .first_chunk()
            .map_or(0, |size| u32::from_be_bytes(*size));
        let end = position + u64::from(size);
        match rest.get(..size as usize) {
            Some(record) if size > 0 && end <= to => visit(position, record),
            _ => return to,
        }
        position = end;
    }
    position
}
