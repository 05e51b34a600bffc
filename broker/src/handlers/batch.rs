//! What one connection gathers during one socket read.

use rmq_access::Recent;
use rmq_transport::Ticket;

use crate::messages::send::{SendBatch, Sent};
use crate::stats::requests::Tally;

/// Requests of one socket read, until its end.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Sends that are appended and wait for the write at the end of the batch.
    pub(crate) sends: Vec<SendTicket>,
    /// Something else was appended (a committed offset does not count).
    pub(crate) appended: bool,
    /// What the sends appended.
    pub(crate) puts: SendBatch,
    /// When the first request of the batch was looked at, monotonic microseconds.
    pub(crate) began_us: Option<i64>,
    /// Room for the message id of an answer.
    pub(crate) id: Vec<u8>,
    /// The user of the last request.
    pub(crate) recent: Recent,
    /// What was answered in place.
    pub(crate) answered: Tally,
}

/// A send that is appended and not answered yet.
#[derive(Debug)]
pub(crate) struct SendTicket {
    pub(crate) ticket: Ticket,
    pub(crate) sent: Sent,
}
