//! What a process has used, read from `/proc`.

use std::fs;
use std::io;
use std::path::Path;

/// Counters of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all its threads, seconds.
    pub cpu_seconds: f64,
    /// Anonymous resident memory, bytes.
    pub anonymous_bytes: u64,
    /// All resident memory, bytes, mapped files included.
    pub resident_bytes: u64,
    /// Bytes that it caused to be written to the storage layer.
    pub written_bytes: u64,
    /// Switches of its living threads.
    pub context_switches: u64,
    /// Living threads.
    pub threads: u64,
}

impl Usage {
    /// Reads the counters of `pid`.
    ///
    /// # Errors
    /// When there is no such process or its files may not be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let base = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{base}/status"))?;
        let io = fs::read_to_string(format!("{base}/io"))?;
        let mut usage = Self {
            cpu_seconds: cpu_seconds(&fs::read_to_string(format!("{base}/stat"))?),
            anonymous_bytes: field(&status, "RssAnon:") * 1_024,
            resident_bytes: field(&status, "VmRSS:") * 1_024,
            written_bytes: field(&io, "write_bytes:"),
            threads: field(&status, "Threads:"),
            ..Self::default()
        };
        for task in fs::read_dir(format!("{base}/task"))? {
            // A thread may end between the listing and the read.
            if let Ok(status) = fs::read_to_string(task?.path().join("status")) {
                usage.context_switches += field(&status, "voluntary_ctxt_switches:")
                    + field(&status, "nonvoluntary_ctxt_switches:");
            }
        }
        Ok(usage)
    }
}

/// `utime` and `stime` are the 12th and 13th fields after the command's closing parenthesis.
fn cpu_seconds(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// Bytes written so far to the device that holds `path`; `None` when it has no line of its own in `/proc/diskstats`.
#[must_use]
pub fn device_written_bytes(path: &Path) -> Option<u64> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stats = fs::read_to_string("/proc/diskstats").ok()?;
    stats.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let is_it = fields.next()?.parse() == Ok(major) && fields.next()?.parse() == Ok(minor);
        // Name, then reads (4 fields), writes completed, writes merged, sectors written.
        is_it.then(|| {
            fields
                .nth(7)?
                .parse::<u64>()
                .ok()
                .map(|sectors| sectors * 512)
        })?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_counters_are_there() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.anonymous_bytes > 0 && usage.threads >= 1);
        assert!(usage.resident_bytes >= usage.anonymous_bytes);
    }

    #[test]
    fn cpu_time_is_found_behind_any_command_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(
            cpu_seconds(stat),
            200.0 / rustix::param::clock_ticks_per_second() as f64
        );
    }
}
