//! How a store is set up.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::settings::{self, Table};

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// When the system has the bytes (`pwrite` returned). A killed process loses nothing; a power cut loses at most what
    /// came since the last flush began. Flushes begin `interval_ms` or `bytes` apart, or as fast as the disk takes them.
    Async {
        /// Longest time between a write and its flush, milliseconds; 1 to 60,000.
        interval_ms: u64,
        /// A flush starts when this much was written since the last; at least 4096.
        bytes: u64,
    },
    /// When the disk has the bytes (`fdatasync` returned).
    Sync,
}

impl Default for FlushMode {
    fn default() -> Self {
        Self::Async {
            interval_ms: 200,
            bytes: 1 << 20,
        }
    }
}

/// Milliseconds since 1970, from wherever the owner of the store takes time.
pub type NowMs = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Default and largest value of [`StoreConfig::staged_bytes_max`].
pub const STAGED_BYTES_MAX: u64 = 32 << 20;

/// Set-up of a store. Checked as a whole by [`StoreConfig::validate`].
#[derive(Clone)]
pub struct StoreConfig {
    /// Folder of all files.
    pub dir: PathBuf,
    /// Size of a new segment, bytes; 64 KiB to 1 GiB (default 1 GiB). A record must fit twice.
    pub segment_bytes: u64,
    /// When an append is acknowledged.
    pub flush: FlushMode,
    /// Segments whose newest message is older are removed, milliseconds (default 72 h).
    pub retention_ms: i64,
    /// Above this share of the disk the oldest segments are removed before they expire; 1 (the default) is never: then
    /// messages are refused instead, above `disk_full_ratio`.
    pub disk_evict_ratio: f64,
    /// Above this share of the disk, writes are refused; 0 to 1 (default 0.95).
    pub disk_full_ratio: f64,
    /// Largest message body, bytes (default 4 MiB, as upstream's `maxMessageSize`).
    pub body_bytes_max: usize,
    /// A run file is written for about this much log, bytes (default 64 MiB).
    pub index_run_bytes: u64,
    /// Address that stands in records and message ids.
    pub store_host: SocketAddr,
    /// Appended bytes that may wait to be written, all together; at least 64 KiB (default 32 MiB). The append that finds more writes
    /// them, so each thread may add one message.
    pub staged_bytes_max: u64,
    /// Reads this close to the end of the log are taken to be in memory without asking, bytes (default 256 MiB).
    pub hot_bytes: u64,
    /// Threads that read what is not in memory; 1 to 64.
    pub cold_threads: usize,
    /// Reads that may wait for those threads.
    pub cold_queue_max: usize,
    /// Go on although settings were lost with damaged tables and the log no longer reaches back to its beginning.
    pub accept_lost_tables: bool,
    /// Write run files in the background. Tests that want to decide when turn it off.
    pub background: bool,
    /// The tables that live in the log, besides the messages (default: none). A store that holds changes of a table must be opened with
    /// that table.
    pub tables: Vec<Table>,
    /// Where time comes from.
    pub now_ms: NowMs,
}

impl StoreConfig {
    /// Defaults for a store in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes: 1 << 30,
            flush: FlushMode::default(),
            retention_ms: 72 * 3_600_000,
            disk_evict_ratio: 1.0,
            disk_full_ratio: 0.95,
            body_bytes_max: 4 << 20,
            index_run_bytes: 64 << 20,
            store_host: SocketAddr::from((Ipv4Addr::LOCALHOST, 10911)),
            staged_bytes_max: STAGED_BYTES_MAX,
            hot_bytes: 256 << 20,
            cold_threads: 2,
            cold_queue_max: 4_096,
            accept_lost_tables: false,
            background: true,
            tables: Vec::new(),
            now_ms: Arc::new(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_millis() as i64)
            }),
        }
    }

    /// Checks every value and their combination; reports all problems at once.
    ///
    /// # Errors
    /// The list of what is wrong.
    pub fn validate(&self) -> Result<(), ConfigProblems> {
        let mut problems = Vec::new();
        let mut demand = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        demand(
            (64 << 10..=1 << 30).contains(&self.segment_bytes),
            format!(
                "segment size {} is not between 64 KiB and 1 GiB",
                self.segment_bytes
            ),
        );
        demand(
            (64 << 10..=STAGED_BYTES_MAX).contains(&self.staged_bytes_max),
            format!(
                "{} staged bytes are not between 64 KiB and 32 MiB",
                self.staged_bytes_max
            ),
        );
        demand(
            self.segment_bytes.is_multiple_of(4096),
            format!(
                "segment size {} is not a multiple of 4096",
                self.segment_bytes
            ),
        );
        if let FlushMode::Async { interval_ms, bytes } = self.flush {
            demand(
                (1..=60_000).contains(&interval_ms),
                format!("flush interval {interval_ms} ms is not between 1 and 60000"),
            );
            demand(bytes >= 4096, format!("flush bytes {bytes} are below 4096"));
        }
        demand(
            self.retention_ms > 0,
            format!("retention {} ms is not positive", self.retention_ms),
        );
        for (name, ratio) in [
            ("disk evict ratio", self.disk_evict_ratio),
            ("disk full ratio", self.disk_full_ratio),
        ] {
            demand(
                (0.0..=1.0).contains(&ratio),
                format!("{name} {ratio} is not between 0 and 1"),
            );
        }
        demand(
            (1..=64).contains(&self.cold_threads),
            format!(
                "{} cold-read threads are not between 1 and 64",
                self.cold_threads
            ),
        );
        demand(
            self.cold_queue_max > 0,
            "the queue of cold reads has no room".to_owned(),
        );
        demand(
            self.body_bytes_max > 0 && self.body_bytes_max <= 64 << 20,
            format!(
                "body limit {} is not between 1 byte and 64 MiB",
                self.body_bytes_max
            ),
        );
        problems.extend(settings::problems(&self.tables));
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigProblems(problems))
        }
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("dir", &self.dir)
            .field("segment_bytes", &self.segment_bytes)
            .field("flush", &self.flush)
            .field("retention_ms", &self.retention_ms)
            .finish_non_exhaustive()
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ConfigProblems(pub Vec<String>);
