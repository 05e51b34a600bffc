//! The materialised view of settings and queue heads: one redb file, `tables`, format version 1.
//!
//! ```text
//!  table            key                                     value
//!  meta             "format"                                u64 = 1
//!                   "applied_to"                            u64: every record below this log position is in here
//!  a declared name  the setting's key (&str of tables in   the setting's value
//!                   memory, bytes of tables on disk)
//!  queue_heads      topic, 0x00, queue id as u32 + 2^31 BE  next offset i64, deleted below i64, newest position + 1 u64; little-endian
//! ```
//!
//! The head of the queue 0 of `%LMQ%`, a name that no light queue has, says as its next offset where light queues begin that have no head.
//!
//! `compacted.rs` of the crate draws two more tables. Each seal is one durable transaction that also moves `applied_to`, so the file is always the exact state at one log position, but for heads of light
//! queues without messages, which go when the messages go. It is created with the first seal. A damaged file is put aside and its content found again by replaying the log; where the log no
//! longer reaches back to its beginning, the store refuses to open instead of starting with settings lost.

mod backend;
mod compacted;
mod copies;
mod copy;
mod error;
mod file;
mod pending;
mod read;
mod rows;

pub(crate) use compacted::Candidate;
pub(crate) use copy::{KeyValue, Look, NewTables, RowsOf};
pub(crate) use error::TablesError;
pub(crate) use file::Tables;
pub(crate) use pending::Pending;
pub(crate) use rows::LightHeads;
