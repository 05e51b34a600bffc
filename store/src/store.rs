//! The handle of a store: open, append, read, look up, close.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_protocol::message::{LogPosition, QueueOffset};
use smallvec::SmallVec;
use tokio::sync::watch;

use crate::cold::ColdPool;
use crate::commit_log::{Appended, CommitLog, DamagedRange, Files, Flush, NewMessage, Purpose};
use crate::config::{FlushMode, StoreConfig};
use crate::dispatch::{Arrivals, DispatchConfig, Dispatcher, LogReader};
use crate::error::{AppendError, CheckpointError, OpenError, ReadError};
use crate::fs::{Fs, Lock, Space};
use crate::health::StoreHealth;
use crate::index::by_time::Boundary;
use crate::index::keys::KeyKind;
use crate::index::manifest::Manifest;
use crate::layout;
use crate::queue::QueueRef;
use crate::read::{self, EntryFilter, ReadLimits, ReadOutcome, RecordSlice, Temperature};
use crate::recovery::{self, RecoveryReport};
use crate::retention::{self, Removed, RetentionError, RetentionRound};
use crate::settings::{Change, SETTINGS_TOPIC, Settings, SettingsError, SettingsLog, Table};
use crate::sync_times::Syncs;
use crate::watermark::Watermark;

/// An open store. Cheap to clone; usable from any thread. [`Store::close`] ends it for all clones.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    log: Arc<CommitLog>,
    settings: Settings,
    cold: ColdPool,
    recovery: RecoveryReport,
    lock: Mutex<Option<Box<dyn Lock>>>,
    closed: AtomicBool,
}

/// How far a store has come, log positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// Oldest record.
    pub min: u64,
    /// End of what was appended.
    pub appended: u64,
    /// End of what is written and visible.
    pub written: u64,
    /// End of what is durable.
    pub flushed: u64,
    /// End of what can no longer be truncated.
    pub confirmed: u64,
    /// End of what the index and the settings know.
    pub dispatched: u64,
}

/// Figures of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreStats {
    /// Segments of the log.
    pub segments: usize,
    /// Bytes that the segments take on the disk.
    pub log_bytes: u64,
    /// Run files of the index.
    pub index_runs: usize,
    /// Bytes of the run files.
    pub index_bytes: u64,
    /// Room on the file system.
    pub space: Space,
    /// Store time of the oldest record, Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// How long recovery took.
    pub recovery_took: Duration,
}

