//! Finding messages by store time.

use rmq_protocol::message::RecordView;
use tracing::error;

use super::shared::Shared;
use crate::index::run::RunDamaged;
use crate::queue::QueueRef;

/// Which of the messages around a time is meant
/// (`apache/rocketmq store/src/main/java/org/apache/rocketmq/store/ConsumeQueue.java`, `getOffsetInQueueByTime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at that time or later; the queue's end when there is none.
    #[default]
    Lower,
    /// The last message stored at that time or earlier; 0 when there is none.
    Upper,
}

impl Shared {
    /// See [`Dispatcher::offset_by_time`](super::Dispatcher::offset_by_time).
    pub(crate) fn offset_by_time(
        &self,
        queue: &QueueRef,
        ms: i64,
        boundary: Boundary,
    ) -> Result<i64, RunDamaged> {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        if min >= max {
            return Ok(if boundary == Boundary::Lower { max } else { 0 });
        }
        let before = |time: i64| {
            if boundary == Boundary::Lower {
                time < ms
            } else {
                time <= ms
            }
        };
        // Lock order and publication as in `locate`: recents seen first, runs after.
        let recent = self.recent_by_time(queue, before);
        let in_runs = self.healed(|| self.runs_by_time(queue, before))?;
        let found = in_runs
            .unwrap_or(recent)
            .clamp(queue.log_min().min(max), max);
        let found = self.kept_by_time(queue, found, before).clamp(min, max);
        Ok(match boundary {
            Boundary::Lower => found,
            Boundary::Upper if found > min => found - 1,
            Boundary::Upper => 0,
        })
    }

    /// The first offset that is not `before` among the messages that are kept beyond their segments; `found` in the log when there is none.
    fn kept_by_time(&self, queue: &QueueRef, found: i64, before: impl Fn(i64) -> bool) -> i64 {
        let (mut low, mut high) = (queue.min_offset(), queue.log_min().min(found));
        let mut first = found;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut next = None;
            let look = self.kept(queue, middle, high, &mut |offset, bytes| {
                let time = RecordView::parse(bytes).map(|record| record.store_ms());
                next = Some((offset, time.unwrap_or(i64::MIN)));
                false
            });
            if let Err(error) = look {
                error!(?queue, %error, "what is kept of the queue cannot be searched by time");
                return found;
            }
            match next {
                Some((offset, time)) if before(time) => low = offset + 1,
                Some((offset, _)) => {
                    first = offset;
                    high = middle;
                }
                None => high = middle,
            }
        }
        first
    }

    /// The first recent offset that is not `before`; the end of the queue when there is none.
    fn recent_by_time(&self, queue: &QueueRef, before: impl Fn(i64) -> bool) -> i64 {
        loop {
            let base = self.state.lock().base_ms;
            let found = {
                let recent = queue.recent().lock();
                let index = recent.entries().partition_point(|entry| {
                    let time = match base {
                        Some(base) if entry.time != u32::MAX => Some(base + i64::from(entry.time)),
                        _ => self.log.store_time(entry.position),
                    };
                    time.is_some_and(&before)
                });
                if recent.is_empty() {
                    queue.max_offset()
                } else {
                    recent.first() + index as i64
                }
            };
            // A seal moves the base now and then.
            if self.state.lock().base_ms == base {
                return found;
            }
        }
    }

    /// The first offset in runs that is not `before`.
    fn runs_by_time(
        &self,
        queue: &QueueRef,
        before: impl Fn(i64) -> bool,
    ) -> Result<Option<i64>, RunDamaged> {
        let start = self.index.start();
        for run in self
            .index
            .runs()
            .iter()
            .filter(|run| !before(run.newest_ms()))
        {
            let Some(chunk) = run.find(queue.topic(), queue.queue_id())? else {
                continue;
            };
            if chunk.newest_ms.is_some_and(&before) {
                continue;
            }
            let (mut low, mut high) = (0, chunk.count);
            while low < high {
                let middle = u32::midpoint(low, high);
                let entry = run.entry(&chunk, middle)?;
                let time = entry
                    .store_ms
                    .or_else(|| self.log.store_time(entry.position));
                if entry.position < start || time.is_some_and(&before) {
                    low = middle + 1
                } else {
                    high = middle
                }
            }
            if low < chunk.count {
                return Ok(Some(chunk.first_offset + i64::from(low)));
            }
        }
        Ok(None)
    }
}
