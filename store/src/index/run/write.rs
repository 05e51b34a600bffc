//! Writing a run file, front to back. Only the directory and the filter are kept in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::path::Path;

use super::filter;
use super::format::{
    ENTRIES_PER_BLOCK, FILTER_PER_BLOCK, HEADER, KEYS_PER_BLOCK, MARK, RunDamaged, RunEntry, Span,
    TIME_UNKNOWN, VERSION,
};
use super::read::Run;
use crate::fs::{File, Fs};
use crate::index::keys::KeyEntry;

const BUFFER: usize = 256 * 1024;

/// Writes one run file: queues in the order of topic and id, then [`keys`](Self::keys) in the order of hash and position, then
/// [`RunKeys::finish`].
pub(crate) struct RunWriter<'a> {
    file: &'a dyn File,
    span: Span,
    number: u64,
    base_ms: i64,
    newest_ms: i64,
    buffer: Vec<u8>,
    written: u64,
    queues: Vec<QueueRow>,
    topics: Vec<TopicRow>,
    names: Vec<u8>,
    entries: u32,
    keys: u32,
    checks: Vec<u32>,
    /// CRC of the block that is being filled, up to this place of `buffer`: rows are short, and dear to check one by one.
    block: crc32fast::Hasher,
    checked: usize,
    filter: Vec<u8>,
}

struct QueueRow {
    id: i32,
    first_offset: i64,
    first_entry: u32,
    count: u32,
    oldest: u32,
    newest: u32,
}

struct TopicRow {
    name_at: u32,
    name_len: u32,
    first_queue: u32,
}

impl<'a> RunWriter<'a> {
    /// `base_ms` is the smallest store time of the run.
    pub(crate) fn new(file: &'a dyn File, span: Span, number: u64, base_ms: i64) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER + 64);
        buffer.resize(HEADER, 0);
        Self {
            file,
            span,
            number,
            base_ms,
            newest_ms: base_ms,
            buffer,
            written: 0,
            queues: Vec::new(),
            topics: Vec::new(),
            names: Vec::new(),
            entries: 0,
            keys: 0,
            checks: Vec::new(),
            block: crc32fast::Hasher::new(),
            checked: HEADER,
            filter: Vec::new(),
        }
    }

    /// The run's largest store time is not below this one.
    pub(crate) fn newest_at_least(mut self, newest_ms: i64) -> Self {
        self.newest_ms = self.newest_ms.max(newest_ms);
        self
    }

    /// Begins the entries of the next queue.
    pub(crate) fn queue(&mut self, topic: &str, id: i32, first_offset: i64) {
        if self
            .topics
            .last()
            .is_none_or(|last| self.name(last) != topic.as_bytes())
        {
            self.topics.push(TopicRow {
                name_at: self.names.len() as u32,
                name_len: topic.len() as u32,
                first_queue: self.queues.len() as u32,
            });
            self.names.extend_from_slice(topic.as_bytes());
        }
        self.queues.push(QueueRow {
            id,
            first_offset,
            first_entry: self.entries,
            count: 0,
            oldest: TIME_UNKNOWN,
            newest: 0,
        });
    }

    fn name(&self, row: &TopicRow) -> &[u8] {
        let from = row.name_at as usize;
        self.names
            .get(from..from + row.name_len as usize)
            .unwrap_or_default()
    }

    /// The offset that the next entry of the current queue has.
    pub(crate) fn next_offset(&self) -> i64 {
        self.queues
            .last()
            .map_or(0, |queue| queue.first_offset + i64::from(queue.count))
    }

