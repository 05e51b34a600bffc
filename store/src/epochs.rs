//! The epochs of the log: which master has written which part of it. Text, in the file `epochs`:
//!
//! ```text
//! rmq-epochs 1
//! epoch <number> <log position of its first byte>    one line each; both rise
//! cut <log position>                                 only while the log is being cut there
//! crc <CRC-32 of everything before, 8 hexadecimal digits>
//! ```
//!
//! An epoch ends where the next begins; the last one is still written. Its line is durable before the first byte of the epoch is in the
//! log, so the log never has bytes of an epoch that the file does not name; an epoch without bytes is left out when the next begins.
//! `cut` makes a truncation whole: from the moment it is durable, what lies behind that position is no part of the log any more, and a
//! start that finds the line removes it again. The file is replaced as a whole. Epochs whose bytes have all expired leave it, and the
//! oldest when there are more than 4,096.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;

use crate::error::EpochError;
use crate::fs::Fs;
use crate::layout;
use crate::open_error::OpenError;
use crate::text_file;

const FIRST_LINE: &str = "rmq-epochs 1\n";
/// So many are remembered, the newest. A log that has only older ones in common with another is copied as a whole.
const EPOCHS_MAX: usize = 4_096;

/// A part of the log that one master has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number; it rises with every master.
    pub number: u64,
    /// The position of its first byte.
    pub first: LogPosition,
}

