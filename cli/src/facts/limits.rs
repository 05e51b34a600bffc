//! How much is asked at once.

/// Requests at once: enough to hide the servers' latency, few enough not to load them.
pub(crate) const AT_ONCE: usize = 16;
