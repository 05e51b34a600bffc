//! The delay levels: which messages wait at each, and how far each has delivered.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rmq_protocol::message::{QueueOffset, property};
use rmq_protocol::names::SCHEDULE_TOPIC;
use rmq_store::{
    AllMessages, QueueRef, ReadError, ReadLimits, RecordSlice, SettingsError, Temperature,
};
use tokio::sync::Notify;

use super::stamp::Stamp;
use crate::clock_watch::Moment;
use crate::data::Data;
use crate::messages::copy;
use crate::stats::classes::Classes;
use crate::tables::delay::{self, DelayTable};

/// Messages looked at at once. Each level holds so much of them, whatever connections hold.
pub(super) const READ: ReadLimits = ReadLimits {
    messages_max: 128,
    bytes_max: 1 << 20,
    scan_entries_max: 128,
};

/// Classes of [`DelayLevels::lateness`].
const LATENESS_BOUNDS_MS: [u64; 13] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000,
];

/// The levels and how far each has delivered.
pub(crate) struct DelayLevels {
    store: Data,
    pub(crate) table: Arc<DelayTable>,
    /// The configured levels.
    configured: Vec<Level>,
    /// Those that were configured once and may still hold messages. A replica has none: others may come with the log.
    leftover: OnceLock<Vec<Level>>,
    /// Messages that came due after their topic had been deleted, since the start.
    pub(crate) dropped: AtomicU64,
    /// Of the messages that were delivered: milliseconds after they were due.
    pub(crate) lateness: Classes,
}

pub(super) struct Level {
    pub(super) number: usize,
    /// `None`: the level is not configured any more.
    pub(super) delay_ms: Option<i64>,
    pub(super) queue: QueueRef,
    /// Next offset to deliver.
    pub(super) next: AtomicI64,
    /// What was appended last.
    saved: Mutex<i64>,
    pub(super) arrived: Notify,
}

impl Level {
    fn new(
        store: &Data,
        table: &DelayTable,
        number: usize,
        delay_ms: Option<i64>,
    ) -> Result<Self, ReadError> {
        let saved = table.next(number);
        Ok(Self {
            number,
            delay_ms,
            queue: store.queue(SCHEDULE_TOPIC, number as i32 - 1)?,
            next: AtomicI64::new(saved),
            saved: Mutex::new(saved),
            arrived: Notify::new(),
        })
    }

    /// The next offset to deliver. On a replica the log says how far the master is.
    pub(super) fn next(&self, table: &DelayTable) -> i64 {
        let known = self.next.load(Ordering::Acquire);
        known.max(table.next(self.number))
    }

    fn waiting(&self, table: &DelayTable) -> i64 {
        self.queue.max_offset() - self.next(table)
    }
}

/// A message that is to wait.
pub(crate) struct Delayed {
    pub(crate) queue: QueueRef,
    pub(crate) properties: String,
}

impl DelayLevels {
    /// # Errors
    /// The queues of the levels cannot be looked up.
    pub(crate) fn load(
        store: &Data,
        table: Arc<DelayTable>,
        delays_ms: &[i64],
    ) -> Result<Self, ReadError> {
        let levels = delays_ms.iter().enumerate();
        let levels =
            levels.map(|(index, delay)| Level::new(store, &table, index + 1, Some(*delay)));
        let levels = Self {
            lateness: Classes::new(&LATENESS_BOUNDS_MS),
            configured: levels.collect::<Result<_, _>>()?,
            leftover: OnceLock::new(),
            store: store.clone(),
            table,
            dropped: AtomicU64::new(0),
        };
        if store.master().is_ok() {
            levels.find_leftover()?;
        }
        Ok(levels)
    }

    /// Looks which levels there are besides the configured ones, when this broker becomes the master.
    ///
    /// # Errors
    /// The queues of the levels cannot be looked up.
    pub(crate) fn find_leftover(&self) -> Result<(), ReadError> {
        let mut leftover = Vec::new();
        for queue in self.store.queues_of(SCHEDULE_TOPIC)? {
            let number = usize::try_from(queue.queue_id()).map_or(0, |id| id + 1);
            if number > self.configured.len() {
                leftover.push(Level::new(&self.store, &self.table, number, None)?);
            }
        }
        // A broker becomes the master once.
        let _ = self.leftover.set(leftover);
        for (delay_level, messages) in self.leftover() {
            tracing::warn!(
                delay_level,
                messages,
                "delayLevels does not have this level any more; its messages are delivered when their delay is over"
            );
        }
        Ok(())
    }

