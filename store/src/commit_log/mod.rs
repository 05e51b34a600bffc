//! The log: appends go into a staging buffer under a short mutex; whoever needs them written writes all that is staged.
//!
//! ```text
//! append ──► staging ──(swap)──► pwrite ──► [fdatasync] ──► dispatch ──► acknowledged, visible
//!   append mutex      write mutex
//! ```
//! Lock order: write, append, dispatcher. Arrivals and acknowledgements are called with none of them held.

mod crc_shift;
mod damage;
mod files;
mod flush;
mod prepare;
mod ranges;
mod record;
mod scan;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rmq_protocol::message::{BLANK_MAGIC, LogPosition, QueueOffset};
use smallvec::SmallVec;

pub(crate) use damage::Content;
pub use damage::DamagedRange;
pub(crate) use files::Files;
pub(crate) use flush::Flush;
pub(crate) use scan::{Found, Window, check};

use self::record::Prepared;
use crate::config::{FlushMode, StoreConfig};
use crate::dispatch::{Arrival, Dispatcher, Entry};
use crate::error::AppendError;
use crate::queue::QueueRef;
use crate::read::Resident;
use crate::settings::SETTINGS_TOPIC;
use crate::vital::Vital;

/// One part in so many of a segment, its last, is kept for progress while there is no next segment: consumers go on reading on a full
/// disk, and what they commit then is kept. With the next segment made ahead, messages fill this part too, so it costs nothing.
const RESERVE_SHARE: u64 = 8;
/// Progress is taken only while this much more than it needs is left, bytes: what surrounds it in its records, and progress of delays.
const PROGRESS_MARGIN: u64 = 1_024;
/// Store times that are ahead of a trusted clock by more than this start at the clock again: they would expire too late.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;
/// A staging buffer larger than this is not kept.
const KEEP_STAGING_BYTES: usize = 4 << 20;
/// Total size and magic of the filler at the end of a segment.
const FILLER_BYTES: u64 = 8;

/// A message to append.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// The queue it goes to.
    pub queue: &'a QueueRef,
    /// Its topic: that of the queue.
    pub topic: &'a str,
    /// The user's flag.
    pub flag: i32,
    /// System flags; the host bits are set here.
    pub sys_flag: i32,
    /// When the client made it, Unix milliseconds.
    pub born_ms: i64,
    /// The client's address.
    pub born_host: SocketAddr,
    /// How often it was consumed without success.
    pub reconsume_times: i32,
    /// Position of the half message, 0 for none.
    pub prepared_position: i64,
    /// The body.
    pub body: &'a [u8],
    /// The property string with its last separator, without a record CRC: the store adds that.
    pub properties: &'a [u8],
    /// Hash of the tag, 0 for none.
    pub tag_hash: i64,
    /// Business keys, separated by spaces.
    pub keys: &'a str,
    /// The client's message id.
    pub unique_key: &'a str,
}

/// Where a message went. It is neither written nor visible yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its first byte in the log.
    pub position: LogPosition,
    /// The byte after its last.
    pub end: LogPosition,
    /// Its place in its queue.
    pub queue_offset: QueueOffset,
    /// When it was stored, Unix milliseconds.
    pub store_ms: i64,
    /// Bytes of its record.
    pub size: u32,
}

pub(crate) struct CommitLog {
    pub(crate) config: StoreConfig,
    /// Milliseconds that messages are kept; it can change.
    pub(crate) retention_ms: AtomicI64,
    /// Largest body that is taken; it can change.
    pub(crate) body_bytes_max: AtomicUsize,
    pub(crate) files: Arc<Files>,
    pub(crate) dispatcher: Dispatcher,
    /// What readers found in memory.
    pub(crate) resident: Resident,
    append: Mutex<Appender>,
    write: Mutex<Writer>,
    /// Who waits for the next write, with async flush: while somebody writes, others leave their wish here and go on.
    wishes: Mutex<VecDeque<Done>>,
    flush: Flush,
}

