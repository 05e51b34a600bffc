//! Until when an elected master may answer as one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmq_election::driver::Clock;
use rmq_election::machine::BootMs;
use rmq_store::AppendError;

/// Nobody counts.
const FOR_EVER: u64 = u64::MAX;

/// The time of an elected master. A process that was stopped for a while finds here that another member may be the master by now.
pub(crate) struct Term {
    clock: Arc<dyn Clock>,
    until: AtomicU64,
}

impl Term {
    /// That of a broker that is no elected master: nobody counts.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            until: AtomicU64::new(FOR_EVER),
        }
    }

    /// The master may serve until this moment.
    pub(crate) fn until(&self, until: BootMs) {
        self.until.store(until.0, Ordering::Release);
    }

    /// Whether the time is over. Without an election one load; with one the clock is read, in the process.
    pub(crate) fn is_over(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until != FOR_EVER && self.clock.now().0 >= until
    }

    /// Whether an acknowledgement may be given now.
    ///
    /// # Errors
    /// The time is over.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        match self.is_over() {
            false => Ok(()),
            true => Err(AppendError::Fenced {
                reason: OVER.into(),
            }),
        }
    }
}

/// Why a master whose time is over acknowledges nothing.
pub(crate) const OVER: &str =
    "it could not renew its lease in time, and another member of its group may be the master";

#[cfg(test)]
mod tests {
    use super::*;

    struct TestClock(AtomicU64);

    impl Clock for TestClock {
        fn now(&self) -> BootMs {
            BootMs(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn an_elected_master_answers_until_its_time_is_over() {
        let clock = Arc::new(TestClock(AtomicU64::new(u64::MAX - 1)));
        let term = Term::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert!(!term.is_over(), "nobody counts");
        term.until(BootMs(100));
        assert!(term.is_over());
        clock.0.store(99, Ordering::SeqCst);
        assert_eq!(term.check().ok(), Some(()));
        clock.0.store(100, Ordering::SeqCst);
        let error = term.check().expect_err("over").to_string();
        assert!(error.contains("is not the master"), "{error}");
        term.until(BootMs(101));
        assert!(!term.is_over());
    }
}
