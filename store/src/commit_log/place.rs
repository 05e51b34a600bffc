//! The way of a new message into the log: this store gives it its place in log and queue, and its store time.
//!
//! Only a master does that. [`Appender`] is the capability: who holds none cannot append.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::{LogPosition, QueueOffset};
use smallvec::SmallVec;

use super::log::CommitLog;
use super::record::{NewMessage, Prepared};
use super::staging::Staging;
use super::window::FILLER_BYTES;
use crate::derived::Entry;
use crate::epochs::Epochs;
use crate::error::{AppendError, EpochError};
use crate::further::Further;
use crate::purpose::Purpose;
use crate::queue::QueueRef;
use crate::settings::SETTINGS_TOPIC;

/// Store times that are ahead of a trusted clock by more than this start at the clock again: they would expire too late.
const CLOCK_AHEAD_MS_MAX: i64 = 60_000;

/// Where a message went. It is neither written nor visible yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Its first byte in the log.
    pub position: LogPosition,
    /// The byte after its last.
    pub end: LogPosition,
    /// Its place in its queue.
    pub queue_offset: QueueOffset,
    /// When it was stored, Unix milliseconds.
    pub store_ms: i64,
    /// Bytes of its record.
    pub size: u32,
}

/// The right to append to a log.
#[derive(Clone)]
pub(crate) struct Appender {
    log: Arc<CommitLog>,
}

impl Appender {
    /// For the master of this log, and nobody else.
    pub(crate) fn new(log: Arc<CommitLog>) -> Self {
        Self { log }
    }

    /// See [`Master::trust_clock`](crate::Master::trust_clock).
    pub(crate) fn trust_clock(&self, now_ms: i64) {
        let mut staging = self.log.append.lock();
        let ahead_ms = staging.newest_ms.saturating_sub(now_ms);
        if ahead_ms > CLOCK_AHEAD_MS_MAX {
            staging.newest_ms = now_ms;
            drop(staging);
            tracing::warn!(
                ahead_ms,
                "the newest message was stored in the future; store times start at the clock again"
            );
        }
    }

    /// See [`Master::begin_epoch`](crate::Master::begin_epoch).
    pub(crate) fn begin_epoch(&self, number: u64, epochs: &Epochs) -> Result<(), EpochError> {
        // Held, so that the epoch's first byte comes after its line.
        let staging = self.log.append.lock();
        if staging.closed.is_some() {
            return Err(EpochError::Closed);
        }
        let end = staging.next();
        epochs.begin(number, end, end)
    }

    /// See [`Master::fence`](crate::Master::fence).
    pub(crate) fn fence(&self, reason: Arc<str>) {
        self.log.fence(reason);
    }

    /// See [`Master::pause`](crate::Master::pause).
    pub(crate) fn pause(&self, reason: Option<Arc<str>>) {
        self.log.append.lock().paused = reason;
    }

    /// See [`Master::replicated`](crate::Master::replicated).
    pub(crate) fn replicated(&self, position: Option<u64>) {
        self.log.files.positions.set_replicated(position);
        self.log.show_confirmed();
    }

    pub(crate) fn append(
        &self,
        purpose: Purpose,
        message: &NewMessage<'_>,
        body_bytes_max: usize,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let log = &*self.log;
        let mut prepared = Prepared::new(
            message,
            &log.config,
            log.dispatcher.declared(),
            body_bytes_max,
        )?;
        let appended = {
            let mut staging = log.append.lock();
            staging.make_room(&log.files, prepared.size, purpose)?;
            place(log, &mut staging, &mut prepared, now_ms)
        };
        log.relieve(appended.end.0)?;
        Ok(appended)
    }

    /// All messages with consecutive offsets, or none.
    pub(crate) fn append_batch(
        &self,
        messages: &[NewMessage<'_>],
    ) -> Result<SmallVec<[Appended; 8]>, AppendError> {
        let log = &*self.log;
        let body_bytes_max = log.body_bytes_max.load(Ordering::Relaxed);
        let mut prepared: Vec<Prepared<'_>> = messages
            .iter()
            .map(|message| {
                let declared = log.dispatcher.declared();
                Prepared::new(message, &log.config, declared, body_bytes_max)
            })
            .collect::<Result<_, _>>()?;
        let total: usize = prepared.iter().map(|record| record.size).sum();
        if total as u64 + FILLER_BYTES > log.config.segment_bytes {
            return Err(AppendError::RecordTooLarge {
                bytes: total,
                segment_bytes: log.config.segment_bytes,
            });
        }
        let now = log.now_ms();
        let appended: SmallVec<[Appended; 8]> = {
            let mut staging = log.append.lock();
            // A batch does not cross segments, so that nothing can fail in its middle.
            staging.make_room(&log.files, total, Purpose::Message)?;
            prepared
                .iter_mut()
                .map(|record| place(log, &mut staging, record, now))
                .collect()
        };
        if let Some(last) = appended.last() {
            log.relieve(last.end.0)?;
        }
        Ok(appended)
    }

    /// Whether progress of `bytes` would be taken now.
    pub(crate) fn check_progress(&self, bytes: usize) -> Result<(), AppendError> {
        let health = &self.log.files.health;
        health.check_writable()?;
        match health.refusal() {
            Some(refusal) if !self.log.append.lock().has_room_for_progress(bytes) => Err(refusal),
            _ => Ok(()),
        }
    }
}

/// The next offset of each of these queues, which is taken.
#[inline]
fn take_places(queues: &[QueueRef]) -> Further {
    if queues.is_empty() {
        return None;
    }
    let places = queues.iter().map(|queue| {
        let offset = queue.next_offset();
        queue.set_next_offset(offset + 1);
        (queue.clone(), offset)
    });
    Some(places.collect())
}

/// Gives a record its place. There is room for it.
// Inlined: this is all that each message does under the append mutex.
#[inline(always)]
fn place(
    log: &CommitLog,
    staging: &mut Staging,
    record: &mut Prepared<'_>,
    now_ms: i64,
) -> Appended {
    record.number();
    let queue = record.message.queue;
    let position = staging.next();
    let queue_offset = queue.next_offset();
    queue.set_next_offset(queue_offset + 1);
    // Store times never run backwards in the log, whatever the clock does: look-ups by time rely on it.
    let store_ms = now_ms.max(staging.newest_ms);
    staging.newest_ms = store_ms;
    let size = record.size as u32;
    record.write(queue_offset, position, store_ms, staging.bytes());
    let end = staging.placed(Entry {
        queue: queue.clone(),
        queue_offset,
        position,
        size,
        tag_hash: record.message.tag_hash,
        store_ms,
        keys: std::mem::take(&mut record.keys),
        settings: (record.message.topic == SETTINGS_TOPIC)
            .then(|| bytes::Bytes::copy_from_slice(record.message.body)),
        fed: record.fed.take(),
        further: take_places(record.message.further),
    });
    log.files.positions.appended.store(end, Ordering::Release);
    Appended {
        position: LogPosition(position),
        end: LogPosition(end),
        queue_offset: QueueOffset(queue_offset),
        store_ms,
        size,
    }
}
