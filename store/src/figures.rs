//! Figures of a store: how far it has come, and what it takes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::commit_log::CommitLog;
use crate::fs::Space;
use crate::log_reader::LogReader;

/// How far a store has come, log positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// Oldest record.
    pub min: u64,
    /// End of what was appended.
    pub appended: u64,
    /// End of what is written.
    pub written: u64,
    /// End of what is durable.
    pub flushed: u64,
    /// End of what can no longer be truncated.
    pub confirmed: u64,
    /// End of what is visible: the index and the settings know it.
    pub dispatched: u64,
}

/// Figures of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreStats {
    /// Segments of the log.
    pub segments: usize,
    /// Bytes that the segments take on the disk.
    pub log_bytes: u64,
    /// Run files of the index.
    pub index_runs: usize,
    /// Bytes of the run files.
    pub index_bytes: u64,
    /// Room on the file system.
    pub space: Space,
    /// Store time of the oldest record, Unix milliseconds.
    pub oldest_ms: Option<i64>,
    /// How long recovery took.
    pub recovery_took: Duration,
}

impl Positions {
    pub(crate) fn of(log: &CommitLog) -> Self {
        let marks = &log.files.positions;
        Self {
            min: LogReader::start(&*log.files),
            appended: marks.appended.load(Ordering::Acquire),
            written: marks.written.load(Ordering::Acquire),
            flushed: marks.flushed.load(Ordering::Acquire),
            confirmed: marks.confirmed.load(Ordering::Acquire),
            dispatched: log.dispatcher.dispatched(),
        }
    }
}

impl StoreStats {
    /// Asks the file system.
    pub(crate) fn of(log: &CommitLog, recovery_took: Duration) -> Self {
        let files = &log.files;
        let segments = files.segments();
        let (index_runs, index_bytes) = log.dispatcher.index_size();
        Self {
            index_runs,
            index_bytes,
            segments: segments.len(),
            log_bytes: segments
                .iter()
                .map(|segment| segment.end() - segment.base())
                .sum(),
            space: files.fs.space(log.dir()).unwrap_or_default(),
            oldest_ms: files.store_time(LogReader::start(&**files)),
            recovery_took,
        }
    }
}
