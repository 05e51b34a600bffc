//! The stretches of the log that cannot be read, as far as they were met, also in earlier lives.
//!
//! They are kept in the file `damage`, text, so that each start tells of all of them and not only of those that it reads:
//!
//! ```text
//! rmq-damage 2
//! damaged <first byte in the log> <byte after the last>     one line each, by position
//! unindexed <from> <to>    the index was written without what lies there: where it can be read again, the index is written again
//! unseen <from> <to>       no life has ever read it: queues may have had messages there that nothing else tells of
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! What is unseen is unindexed, and what is unindexed is damaged. Version 1 has lines `<from> <to>`, all of them damaged and
//! unindexed. A file that is not whole says nothing: what it told of is found again when it is read.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::ranges::{DamagedRange, Ranges};
use crate::fs::Fs;

const FIRST_LINE: &str = "rmq-damage 2\n";
const FIRST_LINE_1: &str = "rmq-damage 1\n";
/// Larger files are not ours.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ranges that are remembered; more are only logged.
const RANGES_MAX: usize = 1_000;
/// No record of the store is smaller: what stands around an empty body of a topic with a name of one letter.
const RECORD_BYTES_MIN: u64 = 110;

/// What is known of the messages in a damaged stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// The index has them.
    Indexed,
    /// The index was written without them.
    Unindexed,
    /// No life has seen them: offsets of queues may lie behind them.
    Unseen,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) damaged: Ranges,
    pub(super) unindexed: Ranges,
    pub(super) unseen: Ranges,
}

/// Damaged ranges.
#[derive(Debug, Default)]
pub(super) struct Damage {
    state: Mutex<State>,
    /// The file does not say it yet.
    changed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    now: Noted,
    /// Can be read again, and is not yet in the index and the tables on the disk. The file keeps it until then.
    again: Noted,
}

impl Noted {
    /// Adds a range. Returns whether something of it is new, and whether something new is known of it.
    fn add(&mut self, from: u64, to: u64, content: Content) -> (bool, bool) {
        let mut is_more = false;
        if content != Content::Indexed {
            is_more |= self.unindexed.add(from, to);
            if self.unindexed.len() > RANGES_MAX {
                self.unindexed.join_nearest();
            }
        }
        if content == Content::Unseen {
            is_more |= self.unseen.add(from, to);
            if self.unseen.len() > RANGES_MAX {
                // Offsets must not be given twice: rather too much is taken for unseen.
                self.unseen.join_nearest();
            }
        }
        let is_new = self.damaged.add_below(RANGES_MAX, from, to);
        (is_new, is_new || is_more)
    }

    fn sets_mut(&mut self) -> [&mut Ranges; 3] {
        [&mut self.damaged, &mut self.unindexed, &mut self.unseen]
    }

    fn encode(&self) -> String {
        let mut text = FIRST_LINE.to_owned();
        for (what, ranges) in [
            ("damaged", &self.damaged),
            ("unindexed", &self.unindexed),
            ("unseen", &self.unseen),
        ] {
            for DamagedRange { from, to } in ranges.list() {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{what} {from} {to}");
            }
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (content, crc) = text.trim_end().rsplit_once("crc ")?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(content.as_bytes()) {
            return None;
        }
        let mut noted = Self::default();
        let is_first_version = content.starts_with(FIRST_LINE_1);
        let lines = content
            .strip_prefix(FIRST_LINE)
            .or_else(|| content.strip_prefix(FIRST_LINE_1))?;
        for line in lines.lines() {
            let (what, range) = if is_first_version {
                ("", line)
            } else {
                line.split_once(' ')?
            };
            let (from, to) = range.split_once(' ')?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            if from >= to {
                return None;
            }
            match what {
                "" => {
                    noted.damaged.add(from, to);
                    noted.unindexed.add(from, to);
                }
                "damaged" => {
                    noted.damaged.add(from, to);
                }
                "unindexed" => {
                    noted.unindexed.add(from, to);
                }
                "unseen" => {
                    noted.unseen.add(from, to);
                }
                _ => return None,
            }
        }
        Some(noted)
    }
}

impl Damage {
    /// Adds a range. Returns whether something of it is new.
    pub(super) fn add(&self, from: u64, to: u64, content: Content) -> bool {
        let (is_new, is_changed) = self.state.lock().now.add(from, to, content);
        if is_changed {
            self.changed.store(true, Ordering::Release);
        }
        is_new
    }

    /// Notes what the file says of a range that can be read again, so that the file keeps it until [`taken_again`](Self::taken_again).
    pub(super) fn add_again(&self, range: DamagedRange, content: Content) {
        self.state.lock().again.add(range.from, range.to, content);
    }

    /// What can be read again and is not in the index and the tables yet.
    pub(super) fn again(&self) -> Vec<DamagedRange> {
        self.state.lock().again.unindexed.list()
    }

    /// A range was written again, but for what is `left`. Returns whether the index or the tables were built without some of it: the file keeps that
    /// until the next start has taken it.
    pub(super) fn mended(&self, range: DamagedRange, left: &[DamagedRange]) -> bool {
        let mut state = self.state.lock();
        let State { now, again } = &mut *state;
        let unindexed: Vec<DamagedRange> = now.unindexed.within(range).collect();
        let unseen: Vec<DamagedRange> = now.unseen.within(range).collect();
        now.damaged.remove(range);
        now.unindexed.remove(range);
        for part in left {
            now.add(part.from, part.to, Content::Indexed);
            for part in unindexed.iter().filter_map(|known| common(*known, *part)) {
                now.add(part.from, part.to, Content::Unindexed);
            }
        }
        for part in &unindexed {
            again.add(part.from, part.to, Content::Unindexed);
        }
        for part in &unseen {
            again.add(part.from, part.to, Content::Unseen);
        }
        self.changed.store(true, Ordering::Release);
        !unindexed.is_empty()
    }

