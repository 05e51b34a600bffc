//! Why a store cannot be opened because of what is derived from its log.

use std::path::PathBuf;

use crate::error::ReadError;
use crate::tables::TablesError;

/// Why what is derived from the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The tables.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// The index.
    #[error("the index in {} cannot be opened: {problem}", dir.display())]
    Index {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A queue cannot be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The thread that writes the index cannot be started.
    #[error("the thread that writes the index cannot be started: {0}")]
    Thread(std::io::Error),
    /// A settings record that this version cannot read.
    #[error("the settings record at log position {position} cannot be applied: {problem}")]
    Settings {
        /// Where it lies.
        position: u64,
        /// What is wrong.
        problem: String,
    },
    /// What an earlier start could not read cannot be brought into the index.
    #[error("what can be read again of the log cannot be served: {problem}")]
    Again {
        /// What is wrong.
        problem: String,
    },
    /// The log is shorter than what was derived from it.
    #[error(
        "the log ends at {log}, but the tables were made from it up to {tables} and the index up to {index}: a part of the log that was durable is missing; \
         restore it, or remove the folder of the derived files to go on with what is left"
    )]
    AheadOfLog {
        /// End of the log.
        log: u64,
        /// Position the tables hold.
        tables: u64,
        /// Position the index holds.
        index: u64,
    },
}
