//! Delivers messages that are due. One task for each level, and one for timers, sleeps until its first message is due.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use rmq_protocol::message::{LogPosition, properties, property};
use rmq_store::{AppendError, ReadError, RecordSlice, SettingsError};
use tokio_util::sync::CancellationToken;

use super::due;
use super::levels::Claim;
use crate::broker::Broker;
use crate::clock_watch::Moment;
use crate::messages::copy::{self, Copy};
use crate::tables::due_key::{Key, TIMERS};
use crate::tables::ids::WAITING;
use crate::tables::stamp::Stamp;
use crate::tables::waiting::removed;
use crate::work;

/// Pause after a failure to deliver, milliseconds.
const RETRY_MS: i64 = 1_000;
/// A message that the disk does not give is asked for again after this, milliseconds.
const ASIDE_MS: i64 = 60_000;
/// Messages delivered before the log is asked to keep them.
const BATCH: usize = 512;
/// Bytes of them.
const BATCH_BYTES: u64 = 8 << 20;

/// Why messages cannot be delivered now.
#[derive(Debug, thiserror::Error)]
enum NotDelivered {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Rows(#[from] SettingsError),
    #[error(transparent)]
    Interrupted(#[from] work::Interrupted),
}

/// Delivers one configured level, or timers (0), until `stop`.
pub(crate) async fn run_level(broker: &Arc<Broker>, number: usize, stop: CancellationToken) {
    if let Ok(number) = u8::try_from(number) {
        run(broker, number, stop).await;
    }
}

/// Delivers the levels that are not configured any more until `stop`.
pub(crate) async fn run_leftover(broker: &Arc<Broker>, stop: CancellationToken) {
    let levels = broker.delay.leftover_levels().into_iter();
    join_all(levels.map(|level| run(broker, level, stop.clone()))).await;
}

/// The task of a level.
struct Deliverer<'a> {
    broker: &'a Arc<Broker>,
    level: u8,
    /// Where the level begins is known.
    is_ready: bool,
    /// What waited at the beginning is counted.
    is_counted: bool,
    /// The first message that the disk did not give, and when it is asked for again, monotonic.
    aside: Option<(Key, i64)>,
}

async fn run(broker: &Arc<Broker>, level: u8, stop: CancellationToken) {
    let mut deliverer = Deliverer {
        broker,
        level,
        is_ready: false,
        is_counted: level != TIMERS,
        aside: None,
    };
    let mut jumps = broker.clock_watch.changes();
    while !stop.is_cancelled() {
        let wake_at = match deliverer.step(&stop).await {
            Ok(_) if !deliverer.is_counted => continue,
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(
                    delay_level = level,
                    "delayed messages cannot be delivered now: {error}"
                );
                // What comes meanwhile does not make it sooner.
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = broker.clock.sleep_ms(RETRY_MS) => continue,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = broker.delay.waiting.earlier(level) => {}
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

impl Deliverer<'_> {
    /// Delivers what is due, and counts some of what is there; returns as [`deliver_due`](Self::deliver_due).
    async fn step(&mut self, stop: &CancellationToken) -> Result<Option<i64>, NotDelivered> {
        let next = self.deliver_due(stop).await?;
        if !self.is_counted {
            let then = Arc::clone(self.broker);
            let counted = work::blocking(move || then.delay.count_timers()).await;
            self.is_counted = !counted.map_err(work::Interrupted::from)??;
        }
        Ok(next)
    }

    /// Delivers what is due; returns when the next one is, monotonic, or `None` when nothing waits.
    async fn deliver_due(&mut self, stop: &CancellationToken) -> Result<Option<i64>, NotDelivered> {
        let (broker, level) = (self.broker, self.level);
        if !self.is_ready {
            let _turn = broker.delay.turn.lock().await;
            if stop.is_cancelled() {
                return Ok(None);
            }
            let then = Arc::clone(broker);
            let ready = work::blocking(move || then.delay.lead(level)).await;
            ready.map_err(work::Interrupted::from)??;
            self.is_ready = true;
        }
        loop {
            let now = broker.clock_watch.look();
            if let Some((key, _)) = self.aside.take_if(|(_, at_ms)| *at_ms <= now.monotonic_ms) {
                broker.delay.waiting.found(key);
            }
            let aside_ms = self.aside.map(|(_, at_ms)| at_ms - now.monotonic_ms);
            let Some(span) = Span::first(&broker.delay.waiting.bounds(level), now) else {
                return Ok(aside_ms.map(|wait_ms| now.monotonic_ms + wait_ms));
            };
            if span.wait_ms > 0 {
                let wait_ms = aside_ms.map_or(span.wait_ms, |aside| aside.min(span.wait_ms));
                return Ok(Some(now.monotonic_ms.saturating_add(wait_ms)));
            }
            if stop.is_cancelled() {
                return Ok(None);
            }
            let then = Arc::clone(broker);
            let delivered = work::blocking(move || deliver_span(&then, &span, now)).await;
            let delivered = delivered.map_err(work::Interrupted::from)??;
            if let Some(key) = delivered.aside {
                self.aside.get_or_insert((key, now.monotonic_ms + ASIDE_MS));
            }
            if let Some(end) = delivered.end {
                broker.store.settled(end).await?;
            }
            if !delivered.ended.is_empty() {
                let changes: Vec<_> = delivered.ended.iter().flat_map(removed).collect();
                broker.store.settings()?.put(&changes)?;
                broker.store.write_out()?;
            }
            if let Some(error) = delivered.failed {
                return Err(error.into());
            }
        }
    }
}

/// The messages that are due first, all of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    /// Nothing waits before.
    from: Key,
    /// Up to this due time they are due before those of other clocks.
    due_max_ms: i64,
    /// How long the first one waits; not positive when it is due.
    wait_ms: i64,
}

impl Span {
    /// `bounds`: where messages begin to wait, by clock. `None`: nothing waits.
    fn first(bounds: &[Key], now: Moment) -> Option<Self> {
        let wait = |key: &Key| due::wait_ms(key.due_ms, key.clock, now);
        let first = bounds.iter().min_by_key(|key| wait(key))?;
        let others = bounds.iter().filter(|key| key.clock != first.clock);
        let other_ms = others.map(wait).min().unwrap_or(0).min(0);
        let over_ms = due::over_ms(first.clock, now);
        Some(Self {
            from: *first,
            due_max_ms: over_ms.saturating_add(other_ms),
            wait_ms: wait(first),
        })
    }
}

/// What was done about messages that are due.
#[derive(Default)]
struct Delivered {
    /// The end of the last delivery in the log.
    end: Option<LogPosition>,
    /// Messages that wait no more, when the log keeps up to there.
    ended: Vec<Key>,
    /// The first message that the disk does not give now.
    aside: Option<Key>,
    /// Why the rest is not delivered.
    failed: Option<AppendError>,
}

/// Delivers messages of a span, in their order. May wait for the disk.
fn deliver_span(broker: &Broker, span: &Span, now: Moment) -> Result<Delivered, ReadError> {
    let (level, clock) = (span.from.level, span.from.clock);
    broker.delay.begin(level);
    let to = Key::first(level, clock, span.due_max_ms.saturating_add(1));
    let rows = broker
        .store
        .rows(WAITING, &span.from.bytes(), Some(&to.bytes()), BATCH)?;
    let is_whole = rows.len() < BATCH;
    let mut done = Delivered::default();
    let mut bytes = 0;
    // Where the level continues, if not behind the rows.
    let mut next = None;
    for key in rows.iter().filter_map(|(key, _)| Key::read(key)) {
        if bytes >= BATCH_BYTES {
            next = Some(key);
            break;
        }
        match broker.delay.claim(key.position, Claim::Delivered) {
            Ok(()) => {}
            Err(Claim::Delivered) => {
                done.ended.push(key);
                continue;
            }
            Err(Claim::Recalled) => continue,
        }
        match deliver(broker, &key, now) {
            Ok(Outcome::Delivered(end, size)) => {
                bytes += size;
                done.end = Some(end);
                done.ended.push(key);
            }
            Ok(Outcome::Dropped) => done.ended.push(key),
            Ok(Outcome::Unreadable(error)) => {
                broker.delay.give_back(key.position);
                if done.aside.is_none() {
                    tracing::warn!(
                        position = key.position,
                        "a delayed message cannot be read now and is tried again in {} s: {error}",
                        ASIDE_MS / 1_000
                    );
                }
                done.aside.get_or_insert(key);
            }
            Err(error) => {
                broker.delay.give_back(key.position);
                done.failed = Some(error);
                next = Some(key);
                break;
            }
        }
    }
    let next = match (next, rows.last()) {
        (Some(key), _) => Some(key),
        (None, Some((last, _))) if !is_whole => Key::read(last).map(|last| last.after()),
        (None, _) => {
            let rest = broker
                .store
                .rows(WAITING, &to.bytes(), Some(&to.end_of_clock()), 1)?;
            rest.first().and_then(|(key, _)| Key::read(key))
        }
    };
    broker.delay.waiting.finish(level, clock, next);
    Ok(done)
}

enum Outcome {
    /// Where the delivery ends in the log, and its bytes.
    Delivered(LogPosition, u64),
    /// There is nothing to deliver, or nowhere.
    Dropped,
    /// The disk does not give it now.
    Unreadable(ReadError),
}

/// Gives a message back to the topic that it was sent to.
fn deliver(broker: &Broker, key: &Key, now: Moment) -> Result<Outcome, AppendError> {
    let record = match broker.store.record_at(LogPosition(key.position)) {
        Ok(record) => record,
        Err(error) if key.position < broker.store.positions().min => {
            tracing::warn!(
                position = key.position,
                "a delayed message is lost: it expired: {error}"
            );
            return Ok(Outcome::Dropped);
        }
        Err(error) => return Ok(Outcome::Unreadable(error)),
    };
    let late_ms = -due::wait_ms(key.due_ms, key.clock, now);
    let delivered = append(broker, key, &record, now)?;
    if matches!(delivered, Outcome::Delivered(..)) {
        broker.delay.lateness.add(late_ms);
    }
    Ok(delivered)
}

fn append(
    broker: &Broker,
    key: &Key,
    record: &RecordSlice,
    now: Moment,
) -> Result<Outcome, AppendError> {
    let Some(view) = record.view() else {
        return Ok(Outcome::Dropped);
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
        return Ok(Outcome::Dropped);
    };
    let wanted = properties::get(text, property::REAL_QID)
        .and_then(|id| id.parse().ok())
        .unwrap_or(0);
    // A topic may have lost queues while the message waited.
    let Some(queue) = topic.queue(wanted).or_else(|| topic.queue(0)) else {
        return Ok(Outcome::Dropped);
    };
    let kept = match key.level {
        TIMERS => {
            let stamp = properties::get(text, property::DELAY_STAMP).and_then(Stamp::read);
            let parked_ms = stamp.map_or(view.store_ms(), |stamp| stamp.parked_ms);
            copy::with(
                text,
                &[
                    (property::DELAY_STAMP, None),
                    (property::TIMER_ENQUEUE_MS, Some(&parked_ms.to_string())),
                    (property::TIMER_DEQUEUE_MS, Some(&now.wall_ms.to_string())),
                ],
            )
        }
        _ => copy::with(text, &[(property::DELAY_STAMP, None)]),
    };
    let kept = copy::for_topic(&topic, kept);
    let further = match broker.light.of_stored(topic.name(), &kept) {
        Ok(further) => further,
        Err(error) => return Ok(Outcome::Unreadable(error)),
    };
    let appended = Copy {
        of: &view,
        topic: topic.name(),
        queue,
        properties: &kept,
        reconsume_times: view.reconsume_times(),
        ends: Some(key.position),
        further: &further,
    }
    .append(broker.store.master()?)?;
    let (stats, size) = (&broker.stats, u64::from(appended.size));
    topic.stored(stats, 1, size, 1);
    if key.level == TIMERS {
        stats.timers_ended.fetch_add(1, Ordering::Relaxed);
    } else {
        stats.scheduled.add(&stats.sampler, [1, size, 1]);
        let level = view.queue_id().0;
        stats.scheduled_of.add(stats, level, [1, size, 1]);
    }
    Ok(Outcome::Delivered(appended.end, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::stamp::WALL;

    #[test]
    fn messages_of_several_clocks_are_delivered_in_the_order_in_which_they_become_due() {
        let now = Moment {
            wall_ms: 1_000,
            // The clock was set ahead by 100.
            steady_ms: 900,
            monotonic_ms: 7,
        };
        let at = |clock, due_ms| Key::first(1, clock, due_ms);
        let span = |bounds: &[Key]| {
            let span = Span::first(bounds, now)?;
            Some((span.from, span.due_max_ms, span.wait_ms))
        };
        assert_eq!(span(&[]), None);
        assert_eq!(span(&[at(0, 990)]), Some((at(0, 990), 1_000, -10)));
        assert_eq!(span(&[at(0, 1_005)]), Some((at(0, 1_005), 1_000, 5)));
        // Parked when the clock was 300 ahead: 200 of it were taken back since, so the steady clock counts.
        assert_eq!(
            span(&[at(0, 995), at(300, 1_150)]),
            Some((at(300, 1_150), 1_195, -50))
        );
        assert_eq!(
            span(&[at(0, 995), at(WALL, 1_001)]),
            Some((at(0, 995), 1_000, -5))
        );
        assert_eq!(
            span(&[at(WALL, 1_001), at(0, 1_002)]),
            Some((at(WALL, 1_001), 1_000, 1))
        );
    }
}
