//! The log: appends go into a staging buffer under a short mutex; the thread that first needs them written writes all that is staged.
//!
//! ```text
//!  NewMessage ──► place ──► staging ──(swap)──► write: pwrite, [fdatasync] ──► dispatch ──► acks
//!             append mutex                      write mutex        confirmed ▲
//!                                                                        progress
//! ```
//!
//! | file | has |
//! | --- | --- |
//! | `place.rs` | queue offset and store time of a new message |
//! | `record.rs` | the bytes of a record, but for its place |
//! | `staging.rs` | segments, the room in them, fillers |
//! | `write.rs` | the round of writing |
//! | `progress.rs` | how far everything has come, and the one rule for confirmed |
//! | `acks.rs` | who waits |
//! | `pieces.rs`, `follow.rs`, `copied.rs`, `truncate.rs` | the log of a follower: copied from a master, dispatched from memory when confirmed, cut where it diverges |
//! | `flush.rs`, `flusher.rs` | what waits for the thread that syncs, and the thread |
//! | `files.rs`, `prepare.rs`, `scan.rs`, `damage.rs` | the segments on the disk: made ahead, read, damaged |
//! | `mend.rs` | what is damaged, written again with what another member has |
//! | `log.rs` | all of it as one value |
//!
//! Files import downwards only: those that `log.rs` holds do not know `log.rs`, and what works on the whole log does.
//!
//! Lock order: write, following, append, dispatcher. Arrivals and acknowledgements are called with none of them held.

mod acks;
mod copied;
mod crc_shift;
mod damage;
mod files;
mod flush;
mod flusher;
mod follow;
mod following;
mod log;
mod mend;
mod pieces;
mod place;
mod prepare;
mod progress;
pub(crate) mod ranges;
mod record;
mod scan;
mod spare;
mod staging;
mod takers;
mod truncate;
mod window;
mod write;

pub use acks::Done;
pub(crate) use damage::Content;
pub(crate) use files::Files;
pub(crate) use flush::Flush;
pub(crate) use follow::Copier;
pub(crate) use log::{CommitLog, Role};
pub use mend::{MendError, Mended};
pub use pieces::{CheckedLog, CopyError, LogPiece, check_log};
pub use place::Appended;
pub(crate) use place::Appender;
pub use ranges::DamagedRange;
pub use record::NewMessage;
pub use takers::Taker;
pub use truncate::TruncateError;
pub(crate) use window::{Found, Window, check};
