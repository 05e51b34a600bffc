//! Going through everything a run holds, for merging and for retention.

use super::directory::Directory;
use super::file::RunFile;
use super::format::{BLOCK_BYTES_MAX, Chunk, KEY, KEYS_PER_BLOCK, RunDamaged, u32_at, u64_at};
use super::read::Run;
use crate::index::keys::KeyEntry;

impl Run {
    /// Every queue, sorted by topic and id.
    pub(crate) fn queues(&self) -> Result<QueueCursor<'_>, RunDamaged> {
        let mut cursor = QueueCursor {
            run: &self.file,
            directory: Directory::load_whole(&self.file)?,
            topic: 0,
            row: 0,
            rows_end: 0,
            name: String::new(),
        };
        if self.queues > 0 {
            cursor.enter_topic()?;
        }
        Ok(cursor)
    }

    /// The keys of one group, for merging; none after the last group.
    pub(super) fn keys_of_block(&self, block: usize) -> Result<Vec<KeyEntry>, RunDamaged> {
        if block >= self.keys.div_ceil(KEYS_PER_BLOCK) {
            return Ok(Vec::new());
        }
        let mut buffer = [0; BLOCK_BYTES_MAX];
        let rows = self.key_block(block, &mut buffer)?.chunks_exact(KEY);
        Ok(rows
            .map(|row| KeyEntry {
                hash: u64_at(row, 0),
                position: self.file.span.from + u64::from(u32_at(row, 8)),
            })
            .collect())
    }
}

/// Goes through the queues of a run.
pub(crate) struct QueueCursor<'a> {
    run: &'a RunFile,
    directory: Directory,
    topic: usize,
    row: usize,
    /// Where the rows of the topic end.
    rows_end: usize,
    name: String,
}

impl QueueCursor<'_> {
    /// The queue it stands at.
    pub(crate) fn current(&self) -> Result<Option<(&str, i32, Chunk)>, RunDamaged> {
        if self.row == self.run.layout.queues {
            return Ok(None);
        }
        let (id, chunk) = self.directory.chunk(self.run, self.row)?;
        Ok(Some((&self.name, id, chunk)))
    }

    /// Goes on to the next queue.
    pub(crate) fn advance(&mut self) -> Result<(), RunDamaged> {
        self.row += 1;
        while self.row >= self.rows_end && self.topic + 1 < self.run.layout.topics {
            self.topic += 1;
            self.enter_topic()?;
        }
        Ok(())
    }

    fn enter_topic(&mut self) -> Result<(), RunDamaged> {
        self.rows_end = self.directory.queue_rows(self.run, self.topic)?.end;
        let name = self.directory.name(self.run, self.topic, |name| {
            std::str::from_utf8(name).map(str::to_owned)
        })?;
        self.name = name.map_err(|_| self.run.damage("a topic name is not UTF-8"))?;
        Ok(())
    }
}
