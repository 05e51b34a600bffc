//! Messages that wait for their time: timers and delayed messages, in the order in which they become due. Two tables on disk, which the
//! messages themselves feed, on a master and on its replicas alike.
//!
//! ```text
//!  table      key                                                           value
//!  waiting    level u8 (0: timers), clock i64, due time i64 (Unix ms),      offset in its queue, i64 little-endian
//!             position in the log u64, hash of the topic u32; big-endian,
//!             signed numbers + 2^63
//!  delivered  position in the log u64 of a message that waited, big-endian  nothing
//! ```
//!
//! A message in the topic of a level, or of timers, sets its row in `waiting`. The record of the message at its real topic says by its prepared position
//! whose wait it ends ([`ends`]), and sets the row in `delivered` by that: so a message and its delivery are one record each, and after a
//! crash at any point the log says which were delivered. Later one change of settings removes both rows ([`removed`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rmq_protocol::message::{properties, property};
use rmq_protocol::names::{SCHEDULE_TOPIC, TIMER_TOPIC};
use rmq_store::{Change, FedRecord, FedRow, Feed};
use tokio::sync::Notify;

use super::due_key::{Key, TIMERS};
use super::ids::{DELIVERED, WAITING};
use super::stamp::Stamp;
use super::timing::Timing;

/// The prepared position of a record that ends the wait of the one at `position`: negative, which no half message's is.
pub(crate) const fn ends(position: u64) -> i64 {
    !(position as i64)
}

/// The changes that remove a message that waits no more; whole only when they are put together.
pub(crate) fn removed(key: &Key) -> [Change; 2] {
    [
        Change::remove(WAITING, key.bytes().to_vec()),
        Change::remove(DELIVERED, key.position.to_be_bytes().to_vec()),
    ]
}

/// Where messages of one level begin to wait, by clock, as far as is known: nothing waits before. A clock that is not there has none.
#[derive(Debug, Default)]
struct Bounds {
    from: BTreeMap<i64, Key>,
    /// The lowest key that came since the level was looked at.
    came: BTreeMap<i64, Key>,
    /// Positions of rows that were removed since the last look.
    removed: Vec<u64>,
}

/// What is known of a level beside its rows.
#[derive(Debug, Default)]
struct Level {
    bounds: Mutex<Bounds>,
    /// A message came that is due before all others.
    earlier: Notify,
}

/// Which messages wait: what the log feeds, and where each level begins.
#[derive(Debug)]
pub(crate) struct Waiting {
    levels: Vec<Level>,
    /// The broker delivers: bounds are kept.
    leads: AtomicBool,
    timing: Mutex<Timing>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            levels: (0..=u8::MAX).map(|_| Level::default()).collect(),
            leads: AtomicBool::new(false),
            timing: Mutex::default(),
        }
    }
}

impl Waiting {
    fn level(&self, level: u8) -> &Level {
        &self.levels[usize::from(level)]
    }

    /// From now on rows are noted as they come and go. What is there already is to be found with [`found`](Self::found).
    pub(crate) fn lead(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// Whether bounds are kept.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// A message waits that is there already.
    pub(crate) fn found(&self, key: Key) {
        self.lower(&mut self.level(key.level).bounds.lock(), key);
    }

    fn lower(&self, bounds: &mut Bounds, key: Key) {
        let came = bounds.came.entry(key.clock).or_insert(key);
        *came = key.min(*came);
        let is_first = match bounds.from.get_mut(&key.clock) {
            Some(from) if *from <= key => false,
            Some(from) => {
                *from = key;
                true
            }
            None => {
                bounds.from.insert(key.clock, key);
                true
            }
        };
        if is_first {
            self.level(key.level).earlier.notify_one();
        }
    }

    /// Where the messages of a level begin, by clock.
    pub(crate) fn bounds(&self, level: u8) -> Vec<Key> {
        let bounds = self.level(level).bounds.lock();
        bounds.from.values().copied().collect()
    }

    /// A level is about to be looked at: the positions of rows that were removed since the last time.
    pub(crate) fn begin(&self, level: u8) -> Vec<u64> {
        let mut bounds = self.level(level).bounds.lock();
        bounds.came.clear();
        std::mem::take(&mut bounds.removed)
    }

    /// A level was looked at: nothing of a clock waits before `from` (`None`: nothing at all), but for what came meanwhile.
    pub(crate) fn finish(&self, level: u8, clock: i64, from: Option<Key>) {
        let mut bounds = self.level(level).bounds.lock();
        let came = bounds.came.remove(&clock);
        let from = from.into_iter().chain(came).min();
        match from {
            Some(from) => drop(bounds.from.insert(clock, from)),
            None => drop(bounds.from.remove(&clock)),
        }
    }

    /// How many timers wait.
    pub(crate) fn timing(&self) -> MutexGuard<'_, Timing> {
        self.timing.lock()
    }

