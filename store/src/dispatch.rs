//! From the log to everything derived from it: the index, the tables, and whoever waits for a message.
//!
//! [`Dispatcher::apply`] takes the records in log order, a batch at a time, in the path of the append: it puts each into the recent
//! entries of its queue, remembers its keys, notes changed settings, moves the visible end of the queue and collects arrivals of
//! queues that somebody waits for. It does no I/O. The durable side (tables, run files) follows beside the message path in
//! [`Dispatcher::seal`].
//!
//! ```text
//!            log position ──────────────────────────────────────────────────────────►
//!   log      [ first ................................................... written end )
//!   runs     [ run ][ run ][ run )                                  everything below is in run files
//!   tables   ............................ P )                       "applied to P", P ≥ end of the runs
//!   recents                       [ ............................ )  in memory, rebuilt by replay at the start
//! ```

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rmq_protocol::message::{RecordView, properties, property, tag_hash};
use smallvec::SmallVec;
use tracing::{error, warn};

use crate::fs::Fs;
use crate::index::keys::{KeyHashes, KeyKind, RecentKeys, key_hashes};
use crate::index::look_up::{Boundary, KeyQuery, Located};
use crate::index::recent::{Pushed, RecentEntry};
use crate::index::seal::SealError;
use crate::index::worker::Worker;
use crate::index::{Index, RunDamaged};
use crate::queue::{QueueHead, QueueRef};
use crate::queues::{QueueSource, Queues};
use crate::settings::{RecordError, SETTINGS_TOPIC, SettingsState, Table, decode};
use crate::tables::{Tables, TablesError};

/// One message became visible. Handed to [`Arrivals`].
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The queue it went to.
    pub queue: QueueRef,
    /// Its offset in that queue.
    pub offset: i64,
    /// Hash of its tag, 0 = no tag.
    pub tag_hash: i64,
    /// Where its record lies in the log.
    pub position: u64,
    /// When it was stored, ms since 1970.
    pub store_time_ms: i64,
}

/// Whoever waits for messages.
pub trait Arrivals: Send + Sync {
    /// Messages of wanted queues became visible. Called outside every lock of the store; in log order within one call. Two calls may
    /// overlap, so an arrival says "at least up to here", and not that nothing later has arrived.
    fn arrived(&self, arrivals: &[Arrival]);
}

/// What dispatch needs to know of one record.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) queue: QueueRef,
    pub(crate) queue_offset: i64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
    pub(crate) store_ms: i64,
    pub(crate) keys: KeyHashes,
    /// The body of a settings record.
    pub(crate) settings: Option<Bytes>,
}

impl Entry {
    fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

/// What the index asks of the log. Positions are those of record starts.
pub(crate) trait LogReader: Send + Sync {
    /// Shows the bytes of the record at `position` to `visit`; false when there is no intact record.
    fn visit(&self, position: u64, visit: &mut dyn FnMut(&[u8])) -> bool;
    /// Store time of the record at `position`, ms since 1970.
    fn store_time(&self, position: u64) -> Option<i64>;
    /// Position of the oldest record that is still kept.
    fn start(&self) -> u64;
    /// Where the segment that holds `position` ends.
    fn segment_end(&self, position: u64) -> u64;
    /// Returns once everything below `up_to` is on the disk.
    fn make_durable(&self, up_to: u64) -> io::Result<()>;
    /// Shows every intact record that starts in `[from, to)`, in log order.
    fn scan(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> io::Result<()>;
}

/// Why what is derived from the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The tables.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The index.
    #[error("the index in {} cannot be opened: {problem}", dir.display())]
    Index {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A settings record that this version cannot read.
    #[error("the settings record at log position {position} cannot be applied: {problem}")]
    Settings {
        /// Where it lies.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// The log is shorter than what was derived from it.
    #[error(
        "the log ends at {log}, but the tables were made from it up to {tables} and the index up to {index}: a part of the log that was durable is missing; \
         restore it, or remove the folder of the derived files to go on with what is left"
    )]
    AheadOfLog {
        /// End of the log.
        log: u64,
        /// Position the tables hold.
        tables: u64,
        /// Position the index holds.
        index: u64,
    },
}

/// How the derived files are kept.
#[derive(Clone, Debug)]
pub(crate) struct DispatchConfig {
    /// A run file is written once this many bytes of log were dispatched since the last one.
    pub(crate) run_bytes: u64,
    /// Go on although the tables are lost and the log no longer reaches back to its beginning.
    pub(crate) accept_lost_tables: bool,
    /// Seal in a thread of its own; without it somebody calls [`Dispatcher::seal`].
    pub(crate) background: bool,
}

/// Feeds everything that is derived from the log.
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    worker: Worker,
}

