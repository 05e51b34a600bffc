//! Delayed messages by level (apache/rocketmq `ScheduleMessageService`): they wait in `SCHEDULE_TOPIC_XXXX`, one queue per level, so each
//! queue is in order of delivery. One task per level sleeps until its first message is due, or until one arrives.
//!
//! A message is due when the wall clock reaches the time at which it was sent plus its delay, and at the latest when its delay has passed:
//! a clock that was set back makes nothing late, and a clock that is set ahead delivers what becomes due by that.
//!
//! Progress is kept like consumer offsets: after a kill a level may deliver the last second again, and never skips.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::message::{QueueOffset, properties, property, tag_hash};
use rmq_protocol::names::SCHEDULE_TOPIC;
use rmq_store::{
    AllMessages, Change, NewMessage, QueueRef, ReadError, ReadLimits, ReadOutcome, ReadStatus,
    RecordSlice, SettingsError, Store, Table, Temperature,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::clock_watch::Moment;
use crate::copy;
use crate::stats::classes::Classes;

/// Messages looked at at once. Each level holds so much of them, whatever connections hold.
const READ: ReadLimits = ReadLimits {
    messages_max: 128,
    bytes_max: 1 << 20,
    scan_entries_max: 128,
};
/// Pause after a failure to deliver, milliseconds.
const RETRY_MS: i64 = 1_000;

/// Classes of [`DelayDelivery::lateness`].
const LATENESS_BOUNDS_MS: [u64; 13] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 600_000, 3_600_000,
];

/// The levels and how far each has delivered.
pub(crate) struct DelayDelivery {
    store: Store,
    /// The configured levels, then those that were configured once and still hold messages.
    levels: Vec<Level>,
    configured: usize,
    /// Messages that came due after their topic had been deleted, since the start.
    pub(crate) dropped: AtomicU64,
    /// Of the messages that were delivered: milliseconds after they were due.
    pub(crate) lateness: Classes,
}

struct Level {
    number: usize,
    /// `None`: the level is not configured any more.
    delay_ms: Option<i64>,
    queue: QueueRef,
    /// Next offset to deliver.
    next: AtomicI64,
    /// What was saved last.
    saved: Mutex<i64>,
    arrived: Notify,
}

impl Level {
    fn new(store: &Store, number: usize, delay_ms: Option<i64>) -> Result<Self, ReadError> {
        let saved = store
            .settings()
            .get(Table::DelayProgress, &number.to_string())
            .and_then(|bytes| bytes.first_chunk::<8>().copied())
            .map_or(0, i64::from_le_bytes);
        Ok(Self {
            number,
            delay_ms,
            queue: store.queue(SCHEDULE_TOPIC, number as i32 - 1)?,
            next: AtomicI64::new(saved),
            saved: Mutex::new(saved),
            arrived: Notify::new(),
        })
    }

    fn waiting(&self) -> i64 {
        self.queue.max_offset() - self.next.load(Ordering::Acquire)
    }
}

/// When a delayed message was parked and for how long: `parked,delay,jumped` in milliseconds, in its property
/// [`property::DELAY_STAMP`]. The store time does not do: store times never run backwards, so they stand still after a clock that was
/// ahead, and later messages would inherit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Wall time.
    parked_ms: i64,
    delay_ms: i64,
    /// Sum of the clock's jumps until then.
    jumped_ms: i64,
}

impl Stamp {
    fn text(self) -> String {
        format!("{},{},{}", self.parked_ms, self.delay_ms, self.jumped_ms)
    }

    fn read(text: &str) -> Option<Self> {
        let mut numbers = text.split(',').map(|number| number.parse().ok());
        let mut next = || numbers.next().flatten();
        Some(Self {
            parked_ms: next()?,
            delay_ms: next()?,
            jumped_ms: next()?,
        })
    }

    /// How long it still waits at `now`; not positive when it is due: either the wall clock has reached the time that was promised, or
    /// the whole delay has passed, whatever was done to the wall clock meanwhile.
    fn wait_ms(self, now: Moment) -> i64 {
        let due_ms = self.parked_ms.saturating_add(self.delay_ms);
        let by_wall = due_ms.saturating_sub(now.wall_ms);
        let by_steady = due_ms
            .saturating_sub(self.jumped_ms)
            .saturating_sub(now.steady_ms);
        by_wall.min(by_steady).min(self.delay_ms)
    }
}

/// A message that is to wait.
pub(crate) struct Delayed {
    pub(crate) queue: QueueRef,
    pub(crate) properties: String,
}

