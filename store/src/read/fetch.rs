//! From places in the log to bytes in memory.
//!
//! A reader that cannot wait asks once for a stretch of the log which of its pages are in memory, and uses the records on them where
//! they are, in the map of the segment. A reader that can wait reads records that lie close together with one call.

use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::buffer::Buffer;
use super::resident::{BLOCK_BYTES, Resident};
use crate::derived::look_up::Located;
use crate::segment::Segment;

/// Bytes between two records that are read along: cheaper than a second call.
const GAP_BYTES_MAX: u64 = 4 << 10;
/// Bytes fetched at once for a read that waits for the disk: a reader that catches up continues behind the records that it asked for.
const COLD_READ_BYTES: u64 = 1 << 20;

/// Whether the caller can wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temperature {
    /// It cannot: data that is not in memory ends the read, with [`ReadStatus::Cold`](crate::ReadStatus::Cold) if nothing was found before it. What it finds
    /// lies in the page cache, which may need the room: it is to be used at once, and not kept.
    HotOnly,
    /// It runs on a thread that may wait, such as one of the [`ColdPool`](crate::ColdPool).
    MayWait,
}

/// What became of one record.
pub(super) enum Fetched {
    /// Its bytes begin here in the buffer.
    At(usize),
    /// It is in memory, in the map of its segment.
    Mapped(Arc<Segment>),
    /// It is not in memory, and the reader cannot wait.
    Cold,
    /// The disk does not give it.
    Unreadable(io::Error),
    /// Its segment is gone.
    Removed,
}

/// Bytes of log whose pages are asked for with one call; the last record may lie beyond.
const ASK_BYTES_MAX: u64 = 1 << 20;

/// How to read.
pub(super) struct Fetch<'a> {
    pub(super) segments: &'a [Arc<Segment>],
    pub(super) temperature: Temperature,
    /// What lies from here on is taken to be in memory.
    pub(super) hot_from: u64,
    /// End of the log.
    pub(super) confirmed: u64,
    pub(super) resident: &'a Resident,
}

/// Records of one segment that are read together: a range of the wanted ones, and of the log.
struct Span<'a> {
    segment: &'a Arc<Segment>,
    entries: std::ops::Range<usize>,
    from: u64,
    to: u64,
    /// Where it begins in the buffer.
    at: usize,
}

impl Span<'_> {
    fn len(&self) -> usize {
        (self.to - self.from) as usize
    }
}

impl<'a> Fetch<'a> {
    /// Reads the wanted records, in order, and says in the empty `fetched` what became of each; after the first cold one the others are not
    /// tried. There is no buffer where none was needed.
    pub(super) fn records(
        &self,
        wanted: &[Located],
        fetched: &mut SmallVec<[Fetched; 32]>,
    ) -> Option<Buffer> {
        if self.temperature == Temperature::HotOnly && self.in_memory(wanted, fetched).is_some() {
            return None;
        }
        fetched.clear();
        let (spans, bytes) = self.spans(wanted);
        let mut buffer = Buffer::of(bytes);
        for span in &spans {
            fetched.resize_with(span.entries.start, || Fetched::Removed);
            let entries = wanted.get(span.entries.clone()).unwrap_or_default();
            self.read(span, entries, &mut buffer, fetched);
            if matches!(fetched.last(), Some(Fetched::Cold)) {
                return Some(buffer);
            }
        }
        fetched.resize_with(wanted.len(), || Fetched::Removed);
        Some(buffer)
    }

