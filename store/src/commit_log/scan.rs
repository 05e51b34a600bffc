//! Reading the log by position: one record, or front to back in large pieces.

use std::io;
use std::sync::Arc;

use super::damage::Content;
use super::files::Files;
use super::ranges::DamagedRange;
use super::window::{Found, HEAD_BYTES, Window, check, size_of};
use crate::error::ReadError;
use crate::log_reader::LogReader;
use crate::segment::Segment;

/// Bytes read for a record whose size is not known.
const GUESS_BYTES: u64 = 4096;

impl Files {
    /// The bytes of the record at `position`, whose lengths, place and checksum are right.
    pub(crate) fn intact_record(&self, position: u64) -> Result<Vec<u8>, ReadError> {
        let no_record = |reason: String| ReadError::NoRecord { position, reason };
        let segment = self
            .segment(position)
            .ok_or_else(|| self.outside(position))?;
        let rest = segment.end() - position;
        let unreadable = |from: u64, to: u64, error: &io::Error| {
            let reason = format!("it cannot be read: {error}");
            self.report_damage(from, to, &reason);
            no_record(reason)
        };
        // A guess that reaches over the record's end must not fail because of what follows it.
        let to_page_end = GUESS_BYTES - (position - segment.base()) % GUESS_BYTES;
        let mut bytes = vec![0; rest.min(to_page_end.max(HEAD_BYTES as u64)) as usize];
        segment
            .read(position, &mut bytes)
            .map_err(|error| unreadable(position, position + bytes.len() as u64, &error))?;
        let size = size_of(&bytes, position, rest)
            .ok_or_else(|| no_record("no record begins there".to_owned()))?;
        let known = bytes.len().min(size as usize);
        bytes.resize(size as usize, 0);
        if let Some(more) = bytes.get_mut(known..).filter(|more| !more.is_empty()) {
            segment
                .read(position + known as u64, more)
                .map_err(|error| unreadable(position, position + size, &error))?;
        }
        check(&bytes, position).map_err(|error| no_record(error.to_string()))?;
        Ok(bytes)
    }

    /// The first intact record of a segment below `limit`, past whatever is damaged.
    pub(crate) fn first_record(&self, segment: &Arc<Segment>, limit: u64) -> Option<Vec<u8>> {
        let mut window = Window::default();
        let base = segment.base();
        if base >= limit {
            return None;
        }
        if let Found::Record(bytes) = window.look(segment, base) {
            return Some(bytes.to_vec());
        }
        let next = window.resync(segment, base, limit)?;
        match window.look(segment, next) {
            Found::Record(bytes) => Some(bytes.to_vec()),
            _ => None,
        }
    }

    /// What of a damaged range still holds no intact record.
    pub(super) fn survey(&self, window: &mut Window, range: DamagedRange) -> Vec<DamagedRange> {
        let mut left: Vec<DamagedRange> = Vec::new();
        let mut position = range.from;
        while position < range.to {
            let mut next = range.to;
            if let Some(segment) = self.segment(position)
                && !window.is_spent()
            {
                match window.look(&segment, position) {
                    Found::Record(bytes) => {
                        position += bytes.len() as u64;
                        continue;
                    }
                    Found::SegmentEnd => {
                        position = segment.end();
                        continue;
                    }
                    Found::Nothing | Found::Unreadable => {
                        let limit = range.to.min(segment.end());
                        next = window.resync(&segment, position, limit).unwrap_or(limit);
                    }
                }
            }
            match left.last_mut() {
                Some(DamagedRange { to, .. }) if *to == position => *to = next,
                _ => left.push(DamagedRange {
                    from: position,
                    to: next,
                }),
            }
            position = next;
        }
        left
    }

    /// Shows every intact record that starts in `[from, to)`, in log order; what lies between them is reported as damage.
    pub(super) fn scan_records(&self, from: u64, to: u64, visit: &mut dyn FnMut(u64, &[u8])) {
        self.scan_with(&mut Window::default(), from, to, visit);
    }

    /// As [`scan_records`](Self::scan_records), with a window that is kept.
    pub(super) fn scan_with(
        &self,
        window: &mut Window,
        from: u64,
        to: u64,
        visit: &mut dyn FnMut(u64, &[u8]),
    ) {
        let mut position = from.max(LogReader::start(self));
        while position < to {
            let Some(segment) = self.segment(position) else {
                return;
            };
            match window.look(&segment, position) {
                Found::Record(bytes) => {
                    visit(position, bytes);
                    position += bytes.len() as u64;
                }
                Found::SegmentEnd => position = segment.end(),
                Found::Nothing | Found::Unreadable => {
                    let next = window
                        .resync(&segment, position, to)
                        .unwrap_or(segment.end());
                    self.report_hole(
                        position,
                        next.min(to),
                        Content::Unindexed,
                        "there is no intact record",
                    );
                    position = next;
                }
            }
        }
    }
}
