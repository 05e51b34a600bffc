//! The store of a replica: it copies the log of a master, and has no way to append to it.
//!
//! ```compile_fail
//! fn append(follower: &rmq_store::Follower, message: &rmq_store::NewMessage<'_>) {
//!     follower.append(message).expect("appended");
//! }
//! ```

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use rmq_protocol::message::LogPosition;

use crate::commit_log::{Copier, CopyError, Done, Role, TruncateError};
use crate::config::StoreConfig;
use crate::error::{AppendError, EpochError, ReadError};
use crate::fs::Fs;
use crate::master::Master;
use crate::open::open;
use crate::open_error::OpenError;
use crate::quarantine::PutAside;
use crate::recovery::RecoveryReport;
use crate::store::Store;

/// A store that follows a master. Everything else it has from [`Store`].
///
/// What it copies is in its log, and nowhere else, until [`confirm`](Self::confirm) says that it can no longer be truncated. After a start
/// that is what its index and tables have; the rest has to be confirmed again.
pub struct Follower {
    store: Store,
    copier: Copier,
}

/// Why a follower did not become the master.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// It is being made from a snapshot.
    #[error(
        "the log ends at {end}, and the tables are those at {position}: this store is not whole yet"
    )]
    Incomplete {
        /// Where the log ends.
        end: u64,
        /// Where the tables are.
        position: u64,
    },
    /// What it has could not be written.
    #[error(transparent)]
    Log(#[from] AppendError),
    /// The epoch does not begin.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// What it has copied cannot be dispatched.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Deref for Follower {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Follower").field(&self.store).finish()
    }
}

impl Follower {
    /// Opens the store in `config.dir`, or makes a new one. Blocks while the end of the log is read.
    ///
    /// # Errors
    /// See [`OpenError`]: nothing is repaired silently.
    pub fn open(config: StoreConfig, fs: Arc<dyn Fs>) -> Result<(Self, RecoveryReport), OpenError> {
        let (store, report) = open(config, fs, Role::Follower)?;
        let copier = Copier::new(Arc::clone(store.log()));
        Ok((Self { store, copier }, report))
    }

    /// Takes a [piece](Store::log_piece) of the master's log that begins at `position`, where this log ends. It is neither written nor
    /// confirmed yet: [`try_store`](Self::try_store) or [`store`](Self::store) must follow, once for any number of pieces. Returns where the
    /// log ends now.
    ///
    /// # Errors
    /// See [`CopyError`]: nothing of the piece was taken.
    pub fn copy(&self, position: LogPosition, bytes: &[u8]) -> Result<LogPosition, CopyError> {
        self.copier.copy(position.0, bytes, false).map(LogPosition)
    }

    /// As [`copy`](Self::copy), of what is far behind the end of the master's log, so that nobody reads it soon: once it is written, the system need not
    /// keep it in memory.
    ///
    /// # Errors
    /// As [`copy`](Self::copy).
    pub fn copy_aside(
        &self,
        position: LogPosition,
        bytes: &[u8],
    ) -> Result<LogPosition, CopyError> {
        self.copier.copy(position.0, bytes, true).map(LogPosition)
    }

    /// As [`Store::try_settle`], for what this store has received: the system has the bytes, whether or not they are flushed or confirmed.
    /// Writes on this thread where that takes no waiting for anybody, whatever the flush mode.
    #[must_use]
    pub fn try_receive(&self, end: LogPosition) -> Option<Result<(), AppendError>> {
        self.copier.try_receive(end.0)
    }

    /// As [`Store::settle`], for what this store has received. [`Store::flush`] is the same for what is flushed.
    pub fn receive(&self, end: LogPosition, done: Done) {
        self.copier.receive(end.0, done);
    }

    /// As [`Store::try_settle`], for what this store has as its flush mode promises: received with async flush, flushed with sync flush.
    #[must_use]
    pub fn try_store(&self, end: LogPosition) -> Option<Result<(), AppendError>> {
        self.copier.try_store(end.0)
    }

    /// As [`Store::settle`], for what this store has as its flush mode promises.
    pub fn store(&self, end: LogPosition, done: Done) {
        self.copier.store(end.0, done);
    }

    /// The group has confirmed what lies below `position`: it becomes visible here, as far as this store has it now.
    ///
    /// # Errors
    /// The queues cannot be looked up. It is tried again with the next call.
    pub fn confirm(&self, position: LogPosition) -> Result<(), ReadError> {
        self.copier.confirm(position.0)
    }

    /// The log of the master begins at `position`: what lies below may expire here as well. A follower never removes what its master has, so it
    /// removes nothing before it was told, after each start.
    pub fn master_begins(&self, position: LogPosition) {
        self.copier.master_begins(position.0);
    }

    /// Notes durably that what the master sends from `first` on, where this log ends, is of another epoch.
    ///
    /// # Errors
    /// See [`EpochError`].
    pub fn begin_epoch(&self, number: u64, first: LogPosition) -> Result<(), EpochError> {
        let begun = self.while_open(|| {
            let end = self.positions().appended;
            self.epochs_file().begin(number, first.0, end)
        });
        begun.unwrap_or(Err(EpochError::Closed))
    }

    /// Cuts off the end of the log, which its master does not have, and epochs that have no bytes then. Afterwards everything is as if the log had never been longer. Nothing
    /// is copied meanwhile. A process that ends in the middle has begun it or not: the next start completes it.
    ///
    /// What is cut is kept in a file of the folder `quarantine`, durably, before it is cut: the file is returned. It has the records of the
    /// stretch, at most 1 GiB of them; the newest 16 files stay. `None`: there was nothing to cut.
    ///
    /// # Errors
    /// See [`TruncateError`]: what is confirmed is never cut.
    pub fn truncate_to(&self, position: LogPosition) -> Result<Option<PutAside>, TruncateError> {
        let cut = self.while_open(|| self.copier.truncate_to(position.0, self.epochs_file()));
        cut.unwrap_or_else(|| Err(AppendError::Closed.into()))
    }

    /// Keeps the end of the log in the quarantine as [`truncate_to`](Self::truncate_to) does, and cuts nothing: for a store whose end is
    /// confirmed, is no part of the history of its group any more, and is about to be replaced by a [snapshot](crate::Installer) of the master. The
    /// installation leaves the folder alone. `None`: there was nothing.
    ///
    /// # Errors
    /// See [`TruncateError`]: the file was not written.
    pub fn put_aside(&self, position: LogPosition) -> Result<Option<PutAside>, TruncateError> {
        let kept = self.while_open(|| self.copier.put_aside(position.0, self.epochs_file()));
        kept.unwrap_or_else(|| Err(AppendError::Closed.into()))
    }

    /// Becomes the master. The epoch begins, durably, where the log ends. What is not confirmed yet waits for
    /// [`Master::replicated`].
    ///
    /// # Errors
    /// See [`PromoteError`]. The store is to be opened again.
    pub fn promote(self, epoch: u64) -> Result<Master, PromoteError> {
        let Self { store, copier } = self;
        if let Some(position) = store.incomplete_below() {
            return Err(PromoteError::Incomplete {
                end: store.positions().written,
                position: position.0,
            });
        }
        let end = copier.finish()?;
        store.epochs_file().begin(epoch, end, end)?;
        Ok(Master::new(store, copier.lead()?)?)
    }
}
