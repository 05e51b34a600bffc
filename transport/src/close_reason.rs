//! Why connections end.

use std::time::Duration;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    ByPeer,
    /// The system reported an error.
    #[error("connection failed: {0}")]
    Io(String),
    /// The peer sent what is not a frame, or one beyond the limits.
    #[error("not a valid frame: {0}")]
    BadFrame(String),
    /// The peer speaks TLS to a port without it.
    #[error(
        "the peer starts a TLS handshake, which this port does not offer: give the server a certificate, or use a plain connection"
    )]
    Tls,
    /// The peer answers a plain connection with TLS.
    #[error("the other side takes only TLS, and this connection is plain: use TLS")]
    TlsOnly,
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The handshake took too long.
    #[error("the handshake was not over within {0:?}")]
    HandshakeTimeout(Duration),
    /// A frame that was started and not finished.
    #[error("a frame was started and not finished within {0:?}")]
    StartedFrame(Duration),
    /// No traffic.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// The peer does not read what it asked for.
    #[error("the peer did not read for {0:?} while data was waiting for it")]
    WriteStall(Duration),
    /// Too much waits for the peer.
    #[error("more than {0} bytes wait for the peer, which does not read them")]
    OutTooMuch(usize),
    /// Memory is short, and the peer does not send the rest of a frame of which much is held.
    #[error(
        "memory is short (memoryBytes), and the rest of a frame, of which {0} bytes are held, does not come"
    )]
    FrameHoldsMemory(usize),
    /// Memory is short, and the peer reads too slowly what is held for it.
    #[error(
        "memory is short (memoryBytes), and the peer reads the {0} bytes that are held for it too slowly"
    )]
    AnswersHoldMemory(usize),
    /// The server stops.
    #[error("the server stops")]
    Stopping,
    /// Somebody here wanted it.
    #[error("{0}")]
    Local(&'static str),
}
