//! A run file: the queue entries and keys of one stretch of the log. Written once, never changed. `format.rs` draws it.
//!
//! Nothing but the header is read when the store opens. The directory is checked at the first look-up; entries, keys and filter
//! group by group when they are read: whatever fails, or cannot be read, is reported as [`RunDamaged`] and the run is written again from the log.

mod cursor;
mod directory;
mod file;
mod filter;
mod format;
mod kept;
mod key;
mod read;
mod write;

pub(crate) use cursor::QueueCursor;
pub(crate) use format::{Chunk, RunDamaged, RunEntry, SPAN_MAX, Span};
pub(crate) use read::Run;
pub(crate) use write::{MergeError, RunWriter, merge_keys, publish};
