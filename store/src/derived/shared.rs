//! The state behind a dispatcher, and what one record does to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_protocol::names::LMQ_PREFIX;
use tracing::{debug, error, warn};

use super::entry::{Arrivals, Entry};
use crate::error::ReadError;
use crate::health::Health;
use crate::index::Index;
use crate::index::keys::RecentKeys;
use crate::index::recent::{Pushed, RecentEntry};
use crate::log_reader::LogReader;
use crate::queue::{QueueHead, QueueRef};
use crate::queues::{QueueSource, Queues};
use crate::settings::{
    Applied, ChangeRef, Declared, FedRow, QUEUE_HEADS, QueueLookUp, RecordPlace, Table, decode,
};
use crate::tables::{Pending, Tables};

/// How the derived files are kept.
#[derive(Clone, Debug)]
pub(crate) struct DispatchConfig {
    /// A run file is written once this many bytes of log were dispatched since the last one.
    pub(crate) run_bytes: u64,
    /// The tables come from a snapshot, and the log does not reach them yet.
    pub(crate) tables_ahead: bool,
    /// Go on although the tables are lost and the log no longer reaches back to its beginning.
    pub(crate) accept_lost_tables: bool,
    /// Seal in a thread of its own; without it somebody calls [`Dispatcher::seal`](super::Dispatcher::seal).
    pub(crate) background: bool,
    /// The tables that the owner of the store has declared.
    pub(crate) tables: Vec<Table>,
}

/// What the dispatcher and its background thread share.
pub(crate) struct Shared {
    pub(crate) config: DispatchConfig,
    pub(crate) queues: Queues,
    pub(crate) declared: Arc<Declared>,
    pub(crate) state: Mutex<State>,
    pub(crate) index: Index,
    pub(crate) tables: Tables,
    pub(crate) health: Arc<Health>,
    pub(crate) log: Arc<dyn LogReader>,
    pub(super) sink: ArcSwapOption<Arc<dyn Arrivals>>,
    /// Everything below was dispatched.
    pub(super) dispatched: AtomicU64,
    /// False while recovery replays the log.
    pub(super) live: AtomicBool,
    /// One seal at a time.
    pub(crate) sealing: Mutex<()>,
    /// Where the log began when light queues were forgotten last.
    pub(super) light_forgotten_to: AtomicU64,
    /// Of everything below, what compaction topics keep was copied in this life.
    pub(super) compacted_to: AtomicU64,
}

/// What changes with every record, behind the dispatcher's lock.
pub(crate) struct State {
    /// Queues that the next seal has to look at.
    pub(crate) touched: Vec<QueueRef>,
    pub(crate) keys: RecentKeys,
    pub(crate) pending: Pending,
    /// What the seal that runs at this moment writes to the tables.
    pub(crate) sealing: Option<Arc<Pending>>,
    /// How many seals have ended.
    pub(crate) seals: u64,
    /// Base of the times in recent entries.
    pub(crate) base_ms: Option<i64>,
    /// Largest store time so far.
    pub(crate) newest_ms: i64,
    /// Records that were handed over before they were confirmed.
    pub(super) held: VecDeque<Entry>,
    /// Records below are in run files already.
    pub(super) index_from: u64,
    /// Records below are in the tables already.
    pub(super) tables_from: u64,
    /// A record that cannot be applied to its tables; the store must not open over it.
    pub(super) refused: Option<(u64, String)>,
}

impl Shared {
    /// Everything below this position was dispatched.
    pub(crate) fn dispatched(&self) -> u64 {
        self.dispatched.load(Ordering::Acquire)
    }

    /// One record, under the dispatcher's lock.
    pub(super) fn take(&self, state: &mut State, entry: &Entry, live: bool) {
        let queue = &entry.queue;
        let max = queue.max_offset();
        if entry.position >= state.index_from {
            if !enter(state, entry, queue, entry.queue_offset) {
                return;
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
                self.take_settings(state, entry, body, live);
            }
            if let Some(rows) = &entry.fed {
                self.take_rows(state, entry, rows, live);
            }
        }
        if entry.queue_offset >= max {
            queue.set_max(entry.queue_offset + 1);
        }
        for (queue, offset) in entry.further.iter().flatten() {
            take_further(state, entry, queue, *offset);
        }
    }

