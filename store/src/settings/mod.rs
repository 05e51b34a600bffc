//! Settings and progress: opaque keys and values that live in the log like every message.
//!
//! A change is appended as a record of the reserved topic [`SETTINGS_TOPIC`] ([`record`] draws its body); the current values are kept in memory for reads and
//! written to the tables beside the message path. The log is the truth: the tables say up to which position they hold it, and the rest is replayed at the start.

mod record;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use rmq_protocol::message::LogPosition;

use crate::commit_log::Purpose;
use crate::error::{AppendError, ReadError};

pub(crate) use record::{decode, encode};
pub(crate) use state::SettingsState;

/// The reserved topic of settings records. Clients can neither write nor read it.
pub const SETTINGS_TOPIC: &str = "rmq_sys_SETTINGS";

/// A named set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Topic configurations by topic name.
    Topics = 1,
    /// Subscription groups by group name.
    Groups = 2,
    /// How far groups have consumed.
    ConsumerOffsets = 3,
    /// How far delayed messages were delivered.
    DelayProgress = 4,
    /// Internal: the tail of each queue; a change of this table in a settings record deletes the queues of the topic that is its key.
    QueueHeads = 5,
    /// Changed configuration of the broker.
    BrokerConfig = 6,
    /// Anything else.
    Kv = 7,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 7] = [
        Self::Topics,
        Self::Groups,
        Self::ConsumerOffsets,
        Self::DelayProgress,
        Self::QueueHeads,
        Self::BrokerConfig,
        Self::Kv,
    ];

    /// The name of the table on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Groups => "groups",
            Self::ConsumerOffsets => "consumer_offsets",
            Self::DelayProgress => "delay_progress",
            Self::QueueHeads => "queue_heads",
            Self::BrokerConfig => "broker_config",
            Self::Kv => "kv",
        }
    }

    pub(crate) fn from_u8(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| *table as u8 == code)
    }

    /// Whether it holds progress, which changes all the time and is kept on a full disk too.
    pub(crate) fn is_progress(self) -> bool {
        matches!(self, Self::ConsumerOffsets | Self::DelayProgress)
    }

    fn index(self) -> usize {
        self as usize - 1
    }
}

/// One key gets a value, or loses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which table.
    pub table: Table,
    /// 1 to 65,535 bytes.
    pub key: String,
    /// `None` removes the key. At most 1 MiB.
    pub value: Option<Bytes>,
}

impl Change {
    /// Sets a key.
    pub fn set(table: Table, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self {
            table,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Removes a key.
    pub fn remove(table: Table, key: impl Into<String>) -> Self {
        Self {
            table,
            key: key.into(),
            value: None,
        }
    }
}

/// Why settings were not changed. Nothing was changed when it is returned, except where a `put` needs several records.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The key is empty or too long.
    #[error("settings key of {len} bytes in table {table}: a key has 1 to 65535 bytes", table = table.name())]
    Key {
        /// The table.
        table: Table,
        /// Bytes of the key.
        len: usize,
    },
    /// The value is too large.
    #[error("settings value of {len} bytes for {key} in table {table}: a value has at most {max} bytes", table = table.name(), max = record::VALUE_BYTES_MAX)]
    Value {
        /// The table.
        table: Table,
        /// The key.
        key: String,
        /// Bytes of the value.
        len: usize,
    },
    /// This table is kept by the store itself.
    #[error("table {table} is kept by the store and cannot be changed by hand", table = table.name())]
    Internal {
        /// The table.
        table: Table,
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
    /// Writes what was appended and calls `done` once it is acknowledged as the flush mode promises.
    fn settle(&self, up_to: u64, done: Box<dyn FnOnce(Result<(), AppendError>) + Send>);
}

/// The settings of a store. Obtained from the store; cheap to clone.
#[derive(Clone)]
pub struct Settings {
    state: Arc<SettingsState>,
    log: Arc<dyn SettingsLog>,
}

impl Settings {
    pub(crate) fn new(state: Arc<SettingsState>, log: Arc<dyn SettingsLog>) -> Self {
        Self { state, log }
    }

    /// Appends the changes and makes them the current values. Returns the log position after them; they are as durable as any
    /// appended message: not before [`Store::write_out`](crate::Store::write_out) (and the flush, with sync flush) has passed that position.
    ///
    /// Many changes go into one record of up to 1 MiB; only a larger set is split. Changes of consumer offsets and delay progress alone
    /// are taken on a full disk as well, from a part of the log that is kept for them.
    ///
    /// # Errors
    /// A key or value out of its limits, an internal table, or the log refuses writes.
    pub fn put(&self, changes: &[Change]) -> Result<LogPosition, SettingsError> {
        if let Some(change) = changes
            .iter()
            .find(|change| change.table == Table::QueueHeads)
        {
            return Err(SettingsError::Internal {
                table: change.table,
            });
        }
        self.put_any(changes).map(LogPosition)
    }

    /// As [`put`](Self::put), and waits until the changes are acknowledged as the flush mode promises.
    ///
    /// # Errors
    /// As `put`, and when writing or flushing failed.
    pub async fn put_and_wait(&self, changes: &[Change]) -> Result<LogPosition, SettingsError> {
        let end = self.put(changes)?;
        self.settled(end.0).await?;
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

    /// Waits until changes that were [`put`](Self::put) are acknowledged as the flush mode promises.
    ///
    /// # Errors
    /// Writing or flushing failed.
    pub async fn wait(&self, end: LogPosition) -> Result<(), SettingsError> {
        self.settled(end.0).await
    }

    pub(crate) async fn settled(&self, end: u64) -> Result<(), SettingsError> {
        let (done, acked) = tokio::sync::oneshot::channel();
        self.log.settle(
            end,
            Box::new(move |outcome| {
                // The waiter may have gone away.
                let _ = done.send(outcome);
            }),
        );
        acked.await.unwrap_or(Err(AppendError::Closed))?;
        Ok(())
    }

    pub(crate) fn put_any(&self, changes: &[Change]) -> Result<u64, SettingsError> {
        let bodies = encode(changes)?;
        let purpose = match changes.iter().all(|change| change.table.is_progress()) {
            true => Purpose::Progress,
            false => Purpose::Message,
        };
        let mut end = 0;
        // Held over append and update, so that the order of values is the order in the log.
        let _order = self.state.order();
        for (body, part) in bodies {
            end = self.log.append_settings(&body, purpose)?;
            self.state.update(changes.get(part).unwrap_or_default());
        }
        Ok(end)
    }

    /// The current value of a key.
    pub fn get(&self, table: Table, key: &str) -> Option<Bytes> {
        self.state.get(table, key)
    }

    /// Every key and value of a table, sorted by key.
    pub fn scan(&self, table: Table) -> Vec<(String, Bytes)> {
        self.state.scan(table)
    }

    /// How many keys a table has.
    pub fn len(&self, table: Table) -> usize {
        self.state.len(table)
    }
}