impl Store {
    /// Opens the store in `config.dir`, or makes a new one. Blocks while the end of the log is read.
    ///
    /// # Errors
    /// See [`OpenError`]: nothing is repaired silently.
    pub fn open(config: StoreConfig, fs: Arc<dyn Fs>) -> Result<(Self, RecoveryReport), OpenError> {
        config.validate()?;
        let dir = config.dir.clone();
        fs.create_dir_all(&dir)
            .map_err(OpenError::io("create the folder", &dir))?;
        let lock = recovery::lock(&*fs, &dir)?;
        recovery::settle_names(&*fs, &dir)?;
        recovery::check_format(&*fs, &dir)?;
        let log_dir = layout::log(&dir);
        let new = fs
            .list(&log_dir)
            .map_err(OpenError::io("list", &log_dir))?
            .is_empty();
        let segments = recovery::open_segments(&*fs, &config)?;
        let mark_path = layout::watermark(&dir);
        let mut watermark =
            Watermark::open(&*fs, &mark_path).map_err(OpenError::io("open", &mark_path))?;
        let durable = watermark.position();
        let closed_at = if new {
            Some(0)
        } else {
            watermark.is_sealed().then_some(durable)
        };

        let files = Arc::new(Files::new(Arc::clone(&fs), config.clone(), segments));
        files.load_damage();
        let start = LogReader::start(&*files);
        if let Some(began) = Manifest::began_before(&*fs, &layout::index(&dir), start) {
            files.report_damage(began, start, "the index knows segments that are missing");
        }
        // Before the index forgets them. Where it cannot be written, the next start finds them as this one does.
        let _ = files.store_damage();
        let reader: Arc<dyn LogReader> = Arc::clone(&files) as Arc<dyn LogReader>;
        let derived = DispatchConfig {
            run_bytes: config.index_run_bytes,
            accept_lost_tables: config.accept_lost_tables,
            background: config.background,
        };
        let dispatcher = Dispatcher::open(
            &layout::index(&dir),
            Arc::clone(&fs),
            reader,
            derived,
            Arc::clone(&files.health),
        )?;
        // The derived files follow the durable log, and may know of more than the watermark, which is raised now and then.
        let durable = durable.max(dispatcher.durable_log());
        let report = recovery::replay(&dir, &files, &dispatcher, durable, closed_at)?;
        files.settle_damage();
        // What follows damage must not be taken for a torn end at the next start, should the disk then give what it does not give now.
        let end_behind_damage = report.damaged.iter().any(|range| range.to > durable);
        let is_writable = files.health.check_writable().is_ok();
        if is_writable && (config.flush == FlushMode::Sync || end_behind_damage) {
            // Readers see it from now on, so it must not be lost any more.
            files
                .make_durable(report.end)
                .map_err(OpenError::io("sync the log in", &dir))?;
        }
        if is_writable && end_behind_damage {
            watermark
                .raise_durably(report.end)
                .map_err(OpenError::io("write", &mark_path))?;
        }
        watermark
            .unseal()
            .map_err(OpenError::io("write", &mark_path))?;
        if report.cut_bytes > 0 {
            tracing::warn!(
                end = report.end,
                bytes = report.cut_bytes,
                "the end of the log was not intact and never acknowledged as durable; it was cut"
            );
        }

        if !report.read_again.is_empty() || files.has_unseen() {
            // What can be read again is in the derived files from now on. Behind what nobody has seen, queues begin with a gap, which
            // takes no memory when their earlier entries are in runs.
            match dispatcher.seal_all() {
                Ok(()) => files.taken_again(),
                Err(error) => tracing::warn!(
                    "the index could not be completed: {error}; the next start does it again"
                ),
            }
        }
        dispatcher.start()?;

        let settings_state = Arc::clone(dispatcher.settings());
        let flush = Flush::new(config.flush, watermark);
        let (threads, queue_max) = (config.cold_threads, config.cold_queue_max);
        let log = Arc::new(CommitLog::new(config, files, dispatcher, flush));
        log.start_flusher()
            .map_err(OpenError::io("start the flusher of", &dir))?;
        log.files
            .start_preparer()
            .map_err(OpenError::io("start the preparer of", &dir))?;
        let settings = Settings::new(
            settings_state,
            Arc::new(SettingsWriter::new(Arc::clone(&log))?),
        );
        let store = Self(Arc::new(Inner {
            log,
            settings,
            cold: ColdPool::new(threads, queue_max),
            recovery: report.clone(),
            lock: Mutex::new(Some(lock)),
            closed: AtomicBool::new(false),
        }));
        Ok((store, report))
    }

