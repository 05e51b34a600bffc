//! Settings and progress: keys and values that live in the log like every message.
//!
//! A change is appended as a record of the reserved topic [`SETTINGS_TOPIC`] ([`record`] draws its body). The log feeds the tables: a change counts when its
//! record is confirmed, and its writer waits for that. The tables on disk say up to which position they hold the log, and the rest is replayed at the start.

mod change;
mod feed;
mod record;
mod table;
mod table_id;
mod values;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rmq_protocol::message::LogPosition;

use crate::error::{AppendError, ReadError};
use crate::purpose::Purpose;

pub use change::Change;
pub(crate) use change::ChangeRef;
pub(crate) use feed::FedRows;
pub use feed::{FedRecord, FedRow, Feed, RecordPlace};
pub(crate) use record::{decode, encode};
pub use table::{Applied, Apply, Table};
pub(crate) use table::{Declared, QUEUE_HEADS, QueueLookUp, problems};
pub use table_id::TableId;
pub(crate) use values::Values;

/// The reserved topic of settings records. Clients can neither write nor read it.
pub const SETTINGS_TOPIC: &str = "rmq_sys_SETTINGS";

/// A row of a table on disk: its key and its value.
pub type Row = (Vec<u8>, Bytes);

/// Why settings were not changed. Nothing was changed when it is returned, except where a `put` needs several records.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The key is empty or too long, or not UTF-8 where the table is in memory.
    #[error(
        "settings key of {len} bytes in table {table}: a key has 1 to 65535 bytes, of UTF-8 in a table in memory"
    )]
    Key {
        /// The table.
        table: &'static str,
        /// Bytes of the key.
        len: usize,
    },
    /// The value is too large.
    #[error("settings value of {len} bytes for {key} in table {table}: a value has at most {max} bytes", max = record::VALUE_BYTES_MAX)]
    Value {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
        /// Bytes of the value.
        len: usize,
    },
    /// The owner of the store has not declared this table.
    #[error("table {table} was not declared when the store was opened, so it cannot be changed")]
    Internal {
        /// The table.
        table: TableId,
    },
    /// What is to be changed cannot be looked up.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log did not take the record.
    #[error("settings were not stored: {0}")]
    Append(#[from] AppendError),
}

/// What settings need of the log. The store implements it.
pub(crate) trait SettingsLog: Send + Sync {
    /// Appends one settings record; returns the log position after it.
    fn append_settings(&self, body: &[u8], purpose: Purpose) -> Result<u64, AppendError>;
    /// Whether progress of so many bytes would be taken now.
    fn check_progress(&self, bytes: usize) -> Result<(), AppendError>;
    /// Writes what was appended and calls `done` once it is acknowledged as the flush mode promises. What is acknowledged is applied.
    fn settle(&self, up_to: u64, done: Box<dyn FnOnce(Result<(), AppendError>) + Send>);
    /// Loads the queues of a topic that is about to be deleted, so that no disk is asked when the deletion is applied.
    fn load_queues(&self, topic: &str) -> Result<(), ReadError>;
}

/// The settings of a store. Obtained from the store; cheap to clone.
#[derive(Clone)]
pub struct Settings {
    declared: Arc<Declared>,
    log: Arc<dyn SettingsLog>,
}

impl Settings {
    pub(crate) fn new(declared: Arc<Declared>, log: Arc<dyn SettingsLog>) -> Self {
        Self { declared, log }
    }

    /// Appends the changes. Returns the log position after them; they count, and are as durable as any appended message, when
    /// [`Store::settle`](crate::Store::settle) says so of that position. Tables have them then.
    ///
    /// Many changes go into one record of up to 1 MiB, which counts as a whole or not at all; only a larger set is split. Changes of
    /// progress alone are taken on a full disk as well, from a part of the log that is kept for them.
    ///
    /// # Errors
    /// A key or value out of its limits, a table that is not declared, or the log refuses writes.
    pub fn put(&self, changes: &[Change]) -> Result<LogPosition, SettingsError> {
        let mut end = LogPosition(0);
        self.put_each(changes, &mut |_, record_end| end = record_end)?;
        Ok(end)
    }

    /// As [`put`](Self::put). Calls `appended` after each record that was appended, with the changes that it holds and the log position after it.
    ///
    /// # Errors
    /// As `put`. The changes that `appended` was told of stay in the log.
    pub fn put_each(
        &self,
        changes: &[Change],
        appended: &mut dyn FnMut(Range<usize>, LogPosition),
    ) -> Result<(), SettingsError> {
        for change in changes {
            self.check(change)?;
        }
        for change in changes.iter().filter(|change| change.table == QUEUE_HEADS) {
            self.log.load_queues(&change.shown())?;
        }
        let is_progress = |change: &Change| {
            let table = self.declared.get(change.table);
            table.is_some_and(|table| table.is_progress)
        };
        let purpose = match changes.iter().all(is_progress) {
            true => Purpose::Progress,
            false => Purpose::Message,
        };
        for (body, part) in encode(changes) {
            let end = self.log.append_settings(&body, purpose)?;
            appended(part, LogPosition(end));
        }
        Ok(())
    }

    fn check(&self, change: &Change) -> Result<(), SettingsError> {
        let table = self.declared.get(change.table);
        let deletes = change.table == QUEUE_HEADS && change.value.is_none();
        let (name, is_text) = match table {
            Some(table) => (table.name, !table.is_on_disk()),
            None if deletes => ("queue_heads", true),
            None => {
                return Err(SettingsError::Internal {
                    table: change.table,
                });
            }
        };
        let is_wrong = is_text && std::str::from_utf8(&change.key).is_err();
        if change.key.is_empty() || change.key.len() > usize::from(u16::MAX) || is_wrong {
            return Err(SettingsError::Key {
                table: name,
                len: change.key.len(),
            });
        }
        let len = change.value.as_ref().map_or(0, Bytes::len);
        if len > record::VALUE_BYTES_MAX {
            return Err(SettingsError::Value {
                table: name,
                key: change.shown(),
                len,
            });
        }
        Ok(())
    }

    /// As [`put`](Self::put), and waits until the changes are acknowledged as the flush mode promises. The tables have them then.
    ///
    /// # Errors
    /// As `put`, and when writing or flushing failed.
    pub async fn put_and_wait(&self, changes: &[Change]) -> Result<LogPosition, SettingsError> {
        let end = self.put(changes)?;
        self.wait(end).await?;
        Ok(end)
    }

    /// Whether changes of progress that take so many bytes (keys, values and 7 for each) can be stored now. On a full disk a part of the
    /// log is kept for them; a caller that answers before it stores asks here first.
    ///
    /// # Errors
    /// The store is read-only, or this part is used up.
    pub fn check_progress(&self, bytes: usize) -> Result<(), AppendError> {
        self.log.check_progress(bytes)
    }

    /// Waits until changes that were [`put`](Self::put) are acknowledged as the flush mode promises. The tables have them then.
    ///
    /// # Errors
    /// Writing or flushing failed.
    pub async fn wait(&self, end: LogPosition) -> Result<(), SettingsError> {
        let (done, acked) = tokio::sync::oneshot::channel();
        self.log.settle(
            end.0,
            Box::new(move |outcome| {
                // The waiter may have gone away.
                let _ = done.send(outcome);
            }),
        );
        acked.await.unwrap_or(Err(AppendError::Closed))?;
        Ok(())
    }
}
