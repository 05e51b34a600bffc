//! Why the tables cannot be used.

use std::path::PathBuf;

use super::rows::FORMAT;

/// Why the tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// They are gone, and the log cannot bring them back.
    #[error(
        "the tables in {} are {problem}, and the log starts at {log_start} and not at 0, so topics, groups and consumer offsets changed before are lost: \
         restore the file from a backup or a replica, or start with `acceptLostSettings` to go on with what the log still holds", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The oldest position of the log.
        log_start: u64,
    },
    /// Written by another version.
    #[error("the tables in {} have format {found}, this version knows format {FORMAT}: use the version of rmq that wrote them", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format on disk.
        found: u64,
    },
    /// The system or the database reported an error.
    #[error("{doing} the tables in {} failed: {problem}", path.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What was reported.
        problem: String,
    },
}
