//! The handle of a store: its parts, waiting, expiry, its end. `reading.rs` has what it gives to readers.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rmq_protocol::Incarnation;
use rmq_protocol::message::LogPosition;
use tokio::sync::futures::Notified;
use tokio::sync::watch;

use crate::cold::ColdPool;
use crate::commit_log::{CommitLog, DamagedRange, Done, MendError, Mended, Taker};
use crate::derived::Arrivals;
use crate::epochs::{Epoch, Epochs};
use crate::error::{AppendError, CheckpointError};
use crate::figures::{Positions, StoreStats};
use crate::fs::Lock;
use crate::health::StoreHealth;
use crate::life::{LastEnd, Life};
use crate::recovery::RecoveryReport;
use crate::retention::{self, Removed, RetentionError, RetentionRound};
use crate::sync_times::Syncs;

/// An open store, as far as every role has it: reading, waiting, expiry. [`Master`](crate::Master) appends to it and
/// [`Follower`](crate::Follower) copies into it. Cheap to clone; usable from any thread. [`Store::close`] ends it for all clones.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    log: Arc<CommitLog>,
    identity: Identity,
    cold: ColdPool,
    recovery: RecoveryReport,
    /// See [`Store::awaits_confirmation`]; 0: nothing is awaited any more.
    awaited: AtomicU64,
    lock: Mutex<Option<Box<dyn Lock>>>,
    closed: AtomicBool,
    /// Held by what writes files, so that it has ended when the store is closed: who opens the store next is alone with them.
    writing: RwLock<()>,
}

/// What distinguishes a store from the others of its group.
pub(crate) struct Identity {
    pub(crate) epochs: Epochs,
    pub(crate) incarnation: Incarnation,
    pub(crate) life: Life,
}

impl Store {
    /// The handle on what was opened.
    pub(crate) fn new(
        log: Arc<CommitLog>,
        identity: Identity,
        lock: Box<dyn Lock>,
        report: RecoveryReport,
    ) -> Self {
        let (threads, queue_max) = (log.config.cold_threads, log.config.cold_queue_max);
        let awaited = if report.was_closed { 0 } else { report.end };
        Self(Arc::new(Inner {
            log,
            identity,
            cold: ColdPool::new(threads, queue_max),
            recovery: report,
            awaited: AtomicU64::new(awaited),
            lock: Mutex::new(Some(lock)),
            closed: AtomicBool::new(false),
            writing: RwLock::new(()),
        }))
    }

