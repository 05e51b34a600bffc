//! How a connection between two members behaves. Both ends have their own.

use std::time::Duration;

use crate::guard::MaybeGuard;

/// Largest piece of the log that is read and sent at once, bytes; a larger record travels alone.
pub const PIECE_BYTES_MAX: usize = 1 << 20;

/// Limits and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// Largest piece that is read and sent at once, bytes; 4 KiB to [`PIECE_BYTES_MAX`] (default 1 MiB). A larger record travels alone.
    pub piece_bytes: usize,
    /// Bytes that may be on the way to a replica, sent and not reported; at least one piece always is (default 16 MiB).
    pub in_flight_bytes_max: u64,
    /// Bytes a second that a replica far behind gets at least, beside twice what is stored meanwhile. It gets more while nobody else of the master
    /// waits for its turn (default 64 MiB).
    pub catch_up_bytes_per_second: u64,
    /// A member that has nothing to say says so after this time (default 1 s).
    pub heartbeat: Duration,
    /// A connection on which nothing is heard for this long is closed (default 5 s). Above twice the heartbeat.
    pub silence_max: Duration,
    /// A greeting must be there after this time (default 5 s).
    pub greeting_max: Duration,
    /// First and longest pause before a replica connects again (default 50 ms and 2 s); it doubles in between.
    pub back_off: (Duration, Duration),
    /// How long the master waits for more to send before it tells a replica that nothing but the confirmed position has moved
    /// (default 5 ms).
    pub confirm_delay: Duration,
    /// Connections that a master keeps open at a time, greeted or not; 1 or more (default 64). Further ones are closed.
    pub connections_max: usize,
    /// What stands between a socket and its first frame (default nothing). It has [`greeting_max`](Self::greeting_max) too.
    pub guard: MaybeGuard,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            piece_bytes: PIECE_BYTES_MAX,
            in_flight_bytes_max: 16 << 20,
            catch_up_bytes_per_second: 64 << 20,
            heartbeat: Duration::from_secs(1),
            silence_max: Duration::from_secs(5),
            greeting_max: Duration::from_secs(5),
            back_off: (Duration::from_millis(50), Duration::from_secs(2)),
            confirm_delay: Duration::from_millis(5),
            connections_max: 64,
            guard: MaybeGuard::default(),
        }
    }
}
