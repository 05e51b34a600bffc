//! The log in pieces, on their way from a master to its replicas: byte for byte as they lie in a segment.
//!
//! A piece has whole records of one segment, and at the end of the segment the 8 bytes of the filler. Nothing of it is trusted by the
//! store that takes it: each record must have its checksum, carry its position, and begin where the one before it ends.

use std::io;
use std::sync::atomic::Ordering;

use rmq_protocol::message::{BLANK_MAGIC, LogPosition};

use super::files::Files;
use super::window::{FILLER_BYTES, HEAD_BYTES, check, size_of};
use crate::error::{AppendError, ReadError};
use crate::segment::Segment;

/// Some of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// The position of its first byte.
    pub position: LogPosition,
    /// The position of the piece that follows: behind the last byte, or where the next segment begins.
    pub end: LogPosition,
    /// Whole records, and the filler where they end a segment.
    pub bytes: Vec<u8>,
}

/// Why a piece of another log was not taken. Nothing of the piece was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// It is not the next one.
    #[error("a piece of the log from position {position} cannot follow: the log ends at {end}")]
    NotNext {
        /// Where the piece begins.
        position: u64,
        /// Where this log ends.
        end: u64,
    },
    /// A record or filler is not whole, not intact, or not at its place.
    #[error("at position {position} the copied log has no intact record: {reason}")]
    Damaged {
        /// Where.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The segments of the other log have another size.
    #[error(
        "the copied segment ends at position {theirs}, and this one at {ours}: give all members of the group the same segment size"
    )]
    SegmentSize {
        /// The end of the other log's segment.
        theirs: u64,
        /// The end of this log's segment.
        ours: u64,
    },
    /// The log takes no bytes.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// A piece that was checked.
pub(super) struct Checked<'a> {
    /// The records; the filler is not among them.
    pub(super) records: &'a [u8],
    /// The filler follows.
    pub(super) ends_segment: bool,
}

/// Checks a piece that begins at `position`, in a segment that ends at `segment_end`.
pub(super) fn checked(
    position: u64,
    segment_end: u64,
    bytes: &[u8],
) -> Result<Checked<'_>, CopyError> {
    let damaged = |position: u64, reason: &str| CopyError::Damaged {
        position,
        reason: reason.to_owned(),
    };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let here = position + at as u64;
        let room = segment_end.saturating_sub(here);
        if let Some(left) = filler(rest) {
            if left != room {
                return Err(CopyError::SegmentSize {
                    theirs: here + left,
                    ours: segment_end,
                });
            }
            if rest.len() as u64 != FILLER_BYTES {
                return Err(damaged(here, "something follows the end of the segment"));
            }
            return Ok(Checked {
                records: bytes.get(..at).unwrap_or_default(),
                ends_segment: true,
            });
        }
        let size = rest
            .get(..HEAD_BYTES)
            .and_then(|head| size_of(head, here, u64::MAX))
            .ok_or_else(|| damaged(here, "no record begins there"))?;
        let record = rest
            .get(..size as usize)
            .ok_or_else(|| damaged(here, "it is cut off"))?;
        check(record, here).map_err(|error| damaged(here, &error.to_string()))?;
        // The master left room for the filler.
        if size + FILLER_BYTES > room {
            return Err(CopyError::SegmentSize {
                theirs: here + size + FILLER_BYTES,
                ours: segment_end,
            });
        }
        at += record.len();
    }
    Ok(Checked {
        records: bytes,
        ends_segment: false,
    })
}

/// What was found in a stretch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedLog {
    /// The position of what follows.
    pub end: LogPosition,
    /// Intact records.
    pub records: u64,
    /// The position and the size of the last of them.
    pub last: Option<(LogPosition, usize)>,
    /// It has the end of its segment.
    pub ends_segment: bool,
}

