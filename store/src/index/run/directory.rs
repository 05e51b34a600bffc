//! The directory of a run: checks, queues, topics and names. It is checked as a whole before it is first used; a small one stays in
//! memory, of a large one each row is read when it is needed.

use std::ops::Range;

use super::file::RunFile;
use super::format::{Chunk, QUEUE, RunDamaged, TIME_UNKNOWN, TOPIC, u32_at, u64_at};

/// Larger directories (about 4,500 queues) do not stay in memory: there is one for each GiB of log.
const KEPT_BYTES_MAX: usize = 128 << 10;
/// Bytes read at once while a large directory is checked.
const CHECK_BYTES: usize = 64 << 10;
/// Names up to here need no allocation.
const SHORT_NAME: usize = 256;

pub(super) enum Directory {
    Kept(Vec<u8>),
    OnDisk,
}

impl Directory {
    /// Reads and checks it.
    pub(super) fn load(run: &RunFile) -> Result<Self, RunDamaged> {
        let layout = &run.layout;
        if layout.end - layout.checks_at <= KEPT_BYTES_MAX {
            return Self::load_whole(run);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; CHECK_BYTES];
        let mut at = layout.checks_at;
        while at < layout.end {
            let step = CHECK_BYTES.min(layout.end - at);
            buffer.truncate(step);
            run.read(at, &mut buffer)?;
            hasher.update(&buffer);
            at += step;
        }
        Self::OnDisk.checked(run, hasher.finalize())
    }

    /// As [`load`](Self::load), whatever the size: for a caller that reads the whole directory.
    pub(super) fn load_whole(run: &RunFile) -> Result<Self, RunDamaged> {
        let layout = &run.layout;
        let mut bytes = vec![0; layout.end - layout.checks_at];
        run.read(layout.checks_at, &mut bytes)?;
        let crc = crc32fast::hash(&bytes);
        Self::Kept(bytes).checked(run, crc)
    }

    fn checked(self, run: &RunFile, crc: u32) -> Result<Self, RunDamaged> {
        if crc == run.layout.crc {
            Ok(self)
        } else {
            Err(run.damage("the checksum of its directory is wrong"))
        }
    }

    /// Shows `len` bytes at a place of the file to `show`.
    fn with<R>(
        &self,
        run: &RunFile,
        at: usize,
        len: usize,
        show: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, RunDamaged> {
        match self {
            Self::Kept(bytes) => at
                .checked_sub(run.layout.checks_at)
                .and_then(|from| bytes.get(from..from + len))
                .map(show)
                .ok_or_else(|| run.damage("it refers to what it does not have")),
            Self::OnDisk => {
                let mut short = [0; SHORT_NAME];
                if let Some(buffer) = short.get_mut(..len) {
                    run.read(at, buffer)?;
                    return Ok(show(buffer));
                }
                let mut buffer = vec![0; len];
                run.read(at, &mut buffer)?;
                Ok(show(&buffer))
            }
        }
    }

    /// The checksum of a block, by its number.
    pub(super) fn check(&self, run: &RunFile, number: usize) -> Result<u32, RunDamaged> {
        self.with(run, run.layout.checks_at + 4 * number, 4, |bytes| {
            u32_at(bytes, 0)
        })
    }

    /// Shows the name of a topic, by its number.
    pub(super) fn name<R>(
        &self,
        run: &RunFile,
        topic: usize,
        show: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, RunDamaged> {
        let (at, len) = self.topic(run, topic, |row| (u32_at(row, 0), u32_at(row, 4)))?;
        self.with(run, run.layout.names_at + at as usize, len as usize, show)
    }

    /// Numbers of the rows of a topic's queues.
    pub(super) fn queue_rows(
        &self,
        run: &RunFile,
        topic: usize,
    ) -> Result<Range<usize>, RunDamaged> {
        let first_of = |topic| self.topic(run, topic, |row| u32_at(row, 8) as usize);
        let end = if topic + 1 == run.layout.topics {
            run.layout.queues
        } else {
            first_of(topic + 1)?
        };
        Ok(first_of(topic)?..end)
    }

    fn topic<R>(
        &self,
        run: &RunFile,
        topic: usize,
        show: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, RunDamaged> {
        self.with(run, run.layout.topics_at + topic * TOPIC, TOPIC, show)
    }

    /// Id and entries of a queue, by the number of its row.
    pub(super) fn chunk(&self, run: &RunFile, row: usize) -> Result<(i32, Chunk), RunDamaged> {
        self.with(run, run.layout.queues_at + row * QUEUE, QUEUE, |row| {
            let newest = u32_at(row, 24);
            let chunk = Chunk {
                count: u32_at(row, 4),
                first_offset: u64_at(row, 8) as i64,
                first_entry: u32_at(row, 16),
                newest_ms: (newest != TIME_UNKNOWN).then(|| run.base_ms + i64::from(newest)),
            };
            (u32_at(row, 0) as i32, chunk)
        })
    }
}
