//! Reading a run file. Every block is read when it is needed and checked then; a small directory stays in memory.

use std::cmp::Ordering;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{self, AtomicU64};

use super::directory::Directory;
use super::file::{Layout, RunFile};
use super::filter;
use super::format::{
    BlockBuffer, Chunk, ENTRIES_PER_BLOCK, ENTRY, FILTER_PER_BLOCK, HEADER, KEY, KEYS_PER_BLOCK,
    MARK, QUEUE, RunDamaged, RunEntry, Span, TIME_UNKNOWN, TOPIC, VERSION, u32_at, u64_at,
};
use crate::fs::Fs;

/// The next [`Run::identity`].
static IDENTITIES: AtomicU64 = AtomicU64::new(1);

/// An open run file.
pub(crate) struct Run {
    pub(super) file: RunFile,
    bytes: u64,
    number: u64,
    newest_ms: i64,
    pub(super) queues: usize,
    pub(super) entries: usize,
    pub(super) keys: usize,
    pub(super) filter_blocks: usize,
    keys_at: usize,
    pub(super) filter_at: usize,
    directory: OnceLock<Directory>,
    /// Tells the runs of this process apart.
    pub(super) identity: u64,
}

impl Run {
    /// Opens the file and checks its header and length.
    pub(crate) fn open(fs: &dyn Fs, path: &Path, span: Span) -> Result<Self, RunDamaged> {
        let damaged = |what| RunDamaged { log: span, what };
        let file = fs.open(path).map_err(|_| damaged("it cannot be opened"))?;
        let bytes = file.len().map_err(|_| damaged("it cannot be read"))?;
        if bytes < HEADER as u64 {
            return Err(damaged("it does not begin with the mark of a run file"));
        }
        let mut header = [0; HEADER];
        file.read_at(0, &mut header)
            .map_err(|_| damaged("it cannot be read"))?;
        if !header.starts_with(MARK) {
            return Err(damaged("it does not begin with the mark of a run file"));
        }
        let checked = header.split_last_chunk::<4>();
        if checked.is_none_or(|(head, crc)| crc32fast::hash(head).to_le_bytes() != *crc) {
            return Err(damaged("the checksum of its header is wrong"));
        }
        if u32_at(&header, 8) != VERSION {
            return Err(damaged("it has another format version"));
        }
        if u64_at(&header, 16) != span.from || u64_at(&header, 24) != span.to {
            return Err(damaged("it covers another stretch of the log"));
        }
        let [topics, queues, entries, keys, blocks, names] =
            [48, 52, 56, 60, 64, 68].map(|at| u32_at(&header, at) as usize);
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
        if end as u64 != bytes || u64_at(&header, 76) != bytes {
            return Err(damaged("it is shorter or longer than its header says"));
        }
        let layout = Layout {
            topics,
            queues,
            checks_at,
            queues_at,
            topics_at,
            names_at,
            end,
            crc: u32_at(&header, 72),
        };
        Ok(Self {
            file: RunFile::new(file, span, u64_at(&header, 32) as i64, layout),
            bytes,
            number: u64_at(&header, 84),
            newest_ms: u64_at(&header, 40) as i64,
            queues,
            entries,
            keys,
            filter_blocks: blocks,
            keys_at,
            filter_at,
            directory: OnceLock::new(),
            identity: IDENTITIES.fetch_add(1, atomic::Ordering::Relaxed),
        })
    }

    /// The stretch of the log it covers.
    pub(crate) fn span(&self) -> Span {
        self.file.span
    }

