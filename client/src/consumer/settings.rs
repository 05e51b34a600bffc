//! Settings of a consumer.

use std::path::PathBuf;
use std::time::Duration;

use super::assign::Assignment;
use super::filter::Filter;
use super::start::StartFrom;

/// How often, and after what pause, a message that could not be handled comes again.
///
/// ```
/// use std::time::Duration;
/// use rmq_client::Retry;
///
/// let retry = Retry::up_to(8).backoff(Duration::from_secs(1)..Duration::from_secs(600));
/// assert_eq!(retry.pause_after(1), Some(Duration::from_secs(1)));
/// assert_eq!(retry.pause_after(4), Some(Duration::from_secs(8)));
/// assert_eq!(retry.pause_after(100), Some(Duration::from_secs(600)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Retry {
    times: Option<u32>,
    backoff: Option<(Duration, Duration)>,
}

impl Retry {
    /// As the group's settings at the broker say: usually 16 times, after 10 s, 30 s, 1 min … 2 h. Ordered consumers repeat without end.
    pub fn by_group() -> Self {
        Self::default()
    }

    /// At most this many times after the first; then the message goes to the dead letters.
    pub fn up_to(times: u32) -> Self {
        Self {
            times: Some(times),
            backoff: None,
        }
    }

    /// Pauses from the first bound on, each twice the one before, up to the second. Brokers round them up to one of their delay
    /// levels, the longest of which is two hours; an ordered consumer keeps them exactly, as it waits itself. A consumer that is given
    /// longer pauses than it can keep does not start.
    pub fn backoff(mut self, pauses: std::ops::Range<Duration>) -> Self {
        self.backoff = Some((pauses.start, pauses.end.max(pauses.start)));
        self
    }

    /// The pause after this many attempts; `None`: the broker decides.
    #[must_use]
    pub fn pause_after(&self, attempts: u32) -> Option<Duration> {
        let (first, longest) = self.backoff?;
        let doubled = first.saturating_mul(1 << attempts.saturating_sub(1).min(30));
        Some(doubled.min(longest))
    }

    /// The longest pause.
    pub(crate) fn pause_max(&self) -> Option<Duration> {
        Some(self.backoff?.1)
    }

    pub(crate) fn times(&self) -> Option<u32> {
        self.times
    }
}

/// A topic and what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) topic: String,
    pub(crate) filter: Filter,
}

/// Where a broadcast consumer keeps its offsets.
#[derive(Debug, Clone)]
pub(crate) enum BroadcastOffsets {
    Memory,
    File(PathBuf),
}

#[derive(Debug, Clone)]
pub(crate) struct ConsumerSettings {
    pub(crate) ordered: bool,
    pub(crate) broadcast: Option<BroadcastOffsets>,
    pub(crate) retry: Retry,
    pub(crate) assignment: Assignment,
    pub(crate) from: StartFrom,
    pub(crate) prefetch_messages: usize,
    pub(crate) prefetch_bytes: usize,
    pub(crate) commit_every: Duration,
    pub(crate) drain_within: Duration,
}

impl ConsumerSettings {
    /// Whether messages that come again wait at a broker, which has levels for that.
    pub(crate) fn waits_at_brokers(&self) -> bool {
        !self.ordered && self.broadcast.is_none()
    }
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            ordered: false,
            broadcast: None,
            retry: Retry::default(),
            assignment: Assignment::default(),
            from: StartFrom::default(),
            prefetch_messages: 4_096,
            prefetch_bytes: 64 * 1024 * 1024,
            commit_every: Duration::from_secs(5),
            drain_within: Duration::from_secs(25),
        }
    }
}
