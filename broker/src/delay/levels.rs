//! The delay levels and timers: which messages wait, which were delivered a moment ago, and how one is parked.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use rmq_protocol::message::{QueueOffset, RecordView, properties, property};
use rmq_protocol::names::{SCHEDULE_TOPIC, TIMER_TOPIC};
use rmq_store::{
    AllMessages, Change, QueueRef, ReadError, ReadLimits, ReadOutcome, ReadStatus, SettingsError,
    Temperature,
};

use crate::clock_watch::Moment;
use crate::data::Data;
use crate::messages::copy;
use crate::stats::classes::Classes;
use crate::tables::delay::{self, DelayTable};
use crate::tables::due_key::{Key, TIMERS};
use crate::tables::ids::{DELIVERED, WAITING};
use crate::tables::stamp::{Stamp, WALL};
use crate::tables::waiting::Waiting;

/// Messages of an earlier version looked at at once.
const READ: ReadLimits = ReadLimits {
    messages_max: 512,
    bytes_max: 1 << 20,
    scan_entries_max: 512,
};
/// Rows of a table looked at at once.
const ROWS: usize = 4_096;

/// Classes of [`DelayLevels::lateness`].
const LATENESS_BOUNDS_MS: [u64; 13] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000,
];

/// Why a message that waits is not delivered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Its delivery is in the log.
    Delivered,
    /// It is being recalled.
    Recalled,
}

/// The levels and what waits at each. Timers are level 0.
pub(crate) struct DelayLevels {
    store: Data,
    pub(crate) table: Arc<DelayTable>,
    pub(crate) waiting: Arc<Waiting>,
    /// Level 0 and the configured levels.
    configured: Vec<Level>,
    /// Those that were configured once and may still hold messages. A replica has none: others may come with the log.
    leftover: OnceLock<Vec<Level>>,
    /// Messages whose row is still there and that are not to be delivered, by log position.
    claims: Mutex<HashMap<u64, Claim, RandomState>>,
    /// Claims of the life before are known.
    claimed: Mutex<bool>,
    /// Held while a level [gets ready](Self::lead). Each does so on a thread that may wait, and eighteen at once would be eighteen threads, whose
    /// stacks and heaps stay for seconds.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// The row that held the log back when it was looked for the last time.
    oldest: Mutex<Option<Key>>,
    /// Messages that came due after their topic had been deleted, since the start.
    pub(crate) dropped: AtomicU64,
    /// Of the messages that were delivered: milliseconds after they were due.
    pub(crate) lateness: Classes,
}

pub(super) struct Level {
    pub(super) number: u8,
    /// `None`: the level is not configured any more, or is that of timers.
    pub(super) delay_ms: Option<i64>,
    pub(super) queue: QueueRef,
}

impl Level {
    fn new(store: &Data, number: usize, delay_ms: Option<i64>) -> Result<Self, ReadError> {
        let queue = match number {
            0 => store.queue(TIMER_TOPIC, 0)?,
            _ => store.queue(SCHEDULE_TOPIC, number as i32 - 1)?,
        };
        Ok(Self {
            // At most 64 levels are configured.
            number: u8::try_from(number).unwrap_or(u8::MAX),
            delay_ms,
            queue,
        })
    }
}

/// A message that is to wait.
pub(crate) struct Delayed {
    pub(crate) queue: QueueRef,
    pub(crate) properties: String,
}

/// What a producer asks of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) due_ms: i64,
    /// A time of the wall clock is asked for, and not a delay.
    pub(crate) is_time: bool,
}

impl Timer {
    /// `TIMER_OUT_MS`, as the original computes it (apache/rocketmq `HookUtils.transformTimerMessage`, precision 1000).
    pub(crate) const fn out_ms(self) -> i64 {
        (self.due_ms - 1).div_euclid(1_000) * 1_000
    }
}