/// Up to where two logs are the same, by their epochs and ends; `None` when the epochs do not say it: they have none in common.
#[must_use]
pub fn common_end(
    (ours, our_end): (&[Epoch], LogPosition),
    (theirs, their_end): (&[Epoch], LogPosition),
) -> Option<LogPosition> {
    let end_of = |epochs: &[Epoch], at: usize, end: LogPosition| {
        // A power cut may have taken the log below where the next one begins.
        epochs.get(at + 1).map_or(end, |next| next.first.min(end))
    };
    let (at, epoch) = ours
        .iter()
        .enumerate()
        .rev()
        .find(|(_, epoch)| theirs.contains(epoch))?;
    let their_at = theirs.iter().position(|their| their == epoch)?;
    Some(end_of(ours, at, our_end).min(end_of(theirs, their_at, their_end)))
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct History {
    epochs: Vec<Epoch>,
    cut: Option<u64>,
}

impl History {
    /// One epoch, as a log has that never had a replica.
    fn first() -> Self {
        Self {
            epochs: vec![Epoch {
                number: 1,
                first: LogPosition(0),
            }],
            cut: None,
        }
    }

    fn current(&self) -> u64 {
        self.epochs.last().map_or(0, |epoch| epoch.number)
    }

    /// Whatever has no bytes below a position, the first one excepted, is no part of the history.
    fn cut_at(&mut self, position: u64) {
        let mut is_first = true;
        self.epochs
            .retain(|epoch| std::mem::take(&mut is_first) || epoch.first.0 < position);
    }

    /// Leaves out epochs that end at or below a position.
    fn forget_below(&mut self, position: u64) {
        let gone = self
            .epochs
            .windows(2)
            .take_while(|pair| matches!(pair, [_, next] if next.first.0 <= position))
            .count();
        self.epochs.drain(..gone);
    }

    fn encode(&self) -> String {
        let mut text = FIRST_LINE.to_owned();
        // Writing to a string does not fail.
        for Epoch { number, first } in &self.epochs {
            let _ = writeln!(text, "epoch {number} {}", first.0);
        }
        if let Some(cut) = self.cut {
            let _ = writeln!(text, "cut {cut}");
        }
        text
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let content = text_file::content(bytes)?;
        let mut history = Self {
            epochs: Vec::new(),
            cut: None,
        };
        for line in content.strip_prefix(FIRST_LINE)?.lines() {
            match line.split_once(' ')? {
                ("epoch", row) => {
                    let (number, first) = row.split_once(' ')?;
                    let epoch = Epoch {
                        number: number.parse().ok()?,
                        first: LogPosition(first.parse().ok()?),
                    };
                    let rises = history.epochs.last().is_none_or(|last| {
                        last.number < epoch.number && last.first.0 < epoch.first.0
                    });
                    if !rises {
                        return None;
                    }
                    history.epochs.push(epoch);
                }
                ("cut", position) => history.cut = Some(position.parse().ok()?),
                _ => return None,
            }
        }
        (!history.epochs.is_empty()).then_some(history)
    }
}

/// The file and what it says.
pub(crate) struct Epochs {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    history: Mutex<History>,
}

impl Epochs {
    /// Writes the file of a store that is new or of a version that knew no epochs: all of its log is one epoch.
    pub(crate) fn create(fs: &dyn Fs, dir: &Path) -> Result<(), OpenError> {
        let path = layout::epochs(dir);
        store(fs, &path, &History::first()).map_err(OpenError::io("write", &path))
    }

    /// Writes the file of a store that is made from a snapshot and begins at a log position: of the epochs of the other store it has the one
    /// that the position belongs to. The others begin as their bytes are copied.
    pub(crate) fn create_from(
        fs: &dyn Fs,
        dir: &Path,
        epochs: Vec<Epoch>,
        begins: u64,
    ) -> Result<(), OpenError> {
        let path = layout::epochs(dir);
        let mut history = History { epochs, cut: None };
        history.cut_at(begins.saturating_add(1));
        history.forget_below(begins);
        store(fs, &path, &history).map_err(OpenError::io("write", &path))
    }

    /// Whether the file is there and can be read.
    pub(crate) fn is_intact(fs: &dyn Fs, dir: &Path) -> Result<bool, OpenError> {
        let path = layout::epochs(dir);
        let bytes = text_file::read(fs, &path).map_err(OpenError::io("read", &path))?;
        Ok(bytes.as_deref().and_then(History::parse).is_some())
    }

    /// Reads the file.
    pub(crate) fn open(fs: Arc<dyn Fs>, dir: &Path) -> Result<Self, OpenError> {
        let path = layout::epochs(dir);
        let lost = |problem: &'static str| OpenError::Epochs {
            path: path.clone(),
            problem,
            format: layout::format(dir),
        };
        let bytes = text_file::read(&*fs, &path)
            .map_err(OpenError::io("read", &path))?
            .ok_or_else(|| lost("missing"))?;
        let history = History::parse(&bytes).ok_or_else(|| lost("damaged"))?;
        Ok(Self {
            fs,
            path,
            history: Mutex::new(history),
        })
    }

    /// All epochs, oldest first.
    pub(crate) fn list(&self) -> Vec<Epoch> {
        self.history.lock().epochs.clone()
    }

    /// The number of the one that a log position belongs to.
    pub(crate) fn at(&self, position: u64) -> u64 {
        let history = self.history.lock();
        let below = history
            .epochs
            .iter()
            .rev()
            .find(|epoch| epoch.first.0 <= position);
        below.map_or(0, |epoch| epoch.number)
    }

    /// The number of the newest one.
    pub(crate) fn current(&self) -> u64 {
        self.history.lock().current()
    }

    /// Notes durably that an epoch begins where the log ends.
    pub(crate) fn begin(&self, number: u64, first: u64, end: u64) -> Result<(), EpochError> {
        let mut history = self.history.lock();
        let current = history.current();
        if number <= current {
            return Err(EpochError::NotLater {
                current,
                wanted: number,
            });
        }
        if first != end {
            return Err(EpochError::NotAtEnd {
                wanted: number,
                first,
                end,
            });
        }
        let mut next = history.clone();
        // One that has no bytes makes room.
        next.epochs.retain(|epoch| epoch.first.0 < first);
        next.epochs.push(Epoch {
            number,
            first: LogPosition(first),
        });
        let forgotten = next.epochs.len().saturating_sub(EPOCHS_MAX);
        next.epochs.drain(..forgotten);
        self.replace(&mut history, next)
            .map_err(|source| EpochError::Io {
                path: self.path.clone(),
                source,
            })
    }

    /// Where a truncation was begun that is not finished.
    pub(crate) fn unfinished_cut(&self) -> Option<u64> {
        self.history.lock().cut
    }

    /// From now on, durably, the log ends at `position`.
    pub(crate) fn begin_cut(&self, position: u64) -> io::Result<()> {
        let mut history = self.history.lock();
        let mut next = history.clone();
        next.cut_at(position);
        next.cut = Some(position);
        self.replace(&mut history, next)
    }

    /// The log ends at `position`: epochs without bytes below it are no part of the history. A power cut leaves such epochs, as the file is
    /// durable before the log.
    pub(crate) fn end_at(&self, position: u64) -> io::Result<()> {
        let mut history = self.history.lock();
        let mut next = history.clone();
        next.cut_at(position);
        self.replace(&mut history, next)
    }

    /// Nothing lies behind the position of [`begin_cut`](Self::begin_cut) any more.
    pub(crate) fn finish_cut(&self) -> io::Result<()> {
        let mut history = self.history.lock();
        let next = History {
            cut: None,
            ..history.clone()
        };
        self.replace(&mut history, next)
    }

    /// The log begins at `position`.
    pub(crate) fn forget_below(&self, position: u64) -> io::Result<()> {
        let mut history = self.history.lock();
        let mut next = history.clone();
        next.forget_below(position);
        self.replace(&mut history, next)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn replace(&self, history: &mut History, next: History) -> io::Result<()> {
        if *history != next {
            store(&*self.fs, &self.path, &next)?;
            *history = next;
        }
        Ok(())
    }
}

fn store(fs: &dyn Fs, path: &Path, history: &History) -> io::Result<()> {
    text_file::replace(fs, path, history.encode())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::SimulatedDisk;

    fn epochs(rows: &[(u64, u64)]) -> Vec<Epoch> {
        rows.iter()
            .map(|(number, first)| Epoch {
                number: *number,
                first: LogPosition(*first),
            })
            .collect()
    }

    #[test]
    fn the_file_says_all_or_nothing() {
        for history in [
            History::first(),
            History {
                epochs: epochs(&[(1, 0), (3, 100), (u64::MAX, u64::MAX)]),
                cut: Some(7),
            },
        ] {
            let text = text_file::sealed(history.encode());
            assert_eq!(History::parse(text.as_bytes()), Some(history));
            for at in 0..text.len() {
                assert_eq!(History::parse(&text.as_bytes()[..at]), None, "cut at {at}");
                let mut broken = text.clone().into_bytes();
                broken[at] ^= 1;
                assert_eq!(History::parse(&broken), None, "byte {at}");
            }
        }
    }

    #[test]
    fn epochs_rise_begin_at_the_end_and_survive() {
        let disk = SimulatedDisk::new();
        let dir = Path::new("store");
        disk.create_dir_all(dir).expect("made");
        Epochs::create(&disk, dir).expect("written");
        let open = || Epochs::open(Arc::new(disk.clone()), dir).expect("opens");
        let log = open();
        log.begin(2, 100, 100).expect("it begins");
        assert!(matches!(
            log.begin(2, 200, 200),
            Err(EpochError::NotLater { current: 2, .. })
        ));
        for first in [199, 201] {
            let error = log.begin(3, first, 200).expect_err("not at the end");
            assert!(matches!(error, EpochError::NotAtEnd { .. }), "{error}");
        }
        log.begin(3, 200, 200).expect("it begins");
        log.begin(5, 200, 200).expect("epoch 3 has no bytes");
        assert_eq!(open().list(), epochs(&[(1, 0), (2, 100), (5, 200)]));
        log.begin_cut(150).expect("written");
        assert_eq!(open().unfinished_cut(), Some(150));
        log.finish_cut().expect("written");
        let log = open();
        assert_eq!(
            (log.list(), log.unfinished_cut()),
            (epochs(&[(1, 0), (2, 100)]), None)
        );
        log.begin_cut(100).expect("written");
        assert_eq!(log.list(), epochs(&[(1, 0)]), "epoch 2 has no bytes left");
        log.finish_cut().expect("written");
        log.begin(6, 300, 300).expect("it begins");
        log.end_at(301).expect("written");
        assert_eq!(log.list(), epochs(&[(1, 0), (6, 300)]));
        log.end_at(300).expect("written");
        assert_eq!(open().list(), epochs(&[(1, 0)]), "epoch 6 has no bytes");
    }

    #[test]
    fn what_has_expired_is_forgotten_and_the_rest_keeps_its_place() {
        let mut history = History {
            epochs: epochs(&[(1, 0), (2, 100), (3, 200)]),
            cut: None,
        };
        history.forget_below(99);
        assert_eq!(history.epochs.len(), 3);
        history.forget_below(150);
        assert_eq!(history.epochs, epochs(&[(2, 100), (3, 200)]));
        history.forget_below(1_000);
        assert_eq!(history.epochs, epochs(&[(3, 200)]), "it is still written");
    }

    #[test]
    fn logs_are_the_same_up_to_where_their_epochs_part() {
        let end = |ours: &[(u64, u64)], our_end, theirs: &[(u64, u64)], their_end| {
            let (ours, theirs) = (epochs(ours), epochs(theirs));
            let (our_end, their_end) = (LogPosition(our_end), LogPosition(their_end));
            let there = common_end((&ours, our_end), (&theirs, their_end));
            let back = common_end((&theirs, their_end), (&ours, our_end));
            assert_eq!(there, back);
            there.map(|position| position.0)
        };
        // The same master: the shorter one is a part of the longer.
        assert_eq!(end(&[(1, 0)], 50, &[(1, 0)], 80), Some(50));
        // The old master wrote on to 90 while the new one had 70.
        assert_eq!(end(&[(1, 0)], 90, &[(1, 0), (2, 70)], 200), Some(70));
        // A power cut took the end of one, also the one that both know.
        assert_eq!(
            end(&[(1, 0), (2, 70)], 40, &[(1, 0), (3, 70)], 200),
            Some(40)
        );
        // Both have followed other masters since.
        let (ours, theirs) = ([(1, 0), (2, 50), (3, 70)], [(1, 0), (2, 50), (4, 65)]);
        assert_eq!(end(&ours, 90, &theirs, 99), Some(65));
        // The old epochs of one have expired.
        assert_eq!(end(&[(2, 50), (3, 70)], 90, &theirs, 99), Some(65));
        assert_eq!(end(&[(3, 70)], 90, &theirs, 99), None);
    }
}
