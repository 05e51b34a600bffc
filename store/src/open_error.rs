//! Why a store does not open.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigProblems;
use crate::derived::DispatchError;
use crate::disk_error::DiskError;
use crate::error::{EpochError, ReadError};

/// Why a store does not open. Nothing was changed, except where it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error("store configuration: {0}")]
    Config(#[from] ConfigProblems),
    /// Another process has it open.
    #[error("{} is in use by another process ({holder})", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the holder left there.
        holder: String,
    },
    /// Written by a version that this one does not know.
    #[error("{} was written in format {found}, this version knows format {known}; use the version that wrote it", path.display())]
    Version {
        /// The file that says so.
        path: PathBuf,
        /// The format on disk.
        found: String,
        /// The format of this version.
        known: &'static str,
    },
    /// The file that names the format is damaged.
    #[error(
        "{} is damaged: it holds {found:?} instead of {known:?}; if no other version of rmq has written this folder, write the line {known} into it", path.display()
    )]
    FormatDamaged {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// The format of this version.
        known: &'static str,
    },
    /// The file that says which master has written which part of the log is missing or damaged.
    #[error(
        "{} is {problem}, so it is not known which parts of the log the other members of the group have: restore it from a backup, or empty \
         the folder of this broker and let it copy everything from another member; if this broker has never had a replica, write the line \
         rmq-store 1 into {}", path.display(), format.display()
    )]
    Epochs {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// The file that names the format of the store.
        format: PathBuf,
    },
    /// The file that says which data these are is missing or damaged.
    #[error(
        "{} is {problem}, so it is not known which member of its group has these data: restore it from a backup, or empty the folder of \
         this broker and let it copy everything from another member; to go on with these data as a member that nobody knows yet, write the \
         line rmq-store 2 into {}", path.display(), format.display()
    )]
    Incarnation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// The file that names the format of the store.
        format: PathBuf,
    },
    /// The store is being made from a snapshot, and cannot be a master's.
    #[error(
        "the store in {} is not whole: it was being copied from another member; start this broker as a replica until that is done, or empty the folder", dir.display()
    )]
    Incomplete {
        /// The folder.
        dir: PathBuf,
    },
    /// The epoch of this start does not begin.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// Files are missing or have an impossible name or size.
    #[error("the log in {} is not whole: {problem}", dir.display())]
    NotWhole {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system reported an error.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What is derived from the log cannot be brought up.
    #[error(transparent)]
    Derived(#[from] DispatchError),
    /// The queues cannot be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Io {
            doing: error.call,
            path: error.path,
            source: error.source,
        }
    }
}

impl OpenError {
    pub(crate) fn io<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