    /// Which of the wanted records are in memory, up to the first that is not; `None` where the system does not say it for a map.
    fn in_memory(&self, wanted: &[Located], fetched: &mut SmallVec<[Fetched; 32]>) -> Option<()> {
        let mut rest = wanted;
        let now_ms = self.resident.now_ms();
        while let Some(first) = rest.first() {
            let Some(segment) = self.segment_of(first) else {
                fetched.push(Fetched::Removed);
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            let limit = segment
                .end()
                .min(first.position.saturating_add(ASK_BYTES_MAX));
            let together = rest
                .iter()
                .take_while(|entry| entry.position >= first.position && entry.end() <= limit)
                .count()
                .max(1);
            let (group, after) = rest.split_at_checked(together)?;
            let to = group.last().map_or(first.end(), Located::end);
            let found = if self.resident.has(first.position, to, now_ms) {
                group.len()
            } else {
                self.ask(segment, group, now_ms)?
            };
            fetched.extend((0..found).map(|_| Fetched::Mapped(Arc::clone(segment))));
            if found < group.len() {
                fetched.push(Fetched::Cold);
                return Some(());
            }
            rest = after;
        }
        Some(())
    }

    /// Asks the system how many of these records of a segment are in memory, up to the first that is not. It is asked for whole
    /// blocks, those that the next readers come to included, so that it need not be asked again for their neighbours.
    fn ask(&self, segment: &Segment, group: &[Located], now_ms: u32) -> Option<usize> {
        let (first, last) = (group.first()?, group.last()?);
        let known_to = self.resident.known_to(first.position, now_ms);
        let from = known_to.max(segment.base());
        if from >= last.end() {
            // Another reader has asked meanwhile.
            return Some(group.len());
        }
        let end = segment.end().min(self.confirmed).max(last.end());
        // The readers of this queue continue behind, with stretches of about this size.
        let stretch = last.end() - first.position;
        let ahead = last.end().saturating_add(2 * stretch);
        let most = from.saturating_add(ASK_BYTES_MAX).max(last.end());
        let to = ahead.min(most).next_multiple_of(BLOCK_BYTES).min(end);
        let residency = segment.residency(from, to)?;
        let mut at = from;
        while at < to {
            let block_to = to.min((at + 1).next_multiple_of(BLOCK_BYTES));
            // A part of the block may lie in another segment.
            let is_whole = at.is_multiple_of(BLOCK_BYTES)
                && (block_to.is_multiple_of(BLOCK_BYTES) || block_to >= self.confirmed);
            if is_whole && segment.is_among(&residency, at, (block_to - at) as usize) {
                self.resident.found(at, block_to, now_ms);
            }
            at = block_to;
        }
        let is_in_memory = |entry: &&Located| {
            // What begins before was known already.
            let asked = entry.position.max(from);
            let rest = entry.end().saturating_sub(asked) as usize;
            rest == 0 || segment.is_among(&residency, asked, rest)
        };
        Some(group.iter().take_while(is_in_memory).count())
    }

    /// The segment that holds a record; without it the record was removed a moment ago.
    fn segment_of(&self, entry: &Located) -> Option<&'a Arc<Segment>> {
        let index = self
            .segments
            .partition_point(|segment| segment.end() <= entry.position);
        self.segments
            .get(index)
            .filter(|segment| segment.base() <= entry.position && entry.end() <= segment.end())
    }

    fn spans(&self, wanted: &[Located]) -> (SmallVec<[Span<'a>; 8]>, usize) {
        let mut spans: SmallVec<[Span<'a>; 8]> = SmallVec::new();
        let mut bytes = 0;
        for (number, entry) in wanted.iter().enumerate() {
            let end = entry.end();
            if let Some(last) = spans.last_mut()
                && last.entries.end == number
                && entry.position >= last.to
                && entry.position - last.to <= GAP_BYTES_MAX
                && end <= last.segment.end()
            {
                bytes += (end - last.to) as usize;
                last.to = end;
                last.entries.end = number + 1;
                continue;
            }
            if let Some(segment) = self.segment_of(entry) {
                spans.push(Span {
                    segment,
                    entries: number..number + 1,
                    from: entry.position,
                    to: end,
                    at: bytes,
                });
                bytes += entry.size as usize;
            }
        }
        (spans, bytes)
    }

    fn read(
        &self,
        span: &Span<'_>,
        entries: &[Located],
        buffer: &mut Buffer,
        fetched: &mut SmallVec<[Fetched; 32]>,
    ) {
        let is_hot = span.from >= self.hot_from;
        if !is_hot && self.temperature == Temperature::MayWait && fetched.is_empty() {
            let ahead = COLD_READ_BYTES.min(self.confirmed.saturating_sub(span.from));
            span.segment.will_need(span.from, ahead);
        }
        let into = buffer.get_mut(span.at, span.len());
        let read = if is_hot || self.temperature == Temperature::MayWait {
            span.segment.read(span.from, into).map(|()| span.len())
        } else {
            // Where the system cannot tell, or reports an error, it is left to a reader that can wait.
            Ok(span.segment.read_cached(span.from, into).unwrap_or(0))
        };
        for entry in entries {
            let (at, len) = (
                span.at + (entry.position - span.from) as usize,
                entry.size as usize,
            );
            fetched.push(match &read {
                Ok(read) if at + len <= span.at + read => Fetched::At(at),
                Ok(_) => {
                    fetched.push(Fetched::Cold);
                    return;
                }
                // One bad sector must not cost its neighbours.
                Err(_) => match span.segment.read(entry.position, buffer.get_mut(at, len)) {
                    Ok(()) => Fetched::At(at),
                    Err(error) => Fetched::Unreadable(error),
                },
            });
        }
    }
}