/// What the dispatcher and its background thread share.
pub(crate) struct Shared {
    pub(crate) config: DispatchConfig,
    pub(crate) queues: Queues,
    pub(crate) settings: Arc<SettingsState>,
    pub(crate) state: Mutex<State>,
    pub(crate) index: Index,
    pub(crate) tables: Tables,
    pub(crate) log: Arc<dyn LogReader>,
    sink: ArcSwapOption<Arc<dyn Arrivals>>,
    /// Everything below was dispatched.
    dispatched: AtomicU64,
    /// False while recovery replays the log.
    live: AtomicBool,
    /// One seal at a time.
    pub(crate) sealing: Mutex<()>,
}

/// What changes with every record, behind the dispatcher's lock.
pub(crate) struct State {
    /// Queues that the next seal has to look at.
    pub(crate) touched: Vec<QueueRef>,
    pub(crate) keys: RecentKeys,
    pub(crate) pending: PendingChanges,
    /// Base of the times in recent entries.
    pub(crate) base_ms: Option<i64>,
    /// Largest store time so far.
    pub(crate) newest_ms: i64,
    /// Records that were handed over before they were confirmed.
    held: VecDeque<Entry>,
    /// Records below are in run files already.
    index_from: u64,
    /// Records below are in the tables already.
    tables_from: u64,
    /// A settings record that cannot be read; the store must not open over it.
    refused: Option<(u64, RecordError)>,
}

/// Changes of settings that the tables do not hold yet; the last one of a key counts.
pub(crate) type PendingChanges = HashMap<(Table, Box<str>), Option<Bytes>, RandomState>;

impl Dispatcher {
    /// Opens what was derived from the log so far. Afterwards the log is to be replayed from [`replay_from`](Self::replay_from), and
    /// [`finish_replay`](Self::finish_replay) called.
    pub(crate) fn open(
        dir: &Path,
        fs: Arc<dyn Fs>,
        log: Arc<dyn LogReader>,
        config: DispatchConfig,
    ) -> Result<Self, DispatchError> {
        let tables = Tables::open(dir, &fs, log.as_ref(), config.accept_lost_tables)?;
        let index = Index::open(dir, fs, log.as_ref()).map_err(|problem| DispatchError::Index {
            dir: dir.to_owned(),
            problem,
        })?;
        let settings = Arc::new(SettingsState::default());
        tables.load_settings(&settings)?;
        let state = State {
            touched: Vec::new(),
            keys: RecentKeys::default(),
            pending: PendingChanges::default(),
            base_ms: None,
            newest_ms: 0,
            held: VecDeque::new(),
            index_from: index.end(),
            tables_from: tables.applied_to(),
            refused: None,
        };
        let dispatched = state.index_from.max(state.tables_from).max(log.start());
        let shared = Arc::new(Shared {
            config,
            queues: Queues::default(),
            settings,
            state: Mutex::new(state),
            index,
            tables,
            log,
            sink: ArcSwapOption::empty(),
            dispatched: AtomicU64::new(dispatched),
            live: AtomicBool::new(false),
            sealing: Mutex::new(()),
        });
        Ok(Self {
            worker: Worker::new(Arc::clone(&shared)),
            shared,
        })
    }

    /// From which position the log must be replayed, if it reaches back that far.
    pub(crate) fn replay_from(&self) -> u64 {
        let state = self.shared.state.lock();
        state.index_from.min(state.tables_from)
    }

    /// The log was durable at least up to here when the derived files were written.
    pub(crate) fn durable_log(&self) -> u64 {
        self.shared.index.end().max(self.shared.tables.applied_to())
    }