/// Checks a stretch of a log that was kept elsewhere: [pieces](LogPiece) of one segment, which follow each other from `position` on. Each record is intact
/// and at its place.
///
/// # Errors
/// [`CopyError::Damaged`].
pub fn check_log(position: LogPosition, bytes: &[u8]) -> Result<CheckedLog, CopyError> {
    let damaged = |position: u64, reason: &str| CopyError::Damaged {
        position,
        reason: reason.to_owned(),
    };
    let mut found = CheckedLog {
        end: position,
        records: 0,
        last: None,
        ends_segment: false,
    };
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let here = position.0 + at as u64;
        if let Some(left) = filler(rest) {
            if rest.len() as u64 != FILLER_BYTES || left < FILLER_BYTES {
                return Err(damaged(here, "something follows the end of the segment"));
            }
            found.end = LogPosition(here + left);
            found.ends_segment = true;
            return Ok(found);
        }
        let size = rest
            .get(..HEAD_BYTES)
            .and_then(|head| size_of(head, here, u64::MAX))
            .ok_or_else(|| damaged(here, "no record begins there"))?;
        let record = rest
            .get(..size as usize)
            .ok_or_else(|| damaged(here, "it is cut off"))?;
        check(record, here).map_err(|error| damaged(here, &error.to_string()))?;
        at += record.len();
        found.records += 1;
        found.last = Some((LogPosition(here), record.len()));
        found.end = LogPosition(here + size);
    }
    Ok(found)
}

/// The bytes that a filler says are left in its segment.
pub(super) fn filler(bytes: &[u8]) -> Option<u64> {
    let (left, after) = bytes.split_first_chunk::<4>()?;
    let magic = after.first_chunk::<4>()?;
    if *magic != BLANK_MAGIC.to_be_bytes() {
        return None;
    }
    u64::try_from(i32::from_be_bytes(*left)).ok()
}

impl Files {
    /// What was written from `from` on: whole records of at most `bytes_max` bytes, or one that is larger. `None` at the end.
    /// The bytes are in `buffer`.
    pub(crate) fn piece(
        &self,
        from: u64,
        bytes_max: usize,
        buffer: Vec<u8>,
    ) -> Result<Option<LogPiece>, ReadError> {
        let written = self.positions.written.load(Ordering::Acquire);
        self.piece_below(written, from, bytes_max, buffer, Segment::read)
    }

    /// As [`piece`](Self::piece), of what lies below `end`, and for a reader that nobody follows: what was not in memory before is not there
    /// afterwards.
    pub(crate) fn piece_aside(
        &self,
        end: u64,
        from: u64,
        bytes_max: usize,
    ) -> Result<Option<LogPiece>, ReadError> {
        let end = end.min(self.positions.written.load(Ordering::Acquire));
        self.piece_below(
            end,
            from,
            bytes_max,
            Vec::new(),
            |segment, position, into| {
                let path = self.segment_path(segment.base());
                segment.read_aside(&*self.fs, &path, position, into)
            },
        )
    }

    fn piece_below(
        &self,
        written: u64,
        from: u64,
        bytes_max: usize,
        buffer: Vec<u8>,
        read: impl Fn(&Segment, u64, &mut [u8]) -> io::Result<()>,
    ) -> Result<Option<LogPiece>, ReadError> {
        if from == written {
            return Ok(None);
        }
        if from > written {
            return Err(ReadError::BeyondEnd {
                position: from,
                end: written,
            });
        }
        let segment = self.segment(from).ok_or_else(|| self.outside(from))?;
        let no_record = |position: u64, reason: String| ReadError::NoRecord { position, reason };
        let to = written.min(segment.end());
        let wanted = (to - from).min((bytes_max as u64).max(HEAD_BYTES as u64));
        // What a buffer that was used before has need not be zeroed.
        let mut bytes = buffer;
        bytes.resize(wanted as usize, 0);
        read(&segment, from, &mut bytes)
            .map_err(|error| no_record(from, format!("it cannot be read: {error}")))?;
        let mut at = 0;
        loop {
            let position = from + at as u64;
            let rest = bytes.get(at..).unwrap_or_default();
            if filler(rest) == Some(segment.end() - position) {
                bytes.truncate(at + FILLER_BYTES as usize);
                return Ok(Some(LogPiece {
                    position: LogPosition(from),
                    end: LogPosition(segment.end()),
                    bytes,
                }));
            }
            let size = match rest.get(..HEAD_BYTES) {
                Some(head) => size_of(head, position, to - position)
                    .ok_or_else(|| no_record(position, "no record begins there".to_owned()))?,
                None if at > 0 || position == to => break,
                None => return Err(no_record(position, "no record begins there".to_owned())),
            };
            let end = at + size as usize;
            if end > bytes.len() {
                if at > 0 {
                    break;
                }
                bytes.resize(end, 0);
                read(&segment, from, &mut bytes)
                    .map_err(|error| no_record(from, format!("it cannot be read: {error}")))?;
            }
            at = end;
        }
        bytes.truncate(at);
        Ok(Some(LogPiece {
            position: LogPosition(from),
            end: LogPosition(from + at as u64),
            bytes,
        }))
    }
}
