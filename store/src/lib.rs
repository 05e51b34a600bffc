//! The log on disk and what is derived from it. No sockets, no sessions, no request codes.
//!
//! ```text
//! append ──► commit log  (segments of RocketMQ records, each with a checksum)      the truth
//!               │  in log order
//!               ├──► queue index   recent part in memory, the rest in immutable run files
//!               ├──► key index     in the same run files
//!               └──► tables        settings and progress, with "applied to P"
//! ```
//! What it promises: a message is acknowledged ([`Store::when_acked`]) only when the system (async flush) or the disk (sync flush) has
//! it, and visible only from then on; no offset of a queue ever names two messages; everything but the log can be lost and is rebuilt.

// Nothing that a disk returns may end a thread that others wait for.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod cold;
mod commit_log;
mod config;
mod disk_error;
mod dispatch;
mod error;
pub mod fs;
mod health;
mod index;
mod layout;
mod queue;
mod queues;
mod read;
mod recovery;
mod retention;
mod segment;
mod settings;
mod store;
mod tables;
mod vital;
mod watermark;

pub use cold::{ColdPool, ColdPoolFull};
pub use commit_log::{Appended, DamagedRange, NewMessage};
pub use config::{ConfigProblems, FlushMode, NowMs, StoreConfig};
pub use dispatch::{Arrival, Arrivals, DispatchError};
pub use error::{AppendError, CheckpointError, OpenError, ReadError};
pub use health::StoreHealth;
pub use index::by_time::Boundary;
pub use index::keys::KeyKind;
pub use queue::QueueRef;
pub use read::{
    AllMessages, EntryFilter, ReadLimits, ReadOutcome, ReadStatus, RecordSlice, Temperature,
};
pub use recovery::RecoveryReport;
pub use retention::{Removed, RetentionError, RetentionRound};
pub use settings::{Change, SETTINGS_TOPIC, Settings, SettingsError, Table};
pub use store::{Positions, Store, StoreStats};
