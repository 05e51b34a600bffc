//! A piece of a segment in memory, and what a look at a position of it finds.
//!
//! A read that the disk refuses is repeated page by page, so that a bad sector costs the records that lie on its page and no others.

use std::ops::Range;
use std::sync::Arc;

use rmq_protocol::message::{BLANK_MAGIC, MAGIC_V1, MAGIC_V2, RecordError, RecordView};

use crate::segment::Segment;

/// What a disk and the page cache read at least.
const PAGE: u64 = 4096;
/// Bytes of the first read.
const FIRST_BYTES: usize = 16 << 10;
/// Bytes of each read of a long scan.
const LARGE_BYTES: usize = 1 << 20;
/// Size, magic, and everything up to the position that a record carries.
pub(super) const HEAD_BYTES: usize = 36;
/// Total size and magic of the filler at the end of a segment.
pub(super) const FILLER_BYTES: u64 = 8;
/// No record is larger: the largest body that a configuration allows, and what stands around it.
const RECORD_BYTES_MAX: u64 = (64 << 20) + (256 << 10);

/// What a look at a position of the log finds.
pub(crate) enum Found<'a> {
    /// An intact record.
    Record(&'a [u8]),
    /// The filler, or too little room for one.
    SegmentEnd,
    /// Zeros, or what is left of something.
    Nothing,
    /// The disk does not give what lies there.
    Unreadable,
}

/// Lengths, place and checksum of a record.
pub(crate) fn check(bytes: &[u8], position: u64) -> Result<(), RecordError> {
    let record = RecordView::parse(bytes)?;
    if record.position().0 != position {
        return Err(RecordError::Length {
            what: "position",
            length: record.position().0 as i64,
            size: bytes.len(),
        });
    }
    // Every record of this store has its own checksum: where there is none, its name was hit.
    if record.check_record_crc()? {
        Ok(())
    } else {
        Err(RecordError::NoCrc)
    }
}

/// The size that the head of a record says, if it can be one at `position`, `rest` bytes before the end of its segment.
pub(super) fn size_of(head: &[u8], position: u64, rest: u64) -> Option<u64> {
    let (size, after) = head.split_first_chunk::<4>()?;
    let (magic, after) = after.split_first_chunk::<4>()?;
    let carried = after.get(20..)?.first_chunk::<8>()?;
    let size = u64::try_from(i32::from_be_bytes(*size)).ok()?;
    let is_record = matches!(i32::from_be_bytes(*magic), MAGIC_V1 | MAGIC_V2);
    let fits = (HEAD_BYTES as u64..=rest.min(RECORD_BYTES_MAX)).contains(&size);
    (is_record && fits && u64::from_be_bytes(*carried) == position).then_some(size)
}

/// A piece of a segment in memory, which moves with what is looked at.
#[derive(Default)]
pub(crate) struct Window {
    segment: Option<Arc<Segment>>,
    start: u64,
    /// Room, of which the first `len` bytes are the piece.
    bytes: Vec<u8>,
    len: usize,
    /// What the disk did not give, in order; zeros stand there.
    bad: Vec<Range<u64>>,
    loads: u32,
    /// Pages that the disk did not give, of all that was looked at.
    failures: u32,
    failures_max: Option<u32>,
    unreadable_end: u64,
    stretch: Option<Stretch>,
}

/// What a window is used for, when it is known before.
struct Stretch {
    end: u64,
    /// Records from here on were checked by this process.
    checked_from: u64,
}

/// Bytes at the beginning that are zeros, counted in pages.
fn leading_zeros(bytes: &[u8]) -> usize {
    const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
    let pages = bytes.chunks_exact(ZEROS.len());
    pages.take_while(|page| *page == ZEROS).count() * ZEROS.len()
}

impl Window {
    /// One that looks for the next record only until `max` reads of pages have failed.
    pub(crate) fn with_failures(max: u32) -> Self {
        Self {
            failures_max: Some(max),
            ..Self::default()
        }
    }

    /// Is used for what lies below `end` from now on: nothing else is read. Records from `checked_from` on are not checked again.
    pub(super) fn begin(&mut self, end: u64, checked_from: u64) {
        // What is here may have been read before it was written.
        self.segment = None;
        if self.bytes.len() > LARGE_BYTES {
            self.bytes = Vec::new();
        }
        self.loads = u32::MAX;
        self.stretch = Some(Stretch { end, checked_from });
    }

    fn is_checked(&self, position: u64) -> bool {
        let stretch = self.stretch.as_ref();
        stretch.is_some_and(|stretch| stretch.checked_from <= position)
    }

