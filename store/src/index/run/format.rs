//! The format of a run file, version 1, all numbers little-endian.
//!
//! ```text
//!   0  8  "RMQRUN\r\n"
//!   8  4  version = 1
//!  12  4  bytes of a header = 128
//!  16  8  log position of the first byte covered
//!  24  8  log position after the last byte covered (at most 4 GiB - 1 further)
//!  32  8  base store time, ms since 1970: the smallest of this run
//!  40  8  largest store time, ms
//!  48  4  number of topics
//!  52  4  number of queues
//!  56  4  number of entries
//!  60  4  number of keys
//!  64  4  filter: number of 64-byte blocks
//!  68  4  bytes of topic names
//!  72  4  CRC-32 of everything from the checks on ("directory")
//!  76  8  bytes of the whole file
//!  84  8  number that the manifest gave this file
//!  92 32  zero
//! 124  4  CRC-32 of bytes 0..124
//! 128     entries, 20 bytes each, per queue in offset order: position u32 (from the run's first), size u32 (0 = lost in the log),
//!         tag hash i64, store time u32 (ms from the base; 0xFFFF_FFFF = ask the log)
//!         keys, 12 bytes each, sorted by hash and position: hash u64, position u32
//!         filter: a blocked Bloom filter over the key hashes, 5 bits of one block per key, about 12 bits a key
//!         checks: CRC-32 of each group of 200 entries, then of 340 keys, then of 64 filter blocks
//!         queues, 28 bytes each, sorted by topic and id: id i32, entries u32, first offset i64, first entry u32,
//!         smallest and largest store time u32
//!         topics, 12 bytes each, sorted by name: name at u32, name bytes u32, first queue u32
//!         topic names
//! ```

use std::fmt;

use super::filter;

pub(super) const MARK: &[u8; 8] = b"RMQRUN\r\n";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: usize = 128;
pub(super) const ENTRY: usize = 20;
pub(super) const ENTRIES_PER_BLOCK: usize = 200;
pub(super) const KEY: usize = 12;
pub(super) const KEYS_PER_BLOCK: usize = 340;
pub(super) const FILTER_PER_BLOCK: usize = 64;
pub(super) const QUEUE: usize = 28;
pub(super) const TOPIC: usize = 12;
/// "Ask the log" where a time does not fit.
pub(super) const TIME_UNKNOWN: u32 = u32::MAX;
/// A run covers at most this much log, so that positions fit into 32 bits.
pub(crate) const SPAN_MAX: u64 = u32::MAX as u64;

/// One entry of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub(crate) position: u64,
    /// 0 = this offset was lost in the log.
    pub(crate) size: u32,
    pub(crate) tag_hash: i64,
    /// ms since 1970, if it is known without asking the log.
    pub(crate) store_ms: Option<i64>,
}

/// A run file cannot be trusted. It is dropped and written again from the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("index run {log} is damaged: {what}")]
pub(crate) struct RunDamaged {
    /// Which stretch of the log it covers.
    pub(crate) log: Span,
    pub(crate) what: &'static str,
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Span {
    pub(crate) fn new(from: u64, to: u64) -> Self {
        Self { from, to }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// Large enough for every block of a run.
pub(super) const BLOCK_BYTES_MAX: usize = 4_096;
const _: () = assert!(
    ENTRIES_PER_BLOCK * ENTRY <= BLOCK_BYTES_MAX
        && KEYS_PER_BLOCK * KEY <= BLOCK_BYTES_MAX
        && FILTER_PER_BLOCK * filter::BLOCK <= BLOCK_BYTES_MAX
);

/// Where a block is read into.
pub(super) type BlockBuffer = [u8; BLOCK_BYTES_MAX];

/// The entries of one queue in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first_offset: i64,
    pub(crate) count: u32,
    pub(super) first_entry: u32,
    /// Largest store time of the chunk, ms since 1970, if known.
    pub(crate) newest_ms: Option<i64>,
}

impl Chunk {
    /// Offset after the last entry.
    pub(crate) fn end_offset(&self) -> i64 {
        self.first_offset + i64::from(self.count)
    }
}

/// Little-endian numbers of a row or header. A row that is too short reads as zeros: rows are cut from checked bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u32::from_le_bytes(*word))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}
