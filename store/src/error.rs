//! What can go wrong, one type per operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::ConfigProblems;
use crate::disk_error::DiskError;
use crate::dispatch::DispatchError;

/// Why a message was not stored. It is safe to send it again, except after [`AppendError::Failed`] and
/// [`AppendError::Closed`] of a message that was already appended: it may be there after a restart.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A write or sync failed earlier; nothing is written until the process is restarted.
    #[error("the store is read-only since {reason}; restart the broker after the disk is repaired")]
    ReadOnly {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The write or sync of this message failed.
    #[error("the message was not written: {reason}")]
    Failed {
        /// What the system says.
        reason: Arc<str>,
    },
    /// The next segment cannot be made, for want of room, of open files, of a right; tried again by itself.
    #[error("the store takes no messages for now: {reason}")]
    Refused {
        /// The call that fails, why, and what to do.
        reason: Arc<str>,
    },
    /// The body is too large.
    #[error("body of {bytes} bytes, at most {max} are allowed")]
    BodyTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The properties are too long for a record.
    #[error("properties of {bytes} bytes, at most {max} are allowed")]
    PropertiesTooLarge {
        /// Their size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The topic's name is too long for a record.
    #[error("topic name of {bytes} bytes, at most {max} are allowed")]
    TopicTooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The record does not fit a segment.
    #[error("record of {bytes} bytes does not fit a segment of {segment_bytes} bytes")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
        /// Size of a segment.
        segment_bytes: u64,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a record cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing was written there, or it is not confirmed yet.
    #[error("position {position} is beyond the end of the log, {end}")]
    BeyondEnd {
        /// The position asked for.
        position: u64,
        /// The confirmed end.
        end: u64,
    },
    /// It has expired.
    #[error("position {position} was removed; the log starts at {start}")]
    Removed {
        /// The position asked for.
        position: u64,
        /// The oldest position.
        start: u64,
    },
    /// The tables, which know the queues that are not in memory, cannot be read.
    #[error("the queues of topic {topic} cannot be looked up: {reason}")]
    Queues {
        /// The topic.
        topic: String,
        /// What failed.
        reason: String,
    },
    /// No record starts there, or it is damaged.
    #[error("there is no intact record at position {position}: {reason}")]
    NoRecord {
        /// The position asked for.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Why the derived files could not be brought up to date. The log has everything that they lack.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "index and tables could not be brought up to date: {reason}; it is tried again with the next run"
)]
pub struct CheckpointError {
    /// What failed.
    pub reason: String,
}

/// Why a store does not open. Nothing was changed, except where it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error("store configuration: {0}")]
    Config(#[from] ConfigProblems),
    /// Another process has it open.
    #[error("{} is in use by another process ({holder})", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder left there.
        holder: String,
    },
    /// Written by a version that this one does not know.
    #[error("{} was written in format {found}, this version knows format {known}; use the version that wrote it", path.display())]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// The format on disk.
        found: String,
        /// The format of this version.
        known: &'static str,
    },
    /// The file that names the format is damaged.
    #[error(
        "{} is damaged: it holds {found:?} instead of {known:?}; if no other version of rmq has written this folder, write the line {known} into it", path.display()
    )]
    FormatDamaged {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// The format of this version.
        known: &'static str,
    },
    /// Files are missing or have an impossible name or size.
    #[error("the log in {} is not whole: {problem}", dir.display())]
    NotWhole {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system reported an error.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is derived from the log cannot be brought up.
    #[error(transparent)]
    Derived(#[from] DispatchError),
    /// The queues cannot be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Io {
            doing: error.call,
            path: error.path,
            source: error.source,
        }
    }
}

impl OpenError {
    pub(crate) fn io<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
