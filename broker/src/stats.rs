//! Figures of the whole broker since its start: plain counters on the message path, rates computed when somebody asks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_protocol::code::ResponseCode;

/// A sample is taken this often, milliseconds.
pub(crate) const SAMPLE_MS: i64 = 10_000;
/// Ten minutes of samples.
const SAMPLES_MAX: usize = 61;

#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) messages_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) pulls_found: AtomicU64,
    pub(crate) pulls_missed: AtomicU64,
    pub(crate) refused: AtomicU64,
    samples: Mutex<VecDeque<Sample>>,
}

/// Counters at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    pub(crate) at_ms: i64,
    pub(crate) messages_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) pulls_found: u64,
    pub(crate) pulls_missed: u64,
}

impl Stats {
    pub(crate) fn stored(&self, messages: u64, bytes: u64) {
        self.messages_in.fetch_add(messages, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, messages: u64, bytes: u64) {
        self.messages_out.fetch_add(messages, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.pulls_found.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pull_missed(&self) {
        self.pulls_missed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, _code: ResponseCode) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self, at_ms: i64) -> Sample {
        Sample {
            at_ms,
            messages_in: self.messages_in.load(Ordering::Relaxed),
            messages_out: self.messages_out.load(Ordering::Relaxed),
            pulls_found: self.pulls_found.load(Ordering::Relaxed),
            pulls_missed: self.pulls_missed.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn take_sample(&self, now_ms: i64) {
        let sample = self.now(now_ms);
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Rates a second over about 10 s, 60 s and 600 s, as upstream's status prints them.
    pub(crate) fn rates(&self, now_ms: i64, of: impl Fn(&Sample) -> u64) -> [f64; 3] {
        let now = self.now(now_ms);
        let samples = self.samples.lock();
        [10_000, 60_000, 600_000].map(|window_ms| {
            let Some(then) = samples
                .iter()
                .find(|sample| sample.at_ms + window_ms + SAMPLE_MS / 2 >= now_ms)
            else {
                return 0.0;
            };
            let elapsed_ms = now.at_ms - then.at_ms;
            if elapsed_ms <= 0 {
                0.0
            } else {
                (of(&now) - of(then)) as f64 * 1_000.0 / elapsed_ms as f64
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_their_windows() {
        let stats = Stats::default();
        for second in 0..=60 {
            stats.take_sample(second * 10_000);
            stats.stored(100, 0);
        }
        let rates = stats.rates(610_000, |sample| sample.messages_in);
        assert!(
            (rates[0] - 10.0).abs() < 1.0 && (rates[2] - 10.0).abs() < 1.0,
            "{rates:?}"
        );
    }
}
