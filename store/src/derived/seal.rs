//! From memory to disk, beside the message path.
//!
//! A seal takes everything dispatched up to a position D, makes the log durable beyond it, commits the tables with "applied to D" in the
//! same transaction, writes the run up to D (or to the end of the segment, whichever comes first), replaces the manifest and
//! only then drops the recent entries that the run holds. A crash between any two steps leaves a state from which replay finds the rest.

use std::io;
use std::sync::Arc;

use tracing::{debug, error};

use super::shared::{Shared, State};
use crate::disk_error::{DiskError, Effect};
use crate::error::ReadError;
use crate::index::keys::KeyEntry;
use crate::index::manifest::RunName;
use crate::index::recent::RecentEntry;
use crate::index::run::{
    MergeError, Run, RunDamaged, RunEntry, RunWriter, SPAN_MAX, Span, publish,
};
use crate::queue::{QueueHead, QueueRef};
use crate::tables::{Pending, TablesError};

/// Why derived files could not be written. Nothing is lost: the log holds it, and the next seal tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the log could not be made durable: {0}")]
    Log(io::Error),
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error("the index could not be written: {0}")]
    Run(#[from] DiskError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Damaged(#[from] RunDamaged),
    #[error(
        "the tables hold the log up to {applied} only, so what is before {position} cannot be dropped"
    )]
    Behind { applied: u64, position: u64 },
}

/// What one seal works on.
struct Batch {
    to: u64,
    touched: Vec<QueueRef>,
    changes: Arc<Pending>,
}

impl Shared {
    /// Seals what was dispatched so far, at most to the end of a segment. Returns whether more is left.
    pub(crate) fn seal(&self) -> Result<bool, SealError> {
        self.seal_what(false)
    }

    /// As [`seal`](Self::seal), also when nothing was dispatched since the last: heads of queues may have changed.
    pub(crate) fn seal_heads(&self) -> Result<(), SealError> {
        self.seal_what(true).map(|_| ())
    }

    fn seal_what(&self, heads: bool) -> Result<bool, SealError> {
        let _one = self.sealing.lock();
        let from = self.index.end();
        let batch = {
            let mut state = self.state.lock();
            let to = self.dispatched();
            let is_old = to <= from && to <= self.tables.applied_to();
            if is_old && state.pending.is_empty() && !heads {
                return Ok(false);
            }
            let touched = std::mem::take(&mut state.touched);
            let changes = Arc::new(std::mem::take(&mut state.pending));
            state.sealing = Some(Arc::clone(&changes));
            Batch {
                to,
                touched,
                changes,
            }
        };
        for queue in &batch.touched {
            queue.clear_touch();
        }
        let sealed = self
            .seal_tables(&batch)
            .and_then(|()| self.seal_run(from, &batch));
        self.give_back(batch, sealed.is_err());
        let end = self.judged(sealed)?;
        // Without progress there is nothing more to do now, whatever is left.
        Ok(end > from && end < self.dispatched())
    }

    fn seal_tables(&self, batch: &Batch) -> Result<(), SealError> {
        if batch.to < self.tables.applied_to() {
            return Ok(());
        }
        let heads: Vec<(&QueueRef, QueueHead)> = batch
            .touched
            .iter()
            .map(|queue| (queue, head_at(queue, batch.to)))
            .collect();
        // After the heads were read, so that nothing they say is beyond the durable log.
        self.log
            .make_durable(self.dispatched())
            .map_err(SealError::Log)?;
        self.index.fs.crash_point("index.log_durable");
        self.tables.commit(&batch.changes, &heads, batch.to)?;
        self.index.fs.crash_point("index.tables_committed");
        // The copy of a message may have gone that was the first.
        for queue in batch.touched.iter().filter(|queue| queue.has_kept()) {
            self.look_at_kept(queue)?;
        }
        Ok(())
    }

    /// Writes the next run; returns where the runs end now.
    fn seal_run(&self, from: u64, batch: &Batch) -> Result<u64, SealError> {
        let to = batch
            .to
            .min(self.log.segment_end(from))
            .min(from.saturating_add(SPAN_MAX));
        if to <= from {
            return Ok(from);
        }
        let span = Span::new(from, to);
        let (parts, base) = self.parts(&batch.touched, span.to);
        let mut keys: Vec<KeyEntry> = self.state.lock().keys.snapshot().within(from, to).collect();
        keys.sort_unstable_by_key(KeyEntry::order);

        let mut generation = self.index.change();
        let name = self.index.next_name(&mut generation, span);
        let run = self.write_run(name, &parts, base, &keys)?;
        self.index.fs.crash_point("index.run_written");
        debug!(log = %span, queues = parts.len(), keys = keys.len(), bytes = run.file_bytes(), "index run written");
        self.index
            .append(&mut generation, run)
            .map_err(DiskError::at("replace the manifest in", &self.index.dir))?;
        drop(generation);
        self.index.fs.crash_point("index.run_published");

        for part in &parts {
            part.queue.recent().lock().trim_below(to);
        }
        self.state.lock().keys.trim_below(to);
        Ok(to)
    }

