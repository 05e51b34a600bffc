//! Why an operation on the progress of groups is refused. Each front has its own table from these to its codes.

use rmq_protocol::names::NameError;
use rmq_store::{AppendError, ReadError, SettingsError};
use thiserror::Error;

use crate::work::Interrupted;

/// One offset of a group, or a bound of a queue.
#[derive(Debug, Error)]
pub(crate) enum OffsetRefusal {
    #[error(
        "Not found, maybe this group consumer boot first: group {group}, topic {topic}, queue {queue_id}"
    )]
    NotFound {
        group: String,
        topic: String,
        queue_id: i32,
    },
    #[error("Group {0} not exist!")]
    NoGroup(String),
    #[error("Topic {0} not exist!")]
    NoTopic(String),
    #[error("topic[{0}] not exist, apply first please!")]
    NoTopicYet(String),
    #[error("topic {topic} has no queue {queue_id}; it has {queues}")]
    NoQueue {
        topic: String,
        queue_id: i32,
        queues: usize,
    },
    #[error("the offset {0} is negative")]
    Negative(i64),
    #[error("the offset is not stored: {0}")]
    NotStored(AppendError),
    #[error(
        "the offset of group {group} is not kept: the broker has offsets of {max} pairs of topic and group, the limit for groups that need no creation (4 for each of maxLmqConsumeQueueNum)"
    )]
    TooMany { group: String, max: usize },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Offsets that an administrator sets.
#[derive(Debug, Error)]
pub(crate) enum ResetRefusal {
    #[error("Topic {0} does not exist")]
    NoTopic(String),
    #[error("Group {0} not exist!")]
    NoGroup(String),
    #[error("Target offset {offset} is outside of queue {queue_id} of {topic}: {min} to {max}")]
    OutsideOfQueue {
        topic: String,
        queue_id: i32,
        offset: i64,
        min: i64,
        max: i64,
    },
    #[error("topic {topic} has no queue {queue_id}")]
    NoQueue { topic: String, queue_id: i32 },
    #[error("field destGroup: {0}")]
    Destination(NameError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] SettingsError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}
