//! What a settings record says: keys that get a value, or lose it.

use bytes::Bytes;

use super::table::QUEUE_HEADS;
use super::table_id::TableId;

/// One key gets a value, or loses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub(crate) table: TableId,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Bytes>,
}

impl Change {
    /// Sets a key of 1 to 65,535 bytes to a value of at most 1 MiB. Keys of tables in memory are UTF-8.
    pub fn set(table: TableId, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        Self {
            table,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    /// Removes a key.
    pub fn remove(table: TableId, key: impl Into<Vec<u8>>) -> Self {
        Self {
            table,
            key: key.into(),
            value: None,
        }
    }

    /// Makes all messages of a topic unreachable. Offsets of its queues continue where they are.
    pub fn delete_queues(topic: impl Into<Vec<u8>>) -> Self {
        Self::remove(QUEUE_HEADS, topic)
    }

    /// The key as text, for reports.
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.key).into_owned()
    }
}

/// A change as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangeRef<'a> {
    pub(crate) table: TableId,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> ChangeRef<'a> {
    /// The key of a table in memory.
    pub(crate) fn text(&self) -> &'a str {
        // Decoding has refused what is not UTF-8.
        std::str::from_utf8(self.key).unwrap_or_default()
    }
}
