//! What is counted while a measurement runs.

use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::options::CommonOptions;
use super::report::{Latency, Report};
use crate::codes;
use crate::error::Failure;
use crate::output::Output;
use crate::render::API_VERSION;
use crate::stop::StopSignal;

/// No message of a bench takes longer, microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// Counts while it runs.
pub(super) struct Run {
    what: &'static str,
    pub(super) began: Instant,
    pub(super) deadline: Instant,
    count: Option<u64>,
    pub(super) messages: u64,
    bytes: u64,
    pub(super) errors: u64,
    pub(super) last_error: Option<rmq_client::Error>,
    latency: Option<Histogram<u64>>,
    bar: ProgressBar,
    /// The first signal ends the run early.
    pub(super) stop: StopSignal,
}

impl Run {
    pub(super) fn new(
        what: &'static str,
        options: &CommonOptions,
        stop: &StopSignal,
        output: &Output,
    ) -> Self {
        let bar = if output.shows_progress() {
            let bar =
                ProgressBar::new(options.count.unwrap_or(options.duration.as_millis() as u64));
            let form = if options.count.is_some() {
                "{bar:40} {pos}/{len} {msg}"
            } else {
                "{bar:40} {elapsed} {msg}"
            };
            bar.set_style(
                ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        } else {
            ProgressBar::hidden()
        };
        let now = Instant::now();
        Self {
            what,
            began: now,
            deadline: now + options.duration,
            count: options.count,
            messages: 0,
            bytes: 0,
            errors: 0,
            last_error: None,
            latency: None,
            bar,
            stop: stop.clone(),
        }
    }

    pub(super) fn is_over(&self, begun: u64) -> bool {
        self.stop.received().is_some()
            || Instant::now() >= self.deadline
            || self.count.is_some_and(|count| begun >= count)
    }

    pub(super) fn took(&mut self, time: Duration) -> Result<(), Failure> {
        if self.latency.is_none() {
            let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3);
            self.latency = Some(histogram.map_err(|error| {
                Failure::coded(&codes::SERVER, "cannot count latencies").cause(&error)
            })?);
        }
        if let Some(histogram) = &mut self.latency {
            histogram.saturating_record((time.as_micros() as u64).max(1));
        }
        Ok(())
    }

    pub(super) fn done(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        if self.messages.is_multiple_of(512) && !self.bar.is_hidden() {
            let elapsed = self.began.elapsed();
            self.bar.set_position(match self.count {
                Some(_) => self.messages,
                None => elapsed.as_millis() as u64,
            });
            let rate = self.messages as f64 / elapsed.as_secs_f64().max(0.001);
            self.bar.set_message(format!("{rate:.0} msg/s"));
        }
    }

    pub(super) fn failed(&mut self, error: rmq_client::Error) {
        self.errors += 1;
        self.last_error = Some(error);
    }

    pub(super) fn report(self, topic: &str) -> Report {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let latency = self.latency.map(|histogram| Latency {
            min: histogram.min(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        });
        Report {
            api_version: API_VERSION,
            kind: "BenchReport",
            what: self.what,
            topic: topic.to_owned(),
            messages: self.messages,
            bytes: self.bytes,
            errors: self.errors,
            seconds,
            messages_per_second: self.messages as f64 / seconds,
            mebibytes_per_second: self.bytes as f64 / seconds / 1_048_576.0,
            latency,
        }
    }
}