/// A delay level that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("delay level {number} is {text:?}; expected a number and s, m, h or d, such as 30s")]
pub(crate) struct LevelError {
    number: usize,
    text: String,
}

/// Reads a list of delays such as `1s 5s 1m`, milliseconds.
pub(crate) fn parse_levels(text: &str) -> Result<Vec<i64>, LevelError> {
    text.split_whitespace()
        .enumerate()
        .map(|(index, level)| {
            let error = || LevelError {
                number: index + 1,
                text: level.to_owned(),
            };
            let (number, unit) = level
                .split_at_checked(level.len().saturating_sub(1))
                .ok_or_else(error)?;
            let unit_ms: i64 = match unit {
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(error()),
            };
            number
                .parse::<i64>()
                .ok()
                .filter(|number| *number > 0)
                .and_then(|number| number.checked_mul(unit_ms))
                .ok_or_else(error)
        })
        .collect()
}

impl DelayDelivery {
    /// # Errors
    /// The queues of the levels cannot be looked up.
    pub(crate) fn load(store: &Store, delays_ms: &[i64]) -> Result<Self, ReadError> {
        let mut levels = Vec::new();
        for (index, delay_ms) in delays_ms.iter().enumerate() {
            levels.push(Level::new(store, index + 1, Some(*delay_ms))?);
        }
        let configured = levels.len();
        for queue in store.queues_of(SCHEDULE_TOPIC)? {
            let number = usize::try_from(queue.queue_id()).map_or(0, |id| id + 1);
            if number <= configured {
                continue;
            }
            let level = Level::new(store, number, None)?;
            if level.waiting() > 0 {
                tracing::warn!(
                    delay_level = number,
                    messages = level.waiting(),
                    "delayLevels does not have this level any more; its messages are delivered when their delay is over"
                );
                levels.push(level);
            }
        }
        Ok(Self {
            lateness: Classes::new(&LATENESS_BOUNDS_MS),
            store: store.clone(),
            levels,
            configured,
            dropped: AtomicU64::new(0),
        })
    }

    /// How many levels are delivered: those that are not configured any more and still hold messages are, too.
    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Number, next offset to deliver and end of each level's queue.
    pub(crate) fn progress(&self) -> Vec<(usize, i64, i64)> {
        self.levels
            .iter()
            .map(|level| {
                let next = level.next.load(Ordering::Relaxed);
                (level.number, next, level.queue.max_offset())
            })
            .collect()
    }

    /// Levels that `delayLevels` does not have any more: number, and how many messages still wait there. Those without any are left out.
    pub(crate) fn leftover(&self) -> Vec<(usize, i64)> {
        let levels = self.levels.iter().skip(self.configured);
        levels
            .map(|level| (level.number, level.waiting()))
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
            let mut from = (*level.saved.lock()).max(level.queue.min_offset());
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
        self.levels.iter().filter_map(oldest).min()
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
            .clamp(1, self.configured.max(1));
        let level = &self.levels[number - 1];
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
            .and_then(|index| self.levels.get(index))
        {
            level.arrived.notify_one();
        }
    }

