//! Brokers that failed or answered slowly are passed over for a while, where others serve the topic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// From which latency on a broker is passed over, and how long (`client/…/latency/MQFaultStrategy.java`).
const LATENCIES: [(Duration, Duration); 5] = [
    (Duration::from_secs(15), Duration::from_secs(30)),
    (Duration::from_secs(5), Duration::from_secs(10)),
    (Duration::from_secs(3), Duration::from_secs(6)),
    (Duration::from_millis(1_800), Duration::from_secs(5)),
    (Duration::from_millis(550), Duration::from_secs(2)),
];
/// After a failure that may pass.
const FAILED: Duration = Duration::from_secs(10);

/// Brokers that are passed over. All producers of a client share it.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    /// Whether there is any: the usual case costs no lock.
    any: AtomicBool,
    until: Mutex<HashMap<String, Instant>>,
}

impl Isolation {
    /// A broker answered after this time.
    pub(crate) fn answered(&self, broker: &str, took: Duration) {
        let pause = LATENCIES.iter().find(|(latency, _)| took >= *latency);
        match pause {
            Some((_, pause)) => self.isolate(broker, *pause),
            None if self.any.load(Ordering::Relaxed) => {
                let mut until = self.until.lock();
                until.remove(broker);
                self.any.store(!until.is_empty(), Ordering::Relaxed);
            }
            None => {}
        }
    }

    /// A broker could not be reached, or refused for a reason that can pass.
    pub(super) fn failed(&self, broker: &str) {
        self.isolate(broker, FAILED);
    }

    fn isolate(&self, broker: &str, pause: Duration) {
        self.until
            .lock()
            .insert(broker.to_owned(), Instant::now() + pause);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Whether a broker is passed over now.
    pub(super) fn is_isolated(&self, broker: &str) -> bool {
        self.any.load(Ordering::Relaxed)
            && self
                .until
                .lock()
                .get(broker)
                .is_some_and(|until| Instant::now() < *until)
    }

    /// Whether any broker may be passed over.
    pub(super) fn is_active(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_and_failed_brokers_are_passed_over_until_they_answer_well() {
        let isolation = Isolation::default();
        isolation.answered("a", Duration::from_millis(20));
        assert!(!isolation.is_active());
        isolation.answered("a", Duration::from_millis(600));
        isolation.failed("b");
        assert!(isolation.is_isolated("a") && isolation.is_isolated("b"));
        assert!(!isolation.is_isolated("c"));
        isolation.answered("a", Duration::from_millis(20));
        isolation.answered("b", Duration::from_millis(20));
        assert!(!isolation.is_isolated("a") && !isolation.is_active());
    }
}