    /// The next entry of the current queue.
    pub(crate) fn entry(&mut self, entry: &RunEntry) -> io::Result<()> {
        let queue = self
            .queues
            .last_mut()
            .ok_or_else(|| io::Error::other("an entry before the first queue"))?;
        let position = u32::try_from(entry.position - self.span.from)
            .map_err(|_| io::Error::other("an entry outside of its run"))?;
        let time = entry
            .store_ms
            .and_then(|ms| u32::try_from(ms - self.base_ms).ok())
            .unwrap_or(TIME_UNKNOWN);
        queue.oldest = queue.oldest.min(time);
        queue.newest = queue.newest.max(time);
        queue.count += 1;
        if let Some(ms) = entry.store_ms {
            self.newest_ms = self.newest_ms.max(ms);
        }
        let mut row = [0; super::format::ENTRY];
        row[..4].copy_from_slice(&position.to_le_bytes());
        row[4..8].copy_from_slice(&entry.size.to_le_bytes());
        row[8..16].copy_from_slice(&entry.tag_hash.to_le_bytes());
        row[16..].copy_from_slice(&time.to_le_bytes());
        self.entries += 1;
        let full = (self.entries as usize).is_multiple_of(ENTRIES_PER_BLOCK);
        self.row(&row, full)
    }

    fn row(&mut self, row: &[u8], block_full: bool) -> io::Result<()> {
        self.buffer.extend_from_slice(row);
        if block_full {
            self.close_block();
        }
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    fn check(&mut self) {
        let unchecked = self.buffer.get(self.checked..).unwrap_or_default();
        self.block.update(unchecked);
        self.checked = self.buffer.len();
    }

    fn close_block(&mut self) {
        self.check();
        self.checks.push(std::mem::take(&mut self.block).finalize());
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check();
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.checked = 0;
        Ok(())
    }

    /// The keys follow; there are at most `count`.
    pub(crate) fn keys(mut self, count: usize) -> RunKeys<'a> {
        if !(self.entries as usize).is_multiple_of(ENTRIES_PER_BLOCK) {
            self.close_block();
        }
        self.filter = vec![0; filter::blocks_for(count) * filter::BLOCK];
        RunKeys(self)
    }
}

/// The second half of writing a run.
pub(crate) struct RunKeys<'a>(RunWriter<'a>);

impl RunKeys<'_> {
    /// The next key, in the order of hash and position.
    pub(crate) fn key(&mut self, hash: u64, position: u64) -> io::Result<()> {
        let writer = &mut self.0;
        let position = u32::try_from(position - writer.span.from)
            .map_err(|_| io::Error::other("a key outside of its run"))?;
        let mut row = [0; super::format::KEY];
        row[..8].copy_from_slice(&hash.to_le_bytes());
        row[8..].copy_from_slice(&position.to_le_bytes());
        filter::insert(&mut writer.filter, hash);
        writer.keys += 1;
        let full = (writer.keys as usize).is_multiple_of(KEYS_PER_BLOCK);
        writer.row(&row, full)
    }

    /// Writes directory, filter and header. The caller syncs the file.
    pub(crate) fn finish(self) -> io::Result<()> {
        let mut writer = self.0;
        if !(writer.keys as usize).is_multiple_of(KEYS_PER_BLOCK) {
            writer.close_block();
        }
        writer.flush()?;
        for group in writer.filter.chunks(FILTER_PER_BLOCK * filter::BLOCK) {
            writer.checks.push(crc32fast::hash(group));
        }
        writer.file.write_at(writer.written, &writer.filter)?;
        writer.written += writer.filter.len() as u64;
        let mut meta = Vec::with_capacity(
            writer.checks.len() * 4
                + writer.queues.len() * super::format::QUEUE
                + writer.names.len(),
        );
        for check in &writer.checks {
            meta.extend_from_slice(&check.to_le_bytes());
        }
        for queue in &writer.queues {
            meta.extend_from_slice(&queue.id.to_le_bytes());
            meta.extend_from_slice(&queue.count.to_le_bytes());
            meta.extend_from_slice(&queue.first_offset.to_le_bytes());
            meta.extend_from_slice(&queue.first_entry.to_le_bytes());
            meta.extend_from_slice(&queue.oldest.to_le_bytes());
            meta.extend_from_slice(&queue.newest.to_le_bytes());
        }
        for topic in &writer.topics {
            meta.extend_from_slice(&topic.name_at.to_le_bytes());
            meta.extend_from_slice(&topic.name_len.to_le_bytes());
            meta.extend_from_slice(&topic.first_queue.to_le_bytes());
        }
        meta.extend_from_slice(&writer.names);
        writer.file.write_at(writer.written, &meta)?;

        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MARK);
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = header.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(8, &VERSION.to_le_bytes());
        put(12, &(HEADER as u32).to_le_bytes());
        put(16, &writer.span.from.to_le_bytes());
        put(24, &writer.span.to.to_le_bytes());
        put(32, &writer.base_ms.to_le_bytes());
        put(40, &writer.newest_ms.to_le_bytes());
        put(48, &(writer.topics.len() as u32).to_le_bytes());
        put(52, &(writer.queues.len() as u32).to_le_bytes());
        put(56, &writer.entries.to_le_bytes());
        put(60, &writer.keys.to_le_bytes());
        put(
            64,
            &((writer.filter.len() / filter::BLOCK) as u32).to_le_bytes(),
        );
        put(68, &(writer.names.len() as u32).to_le_bytes());
        put(72, &crc32fast::hash(&meta).to_le_bytes());
        put(76, &(writer.written + meta.len() as u64).to_le_bytes());
        put(84, &writer.number.to_le_bytes());
        let crc = crc32fast::hash(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        writer.file.write_at(0, &header)
    }
}

