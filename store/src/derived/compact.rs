//! Compaction topics ([`crate::compacted`]): before a segment goes, the newest record of each key in it is copied to a table.
//!
//! Only what lies in the queues of such topics is read, by the index. Copying is repeated where a crash interrupts it: a copy of what the log still
//! has does no harm, as readers take what the log has from there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::RecordView;
use tracing::warn;

use super::seal::SealError;
use super::shared::Shared;
use crate::compacted::key_of;
use crate::error::ReadError;
use crate::index::run::{Chunk, Run};
use crate::queue::QueueRef;
use crate::queues::QueueSource as _;
use crate::tables::Candidate;

/// Entries of a run that are looked at together.
const PIECE: u32 = 1_024;
/// Records that are copied with one transaction, bytes: about so many, or one that is larger.
const AT_ONCE_BYTES_MAX: usize = 8 << 20;
/// The same, records.
const AT_ONCE_MAX: usize = 4_096;

impl Shared {
    /// See [`Dispatcher::is_compacted_below`](super::Dispatcher::is_compacted_below).
    pub(crate) fn is_compacted_below(&self, position: u64) -> bool {
        !self.tables.has_compacted() || self.compacted_to.load(Ordering::Acquire) >= position
    }

    /// See [`Dispatcher::compact_below`](super::Dispatcher::compact_below).
    pub(crate) fn compact_below(&self, position: u64) -> Result<(), SealError> {
        self.seal_up_to(position)?;
        let _one = self.sealing.lock();
        self.keep_below(position)
    }

    /// Copies what compaction topics keep of the log below a position. Index and tables have the log up to there, and no seal runs.
    pub(super) fn keep_below(&self, position: u64) -> Result<(), SealError> {
        if self.is_compacted_below(position) {
            return Ok(());
        }
        let from = self.compacted_to.load(Ordering::Acquire);
        let from = from.max(self.log.start());
        let queues = self.tables.compacted_queues()?;
        let runs = Arc::clone(&self.index.runs());
        let mut keeping = Keeping {
            shared: self,
            span: from..position,
            candidates: Vec::new(),
            bytes: 0,
        };
        for run in runs.iter() {
            let span = run.span();
            if span.from >= position || span.to <= from {
                continue;
            }
            for (topic, id) in &queues {
                if let Some(chunk) = run.find(topic, *id)? {
                    keeping.chunk(run, &chunk, &Arc::from(&**topic), *id)?;
                }
            }
        }
        keeping.write()?;
        self.index.fs.crash_point("compaction.kept");
        for (topic, id) in &queues {
            if let Some(queue) = self.queues.loaded(topic, *id) {
                self.look_at_kept(&queue)?;
            }
        }
        self.compacted_to.fetch_max(position, Ordering::AcqRel);
        Ok(())
    }

    /// Looks which message of a queue is the first that is kept. What seals and compacts calls this, one at a time.
    pub(super) fn look_at_kept(&self, queue: &QueueRef) -> Result<(), SealError> {
        let (topic, id) = (queue.topic(), queue.queue_id());
        let first = self.kept_from(topic, id, queue.floor())?;
        queue.set_kept(first);
        Ok(())
    }

    /// See [`Dispatcher::kept`](super::Dispatcher::kept).
    pub(crate) fn kept(
        &self,
        queue: &QueueRef,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(i64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        let from = from.max(queue.floor());
        self.tables
            .copies(queue.topic(), queue.queue_id(), from, to, visit)
    }

    /// Store time of the oldest message of a queue that is kept beyond its segment, Unix milliseconds.
    pub(crate) fn oldest_kept_ms(&self, queue: &QueueRef) -> Option<i64> {
        let mut time = None;
        let looked = self.kept(queue, 0, queue.log_min(), &mut |_, bytes| {
            time = RecordView::parse(bytes)
                .ok()
                .map(|record| record.store_ms());
            time.is_none()
        });
        if let Err(error) = looked {
            warn!(?queue, %error, "the oldest message that is kept of the queue cannot be read");
        }
        time
    }
}

/// Records on their way into the table.
struct Keeping<'a> {
    shared: &'a Shared,
    /// The stretch of log that is looked at.
    span: std::ops::Range<u64>,
    candidates: Vec<Candidate>,
    bytes: usize,
}

impl Keeping<'_> {
    /// Looks at what a run has of a queue.
    fn chunk(
        &mut self,
        run: &Run,
        chunk: &Chunk,
        topic: &Arc<str>,
        queue_id: i32,
    ) -> Result<(), SealError> {
        let mut entries = Vec::new();
        let mut next = 0;
        while next < chunk.count {
            let to = chunk.count.min(next + PIECE);
            entries.clear();
            run.entries(chunk, next..to, |entry| {
                entries.push(entry);
                entry.position < self.span.end
            })?;
            for (index, entry) in (next..to).zip(&entries) {
                if entry.position >= self.span.end {
                    return Ok(());
                }
                if entry.size == 0 || entry.position < self.span.start {
                    continue;
                }
                let offset = chunk.first_offset + i64::from(index);
                self.record(entry.position, offset, topic, queue_id);
                if self.bytes >= AT_ONCE_BYTES_MAX || self.candidates.len() >= AT_ONCE_MAX {
                    self.write()?;
                }
            }
            next = to;
        }
        Ok(())
    }

    /// Reads a record. One that the disk does not give is reported as damage, and goes with its segment.
    fn record(&mut self, position: u64, offset: i64, topic: &Arc<str>, queue_id: i32) {
        let (candidates, bytes_taken) = (&mut self.candidates, &mut self.bytes);
        self.shared.log.visit(position, &mut |bytes| {
            let Ok(record) = RecordView::parse(bytes) else {
                return;
            };
            let Some(key) = key_of(record.properties().as_bytes()) else {
                return;
            };
            let copy = (!record.body().is_empty()).then(|| bytes.to_vec());
            *bytes_taken += key.len() + copy.as_ref().map_or(0, Vec::len);
            candidates.push(Candidate {
                topic: Arc::clone(topic),
                queue_id,
                key: key.to_owned(),
                offset,
                record: copy,
            });
        });
    }

    fn write(&mut self) -> Result<(), SealError> {
        if !self.candidates.is_empty() {
            self.shared.tables.keep(&self.candidates)?;
        }
        self.candidates.clear();
        self.bytes = 0;
        Ok(())
    }
}
