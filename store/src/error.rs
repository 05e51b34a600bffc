//! What can go wrong while a store is open, one type per operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a message was not stored. It is safe to send it again, except after [`AppendError::Failed`], [`AppendError::NotFlushed`],
/// [`AppendError::Fenced`] and [`AppendError::Closed`] of a message that was already appended: it may be there later.
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
    /// With sync flush: this message was appended, and the disk does not have it for sure.
    #[error("the message was not written: {reason}")]
    NotFlushed {
        /// What the system says.
        reason: Arc<str>,
    },
    /// This store is the master no more; another member may be.
    #[error("this broker is not the master: {reason}")]
    Fenced {
        /// What is known of the master.
        reason: Arc<str>,
    },
    /// The master takes nothing for now; what was appended before goes its way.
    #[error("the master takes nothing for now: {reason}")]
    Paused {
        /// Why.
        reason: Arc<str>,
    },
    /// The next segment cannot be made, for want of room, of open files, of a right; tried again by itself.
    #[error("the store takes no messages for now: {reason}")]
    Refused {
        /// The call that fails, why, and what to do.
        reason: Arc<str>,
    },
    /// This message was appended, and not every member of the group that must have it has confirmed that in time.
    #[error("the message is stored, and was not confirmed in time by {reason}")]
    NotReplicated {
        /// Who is missing.
        reason: Arc<str>,
        /// None of them has a connection to the master.
        is_away: bool,
    },
    /// The store copies the log of a master.
    #[error(
        "this broker is a replica: it takes no messages and no changes of its own, the master of its group does"
    )]
    NotMaster,
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
    /// The rows of a table on disk cannot be read.
    #[error("table {table} cannot be read: {reason}")]
    Table {
        /// The table.
        table: String,
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

/// Why an epoch does not begin.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// A master of this or of a later epoch has written already.
    #[error("epoch {wanted} does not follow epoch {current}, which the log has already")]
    NotLater {
        /// The newest epoch of the log.
        current: u64,
        /// The one to begin.
        wanted: u64,
    },
    /// The epoch would begin inside of what earlier masters have written, or behind the end of the log.
    #[error("epoch {wanted} cannot begin at position {first}: the log ends at {end}")]
    NotAtEnd {
        /// The epoch to begin.
        wanted: u64,
        /// Where it would begin.
        first: u64,
        /// Where the log ends.
        end: u64,
    },
    /// The store is closed, or is the master no more.
    #[error("the store takes no writes any more")]
    Closed,
    /// The file cannot be written; the log continues in its epoch.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}
