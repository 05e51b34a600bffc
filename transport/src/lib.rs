//! Sockets for the remoting protocol: accept, dial, frame, correlate, limit, drain.
//!
//! Both ends use one connection machine ([`connection`](self)), over any stream: every complete frame of one read is handled in
//! place, and the answers leave in one write. A server implements [`Service`]; a client holds a [`Caller`] per address.
//! This crate knows frames and headers, and not what any request means.

mod accept;
mod budget;
mod call_error;
mod caller;
mod clock;
mod close_reason;
mod connection;
mod connector;
mod exchange;
mod gather;
mod handling;
mod incoming;
mod limits;
mod log_gate;
mod machine;
mod outbox;
mod owned_frame;
mod peer;
mod reading;
mod reply;
mod scratch;
mod server;
mod spare;
mod ticket;
#[cfg(feature = "tls")]
mod tls;
mod writing;

pub use accept::{Handshake, Identity, Plain};
pub use budget::{MEMORY_BYTES_MIN, MemoryBudget, MemoryUse, Room};
pub use call_error::CallError;
pub use caller::{Caller, CallerConfig, CallerEvent};
pub use clock::{Clock, ManualClock, SleepFuture, SystemClock};
pub use close_reason::CloseReason;
pub use connector::{ConnectFuture, Connector, Stream, TcpConnector};
pub use exchange::{Answered, Exchange, Service};
pub use incoming::{IncomingRequests, RefuseIncoming};
pub use limits::TransportLimits;
pub use machine::{memory_bytes, memory_limit};
pub use owned_frame::OwnedFrame;
pub use peer::{Peer, PeerCallError};
pub use reply::{BatchReply, PendingReply, Replies, Reply};
pub use server::{ServeReport, ServerConfig, bind, serve, serve_with};
pub use ticket::{Busy, Ticket};
#[cfg(feature = "tls")]
pub use tls::{
    ClientCertificates, Reloaded, TlsClient, TlsClientSettings, TlsConnector, TlsFile, TlsProblem,
    TlsServer, TlsServerSettings, TlsSocket, TlsStatus, TlsTexts,
};