/// Merges the keys of runs (each sorted by hash and position) into one order.
pub(crate) fn merge_keys(
    runs: &[std::sync::Arc<Run>],
    mut visit: impl FnMut(u64, u64) -> io::Result<()>,
) -> Result<(), MergeError> {
    let mut cursors: Vec<_> = runs
        .iter()
        .map(|run| KeyCursor {
            run,
            block: 0,
            keys: Vec::new(),
        })
        .collect();
    let mut heap = BinaryHeap::with_capacity(cursors.len());
    for (index, cursor) in cursors.iter_mut().enumerate() {
        if let Some(key) = cursor.next()? {
            heap.push(Reverse((key.order(), index)));
        }
    }
    // The smallest is replaced where it lies: one walk through the heap for each key, not two.
    while let Some(mut smallest) = heap.peek_mut() {
        let Reverse((key, index)) = *smallest;
        visit((key >> 64) as u64, key as u64)?;
        let next = cursors.get_mut(index).map(KeyCursor::next).transpose()?;
        match next.flatten() {
            Some(key) => *smallest = Reverse((key.order(), index)),
            None => drop(PeekMut::pop(smallest)),
        }
    }
    Ok(())
}

struct KeyCursor<'a> {
    run: &'a Run,
    block: usize,
    /// The rest of the current block, reversed.
    keys: Vec<KeyEntry>,
}

impl KeyCursor<'_> {
    fn next(&mut self) -> Result<Option<KeyEntry>, RunDamaged> {
        if self.keys.is_empty() {
            self.keys.extend(self.run.keys_of_block(self.block)?);
            self.keys.reverse();
            self.block += 1;
        }
        Ok(self.keys.pop())
    }
}

/// Why runs could not be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    #[error(transparent)]
    Damaged(#[from] RunDamaged),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The name under which a run is written before it is complete.
pub(crate) fn temporary(path: &Path) -> std::path::PathBuf {
    path.with_extension("run.tmp")
}

/// Creates, fills, syncs and renames a run file; the directory is synced by the manifest that names it.
pub(crate) fn publish<E: From<io::Error>>(
    fs: &dyn Fs,
    path: &Path,
    fill: impl FnOnce(&dyn File) -> Result<(), E>,
) -> Result<(), E> {
    let temporary = temporary(path);
    let file = fs.create(&temporary)?;
    fill(&*file)?;
    file.sync()?;
    drop(file);
    fs.rename(&temporary, path)?;
    Ok(())
}
