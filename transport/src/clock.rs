//! Time as a dependency: the system's, or one that a test moves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A sleep that can be stored.
pub type SleepFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// What time it is, and a way to wait for a time.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;

    /// Ready when [`Clock::now_ms`] has reached `at_ms`.
    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture;
}

/// The system's clock and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A clock before 1970 is a broken machine; 0 keeps arithmetic defined.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let wait = u64::try_from(at_ms - self.now_ms()).unwrap_or(0);
        Box::pin(tokio::time::sleep(Duration::from_millis(wait)))
    }
}

/// A clock that stands still until it is advanced.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Debug)]
struct ManualState {
    now_ms: i64,
    sleepers: BTreeMap<i64, Vec<oneshot::Sender<()>>>,
}

impl ManualClock {
    /// A clock that stands at `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self {
            state: Arc::new(Mutex::new(ManualState {
                now_ms,
                sleepers: BTreeMap::new(),
            })),
        }
    }

    /// Moves the clock and wakes everybody whose time has come.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state.lock();
            state.now_ms += by.as_millis() as i64;
            let later = state.now_ms + 1;
            let still_asleep = state.sleepers.split_off(&later);
            std::mem::replace(&mut state.sleepers, still_asleep)
        };
        for sleeper in due.into_values().flatten() {
            // A sleeper that gave up is no failure.
            let _ = sleeper.send(());
        }
    }

    /// How many waits are open: lets a test see that a task has gone to sleep.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.state
            .lock()
            .sleepers
            .values()
            .flatten()
            .filter(|sleeper| !sleeper.is_closed())
            .count()
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.state.lock().now_ms
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let receiver = {
            let mut state = self.state.lock();
            if at_ms <= state.now_ms {
                return Box::pin(std::future::ready(()));
            }
            let (sender, receiver) = oneshot::channel();
            state.sleepers.entry(at_ms).or_default().push(sender);
            receiver
        };
        Box::pin(async move {
            if receiver.await.is_err() {
                // The clock is gone, so this time never comes.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_those_whose_time_has_come() {
        let clock = ManualClock::at(1_000);
        let early = clock.sleep_until_ms(1_010);
        let late = clock.sleep_until_ms(2_000);
        clock.sleep_until_ms(1_000).await;
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_millis(10));
        early.await;
        assert_eq!(clock.sleepers(), 1);
        assert_eq!(clock.now_ms(), 1_010);
        clock.advance(Duration::from_secs(1));
        late.await;
    }
}
