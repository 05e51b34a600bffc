//! Rows that messages set by being in the log: a table on disk can have a [`Feed`], which is shown every record.

use rmq_protocol::message::RecordView;
use smallvec::SmallVec;

use super::table_id::TableId;

/// Bytes of a key that need no allocation.
const KEY: usize = 32;

/// Rows that one record sets. Most records set none.
pub(crate) type FedRows = Option<Box<[FedRow]>>;

/// What a [`Feed`] sees of a record.
#[derive(Clone, Copy, Debug)]
pub struct FedRecord<'a> {
    /// The topic that it is stored in.
    pub topic: &'a str,
    /// The queue that it is stored in.
    pub queue_id: i32,
    /// Its field of this name.
    pub prepared_position: i64,
    /// Its property string, without the record's CRC where that is not known yet.
    pub properties: &'a [u8],
}

impl<'a> FedRecord<'a> {
    pub(crate) fn of(record: &'a RecordView<'a>) -> Self {
        Self {
            topic: record.topic(),
            queue_id: record.queue_id().0,
            prepared_position: record.prepared_position(),
            properties: record.properties().as_bytes(),
        }
    }
}

/// A row that a record sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedRow {
    table: TableId,
    key: SmallVec<[u8; KEY]>,
    /// Where the position of the record goes into the key; the offset in the queue is the value then.
    place_at: Option<usize>,
}

impl FedRow {
    /// A row with this key and an empty value.
    #[must_use]
    pub fn plain(table: TableId, key: &[u8]) -> Self {
        Self {
            table,
            key: SmallVec::from_slice(key),
            place_at: None,
        }
    }

    /// A row whose key has the log position of the record, big-endian, between two parts, and whose value is the record's offset in
    /// its queue, little-endian.
    #[must_use]
    pub fn placed(table: TableId, before: &[u8], after: &[u8]) -> Self {
        let mut row = Self::plain(table, before);
        row.place_at = Some(before.len());
        row.key.extend_from_slice(after);
        row
    }

    pub(crate) fn table(&self) -> TableId {
        self.table
    }

    /// The key and the value of a record's row.
    pub(crate) fn at(
        &self,
        position: u64,
        queue_offset: i64,
    ) -> (SmallVec<[u8; KEY]>, SmallVec<[u8; 8]>) {
        let mut key = self.key.clone();
        let mut value = SmallVec::new();
        if let Some(at) = self.place_at {
            key.insert_from_slice(at.min(key.len()), &position.to_be_bytes());
            value.extend_from_slice(&queue_offset.to_le_bytes());
        }
        (key, value)
    }
}

/// What records set in a table on disk, besides being messages.
pub trait Feed: Send + Sync {
    /// The rows that a record sets; `rows` may have some of other feeds. It depends on the record alone, as each member of a group asks
    /// for itself, and each start asks again. It is called for every record, so it decides at the first look about most.
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>);

    /// A row of the table was set, by a record or by a change of settings, or removed. In log order, while the store opens and live; rows
    /// that the tables file has when the store opens are not told. Called as [`Apply::apply`](super::Apply::apply) is: no I/O, and no lock that is
    /// held while something is appended.
    fn changed(&self, key: &[u8], is_set: bool);
}