    /// The number in its file name.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.bytes
    }

    /// Smallest store time, ms since 1970.
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.file.base_ms
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
        self.file.is_damaged()
    }

    /// The directory, known to be intact.
    pub(super) fn directory(&self) -> Result<&Directory, RunDamaged> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        let loaded = Directory::load(&self.file)?;
        Ok(self.directory.get_or_init(|| loaded))
    }

    /// One block of entries, keys or filter, checked.
    pub(super) fn block<'b>(
        &self,
        section: &Section,
        block: usize,
        buffer: &'b mut BlockBuffer,
    ) -> Result<&'b [u8], RunDamaged> {
        let first = block * section.per_block;
        let items = section.count.saturating_sub(first).min(section.per_block);
        let wrong = || self.file.damage("it refers to what it does not have");
        let bytes = buffer
            .get_mut(..items * section.item)
            .filter(|bytes| !bytes.is_empty())
            .ok_or_else(wrong)?;
        self.file.read(section.at + first * section.item, bytes)?;
        let check = self
            .directory()?
            .check(&self.file, section.first_check + block)?;
        if crc32fast::hash(bytes) == check {
            Ok(bytes)
        } else {
            Err(self
                .file
                .damage("the checksum of one of its blocks is wrong"))
        }
    }

    pub(super) fn entry_block<'b>(
        &self,
        block: usize,
        buffer: &'b mut BlockBuffer,
    ) -> Result<&'b [u8], RunDamaged> {
        let section = Section {
            at: HEADER,
            item: ENTRY,
            count: self.entries,
            per_block: ENTRIES_PER_BLOCK,
            first_check: 0,
        };
        self.block(&section, block, buffer)
    }

    pub(super) fn key_block<'b>(
        &self,
        block: usize,
        buffer: &'b mut BlockBuffer,
    ) -> Result<&'b [u8], RunDamaged> {
        let section = Section {
            at: self.keys_at,
            item: KEY,
            count: self.keys,
            per_block: KEYS_PER_BLOCK,
            first_check: self.entries.div_ceil(ENTRIES_PER_BLOCK),
        };
        self.block(&section, block, buffer)
    }

    /// The entries of a queue.
    pub(crate) fn find(&self, topic: &str, queue_id: i32) -> Result<Option<Chunk>, RunDamaged> {
        let directory = self.directory()?;
        let (mut low, mut high) = (0, self.file.layout.topics);
        while low < high {
            let middle = usize::midpoint(low, high);
            let order = directory.name(&self.file, middle, |name| name.cmp(topic.as_bytes()))?;
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => {
                    let mut rows = directory.queue_rows(&self.file, middle)?;
                    while rows.start < rows.end {
                        let row = usize::midpoint(rows.start, rows.end);
                        let (id, chunk) = directory.chunk(&self.file, row)?;
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
            let first = block * ENTRIES_PER_BLOCK;
            let stop = end.min(first + ENTRIES_PER_BLOCK);
            let goes_on = self.with_entry_block(block, |bytes| {
                let rows = bytes.chunks_exact(ENTRY);
                let mut rows = rows.skip(at - first).take(stop - at);
                rows.all(|row| visit(self.decode(row)))
            })?;
            if !goes_on {
                return Ok(());
            }
            at = stop;
        }
        Ok(())
    }

    /// One entry of a chunk; `index` is below its count.
    pub(crate) fn entry(&self, chunk: &Chunk, index: u32) -> Result<RunEntry, RunDamaged> {
        let at = chunk.first_entry as usize + index as usize;
        self.with_entry_block(at / ENTRIES_PER_BLOCK, |bytes| {
            let row = bytes.chunks_exact(ENTRY).nth(at % ENTRIES_PER_BLOCK);
            row.map(|row| self.decode(row))
        })?
        .ok_or_else(|| self.file.damage("it refers to what it does not have"))
    }

    fn decode(&self, row: &[u8]) -> RunEntry {
        let time = u32_at(row, 16);
        RunEntry {
            position: self.file.span.from + u64::from(u32_at(row, 0)),
            size: u32_at(row, 4),
            tag_hash: u64_at(row, 8) as i64,
            store_ms: (time != TIME_UNKNOWN).then(|| self.file.base_ms + i64::from(time)),
        }
    }
}

/// A part of the file that is checked block by block.
pub(super) struct Section {
    pub(super) at: usize,
    /// Bytes of an item.
    pub(super) item: usize,
    /// Items.
    pub(super) count: usize,
    pub(super) per_block: usize,
    /// Number of its first check in the directory.
    pub(super) first_check: usize,
}
