//! Requests that a server sends to its client over the client's own connection.

use rmq_protocol::code::{RequestCode, ResponseCode};

use crate::exchange::Exchange;
use crate::reply::Reply;

/// Handles server-initiated requests (for example "the members of your group have changed"). Called in place: it must not block.
pub trait IncomingRequests: Send + Sync + 'static {
    /// Answers `exchange`, parks it, or (one-way) just takes note.
    fn request(&self, exchange: &mut Exchange<'_>);
}

/// Answers every request with "not supported", as unknown codes must be.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefuseIncoming;

impl IncomingRequests for RefuseIncoming {
    fn request(&self, exchange: &mut Exchange<'_>) {
        let code = exchange.header.code;
        let name = RequestCode::from_i32(code).map_or("unknown", RequestCode::name);
        exchange.fail(
            ResponseCode::RequestCodeNotSupported,
            format!("request type {code} ({name}) not supported by this client"),
        );
    }
}
