//! Finding messages by offset. The recent part is asked first, then the runs.

use smallvec::SmallVec;
use tracing::error;

use super::shared::Shared;
use crate::disk_error::{Effect, meaning};
use crate::error::ReadError;
use crate::index::rebuild::RebuildError;
use crate::index::run::{Chunk, Run, RunDamaged};
use crate::queue::QueueRef;

/// A message that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub(crate) offset: i64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
}

impl Located {
    /// The position after its record.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

impl Shared {
    /// See [`Dispatcher::locate`](super::Dispatcher::locate).
    pub(crate) fn locate(
        &self,
        queue: &QueueRef,
        from: i64,
        count: usize,
        out: &mut SmallVec<[Located; 32]>,
    ) -> Result<i64, RunDamaged> {
        let max = queue.max_offset();
        let mut at = from.max(queue.log_min());
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
                    // Nothing is dispatched later than the newest recent entry: what is missing behind it is lost in the log.
                    return Ok(max.max(from));
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

    /// Reads from the run that holds `at` or the next offset after it; the offset to continue at, `None` when no run does.
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
    pub(super) fn healed<T>(
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
            if let RebuildError::Io { error, .. } = &error
                && meaning(error).effect == Effect::ReadOnly
            {
                self.health.poison(format!(
                    "cannot write a run again in {}: {error}",
                    self.index.dir.display()
                ));
            }
        }
    }

    /// The oldest offset that a run holds.
    ///
    /// # Errors
    /// The run that knows is damaged and could not be written again: the messages that it holds must not be taken for gone.
    pub(crate) fn first_in_runs(
        &self,
        topic: &str,
        queue_id: i32,
    ) -> Result<Option<i64>, ReadError> {
        self.healed(|| self.index.first_offset(topic, queue_id))
            .map_err(|damage| ReadError::Queues {
                topic: topic.to_owned(),
                reason: damage.to_string(),
            })
    }
}

/// The run and entries that hold `at`, or the next offset after it.
fn find_chunk<'a>(
    runs: &'a crate::index::Runs,
    queue: &QueueRef,
    at: i64,
) -> Result<Option<(&'a Run, Chunk)>, RunDamaged> {
    let find = |run: &Run| run.find(queue.topic(), queue.queue_id());
    // Reading goes forward: the run of the last read, or the next one after it, is nearly always right.
    let hint = queue.hint();
    if let Ok(index) = runs.binary_search_by_key(&hint, |run| run.span().from)
        && let Some((run, later)) = runs.get(index..).and_then(<[_]>::split_first)
        && let Some(chunk) = find(run)?
        && chunk.first_offset <= at
    {
        if at < chunk.end_offset() {
            return Ok(Some((run, chunk)));
        }
        for run in later {
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
