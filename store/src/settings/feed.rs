//! Rows that messages set and remove by being in the log: a table can have a [`Feed`], which is shown every record.

use rmq_protocol::message::RecordView;
use smallvec::SmallVec;

use super::table_id::TableId;

/// Bytes of a key that need no allocation.
const KEY: usize = 32;

/// Rows that one record sets or removes. Most records have none.
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

/// The place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Its first byte in the log.
    pub position: u64,
    /// Its place in its queue.
    pub queue_offset: i64,
    /// When it was stored, Unix milliseconds.
    pub store_ms: i64,
}

/// A row that a record sets or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FedRow {
    table: TableId,
    key: SmallVec<[u8; KEY]>,
    form: Form,
}

/// What a row has of its record's place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing, and no value.
    Plain,
    /// The position in its key, here; the offset is the value.
    Placed(usize),
    /// The position is its key; the offset and the store time are in its value, here.
    Numbered { value: Box<[u8]>, place_at: usize },
    /// The offset is the value; a row of a newer record stays.
    Newest,
    /// The row is removed.
    Removed,
}

/// A key, and its value if it keeps one.
pub(crate) type KeyAndValue = (SmallVec<[u8; KEY]>, Option<SmallVec<[u8; 8]>>);

impl FedRow {
    /// A row with this key and an empty value.
    #[must_use]
    pub fn plain(table: TableId, key: &[u8]) -> Self {
        Self {
            table,
            key: SmallVec::from_slice(key),
            form: Form::Plain,
        }
    }

    /// A row whose key has the log position of the record, big-endian, between two parts, and whose value is the record's offset in
    /// its queue, little-endian.
    #[must_use]
    pub fn placed(table: TableId, before: &[u8], after: &[u8]) -> Self {
        let mut row = Self::plain(table, before);
        row.form = Form::Placed(before.len());
        row.key.extend_from_slice(after);
        row
    }

    /// A row whose key is the log position of the record, in decimal digits, and whose value has the record's offset in its queue and its
    /// store time, both big-endian, between two parts. For tables in memory, whose keys are text.
    #[must_use]
    pub fn numbered(table: TableId, before: &[u8], after: &[u8]) -> Self {
        let mut row = Self::plain(table, b"");
        row.form = Form::Numbered {
            value: [before, after].concat().into(),
            place_at: before.len(),
        };
        row
    }

    /// The row with this key is removed, if there is one. A row that a message removes is not set again: after damage to the disk, removals
    /// count last.
    #[must_use]
    pub fn removed(table: TableId, key: &[u8]) -> Self {
        let mut row = Self::plain(table, key);
        row.form = Form::Removed;
        row
    }

    /// A row whose value is the record's offset in its queue, big-endian. All records that set it are of one queue, and the newest counts, also where
    /// records are read again after damage to the disk.
    #[must_use]
    pub(crate) fn newest(table: TableId, key: &[u8]) -> Self {
        let mut row = Self::plain(table, key);
        row.form = Form::Newest;
        row
    }

    pub(crate) fn is_newest(&self) -> bool {
        self.form == Form::Newest
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.form == Form::Removed
    }

    pub(crate) fn table(&self) -> TableId {
        self.table
    }

    /// The key and the value of the row of a record at a place.
    pub(crate) fn at(&self, place: RecordPlace) -> KeyAndValue {
        let mut key = self.key.clone();
        let mut value = SmallVec::new();
        match &self.form {
            Form::Plain => {}
            Form::Placed(at) => {
                key.insert_from_slice((*at).min(key.len()), &place.position.to_be_bytes());
                value.extend_from_slice(&place.queue_offset.to_le_bytes());
            }
            Form::Numbered {
                value: parts,
                place_at,
            } => {
                key.extend_from_slice(place.position.to_string().as_bytes());
                let (before, after) = parts.split_at((*place_at).min(parts.len()));
                value.extend_from_slice(before);
                value.extend_from_slice(&place.queue_offset.to_be_bytes());
                value.extend_from_slice(&place.store_ms.to_be_bytes());
                value.extend_from_slice(after);
            }
            Form::Newest => value.extend_from_slice(&place.queue_offset.to_be_bytes()),
            Form::Removed => return (key, None),
        }
        (key, Some(value))
    }

    /// The key of the row of a record at a place, and its value; none: the row is removed.
    #[must_use]
    pub fn change(&self, place: RecordPlace) -> (Vec<u8>, Option<Vec<u8>>) {
        let (key, value) = self.at(place);
        (key.to_vec(), value.map(|value| value.to_vec()))
    }
}

/// What records set and remove in a table, besides being messages.
pub trait Feed: Send + Sync {
    /// The rows that a record sets or removes; `rows` may have some of other feeds. It depends on the record alone, as each member of a group asks
    /// for itself, and each start asks again. It is called for every record, so it decides at the first look about most.
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>);

    /// A row of a table on disk was set, by a record or by a change of settings, or removed; a table in memory is told itself. In log order, while the store opens and live; rows
    /// that the tables file has when the store opens are not told. Called as [`Apply::apply`](super::Apply::apply) is: no I/O, and no lock that is
    /// held while something is appended.
    fn changed(&self, key: &[u8], is_set: bool);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_place_of_their_record() {
        const TABLE: TableId = TableId::new(200);
        let place = RecordPlace {
            position: 513,
            queue_offset: 7,
            store_ms: 1_000,
        };
        let plain = FedRow::plain(TABLE, b"key").change(place);
        assert_eq!(plain, (b"key".to_vec(), Some(Vec::new())));
        let placed = FedRow::placed(TABLE, b"<", b">").change(place);
        let key = b"<\0\0\0\0\0\0\x02\x01>".to_vec();
        assert_eq!(placed, (key, Some(7_i64.to_le_bytes().to_vec())));
        let numbered = FedRow::numbered(TABLE, b"<", b">").change(place);
        let value = [
            &b"<"[..],
            &7_i64.to_be_bytes(),
            &1_000_i64.to_be_bytes(),
            b">",
        ]
        .concat();
        assert_eq!(numbered, (b"513".to_vec(), Some(value)));
        let removed = FedRow::removed(TABLE, b"513");
        assert!(removed.is_removed());
        assert_eq!(removed.change(place), (b"513".to_vec(), None));
    }
}
