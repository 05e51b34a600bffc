//! Why an operation on transactions is refused.

use rmq_store::{AppendError, ReadError, SettingsError};
use thiserror::Error;

use crate::group::member::TooFewInSync;
use crate::messages::refusal::TopicWithoutQueue;
use crate::tables::half::{Ending, NotOpen};
use crate::work::Interrupted;

/// The end of a transaction.
#[derive(Debug, Error)]
pub(crate) enum EndRefusal {
    #[error("field commitOrRollback is {0}, neither 8 (commit) nor 12 (rollback) nor 0 (unknown)")]
    Kind(i32),
    #[error("field {field} is negative: {number}")]
    Negative { field: &'static str, number: i64 },
    #[error("there is no half message at log position {position}: {}", NotOpenText(.why, .wanted))]
    NotOpen {
        position: u64,
        why: NotOpen,
        wanted: Ending,
    },
    #[error("The producer group wrong: the half message is of group {of}, and group {by} ends it")]
    Group { of: String, by: String },
    #[error(
        "The transaction state table offset wrong: the half message has offset {of}, and offset {wanted} is to end"
    )]
    Offset { of: i64, wanted: i64 },
    #[error(
        "the half message at log position {position} stays open: its topic {topic} does not exist; create it, and the producers are asked again"
    )]
    NoTopic { position: u64, topic: String },
    #[error(transparent)]
    WithoutQueue(#[from] TopicWithoutQueue),
    #[error(transparent)]
    TooFew(#[from] TooFewInSync),
    #[error("the half message at log position {position} cannot be read: {error}")]
    Read { position: u64, error: ReadError },
    #[error("the half message at log position {0} is damaged")]
    Damaged(u64),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// What is known of an end that comes too late.
struct NotOpenText<'a>(&'a NotOpen, &'a Ending);

impl std::fmt::Display for NotOpenText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = |ending: &Ending| match ending {
            Ending::Commit => "committed",
            Ending::RollBack => "rolled back",
            Ending::Move => "being parked, or comes back from there",
        };
        match self.0 {
            NotOpen::Unknown => f.write_str(
                "it ended before this broker became the master, or the position is not of a half message of this broker",
            ),
            NotOpen::Ended(ending) if ending == self.1 => {
                write!(f, "it is {} already", how(ending))
            }
            NotOpen::Ended(ending) => {
                write!(f, "it is {}, so it cannot be {}", how(ending), how(self.1))
            }
        }
    }
}

/// A half message that is to be checked again.
#[derive(Debug, Error)]
pub(crate) enum ResumeRefusal {
    #[error("field msgId is {0:?}, which is no offset message id (32 or 56 hexadecimal digits)")]
    MessageId(String),
    #[error("there is no half message at log position {0} that is open or parked")]
    Unknown(u64),
    #[error("the message at log position {position} cannot be read: {error}")]
    Read { position: u64, error: ReadError },
    #[error("the message at log position {0} is damaged")]
    Damaged(u64),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("{0} transactions are open, the limit (halfMessagesMax); end some of them first")]
    TooMany(usize),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
}