impl DelayLevels {
    /// # Errors
    /// The queues of the levels cannot be looked up.
    pub(crate) fn load(
        store: &Data,
        table: Arc<DelayTable>,
        waiting: Arc<Waiting>,
        delays_ms: &[i64],
    ) -> Result<Self, ReadError> {
        let delays = delays_ms.iter().copied().map(Some);
        let levels = std::iter::once(None).chain(delays).enumerate();
        let levels = levels.map(|(number, delay_ms)| Level::new(store, number, delay_ms));
        let levels = Self {
            lateness: Classes::new(&LATENESS_BOUNDS_MS),
            configured: levels.collect::<Result<_, _>>()?,
            leftover: OnceLock::new(),
            claims: Mutex::default(),
            claimed: Mutex::new(false),
            turn: tokio::sync::Mutex::new(()),
            oldest: Mutex::new(None),
            store: store.clone(),
            table,
            waiting,
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
            if number >= self.configured.len() && number < usize::from(u8::MAX) {
                leftover.push(Level::new(&self.store, number, None)?);
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
        self.configured.len() - 1
    }

    /// The level of this number, if it is configured or holds messages.
    pub(super) fn level(&self, number: u8) -> Option<&Level> {
        self.levels().find(|level| level.number == number)
    }

    /// The numbers of the levels that are not configured any more.
    pub(super) fn leftover_levels(&self) -> Vec<u8> {
        let leftover = self.leftover.get().map_or(&[][..], Vec::as_slice);
        leftover.iter().map(|level| level.number).collect()
    }

    fn levels(&self) -> impl Iterator<Item = &Level> {
        let leftover = self.leftover.get().into_iter().flatten();
        self.configured.iter().chain(leftover)
    }

    /// The next offset to deliver of a level that is not that of timers.
    fn next(&self, level: &Level) -> i64 {
        let end = level.queue.max_offset();
        let first = self.first_rows(level.number);
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                tracing::warn!(
                    delay_level = level.number,
                    "which delayed messages wait cannot be looked up now: {error}"
                );
                return end;
            }
        };
        first.iter().map(|(_, offset)| *offset).min().unwrap_or(end)
    }

    /// The first message of a level that waits, by each clock, and its offset in its queue.
    fn first_rows(&self, level: u8) -> Result<Vec<(Key, i64)>, ReadError> {
        let mut found = Vec::new();
        let first = |from: &[u8], to: &[u8]| {
            let rows = self.store.rows(WAITING, from, Some(to), 1)?;
            Ok::<_, ReadError>(rows.first().and_then(|(key, value)| {
                let offset = value.as_ref().try_into().map_or(0, i64::from_le_bytes);
                Some((Key::read(key)?, offset))
            }))
        };
        if self.waiting.leads() {
            // Rows that were removed a moment ago lie before the bounds, and cost no look.
            for bound in self.waiting.bounds(level) {
                found.extend(first(&bound.bytes(), &bound.end_of_clock())?);
            }
            return Ok(found);
        }
        let (mut from, end) = (vec![level], [level.saturating_add(1)]);
        while let Some((key, offset)) = first(&from, &end)? {
            from = key.end_of_clock().to_vec();
            found.push((key, offset));
        }
        Ok(found)
    }

    /// Number, next offset to deliver and end of each level's queue. Levels that are not configured any more are there while messages wait.
    /// May wait for the disk.
    pub(crate) fn progress(&self) -> Vec<(usize, i64, i64)> {
        self.levels()
            .filter(|level| level.number != TIMERS)
            .map(|level| (level, self.next(level), level.queue.max_offset()))
            .filter(|(level, next, end)| level.delay_ms.is_some() || next < end)
            .map(|(level, next, end)| (usize::from(level.number), next, end))
            .collect()
    }

    /// Levels that `delayLevels` does not have any more: number, and how many messages still wait there. Those without any are left out.
    pub(crate) fn leftover(&self) -> Vec<(usize, i64)> {
        let leftover = self.leftover.get().into_iter().flatten();
        leftover
            .map(|level| {
                let waiting = level.queue.max_offset() - self.next(level);
                (usize::from(level.number), waiting)
            })
            .filter(|(_, waiting)| *waiting > 0)
            .collect()
    }

