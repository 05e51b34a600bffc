//! From the log to everything derived from it: the index, the tables, and those who wait for a message.
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
mod by_key;
pub(crate) mod by_time;
mod compact;
mod entry;
mod error;
mod light;
pub(crate) mod look_up;
mod rows;
mod seal;
mod shared;
mod worker;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_protocol::message::{RecordView, properties, property, tag_hash};
use smallvec::SmallVec;

use self::by_key::KeyQuery;
use self::by_time::Boundary;
pub(crate) use self::entry::Entry;
pub use self::entry::{Arrival, Arrivals};
pub use self::error::DispatchError;
use self::look_up::Located;
use self::seal::SealError;
pub(crate) use self::shared::DispatchConfig;
use self::shared::{Shared, State};
use self::worker::Worker;
use crate::compacted;
use crate::error::ReadError;
use crate::fs::Fs;
use crate::further::{self, Further, LIGHT_QUEUE_ID};
use crate::health::Health;
use crate::index::keys::{KeyKind, RecentKeys, key_hashes};
use crate::index::{Index, RunDamaged};
use crate::log_reader::LogReader;
use crate::queue::QueueRef;
use crate::queues::Queues;
use crate::settings::{Declared, FedRecord, Row, SETTINGS_TOPIC, Table};
use crate::tables::{KeyValue, Look, Pending, RowsOf, Tables, TablesError};

/// So many damaged messages at the beginning of a queue are passed over to find its oldest store time.
const DAMAGED_FIRST_MAX: usize = 1_000;

/// Feeds everything that is derived from the log.
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    worker: Worker,
}