    /// What each queue has below a position, sorted by topic and id, and the smallest store time of all.
    fn parts(&self, touched: &[QueueRef], position: u64) -> (Vec<Part>, i64) {
        let base_ms = self.state.lock().base_ms.unwrap_or(0);
        let mut base: Option<i64> = None;
        let mut parts = Vec::new();
        for queue in touched {
            let recent = queue.recent().lock();
            let count = recent.count_below(position);
            let Some(oldest) = recent.entries().front().copied().filter(|_| count > 0) else {
                continue;
            };
            let first = recent.first();
            let lost = recent.entries().range(..count);
            // Lost messages lie in the log before this run: where they can be read again, the run before this one has them.
            let lost = lost.take_while(|entry| entry.is_hole()).count();
            drop(recent);
            // Store times never run backwards in the log, so the first entry of a queue is its oldest.
            if let Some(ms) = self.store_ms(&oldest, base_ms) {
                base = Some(base.map_or(ms, |base| base.min(ms)));
            }
            parts.push(Part {
                queue: queue.clone(),
                first,
                lost,
                count,
            });
        }
        parts.sort_unstable_by(|a, b| {
            (a.queue.topic(), a.queue.queue_id()).cmp(&(b.queue.topic(), b.queue.queue_id()))
        });
        (parts, base.unwrap_or(0))
    }

    fn store_ms(&self, entry: &RecentEntry, base_ms: i64) -> Option<i64> {
        if entry.time == u32::MAX {
            self.log.store_time(entry.position)
        } else {
            Some(base_ms + i64::from(entry.time))
        }
    }

    fn write_run(
        &self,
        name: RunName,
        parts: &[Part],
        base: i64,
        keys: &[KeyEntry],
    ) -> Result<Run, SealError> {
        let base_ms = self.state.lock().base_ms.unwrap_or(0);
        let path = name.path(&self.index.dir);
        publish::<io::Error>(&*self.index.fs, &path, |file| {
            let mut writer = RunWriter::new(file, name.span, name.number, base);
            for part in parts {
                let first = part.first + part.lost as i64;
                writer.queue(part.queue.topic(), part.queue.queue_id(), first);
                part.copy(|entry| {
                    writer.entry(&RunEntry {
                        position: entry.position,
                        size: entry.size,
                        tag_hash: entry.tag_hash,
                        store_ms: self.store_ms(entry, base_ms),
                    })
                })?;
            }
            let mut writer = writer.keys(keys.len());
            keys.iter()
                .try_for_each(|key| writer.key(key.hash, key.position))?;
            writer.finish()
        })
        .map_err(DiskError::at("write", &path))?;
        Ok(Run::open(&*self.index.fs, &path, name.span)?)
    }

    /// Queues that still have recent entries are looked at again by the next seal; after a failure everything is.
    fn give_back(&self, batch: Batch, failed: bool) {
        let again: Vec<QueueRef> = batch
            .touched
            .into_iter()
            .filter(|queue| failed || !queue.recent().lock().is_empty())
            .collect();
        let mut state = self.state.lock();
        for queue in again {
            if queue.touch() {
                state.touched.push(queue);
            }
        }
        state.sealing = None;
        state.seals += 1;
        if failed {
            // What came after it counts.
            let changes = Arc::try_unwrap(batch.changes);
            let changes = changes.unwrap_or_else(|shared| Pending::clone(&shared));
            state.pending.put_before(changes);
        } else {
            rebase(&mut state);
        }
    }

    /// Seals when enough was dispatched since the last run, replaces damaged runs, merges.
    pub(crate) fn maintain(&self) -> Result<(), SealError> {
        while self.seal_is_due() && self.seal()? {}
        self.heal();
        while self.merge()? {}
        Ok(())
    }

    fn merge(&self) -> Result<bool, SealError> {
        let merged = self.index.merge_one(self.config.run_bytes, |position| {
            self.log.segment_end(position)
        });
        self.judged(merged.map_err(|error| match error {
            MergeError::Damaged(damage) => SealError::Damaged(damage),
            MergeError::Io(error) => {
                SealError::Run(DiskError::at("merge runs in", &self.index.dir)(error))
            }
        }))
    }

