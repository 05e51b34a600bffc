//! What the log says about a start after a stop that was not clean.

use rmq_store::RecoveryReport;

/// Says what opening the data had to mend, if anything: after a clean stop there is nothing to read again.
pub(crate) fn tell(report: &RecoveryReport) {
    let is_clean = report.replayed_records == 0
        && report.cut_bytes == 0
        && report.damaged.is_empty()
        && report.rebuilt.is_empty();
    if is_clean {
        return;
    }
    let damaged_bytes: u64 = report
        .damaged
        .iter()
        .map(|range| range.to - range.from)
        .sum();
    tracing::warn!(
        replayed_records = report.replayed_records,
        replayed_bytes = report.replayed_bytes,
        cut_bytes = report.cut_bytes,
        damaged_ranges = report.damaged.len(),
        damaged_bytes,
        rebuilt = report.rebuilt.join("; "),
        took_ms = report.took.as_millis() as u64,
        "the last stop was not clean: the end of the log was read again, what was not whole was cut, and what was missing was made again"
    );
}
