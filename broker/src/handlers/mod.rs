//! One module per kind of request. A handler decodes, decides, and answers; it keeps no state.

pub(crate) mod admin;
pub(crate) mod clients;
pub(crate) mod locks;
pub(crate) mod offsets;
pub(crate) mod properties;
pub(crate) mod pull;
pub(crate) mod put;
pub(crate) mod query;
pub(crate) mod send;
pub(crate) mod send_back;

use rmq_protocol::code::ResponseCode;
use rmq_protocol::requests::{FieldError, Request};
use rmq_transport::Exchange;
use smallvec::SmallVec;

use crate::stats::requests;

/// What one connection gathers during one socket read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Sends that are appended and wait for the write at the end of the batch.
    pub(crate) sends: Vec<send::SendTicket>,
    /// Something else was appended (a committed offset does not count).
    pub(crate) appended: bool,
    pub(crate) properties: String,
    /// What was appended to the topic of the last send: most sends of a batch go to the same.
    pub(crate) recent: Option<put::Put>,
    /// What was appended to other topics.
    pub(crate) puts: SmallVec<[put::Put; 1]>,
    /// When the first send of the batch was looked at, Unix milliseconds.
    pub(crate) now_ms: Option<i64>,
    /// When the first request of the batch was looked at, monotonic microseconds.
    pub(crate) began_us: Option<i64>,
    /// What was answered in place.
    pub(crate) answered: requests::Tally,
}

/// Decodes the fields of a request; answers itself when they are wrong.
pub(crate) fn decode<'a, R: Request<'a>>(exchange: &mut Exchange<'a>) -> Option<R> {
    let header = exchange.header;
    match R::decode(&header.fields) {
        Ok(request) => Some(request),
        Err(error) => {
            refuse_fields(exchange, &error);
            None
        }
    }
}

pub(crate) fn refuse_fields(exchange: &mut Exchange<'_>, error: &FieldError) {
    exchange.fail(ResponseCode::SystemError, error.to_string());
}
