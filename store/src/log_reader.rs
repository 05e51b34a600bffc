//! What everything that is derived from the log asks of the log.

use std::io;

use crate::commit_log::ranges::DamagedRange;

/// Reads the log. Positions are those of record starts.
pub(crate) trait LogReader: Send + Sync {
    /// Shows the bytes of the record at `position` to `visit`; false when there is no intact record.
    fn visit(&self, position: u64, visit: &mut dyn FnMut(&[u8])) -> bool;
    /// Store time of the record at `position`, ms since 1970.
    fn store_time(&self, position: u64) -> Option<i64>;
    /// Position of the oldest record that is still kept.
    fn start(&self) -> u64;
    /// Where the segment that holds `position` ends.
    fn segment_end(&self, position: u64) -> u64;
    /// Returns once everything below `up_to` is on the disk.
    fn make_durable(&self, up_to: u64) -> io::Result<()>;
    /// Shows every intact record that starts in `[from, to)`, in log order.
    fn scan(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) -> io::Result<()>;
    /// Stretches that could not be read when index and tables were written, and can be read now.
    fn readable_again(&self) -> Vec<DamagedRange> {
        Vec::new()
    }
    /// How many messages a queue may have had at `position` and behind, at most, in stretches that no life has read.
    fn records_unseen_from(&self, _position: u64) -> i64 {
        0
    }
}
