//! Sockets for the remoting protocol: accept, dial, frame, correlate, limit, drain.
//!
//! Both ends use one connection machine ([`connection`](self)): every complete frame of one socket read is handled in place
//! and the answers leave in one write. A server implements [`Service`]; a client holds a [`Caller`] per address.
//! This crate knows frames and headers, and not what any request means.

mod budget;
mod caller;
mod clock;
mod connection;
mod connector;
mod exchange;
mod gather;
mod incoming;
mod limits;
mod log_gate;
mod machine;
mod outbox;
mod owned_frame;
mod peer;
mod scratch;
mod server;

pub use budget::{MEMORY_BYTES_MIN, MemoryBudget, MemoryUse, Room};
pub use caller::{CallError, Caller, CallerConfig, CallerEvent};
pub use clock::{Clock, ManualClock, SleepFuture, SystemClock};
pub use connector::{ConnectFuture, Connector, Stream, TcpConnector};
pub use exchange::{Answered, Exchange, PendingReply, Replies, Service, Ticket};
pub use incoming::{IncomingRequests, RefuseIncoming};
pub use limits::TransportLimits;
pub use machine::{memory_bytes, memory_limit};
pub use owned_frame::OwnedFrame;
pub use peer::{CloseReason, Peer, PeerCallError};
pub use server::{ServeReport, ServerConfig, bind, serve};