    fn take_rows(&self, state: &mut State, entry: &Entry, rows: &[FedRow], live: bool) {
        let place = RecordPlace {
            position: entry.position,
            queue_offset: entry.queue_offset,
            store_ms: entry.store_ms,
        };
        let end = LogPosition(entry.end());
        let taken = rows
            .iter()
            .try_for_each(|row| self.take_fed(state, row, place, end, live));
        if let Err(error) = taken {
            let position = entry.position;
            error!(position, %error, "what follows from a message cannot be applied");
            if live {
                self.health.poison(format!(
                    "what follows from the message at log position {position} cannot be applied: {error}"
                ));
            } else {
                state.refused.get_or_insert((position, error.to_string()));
            }
        }
    }

    /// Sets or removes a row of a record. `end`: where the record ends.
    pub(super) fn take_fed(
        &self,
        state: &mut State,
        row: &FedRow,
        place: RecordPlace,
        end: LogPosition,
        live: bool,
    ) -> Result<(), ReadError> {
        let (key, value) = row.at(place);
        if let Some(value) = value.as_deref().filter(|_| row.is_newest()) {
            state.pending.put_newest(row.table(), &key, value);
            return Ok(());
        }
        let change = ChangeRef {
            table: row.table(),
            key: &key,
            value: value.as_deref(),
        };
        let look_up = |topic: &str, id| self.queues.get_or_create(topic, id, self);
        let queues: Option<&QueueLookUp<'_>> = if live { Some(&look_up) } else { None };
        self.take_change(state, &change, end, place.store_ms, queues)
    }

    fn take_settings(&self, state: &mut State, entry: &Entry, body: &[u8], live: bool) {
        if let Err(problem) = self.apply_settings(state, entry, body, live) {
            let position = entry.position;
            error!(position, %problem, "a settings record cannot be applied");
            if live {
                // What is derived from the log would not say what the log says.
                self.health.poison(format!(
                    "the settings record at log position {position} cannot be applied: {problem}"
                ));
            } else {
                state.refused.get_or_insert((position, problem));
            }
        }
    }