    /// What fails for good makes the store read-only: the disk that does not take the index does not keep the log either, and without
    /// the index nothing that has expired can be removed.
    fn judged<T>(&self, outcome: Result<T, SealError>) -> Result<T, SealError> {
        if let Err(SealError::Run(error)) = &outcome
            && error.effect() == Effect::ReadOnly
        {
            self.health.poison(error.text());
        }
        outcome
    }

    /// Enough log for a run was dispatched, or the segment of the next run is complete.
    fn seal_is_due(&self) -> bool {
        let from = self.index.end();
        let to = self.dispatched();
        to >= from + self.config.run_bytes || to > self.log.segment_end(from)
    }

    /// See [`Dispatcher::drop_below`](super::Dispatcher::drop_below).
    pub(crate) fn drop_below(&self, position: u64) -> Result<(), SealError> {
        self.seal_up_to(position)?;
        let _one = self.sealing.lock();
        self.keep_below(position)?;
        let runs = self.index.runs().clone();
        for run in runs.iter().filter(|run| run.span().from < position) {
            self.raise_minima(run, position)?;
        }
        let dropped = self.index.drop_below(position);
        self.judged(dropped.map_err(|error| {
            DiskError::at("replace the manifest in", &self.index.dir)(error).into()
        }))
    }

    /// Seals until index and tables have the log up to a position.
    pub(super) fn seal_up_to(&self, position: u64) -> Result<(), SealError> {
        while self.index.end().min(self.tables.applied_to()) < position
            && self.dispatched() > self.index.end()
        {
            self.seal()?;
        }
        let applied = self.tables.applied_to();
        if applied < position {
            return Err(SealError::Behind { applied, position });
        }
        Ok(())
    }

    /// Moves the minima of queues in memory past what a run holds below `position`.
    fn raise_minima(&self, run: &Arc<Run>, position: u64) -> Result<(), SealError> {
        let mut cursor = run.queues()?;
        while let Some((topic, id, chunk)) = cursor.current()? {
            if let Some(queue) = self.queues.loaded(topic, id) {
                let gone = if run.span().to <= position {
                    chunk.count
                } else {
                    crate::index::below(run, &chunk, position)?
                };
                queue.raise_min((chunk.first_offset + i64::from(gone)).min(queue.max_offset()));
            }
            cursor.advance()?;
        }
        Ok(())
    }

    /// Logs a failure of the background work.
    pub(crate) fn report(&self, error: &SealError) {
        error!(%error, dispatched = self.dispatched(), "derived files could not be written; it is tried again");
    }
}

/// The recent entries of one queue that a run takes.
struct Part {
    queue: QueueRef,
    /// Offset of the oldest entry.
    first: i64,
    /// So many of the entries, at the beginning, are holes.
    lost: usize,
    count: usize,
}

impl Part {
    /// Shows the entries. Only a seal removes entries, so they can be copied in pieces: the queue is never locked for long.
    fn copy(&self, mut visit: impl FnMut(&RecentEntry) -> io::Result<()>) -> io::Result<()> {
        const PIECE: usize = 1_024;
        let mut piece = Vec::with_capacity(PIECE.min(self.count));
        let mut done = self.lost;
        while done < self.count {
            {
                let recent = self.queue.recent().lock();
                if recent.first() != self.first {
                    // The offsets have jumped meanwhile, and what was before is given up.
                    return Ok(());
                }
                let to = self.count.min(done + PIECE);
                piece.clear();
                piece.extend(recent.entries().range(done..to).copied());
                done = to;
            }
            piece.iter().try_for_each(&mut visit)?;
        }
        Ok(())
    }
}

/// Times of recent entries are counted in 32 bits from a base: moves the base before they run out, while few entries are left.
fn rebase(state: &mut State) {
    const DAY_MS: i64 = 86_400_000;
    let Some(old) = state.base_ms.filter(|old| state.newest_ms - old > DAY_MS) else {
        return;
    };
    let new = state.newest_ms;
    for queue in &state.touched {
        queue
            .recent()
            .lock()
            .map_times(|time| u32::try_from(old + i64::from(time) - new).unwrap_or(u32::MAX));
    }
    state.base_ms = Some(new);
}

/// The head of a queue as of a log position that everything was dispatched up to.
fn head_at(queue: &QueueRef, position: u64) -> QueueHead {
    let head = queue.head();
    let recent = queue.recent().lock();
    let next = if recent.is_empty() {
        queue.max_offset()
    } else {
        recent.first() + recent.count_below(position) as i64
    };
    QueueHead { next, ..head }
}