    /// Puts progress that changed into the log.
    pub(crate) fn save(&self) -> Result<(), SettingsError> {
        let (mut changes, mut saved) = (Vec::new(), Vec::new());
        for level in &self.levels {
            let next = level.next.load(Ordering::Acquire);
            if *level.saved.lock() != next {
                saved.push((level, next));
                changes.push(Change::set(
                    Table::DelayProgress,
                    level.number.to_string(),
                    next.to_le_bytes().to_vec(),
                ));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.store.settings().put(&changes)?;
        for (level, next) in saved {
            *level.saved.lock() = next;
        }
        self.store.write_out().map_err(SettingsError::Append)
    }
}

/// Delivers one level until the broker stops.
pub(crate) async fn run_level(broker: Arc<Broker>, index: usize, stop: CancellationToken) {
    let Some(level) = broker.delay.levels.get(index) else {
        return;
    };
    level.queue.set_wanted(true);
    let mut jumps = broker.clock_watch.changes();
    loop {
        let wake_at = match deliver_due(&broker, level).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(
                    delay_level = level.number,
                    "delayed messages cannot be delivered now: {error}"
                );
                Some(broker.monotonic_ms() + RETRY_MS)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = level.arrived.notified(), if wake_at.is_none() => {}
            // What a clock that was set ahead makes due is due.
            Ok(()) = jumps.changed(), if wake_at.is_some() => {}
            () = sleep_until(&broker, wake_at), if wake_at.is_some() => {}
        }
    }
}

async fn sleep_until(broker: &Broker, at_ms: Option<i64>) {
    if let Some(at_ms) = at_ms {
        broker.clock.sleep_until_ms(at_ms).await;
    }
}

/// Delivers what is due; returns when the next one is, monotonic, or `None` when nothing waits.
async fn deliver_due(
    broker: &Broker,
    level: &Level,
) -> Result<Option<i64>, rmq_store::AppendError> {
    loop {
        let from = level.next.load(Ordering::Acquire);
        // Reads of what waited for hours may wait for the disk.
        let store = broker.store.clone();
        let queue = level.queue.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            store.read(
                &queue,
                QueueOffset(from),
                READ,
                &AllMessages,
                Temperature::MayWait,
            )
        })
        .await;
        let Ok(outcome) = outcome else {
            return Ok(Some(broker.monotonic_ms() + RETRY_MS));
        };
        match then(&outcome, from) {
            Then::Deliver => {}
            Then::Wait(next) => {
                level.next.store(next, Ordering::Release);
                return Ok(None);
            }
            Then::Pass(next) => {
                tracing::warn!(
                    delay_level = level.number,
                    from,
                    to = next,
                    "delayed messages are lost: they expired or are damaged"
                );
                level.next.store(next, Ordering::Release);
                continue;
            }
            Then::Retry => return Ok(Some(broker.monotonic_ms() + RETRY_MS)),
        }
        let now = broker.clock_watch.look();
        let mut last = None;
        let mut due = None;
        for record in &outcome.records {
            let Some(view) = record.view() else { continue };
            // Without a stamp it was parked by an older version.
            let stamp = properties::get(view.properties(), property::DELAY_STAMP)
                .and_then(Stamp::read)
                .unwrap_or(Stamp {
                    parked_ms: view.store_ms(),
                    delay_ms: level.delay_ms.unwrap_or(0),
                    jumped_ms: 0,
                });
            let wait_ms = stamp.wait_ms(now);
            if wait_ms > 0 {
                due = Some(now.monotonic_ms + wait_ms);
                break;
            }
            if let Some(end) = deliver(broker, record)? {
                broker.delay.lateness.add(wait_ms.saturating_neg());
                last = Some(end);
            }
            level
                .next
                .store(view.queue_offset().0 + 1, Ordering::Release);
            broker.offsets.note_progress();
        }
        if let Some(end) = last {
            broker.store.acked(end).await?;
        }
        if due.is_some() {
            return Ok(due);
        }
    }
}

/// What follows from a read of a level's queue.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// There are messages.
    Deliver,
    /// There are none behind this offset so far.
    Wait(i64),
    /// There will never be any before this offset.
    Pass(i64),
    /// It cannot be told now.
    Retry,
}

/// A read that brings nothing for good must not be repeated: the level would stand still.
fn then(outcome: &ReadOutcome, from: i64) -> Then {
    match outcome.status {
        ReadStatus::Found => Then::Deliver,
        ReadStatus::AtEnd | ReadStatus::NoMessageInQueue => Then::Wait(from),
        ReadStatus::OffsetTooBig => Then::Wait(outcome.max_offset),
        ReadStatus::OffsetTooSmall | ReadStatus::NoMatch | ReadStatus::Removed
            if outcome.next_offset > from =>
        {
            Then::Pass(outcome.next_offset)
        }
        _ => Then::Retry,
    }
}

