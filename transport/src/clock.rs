//! Time as a dependency: the system's, or one that a test moves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A sleep that can be stored.
pub type SleepFuture = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// What time it is, how much time has passed, and a way to wait.
///
/// Two clocks in one. The wall clock says which time other machines and stored data mean; an administrator, NTP or a resumed virtual
/// machine can set it by any amount in either direction. The monotonic clock only measures how long something takes: deadlines, idle
/// limits, liveness and rates use it.
pub trait Clock: Send + Sync {
    /// The wall clock: milliseconds since the Unix epoch. It can jump.
    fn now_ms(&self) -> i64;

    /// The monotonic clock: milliseconds since some moment that means nothing. It never jumps, and stands still while the machine sleeps.
    fn monotonic_ms(&self) -> i64;

    /// The monotonic clock in microseconds, for what takes less than a millisecond. A clock that counts milliseconds answers with these.
    fn monotonic_us(&self) -> i64 {
        self.monotonic_ms().saturating_mul(1_000)
    }

    /// Ready when [`Clock::monotonic_ms`] has reached `at_ms`.
    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture;

    /// Ready after `ms` milliseconds.
    fn sleep_ms(&self, ms: i64) -> SleepFuture {
        self.sleep_until_ms(self.monotonic_ms().saturating_add(ms))
    }
}

/// The system's clocks and tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// Where the monotonic clock of this process begins.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // A clock before 1970 is a broken machine; 0 keeps arithmetic defined.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64)
    }

    fn monotonic_ms(&self) -> i64 {
        ORIGIN.elapsed().as_millis() as i64
    }

    fn monotonic_us(&self) -> i64 {
        ORIGIN.elapsed().as_micros() as i64
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let wait = u64::try_from(at_ms.saturating_sub(self.monotonic_ms())).unwrap_or(0);
        Box::pin(tokio::time::sleep(Duration::from_millis(wait)))
    }
}

/// Where the monotonic clock of a [`ManualClock`] begins: far from every wall time, so that a test notices when the two are mixed up.
const MANUAL_ORIGIN_MS: i64 = 5_000;

/// Two clocks that stand still until they are moved.
#[derive(Debug, Clone)]
pub struct ManualClock {
    state: Arc<Mutex<ManualState>>,
}

#[derive(Debug)]
struct ManualState {
    now_ms: i64,
    monotonic_ms: i64,
    /// By monotonic time.
    sleepers: BTreeMap<i64, Vec<oneshot::Sender<()>>>,
}

impl ManualClock {
    /// A clock whose wall time is `now_ms`.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self {
            state: Arc::new(Mutex::new(ManualState {
                now_ms,
                monotonic_ms: MANUAL_ORIGIN_MS,
                sleepers: BTreeMap::new(),
            })),
        }
    }

    /// Time passes: moves both clocks and wakes everybody whose time has come.
    pub fn advance(&self, by: Duration) {
        let due = {
            let mut state = self.state.lock();
            let by_ms = by.as_millis() as i64;
            state.now_ms += by_ms;
            state.monotonic_ms += by_ms;
            let later = state.monotonic_ms + 1;
            let still_asleep = state.sleepers.split_off(&later);
            std::mem::replace(&mut state.sleepers, still_asleep)
        };
        for sleeper in due.into_values().flatten() {
            // A sleeper that gave up is no failure.
            let _ = sleeper.send(());
        }
    }

    /// Somebody sets the wall clock: it jumps by `by_ms`, ahead or back, and no time passes.
    pub fn jump_ms(&self, by_ms: i64) {
        self.state.lock().now_ms += by_ms;
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

    fn monotonic_ms(&self) -> i64 {
        self.state.lock().monotonic_ms
    }

    fn sleep_until_ms(&self, at_ms: i64) -> SleepFuture {
        let receiver = {
            let mut state = self.state.lock();
            if at_ms <= state.monotonic_ms {
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
        let early = clock.sleep_ms(10);
        let late = clock.sleep_until_ms(clock.monotonic_ms() + 1_000);
        clock.sleep_ms(0).await;
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_millis(10));
        early.await;
        assert_eq!(clock.sleepers(), 1);
        assert_eq!(clock.now_ms(), 1_010);
        clock.advance(Duration::from_secs(1));
        late.await;
    }

    #[tokio::test]
    async fn a_jump_of_the_wall_clock_lets_no_time_pass() {
        let clock = ManualClock::at(1_000);
        let mut second = clock.sleep_ms(1_000);
        let before = clock.monotonic_ms();
        clock.jump_ms(3_600_000);
        assert!(futures_util::poll!(&mut second).is_pending());
        assert_eq!((clock.now_ms(), clock.monotonic_ms()), (3_601_000, before));
        clock.jump_ms(-3_600_000);
        clock.advance(Duration::from_secs(1));
        second.await;
        assert_eq!(
            (clock.now_ms(), clock.monotonic_ms()),
            (2_000, before + 1_000)
        );
    }
}