    /// The index and the tables on the disk have what can be read again.
    pub(super) fn taken_again(&self) {
        self.state.lock().again = Noted::default();
        self.changed.store(true, Ordering::Release);
    }

    /// The file may say more than is known now.
    pub(super) fn set_changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    pub(super) fn has_unseen(&self) -> bool {
        !self.state.lock().now.unseen.is_empty()
    }

    /// How many messages a queue may have had at `position` and behind, at most, in stretches that no life has seen.
    pub(super) fn records_unseen_from(&self, position: u64) -> i64 {
        let state = self.state.lock();
        let behind = DamagedRange {
            from: position,
            to: u64::MAX,
        };
        let count: u64 = state
            .now
            .unseen
            .within(behind)
            .map(|part| (part.to - part.from).div_ceil(RECORD_BYTES_MIN))
            .sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// Forgets what lies below a position, which is gone.
    pub(super) fn forget_below(&self, position: u64) {
        self.forget(|ranges| ranges.forget_below(position));
    }

    /// Forgets what lies at or above a position, which is cut off.
    pub(super) fn forget_from(&self, position: u64) {
        self.forget(|ranges| ranges.forget_from(position));
    }

    fn forget(&self, forget: impl Fn(&mut Ranges) -> bool) {
        let mut state = self.state.lock();
        let mut forgotten = false;
        let State { now, again } = &mut *state;
        for ranges in now.sets_mut().into_iter().chain(again.sets_mut()) {
            forgotten |= forget(ranges);
        }
        if forgotten {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// What the file says.
    pub(super) fn load(fs: &dyn Fs, path: &Path) -> Noted {
        // Where that cannot be told, the read tells it.
        if !fs.exists(path).unwrap_or(true) {
            return Noted::default();
        }
        let known = fs
            .read(path, FILE_BYTES_MAX)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Noted::parse(&bytes).ok_or_else(|| "it is damaged".to_owned()));
        known.unwrap_or_else(|problem| {
            tracing::warn!(path = %path.display(), problem, "the list of damaged ranges cannot be used; they are found again when they are read");
            Noted::default()
        })
    }

    /// Brings the file up to date; it is replaced as a whole.
    pub(super) fn store(&self, fs: &dyn Fs, path: &Path) -> io::Result<()> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let noted = {
            let state = self.state.lock();
            let mut noted = state.now.clone();
            let again = &state.again;
            let from = [&again.damaged, &again.unindexed, &again.unseen];
            for (into, from) in noted.sets_mut().into_iter().zip(from) {
                into.add_all(from);
            }
            noted
        };
        let write = || {
            let temporary = path.with_extension("new");
            let file = fs.create(&temporary)?;
            file.write_at(0, noted.encode().as_bytes())?;
            file.sync_all()?;
            drop(file);
            fs.rename(&temporary, path)?;
            path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
        };
        write().inspect_err(|_| self.changed.store(true, Ordering::Release))
    }

    pub(super) fn ranges(&self) -> Vec<DamagedRange> {
        self.state.lock().now.damaged.list()
    }
}

/// What two ranges have in common.
fn common(one: DamagedRange, other: DamagedRange) -> Option<DamagedRange> {
    let (from, to) = (one.from.max(other.from), one.to.min(other.to));
    (from < to).then_some(DamagedRange { from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_all_or_nothing() {
        let mut some = Noted::default();
        some.add(0, 7, Content::Indexed);
        some.add(100, 200, Content::Unindexed);
        some.add(300, u64::MAX, Content::Unseen);
        for noted in [Noted::default(), some] {
            let text = noted.encode();
            assert_eq!(Noted::parse(text.as_bytes()), Some(noted));
            for at in 0..text.len() - 1 {
                assert_eq!(Noted::parse(&text.as_bytes()[..at]), None, "cut at {at}");
                let mut broken = text.clone().into_bytes();
                broken[at] ^= 1;
                assert_eq!(Noted::parse(&broken), None, "byte {at}");
            }
        }
    }

    #[test]
    fn the_first_version_is_understood() {
        let content = format!("{FIRST_LINE_1}0 7\n100 200\n");
        let text = format!("{content}crc {:08x}\n", crc32fast::hash(content.as_bytes()));
        let noted = Noted::parse(text.as_bytes()).expect("whole");
        assert_eq!(noted.damaged.len(), 2);
        assert_eq!(noted.unindexed, noted.damaged);
        assert!(noted.unseen.is_empty());
    }

    #[test]
    fn what_is_unseen_counts_for_queues_that_end_before_it() {
        let damage = Damage::default();
        damage.add(0, 500, Content::Unindexed);
        assert_eq!(damage.records_unseen_from(0), 0);
        damage.add(1_000, 1_000 + 2 * RECORD_BYTES_MIN, Content::Unseen);
        damage.add(5_000, 5_001, Content::Unseen);
        for (position, count) in [(0, 3), (1_000, 3), (2_000, 1), (5_000, 1), (5_001, 0)] {
            assert_eq!(damage.records_unseen_from(position), count, "{position}");
        }
    }

    #[test]
    fn more_ranges_than_are_remembered_leave_no_unseen_one_out() {
        let damage = Damage::default();
        for number in 0..2 * RANGES_MAX as u64 {
            damage.add(number * 1_000, number * 1_000 + 10, Content::Unseen);
        }
        assert_eq!(damage.ranges().len(), RANGES_MAX);
        for number in 0..2 * RANGES_MAX as u64 {
            let after = 2 * RANGES_MAX as u64 - number;
            assert!(damage.records_unseen_from(number * 1_000) >= after as i64);
        }
    }
}
