//! A damaged stretch of the log is written again, with what another member has there.
//!
//! Nothing intact is ever written over: a record that is whole here and another one there means that the two logs are not the same.

use std::io;
use std::sync::Arc;

use super::files::Files;
use super::pieces::{CopyError, checked};
use super::ranges::DamagedRange;
use super::window::{HEAD_BYTES, Window, size_of};
use crate::segment::Segment;

/// Why a piece of another log does not mend this one. What was written before stays: it was intact, and is checked whenever it is read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MendError {
    /// It lies outside of what is damaged and confirmed.
    #[error("at position {position} the log is not damaged, or not confirmed")]
    NotDamaged {
        /// Where.
        position: u64,
    },
    /// This log has another intact record there.
    #[error(
        "at position {position} this member has an intact record, and the other member another one: the logs are not the same, and nothing was written there"
    )]
    Other {
        /// Where.
        position: u64,
    },
    /// The other member has no intact record there.
    #[error("the other member does not have it either: {0}")]
    Damaged(#[from] CopyError),
    /// The file cannot be written or synced.
    #[error("cannot write the log at position {position}: {source}")]
    Io {
        /// Where.
        position: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// What became of a damaged stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// What of it is damaged still.
    pub left: Vec<DamagedRange>,
    /// Queues or tables were built without it: its messages come back when the store is opened the next time.
    pub is_for_the_next_start: bool,
}

impl Files {
    /// Writes the records of a piece of another log, which begins at `position`, as far as they lie in the damaged `range`.
    pub(crate) fn mend(
        &self,
        range: DamagedRange,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), MendError> {
        let outside = MendError::NotDamaged { position };
        let is_damaged = self
            .damage()
            .iter()
            .any(|known| known.from <= range.from && range.to <= known.to);
        let segment = self.segment(position);
        let (true, Some(segment)) = (is_damaged && range.from <= position, segment) else {
            return Err(outside);
        };
        let records = checked(position, segment.end(), bytes)?;
        let mut at = 0;
        while position + (at as u64) < range.to {
            let here = position + at as u64;
            let rest = records.records.get(at..).unwrap_or_default();
            let head = rest.get(..HEAD_BYTES);
            let size = head.and_then(|head| size_of(head, here, u64::MAX));
            let Some(record) = size.and_then(|size| rest.get(..size as usize)) else {
                break;
            };
            self.mend_record(&segment, range, here, record)?;
            at += record.len();
        }
        let filler = bytes.get(records.records.len()..).unwrap_or_default();
        let here = position + records.records.len() as u64;
        if records.ends_segment && here < range.to {
            write(&segment, here, filler)?;
        }
        Ok(())
    }

    fn mend_record(
        &self,
        segment: &Arc<Segment>,
        range: DamagedRange,
        position: u64,
        record: &[u8],
    ) -> Result<(), MendError> {
        if let Ok(own) = self.intact_record(position) {
            return match own == record {
                true => Ok(()),
                false => Err(MendError::Other { position }),
            };
        }
        // What lies behind the stretch is intact: it is the same, or the record does not belong here.
        let end = position + record.len() as u64;
        if end > range.to {
            let theirs = record.get((range.to - position) as usize..);
            let theirs = theirs.unwrap_or_default();
            let mut own = vec![0; theirs.len()];
            let is_same = segment.read(range.to, &mut own).is_ok() && own == theirs;
            if !is_same {
                return Err(MendError::Other { position: range.to });
            }
        }
        // Nor may an intact record begin in the middle.
        let inside = Window::default().resync(segment, position, end.min(range.to));
        if let Some(inside) = inside {
            return Err(MendError::Other { position: inside });
        }
        write(segment, position, record)
    }

    /// Makes what was written durable, and looks what is damaged still.
    pub(crate) fn mended(&self, range: DamagedRange) -> Result<Mended, MendError> {
        for segment in self.segments().iter() {
            if segment.base() < range.to && range.from < segment.end() {
                segment.sync().map_err(|source| MendError::Io {
                    position: segment.base().max(range.from),
                    source,
                })?;
            }
        }
        let left = self.survey(&mut Window::default(), range);
        let is_for_the_next_start = self.damage_mended(range, &left);
        // Where the file cannot be written, the next start finds out by itself.
        let _ = self.store_damage();
        Ok(Mended {
            left,
            is_for_the_next_start,
        })
    }
}

fn write(segment: &Segment, position: u64, bytes: &[u8]) -> Result<(), MendError> {
    segment
        .write(position, bytes)
        .map_err(|source| MendError::Io { position, source })
}
