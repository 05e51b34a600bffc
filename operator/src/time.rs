//! The operator's clock: the wall clock at its start plus the time that passed since.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// The first use of the clock in this process.
static START: LazyLock<Start> = LazyLock::new(|| Start {
    wall: Timestamp::now(),
    monotonic: Instant::now(),
});

/// Now. A jump of the wall clock after the start of the operator is not followed: a drain or a restart that waits for two minutes waits
/// for two minutes, and no volume goes on the word of a clock.
pub(crate) fn now() -> Timestamp {
    let start = &*START;
    start.after(start.monotonic.elapsed())
}

struct Start {
    wall: Timestamp,
    monotonic: Instant,
}

impl Start {
    fn after(&self, passed: Duration) -> Timestamp {
        SignedDuration::try_from(passed)
            .ok()
            .and_then(|passed| self.wall.checked_add(passed).ok())
            .unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_passed_counts_from_the_start() {
        let start = Start {
            wall: "2026-01-01T00:00:00Z".parse().expect("a time"),
            monotonic: Instant::now(),
        };
        let later: Timestamp = "2026-01-05T00:00:01Z".parse().expect("a time");
        assert_eq!(start.after(Duration::from_secs(4 * 86_400 + 1)), later);
        assert_eq!(start.after(Duration::MAX), start.wall);
    }

    #[test]
    fn it_does_not_go_back() {
        let first = now();
        assert!(now() >= first);
    }
}
