//! Going through everything a run holds, for merging and for retention.

use super::read::{u32_at, u64_at};
use super::{Chunk, KEY, KEYS_PER_BLOCK, Run, RunDamaged};
use crate::index::keys::KeyEntry;

impl Run {
    /// Every queue, sorted by topic and id.
    pub(crate) fn queues(&self) -> Result<QueueCursor<'_>, RunDamaged> {
        self.meta()?;
        Ok(QueueCursor {
            run: self,
            topic: 0,
            row: 0,
        })
    }

    /// The keys of one group, for merging; none after the last group.
    pub(super) fn keys_of_block(
        &self,
        block: usize,
    ) -> Result<impl Iterator<Item = KeyEntry> + '_, RunDamaged> {
        let bytes: &[u8] = if block < self.keys.div_ceil(KEYS_PER_BLOCK) {
            self.key_block(block)?
        } else {
            &[]
        };
        Ok(bytes.chunks_exact(KEY).map(|row| KeyEntry {
            hash: u64_at(row, 0),
            position: self.span.from + u64::from(u32_at(row, 8)),
        }))
    }
}

/// Goes through the queues of a run.
pub(crate) struct QueueCursor<'a> {
    run: &'a Run,
    topic: usize,
    row: usize,
}

impl<'a> QueueCursor<'a> {
    /// The queue it stands at.
    pub(crate) fn current(&self) -> Result<Option<(&'a str, i32, Chunk)>, RunDamaged> {
        if self.row == self.run.queues {
            return Ok(None);
        }
        let bytes: &'a [u8] = &self.run.map;
        let name = std::str::from_utf8(self.run.topic_name(bytes, self.topic))
            .map_err(|_| self.run.damage("a topic name is not UTF-8"))?;
        let (id, chunk) = self.run.chunk(bytes, self.row);
        Ok(Some((name, id, chunk)))
    }

    /// Goes on to the next queue.
    pub(crate) fn advance(&mut self) {
        self.row += 1;
        while self.topic + 1 < self.run.topics
            && self.run.queue_rows(&self.run.map, self.topic).end <= self.row
        {
            self.topic += 1;
        }
    }
}
