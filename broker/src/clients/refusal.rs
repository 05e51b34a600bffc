//! Why an operation on clients is refused. Each front has its own table from these to its codes.

use thiserror::Error;

use crate::filter::FilterError;
use crate::sessions::TooManyClients;

/// Heartbeats, groups' members, queue locks.
#[derive(Debug, Error)]
pub(crate) enum ClientRefusal {
    #[error("the heartbeat has no clientID")]
    NoClientId,
    #[error(
        "the subscription of group {group} to topic {topic} cannot be used: {error}; use fewer or shorter tags, or several groups"
    )]
    Subscription {
        group: String,
        topic: String,
        error: FilterError,
    },
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    TooMany(#[from] TooManyClients),
    #[error("no consumer for this group, {0}")]
    NoConsumer(String),
    #[error("the consumer group[{0}] not online")]
    NotOnline(String),
    #[error("The Consumer <{group}> <{client_id}> not online")]
    NoMember { group: String, client_id: String },
    #[error("the producer group[{0}] not exist")]
    NoProducers(String),
    #[error("field {0} is empty")]
    Empty(&'static str),
    #[error("field queueId is {queue_id}: no queue of topic {topic} has a negative number")]
    NegativeQueue { topic: String, queue_id: i32 },
}