    /// What was missing or damaged when the derived files were opened.
    pub(crate) fn rebuilt(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.shared.tables.note().into_iter().collect();
        notes.extend(self.shared.index.notes());
        notes
    }

    /// The replay is over: the visible ranges are settled, offsets continue after the newest message, the background work starts.
    /// `end` is the end of the log.
    pub(crate) fn finish_replay(&self, end: u64) -> Result<(), DispatchError> {
        let shared = &self.shared;
        if let Some((position, error)) = shared.state.lock().refused.take() {
            return Err(DispatchError::Settings {
                position,
                problem: error.to_string(),
            });
        }
        if shared.tables.applied_to() > end || shared.index.end() > end {
            return Err(DispatchError::AheadOfLog {
                tables: shared.tables.applied_to(),
                index: shared.index.end(),
                log: end,
            });
        }
        shared.dispatched.fetch_max(end, Ordering::AcqRel);
        shared.heal();
        for queue in shared.queues.all_loaded() {
            shared.settle(&queue);
        }
        shared.live.store(true, Ordering::Release);
        if shared.config.background {
            self.worker.start();
        }
        Ok(())
    }

    /// Takes records in log order; empties `entries`. What lies at or above `confirmed` is kept back until a later call.
    ///
    /// Calls the arrivals sink, so no lock of the store may be held; where batches must be kept in order by a lock, use
    /// [`collect`](Self::collect) under it and [`announce`](Self::announce) after it.
    pub(crate) fn apply(&self, entries: &mut Vec<Entry>, confirmed: u64) {
        let mut arrivals = Vec::new();
        self.collect(entries, confirmed, &mut arrivals);
        self.announce(&mut arrivals);
    }

    /// As [`apply`](Self::apply), but leaves the arrivals to the caller.
    pub(crate) fn collect(
        &self,
        entries: &mut Vec<Entry>,
        confirmed: u64,
        arrivals: &mut Vec<Arrival>,
    ) {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        if !state.held.is_empty() || entries.last().is_some_and(|last| last.end() > confirmed) {
            state.held.extend(entries.drain(..));
            let ready = state.held.partition_point(|entry| entry.end() <= confirmed);
            entries.extend(state.held.drain(..ready));
        }
        let Some(end) = entries.last().map(Entry::end) else {
            return;
        };
        let live = shared.live.load(Ordering::Acquire);
        for entry in entries.iter() {
            shared.take(&mut state, entry, live);
        }
        shared.dispatched.store(end, Ordering::Release);
        // Pairs with the fence in `QueueRef::set_wanted`.
        fence(Ordering::SeqCst);
        for entry in entries.drain(..) {
            if entry.queue.is_wanted() {
                arrivals.push(Arrival {
                    offset: entry.queue_offset,
                    tag_hash: entry.tag_hash,
                    position: entry.position,
                    store_time_ms: entry.store_ms,
                    queue: entry.queue,
                });
            }
        }
        drop(state);
        if live && end.saturating_sub(shared.index.end()) >= shared.config.run_bytes {
            self.worker.wake();
        }
    }

    /// Hands collected arrivals to the sink. No lock of the store may be held.
    pub(crate) fn announce(&self, arrivals: &mut Vec<Arrival>) {
        if arrivals.is_empty() {
            return;
        }
        if let Some(sink) = self.shared.sink.load().as_ref() {
            sink.arrived(arrivals);
        }
        arrivals.clear();
    }

    /// Who is told of arrivals from now on.
    pub(crate) fn set_arrivals(&self, sink: Arc<dyn Arrivals>) {
        self.shared.sink.store(Some(Arc::new(sink)));
    }

    /// Everything below this position was dispatched.
    pub(crate) fn dispatched(&self) -> u64 {
        self.shared.dispatched()
    }

    /// What dispatch needs of a stored record; the same that the append path hands over for it.
    pub(crate) fn entry_of(&self, record: &RecordView<'_>) -> Entry {
        let topic = record.topic();
        let queue = self.queue(topic, record.queue_id().0);
        let (mut tags, mut keys, mut unique_key) = ("", "", "");
        for (name, value) in properties::iter(record.properties()) {
            match name {
                property::TAGS => tags = value,
                property::KEYS => keys = value,
                property::UNIQ_KEY => unique_key = value,
                _ => {}
            }
        }
        Entry {
            queue_offset: record.queue_offset().0,
            position: record.position().0,
            size: record.size() as u32,
            tag_hash: tag_hash(tags),
            store_ms: record.store_ms(),
            keys: key_hashes(topic, keys, unique_key),
            settings: (topic == SETTINGS_TOPIC).then(|| Bytes::copy_from_slice(record.body())),
            queue,
        }
    }

