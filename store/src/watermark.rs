//! How far the log is known to be durable. Recovery cuts only above it; damage below is damage.
//!
//! ```text
//! two slots of 64 bytes at 0 and 4096, written in turn; the valid one with the larger position counts
//! 0 mark "RMQWMRK1" or "RMQWSEAL" | 8 position u64 | 16 CRC-32 of bytes 0..16 u32       little-endian
//! ```
//! A slot is written only after the sync that it speaks of, so a lost or torn slot makes the watermark older, never wrong.
//!
//! A store that is closed writes the second mark to both slots: then nothing was ever written above that position, and the next
//! start need not look. It takes the mark back, durably, before anything is written.

use std::io;
use std::path::Path;

use crate::fs::{File, Fs};

const MARK: &[u8; 8] = b"RMQWMRK1";
const SEALED: &[u8; 8] = b"RMQWSEAL";
const SLOTS: [u64; 2] = [0, 4096];
const FILE_BYTES: u64 = 8192;
const SLOT_BYTES: usize = 20;

pub(crate) struct Watermark {
    file: Box<dyn File>,
    position: u64,
    next_slot: usize,
    sealed: bool,
}

impl Watermark {
    /// Opens the file or makes a new one at position 0.
    pub(crate) fn open(fs: &dyn Fs, path: &Path) -> io::Result<Self> {
        if !fs.exists(path)? {
            let file = fs.create(path)?;
            file.set_len(FILE_BYTES)?;
            file.sync_all()?;
            if let Some(dir) = path.parent() {
                fs.sync_dir(dir)?;
            }
            return Ok(Self {
                file,
                position: 0,
                next_slot: 0,
                sealed: false,
            });
        }
        let file = fs.open(path)?;
        let len = file.len()?;
        let found = SLOTS.map(|at| {
            let mut slot = [0u8; SLOT_BYTES];
            if len < at + SLOT_BYTES as u64 {
                return None;
            }
            match file.read_at(at, &mut slot) {
                Ok(()) => parse(&slot),
                Err(error) => {
                    // As a torn one: the other is older at worst, and the next write may mend the sector.
                    tracing::error!(path = %path.display(), at, %error, "a slot of the watermark cannot be read");
                    None
                }
            }
        });
        let [first, second] = found.map(|slot| slot.map(|(position, _)| position));
        // The older one is written next.
        let newest = match (first, second) {
            (Some(first), second) if second.is_none_or(|second| first > second) => (first, 1),
            (_, Some(second)) => (second, 0),
            _ => (0, 0),
        };
        // Only both together: one alone may be what a later life has begun to overwrite.
        let sealed = found == [Some((newest.0, true)); SLOTS.len()];
        Ok(Self {
            file,
            position: newest.0,
            next_slot: newest.1,
            sealed,
        })
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Nothing was ever written above the position.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Takes the seal back, durably: from now on something may be written above the position.
    pub(crate) fn unseal(&mut self) -> io::Result<()> {
        if self.sealed {
            self.write(MARK, self.position)?;
            self.sync()?;
            self.sealed = false;
        }
        Ok(())
    }

    /// Moves it up. Everything below `position` must be durable.
    pub(crate) fn raise(&mut self, position: u64) -> io::Result<()> {
        if position <= self.position {
            return Ok(());
        }
        self.write(MARK, position)?;
        self.position = position;
        Ok(())
    }

    /// As [`raise`](Self::raise), durably.
    pub(crate) fn raise_durably(&mut self, position: u64) -> io::Result<()> {
        self.raise(position)?;
        self.sync()
    }

    /// Moves it down, durably: what lies above `position` is no part of the log any more.
    pub(crate) fn lower(&mut self, position: u64) -> io::Result<()> {
        if position >= self.position {
            return Ok(());
        }
        for _ in SLOTS {
            // The larger of both counts, so it is lower once both are written.
            self.write(MARK, position)?;
            self.sync()?;
        }
        self.position = position;
        self.sealed = false;
        Ok(())
    }

    /// Moves it up and notes, durably, that nothing was written above it.
    pub(crate) fn seal(&mut self, position: u64) -> io::Result<()> {
        self.raise(position)?;
        for _ in SLOTS {
            // One after the other, so that a torn one leaves the other.
            self.write(SEALED, self.position)?;
            self.sync()?;
        }
        self.sealed = true;
        Ok(())
    }

    fn write(&mut self, mark: &[u8; 8], position: u64) -> io::Result<()> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(mark);
        slot.extend_from_slice(&position.to_le_bytes());
        let crc = crc32fast::hash(&slot);
        slot.extend_from_slice(&crc.to_le_bytes());
        let [first, second] = SLOTS;
        let at = if self.next_slot == 0 { first } else { second };
        self.file.write_at(at, &slot)?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// The position of an intact slot, and whether it is sealed.
fn parse(slot: &[u8; SLOT_BYTES]) -> Option<(u64, bool)> {
    let (content, crc) = slot.split_last_chunk::<4>()?;
    let (mark, position) = content.split_first_chunk::<8>()?;
    let position = u64::from_le_bytes(*position.first_chunk()?);
    let intact = crc32fast::hash(content) == u32::from_le_bytes(*crc);
    (intact && (mark == MARK || mark == SEALED)).then_some((position, mark == SEALED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    #[test]
    fn a_torn_slot_falls_back_to_the_other() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("watermark");
        let mut watermark = Watermark::open(&RealFs, &path).expect("new");
        watermark.raise(100).expect("written");
        watermark.raise(200).expect("written");
        watermark.raise(150).expect("ignored");
        drop(watermark);
        assert_eq!(
            Watermark::open(&RealFs, &path).expect("opens").position(),
            200
        );
        // 200 went to the second slot.
        let file = RealFs.open(&path).expect("opens");
        file.write_at(SLOTS[1] + 8, &[0xff]).expect("written");
        let mut watermark = Watermark::open(&RealFs, &path).expect("opens");
        assert_eq!(watermark.position(), 100);
        watermark.raise(300).expect("written");
        assert_eq!(
            Watermark::open(&RealFs, &path).expect("opens").position(),
            300
        );
    }

    #[test]
    fn it_is_lower_only_when_both_slots_say_so() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("watermark");
        let open = || Watermark::open(&RealFs, &path).expect("opens");
        let mut watermark = open();
        watermark.seal(200).expect("written");
        watermark.lower(300).expect("nothing to do");
        assert_eq!((open().position(), open().is_sealed()), (200, true));
        watermark.write(MARK, 100).expect("written");
        assert_eq!(open().position(), 200, "one slot is not enough");
        watermark.lower(100).expect("written");
        assert_eq!((open().position(), open().is_sealed()), (100, false));
        watermark.raise(150).expect("written");
        assert_eq!(open().position(), 150);
    }

    #[test]
    fn a_seal_holds_until_it_is_taken_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("watermark");
        let open = || Watermark::open(&RealFs, &path).expect("opens");
        let mut watermark = open();
        watermark.raise(100).expect("written");
        assert!(!open().is_sealed());
        watermark.seal(200).expect("written");
        assert!(open().is_sealed());
        // One slot that is not right is enough.
        let file = RealFs.open(&path).expect("opens");
        for at in SLOTS {
            let mut byte = [0];
            file.read_at(at + 17, &mut byte).expect("read");
            file.write_at(at + 17, &[byte[0] ^ 1]).expect("written");
            assert_eq!((open().position(), open().is_sealed()), (200, false));
            file.write_at(at + 17, &byte).expect("written");
        }
        let mut watermark = open();
        watermark.unseal().expect("written");
        assert_eq!((open().position(), open().is_sealed()), (200, false));
        watermark.seal(200).expect("written");
        assert!(open().is_sealed(), "also without anything new");
    }
}
