//! The figures of one run, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::Usage;

/// A histogram from 1 µs to 60 s with three digits; values are nanoseconds.
#[must_use]
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("the bounds are in order")
}

/// What a run measured. Latencies are microseconds: from the due time in an open loop, from the send in a closed one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// What was run.
    pub workload: String,
    /// Measured time, seconds.
    pub seconds: f64,
    /// Messages that succeeded in that time.
    pub messages: u64,
    /// Messages per second.
    pub per_second: f64,
    /// Payload per second, 10^6 bytes.
    pub mb_per_second: f64,
    /// Median.
    pub p50_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// Slowest.
    pub max_us: f64,
    /// Requests that failed.
    pub errors: u64,
    /// Failures by response code.
    pub error_codes: BTreeMap<String, u64>,
    /// Of an open loop: whether the rate was kept with less than a second of backlog.
    pub sustained: Option<bool>,
    /// What the server used, when its process is known.
    pub server: Option<ServerUse>,
}

/// What the server used during the measured time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServerUse {
    /// Processor time per message, microseconds.
    pub cpu_us_per_message: f64,
    /// Processors kept busy.
    pub cpus: f64,
    /// Anonymous resident memory at the end, MiB.
    pub anonymous_mib: f64,
    /// Bytes that the process wrote to storage per byte of payload.
    pub written_per_payload_byte: f64,
    /// Bytes that the device wrote per byte of payload; others' writes count too.
    pub device_per_payload_byte: Option<f64>,
    /// Context switches per message.
    pub switches_per_message: f64,
}

/// Counters of the server at one end of the measured time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Of the process.
    pub usage: Usage,
    /// Of the device.
    pub device_bytes: Option<u64>,
}

impl Report {
    /// Sums up a run.
    #[must_use]
    pub fn new(
        workload: String,
        measured: Duration,
        messages: u64,
        payload_bytes: u64,
        latencies: &Histogram<u64>,
    ) -> Self {
        let seconds = measured.as_secs_f64();
        let us = |ns: u64| ns as f64 / 1_000.0;
        Self {
            workload,
            seconds,
            messages,
            per_second: messages as f64 / seconds,
            mb_per_second: payload_bytes as f64 / seconds / 1e6,
            p50_us: us(latencies.value_at_quantile(0.5)),
            p99_us: us(latencies.value_at_quantile(0.99)),
            p999_us: us(latencies.value_at_quantile(0.999)),
            max_us: us(latencies.max()),
            ..Self::default()
        }
    }

    /// Adds what the server used between two samples.
    pub fn set_server(&mut self, before: &Sample, after: &Sample, payload_bytes: u64) {
        let messages = self.messages.max(1) as f64;
        let payload = payload_bytes.max(1) as f64;
        let cpu = after.usage.cpu_seconds - before.usage.cpu_seconds;
        let since = |after: u64, before: u64| after.saturating_sub(before) as f64;
        self.server = Some(ServerUse {
            cpu_us_per_message: cpu * 1e6 / messages,
            cpus: cpu / self.seconds,
            anonymous_mib: after.usage.anonymous_bytes as f64 / f64::from(1 << 20),
            written_per_payload_byte: since(after.usage.written_bytes, before.usage.written_bytes)
                / payload,
            device_per_payload_byte: after
                .device_bytes
                .zip(before.device_bytes)
                .map(|(after, before)| since(after, before) / payload),
            switches_per_message: since(
                after.usage.context_switches,
                before.usage.context_switches,
            ) / messages,
        });
    }

    /// The figures by name, for comparing two runs.
    #[must_use]
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let mut figures = vec![
            ("msg/s", self.per_second),
            ("MB/s", self.mb_per_second),
            ("p50 us", self.p50_us),
            ("p99 us", self.p99_us),
            ("p99.9 us", self.p999_us),
            ("max us", self.max_us),
            ("errors", self.errors as f64),
        ];
        if let Some(server) = &self.server {
            figures.push(("server cpu us/msg", server.cpu_us_per_message));
            figures.push(("server anon MiB", server.anonymous_mib));
            figures.push(("written/payload", server.written_per_payload_byte));
            if let Some(device) = server.device_per_payload_byte {
                figures.push(("device/payload", device));
            }
            figures.push(("switches/msg", server.switches_per_message));
        }
        figures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({:.1} s)", self.workload, self.seconds)?;
        for (name, value) in self.figures() {
            writeln!(f, "  {name:<20} {}", number(value))?;
        }
        for (code, count) in &self.error_codes {
            writeln!(f, "  answered with {code}: {count}")?;
        }
        if self.sustained == Some(false) {
            writeln!(f, "  the rate was not sustained")?;
        }
        Ok(())
    }
}

/// A number with about four significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle value; of an even number, the mean of the two in the middle. 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_report_divides_by_time_and_messages() {
        let mut histogram = latencies();
        histogram.record(5_000).unwrap();
        let mut report = Report::new(
            "w".into(),
            Duration::from_secs(2),
            10,
            2_000_000,
            &histogram,
        );
        assert_eq!((report.per_second, report.mb_per_second), (5.0, 1.0));
        let mut after = Sample::default();
        after.usage.cpu_seconds = 0.001;
        after.usage.written_bytes = 4_000_000;
        report.set_server(&Sample::default(), &after, 2_000_000);
        let server = report.server.unwrap();
        assert_eq!(server.written_per_payload_byte, 2.0);
        assert!((server.cpu_us_per_message - 100.0).abs() < 1e-6);
    }
}
