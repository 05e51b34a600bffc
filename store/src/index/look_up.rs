//! Finding messages: by offset, by store time, by key. The recent part is asked first, then the runs.

use rmq_protocol::message::{RecordView, property};
use smallvec::SmallVec;
use tracing::{error, warn};

use super::keys::{KeyKind, key_hash};
use super::run::{Chunk, Run, RunDamaged};
use crate::dispatch::Shared;
use crate::queue::QueueRef;

/// A message that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) offset: i64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
}

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

/// A look-up by key.
pub(crate) struct KeyQuery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) kind: KeyKind,
    pub(crate) max: usize,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// A look-up by key gives up after so many records that share the hash and do not match: keys are made by clients, and colliding ones
/// must not make a query read the whole log.
const MISSES_MAX: usize = 10_000;

impl Shared {
    /// See [`Dispatcher::locate`](crate::dispatch::Dispatcher::locate).
    pub(crate) fn locate(
        &self,
        queue: &QueueRef,
        from: i64,
        count: usize,
        out: &mut SmallVec<[Located; 32]>,
    ) -> Result<i64, RunDamaged> {
        let max = queue.max_offset();
        let mut at = from.max(queue.min_offset());
        let end = out.len() + count;
        while at < max && out.len() < end {
            let recent_first = {
                let recent = queue.recent().lock();
                if !recent.is_empty() && at >= recent.first() {
                    let skip = (at - recent.first()) as usize;
                    let until = (max - recent.first()).min(recent.entries().len() as i64) as usize;
                    for entry in recent.entries().range(skip.min(until)..until) {
                        if out.len() == end {
                            return Ok(at);
                        }
                        if !entry.is_hole() {
                            out.push(Located {
                                offset: at,
                                position: entry.position,
                                size: entry.size,
                                tag_hash: entry.tag_hash,
                            });
                        }
                        at += 1;
                    }
                    return Ok(at.max(from));
                }
                if recent.is_empty() {
                    max
                } else {
                    recent.first()
                }
            };
            // A run is published before the recent entries it holds are dropped, so it is found here if it is not found above.
            at = match self.healed(|| self.read_run(queue, at, max, end, out))? {
                Some(next) => next,
                None => recent_first,
            };
        }
        Ok(at)
    }

    /// Reads from the run that holds `at` or the next offset after it; the offset to go on from, `None` when no run does.
    fn read_run(
        &self,
        queue: &QueueRef,
        at: i64,
        max: i64,
        end: usize,
        out: &mut SmallVec<[Located; 32]>,
    ) -> Result<Option<i64>, RunDamaged> {
        let runs = self.index.runs();
        let Some((run, chunk)) = find_chunk(&runs, queue, at)? else {
            return Ok(None);
        };
        queue.set_hint(run.span().from);
        let mut next = at.max(chunk.first_offset);
        let first = (next - chunk.first_offset) as u32;
        let mark = out.len();
        let read = run.entries(&chunk, first..chunk.count, |entry| {
            if out.len() == end || next == max {
                return false;
            }
            if entry.size != 0 {
                out.push(Located {
                    offset: next,
                    position: entry.position,
                    size: entry.size,
                    tag_hash: entry.tag_hash,
                });
            }
            next += 1;
            true
        });
        if let Err(damage) = read {
            out.truncate(mark);
            return Err(damage);
        }
        Ok(Some(next))
    }

    /// Runs a look-up; where it meets a damaged run, that is written again from the log and the look-up repeated.
    fn healed<T>(
        &self,
        mut look_up: impl FnMut() -> Result<T, RunDamaged>,
    ) -> Result<T, RunDamaged> {
        match look_up() {
            Err(damage) => {
                self.heal();
                look_up().inspect_err(|_| error!(%damage, "the index stays damaged"))
            }
            found => found,
        }
    }

    /// Writes damaged runs again.
    pub(crate) fn heal(&self) {
        if let Err(error) = self.index.heal(&*self.log) {
            error!(%error, "a damaged index run could not be replaced");
        }
    }

    /// The oldest offset that a run holds.
    pub(crate) fn first_in_runs(&self, topic: &str, queue_id: i32) -> Option<i64> {
        self.healed(|| self.index.first_offset(topic, queue_id))
            .unwrap_or_default()
    }

