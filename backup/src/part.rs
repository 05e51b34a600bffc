//! A part of the log: bytes as they lie in one segment, whole records and the filler where they end the segment.
//!
//! ```text
//!  0  4 "RMQL"
//!  4  2 version = 1
//!  6  2 0
//!  8  8 from: the log position of the first byte
//! 16  8 to: the position of what follows
//! 24  8 the epoch that the last byte belongs to: its number
//! 32  8 and its first position
//! 40  8 bytes that follow
//! 48 32 SHA-256 of bytes 0..48 and of what follows
//! 80    records
//! ```
//! All numbers are little-endian. The name says where the part belongs: `<from>-<to>-<epoch>-<first>`. A log has the bytes of one name once: within an
//! epoch it only grows, and another master begins another epoch.

use std::fmt;

use bytes::Bytes;
use rmq_protocol::message::LogPosition;
use rmq_store::{CheckedLog, Epoch, check_log};
use sha2::{Digest, Sha256};

use crate::fault::Fault;

/// The largest part that is taken, bytes of the log.
pub const PART_BYTES_MAX: usize = 512 << 20;

const MARK: &[u8; 4] = b"RMQL";
const VERSION: u16 = 1;
/// Bytes before the records.
pub(crate) const HEAD_BYTES: usize = 80;
const SUMMED_BYTES: usize = 48;

/// Which part of which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PartName {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The epoch of the last byte.
    pub(crate) epoch: u64,
    pub(crate) epoch_first: u64,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:020}-{:020}-{}-{}",
            self.from, self.to, self.epoch, self.epoch_first
        )
    }
}

impl PartName {
    /// The name of a stretch of a log with these epochs; `None`: the epochs do not say whose its end is.
    pub(crate) fn of(from: u64, to: u64, epochs: &[Epoch]) -> Option<Self> {
        let below = epochs.iter().rev().find(|epoch| epoch.first.0 < to)?;
        Some(Self {
            from,
            to,
            epoch: below.number,
            epoch_first: below.first.0,
        })
    }

    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|part| {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse::<u64>().ok()).flatten()
        });
        let mut next = || numbers.next().flatten();
        let name = Self {
            from: next()?,
            to: next()?,
            epoch: next()?,
            epoch_first: next()?,
        };
        (name.from < name.to && name.to_string() == text).then_some(name)
    }
}

/// The head of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) name: PartName,
    /// Bytes of the records.
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

impl Head {
    fn summed(name: PartName, bytes: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MARK);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&0_u16.to_le_bytes());
        for word in [name.from, name.to, name.epoch, name.epoch_first, bytes] {
            head.extend_from_slice(&word.to_le_bytes());
        }
        head
    }

    /// Reads the head of a part.
    pub(crate) fn read(part: &[u8]) -> Result<Self, &'static str> {
        let cut = "it is cut off";
        let (summed, rest) = part.split_at_checked(SUMMED_BYTES).ok_or(cut)?;
        let sha256 = *rest.first_chunk::<32>().ok_or(cut)?;
        let word = |at: usize| {
            let bytes = summed.get(at..).and_then(|rest| rest.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        if !summed.starts_with(MARK) {
            return Err("it is no part of a log");
        }
        if summed.get(4..6) != Some(&VERSION.to_le_bytes()) {
            return Err("it was written by another version of rmq-ctl: use that version");
        }
        Ok(Self {
            name: PartName {
                from: word(8),
                to: word(16),
                epoch: word(24),
                epoch_first: word(32),
            },
            bytes: word(40),
            sha256,
        })
    }
}

/// A part that is ready to be put somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) name: PartName,
    pub(crate) sha256: [u8; 32],
    /// Head and records.
    pub(crate) bytes: Bytes,
}

/// Room for a part's head, to which its records are added.
pub(crate) fn begin() -> Vec<u8> {
    vec![0; HEAD_BYTES]
}

/// Checks the records that were added and writes the head. Takes its time.
///
/// # Errors
/// Where the records are not intact.
pub(crate) fn seal(mut part: Vec<u8>, name: PartName) -> Result<Sealed, Fault> {
    let damaged = |says: String| Fault::new(format!("the log from position {}", name.from), says);
    let records = part.get(HEAD_BYTES..).unwrap_or_default();
    let checked = check_log(LogPosition(name.from), records);
    let checked = checked.map_err(|error| damaged(error.to_string()))?;
    if checked.end.0 != name.to {
        return Err(damaged(format!(
            "it ends at {} and should end at {}",
            checked.end, name.to
        )));
    }
    let head = Head::summed(name, records.len() as u64);
    let mut sum = Sha256::new();
    sum.update(&head);
    sum.update(records);
    let sha256: [u8; 32] = sum.finalize().into();
    let room = part.iter_mut().zip(head.iter().chain(&sha256));
    room.for_each(|(room, byte)| *room = *byte);
    Ok(Sealed {
        name,
        sha256,
        bytes: part.into(),
    })
}

/// The records of a part, once all of it was found as its name and checksum say. Takes its time.
pub(crate) fn open(
    part: &[u8],
    name: PartName,
    sha256: [u8; 32],
) -> Result<(&[u8], CheckedLog), String> {
    let head = Head::read(part)?;
    let records = part.get(HEAD_BYTES..).unwrap_or_default();
    if head.name != name {
        return Err(format!("it is the part {}", head.name));
    }
    if head.bytes != records.len() as u64 {
        return Err(format!(
            "it has {} bytes of records and should have {}",
            records.len(),
            head.bytes
        ));
    }
    let mut sum = Sha256::new();
    sum.update(part.get(..SUMMED_BYTES).unwrap_or_default());
    sum.update(records);
    let found: [u8; 32] = sum.finalize().into();
    if found != sha256 || head.sha256 != sha256 {
        return Err("its checksum is wrong: it is damaged".to_owned());
    }
    let checked = check_log(LogPosition(name.from), records).map_err(|error| error.to_string())?;
    if checked.end.0 != name.to {
        return Err(format!("its records end at {}", checked.end));
    }
    Ok((records, checked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_nothing_else_is_one() {
        let name = PartName {
            from: 4_096,
            to: u64::MAX,
            epoch: 7,
            epoch_first: 0,
        };
        assert_eq!(PartName::parse(&name.to_string()), Some(name));
        for text in [
            "",
            "1-2-3-4",
            "00000000000000000002-00000000000000000001-1-0",
            "00000000000000000001-00000000000000000002-1",
            "00000000000000000001-00000000000000000002-1-0.new",
            "00000000000000000001-00000000000000000002-1-0-",
            "00000000000000000001-00000000000000000002-+1-0",
        ] {
            assert_eq!(PartName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_epoch_of_a_part_is_that_of_its_last_byte() {
        let epoch = |number, first| Epoch {
            number,
            first: LogPosition(first),
        };
        let epochs = [epoch(1, 0), epoch(4, 100)];
        let of = |from, to| PartName::of(from, to, &epochs).map(|name| name.epoch);
        assert_eq!(of(0, 100), Some(1));
        assert_eq!(of(0, 101), Some(4));
        assert_eq!(PartName::of(0, 5, &epochs[1..]), None);
    }
}
