//! The state behind a dispatcher, and what one record does to it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tracing::{error, warn};

use super::{Arrivals, DispatchConfig, Entry, LogReader};
use crate::error::ReadError;
use crate::health::Health;
use crate::index::Index;
use crate::index::keys::RecentKeys;
use crate::index::recent::{Pushed, RecentEntry};
use crate::queue::{QueueHead, QueueRef};
use crate::queues::{QueueSource, Queues};
use crate::settings::{SettingsState, Table, decode};
use crate::tables::Tables;

/// What the dispatcher and its background thread share.
pub(crate) struct Shared {
    pub(crate) config: DispatchConfig,
    pub(crate) queues: Queues,
    pub(crate) settings: Arc<SettingsState>,
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
    pub(super) held: VecDeque<Entry>,
    /// Records below are in run files already.
    pub(super) index_from: u64,
    /// Records below are in the tables already.
    pub(super) tables_from: u64,
    /// A settings record that cannot be read; the store must not open over it.
    pub(super) refused: Option<(u64, String)>,
}

/// Changes of settings that the tables do not hold yet; the last one of a key counts.
pub(crate) type PendingChanges = HashMap<(Table, Box<str>), Option<Bytes>, RandomState>;

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
                state.refused.get_or_insert((position, error.to_string()));
                return;
            }
        };
        if !live {
            // Whoever appends changes the current values itself.
            self.settings.update(&changes);
        }
        for change in changes {
            if change.table == Table::QueueHeads {
                let queues = if live {
                    // A deletion loads the queues of its topic before it is appended: no disk is asked in the path of the append.
                    self.queues.loaded_of(&change.key)
                } else {
                    match self.queues.of_topic(&change.key, self) {
                        Ok(queues) => queues,
                        Err(error) => {
                            state.refused.get_or_insert((position, error.to_string()));
                            return;
                        }
                    }
                };
                for queue in queues {
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
}