    /// The queue, created when it never was.
    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> QueueRef {
        self.shared
            .queues
            .get_or_create(topic, queue_id, &*self.shared)
    }

    /// The queue, if it ever was.
    pub(crate) fn find_queue(&self, topic: &str, queue_id: i32) -> Option<QueueRef> {
        self.shared.queues.find(topic, queue_id, &*self.shared)
    }

    /// Every queue of a topic that ever was, sorted by id.
    pub(crate) fn queues_of(&self, topic: &str) -> Vec<QueueRef> {
        self.shared.queues.of_topic(topic, &*self.shared)
    }

    /// The current values of the settings.
    pub(crate) fn settings(&self) -> &Arc<SettingsState> {
        &self.shared.settings
    }

    /// Finds up to `count` messages of a queue from offset `from` on and appends them to `out`. Returns the offset to go on from;
    /// it is beyond the last one found where the log has lost messages. Bounds are those of the queue at this moment.
    ///
    /// # Errors
    /// The run file that holds them is damaged; it is being rebuilt from the log.
    pub(crate) fn locate(
        &self,
        queue: &QueueRef,
        from: i64,
        count: usize,
        out: &mut SmallVec<[Located; 32]>,
    ) -> Result<i64, RunDamaged> {
        self.watch(self.shared.locate(queue, from, count, out))
    }

    /// Positions of records with a key, newest first, each checked against the record itself. Store times are in `[from_ms, to_ms]`.
    pub(crate) fn find_by_key(
        &self,
        topic: &str,
        key: &str,
        kind: KeyKind,
        max: usize,
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<u64> {
        self.shared.find_by_key(&KeyQuery {
            topic,
            key,
            kind,
            max,
            from_ms,
            to_ms,
        })
    }

    /// The offset at a store time.
    pub(crate) fn offset_by_time(
        &self,
        queue: &QueueRef,
        ms: i64,
        boundary: Boundary,
    ) -> Result<i64, RunDamaged> {
        self.watch(self.shared.offset_by_time(queue, ms, boundary))
    }

    /// Store time of the oldest message of a queue, ms since 1970.
    pub(crate) fn earliest_store_time(&self, queue: &QueueRef) -> Option<i64> {
        let mut found = SmallVec::new();
        self.locate(queue, queue.min_offset(), 1, &mut found).ok()?;
        self.shared.log.store_time(found.first()?.position)
    }

    /// Number of run files and their bytes.
    pub(crate) fn index_size(&self) -> (usize, u64) {
        self.shared.index.size()
    }

    /// A damaged run is rebuilt beside the message path.
    fn watch<T>(&self, outcome: Result<T, RunDamaged>) -> Result<T, RunDamaged> {
        if outcome.is_err() {
            self.worker.wake();
        }
        outcome
    }

    /// Writes what was dispatched to the tables and, up to the next segment end, to a run file. See [`seal`](crate::index::seal).
    pub(crate) fn seal(&self) -> Result<bool, SealError> {
        self.shared.seal()
    }

    /// Seals if enough was dispatched since the last run, or a segment is complete; heals and merges runs.
    pub(crate) fn maybe_seal(&self) -> Result<(), SealError> {
        self.shared.maintain()
    }

    /// Log segments below `position` are about to be removed: makes the tables durable up to there, drops runs, raises the minima.
    ///
    /// # Errors
    /// The tables could not be made durable; the segments must stay.
    pub(crate) fn drop_below(&self, position: u64) -> Result<(), SealError> {
        self.shared.drop_below(position)
    }

    /// Ends the background work and writes the tables and a last run, so that the next start replays next to nothing.
    pub(crate) fn close(&self) -> Result<(), SealError> {
        self.worker.stop();
        while self.shared.seal()? {}
        Ok(())
    }

    /// Ends the background work and writes nothing.
    pub(crate) fn abandon(&self) {
        self.worker.stop();
    }
}

impl Shared {
    /// Everything below this position was dispatched.
    pub(crate) fn dispatched(&self) -> u64 {
        self.dispatched.load(Ordering::Acquire)
    }