    /// The queue, created when it never was. Look it up once and keep it.
    ///
    /// # Errors
    /// [`ReadError::Queues`]: it is not in memory, and the disk does not say whether it ever was.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Result<QueueRef, ReadError> {
        self.0.log.dispatcher.queue(topic, queue_id)
    }

    /// The queue, if it ever was.
    ///
    /// # Errors
    /// As [`Store::queue`].
    pub fn find_queue(&self, topic: &str, queue_id: i32) -> Result<Option<QueueRef>, ReadError> {
        self.0.log.dispatcher.find_queue(topic, queue_id)
    }

    /// Every queue of a topic that ever was, sorted by id.
    ///
    /// # Errors
    /// As [`Store::queue`].
    pub fn queues_of(&self, topic: &str) -> Result<Vec<QueueRef>, ReadError> {
        self.0.log.dispatcher.queues_of(topic)
    }

    /// Appends a message: it has its place in log and queue, and is neither written nor visible yet.
    /// [`Store::write_out`] or [`Store::when_acked`] must follow, once for any number of appends.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        self.append_at(message, self.0.log.now_ms())
    }

    /// [`Store::append`] for a caller that knows the time, Unix milliseconds of [`StoreConfig::now_ms`](crate::StoreConfig::now_ms):
    /// many messages that come together need one look at the clock.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_at(
        &self,
        message: &NewMessage<'_>,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let body_bytes_max = self.body_bytes_max();
        self.0.log.append(message, body_bytes_max, now_ms)
    }

    /// [`Store::append`] for a body that was taken before and moves to another queue: the limit may have become lower since.
    ///
    /// # Errors
    /// See [`AppendError`]; never [`AppendError::BodyTooLarge`].
    pub fn append_again(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        self.0.log.append(message, usize::MAX, self.0.log.now_ms())
    }

    /// Appends messages with consecutive offsets and positions, or none of them.
    ///
    /// # Errors
    /// See [`AppendError`]; the whole batch must fit one segment.
    pub fn append_batch(
        &self,
        messages: &[NewMessage<'_>],
    ) -> Result<SmallVec<[Appended; 8]>, AppendError> {
        self.0.log.append_batch(messages)
    }

    /// [`Store::write_out`] with async flush that does not wait for another thread that writes: `None` then, and
    /// [`Store::when_written`] does it.
    pub fn try_write_out(&self) -> Option<Result<(), AppendError>> {
        self.0.log.try_write_out()
    }

    /// Async flush: calls `done`, on this thread or on the one that writes, when everything appended before is written and visible,
    /// or cannot be.
    pub fn when_written(&self, done: Box<dyn FnOnce(Result<(), AppendError>) + Send>) {
        self.0.log.wish(done);
    }

    /// Async flush: after it everything appended before is written, dispatched and visible. Sync flush: asks for that to
    /// happen soon; use [`Store::when_acked`] to know when.
    ///
    /// # Errors
    /// When writing failed, now or before.
    pub fn write_out(&self) -> Result<(), AppendError> {
        self.0.log.write_out()
    }

    /// Calls `done`, here or on the flusher's thread, when everything below `up_to` is acknowledged as the flush mode promises.
    /// It must not block.
    pub fn when_acked(
        &self,
        up_to: LogPosition,
        done: Box<dyn FnOnce(Result<(), AppendError>) + Send>,
    ) {
        self.0.log.when_acked(up_to, done);
    }

    /// When appends are acknowledged.
    #[must_use]
    pub fn flush_mode(&self) -> FlushMode {
        self.0.log.config.flush
    }

    /// Appends a message and waits until it is acknowledged as the flush mode promises.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_and_wait(&self, message: &NewMessage<'_>) -> Result<Appended, AppendError> {
        let appended = self.append(message)?;
        self.acked(appended.end).await?;
        Ok(appended)
    }

    /// Waits until everything below `up_to` is acknowledged as the flush mode promises.
    ///
    /// # Errors
    /// When writing or syncing failed.
    pub async fn acked(&self, up_to: LogPosition) -> Result<(), AppendError> {
        let (done, acked) = tokio::sync::oneshot::channel();
        self.when_acked(
            up_to,
            Box::new(move |outcome| {
                // The waiter may have gone away.
                let _ = done.send(outcome);
            }),
        );
        acked.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Reads messages of a queue from offset `from` on.
    #[must_use]
    pub fn read(
        &self,
        queue: &QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        filter: &dyn EntryFilter,
        temperature: Temperature,
    ) -> ReadOutcome {
        read::read(&self.0.log, queue, from.0, limits, filter, temperature)
    }

    /// Threads for reads that wait for the disk.
    #[must_use]
    pub fn cold_pool(&self) -> &ColdPool {
        &self.0.cold
    }

    /// The record that begins at `position`. Its place and checksum are checked. May wait for the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn record_at(&self, position: LogPosition) -> Result<RecordSlice, ReadError> {
        let end = self.0.log.files.positions.confirmed.load(Ordering::Acquire);
        if position.0 >= end {
            return Err(ReadError::BeyondEnd {
                position: position.0,
                end,
            });
        }
        self.0
            .log
            .files
            .intact_record(position.0)
            .map(RecordSlice::new)
    }

    /// Messages with a key, newest first, stored between `from_ms` and `to_ms`, at most `max`. Each is read when it is asked for. May
    /// wait for the disk.
    pub fn find_by_key<'a>(
        &'a self,
        topic: &str,
        key: &str,
        kind: KeyKind,
        max: usize,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = RecordSlice> + use<'a> {
        let positions = self
            .0
            .log
            .dispatcher
            .find_by_key(topic, key, kind, max, from_ms, to_ms);
        positions
            .into_iter()
            .filter_map(move |position| self.0.log.files.intact_record(position).ok())
            .map(RecordSlice::new)
    }

    /// The offset of a queue at a store time, as upstream's search by timestamp. May wait for the disk.
    ///
    /// # Errors
    /// [`ReadError::NoRecord`] while a damaged part of the index is being rebuilt.
    pub fn offset_by_time(
        &self,
        queue: &QueueRef,
        ms: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        self.0
            .log
            .dispatcher
            .offset_by_time(queue, ms, boundary)
            .map(QueueOffset)
            .map_err(|error| ReadError::NoRecord {
                position: self.positions().min,
                reason: error.to_string(),
            })
    }

    /// Store time of the oldest message of a queue, Unix milliseconds. May wait for the disk.
    #[must_use]
    pub fn earliest_store_time(&self, queue: &QueueRef) -> Option<i64> {
        self.0.log.dispatcher.earliest_store_time(queue)
    }

    /// Tells `sink` of every message that becomes visible in a wanted queue.
    pub fn set_arrivals(&self, sink: Arc<dyn Arrivals>) {
        self.0.log.dispatcher.set_arrivals(sink);
    }

    /// Settings and progress.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Makes all messages of a topic unreachable and waits until that is as durable as a message. Offsets go on where they are.
    ///
    /// # Errors
    /// When the store takes no writes, or the queues cannot be looked up.
    pub async fn delete_queues(&self, topic: &str) -> Result<(), SettingsError> {
        // All of them are in memory when the record is dispatched, which asks no disk.
        self.queues_of(topic)?;
        let end = self.0.settings.put_any(&[Change {
            table: Table::QueueHeads,
            key: topic.to_owned(),
            value: None,
        }])?;
        self.0.settings.settled(end).await
    }

    /// Newest store time that was found when the store was opened, Unix milliseconds; 0 in a new store.
    #[must_use]
    pub fn newest_found_ms(&self) -> i64 {
        self.0.log.files.positions.newest_ms.load(Ordering::Acquire)
    }

    /// The clock can be trusted at `now_ms`. Store times never run backwards, so after a clock that was ahead they stand still until it
    /// has caught up; when they are more than a minute ahead, they start at the clock again.
    pub fn trust_clock(&self, now_ms: i64) {
        self.0.log.trust_clock(now_ms);
    }

    /// How far the store has come.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let (files, marks) = (&self.0.log.files, &self.0.log.files.positions);
        Positions {
            min: LogReader::start(&**files),
            appended: marks.appended.load(Ordering::Acquire),
            written: marks.written.load(Ordering::Acquire),
            flushed: marks.flushed.load(Ordering::Acquire),
            confirmed: marks.confirmed.load(Ordering::Acquire),
            dispatched: self.0.log.dispatcher.dispatched(),
        }
    }

    /// The confirmed position as it moves.
    #[must_use]
    pub fn watch_confirmed(&self) -> watch::Receiver<u64> {
        self.0.log.files.watch_confirmed()
    }

    /// Whether writes are taken.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.0.log.files.health.get()
    }

    /// Stretches of the log that cannot be read, as far as they were met.
    #[must_use]
    pub fn damage(&self) -> Vec<DamagedRange> {
        self.0.log.files.damage()
    }

    /// How long making the log durable took.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        self.0.log.files.sync_times.read()
    }

    /// Figures; asks the file system.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let files = &self.0.log.files;
        let segments = files.segments();
        let (index_runs, index_bytes) = self.0.log.dispatcher.index_size();
        StoreStats {
            index_runs,
            index_bytes,
            segments: segments.len(),
            log_bytes: segments
                .iter()
                .map(|segment| segment.end() - segment.base())
                .sum(),
            space: files.fs.space(self.dir()).unwrap_or_default(),
            oldest_ms: files.store_time(LogReader::start(&**files)),
            recovery_took: self.0.recovery.took,
        }
    }

    /// The folder of the store.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.0.log.dir()
    }

    /// How long messages are kept, milliseconds.
    #[must_use]
    pub fn retention_ms(&self) -> i64 {
        self.0.log.retention_ms.load(Ordering::Relaxed)
    }

    /// Keeps messages for another time from the next [`Store::run_retention`] on; [`StoreConfig::retention_ms`] is what it begins with.
    pub fn set_retention_ms(&self, retention_ms: i64) {
        self.0
            .log
            .retention_ms
            .store(retention_ms.max(1), Ordering::Relaxed);
    }

    /// Largest body of a message that is taken, bytes.
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        self.0.log.body_bytes_max.load(Ordering::Relaxed)
    }

    /// Takes larger or only smaller bodies from the next append on; [`StoreConfig::body_bytes_max`] is what it begins with.
    pub fn set_body_bytes_max(&self, bytes: usize) {
        self.0.log.body_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Removes what has expired and is not needed any more. Blocks; call it where that is fine.
    ///
    /// # Errors
    /// See [`RetentionError`].
    pub fn run_retention(
        &self,
        round: impl Into<RetentionRound>,
    ) -> Result<Removed, RetentionError> {
        // Told in the log, and tried again by the next round.
        let _ = self.0.log.files.store_damage();
        retention::run(&self.0.log, round.into())
    }

    /// Brings tables and index on disk up to everything visible now, so that the next start reads next to nothing. It happens by
    /// itself about every [`StoreConfig::index_run_bytes`] and in [`Store::close`]. Blocks.
    ///
    /// # Errors
    /// A file could not be written. Nothing is lost, and it is tried again.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        let dispatcher = &self.0.log.dispatcher;
        let bring_up = || {
            while dispatcher.seal()? {}
            dispatcher.maybe_seal()
        };
        bring_up().map_err(|error| CheckpointError {
            reason: error.to_string(),
        })
    }

    /// Writes and syncs everything, brings the derived files up to the end, and releases the lock. Blocks.
    /// The store is closed afterwards even if an error is returned.
    ///
    /// # Errors
    /// When the last writes failed; what was acknowledged before is not affected.
    pub fn close(&self) -> Result<(), AppendError> {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.0.cold.stop();
        let closed = self.0.log.close();
        self.0.log.files.stop_preparer();
        if closed.is_ok() {
            if let Err(error) = self.0.log.dispatcher.close() {
                tracing::warn!(
                    "the index could not be completed: {error}; the next start reads more of the log"
                );
            }
            // Told in the log. The next start finds it when it is read.
            let _ = self.0.log.files.store_damage();
            if let Err(error) = self.0.log.seal_watermark() {
                tracing::warn!("the watermark could not be written: {error}");
            }
        } else {
            self.0.log.dispatcher.abandon();
        }
        *self.0.lock.lock() = None;
        closed
    }

    /// Ends the store without writing anything more, as if the process had been killed.
    pub fn abandon(&self) {
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.0.cold.stop();
        self.0.log.abandon();
        self.0.log.files.stop_preparer();
        self.0.log.dispatcher.abandon();
        *self.0.lock.lock() = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !*self.closed.get_mut() {
            self.cold.stop();
            self.log.abandon();
            self.log.files.stop_preparer();
            self.log.dispatcher.abandon();
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.dir())
            .field("positions", &self.positions())
            .finish_non_exhaustive()
    }
}

