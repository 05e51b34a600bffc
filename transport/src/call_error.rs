//! Why a call to another server has no answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection could be made: the request was not sent.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// Where to.
        addr: String,
        /// What the system says.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection broke after the request was handed to it: it may have been processed.
    #[error("the connection to {addr} was lost before the answer came{}", because(why.as_deref()))]
    Lost {
        /// Where to.
        addr: String,
        /// Why, when more is known than that it was closed.
        why: Option<String>,
    },
    /// No answer in time: it may have been processed.
    #[error("no answer from {addr} within {after:?}")]
    Timeout {
        /// Where to.
        addr: String,
        /// The time limit.
        after: Duration,
    },
    /// No connection, or no room among the calls in flight, in time: the request was not sent.
    #[error("{addr} could not take the request within {after:?}: {why}")]
    NotSent {
        /// Where to.
        addr: String,
        /// The time limit.
        after: Duration,
        /// What it waited for.
        why: &'static str,
    },
    /// The request is larger than any server takes: it was not sent, and the connection is whole.
    #[error("a request of {bytes} bytes to {addr} is too large: servers take {max}")]
    TooLarge {
        /// Where to.
        addr: String,
        /// Bytes of its body.
        bytes: usize,
        /// Bytes of a body at most.
        max: usize,
    },
    /// The caller was closed here: the request was not sent.
    #[error("the connection to {addr} was closed by this program")]
    Closed {
        /// Where to.
        addr: String,
    },
}

impl CallError {
    /// Whether the other side may have handled the request. `false` means that sending it again cannot double it.
    #[must_use]
    pub fn may_have_been_processed(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Timeout { .. })
    }
}

fn because(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}
