//! Every limit of a connection and of a server, in one place.

use std::time::Duration;

use rmq_protocol::limits::FrameLimits;

use crate::close_reason::CloseReason;

/// Limits of a server's connections.
#[derive(Debug, Clone)]
pub struct TransportLimits {
    /// Open connections in all; more are closed when accepted.
    pub connections_max: usize,
    /// Open connections of one source address. Loopback is exempt.
    pub connections_per_source_max: usize,
    /// Requests of one connection that wait for an answer; beyond it the connection is not read.
    pub parked_requests_max: usize,
    /// Bytes that wait to be sent on one connection; beyond it the connection is not read.
    pub out_bytes_pause: usize,
    /// Bytes that wait to be sent on one connection; beyond it the connection is closed: its peer does not read.
    pub out_bytes_max: usize,
    /// From the first byte of a frame to its last, beside the time that its bytes take at `frame_bytes_per_second_min`.
    pub started_frame_timeout: Duration,
    /// Slowest link that a frame may come over: what arrived of a frame gives it as much time more.
    pub frame_bytes_per_second_min: usize,
    /// Handshakes of a server that run at once; more wait for a place.
    pub handshakes_max: usize,
    /// From the first byte of a handshake to its end, the wait for a place included.
    pub handshake_timeout: Duration,
    /// Without traffic in either direction (upstream: 120 s, `NettyServerConfig`).
    pub idle_timeout: Duration,
    /// Without progress while there are bytes to send (upstream: 120 s, as its idle time counts both directions).
    pub write_stall_timeout: Duration,
    /// Limits of one frame.
    pub frame: FrameLimits,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_source_max: 1_000,
            parked_requests_max: 65_536,
            out_bytes_pause: 4 << 20,
            out_bytes_max: 256 << 20,
            started_frame_timeout: Duration::from_secs(30),
            frame_bytes_per_second_min: 16 * 1024,
            handshakes_max: 512,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            write_stall_timeout: Duration::from_secs(120),
            frame: FrameLimits::default(),
        }
    }
}

/// The time limit of a connection that passes first.
#[derive(Debug)]
pub(crate) struct Limit {
    /// When it passes, monotonic milliseconds.
    pub(crate) at_ms: i64,
    pub(crate) reason: CloseReason,
}

impl Limit {
    /// A limit that never passes.
    pub(crate) fn never(reason: CloseReason) -> Self {
        Self {
            at_ms: i64::MAX,
            reason,
        }
    }

    /// A limit of so long since then, when it passes sooner.
    pub(crate) fn consider(&mut self, since_ms: i64, timeout: Duration, reason: CloseReason) {
        let at_ms = since_ms.saturating_add(timeout.as_millis() as i64);
        if at_ms < self.at_ms {
            *self = Self { at_ms, reason };
        }
    }
}
