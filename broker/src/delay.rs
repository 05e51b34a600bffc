//! Delayed messages by level (apache/rocketmq `ScheduleMessageService`): they wait in `SCHEDULE_TOPIC_XXXX`, one queue per level, so each
//! queue is in order of delivery. One task per level sleeps until its first message is due, or until one arrives.
//!
//! Progress is kept like consumer offsets: after a kill a level may deliver the last second again, and never skips.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::message::{QueueOffset, properties, property, tag_hash};
use rmq_protocol::names::SCHEDULE_TOPIC;
use rmq_store::{
    AllMessages, Change, NewMessage, QueueRef, ReadError, ReadLimits, ReadStatus, RecordSlice,
    SettingsError, Store, Table, Temperature,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::copy;

/// Messages looked at at once.
const READ: ReadLimits = ReadLimits {
    messages_max: 128,
    bytes_max: 4 << 20,
    scan_entries_max: 128,
};
/// Pause after a failure to deliver, milliseconds.
const RETRY_MS: i64 = 1_000;

/// The levels and how far each has delivered.
pub(crate) struct DelayDelivery {
    store: Store,
    levels: Vec<Level>,
}

struct Level {
    delay_ms: i64,
    queue: QueueRef,
    /// Next offset to deliver.
    next: AtomicI64,
    /// What was saved last.
    saved: Mutex<i64>,
    arrived: Notify,
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
        let levels: Result<_, ReadError> = delays_ms
            .iter()
            .enumerate()
            .map(|(index, delay_ms)| {
                let saved = store
                    .settings()
                    .get(Table::DelayProgress, &(index + 1).to_string())
                    .and_then(|bytes| bytes.first_chunk::<8>().copied())
                    .map_or(0, i64::from_le_bytes);
                let queue = store.queue(SCHEDULE_TOPIC, index as i32)?;
                Ok(Level {
                    delay_ms: *delay_ms,
                    queue,
                    next: AtomicI64::new(saved),
                    saved: Mutex::new(saved),
                    arrived: Notify::new(),
                })
            })
            .collect();
        Ok(Self {
            store: store.clone(),
            levels: levels?,
        })
    }

    pub(crate) fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Next offset to deliver and end of each level's queue.
    pub(crate) fn progress(&self) -> Vec<(i64, i64)> {
        self.levels
            .iter()
            .map(|level| (level.next.load(Ordering::Relaxed), level.queue.max_offset()))
            .collect()
    }

    /// Where a message goes to wait for `level` (the highest one when there is no such level).
    pub(crate) fn park(&self, text: &str, topic: &str, queue_id: i32, level: i32) -> Delayed {
        let number = usize::try_from(level)
            .unwrap_or(1)
            .clamp(1, self.levels.len().max(1));
        let level = &self.levels[number - 1];
        let queue_id = queue_id.to_string();
        let number_text = number.to_string();
        let properties = copy::with(
            text,
            &[
                (property::DELAY, Some(&number_text)),
                (property::REAL_TOPIC, Some(topic)),
                (property::REAL_QID, Some(&queue_id)),
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
        let mut changes = Vec::new();
        for (index, level) in self.levels.iter().enumerate() {
            let next = level.next.load(Ordering::Acquire);
            let mut saved = level.saved.lock();
            if *saved != next {
                *saved = next;
                changes.push(Change::set(
                    Table::DelayProgress,
                    (index + 1).to_string(),
                    next.to_le_bytes().to_vec(),
                ));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.store.settings().put(&changes)?;
        self.store.write_out().map_err(SettingsError::Append)
    }
}

/// Delivers one level until the broker stops.
pub(crate) async fn run_level(broker: Arc<Broker>, index: usize, stop: CancellationToken) {
    let Some(level) = broker.delay.levels.get(index) else {
        return;
    };
    level.queue.set_wanted(true);
    loop {
        let wake_at = match deliver_due(&broker, level).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(
                    level = index + 1,
                    "delayed messages cannot be delivered now: {error}"
                );
                Some(broker.now_ms() + RETRY_MS)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = level.arrived.notified(), if wake_at.is_none() => {}
            () = sleep_until(&broker, wake_at), if wake_at.is_some() => {}
        }
    }
}

async fn sleep_until(broker: &Broker, at_ms: Option<i64>) {
    if let Some(at_ms) = at_ms {
        // Read first: when time passes in between, the sleep ends too early rather than too late.
        let monotonic_ms = broker.monotonic_ms();
        let wait_ms = at_ms - broker.now_ms();
        broker.clock.sleep_until_ms(monotonic_ms + wait_ms).await;
    }
}

/// Delivers what is due; returns when the next one is, or `None` when nothing waits.
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
            return Ok(Some(broker.now_ms() + RETRY_MS));
        };
        match outcome.status {
            ReadStatus::Found => {}
            ReadStatus::AtEnd | ReadStatus::NoMessageInQueue => return Ok(None),
            ReadStatus::OffsetTooSmall | ReadStatus::NoMatch => {
                tracing::warn!(
                    delay_ms = level.delay_ms,
                    from,
                    to = outcome.next_offset,
                    "delayed messages are lost: they expired or are damaged"
                );
                level.next.store(outcome.next_offset, Ordering::Release);
                continue;
            }
            ReadStatus::OffsetTooBig => {
                level.next.store(outcome.max_offset, Ordering::Release);
                return Ok(None);
            }
            ReadStatus::Removed | ReadStatus::Cold => return Ok(Some(broker.now_ms() + RETRY_MS)),
        }
        let now = broker.now_ms();
        let mut last = None;
        let mut due = None;
        for record in &outcome.records {
            let Some(view) = record.view() else { continue };
            let deliver_ms = view.store_ms() + level.delay_ms;
            if deliver_ms > now {
                due = Some(deliver_ms);
                break;
            }
            if let Some(end) = deliver(broker, record)? {
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
    let kept = copy::with(text, &[]);
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
    topic.counters.messages_in.fetch_add(1, Ordering::Relaxed);
    topic
        .counters
        .bytes_in
        .fetch_add(u64::from(appended.size), Ordering::Relaxed);
    Ok(Some(appended.end))
}

#[cfg(test)]
mod tests {
    use super::*;

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
