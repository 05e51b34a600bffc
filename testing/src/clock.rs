//! Clocks that run, and that a test can move ahead or set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rmq_transport::{Clock, SleepFuture, SystemClock};
use tokio::sync::watch;

/// The system's time plus what the test added. Waits that a move makes due are over at once.
#[derive(Debug, Clone)]
pub struct TestClock {
    added: Arc<watch::Sender<Added>>,
    /// By how much the wall clock of one server was set, milliseconds.
    own_ms: Arc<AtomicI64>,
}

/// What a test added, milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Added {
    /// Time that passed.
    passed_ms: i64,
    /// By how much the wall clock was set.
    set_ms: i64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            added: Arc::new(watch::Sender::new(Added::default())),
            own_ms: Arc::default(),
        }
    }
}

impl TestClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.added
            .send_modify(|added| added.passed_ms = added.passed_ms.saturating_add(by));
    }

    /// Sets the wall clock by `by_ms`, ahead or back, as an administrator or NTP does. No time passes.
    pub fn jump_ms(&self, by_ms: i64) {
        self.added
            .send_modify(|added| added.set_ms = added.set_ms.saturating_add(by_ms));
    }

    /// The clock of one server: it goes with this one, and can be set by itself.
    pub(crate) fn of_server(&self) -> Self {
        Self {
            added: Arc::clone(&self.added),
            own_ms: Arc::default(),
        }
    }

    /// Sets the wall clock of this server alone.
    pub(crate) fn set_own(&self, by_ms: i64) {
        self.own_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        let added = *self.added.borrow();
        let own_ms = self.own_ms.load(Ordering::SeqCst);
        SystemClock.now_ms() + added.passed_ms + added.set_ms + own_ms
    }

    fn monotonic_ms(&self) -> i64 {
        SystemClock.monotonic_ms() + self.added.borrow().passed_ms
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let clock = self.clone();
        let mut moved = self.added.subscribe();
        Box::pin(async move {
            loop {
                let Ok(wait) = u64::try_from(at_ms - clock.monotonic_ms()) else {
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
        let hour = clock.sleep_ms(3_600_000);
        let mut hour = std::pin::pin!(hour);
        assert!(futures_util::poll!(&mut hour).is_pending());
        clock.advance(Duration::from_secs(1_800));
        clock.jump_ms(7_200_000);
        assert!(futures_util::poll!(&mut hour).is_pending());
        clock.jump_ms(-7_200_000);
        clock.advance(Duration::from_secs(1_800));
        hour.await;
        assert!(clock.now_ms() >= before + 3_600_000);
    }
}
