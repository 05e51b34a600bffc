//! What the log says about a start after a stop that was not clean, and about a disk that gives again what it did not give before.

use rmq_store::{DamagedRange, RecoveryReport};

/// Ranges that one line names; the rest is counted.
const NAMED: usize = 8;

/// Says what opening the data had to mend, if anything: after a clean stop there is nothing to read again.
/// `is_again`: this process has had it open before, and closed it as a master that another member has followed, or for a snapshot.
pub(crate) fn tell(report: &RecoveryReport, is_again: bool) {
    if !report.read_again.is_empty() {
        tracing::warn!(
            read_again_ranges = report.read_again.len(),
            read_again_bytes = bytes(&report.read_again),
            read_again = ranges(&report.read_again),
            "the disk gives again what an earlier start could not read: these messages are served again, under their old offsets"
        );
    }
    let is_clean = report.replayed_records == 0
        && report.cut_bytes == 0
        && report.damaged.is_empty()
        && report.rebuilt.is_empty();
    if is_clean {
        return;
    }
    // What a master of the past had in memory is read again, as it may not go on where it was.
    if is_again && report.damaged.is_empty() {
        tracing::info!(
            replayed_records = report.replayed_records,
            replayed_bytes = report.replayed_bytes,
            cut_bytes = report.cut_bytes,
            rebuilt = report.rebuilt.join("; "),
            took_ms = report.took.as_millis() as u64,
            "the store is opened again: the end of the log was read again"
        );
        return;
    }
    tracing::warn!(
        replayed_records = report.replayed_records,
        replayed_bytes = report.replayed_bytes,
        cut_bytes = report.cut_bytes,
        damaged_ranges = report.damaged.len(),
        damaged_bytes = bytes(&report.damaged),
        damaged = ranges(&report.damaged),
        rebuilt = report.rebuilt.join("; "),
        took_ms = report.took.as_millis() as u64,
        "the last stop was not clean: the end of the log was read again, what was not whole was cut, and what was missing was made again"
    );
}

fn bytes(ranges: &[DamagedRange]) -> u64 {
    ranges.iter().map(|range| range.to - range.from).sum()
}

/// Positions in the log: `4096..8192, 65536..69632 and 3 more`.
fn ranges(ranges: &[DamagedRange]) -> String {
    let named: Vec<String> = ranges
        .iter()
        .take(NAMED)
        .map(|range| format!("{}..{}", range.from, range.to))
        .collect();
    let more = match ranges.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("whole").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(report: &RecoveryReport) -> Vec<Value> {
        told_at(report, false)
    }

    fn told_at(report: &RecoveryReport, is_again: bool) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || tell(report, is_again));
        let text = String::from_utf8(lines.0.lock().expect("whole").clone()).expect("UTF-8");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    }

    fn clean() -> RecoveryReport {
        RecoveryReport {
            start: 0,
            end: 1 << 20,
            was_closed: true,
            replayed_bytes: 0,
            replayed_records: 0,
            cut_bytes: 0,
            damaged: Vec::new(),
            read_again: Vec::new(),
            rebuilt: Vec::new(),
            took: Duration::from_millis(7),
        }
    }

    fn range(from: u64) -> DamagedRange {
        DamagedRange {
            from,
            to: from + 10,
        }
    }

    #[test]
    fn ranges_that_are_read_again_and_damaged_ones_are_told_with_their_places() {
        assert_eq!(told(&clean()), Vec::<Value>::new());
        let again = RecoveryReport {
            read_again: vec![range(4096), range(65_536)],
            ..clean()
        };
        let lines = told(&again);
        assert_eq!(lines.len(), 1, "the stop was clean: {lines:?}");
        assert_eq!(lines[0]["read_again"], "4096..4106, 65536..65546");
        assert_eq!(lines[0]["read_again_ranges"], 2);
        assert_eq!(lines[0]["read_again_bytes"], 20);
        let both = RecoveryReport {
            damaged: (0..10).map(|number| range(number * 100)).collect(),
            ..again
        };
        let lines = told(&both);
        assert_eq!(lines.len(), 2, "{lines:?}");
        let damaged = lines[1]["damaged"].as_str().expect("a text");
        assert!(damaged.starts_with("0..10, 100..110, "), "{damaged}");
        assert!(damaged.ends_with("700..710 and 2 more"), "{damaged}");
        assert_eq!(lines[1]["damaged_bytes"], 100);
    }

    #[test]
    fn a_store_that_is_opened_again_in_another_role_is_no_warning_unless_it_is_damaged() {
        let replayed = RecoveryReport {
            replayed_records: 3,
            ..clean()
        };
        assert_eq!(told(&replayed)[0]["level"], "WARN");
        assert_eq!(told_at(&replayed, true)[0]["level"], "INFO");
        let damaged = RecoveryReport {
            damaged: vec![range(100)],
            ..replayed
        };
        assert_eq!(told_at(&damaged, true)[0]["level"], "WARN");
    }
}