    /// See [`Dispatcher::offset_by_time`](crate::dispatch::Dispatcher::offset_by_time).
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
        let found = in_runs.unwrap_or(recent).clamp(min, max);
        Ok(match boundary {
            Boundary::Lower => found,
            Boundary::Upper if found > min => found - 1,
            Boundary::Upper => 0,
        })
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

    /// See [`Dispatcher::find_by_key`](crate::dispatch::Dispatcher::find_by_key).
    pub(crate) fn find_by_key(&self, query: &KeyQuery<'_>) -> Vec<u64> {
        let hash = key_hash(query.kind, query.topic, query.key);
        // Before the runs: a run is published before its keys are dropped here.
        let recent = self.state.lock().keys.snapshot();
        let mut found = Vec::new();
        let mut misses = 0;
        let mut last = u64::MAX;
        let start = self.index.start();
        let mut visit = |position: u64| {
            // Recent keys and the newest run can overlap; positions only go down.
            if position >= last || position < start {
                return true;
            }
            last = position;
            if self.matches(query, position) {
                found.push(position)
            } else {
                misses += 1
            }
            if misses == MISSES_MAX {
                warn!(
                    topic = query.topic,
                    "a key look-up was given up: too many other keys share its hash"
                );
            }
            found.len() < query.max && misses < MISSES_MAX
        };
        if query.max == 0 || !recent.positions(hash).all(&mut visit) {
            return found;
        }
        let within = |run: &&std::sync::Arc<Run>| {
            run.newest_ms() >= query.from_ms && run.oldest_ms() <= query.to_ms
        };
        let outcome = self.healed(|| {
            for run in self.index.runs().iter().rev().filter(within) {
                if !run.key_positions(hash, &mut visit)? {
                    break;
                }
            }
            Ok(())
        });
        if let Err(damage) = outcome {
            warn!(%damage, "a key look-up is not complete");
        }
        found
    }

    /// The record itself decides: hashes collide, and queues are deleted.
    fn matches(&self, query: &KeyQuery<'_>, position: u64) -> bool {
        let mut matches = false;
        self.log.visit(position, &mut |bytes| {
            let Ok(record) = RecordView::parse(bytes) else {
                return;
            };
            let has_key = || match query.kind {
                KeyKind::UniqueKey => record.property(property::UNIQ_KEY) == Some(query.key),
                KeyKind::Key => record
                    .property(property::KEYS)
                    .is_some_and(|keys| keys.split(' ').any(|key| key == query.key)),
            };
            let reachable = || {
                let offset = record.queue_offset().0;
                self.queues
                    .find(record.topic(), record.queue_id().0, self)
                    .is_some_and(|queue| {
                        offset >= queue.min_offset() && offset < queue.max_offset()
                    })
            };
            let in_time = record.store_ms() >= query.from_ms && record.store_ms() <= query.to_ms;
            matches = in_time && record.topic() == query.topic && has_key() && reachable();
        });
        matches
    }
}

/// The run and entries that hold `at`, or the next offset after it.
fn find_chunk<'a>(
    runs: &'a super::Runs,
    queue: &QueueRef,
    at: i64,
) -> Result<Option<(&'a Run, Chunk)>, RunDamaged> {
    let find = |run: &Run| run.find(queue.topic(), queue.queue_id());
    // Reading goes forward: the run of the last read, or the next one after it, is nearly always right.
    let hint = queue.hint();
    if let Ok(index) = runs.binary_search_by_key(&hint, |run| run.span().from)
        && let Some(chunk) = find(&runs[index])?
        && chunk.first_offset <= at
    {
        if at < chunk.end_offset() {
            return Ok(Some((&runs[index], chunk)));
        }
        for run in &runs[index + 1..] {
            if let Some(chunk) = find(run)?
                && at < chunk.end_offset()
            {
                return Ok(Some((run, chunk)));
            }
        }
        return Ok(None);
    }
    let mut after = None;
    for run in runs.iter().rev() {
        let Some(chunk) = find(run)? else { continue };
        if at >= chunk.end_offset() {
            break;
        }
        after = Some((&**run, chunk));
        if chunk.first_offset <= at {
            break;
        }
    }
    Ok(after)
}
