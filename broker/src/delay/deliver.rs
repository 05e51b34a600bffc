//! Delivers delayed messages that are due. One task for each level sleeps until its first message is due, or until one arrives.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use rmq_protocol::message::{LogPosition, QueueOffset, properties, property};
use rmq_store::{AllMessages, AppendError, ReadOutcome, ReadStatus, RecordSlice, Temperature};
use tokio_util::sync::CancellationToken;

use super::levels::{Level, READ};
use super::stamp::Stamp;
use crate::broker::Broker;
use crate::messages::copy::{self, Copy};
use crate::work;

/// Pause after a failure to deliver, milliseconds.
const RETRY_MS: i64 = 1_000;

/// Delivers one configured level until `stop`.
pub(crate) async fn run_level(broker: &Broker, index: usize, stop: CancellationToken) {
    if let Some(level) = broker.delay.level(index) {
        run(broker, level, stop).await;
    }
}

/// Delivers the levels that are not configured any more until `stop`.
pub(crate) async fn run_leftover(broker: &Broker, stop: CancellationToken) {
    let levels = broker.delay.leftover_levels().iter();
    join_all(levels.map(|level| run(broker, level, stop.clone()))).await;
}

async fn run(broker: &Broker, level: &Level, stop: CancellationToken) {
    level.queue.set_wanted(true);
    // What an earlier master of the group has delivered.
    let known = level.next(&broker.delay.table);
    level.next.fetch_max(known, Ordering::AcqRel);
    let mut jumps = broker.clock_watch.changes();
    loop {
        let wake_at = match deliver_due(broker, level).await {
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
            () = sleep_until(broker, wake_at), if wake_at.is_some() => {}
        }
    }
}

async fn sleep_until(broker: &Broker, at_ms: Option<i64>) {
    if let Some(at_ms) = at_ms {
        broker.clock.sleep_until_ms(at_ms).await;
    }
}

/// Delivers what is due; returns when the next one is, monotonic, or `None` when nothing waits.
async fn deliver_due(broker: &Broker, level: &Level) -> Result<Option<i64>, AppendError> {
    loop {
        let from = level.next.load(Ordering::Acquire);
        let (store, queue) = (broker.store.clone(), level.queue.clone());
        let has_more = queue.max_offset() > from;
        let read = move || {
            let from = QueueOffset(from);
            store.read(&queue, from, READ, &AllMessages, Temperature::MayWait)
        };
        // Reads of what waited for hours may wait for the disk. Most levels have nothing, and need no thread for that.
        let outcome = match has_more {
            true => work::blocking(read).await,
            false => Ok(read()),
        };
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
            broker.store.settled(end).await?;
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
fn deliver(broker: &Broker, record: &RecordSlice) -> Result<Option<LogPosition>, AppendError> {
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
    let appended = Copy {
        of: &view,
        topic: topic.name(),
        queue,
        properties: &kept,
        reconsume_times: view.reconsume_times(),
    }
    .append(broker.store.master()?)?;
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
}