    /// From where on timers are not counted yet; the rows from there on are to be read and [counted](Self::count). `None`: all are.
    pub(crate) fn uncounted(&self) -> Option<Key> {
        self.timing.lock().begin()
    }

    /// Counts rows; more may follow from `next` on.
    pub(crate) fn count(&self, rows: &[Key], next: Option<Key>) {
        self.timing.lock().count(rows, next);
    }

    /// Waits for a message that is due before all others of its level.
    pub(crate) async fn earlier(&self, level: u8) {
        self.level(level).earlier.notified().await;
    }
}

impl Feed for Waiting {
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>) {
        if record.prepared_position < 0 {
            let position = !record.prepared_position as u64;
            rows.push(FedRow::plain(DELIVERED, &position.to_be_bytes()));
        }
        let level = match record.topic {
            TIMER_TOPIC => Some(TIMERS),
            SCHEDULE_TOPIC => u8::try_from(record.queue_id.saturating_add(1)).ok(),
            _ => return,
        };
        let text = std::str::from_utf8(record.properties).unwrap_or_default();
        let stamp = properties::get(text, property::DELAY_STAMP).and_then(Stamp::read);
        let topic = properties::get(text, property::REAL_TOPIC).unwrap_or_default();
        if let (Some(level), Some(stamp)) = (level, stamp) {
            let key = Key::new(level, stamp, 0, topic).bytes();
            rows.push(FedRow::placed(WAITING, &key[..17], &key[25..]));
        }
    }

    fn changed(&self, key: &[u8], is_set: bool) {
        let Some(key) = Key::read(key) else {
            tracing::error!(
                ?key,
                "a row of the messages that wait cannot be read and is ignored"
            );
            return;
        };
        if !self.leads() {
            return;
        }
        if key.level == TIMERS {
            self.timing.lock().changed(key, is_set);
        }
        let mut bounds = self.level(key.level).bounds.lock();
        match is_set {
            true => self.lower(&mut bounds, key),
            false => bounds.removed.push(key.position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::stamp::WALL;

    #[test]
    fn an_end_is_no_half_message() {
        assert!(ends(0) < 0 && ends(1 << 62) < 0);
        assert_eq!(!ends(1 << 62), 1 << 62);
    }

    #[test]
    fn what_comes_while_a_level_is_looked_at_is_not_passed_over() {
        let at = |due_ms| Key::first(1, 0, due_ms);
        let waiting = Waiting::default();
        waiting.changed(&at(5).bytes(), true);
        assert_eq!(waiting.bounds(1), [], "a replica keeps none");
        waiting.lead();
        waiting.changed(&at(50).bytes(), true);
        waiting.changed(&at(60).bytes(), true);
        assert_eq!(waiting.bounds(1), [at(50)]);
        assert_eq!(waiting.begin(1), [0_u64; 0]);
        // The look finds that the first one waits at 100; 70 came too late for it.
        waiting.changed(&at(70).bytes(), true);
        waiting.changed(&at(50).bytes(), false);
        waiting.finish(1, 0, Some(at(100)));
        assert_eq!(waiting.bounds(1), [at(70)]);
        assert_eq!(waiting.begin(1), [at(50).position]);
        waiting.finish(1, 0, None);
        assert_eq!(waiting.bounds(1), []);
        // Each clock by itself, and each level.
        waiting.found(Key::first(1, WALL, 9));
        waiting.found(Key::first(1, 0, 8));
        waiting.found(Key::first(2, 0, 7));
        assert_eq!(waiting.bounds(1).len(), 2);
        assert_eq!(waiting.bounds(2).len(), 1);
    }
}
