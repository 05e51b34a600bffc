//! The result of a measurement, and how it is printed.

use schemars::JsonSchema;
use serde::Serialize;

use super::options::CommonOptions;
use crate::output::Output;

/// What was measured. Latencies in microseconds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
    pub(super) topic: String,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) seconds: f64,
    pub(super) messages_per_second: f64,
    pub(super) mebibytes_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latency {
    pub(super) min: u64,
    pub(super) p50: u64,
    pub(super) p90: u64,
    pub(super) p99: u64,
    pub(super) p999: u64,
    pub(super) max: u64,
}

/// Prints the result in the form that was asked for.
pub(super) fn print(report: &Report, options: &CommonOptions, output: &Output) {
    let latency = report.latency.as_ref();
    if options.json {
        output.data(&serde_json::to_string(report).unwrap_or_default());
        return;
    }
    if options.csv {
        output.data("what,topic,messages,bytes,errors,seconds,messages_per_second,min_us,p50_us,p90_us,p99_us,p999_us,max_us");
        let number = |of: fn(&Latency) -> u64| latency.map(of).unwrap_or(0);
        output.data(&format!(
            "{},{},{},{},{},{:.3},{:.1},{},{},{},{},{},{}",
            report.what,
            report.topic,
            report.messages,
            report.bytes,
            report.errors,
            report.seconds,
            report.messages_per_second,
            number(|latency| latency.min),
            number(|latency| latency.p50),
            number(|latency| latency.p90),
            number(|latency| latency.p99),
            number(|latency| latency.p999),
            number(|latency| latency.max),
        ));
        return;
    }
    output.data(&format!(
        "{}: {} messages in {:.2} s, {:.0} msg/s, {:.1} MiB/s, {} errors",
        report.what,
        report.messages,
        report.seconds,
        report.messages_per_second,
        report.mebibytes_per_second,
        report.errors
    ));
    if let Some(latency) = latency {
        output.data(&format!(
            "latency µs: min {}  p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max
        ));
    }
}