/// What is to be done when something is written, or cannot be.
type Done = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// Wishes that a thread has taken. A panic must not leave those who wished without an answer.
struct Wishes(VecDeque<Done>);

impl Drop for Wishes {
    fn drop(&mut self) {
        for done in self.0.drain(..) {
            done(Err(AppendError::Failed {
                reason: "the thread that wrote the log panicked".into(),
            }));
        }
    }
}

/// What is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A message, or a setting.
    Message,
    /// Progress of consumers or delays, which may use the reserve.
    Progress,
}

struct Appender {
    staging: Staging,
    /// Full parts before `staging`: each ends at the end of a segment.
    full: Vec<Staging>,
    next: u64,
    segment_end: u64,
    /// The segment after the current one is part of the log.
    has_next: bool,
    last_ms: i64,
    closed: bool,
}

/// Records that are not written yet.
#[derive(Default)]
struct Staging {
    start: u64,
    /// Log position after it; beyond its bytes when a filler ends it.
    end: u64,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Default)]
struct Writer {
    /// The buffer that is swapped in next.
    empty: Staging,
    full: Vec<Staging>,
    arrivals: Vec<Arrival>,
}

impl CommitLog {
    /// A log that goes on at the end of `files`.
    pub(crate) fn new(
        config: StoreConfig,
        files: Arc<Files>,
        dispatcher: Dispatcher,
        flush: Flush,
    ) -> Self {
        let next = files.positions.written.load(Ordering::Acquire);
        let segment_end = files.segment(next).map_or(next, |segment| {
            segment.set_growing(true);
            segment.end()
        });
        // Store times go on after the newest.
        let newest_ms = files.positions.newest_ms.load(Ordering::Acquire);
        let appender = Appender {
            staging: Staging {
                start: next,
                end: next,
                ..Staging::default()
            },
            full: Vec::new(),
            next,
            segment_end,
            has_next: files.segment(segment_end).is_some(),
            last_ms: newest_ms,
            closed: false,
        };
        Self {
            retention_ms: AtomicI64::new(config.retention_ms),
            body_bytes_max: AtomicUsize::new(config.body_bytes_max),
            config,
            files,
            dispatcher,
            resident: Resident::new(),
            append: Mutex::new(appender),
            write: Mutex::default(),
            wishes: Mutex::default(),
            flush,
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        (self.config.now_ms)()
    }

    /// See [`Store::trust_clock`](crate::Store::trust_clock).
    pub(crate) fn trust_clock(&self, now_ms: i64) {
        let mut appender = self.append.lock();
        let ahead_ms = appender.last_ms.saturating_sub(now_ms);
        if ahead_ms > CLOCK_AHEAD_MS_MAX {
            appender.last_ms = now_ms;
            drop(appender);
            tracing::warn!(
                ahead_ms,
                "the newest message was stored in the future; store times start at the clock again"
            );
        }
    }

    pub(crate) fn append(
        &self,
        message: &NewMessage<'_>,
        body_bytes_max: usize,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.append_for(Purpose::Message, message, body_bytes_max, now_ms)
    }

    pub(crate) fn append_for(
        &self,
        purpose: Purpose,
        message: &NewMessage<'_>,
        body_bytes_max: usize,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let mut prepared = Prepared::new(message, &self.config, body_bytes_max)?;
        let appended = {
            let mut appender = self.append.lock();
            self.make_room(&mut appender, prepared.size, purpose)?;
            self.push(&mut appender, &mut prepared, now_ms)
        };
        self.relieve(appended.end)?;
        Ok(appended)
    }

    /// All messages with consecutive offsets, or none.
    pub(crate) fn append_batch(
        &self,
        messages: &[NewMessage<'_>],
    ) -> Result<SmallVec<[Appended; 8]>, AppendError> {
        let body_bytes_max = self.body_bytes_max.load(Ordering::Relaxed);
        let mut prepared: Vec<Prepared<'_>> = messages
            .iter()
            .map(|message| Prepared::new(message, &self.config, body_bytes_max))
            .collect::<Result<_, _>>()?;
        let total: usize = prepared.iter().map(|record| record.size).sum();
        if total as u64 + FILLER_BYTES > self.config.segment_bytes {
            return Err(AppendError::RecordTooLarge {
                bytes: total,
                segment_bytes: self.config.segment_bytes,
            });
        }
        let now = self.now_ms();
        let appended: SmallVec<[Appended; 8]> = {
            let mut appender = self.append.lock();
            // A batch does not cross segments, so that nothing can fail in its middle.
            self.make_room(&mut appender, total, Purpose::Message)?;
            prepared
                .iter_mut()
                .map(|record| self.push(&mut appender, record, now))
                .collect()
        };
        if let Some(last) = appended.last() {
            self.relieve(last.end)?;
        }
        Ok(appended)
    }

    /// Writes what is staged when it has become too much: whoever appends faster than the disk writes waits for it here.
    fn relieve(&self, end: LogPosition) -> Result<(), AppendError> {
        let written = self.files.positions.written.load(Ordering::Acquire);
        if end.0.saturating_sub(written) <= self.config.staged_bytes_max {
            return Ok(());
        }
        match self.config.flush {
            FlushMode::Async { .. } => self.write_out(),
            FlushMode::Sync => {
                let flushed = self.write_and_sync()?;
                self.flush.acknowledge(flushed);
                Ok(())
            }
        }
    }

    fn push(&self, appender: &mut Appender, record: &mut Prepared<'_>, now: i64) -> Appended {
        let queue = record.message.queue;
        let position = appender.next;
        let queue_offset = queue.next_offset();
        queue.set_next_offset(queue_offset + 1);
        // Store times never run backwards in the log, whatever the clock does: look-ups by time rely on it.
        let store_ms = now.max(appender.last_ms);
        appender.last_ms = store_ms;
        record.write(
            queue_offset,
            position,
            store_ms,
            &mut appender.staging.bytes,
        );
        let end = position + record.size as u64;
        appender.next = end;
        appender.staging.end = end;
        appender.staging.entries.push(Entry {
            queue: queue.clone(),
            queue_offset,
            position,
            size: record.size as u32,
            tag_hash: record.message.tag_hash,
            store_ms,
            keys: std::mem::take(&mut record.keys),
            settings: (record.message.topic == SETTINGS_TOPIC)
                .then(|| bytes::Bytes::copy_from_slice(record.message.body)),
        });
        self.files.positions.appended.store(end, Ordering::Release);
        Appended {
            position: LogPosition(position),
            end: LogPosition(end),
            queue_offset: QueueOffset(queue_offset),
            store_ms,
            size: record.size as u32,
        }
    }

    /// Makes sure that `size` bytes and a filler fit the current segment; nothing is changed when that fails.
    fn make_room(
        &self,
        appender: &mut Appender,
        size: usize,
        purpose: Purpose,
    ) -> Result<(), AppendError> {
        if appender.closed {
            return Err(AppendError::Closed);
        }
        self.files.health.check_writable()?;
        let end = appender.next + size as u64 + FILLER_BYTES;
        let fits = end <= appender.segment_end;
        let reserve = self.config.segment_bytes / RESERVE_SHARE;
        if fits && (appender.has_next || end + reserve <= appender.segment_end) {
            return Ok(());
        }
        let base = appender.segment_end;
        // Asked for before the reserve is touched, so that a refusal comes while there is room for progress.
        let segment = match self.files.next_segment(base) {
            Ok(segment) => segment,
            Err(AppendError::Refused { .. }) if fits && purpose == Purpose::Progress => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        appender.has_next = true;
        if fits {
            return Ok(());
        }
        segment.set_growing(true);
        if let Some(full) = self.files.segment(base - 1) {
            full.set_growing(false);
        }
        let left = base - appender.next;
        if left > 0 {
            appender
                .staging
                .bytes
                .extend_from_slice(&(left as i32).to_be_bytes());
            appender
                .staging
                .bytes
                .extend_from_slice(&BLANK_MAGIC.to_be_bytes());
        }
        appender.staging.end = base;
        let full = std::mem::replace(
            &mut appender.staging,
            Staging {
                start: base,
                end: base,
                ..Staging::default()
            },
        );
        appender.full.push(full);
        appender.next = base;
        appender.segment_end = segment.end();
        appender.has_next = self.files.segment(segment.end()).is_some();
        Ok(())
    }

    /// Whether progress of `bytes` would be taken now.
    pub(crate) fn check_progress(&self, bytes: usize) -> Result<(), AppendError> {
        self.files.health.check_writable()?;
        let Some(refusal) = self.files.health.refusal() else {
            return Ok(());
        };
        let appender = self.append.lock();
        let end = appender.next + bytes as u64 + PROGRESS_MARGIN;
        if appender.has_next || end <= appender.segment_end {
            Ok(())
        } else {
            Err(refusal)
        }
    }

    /// Writes everything appended before the call, dispatches it and so makes it visible. With sync flush it only
    /// tells the flusher that somebody wants it.
    pub(crate) fn write_out(&self) -> Result<(), AppendError> {
        let target = self.files.positions.appended.load(Ordering::Acquire);
        if self.files.positions.written.load(Ordering::Acquire) >= target {
            return self.files.health.check_writable();
        }
        if self.config.flush == FlushMode::Sync {
            self.flush.want(target);
            return Ok(());
        }
        let written = {
            let writer = self.write.lock();
            if self.files.positions.written.load(Ordering::Acquire) >= target {
                Ok(())
            } else {
                self.write_round(writer)
            }
        };
        self.grant_wishes();
        written
    }

    /// As [`write_out`](Self::write_out) with async flush, but does not wait for somebody else who writes: then `None`, and a
    /// [`wish`](Self::wish) is to follow.
    pub(crate) fn try_write_out(&self) -> Option<Result<(), AppendError>> {
        let target = self.files.positions.appended.load(Ordering::Acquire);
        if self.files.positions.written.load(Ordering::Acquire) >= target {
            return Some(self.files.health.check_writable());
        }
        let writer = self.write.try_lock()?;
        let written = self.write_round(writer);
        self.grant_wishes();
        Some(written)
    }

    /// Calls `done` when everything appended before is written, on the thread that does it.
    pub(crate) fn wish(&self, done: Done) {
        self.wishes.lock().push_back(done);
        self.grant_wishes();
    }

    /// Writes for those who wished it. If somebody else writes at this moment, he comes here when he has done: so it is called after
    /// each use of the writer.
    fn grant_wishes(&self) {
        while !self.wishes.lock().is_empty() {
            let Some(writer) = self.write.try_lock() else {
                return;
            };
            let mut wishes = Wishes(std::mem::take(&mut *self.wishes.lock()));
            let written = self.write_round(writer);
            while let Some(done) = wishes.0.pop_front() {
                done(written.clone());
            }
        }
    }

    /// One round with async flush.
    fn write_round(&self, writer: MutexGuard<'_, Writer>) -> Result<(), AppendError> {
        self.round(writer, false)?;
        self.flush.written(&self.files);
        Ok(())
    }

    /// Writes what is staged, syncs it where that is promised, dispatches it and so makes it visible. Returns the end of it.
    fn round(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        is_synced: bool,
    ) -> Result<u64, AppendError> {
        // A panic in here, on whichever thread, leaves records behind that nobody writes.
        let vital = Vital::new(&self.files.health, "a thread that wrote the log");
        let written = self
            .write_staged(&mut writer)
            .and_then(|end| match is_synced {
                true => self.files.sync_up_to(end).map(|()| end),
                false => Ok(end),
            })
            .inspect(|end| self.confirm(&mut writer, *end));
        vital.done();
        let end = written?;
        let mut arrivals = std::mem::take(&mut writer.arrivals);
        drop(writer);
        self.dispatcher.announce(&mut arrivals);
        self.keep_arrivals(arrivals);
        Ok(end)
    }

    fn keep_arrivals(&self, arrivals: Vec<Arrival>) {
        if arrivals.capacity() > 0
            && let Some(mut writer) = self.write.try_lock()
            && writer.arrivals.capacity() == 0
        {
            writer.arrivals = arrivals;
        }
    }

    /// One round of the flusher in sync mode: write, sync, dispatch. Returns the end of what is acknowledged.
    fn write_and_sync(&self) -> Result<u64, AppendError> {
        self.round(self.write.lock(), true)
    }

    fn write_staged(&self, writer: &mut Writer) -> Result<u64, AppendError> {
        self.files.health.check_writable()?;
        let end = {
            let mut appender = self.append.lock();
            let next = appender.next;
            let empty = std::mem::take(&mut writer.empty);
            let staged = std::mem::replace(
                &mut appender.staging,
                Staging {
                    start: next,
                    end: next,
                    ..empty
                },
            );
            writer.full.append(&mut appender.full);
            writer.full.push(staged);
            next
        };
        for staged in &writer.full {
            if staged.bytes.is_empty() {
                continue;
            }
            let Some(segment) = self.files.segment(staged.start) else {
                return Err(self
                    .files
                    .health
                    .poison(format!("there is no segment for position {}", staged.start)));
            };
            if let Err(error) = segment.write(staged.start, &staged.bytes) {
                return Err(self.files.health.poison(format!(
                    "writing {} bytes at log position {} to {} failed: {error}",
                    staged.bytes.len(),
                    staged.start,
                    self.files.segment_path(segment.base()).display()
                )));
            }
        }
        self.files.crash_point("log.written");
        Ok(end)
    }

    /// Everything below `end` can no longer be lost in the sense of the flush mode: shows it to everybody.
    fn confirm(&self, writer: &mut Writer, end: u64) {
        self.files.positions.confirmed.store(end, Ordering::Release);
        let mut last = None;
        for mut staged in writer.full.drain(..) {
            self.dispatcher
                .collect(&mut staged.entries, end, &mut writer.arrivals);
            last = Some(staged);
        }
        if let Some(mut staged) = last
            && staged.bytes.capacity() <= KEEP_STAGING_BYTES
        {
            staged.bytes.clear();
            writer.empty = staged;
        }
        self.files.positions.written.store(end, Ordering::Release);
        self.files.announce_confirmed(end);
        self.files.prepare_ahead(end);
    }

    /// Calls `done` when everything below `up_to` is acknowledged as the flush mode promises, or cannot be any more.
    pub(crate) fn when_acked(&self, up_to: LogPosition, done: Done) {
        if self.files.positions.written.load(Ordering::Acquire) >= up_to.0 {
            return done(Ok(()));
        }
        match self.config.flush {
            FlushMode::Async { .. } => done(self.write_out()),
            FlushMode::Sync => self.flush.wait_for(&self.files, up_to.0, done),
        }
    }

    /// Nothing is appended any more; what is staged gets written and synced.
    pub(crate) fn close(&self) -> Result<(), AppendError> {
        self.append.lock().closed = true;
        self.flush.stop();
        let end = self.write_and_sync();
        self.grant_wishes();
        self.flush.fail_waiters(
            end.as_ref().err().cloned().unwrap_or(AppendError::Closed),
            end.as_ref().ok().copied(),
        );
        end.map(|_| ())
    }

    /// Ends without writing, as a killed process would.
    pub(crate) fn abandon(&self) {
        self.append.lock().closed = true;
        self.flush.stop();
        self.flush.fail_waiters(AppendError::Closed, None);
    }

    /// Starts the flusher thread.
    pub(crate) fn start_flusher(self: &Arc<Self>) -> io::Result<()> {
        self.flush.start(self)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.config.dir
    }
}
