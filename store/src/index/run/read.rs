//! Reading a run file through its map.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{self, AtomicBool};

use super::{
    ENTRIES_PER_BLOCK, ENTRY, FILTER_PER_BLOCK, HEADER, KEY, KEYS_PER_BLOCK, MARK, QUEUE,
    RunDamaged, RunEntry, Span, TIME_UNKNOWN, TOPIC, VERSION, filter,
};
use crate::fs::{Fs, Map};

/// An open run file.
pub(crate) struct Run {
    pub(super) map: Map,
    pub(super) span: Span,
    pub(super) number: u64,
    pub(super) base_ms: i64,
    pub(super) newest_ms: i64,
    pub(super) topics: usize,
    pub(super) queues: usize,
    pub(super) entries: usize,
    pub(super) keys: usize,
    pub(super) filter_blocks: usize,
    pub(super) keys_at: usize,
    pub(super) checks_at: usize,
    pub(super) queues_at: usize,
    pub(super) topics_at: usize,
    pub(super) names_at: usize,
    pub(super) filter_at: usize,
    pub(super) meta_crc: u32,
    pub(super) meta: OnceLock<bool>,
    pub(super) damaged: AtomicBool,
}

/// The entries of one queue in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first_offset: i64,
    pub(crate) count: u32,
    first_entry: u32,
    /// Largest store time of the chunk, ms since 1970, if known.
    pub(crate) newest_ms: Option<i64>,
}

impl Chunk {
    /// Offset after the last entry.
    pub(crate) fn end_offset(&self) -> i64 {
        self.first_offset + i64::from(self.count)
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

impl Run {
    /// Maps the file and checks its header and length.
    pub(crate) fn open(fs: &dyn Fs, path: &Path, span: Span) -> Result<Self, RunDamaged> {
        let damaged = |what| RunDamaged { log: span, what };
        let map = fs.map(path).map_err(|_| damaged("it cannot be opened"))?;
        let bytes: &[u8] = &map;
        if bytes.len() < HEADER || &bytes[..8] != MARK {
            return Err(damaged("it does not begin with the mark of a run file"));
        }
        if crc32fast::hash(&bytes[..HEADER - 4]) != u32_at(bytes, HEADER - 4) {
            return Err(damaged("the checksum of its header is wrong"));
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(damaged("it has another format version"));
        }
        if u64_at(bytes, 16) != span.from || u64_at(bytes, 24) != span.to {
            return Err(damaged("it covers another stretch of the log"));
        }
        let [topics, queues, entries, keys, blocks, names] =
            [48, 52, 56, 60, 64, 68].map(|at| u32_at(bytes, at) as usize);
        let keys_at = HEADER + entries * ENTRY;
        let filter_at = keys_at + keys * KEY;
        let checks_at = filter_at + blocks * filter::BLOCK;
        let checks = entries.div_ceil(ENTRIES_PER_BLOCK)
            + keys.div_ceil(KEYS_PER_BLOCK)
            + blocks.div_ceil(FILTER_PER_BLOCK);
        let queues_at = checks_at + 4 * checks;
        let topics_at = queues_at + queues * QUEUE;
        let names_at = topics_at + topics * TOPIC;
        let end = names_at + names;
        if end != bytes.len() || u64_at(bytes, 76) != end as u64 {
            return Err(damaged("it is shorter or longer than its header says"));
        }
        Ok(Self {
            span,
            number: u64_at(bytes, 84),
            base_ms: u64_at(bytes, 32) as i64,
            newest_ms: u64_at(bytes, 40) as i64,
            topics,
            queues,
            entries,
            keys,
            filter_blocks: blocks,
            keys_at,
            checks_at,
            queues_at,
            topics_at,
            names_at,
            filter_at,
            meta_crc: u32_at(bytes, 72),
            meta: OnceLock::new(),
            damaged: AtomicBool::new(false),
            map,
        })
    }

    /// The stretch of the log it covers.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The number in its file name.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Smallest store time, ms since 1970.
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.base_ms
    }

    /// Largest store time, ms since 1970.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    pub(crate) fn queue_count(&self) -> usize {
        self.queues
    }

    pub(crate) fn key_count(&self) -> usize {
        self.keys
    }