impl Dispatcher {
    /// Opens what was derived from the log so far. Afterwards the log is to be replayed from [`replay_from`](Self::replay_from), and
    /// [`finish_replay`](Self::finish_replay) called.
    /// `settled` is called before a file is removed.
    pub(crate) fn open<E: From<DispatchError>>(
        dir: &Path,
        fs: Arc<dyn Fs>,
        log: Arc<dyn LogReader>,
        config: DispatchConfig,
        health: Arc<Health>,
        settled: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        let accept_lost = config.accept_lost_tables;
        let declared = Arc::new(Declared::new(&compacted::with_own(&config.tables)));
        let tables = Tables::open(dir, &fs, log.as_ref(), accept_lost, &declared, &health)
            .map_err(DispatchError::from)?;
        settled()?;
        let index = Index::open(dir, fs, log.as_ref()).map_err(|problem| DispatchError::Index {
            dir: dir.to_owned(),
            problem,
        })?;
        tables.load().map_err(DispatchError::from)?;
        let light = tables.light_heads().map_err(DispatchError::from)?;
        let state = State {
            touched: Vec::new(),
            keys: RecentKeys::default(),
            pending: Pending::default(),
            sealing: None,
            seals: 0,
            base_ms: None,
            newest_ms: 0,
            held: VecDeque::new(),
            index_from: index.end(),
            tables_from: tables.applied_to(),
            refused: None,
        };
        let in_files = match config.tables_ahead {
            true => state.index_from,
            false => state.index_from.max(state.tables_from),
        };
        let dispatched = in_files.max(log.start());
        let shared = Arc::new(Shared {
            config,
            queues: Queues::with_light(light),
            declared,
            state: Mutex::new(state),
            index,
            tables,
            health,
            log,
            sink: ArcSwapOption::empty(),
            dispatched: AtomicU64::new(dispatched),
            live: AtomicBool::new(false),
            sealing: Mutex::new(()),
            light_forgotten_to: AtomicU64::new(0),
            compacted_to: AtomicU64::new(0),
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
        let shared = &self.shared;
        match shared.config.tables_ahead {
            true => shared.index.end(),
            false => shared.index.end().max(shared.tables.applied_to()),
        }
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

    /// The replay is over: the visible ranges are settled, offsets continue after the newest message. `end` is the end of the log, of which
    /// everything below `confirmed` was applied. [`start`](Self::start) is to follow.
    pub(crate) fn finish_replay(&self, end: u64, confirmed: u64) -> Result<(), DispatchError> {
        let shared = &self.shared;
        if let Some((position, problem)) = shared.state.lock().refused.take() {
            return Err(DispatchError::Settings { position, problem });
        }
        let tables_are_lost = shared.tables.applied_to() > end && !shared.config.tables_ahead;
        if tables_are_lost || shared.index.end() > end {
            return Err(DispatchError::AheadOfLog {
                tables: shared.tables.applied_to(),
                index: shared.index.end(),
                log: end,
            });
        }
        shared.dispatched.fetch_max(confirmed, Ordering::AcqRel);
        shared.heal();
        let again = shared.find_again()?;
        for queue in shared.queues.all_loaded() {
            shared.settle(&queue)?;
        }
        if let Some(again) = again {
            shared.take_settings_again(again)?;
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

    /// Takes records in log order; empties `entries`. What ends above `confirmed` is kept back until a later call.
    ///
    /// Calls the arrivals sink, so no lock of the store may be held; where batches must be kept in order by a lock, use
    /// [`collect`](Self::collect) under it and [`announce`](Self::announce) after it.
    pub(crate) fn apply(&self, entries: &mut Vec<Entry>, confirmed: u64) {
        let mut arrivals = Vec::new();
        self.collect(entries, || confirmed, &mut arrivals);
        self.announce(&mut arrivals);
    }

    /// As [`apply`](Self::apply), but leaves the arrivals to the caller. `confirmed` is asked under the lock of the dispatcher: a caller
    /// that has moved it and brings no entries is either seen by the caller that brings them, or comes later.
    pub(crate) fn collect(
        &self,
        entries: &mut Vec<Entry>,
        confirmed: impl FnOnce() -> u64,
        arrivals: &mut Vec<Arrival>,
    ) {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        let confirmed = confirmed();
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
            for (queue, offset) in entry.further.iter().flatten() {
                if queue.is_wanted() {
                    arrivals.push(Arrival {
                        offset: *offset,
                        tag_hash: entry.tag_hash,
                        position: entry.position,
                        store_time_ms: entry.store_ms,
                        queue: queue.clone(),
                    });
                }
            }
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
        let (mut names, mut offsets) = ("", "");
        for (name, value) in properties::iter(record.properties()) {
            match name {
                property::TAGS => tags = value,
                property::KEYS => keys = value,
                property::UNIQ_KEY => unique_key = value,
                property::INNER_MULTI_DISPATCH => names = value,
                property::INNER_MULTI_QUEUE_OFFSET => offsets = value,
                _ => {}
            }
        }
        Ok(Entry {
            further: self.further(&further::places(names, offsets))?,
            queue_offset: record.queue_offset().0,
            position: record.position().0,
            size: record.size() as u32,
            tag_hash: tag_hash(tags),
            store_ms: record.store_ms(),
            keys: key_hashes(topic, keys, unique_key),
            settings: (topic == SETTINGS_TOPIC).then(|| Bytes::copy_from_slice(record.body())),
            fed: self.shared.declared.fed_by(&FedRecord::of(record)),
            queue,
        })
    }

    fn further(&self, places: &[(&str, i64)]) -> Result<Further, ReadError> {
        if places.is_empty() {
            return Ok(None);
        }
        let places = places
            .iter()
            .map(|(topic, offset)| Ok((self.light_of_record(topic, *offset)?, *offset)));
        places.collect::<Result<Box<[_]>, ReadError>>().map(Some)
    }

    /// The light queue that a stored record is in.
    fn light_of_record(&self, topic: &str, offset: i64) -> Result<QueueRef, ReadError> {
        let shared = &*self.shared;
        let queues = &shared.queues;
        queues.light_of_record(topic, LIGHT_QUEUE_ID, offset, shared)
    }

    /// The queue, created when it is not known.
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

    /// How many light queues there are.
    pub(crate) fn light_queues(&self) -> usize {
        self.shared.queues.light()
    }

    /// Where a light queue begins that is not known.
    pub(crate) fn light_begin(&self) -> i64 {
        self.shared.queues.light_begin()
    }

    /// Forgets light queues whose messages have all left the log. See [`light`](self::light).
    pub(crate) fn forget_light(&self) -> Result<u64, SealError> {
        self.shared.forget_light()
    }

    /// Every queue of a topic that ever was, sorted by id.
    pub(crate) fn queues_of(&self, topic: &str) -> Result<Vec<QueueRef>, ReadError> {
        self.shared.queues.of_topic(topic, &*self.shared)
    }

    /// The declared tables.
    pub(crate) fn declared(&self) -> &Arc<Declared> {
        &self.shared.declared
    }

    /// Loads every queue of a topic that is about to be deleted.
    pub(crate) fn load_deleted(&self, topic: &str) -> Result<(), ReadError> {
        self.shared.queues.load_deleted(topic, &*self.shared)
    }

    /// Rows of a table on disk.
    pub(crate) fn rows(
        &self,
        table: &Table,
        from: &[u8],
        to: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<Row>, ReadError> {
        self.shared.rows(table, from, to, max)
    }

    /// Finds up to `count` messages of a queue from offset `from` on and appends them to `out`. Returns the offset to continue at;
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
        if queue.has_kept()
            && let Some(time) = self.shared.oldest_kept_ms(queue)
        {
            return Some(time);
        }
        let mut found = SmallVec::new();
        let mut from = queue.log_min();
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

    /// Writes what was dispatched to the tables and, up to the next segment end, to a run file. See [`seal`](self::seal).
    pub(crate) fn seal(&self) -> Result<bool, SealError> {
        self.shared.seal()
    }

    /// Brings everything that was dispatched to the disk, the heads of queues included. See [`seal`](self::seal).
    pub(crate) fn seal_all(&self) -> Result<(), SealError> {
        self.shared.seal_heads()?;
        while self.shared.seal()? {}
        Ok(())
    }

    /// Seals if enough was dispatched since the last run, or a segment is complete; heals and merges runs.
    pub(crate) fn maybe_seal(&self) -> Result<(), SealError> {
        self.shared.maintain()
    }

    /// Shows the messages of a queue that are kept beyond their segments, in a range of offsets and in order, until `visit` says no. Below the
    /// minimum of the log nothing else of the queue is there.
    pub(crate) fn kept(
        &self,
        queue: &QueueRef,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(i64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        self.shared.kept(queue, from, to, visit)
    }

    /// Whether there are, or were, messages of compaction topics.
    pub(crate) fn has_compacted(&self) -> bool {
        self.shared.tables.has_compacted()
    }

    /// Whether the tables have what compaction topics keep of the log below `position`.
    pub(crate) fn is_compacted_below(&self, position: u64) -> bool {
        self.shared.is_compacted_below(position)
    }

    /// Copies into the tables what compaction topics keep of the log below `position`, for who takes the tables without that log.
    pub(crate) fn compact_below(&self, position: u64) -> Result<(), SealError> {
        self.shared.compact_below(position)
    }

    /// Log segments below `position` are about to be removed: makes the tables durable up to there, copies what compaction topics keep, drops runs,
    /// raises the minima.
    ///
    /// # Errors
    /// The tables could not be made durable; the segments must stay.
    pub(crate) fn drop_below(&self, position: u64) -> Result<(), SealError> {
        self.shared.drop_below(position)
    }

    /// Brings the tables up to what is visible, and looks at all of them.
    pub(crate) fn look_at_tables(&self) -> Result<Look, SealError> {
        self.shared.seal()?;
        Ok(self.shared.tables.look_at_all()?)
    }

    /// Rows of a look at the tables that follow a key, of at most `bytes_max` bytes, or one.
    pub(crate) fn rows_behind(
        &self,
        look: &Look,
        of: &RowsOf,
        key: Option<&[u8]>,
        bytes_max: usize,
    ) -> Result<Vec<KeyValue>, TablesError> {
        self.shared.tables.rows_behind(look, of, key, bytes_max)
    }

    /// The log has come up to the tables, which came from a snapshot: what it has of each queue is what can be read.
    pub(crate) fn settle_queues(&self) -> Result<(), ReadError> {
        let queues = self.shared.queues.all_loaded();
        queues
            .iter()
            .try_for_each(|queue| self.shared.settle(queue))
    }

    /// Ends the background work and writes the tables and a last run, so that the next start replays next to nothing. Nothing is written
    /// by this dispatcher afterwards.
    pub(crate) fn close(&self) -> Result<(), SealError> {
        self.worker.stop();
        let sealed = (|| {
            while self.shared.seal()? {}
            Ok(())
        })();
        self.shared.tables.close();
        sealed
    }

    /// Ends the background work and writes nothing, now or later.
    pub(crate) fn abandon(&self) {
        self.worker.stop();
        self.shared.tables.abandon();
    }
}

#[cfg(test)]
mod tests;
