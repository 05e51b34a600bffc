//! What is appended and not written yet, and where the next record goes: segments, the room in them, and the fillers at their ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_protocol::message::BLANK_MAGIC;

use super::files::Files;
use super::pieces::{CopyError, checked};
use super::window::FILLER_BYTES;
use crate::derived::{Arrival, Entry};
use crate::error::AppendError;
use crate::purpose::Purpose;

/// One part in so many of a segment, its last, is kept for progress while there is no next segment: consumers continue to read on a full
/// disk, and what they commit then is kept. With the next segment made ahead, messages fill this part too, so it costs nothing.
const RESERVE_SHARE: u64 = 8;
/// Progress is taken only while this much more than it needs is left, bytes: what surrounds it in its records, and progress of delays.
const PROGRESS_MARGIN: u64 = 1_024;

/// Behind the append mutex.
pub(super) struct Staging {
    last: Part,
    /// Full parts before `last`: each ends at the end of a segment.
    full: Vec<Part>,
    next: u64,
    segment_end: u64,
    /// The segment after the current one is part of the log.
    has_next: bool,
    /// Largest store time so far, Unix milliseconds.
    pub(super) newest_ms: i64,
    /// Why nothing is appended any more.
    pub(super) closed: Option<AppendError>,
    /// Why nothing is appended for now.
    pub(super) paused: Option<Arc<str>>,
}

/// Records of one segment that are not written yet.
#[derive(Default)]
pub(super) struct Part {
    /// Log position of the first byte.
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    /// Nobody reads it soon.
    pub(super) is_aside: bool,
}

impl Part {
    fn at(start: u64, empty: Self) -> Self {
        Self {
            start,
            is_aside: false,
            ..empty
        }
    }
}

impl Staging {
    /// Continues at the end of what is written.
    pub(super) fn new(files: &Files) -> Self {
        let next = files.positions.written.load(Ordering::Acquire);
        let segment_end = files.segment(next).map_or(next, |segment| {
            segment.grows();
            segment.end()
        });
        Self {
            last: Part::at(next, Part::default()),
            full: Vec::new(),
            next,
            segment_end,
            has_next: files.segment(segment_end).is_some(),
            newest_ms: files.positions.newest_ms.load(Ordering::Acquire),
            closed: None,
            paused: None,
        }
    }

    /// The position of the next record, once [`make_room`](Self::make_room) was asked.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Where the bytes of the next record are appended, before it is [`placed`](Self::placed).
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.last.bytes
    }

    /// A record that this store has written to [`bytes`](Self::bytes), at [`next`](Self::next). Returns its end.
    // Inlined, so that the entry is made where it is kept.
    #[inline(always)]
    pub(super) fn placed(&mut self, entry: Entry) -> u64 {
        self.next += u64::from(entry.size);
        self.last.entries.push(entry);
        self.next
    }

    /// A piece of a master's log that begins where this log ends, and that nobody reads soon if it `is_aside`. Returns the end; nothing is
    /// changed when that fails.
    pub(super) fn copied(
        &mut self,
        files: &Files,
        position: u64,
        bytes: &[u8],
        is_aside: bool,
    ) -> Result<u64, CopyError> {
        if let Some(error) = &self.closed {
            return Err(error.clone().into());
        }
        files.health.check_writable()?;
        if position != self.next {
            return Err(CopyError::NotNext {
                position,
                end: self.next,
            });
        }
        if self.next == self.segment_end {
            self.roll(files)?;
        }
        let piece = checked(position, self.segment_end, bytes)?;
        if piece.ends_segment {
            files.next_segment(self.segment_end)?;
        }
        self.last.is_aside = is_aside;
        self.last.bytes.extend_from_slice(piece.records);
        self.next += piece.records.len() as u64;
        if piece.ends_segment {
            self.roll(files)?;
        }
        Ok(self.next)
    }

    /// Makes sure that `size` bytes and a filler fit the current segment; nothing is changed when that fails.
    pub(super) fn make_room(
        &mut self,
        files: &Files,
        size: usize,
        purpose: Purpose,
    ) -> Result<(), AppendError> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        if let Some(reason) = &self.paused {
            let reason = Arc::clone(reason);
            return Err(AppendError::Paused { reason });
        }
        files.health.check_writable()?;
        let end = self.next + size as u64 + FILLER_BYTES;
        let fits = end <= self.segment_end;
        let reserve = files.config.segment_bytes / RESERVE_SHARE;
        if fits && (self.has_next || end + reserve <= self.segment_end) {
            return Ok(());
        }
        // Asked for before the reserve is touched, so that a refusal comes while there is room for progress.
        match files.next_segment(self.segment_end) {
            Ok(_) => self.has_next = true,
            Err(AppendError::Refused { .. }) if fits && purpose == Purpose::Progress => {
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if fits { Ok(()) } else { self.roll(files) }
    }

    /// Ends the current segment with a filler and continues in the next.
    fn roll(&mut self, files: &Files) -> Result<(), AppendError> {
        let base = self.segment_end;
        let segment = files.next_segment(base)?;
        segment.grows();
        if let Some(full) = files.segment(base - 1) {
            full.is_full();
        }
        let left = base - self.next;
        if left > 0 {
            let bytes = &mut self.last.bytes;
            bytes.extend_from_slice(&(left as i32).to_be_bytes());
            bytes.extend_from_slice(&BLANK_MAGIC.to_be_bytes());
        }
        let next = Part::at(base, Part::default());
        self.full.push(std::mem::replace(&mut self.last, next));
        self.next = base;
        self.segment_end = segment.end();
        self.has_next = files.segment(segment.end()).is_some();
        Ok(())
    }

    /// Whether progress of `bytes` has room although messages are refused.
    pub(super) fn has_room_for_progress(&self, bytes: usize) -> bool {
        self.has_next || self.next + bytes as u64 + PROGRESS_MARGIN <= self.segment_end
    }

    /// Nothing is appended any more, and what is staged is never written.
    pub(super) fn give_up(&mut self) {
        self.closed.get_or_insert(AppendError::Closed);
        let unwritten = self.full.first().unwrap_or(&self.last).start;
        self.full.clear();
        self.last = Part::at(unwritten, Part::default());
        self.next = unwritten;
    }

    /// Moves everything staged to `parts`, and continues in the buffers of `empty`. Returns the end of it.
    pub(super) fn take(&mut self, parts: &mut Vec<Part>, empty: Part) -> u64 {
        let last = std::mem::replace(&mut self.last, Part::at(self.next, empty));
        parts.append(&mut self.full);
        parts.push(last);
        self.next
    }
}

/// Behind the write mutex.
#[derive(Default)]
pub(super) struct Writer {
    /// The buffers that are swapped in next.
    pub(super) empty: Part,
    pub(super) parts: Vec<Part>,
    pub(super) arrivals: Vec<Arrival>,
    /// What was written last, for those who take it from memory.
    pub(super) fresh: Fresh,
}

/// Records that were just written, with the position of the first. Empty: nothing that anybody takes.
#[derive(Default)]
pub(super) struct Fresh {
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
}