    /// Log position of the oldest message below `below` that waits, as far as the log knows that others do not. May wait for the disk.
    ///
    /// # Errors
    /// The table cannot be read: nothing may be removed.
    pub(crate) fn needed_from(&self, below: u64) -> Result<Option<u64>, ReadError> {
        let mut oldest = self.oldest.lock();
        // Later messages lie higher: while the oldest one waits, it stays the oldest.
        if let Some(key) = &*oldest {
            let (from, to) = (key.bytes(), key.after().bytes());
            if !self.store.rows(WAITING, &from, Some(&to), 1)?.is_empty() {
                return Ok(Some(key.position));
            }
        }
        *oldest = None;
        let mut from = Vec::new();
        loop {
            let rows = self.store.rows(WAITING, &from, None, ROWS)?;
            let keys = rows.iter().filter_map(|(key, _)| Key::read(key));
            let first = keys.chain(*oldest).min_by_key(|key| key.position);
            *oldest = first.filter(|key| key.position < below);
            match rows.last() {
                Some((last, _)) if rows.len() == ROWS => from = [last.as_slice(), &[0]].concat(),
                _ => return Ok(oldest.map(|key| key.position)),
            }
        }
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
            .clamp(1, self.configured().max(1));
        let level = &self.configured[number];
        let stamp = Stamp {
            parked_ms: now.wall_ms,
            delay_ms: level.delay_ms.unwrap_or(0),
            clock: now.jumped_ms(),
        };
        let properties = copy::with(
            text,
            &[
                // A level counts more than a timer (apache/rocketmq `HookUtils.checkIfTimerMessage`).
                (property::TIMER_DELIVER_MS, None),
                (property::TIMER_DELAY_SEC, None),
                (property::TIMER_DELAY_MS, None),
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

    /// Where a message goes to wait for a timer.
    pub(crate) fn park_timer(
        &self,
        now: Moment,
        text: &str,
        topic: &str,
        queue_id: i32,
        timer: Timer,
    ) -> Delayed {
        let stamp = Stamp {
            parked_ms: now.wall_ms,
            delay_ms: timer.due_ms - now.wall_ms,
            clock: if timer.is_time { WALL } else { now.jumped_ms() },
        };
        let properties = copy::with(
            text,
            &[
                (property::TIMER_OUT_MS, Some(&timer.out_ms().to_string())),
                (property::REAL_TOPIC, Some(topic)),
                (property::REAL_QID, Some(&queue_id.to_string())),
                (property::DELAY_STAMP, Some(&stamp.text())),
            ],
        );
        Delayed {
            queue: self.configured[0].queue.clone(),
            properties,
        }
    }

    /// From now on this message is not delivered (again).
    ///
    /// # Errors
    /// It was not to be before.
    pub(crate) fn claim(&self, position: u64, claim: Claim) -> Result<(), Claim> {
        let mut claims = self.claims.lock();
        match claims.get(&position) {
            Some(known) => Err(*known),
            None => {
                claims.insert(position, claim);
                Ok(())
            }
        }
    }

    /// Nothing was done to the message.
    pub(crate) fn give_back(&self, position: u64) {
        self.claims.lock().remove(&position);
    }

    /// Begins a look at a level: rows that were removed since the last one need no claim any more, as this look does not find them.
    pub(super) fn begin(&self, level: u8) {
        let removed = self.waiting.begin(level);
        if !removed.is_empty() {
            let mut claims = self.claims.lock();
            for position in removed {
                claims.remove(&position);
            }
        }
    }

    /// Gets ready to deliver a level: what earlier masters have delivered and where the level begins. May wait for the disk.
    ///
    /// # Errors
    /// The tables or the messages of an earlier version cannot be read, or their rows are not stored.
    pub(super) fn lead(&self, level: u8) -> Result<(), SettingsError> {
        {
            let mut claimed = self.claimed.lock();
            if !*claimed {
                self.find_claims()?;
                *claimed = true;
            }
        }
        self.waiting.lead();
        if let Some(level) = self.level(level) {
            self.take_over(level)?;
        }
        let end = [level.saturating_add(1)];
        let mut from = vec![level];
        while let Some((key, _)) = self.store.rows(WAITING, &from, Some(&end), 1)?.first() {
            let Some(key) = Key::read(key) else { break };
            self.waiting.found(key);
            from = key.end_of_clock().to_vec();
        }
        Ok(())
    }

    /// Counts some of the timers that waited when this broker began to lead. Whether there are more. May wait for the disk.
    ///
    /// # Errors
    /// The table cannot be read.
    pub(super) fn count_timers(&self) -> Result<bool, ReadError> {
        let Some(from) = self.waiting.uncounted() else {
            return Ok(false);
        };
        let end = [TIMERS + 1];
        let rows = self.store.rows(WAITING, &from.bytes(), Some(&end), ROWS)?;
        let keys: Vec<Key> = rows.iter().filter_map(|(key, _)| Key::read(key)).collect();
        let next = keys.last().filter(|_| rows.len() == ROWS);
        let next = next.map(|last| last.after());
        self.waiting.count(&keys, next);
        Ok(next.is_some())
    }

    /// Messages whose delivery is in the log, and whose rows are still there.
    fn find_claims(&self) -> Result<(), ReadError> {
        let mut from = Vec::new();
        loop {
            let rows = self.store.rows(DELIVERED, &from, None, ROWS)?;
            let mut claims = self.claims.lock();
            for (key, _) in &rows {
                if let Ok(position) = key.as_slice().try_into() {
                    claims.insert(u64::from_be_bytes(position), Claim::Delivered);
                }
            }
            drop(claims);
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            from = [last.as_slice(), &[0]].concat();
        }
    }

    /// Sets the rows of messages that an earlier version has parked, whose records do not set them. The progress of the level says up to
    /// which offset that is done; it ends at the first message of this version.
    fn take_over(&self, level: &Level) -> Result<(), SettingsError> {
        let number = usize::from(level.number);
        if level.number == TIMERS {
            return Ok(());
        }
        let mut from = self.table.next(number).max(level.queue.min_offset());
        while from < level.queue.max_offset() {
            let outcome = self.store.read(
                &level.queue,
                QueueOffset(from),
                READ,
                &AllMessages,
                Temperature::MayWait,
            );
            let (mut changes, mut next) = (Vec::new(), from);
            for view in outcome.records.iter().filter_map(|record| record.view()) {
                let Some(key) = key_of_earlier(level, &view) else {
                    break;
                };
                let offset = view.queue_offset().0;
                let value = offset.to_le_bytes().to_vec();
                changes.push(Change::set(WAITING, key.bytes().to_vec(), value));
                next = offset + 1;
            }
            if changes.is_empty() {
                match lost_before(&outcome, from) {
                    Some(after) => next = after,
                    None => return Ok(()),
                }
                tracing::warn!(
                    delay_level = level.number,
                    from,
                    to = next,
                    "delayed messages are lost: they expired or are damaged"
                );
            }
            changes.push(delay::set(number, next));
            self.store.settings()?.put(&changes)?;
            from = next;
        }
        Ok(())
    }
}

/// The key of a message that an earlier version has parked; `None`: this version has.
fn key_of_earlier(level: &Level, view: &RecordView<'_>) -> Option<Key> {
    let text = view.properties();
    let stamp = properties::get(text, property::DELAY_STAMP);
    if stamp.and_then(Stamp::read).is_some() {
        return None;
    }
    // The first versions wrote none.
    let stamp = stamp.and_then(Stamp::read_first).unwrap_or(Stamp {
        parked_ms: view.store_ms(),
        delay_ms: level.delay_ms.unwrap_or(0),
        clock: 0,
    });
    let topic = properties::get(text, property::REAL_TOPIC).unwrap_or_default();
    Some(Key::new(level.number, stamp, view.position().0, topic))
}

/// Where a queue continues behind messages that will never be read.
fn lost_before(outcome: &ReadOutcome, from: i64) -> Option<i64> {
    let is_for_good = matches!(
        outcome.status,
        ReadStatus::OffsetTooSmall | ReadStatus::NoMatch | ReadStatus::Removed
    );
    (is_for_good && outcome.next_offset > from).then_some(outcome.next_offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_a_timer_is_the_one_before_it_is_due() {
        let out = |due_ms| {
            Timer {
                due_ms,
                is_time: false,
            }
            .out_ms()
        };
        // Recorded: sent at 1795357381228 with a delay of 3000.
        assert_eq!(out(1_795_357_384_231), 1_795_357_384_000);
        assert_eq!(out(1_795_357_384_000), 1_795_357_383_000);
        assert_eq!(out(1_795_357_384_001), 1_795_357_384_000);
    }

    #[test]
    fn only_messages_that_never_come_are_passed_over() {
        let read = |status, next_offset| ReadOutcome {
            status,
            records: smallvec::SmallVec::new(),
            total_bytes: 0,
            next_offset,
            min_offset: 3,
            max_offset: 9,
            behind_bytes: 0,
        };
        for (status, next, wanted) in [
            (ReadStatus::Found, 6, None),
            (ReadStatus::AtEnd, 5, None),
            (ReadStatus::OffsetTooBig, 9, None),
            (ReadStatus::OffsetTooSmall, 7, Some(7)),
            (ReadStatus::NoMatch, 7, Some(7)),
            // Its segment is gone: it never comes back.
            (ReadStatus::Removed, 7, Some(7)),
            (ReadStatus::Removed, 5, None),
            (ReadStatus::Unavailable, 5, None),
        ] {
            assert_eq!(lost_before(&read(status, next), 5), wanted, "{status:?}");
        }
    }
}