    fn apply_settings(
        &self,
        state: &mut State,
        entry: &Entry,
        body: &[u8],
        live: bool,
    ) -> Result<(), String> {
        let changes = decode(body, &self.declared).map_err(|error| error.to_string())?;
        let look_up = |topic: &str, id| self.queues.get_or_create(topic, id, self);
        for change in changes {
            if change.table == QUEUE_HEADS {
                self.delete_queues(state, change.text())
                    .map_err(|error| error.to_string())?;
            } else {
                self.take_change(
                    state,
                    &change,
                    LogPosition(entry.end()),
                    entry.store_ms,
                    live.then_some(&look_up),
                )
                .map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// Applies a change to its table, and notes it for the tables on disk.
    pub(super) fn take_change(
        &self,
        state: &mut State,
        change: &ChangeRef<'_>,
        end: LogPosition,
        store_ms: i64,
        queues: Option<&QueueLookUp<'_>>,
    ) -> Result<(), ReadError> {
        let (table, value) = (change.table, change.value);
        if self.declared.get(table).is_some_and(Table::is_on_disk) {
            state.pending.put_on_disk(table, change.key, value);
            self.declared.changed(table, change.key, value.is_some());
            return Ok(());
        }
        let key = change.text();
        let applied = Applied::new(key, value, end).at(store_ms, queues);
        self.declared.apply(table, &applied)?;
        state.pending.put(table, key, value);
        Ok(())
    }

    /// Who deletes loads the queues of the topic before, so that no disk is asked in the path of the append.
    fn delete_queues(&self, state: &mut State, topic: &str) -> Result<(), ReadError> {
        for queue in self.queues.of_deleted(topic, self)? {
            let below = queue.max_offset();
            queue.raise_floor(below);
            let (topic, id) = (queue.topic(), queue.queue_id());
            state.pending.delete_below(topic, id, below);
            if queue.touch() {
                state.touched.push(queue);
            }
        }
        Ok(())
    }

    /// Brings the bounds of a queue in line with runs and recents after a replay.
    pub(super) fn settle(&self, queue: &QueueRef) -> Result<(), ReadError> {
        let recent = queue.recent().lock();
        let recent_first = (!recent.is_empty()).then(|| recent.first());
        drop(recent);
        let oldest = self
            .first_in_runs(queue.topic(), queue.queue_id())?
            .or(recent_first);
        let max = queue.max_offset();
        queue.set_next_offset(max.saturating_add(self.unseen_after(queue.head().last)));
        queue.set_min(oldest.unwrap_or(max).max(queue.floor()).min(max));
        Ok(())
    }
}

/// Puts a record into the recent entries of a queue. False when another one has its offset.
#[inline]
fn enter(state: &mut State, entry: &Entry, queue: &QueueRef, offset: i64) -> bool {
    let max = queue.max_offset();
    let base = *state.base_ms.get_or_insert(entry.store_ms);
    state.newest_ms = state.newest_ms.max(entry.store_ms);
    let kept = RecentEntry {
        position: entry.position,
        tag_hash: entry.tag_hash,
        size: entry.size,
        time: u32::try_from(entry.store_ms - base).unwrap_or(u32::MAX),
    };
    let position = entry.position;
    let pushed = queue.recent().lock().push(offset, kept, max);
    match pushed {
        Pushed::Dense => {}
        Pushed::AfterGap if queue.min_offset() == max && queue.topic().starts_with(LMQ_PREFIX) => {
            // Another member, which was the master, had forgotten the empty queue.
            debug!(?queue, offset, "the light queue goes on");
            queue.raise_min(offset);
        }
        Pushed::AfterGap => {
            warn!(
                ?queue,
                offset, position, "the log has lost messages of this queue before this one"
            );
            if queue.log_min() == max {
                queue.raise_min(offset);
            }
        }
        Pushed::Restarted => {
            error!(
                ?queue,
                offset, position, "the offsets of this queue jump; what is before is given up"
            );
            queue.raise_min(offset);
        }
        Pushed::Taken => {
            error!(
                ?queue,
                offset, position, "two records have this offset; the later one is not readable"
            );
            return false;
        }
    }
    true
}

/// As [`Shared::take`], for a further queue of a record.
fn take_further(state: &mut State, entry: &Entry, queue: &QueueRef, offset: i64) {
    if offset < queue.max_offset() && queue.is_unused() {
        // Somebody waits at a queue that began where this member would have begun it.
        queue.begin_at(offset);
    }
    if entry.position >= state.index_from && !enter(state, entry, queue, offset) {
        return;
    }
    if queue.touch() {
        state.touched.push(queue.clone());
    }
    if entry.position >= state.tables_from {
        queue.set_last(entry.position);
    }
    if offset >= queue.max_offset() {
        queue.set_max(offset + 1);
    }
}

impl QueueSource for Shared {
    fn head(&self, topic: &str, queue_id: i32) -> Result<Option<QueueHead>, ReadError> {
        self.tables.head(topic, queue_id)
    }

    fn heads_of(&self, topic: &str) -> Result<Vec<(i32, QueueHead)>, ReadError> {
        self.tables.heads_of(topic)
    }

    fn unseen_after(&self, last: u64) -> i64 {
        self.log.records_unseen_from(last)
    }

    fn oldest_offset(
        &self,
        topic: &str,
        queue_id: i32,
        head: &QueueHead,
    ) -> Result<Option<i64>, ReadError> {
        // Most idle queues have nothing left in the log: no run needs to be asked.
        if head.last <= self.log.start() && head.last != 0 {
            return Ok(None);
        }
        self.first_in_runs(topic, queue_id)
    }

    fn kept_from(&self, topic: &str, queue_id: i32, from: i64) -> Result<Option<i64>, ReadError> {
        self.tables.first_copy(topic, queue_id, from, i64::MAX)
    }
}
