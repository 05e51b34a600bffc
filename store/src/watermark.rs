//! How far the log is known to be durable. Recovery cuts only above it; damage below is damage.
//!
//! ```text
//! two slots of 64 bytes at 0 and 4096, written in turn; the valid one with the larger position counts
//! 0 mark "RMQWMRK1" | 8 position u64 | 16 CRC-32 of bytes 0..16 u32       little-endian
//! ```
//! A slot is written only after the sync that it speaks of, so a lost or torn slot makes the watermark older, never wrong.

use std::io;
use std::path::Path;

use crate::fs::{File, Fs};

const MARK: &[u8; 8] = b"RMQWMRK1";
const SLOTS: [u64; 2] = [0, 4096];
const SLOT_BYTES: usize = 20;

pub(crate) struct Watermark {
    file: Box<dyn File>,
    position: u64,
    next_slot: usize,
}

impl Watermark {
    /// Opens the file or makes a new one at position 0.
    pub(crate) fn open(fs: &dyn Fs, path: &Path) -> io::Result<Self> {
        if !fs.exists(path) {
            let file = fs.create(path)?;
            file.set_len(SLOTS[1] + 4096)?;
            file.sync_all()?;
            return Ok(Self {
                file,
                position: 0,
                next_slot: 0,
            });
        }
        let file = fs.open(path)?;
        let mut newest = (0, 0);
        for (index, at) in SLOTS.into_iter().enumerate() {
            let mut slot = [0u8; SLOT_BYTES];
            if file.len()? < at + SLOT_BYTES as u64 {
                continue;
            }
            file.read_at(at, &mut slot)?;
            if let Some(position) = parse(&slot)
                && position >= newest.0
            {
                newest = (position, 1 - index);
            }
        }
        Ok(Self {
            file,
            position: newest.0,
            next_slot: newest.1,
        })
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Moves it up. Everything below `position` must be durable.
    pub(crate) fn raise(&mut self, position: u64) -> io::Result<()> {
        if position <= self.position {
            return Ok(());
        }
        let mut slot = [0u8; SLOT_BYTES];
        slot[..8].copy_from_slice(MARK);
        slot[8..16].copy_from_slice(&position.to_le_bytes());
        let crc = crc32fast::hash(&slot[..16]);
        slot[16..].copy_from_slice(&crc.to_le_bytes());
        self.file.write_at(SLOTS[self.next_slot], &slot)?;
        self.next_slot = 1 - self.next_slot;
        self.position = position;
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

fn parse(slot: &[u8; SLOT_BYTES]) -> Option<u64> {
    let (content, crc) = slot.split_last_chunk::<4>()?;
    let (mark, position) = content.split_first_chunk::<8>()?;
    let position = u64::from_le_bytes(*position.first_chunk()?);
    (mark == MARK && crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(position)
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
}