    /// How many levels are configured.
    pub(crate) fn configured(&self) -> usize {
        self.configured.len()
    }

    /// The level with this index, if it is configured.
    pub(super) fn level(&self, index: usize) -> Option<&Level> {
        self.configured.get(index)
    }

    /// The levels that are not configured any more.
    pub(super) fn leftover_levels(&self) -> &[Level] {
        self.leftover.get().map_or(&[], Vec::as_slice)
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        self.configured.iter().chain(self.leftover_levels())
    }

    /// Number, next offset to deliver and end of each level's queue. Levels that are not configured any more are there while messages wait.
    pub(crate) fn progress(&self) -> Vec<(usize, i64, i64)> {
        let is_there = |level: &&Level| level.delay_ms.is_some() || level.waiting(&self.table) > 0;
        self.levels()
            .filter(is_there)
            .map(|level| {
                let next = level.next(&self.table);
                (level.number, next, level.queue.max_offset())
            })
            .collect()
    }

    /// Levels that `delayLevels` does not have any more: number, and how many messages still wait there. Those without any are left out.
    pub(crate) fn leftover(&self) -> Vec<(usize, i64)> {
        self.leftover_levels()
            .iter()
            .map(|level| (level.number, level.waiting(&self.table)))
            .filter(|(_, waiting)| *waiting > 0)
            .collect()
    }

    /// Log position of the oldest delayed message that is not delivered, as far as the log knows that others are. May wait for the disk.
    pub(crate) fn needed_from(&self) -> Option<u64> {
        let one = ReadLimits {
            messages_max: 1,
            ..READ
        };
        let oldest = |level: &Level| {
            let mut from = self.table.next(level.number).max(level.queue.min_offset());
            while from < level.queue.max_offset() {
                let outcome = self.store.read(
                    &level.queue,
                    QueueOffset(from),
                    one,
                    &AllMessages,
                    Temperature::MayWait,
                );
                if let Some(view) = outcome.records.first().and_then(RecordSlice::view) {
                    return Some(view.position().0);
                }
                if outcome.next_offset <= from {
                    // Where it is cannot be told now: everything stays.
                    return Some(0);
                }
                from = outcome.next_offset;
            }
            None
        };
        self.levels().filter_map(oldest).min()
    }

    /// Where a message goes to wait for `level` (the highest one when there is no such level).
    pub(crate) fn park(
        &self,
        now: Moment,
        text: &str,
        topic: &str,
        queue_id: i32,
        level: i32,
    ) -> Delayed {
        let number = usize::try_from(level)
            .unwrap_or(1)
            .clamp(1, self.configured.len().max(1));
        let level = &self.configured[number - 1];
        let stamp = Stamp {
            parked_ms: now.wall_ms,
            delay_ms: level.delay_ms.unwrap_or(0),
            jumped_ms: now.jumped_ms(),
        };
        let properties = copy::with(
            text,
            &[
                (property::DELAY, Some(&number.to_string())),
                (property::REAL_TOPIC, Some(topic)),
                (property::REAL_QID, Some(&queue_id.to_string())),
                (property::DELAY_STAMP, Some(&stamp.text())),
            ],
        );
        Delayed {
            queue: level.queue.clone(),
            properties,
        }
    }

    /// A message arrived in one of the queues.
    pub(crate) fn arrived(&self, queue_id: i32) {
        if let Some(level) = usize::try_from(queue_id)
            .ok()
            .and_then(|index| self.configured.get(index))
        {
            level.arrived.notify_one();
        }
    }

    /// Puts progress that changed into the log.
    pub(crate) fn save(&self) -> Result<(), SettingsError> {
        let (mut changes, mut saved) = (Vec::new(), Vec::new());
        for level in self.levels() {
            let next = level.next.load(Ordering::Acquire);
            if *level.saved.lock() != next {
                saved.push((level, next));
                changes.push(delay::set(level.number, next));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.store.settings()?.put(&changes)?;
        for (level, next) in saved {
            *level.saved.lock() = next;
        }
        self.store.write_out().map_err(SettingsError::Append)
    }
}