    /// A look-up has found it damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(atomic::Ordering::Acquire)
    }

    pub(super) fn damage(&self, what: &'static str) -> RunDamaged {
        self.damaged.store(true, atomic::Ordering::Release);
        RunDamaged {
            log: self.span,
            what,
        }
    }

    /// The bytes, once the meta part is known to be intact.
    pub(super) fn meta(&self) -> Result<&[u8], RunDamaged> {
        let bytes: &[u8] = &self.map;
        if *self
            .meta
            .get_or_init(|| crc32fast::hash(&bytes[self.checks_at..]) == self.meta_crc)
        {
            Ok(bytes)
        } else {
            Err(self.damage("the checksum of its directory is wrong"))
        }
    }

    /// One block of entries or keys, checked.
    pub(super) fn block(
        &self,
        section_at: usize,
        item: usize,
        count: usize,
        per_block: usize,
        block: usize,
        first_check: usize,
    ) -> Result<&[u8], RunDamaged> {
        let bytes = self.meta()?;
        let from = section_at + block * per_block * item;
        let to = section_at + ((block + 1) * per_block).min(count) * item;
        let block_bytes = &bytes[from..to];
        if crc32fast::hash(block_bytes) == u32_at(bytes, self.checks_at + 4 * (first_check + block))
        {
            Ok(block_bytes)
        } else {
            Err(self.damage("the checksum of one of its blocks is wrong"))
        }
    }

    pub(super) fn entry_block(&self, block: usize) -> Result<&[u8], RunDamaged> {
        self.block(HEADER, ENTRY, self.entries, ENTRIES_PER_BLOCK, block, 0)
    }

    pub(super) fn key_block(&self, block: usize) -> Result<&[u8], RunDamaged> {
        self.block(
            self.keys_at,
            KEY,
            self.keys,
            KEYS_PER_BLOCK,
            block,
            self.entries.div_ceil(ENTRIES_PER_BLOCK),
        )
    }

    pub(super) fn topic_name<'a>(&self, bytes: &'a [u8], topic: usize) -> &'a [u8] {
        let row = self.topics_at + topic * TOPIC;
        let at = self.names_at + u32_at(bytes, row) as usize;
        &bytes[at..at + u32_at(bytes, row + 4) as usize]
    }

    pub(super) fn queue_rows(&self, bytes: &[u8], topic: usize) -> std::ops::Range<usize> {
        let first = u32_at(bytes, self.topics_at + topic * TOPIC + 8) as usize;
        let end = if topic + 1 == self.topics {
            self.queues
        } else {
            u32_at(bytes, self.topics_at + (topic + 1) * TOPIC + 8) as usize
        };
        first..end
    }

    pub(super) fn chunk(&self, bytes: &[u8], row: usize) -> (i32, Chunk) {
        let at = self.queues_at + row * QUEUE;
        let newest = u32_at(bytes, at + 24);
        let chunk = Chunk {
            count: u32_at(bytes, at + 4),
            first_offset: u64_at(bytes, at + 8) as i64,
            first_entry: u32_at(bytes, at + 16),
            newest_ms: (newest != TIME_UNKNOWN).then(|| self.base_ms + i64::from(newest)),
        };
        (u32_at(bytes, at) as i32, chunk)
    }

    /// The entries of a queue.
    pub(crate) fn find(&self, topic: &str, queue_id: i32) -> Result<Option<Chunk>, RunDamaged> {
        let bytes = self.meta()?;
        let (mut low, mut high) = (0, self.topics);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.topic_name(bytes, middle).cmp(topic.as_bytes()) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let mut rows = self.queue_rows(bytes, middle);
                    while rows.start < rows.end {
                        let row = usize::midpoint(rows.start, rows.end);
                        let (id, chunk) = self.chunk(bytes, row);
                        match id.cmp(&queue_id) {
                            Ordering::Less => rows.start = row + 1,
                            Ordering::Greater => rows.end = row,
                            Ordering::Equal => return Ok(Some(chunk)),
                        }
                    }
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Shows entries `range` of a chunk (indices from 0) until `visit` says false.
    pub(crate) fn entries(
        &self,
        chunk: &Chunk,
        range: std::ops::Range<u32>,
        mut visit: impl FnMut(RunEntry) -> bool,
    ) -> Result<(), RunDamaged> {
        let mut at = chunk.first_entry as usize + range.start as usize;
        let end = chunk.first_entry as usize + range.end.min(chunk.count) as usize;
        while at < end {
            let block = at / ENTRIES_PER_BLOCK;
            let bytes = self.entry_block(block)?;
            let first = block * ENTRIES_PER_BLOCK;
            let stop = end.min(first + ENTRIES_PER_BLOCK);
            for row in bytes[(at - first) * ENTRY..(stop - first) * ENTRY].chunks_exact(ENTRY) {
                if !visit(self.decode(row)) {
                    return Ok(());
                }
            }
            at = stop;
        }
        Ok(())
    }

    /// One entry of a chunk; `index` is below its count.
    pub(crate) fn entry(&self, chunk: &Chunk, index: u32) -> Result<RunEntry, RunDamaged> {
        let at = chunk.first_entry as usize + index as usize;
        let bytes = self.entry_block(at / ENTRIES_PER_BLOCK)?;
        let row = (at % ENTRIES_PER_BLOCK) * ENTRY;
        Ok(self.decode(&bytes[row..row + ENTRY]))
    }

    fn decode(&self, row: &[u8]) -> RunEntry {
        let time = u32_at(row, 16);
        RunEntry {
            position: self.span.from + u64::from(u32_at(row, 0)),
            size: u32_at(row, 4),
            tag_hash: u64_at(row, 8) as i64,
            store_ms: (time != TIME_UNKNOWN).then(|| self.base_ms + i64::from(time)),
        }
    }
}
