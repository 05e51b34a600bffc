//! The stretches of the log that cannot be read, as far as they were met, also in earlier lives.
//!
//! They are kept in the file `damage`, text, so that each start tells of all of them and not only of those that it reads:
//!
//! ```text
//! rmq-damage 1
//! <first byte in the log> <byte after the last>     one line each, by position
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! A file that is not whole says nothing: what it told of is found again when it is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::fs::Fs;

const FIRST_LINE: &str = "rmq-damage 1\n";
/// Larger files are not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ranges that are remembered; more are only logged.
const RANGES_MAX: usize = 1_000;

/// A stretch of the log below the durable watermark that cannot be read. What is around it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DamagedRange {
    /// Its first byte in the log.
    pub from: u64,
    /// The byte after its last.
    pub to: u64,
}

/// Damaged ranges.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// Ends by beginnings; no two of them touch.
    ranges: Mutex<BTreeMap<u64, u64>>,
    /// The file does not say it yet.
    changed: AtomicBool,
}

impl Damage {
    /// Adds a range. Returns whether something of it is new.
    pub(super) fn add(&self, from: u64, to: u64) -> bool {
        let mut ranges = self.ranges.lock();
        let touching: Vec<(u64, u64)> = ranges
            .range(..=to)
            .rev()
            .map(|(from, to)| (*from, *to))
            .take_while(|(_, end)| *end >= from)
            .collect();
        if touching
            .iter()
            .any(|(start, end)| *start <= from && to <= *end)
        {
            return false;
        }
        let (mut first, mut last) = (from, to);
        for (start, end) in touching {
            ranges.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        if ranges.len() < RANGES_MAX {
            ranges.insert(first, last);
            self.changed.store(true, Ordering::Release);
        }
        true
    }

    /// Forgets what lies below a position, which is gone.
    pub(super) fn forget_below(&self, position: u64) {
        let mut ranges = self.ranges.lock();
        let before = ranges.len();
        ranges.retain(|_, to| *to > position);
        if ranges.len() < before {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// What the file says.
    pub(super) fn load(fs: &dyn Fs, path: &Path) -> Vec<DamagedRange> {
        // Where that cannot be told, the read tells it.
        if !fs.exists(path).unwrap_or(true) {
            return Vec::new();
        }
        let known = fs
            .read(path, FILE_BYTES_MAX)
            .map_err(|error| error.to_string())
            .and_then(|bytes| parse(&bytes).ok_or_else(|| "it is damaged".to_owned()));
        known.unwrap_or_else(|problem| {
            tracing::warn!(path = %path.display(), problem, "the list of damaged ranges cannot be used; they are found again when they are read");
            Vec::new()
        })
    }

    /// Brings the file up to date; it is replaced as a whole.
    pub(super) fn store(&self, fs: &dyn Fs, path: &Path) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let write = || {
            let temporary = path.with_extension("new");
            let file = fs.create(&temporary)?;
            file.write_at(0, encode(&self.ranges()).as_bytes())?;
            file.sync_all()?;
            drop(file);
            fs.rename(&temporary, path)?;
            path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
        };
        write().inspect_err(|_| self.changed.store(true, Ordering::Release))
    }

    pub(super) fn ranges(&self) -> Vec<DamagedRange> {
        let ranges = self.ranges.lock();
        ranges
            .iter()
            .map(|(from, to)| DamagedRange {
                from: *from,
                to: *to,
            })
            .collect()
    }
}

fn encode(ranges: &[DamagedRange]) -> String {
    let mut text = FIRST_LINE.to_owned();
    for DamagedRange { from, to } in ranges {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{from} {to}");
    }
    let crc = crc32fast::hash(text.as_bytes());
    let _ = writeln!(text, "crc {crc:08x}");
    text
}

fn parse(bytes: &[u8]) -> Option<Vec<DamagedRange>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (content, crc) = text.trim_end().rsplit_once("crc ")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(content.as_bytes()) {
        return None;
    }
    let range = |line: &str| {
        let (from, to) = line.split_once(' ')?;
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from < to).then_some(DamagedRange { from, to })
    };
    content
        .strip_prefix(FIRST_LINE)?
        .lines()
        .map(range)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_all_or_nothing() {
        let range = |from, to| DamagedRange { from, to };
        for ranges in [vec![], vec![range(0, 7), range(100, u64::MAX)]] {
            let text = encode(&ranges);
            assert_eq!(parse(text.as_bytes()), Some(ranges));
            for at in 0..text.len() - 1 {
                assert_eq!(parse(&text.as_bytes()[..at]), None, "cut at {at}");
                let mut broken = text.clone().into_bytes();
                broken[at] ^= 1;
                assert_eq!(parse(&broken), None, "byte {at}");
            }
        }
    }

    #[test]
    fn ranges_that_touch_become_one_and_the_known_ones_are_not_new() {
        let damage = Damage::default();
        assert!(damage.add(100, 200));
        assert!(damage.add(300, 400));
        assert!(!damage.add(100, 200) && !damage.add(310, 320));
        assert!(damage.add(150, 250));
        assert!(damage.add(500, 600));
        assert!(damage.add(250, 300), "it closes the gap");
        let range = |from, to| DamagedRange { from, to };
        assert_eq!(damage.ranges(), [range(100, 400), range(500, 600)]);
        assert!(damage.add(0, 1_000));
        assert_eq!(damage.ranges(), [range(0, 1_000)]);
    }
}
