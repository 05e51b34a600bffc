//! Backups: copies of a broker group's data, in a folder or in a bucket of S3.
//!
//! ```text
//! PLACE/GROUP/backups/<id>.json            what a backup has, with sizes and checksums; written last
//! PLACE/GROUP/tables/<id>/<number>         the tables of one backup: chunks of a snapshot
//! PLACE/GROUP/log/<lineage>/<part>         parts of the log, shared by backups; never changed
//! PLACE/GROUP/running/<kind>-<id>          somebody writes or removes here
//! ```
//! | file | has |
//! | --- | --- |
//! | `place/` | where backups are: a folder, a bucket |
//! | `part.rs` | the bytes and the name of a part of the log |
//! | `manifest.rs` | what a backup says of itself |
//! | `reuse.rs` | which parts are there already and are of this log |
//! | `source.rs`, `take.rs` | taking a backup of a running broker |
//! | `look.rs`, `running.rs` | which backups there are; who else is at work |
//! | `verify.rs`, `restore.rs`, `remove.rs` | reading all of a backup, making a store of it, removing old ones |

mod fault;
mod look;
mod manifest;
mod part;
mod place;
mod progress;
mod remove;
mod restore;
mod reuse;
mod running;
mod source;
mod take;
mod verify;

pub use fault::Fault;
pub use look::{Found, groups, list, newest};
pub use manifest::{Manifest, PartOf, TablesOf};
pub use part::PART_BYTES_MAX;
pub use place::{Bytes, Entry, Place, PlaceError, PlaceOptions, Storage};
pub use progress::{Progress, Silent};
pub use remove::{Removed, remove};
pub use restore::{RestoreError, Restored, has_store, restore};
pub use rmq_store::StoreConfig;
pub use source::Source;
pub use take::{TakeError, TakeOptions, Taken, take};
pub use verify::{Verified, verify};