    /// What lies at `position` of a segment.
    pub(crate) fn look(&mut self, segment: &Arc<Segment>, position: u64) -> Found<'_> {
        let rest = segment.end().saturating_sub(position);
        if rest < 8 {
            return Found::SegmentEnd;
        }
        let head_bytes = HEAD_BYTES.min(usize::try_from(rest).unwrap_or(HEAD_BYTES));
        self.cover(segment, position, head_bytes);
        if self.bad_within(position, head_bytes as u64).is_some() {
            return Found::Unreadable;
        }
        let head = self.get(position, head_bytes);
        if let Some((size, magic)) = head.first_chunk::<8>().map(|head| head.split_at(4))
            && magic == BLANK_MAGIC.to_be_bytes()
            && u32::try_from(rest).is_ok_and(|rest| size == rest.to_be_bytes())
        {
            return Found::SegmentEnd;
        }
        let Some(size) = size_of(head, position, rest) else {
            return Found::Nothing;
        };
        self.cover(segment, position, size as usize);
        if self.bad_within(position, size).is_some() {
            return Found::Unreadable;
        }
        let record = self.get(position, size as usize);
        if self.is_checked(position) || check(record, position).is_ok() {
            Found::Record(record)
        } else {
            Found::Nothing
        }
    }

    /// The next position after `position` at which an intact record starts, before `limit`, in this segment.
    pub(crate) fn resync(
        &mut self,
        segment: &Arc<Segment>,
        position: u64,
        limit: u64,
    ) -> Option<u64> {
        let limit = limit.min(segment.written_to());
        let mut at = position + 1;
        while at + HEAD_BYTES as u64 <= limit && !self.is_spent() {
            self.cover(segment, at, HEAD_BYTES);
            let bytes = self.get(at, usize::try_from(limit - at).unwrap_or(usize::MAX));
            let zeros = leading_zeros(bytes);
            if zeros > 0 {
                at += (zeros - HEAD_BYTES) as u64;
                continue;
            }
            // Records carry their own position: nothing inside a body can pass for one except at its very place.
            let carried = bytes.get(28..).unwrap_or_default().windows(8);
            let candidate = (at..)
                .zip(carried)
                .find(|(at, carried)| *carried == at.to_be_bytes());
            match candidate {
                Some((candidate, _)) => {
                    if matches!(self.look(segment, candidate), Found::Record(_)) {
                        return Some(candidate);
                    }
                    at = candidate + 1;
                }
                None => at += (bytes.len() - HEAD_BYTES + 1) as u64,
            }
        }
        None
    }

    /// Shows what can be read of a stretch of a segment, in order.
    pub(crate) fn readable<E>(
        &mut self,
        segment: &Arc<Segment>,
        range: Range<u64>,
        mut show: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = range.start;
        while at < range.end {
            self.cover(segment, at, 1);
            let end = self.end().min(range.end);
            let next_bad = self.bad_within(at, end - at);
            let (until, next) = next_bad.map_or((end, end), |bad| {
                (bad.start.clamp(at, end), bad.end.clamp(at, end))
            });
            if until > at {
                show(at, self.get(at, (until - at) as usize))?;
            }
            at = next.max(at + 1);
        }
        Ok(())
    }

    fn has(&self, segment: &Arc<Segment>, position: u64, len: usize) -> bool {
        let mine = self
            .segment
            .as_ref()
            .is_some_and(|mine| Arc::ptr_eq(mine, segment));
        mine && position >= self.start && position + len as u64 <= self.end()
    }

    /// More reads have failed than are to be tried.
    pub(crate) fn is_spent(&self) -> bool {
        self.failures_max.is_some_and(|max| self.failures >= max)
    }

    /// The end of the last stretch that the disk did not give, of all that was looked at.
    pub(crate) fn unreadable_end(&self) -> u64 {
        self.unreadable_end
    }

    /// Makes sure that `len` bytes from `position` on are here, which lie in the segment.
    fn cover(&mut self, segment: &Arc<Segment>, position: u64, len: usize) {
        if self.has(segment, position, len) {
            return;
        }
        let wanted = self
            .stretch
            .as_ref()
            .map_or(u64::MAX, |stretch| stretch.end);
        let end = wanted.max(position + len as u64).min(segment.end());
        let rest = usize::try_from(end - position).unwrap_or(usize::MAX);
        let large = self.loads > 2;
        let step = if large {
            LARGE_BYTES
        } else {
            FIRST_BYTES << (2 * self.loads)
        };
        let bytes = step.max(len).min(rest);
        self.loads += u32::from(!large);
        self.segment = Some(Arc::clone(segment));
        self.start = position;
        self.bad.clear();
        self.len = bytes;
        if self.bytes.len() < bytes {
            self.bytes.resize(bytes, 0);
        }
        let into = self.bytes.get_mut(..bytes).unwrap_or_default();
        if segment.read(position, into).is_err() {
            self.load_by_page(segment);
        }
        if large && self.end() < end {
            segment.will_need(self.end(), LARGE_BYTES as u64);
        }
    }

    fn load_by_page(&mut self, segment: &Segment) {
        let mut at = self.start;
        let mut rest = self.bytes.get_mut(..self.len).unwrap_or_default();
        while !rest.is_empty() {
            let to_page_end = PAGE - (at - segment.base()) % PAGE;
            let len = rest.len().min(to_page_end as usize);
            let (page, after) = rest.split_at_mut(len);
            let end = at + page.len() as u64;
            if let Err(error) = segment.read(at, page) {
                page.fill(0);
                self.failures = self.failures.saturating_add(1);
                self.unreadable_end = self.unreadable_end.max(end);
                match self.bad.last_mut() {
                    Some(bad) if bad.end == at => bad.end = end,
                    _ => {
                        tracing::warn!(position = at, %error, "the log cannot be read there");
                        self.bad.push(at..end);
                    }
                }
            }
            rest = after;
            at = end;
        }
    }

    fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// Up to `len` bytes from `position` on, as far as they are here.
    fn get(&self, position: u64, len: usize) -> &[u8] {
        let from = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(from..self.len).unwrap_or_default();
        bytes.get(..len).unwrap_or(bytes)
    }

    /// The first stretch of a range that the disk does not give.
    fn bad_within(&self, position: u64, len: u64) -> Option<Range<u64>> {
        self.bad
            .iter()
            .find(|bad| bad.end > position && bad.start < position + len)
            .cloned()
    }
}
