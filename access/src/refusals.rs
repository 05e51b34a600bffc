//! Refused requests: how many, why, and who fails so often that the answers are delayed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::gate::NotPassed;
use crate::refusal::Unauthenticated;

/// Addresses whose failures are counted; while there are more, each counts as beyond its limit.
const SOURCES_MAX: usize = 4_096;

/// What was refused since the start.
#[derive(Debug)]
pub struct Refusals {
    failures: Failures,
    unauthenticated: [AtomicU64; Unauthenticated::REASONS.len()],
    denied: AtomicU64,
    delayed: AtomicU64,
}

impl Refusals {
    /// How long an answer is delayed beyond the limit of its source, milliseconds.
    pub const DELAY_MS: i64 = 1_000;

    /// With so many failures of one address in a second before its answers are delayed.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            failures: Failures::new(per_second),
            unauthenticated: Default::default(),
            denied: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }

    /// Counts a refusal; `now_ms` is monotonic. Whether its source has been refused so often in this second that nobody needs to be told once
    /// more, and that it waits for the answer when nobody knows who it is.
    pub fn count(&self, from: IpAddr, why: &NotPassed, now_ms: i64) -> bool {
        match why {
            NotPassed::Unauthenticated(why) => {
                self.unauthenticated[why.index()].fetch_add(1, Ordering::Relaxed);
            }
            NotPassed::Denied(_) => {
                self.denied.fetch_add(1, Ordering::Relaxed);
            }
        }
        let is_beyond = self.failures.note(from, now_ms);
        if is_beyond && matches!(why, NotPassed::Unauthenticated(_)) {
            self.delayed.fetch_add(1, Ordering::Relaxed);
        }
        is_beyond
    }

    /// Requests whose sender was not known, by reason.
    pub fn unauthenticated(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.unauthenticated.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        Unauthenticated::REASONS.into_iter().zip(counts)
    }

    /// Requests of users who may not.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }

    /// Answers that were delayed.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }
}

/// Failures of each source in the current second.
#[derive(Debug)]
struct Failures {
    per_second: u32,
    sources: Mutex<HashMap<IpAddr, Second, RandomState>>,
}

#[derive(Debug)]
struct Second {
    began_ms: i64,
    failures: u32,
}

impl Failures {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            sources: Mutex::default(),
        }
    }

    /// Counts one. Whether it is beyond the limit of its source.
    fn note(&self, from: IpAddr, now_ms: i64) -> bool {
        let mut sources = self.sources.lock();
        if sources.len() >= SOURCES_MAX && !sources.contains_key(&from) {
            sources.retain(|_, second| now_ms - second.began_ms < 1_000);
            if sources.len() >= SOURCES_MAX {
                return true;
            }
        }
        let second = sources.entry(from).or_insert(Second {
            began_ms: now_ms,
            failures: 0,
        });
        if now_ms - second.began_ms >= 1_000 {
            *second = Second {
                began_ms: now_ms,
                failures: 0,
            };
        }
        second.failures = second.failures.saturating_add(1);
        second.failures > self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn each_source_has_its_failures_of_a_second() {
        let failures = Failures::new(2);
        let beyond: Vec<bool> = [0, 10, 20, 999, 1_000, 1_001]
            .map(|now_ms| failures.note(address(1), now_ms))
            .into();
        assert_eq!(beyond, [false, false, true, true, false, false]);
        assert!(!failures.note(address(2), 30));
    }

    #[test]
    fn the_sources_are_bounded() {
        let failures = Failures::new(10);
        for number in 0..SOURCES_MAX as u32 {
            assert!(!failures.note(address(number), 0));
        }
        assert!(failures.note(address(1 << 20), 999));
        assert!(!failures.note(address(1 << 20), 1_000));
        assert_eq!(failures.sources.lock().len(), 1);
    }
}