/// Appends settings records.
struct SettingsWriter {
    log: Arc<CommitLog>,
    queue: QueueRef,
}

impl SettingsWriter {
    fn new(log: Arc<CommitLog>) -> Result<Self, ReadError> {
        Ok(Self {
            queue: log.dispatcher.queue(SETTINGS_TOPIC, 0)?,
            log,
        })
    }
}

impl SettingsLog for SettingsWriter {
    fn check_progress(&self, bytes: usize) -> Result<(), AppendError> {
        self.log.check_progress(bytes)
    }

    fn append_settings(&self, body: &[u8], purpose: Purpose) -> Result<u64, AppendError> {
        let now = self.log.now_ms();
        let message = NewMessage {
            queue: &self.queue,
            topic: SETTINGS_TOPIC,
            flag: 0,
            sys_flag: 0,
            born_ms: now,
            born_host: self.log.config.store_host,
            reconsume_times: 0,
            prepared_position: 0,
            body,
            properties: b"",
            tag_hash: 0,
            keys: "",
            unique_key: "",
        };
        let appended = self.log.append_for(purpose, &message, usize::MAX, now)?;
        Ok(appended.end.0)
    }

    fn settle(&self, up_to: u64, done: Box<dyn FnOnce(Result<(), AppendError>) + Send>) {
        self.log.when_acked(LogPosition(up_to), done);
    }
}