/// Gives a message back to the topic that it was sent to.
fn deliver(
    broker: &Broker,
    record: &RecordSlice,
) -> Result<Option<rmq_protocol::message::LogPosition>, rmq_store::AppendError> {
    let Some(view) = record.view() else {
        return Ok(None);
    };
    let text = view.properties();
    let real_topic = properties::get(text, property::REAL_TOPIC);
    let Some(topic) = real_topic.and_then(|topic| broker.topics.get(topic)) else {
        broker.delay.dropped.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            topic = real_topic,
            position = view.position().0,
            "a delayed message is dropped: its topic does not exist any more"
        );
        return Ok(None);
    };
    let wanted = properties::get(text, property::REAL_QID)
        .and_then(|id| id.parse().ok())
        .unwrap_or(0);
    // A topic may have lost queues while the message waited.
    let Some(queue) = topic.queue(wanted).or_else(|| topic.queue(0)) else {
        return Ok(None);
    };
    let kept = copy::with(text, &[(property::DELAY_STAMP, None)]);
    let appended = broker.store.append_again(&NewMessage {
        queue,
        topic: topic.name(),
        flag: view.flag(),
        sys_flag: view.sys_flag(),
        born_ms: view.born_ms(),
        born_host: view.born_host(),
        reconsume_times: view.reconsume_times(),
        prepared_position: 0,
        body: view.body(),
        properties: kept.as_bytes(),
        tag_hash: properties::get(&kept, property::TAGS).map_or(0, tag_hash),
        keys: properties::get(&kept, property::KEYS).unwrap_or_default(),
        unique_key: properties::get(&kept, property::UNIQ_KEY).unwrap_or_default(),
    })?;
    let (stats, size) = (&broker.stats, u64::from(appended.size));
    topic.stored(stats, 1, size, 1);
    stats.scheduled.add(&stats.sampler, [1, size, 1]);
    let level = view.queue_id().0;
    stats.scheduled_of.add(stats, level, [1, size, 1]);
    Ok(Some(appended.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wall, steady and monotonic time of a life whose clock jumped by `jumped_ms` in all.
    fn moment(wall_ms: i64, jumped_ms: i64) -> Moment {
        Moment {
            wall_ms,
            steady_ms: wall_ms - jumped_ms,
            monotonic_ms: 7,
        }
    }

    #[test]
    fn a_message_is_due_by_the_wall_clock_and_never_later_than_its_delay() {
        let stamp = Stamp {
            parked_ms: 1_000_000,
            delay_ms: 60_000,
            jumped_ms: 0,
        };
        assert_eq!(Stamp::read(&stamp.text()), Some(stamp));
        assert_eq!(Stamp::read("1,2"), None);
        assert_eq!(stamp.wait_ms(moment(1_000_000, 0)), 60_000);
        assert_eq!(stamp.wait_ms(moment(1_059_999, 0)), 1);
        assert_eq!(stamp.wait_ms(moment(1_060_000, 0)), 0);
        for by_ms in [1_000, 3_600_000, 4 * 86_400_000] {
            // Set back: what is left of the delay, as before.
            let back = moment(1_010_000 - by_ms, -by_ms);
            assert_eq!(stamp.wait_ms(back), 50_000, "{by_ms}");
            // Set ahead: the wall clock counts.
            let ahead = moment(1_010_000 + by_ms, by_ms);
            assert_eq!(stamp.wait_ms(ahead), 50_000 - by_ms, "{by_ms}");
            // Ahead and back again: as if nothing had been.
            assert_eq!(stamp.wait_ms(moment(1_010_000, 0)), 50_000);
            // Parked while the clock was ahead, and then set right.
            let wrong = Stamp {
                parked_ms: 1_000_000 + by_ms,
                jumped_ms: by_ms,
                ..stamp
            };
            assert_eq!(wrong.wait_ms(moment(1_010_000, 0)), 50_000, "{by_ms}");
            // Parked while the clock was behind, and then set right: due by the wall clock.
            let behind = Stamp {
                parked_ms: 1_000_000 - by_ms,
                jumped_ms: -by_ms,
                ..stamp
            };
            assert_eq!(behind.wait_ms(moment(1_010_000, 0)), 50_000 - by_ms);
        }
    }

    #[test]
    fn only_what_may_come_yet_is_waited_for() {
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
            (ReadStatus::Found, 6, Then::Deliver),
            (ReadStatus::AtEnd, 5, Then::Wait(5)),
            (ReadStatus::NoMessageInQueue, 0, Then::Wait(5)),
            (ReadStatus::OffsetTooBig, 9, Then::Wait(9)),
            (ReadStatus::OffsetTooSmall, 7, Then::Pass(7)),
            (ReadStatus::NoMatch, 7, Then::Pass(7)),
            // Its segment is gone: it never comes back.
            (ReadStatus::Removed, 7, Then::Pass(7)),
            (ReadStatus::Removed, 5, Then::Retry),
            (ReadStatus::Cold, 5, Then::Retry),
            (ReadStatus::Unavailable, 5, Then::Retry),
        ] {
            assert_eq!(then(&read(status, next), 5), wanted, "{status:?}");
        }
    }

    #[test]
    fn levels_are_read() {
        assert_eq!(
            parse_levels("1s 5m 2h 1d").expect("valid"),
            [1_000, 300_000, 7_200_000, 86_400_000]
        );
        for wrong in ["1", "s", "0s", "-1s", "1x", "99999999999999999d"] {
            assert!(parse_levels(wrong).is_err(), "{wrong}");
        }
    }
}
