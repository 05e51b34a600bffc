//! What stands between a socket and the first frame of a connection between two members, as TLS. Usually nothing does.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::reason::{Reason, ReasonKind};

/// A byte stream between two members.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A socket on which frames may begin.
pub enum Guarded {
    /// The socket itself. To it the thread that writes the log writes as well.
    Plain(TcpStream),
    /// What was made of it.
    Other(Box<dyn Stream>),
}

/// A socket that becomes [`Guarded`]; an error says why there is no connection.
pub type GuardFuture<'a> = Pin<Box<dyn Future<Output = io::Result<Guarded>> + Send + 'a>>;

/// Shakes hands over sockets. The caller applies the time limit.
pub trait Guard: Send + Sync {
    /// With a member that has connected.
    fn accept(&self, socket: TcpStream) -> GuardFuture<'_>;

    /// With the member at `address`, `host:port`.
    fn dial<'a>(&'a self, socket: TcpStream, address: &'a str) -> GuardFuture<'a>;
}

/// The guard of a [`ReplicationConfig`](crate::ReplicationConfig); by default there is none.
#[derive(Clone, Default)]
pub struct MaybeGuard(pub Option<Arc<dyn Guard>>);

impl MaybeGuard {
    pub(crate) async fn accept(&self, socket: TcpStream) -> io::Result<Guarded> {
        match &self.0 {
            None => Ok(Guarded::Plain(socket)),
            Some(guard) => guard.accept(socket).await,
        }
    }

    pub(crate) async fn dial(&self, socket: TcpStream, address: &str) -> io::Result<Guarded> {
        match &self.0 {
            None => Ok(Guarded::Plain(socket)),
            Some(guard) => guard.dial(socket, address).await,
        }
    }
}

impl fmt::Debug for MaybeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            None => "no guard",
            Some(_) => "a guard",
        })
    }
}

impl PartialEq for MaybeGuard {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for MaybeGuard {}

/// Why there is no connection to the member at `address`, to which a socket was connected.
pub(crate) fn not_shaken(address: &str, error: &io::Error) -> Reason {
    Reason::new(
        ReasonKind::Silence,
        format!("there is no connection to the member at {address}: {error}"),
    )
}
