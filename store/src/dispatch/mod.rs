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

mod again;
mod entry;
mod error;
mod shared;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::message::{RecordView, properties, property, tag_hash};
use smallvec::SmallVec;

pub use self::entry::{Arrival, Arrivals};
pub(crate) use self::entry::{Entry, LogReader};
pub use self::error::DispatchError;
pub(crate) use self::shared::{PendingChanges, Shared, State};
use crate::error::ReadError;
use crate::fs::Fs;
use crate::health::Health;
use crate::index::by_key::KeyQuery;
use crate::index::by_time::Boundary;
use crate::index::keys::{KeyKind, RecentKeys, key_hashes};
use crate::index::look_up::Located;
use crate::index::seal::SealError;
use crate::index::worker::Worker;
use crate::index::{Index, RunDamaged};
use crate::queue::QueueRef;
use crate::queues::Queues;
use crate::settings::{SETTINGS_TOPIC, SettingsState};
use crate::tables::Tables;

/// So many damaged messages at the beginning of a queue are passed over to find its oldest store time.
const DAMAGED_FIRST_MAX: usize = 1_000;

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

impl Dispatcher {
    /// Opens what was derived from the log so far. Afterwards the log is to be replayed from [`replay_from`](Self::replay_from), and
    /// [`finish_replay`](Self::finish_replay) called.
    pub(crate) fn open(
        dir: &Path,
        fs: Arc<dyn Fs>,
        log: Arc<dyn LogReader>,
        config: DispatchConfig,
        health: Arc<Health>,
    ) -> Result<Self, DispatchError> {
        let accept_lost = config.accept_lost_tables;
        let tables = Tables::open(dir, &fs, log.as_ref(), accept_lost, &health)?;
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
            health,
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

    /// The newest store time that the runs know, Unix milliseconds.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        let runs = self.shared.index.runs();
        runs.iter().map(|run| run.newest_ms()).max()
    }

    /// What was missing or damaged when the derived files were opened.
    pub(crate) fn rebuilt(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.shared.tables.note().into_iter().collect();
        notes.extend(self.shared.index.notes());
        notes
    }

    /// Up to here the tables know of every queue which offsets its messages have.
    pub(crate) fn heads_to(&self) -> u64 {
        self.shared.tables.applied_to()
    }

    /// The replay is over: the visible ranges are settled, offsets continue after the newest message. `end` is the end of the log.
    /// [`start`](Self::start) is to follow.
    pub(crate) fn finish_replay(&self, end: u64) -> Result<(), DispatchError> {
        let shared = &self.shared;
        if let Some((position, problem)) = shared.state.lock().refused.take() {
            return Err(DispatchError::Settings { position, problem });
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
        let again = shared.find_again()?;
        for queue in shared.queues.all_loaded() {
            shared.settle(&queue)?;
        }
        if let Some(from) = again {
            shared.take_settings_again(from)?;
        }
        shared.live.store(true, Ordering::Release);
        Ok(())
    }

    /// Starts the background work.
    pub(crate) fn start(&self) -> Result<(), DispatchError> {
        if self.shared.config.background {
            self.worker.start().map_err(DispatchError::Thread)?;
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
    pub(crate) fn entry_of(&self, record: &RecordView<'_>) -> Result<Entry, ReadError> {
        let topic = record.topic();
        let queue = self.queue(topic, record.queue_id().0)?;
        let (mut tags, mut keys, mut unique_key) = ("", "", "");
        for (name, value) in properties::iter(record.properties()) {
            match name {
                property::TAGS => tags = value,
                property::KEYS => keys = value,
                property::UNIQ_KEY => unique_key = value,
                _ => {}
            }
        }
        Ok(Entry {
            queue_offset: record.queue_offset().0,
            position: record.position().0,
            size: record.size() as u32,
            tag_hash: tag_hash(tags),
            store_ms: record.store_ms(),
            keys: key_hashes(topic, keys, unique_key),
            settings: (topic == SETTINGS_TOPIC).then(|| Bytes::copy_from_slice(record.body())),
            queue,
        })
    }

    /// The queue, created when it never was.
    pub(crate) fn queue(&self, topic: &str, queue_id: i32) -> Result<QueueRef, ReadError> {
        self.shared
            .queues
            .get_or_create(topic, queue_id, &*self.shared)
    }

    /// The queue, if it ever was.
    pub(crate) fn find_queue(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<QueueRef>, ReadError> {
        self.shared.queues.find(topic, queue_id, &*self.shared)
    }

    /// Every queue of a topic that ever was, sorted by id.
    pub(crate) fn queues_of(&self, topic: &str) -> Result<Vec<QueueRef>, ReadError> {
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
        let mut from = queue.min_offset();
        // What is damaged has no time, and the message after it is the oldest that can be read.
        for _ in 0..DAMAGED_FIRST_MAX {
            found.clear();
            from = self.locate(queue, from, 1, &mut found).ok()?;
            let time = self.shared.log.store_time(found.first()?.position);
            if time.is_some() {
                return time;
            }
        }
        None
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

    /// Brings everything that was dispatched to the disk, the heads of queues included. See [`seal`](crate::index::seal).
    pub(crate) fn seal_all(&self) -> Result<(), SealError> {
        self.shared.seal_heads()?;
        while self.shared.seal()? {}
        Ok(())
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

#[cfg(test)]
mod tests;