    /// One record, under the dispatcher's lock.
    fn take(&self, state: &mut State, entry: &Entry, live: bool) {
        let queue = &entry.queue;
        let max = queue.max_offset();
        if entry.position >= state.index_from {
            let base = *state.base_ms.get_or_insert(entry.store_ms);
            state.newest_ms = state.newest_ms.max(entry.store_ms);
            let kept = RecentEntry {
                position: entry.position,
                tag_hash: entry.tag_hash,
                size: entry.size,
                time: u32::try_from(entry.store_ms - base).unwrap_or(u32::MAX),
            };
            let pushed = queue.recent().lock().push(entry.queue_offset, kept, max);
            match pushed {
                Pushed::Dense => {}
                Pushed::AfterGap => {
                    warn!(
                        ?queue,
                        offset = entry.queue_offset,
                        position = entry.position,
                        "the log has lost messages of this queue before this one"
                    );
                    if queue.min_offset() == max {
                        queue.raise_min(entry.queue_offset);
                    }
                }
                Pushed::Restarted => {
                    error!(
                        ?queue,
                        offset = entry.queue_offset,
                        position = entry.position,
                        "the offsets of this queue jump; what is before is given up"
                    );
                    queue.raise_min(entry.queue_offset);
                }
                Pushed::Taken => {
                    error!(
                        ?queue,
                        offset = entry.queue_offset,
                        position = entry.position,
                        "two records have this offset; the later one is not readable"
                    );
                    return;
                }
            }
            for hash in &entry.keys {
                state.keys.push(*hash, entry.position);
            }
        }
        if queue.touch() {
            state.touched.push(queue.clone());
        }
        if entry.position >= state.tables_from {
            queue.set_last(entry.position);
            if let Some(body) = &entry.settings {
                self.take_settings(state, entry.position, body, live);
            }
        }
        if entry.queue_offset >= max {
            queue.set_max(entry.queue_offset + 1);
        }
    }

    fn take_settings(&self, state: &mut State, position: u64, body: &[u8], live: bool) {
        let changes = match decode(body) {
            Ok(changes) => changes,
            Err(error) => {
                error!(position, %error, "a settings record cannot be read");
                state.refused.get_or_insert((position, error));
                return;
            }
        };
        if !live {
            // Whoever appends changes the current values itself.
            self.settings.update(&changes);
        }
        for change in changes {
            if change.table == Table::QueueHeads {
                for queue in self.queues.of_topic(&change.key, self) {
                    queue.raise_floor(queue.max_offset());
                    if queue.touch() {
                        state.touched.push(queue);
                    }
                }
            } else {
                state
                    .pending
                    .insert((change.table, change.key.into_boxed_str()), change.value);
            }
        }
    }

    /// Brings the bounds of a queue in line with runs and recents after a replay.
    fn settle(&self, queue: &QueueRef) {
        let recent = queue.recent().lock();
        let recent_first = (!recent.is_empty()).then(|| recent.first());
        drop(recent);
        let oldest = self
            .first_in_runs(queue.topic(), queue.queue_id())
            .or(recent_first);
        let max = queue.max_offset();
        queue.set_next_offset(max);
        queue.set_min(oldest.unwrap_or(max).max(queue.floor()).min(max));
    }
}

impl QueueSource for Shared {
    fn head(&self, topic: &str, queue_id: i32) -> Option<QueueHead> {
        self.tables.head(topic, queue_id)
    }

    fn heads_of(&self, topic: &str) -> Vec<(i32, QueueHead)> {
        self.tables.heads_of(topic)
    }

    fn oldest_offset(&self, topic: &str, queue_id: i32, head: &QueueHead) -> Option<i64> {
        // Most idle queues have nothing left in the log: no run needs to be asked.
        if head.last <= self.log.start() && head.last != 0 {
            return None;
        }
        self.first_in_runs(topic, queue_id)
    }
}

#[cfg(test)]
mod tests;