    /// Does something to the files, unless the store is closed.
    pub(crate) fn while_open<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let _writing = self.0.writing.read();
        (!self.0.closed.load(Ordering::Acquire)).then(work)
    }

    pub(crate) fn log(&self) -> &Arc<CommitLog> {
        &self.0.log
    }

    pub(crate) fn epochs_file(&self) -> &Epochs {
        &self.0.identity.epochs
    }

    /// Whether everything appended below `end` is settled: acknowledged as the configuration promises, and visible. Does the work that is
    /// left on this thread where that takes no waiting for anybody. `None`: [`Store::settle`] is to follow.
    ///
    /// An error says that what is not settled yet never will be.
    #[must_use]
    pub fn try_settle(&self, end: LogPosition) -> Option<Result<(), AppendError>> {
        self.0.log.try_settle(end.0)
    }

    /// Calls `done` once everything appended below `end` is settled, or cannot be: here, or on the thread that gets there. It must not
    /// block, and is called with no lock of the store held.
    pub fn settle(&self, end: LogPosition, done: Done) {
        self.0.log.settle(end.0, done);
    }

    /// Whether everything appended below `end` is flushed: the disk has it, whether or not it is confirmed. Never waits; `None`:
    /// [`Store::flush`] is to follow.
    #[must_use]
    pub fn try_flush(&self, end: LogPosition) -> Option<Result<(), AppendError>> {
        self.0.log.try_flush(end.0)
    }

    /// Has everything appended below `end` flushed soon, whatever the flush mode, and calls `done` then, or when that cannot be. As for
    /// [`Store::settle`], it must not block.
    pub fn flush(&self, end: LogPosition, done: Done) {
        self.0.log.flush(end.0, done);
    }

    /// Whether [`Store::try_settle`] does the work on the thread that calls it, so that it pays to gather appends before the call.
    #[must_use]
    pub fn settles_in_place(&self) -> bool {
        self.0.log.settles_in_place()
    }

    /// Has everything appended before settled soon; use [`Store::settle`] to know when. Where the thread that calls it can do that, it is
    /// done afterwards.
    ///
    /// # Errors
    /// When writing failed, now or before.
    pub fn write_out(&self) -> Result<(), AppendError> {
        self.0.log.write_out()
    }

    /// Waits until everything below `end` is settled.
    ///
    /// # Errors
    /// When writing or syncing failed.
    pub async fn settled(&self, end: LogPosition) -> Result<(), AppendError> {
        if let Some(settled) = self.try_settle(end) {
            return settled;
        }
        let (done, settled) = tokio::sync::oneshot::channel();
        self.settle(
            end,
            Box::new(move |outcome| {
                // The waiter may have gone away.
                let _ = done.send(outcome);
            }),
        );
        settled.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Threads for reads that wait for the disk.
    #[must_use]
    pub fn cold_pool(&self) -> &ColdPool {
        &self.0.cold
    }

    /// Tells `sink` of every message that becomes visible in a wanted queue.
    pub fn set_arrivals(&self, sink: Arc<dyn Arrivals>) {
        self.0.log.dispatcher.set_arrivals(sink);
    }

    /// Newest store time that was found when the store was opened, or became a master's, Unix milliseconds; 0 in a new store.
    #[must_use]
    pub fn newest_found_ms(&self) -> i64 {
        self.0.log.files.positions.newest_ms.load(Ordering::Acquire)
    }

    /// How far the store has come.
    #[must_use]
    pub fn positions(&self) -> Positions {
        Positions::of(&self.0.log)
    }

    /// End of what is written: [`Positions::written`], for who looks with each message.
    #[must_use]
    pub fn written(&self) -> LogPosition {
        let positions = &self.0.log.files.positions;
        LogPosition(positions.written.load(Ordering::Acquire))
    }

    /// End of what is durable: [`Positions::flushed`].
    #[must_use]
    pub fn flushed(&self) -> LogPosition {
        let positions = &self.0.log.files.positions;
        LogPosition(positions.flushed.load(Ordering::Acquire))
    }

    /// End of what can no longer be truncated: [`Positions::confirmed`].
    #[must_use]
    pub fn confirmed(&self) -> LogPosition {
        let positions = &self.0.log.files.positions;
        LogPosition(positions.confirmed.load(Ordering::Acquire))
    }

    /// The confirmed position as it moves.
    #[must_use]
    pub fn watch_confirmed(&self) -> watch::Receiver<u64> {
        self.0.log.files.watch_confirmed()
    }

    /// Waits for the next progress of what is written, flushed or confirmed, from this call on: look at [`positions`](Self::positions)
    /// after the call and before waiting. It costs who writes next to nothing, however many wait.
    pub fn progressed(&self) -> Notified<'_> {
        self.0.log.files.progressed()
    }

    /// From now on this one is offered what is written, as long as it lives. What was written before is not: look at
    /// [`positions`](Self::positions) after the call.
    pub fn add_taker(&self, taker: &Arc<dyn Taker>) {
        self.0.log.takers.add(taker);
    }

    /// Undoes [`add_taker`](Self::add_taker).
    pub fn remove_taker(&self, taker: &Arc<dyn Taker>) {
        self.0.log.takers.remove(taker);
    }

    /// The tables are those at this position, from a snapshot, and the log below it is not all here yet: nothing should be read from this
    /// store, and it cannot become the master. `None`: the store is whole.
    #[must_use]
    pub fn incomplete_below(&self) -> Option<LogPosition> {
        self.0.log.incomplete_below().map(LogPosition)
    }

    /// Whether index and tables may have less than readers saw before: a follower's process ended without closing its store, and what its log
    /// had then is not confirmed again yet. What is found is right; what is not found may be there.
    #[must_use]
    pub fn awaits_confirmation(&self) -> bool {
        let awaited = self.0.awaited.load(Ordering::Acquire);
        if awaited == 0 {
            return false;
        }
        let Positions {
            appended,
            dispatched,
            ..
        } = self.positions();
        // A part of it may have been cut off since.
        let awaits = dispatched < awaited.min(appended);
        if !awaits {
            self.0.awaited.store(0, Ordering::Release);
        }
        awaits
    }

    /// Which masters have written the log, oldest first; the last one's epoch is still written.
    #[must_use]
    pub fn epochs(&self) -> Vec<Epoch> {
        self.0.identity.epochs.list()
    }

    /// The number of the newest epoch of the log.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.identity.epochs.current()
    }

    /// Which data these are.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.0.identity.incarnation
    }

    /// How the life before this one ended.
    #[must_use]
    pub fn last_end(&self) -> LastEnd {
        self.0.identity.life.last_end()
    }

    /// Whether the life before this one was a follower's.
    pub(crate) fn has_followed(&self) -> bool {
        self.0.identity.life.has_followed()
    }

    /// From where on a power cut may have taken log that this store had written, and told others so, but had not flushed. It stays so over
    /// later starts until [`settle_doubt`](Self::settle_doubt). `None`: nothing that this store ever had is missing.
    #[must_use]
    pub fn doubt(&self) -> Option<LogPosition> {
        self.0.identity.life.doubt()
    }

    /// Whether nothing is in [`doubt`](Self::doubt).
    #[must_use]
    pub fn started_clean(&self) -> bool {
        self.doubt().is_none()
    }

    /// What was in doubt is decided, durably: nobody counts on what this store had before its start, or this store has all of it again.
    ///
    /// # Errors
    /// The file cannot be written; the doubt stays.
    pub fn settle_doubt(&self) -> std::io::Result<()> {
        let settled = self.while_open(|| self.0.identity.life.settle_doubt());
        settled.unwrap_or_else(|| Err(std::io::Error::other("the store is closed")))
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

    /// Waits until more of the log is found damaged, from this call on: look at [`damage`](Self::damage) after the call and before waiting.
    pub fn damage_found(&self) -> Notified<'_> {
        self.0.log.files.damage_found()
    }

    /// Writes what lies in a damaged `range` again: `bytes` are whole records from `position` on, of a member whose log is the same up to there and
    /// beyond. [`mended`](Self::mended) is to follow, once for any number of pieces. Blocks.
    ///
    /// # Errors
    /// See [`MendError`]: no intact record is ever written over.
    pub fn mend(
        &self,
        range: DamagedRange,
        position: LogPosition,
        bytes: &[u8],
    ) -> Result<(), MendError> {
        let confirmed = self.positions().confirmed;
        if range.to > confirmed {
            return Err(MendError::NotDamaged {
                position: range.to.max(confirmed),
            });
        }
        let files = &self.0.log.files;
        self.while_open(|| files.mend(range, position.0, bytes))
            .unwrap_or(Err(MendError::Closed))
    }

    /// Makes durable what was written into a damaged range, and looks what of the range is damaged still. What is not is read again from now on.
    /// Blocks.
    ///
    /// # Errors
    /// [`MendError::Io`], [`MendError::Closed`]: the range stays damaged as far as this store knows.
    pub fn mended(&self, range: DamagedRange) -> Result<Mended, MendError> {
        self.while_open(|| self.0.log.files.mended(range))
            .unwrap_or(Err(MendError::Closed))
    }

    /// How long making the log durable took.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        self.0.log.files.sync_times.read()
    }

    /// Figures; asks the file system.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        StoreStats::of(&self.0.log, self.0.recovery.took)
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

    /// Keeps messages for another time from the next [`Store::run_retention`] on; [`StoreConfig::retention_ms`](crate::StoreConfig::retention_ms) is what it begins with.
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

    /// Takes larger or only smaller bodies from the next append on; [`StoreConfig::body_bytes_max`](crate::StoreConfig::body_bytes_max) is what it begins with.
    pub fn set_body_bytes_max(&self, bytes: usize) {
        self.0.log.body_bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// Up to which log position the next [`Store::run_retention`] would remove if nothing were needed: for who has to look long for what is needed.
    /// `None`: nothing.
    #[must_use]
    pub fn wanted_below(&self, now_ms: Option<i64>) -> Option<LogPosition> {
        retention::wanted_below(&self.0.log, now_ms).map(LogPosition)
    }

    /// Removes what has expired and is not needed any more. Blocks; call it where that is fine.
    ///
    /// # Errors
    /// See [`RetentionError`].
    pub fn run_retention(
        &self,
        round: impl Into<RetentionRound>,
    ) -> Result<Removed, RetentionError> {
        let round = round.into();
        self.while_open(|| self.expire(round))
            .unwrap_or(Ok(Removed::default()))
    }

    fn expire(&self, round: RetentionRound) -> Result<Removed, RetentionError> {
        // Told in the log, and tried again by the next round.
        let _ = self.0.log.files.store_damage();
        let removed = retention::run(&self.0.log, round)?;
        if removed.segments > 0
            && let Err(error) = self.0.identity.epochs.forget_below(self.positions().min)
        {
            tracing::warn!(%error, "epochs whose messages have all expired stay known for now");
        }
        match self.0.log.dispatcher.forget_light() {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "light queues without messages are forgotten"),
            Err(error) => {
                tracing::warn!(%error, "light queues without messages stay known for now");
            }
        }
        Ok(removed)
    }

    /// Brings tables and index on disk up to everything visible now, so that the next start reads next to nothing. It happens by
    /// itself about every [`StoreConfig::index_run_bytes`](crate::StoreConfig::index_run_bytes) and in [`Store::close`]. Blocks.
    ///
    /// # Errors
    /// A file could not be written. Nothing is lost, and it is tried again.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        let dispatcher = &self.0.log.dispatcher;
        let bring_up = || {
            while dispatcher.seal()? {}
            dispatcher.maybe_seal()
        };
        let failed = |reason| CheckpointError { reason };
        self.while_open(|| bring_up().map_err(|error| failed(error.to_string())))
            .unwrap_or_else(|| Err(failed("the store is closed".to_owned())))
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
        // Nobody writes files from here on but this thread, also not later: the store may be opened again at once, by whoever.
        drop(self.0.writing.write());
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
            // Without the doubts of this start the next one must not take the store for whole.
            let noted = self.0.identity.life.write();
            if let Err(error) = noted.and_then(|()| self.0.log.seal_watermark()) {
                tracing::warn!("it is not noted that the store was closed: {error}");
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
        drop(self.0.writing.write());
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
