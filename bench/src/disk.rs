//! What the device itself needs for a synced write.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::report::{Report, latencies};

const FILE_BYTES: u64 = 64 << 20;

/// Writes `count` blocks of `bytes` one after the other into a zeroed file in `dir`, each followed by `fdatasync`.
///
/// # Errors
/// What the system says.
pub fn synced_writes(dir: &Path, bytes: usize, count: u32) -> io::Result<Report> {
    let path = dir.join("rmq-bench-fsync");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)?;
    // In small pieces: the page cache then keeps small pieces, and a sync of one block writes no more than that.
    let zeros = vec![0; 4_096];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let block = vec![b'x'; bytes];
    let mut histogram = latencies();
    let began = Instant::now();
    for number in 0..u64::from(count) {
        let at = number * bytes as u64 % (FILE_BYTES - bytes as u64);
        let started = Instant::now();
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        histogram.saturating_record(started.elapsed().as_nanos() as u64);
    }
    let took = began.elapsed().max(Duration::from_nanos(1));
    std::fs::remove_file(&path)?;
    Ok(Report::new(
        format!("pwrite {bytes} B + fdatasync"),
        took,
        count.into(),
        u64::from(count) * bytes as u64,
        &histogram,
    ))
}
