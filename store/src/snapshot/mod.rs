//! A snapshot: the tables and heads of queues at a position P of a log, for a store that begins above position 0.
//!
//! A replica whose disk is empty, or whose log ends before the oldest segment of its master, takes a snapshot and then copies the log from
//! the beginning of a segment S ≤ P: the oldest that the master has if it shall hold the history, or else the one that P lies in. So a store
//! made from a snapshot is a store like one whose older segments have expired. Until its log reaches P it lacks a part of what its tables
//! speak of: it cannot be read from, and cannot become the master ([`Store::incomplete_below`](crate::Store::incomplete_below)).
//!
//! ```text
//! the master         the replica
//! Store::snapshot ──► Installer::take (each chunk) ──► finish ──► Follower::open ──► copy from S on, as always
//! ```
//!
//! A snapshot is a stream of chunks, of at most 256 KiB and these bytes before them, little-endian:
//!
//! ```text
//!  0 4 "RMQS"
//!  4 2 version = 1
//!  6 2 0
//!  8 8 number of the chunk, from 0
//! 16 4 bytes that follow
//! 20 4 CRC-32 of bytes 0..20 and of what follows
//! ```
//!
//! What follows are items, cut wherever a chunk is full:
//!
//! ```text
//! 1 header  P u64 | begins u64 | segment u64 | segment bytes u64 | epochs u32, each number u64, first u64 | tables u16, each as in 2
//! 2 table   kind u8 (0 heads of queues, 1 in memory, 2 on disk) | name, u16 bytes: its rows follow
//! 3 row     key, u32 bytes | value, u32 bytes
//! 4 end     rows in all u64
//! ```

mod check;
mod format;
mod install;
mod take;

pub use check::SnapshotCheck;
pub use format::SnapshotHeader;
pub use install::{History, InstallError, Installed, Installer};
pub use take::{Snapshot, SnapshotError};
