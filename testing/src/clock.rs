//! A clock that runs, and that a test can move ahead.

use std::sync::Arc;
use std::time::Duration;

use rmq_transport::{Clock, SleepFuture, SystemClock};
use tokio::sync::watch;

/// The system's time plus what the test added. Waits that a move makes due are over at once.
#[derive(Debug, Clone)]
pub struct TestClock {
    ahead_ms: Arc<watch::Sender<i64>>,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            ahead_ms: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl TestClock {
    /// Moves it ahead.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.ahead_ms
            .send_modify(|ahead| *ahead = ahead.saturating_add(by));
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now_ms() + *self.ahead_ms.borrow()
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let clock = self.clone();
        let mut moved = self.ahead_ms.subscribe();
        Box::pin(async move {
            loop {
                let Ok(wait) = u64::try_from(at_ms - clock.now_ms()) else {
                    return;
                };
                if wait == 0 {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                    // The sender lives in `clock`.
                    _ = moved.changed() => {}
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_move_ends_waits() {
        let clock = TestClock::default();
        let before = clock.now_ms();
        let hour = clock.sleep_until_ms(before + 3_600_000);
        let mut hour = std::pin::pin!(hour);
        assert!(futures_util::poll!(&mut hour).is_pending());
        clock.advance(Duration::from_secs(1_800));
        assert!(futures_util::poll!(&mut hour).is_pending());
        clock.advance(Duration::from_secs(1_800));
        hour.await;
        assert!(clock.now_ms() >= before + 3_600_000);
    }
}
