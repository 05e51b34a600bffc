//! The log on disk and what is derived from it. No sockets, no sessions, no request codes.
//!
//! ```text
//! append ──► commit log  (segments of RocketMQ records, each with a checksum)      the truth
//!               │  in log order
//!               ├──► queue index   recent part in memory, the rest in immutable run files
//!               ├──► key index     in the same run files
//!               └──► tables        settings and progress, with "applied to P"
//! ```
//! What it promises: a message is acknowledged ([`Store::settle`]) only when the system (async flush) or the disk (sync flush) has
//! it, and visible only from then on; no offset of a queue ever names two messages; everything but the log can be lost and is rebuilt.

// Nothing that a disk returns may end a thread that others wait for.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

mod cold;
mod commit_log;
mod compacted;
mod config;
mod derived;
mod disk_error;
mod epochs;
mod error;
mod figures;
mod follower;
pub mod fs;
mod further;
mod health;
mod incarnation;
mod index;
mod install_mark;
mod layout;
mod life;
mod log_reader;
mod master;
mod open;
mod open_error;
mod purpose;
mod quarantine;
mod queue;
mod queues;
mod read;
mod reading;
mod recovery;
mod retention;
mod segment;
mod settings;
mod snapshot;
mod store;
mod sync_times;
mod tables;
mod text_file;
mod vital;
mod watermark;

pub use cold::{ColdPool, ColdPoolFull};
pub use commit_log::{
    Appended, CheckedLog, CopyError, DamagedRange, Done, LogPiece, MendError, Mended, NewMessage,
    Taker, TruncateError, check_log,
};
pub use compacted::compacted;
pub use config::{ConfigProblems, FlushMode, NowMs, STAGED_BYTES_MAX, StoreConfig};
pub use derived::by_time::Boundary;
pub use derived::{Arrival, Arrivals, DispatchError};
pub use epochs::{Epoch, common_end};
pub use error::{AppendError, CheckpointError, EpochError, ReadError};
pub use figures::{Positions, StoreStats};
pub use follower::{Follower, PromoteError};
pub use further::{LIGHT_QUEUE_ID, offsets_bytes_max};
pub use health::StoreHealth;
pub use index::keys::KeyKind;
pub use life::LastEnd;
pub use master::Master;
pub use open_error::OpenError;
pub use quarantine::PutAside;
pub use queue::QueueRef;
pub use read::{
    AllMessages, EntryFilter, ReadLimits, ReadOutcome, ReadStatus, RecordSlice, Temperature,
};
pub use recovery::RecoveryReport;
pub use retention::{Removed, RetentionError, RetentionRound};
pub use settings::{
    Applied, Apply, Change, FedRecord, FedRow, Feed, RecordPlace, Row, SETTINGS_TOPIC, Settings,
    SettingsError, Table, TableId,
};
pub use snapshot::{
    History, InstallError, Installed, Installer, Snapshot, SnapshotCheck, SnapshotError,
    SnapshotHeader,
};
pub use store::Store;
pub use sync_times::{SYNC_BOUNDS_US, Syncs};

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file of the crate, tests left out.
    fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).expect("the sources") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                if !path.ends_with("tests") {
                    sources(&path, found);
                }
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                let code = text.split("#[cfg(test)]\nmod tests").next();
                let name = path
                    .strip_prefix(env!("CARGO_MANIFEST_DIR"))
                    .expect("below");
                found.push((
                    name.display().to_string(),
                    code.unwrap_or_default().to_owned(),
                ));
            }
        }
    }

    /// What reads or opens files may not be exempt from the lints at the head of this crate.
    #[test]
    fn whoever_touches_files_can_end_no_thread() {
        let mut all = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
        let lints = [
            "clippy::unwrap_used",
            "clippy::expect_used",
            "clippy::panic",
            "clippy::indexing_slicing",
            "clippy::unreachable",
        ];
        let calls = [
            "read_at(",
            "read_cached(",
            ".open(",
            ".list(",
            ".exists(",
            ".len()?",
        ];
        let mut exempt = Vec::new();
        for (name, code) in &all {
            if name.ends_with("lib.rs") || !lints.iter().any(|lint| code.contains(lint)) {
                continue;
            }
            exempt.push(name.as_str());
            // A disk in memory, for tests.
            let is_simulated = name.ends_with("simulated.rs");
            for call in calls.iter().filter(|_| !is_simulated) {
                assert!(!code.contains(call), "{name} calls {call} and is exempt");
            }
        }
        assert!(all.len() > 40 && exempt.len() >= 4, "{exempt:?}");
    }
}
