//! Messages of which the newest of each key is kept when its segment goes: those of compaction topics (apache/rocketmq
//! `store/kv/CompactionLog`). Two tables of the store's own, on disk:
//!
//! ```text
//!  table              key                                                      value
//!  compacted_keys     topic, 0x00, queue id as u32 + 2^31 BE, the message's    offset i64 BE of the newest message with this key
//!                     `KEYS`
//!  compacted_records  topic, 0x00, queue id as u32 + 2^31 BE, offset i64 BE    the record, as it lay in the log
//! ```
//!
//! A message says by its first property that it is one of these ([`compacted`]). Being in the log sets its row in `compacted_keys`, with own and copied
//! records alike. Before a segment goes, the records in it that a row still names are copied to `compacted_records`, by each member from its own log;
//! `derived/compact.rs` does that. A record without a body removes its key: it is not copied, and its row goes with its segment. The transaction
//! that gives a key a newer row removes the copy that the row named before.

use std::sync::Arc;

use rmq_protocol::message::{properties, property};

use crate::settings::{FedRecord, FedRow, Feed, Table, TableId};

/// The newest message of each key.
pub(crate) const COMPACTED_KEYS: TableId = TableId::new(11);
/// Records whose segments are gone.
const COMPACTED_RECORDS: TableId = TableId::new(12);
/// The name of [`COMPACTED_KEYS`].
pub(crate) const KEYS_NAME: &str = "compacted_keys";
/// The name of the table of records.
pub(crate) const RECORDS_NAME: &str = "compacted_records";

/// What the properties of such a message begin with: [`property::COMPACTED`], and a value. One look at the first bytes tells all others.
const MARK: &str = "__COMPACTED\u{1}1\u{2}";

/// The properties of a message of a compaction topic, from those of the message. Others must not begin with
/// [`property::COMPACTED`].
#[must_use]
pub fn compacted(properties: &str) -> String {
    [MARK, properties].concat()
}

/// The key of a message of a compaction topic: its property `KEYS` as a whole. `None`: the message is none, or has no key.
pub(crate) fn key_of(properties: &[u8]) -> Option<&str> {
    let rest = properties.strip_prefix(MARK.as_bytes())?;
    let text = std::str::from_utf8(rest).ok()?;
    properties::get(text, property::KEYS).filter(|key| !key.trim().is_empty())
}

/// The tables of `declared`, and the store's own.
pub(crate) fn with_own(declared: &[Table]) -> Vec<Table> {
    let own = [
        Table::on_disk(COMPACTED_KEYS, KEYS_NAME).fed_by(Arc::new(NewestOfKeys)),
        Table::on_disk(COMPACTED_RECORDS, RECORDS_NAME),
    ];
    declared.iter().cloned().chain(own).collect()
}

/// What the keys of both tables begin with.
pub(crate) fn of_queue(topic: &str, queue_id: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(topic.len() + 5 + 8);
    key.extend_from_slice(topic.as_bytes());
    key.push(0);
    key.extend_from_slice(&((queue_id as u32) ^ (1 << 31)).to_be_bytes());
    key
}

/// The queue of a key, and what follows.
pub(crate) fn queue_of(key: &[u8]) -> Option<(&str, i32, &[u8])> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (topic, rest) = key.split_at_checked(end)?;
    let (id, rest) = rest.get(1..)?.split_first_chunk::<4>()?;
    let id = (u32::from_be_bytes(*id) ^ (1 << 31)) as i32;
    Some((std::str::from_utf8(topic).ok()?, id, rest))
}

/// The key of a message in `compacted_keys`.
pub(crate) fn key_row(topic: &str, queue_id: i32, key: &str) -> Vec<u8> {
    let mut row = of_queue(topic, queue_id);
    row.extend_from_slice(key.as_bytes());
    row
}

/// The key of a record in `compacted_records`.
pub(crate) fn record_row(topic: &str, queue_id: i32, offset: i64) -> Vec<u8> {
    let mut row = of_queue(topic, queue_id);
    row.extend_from_slice(&offset.to_be_bytes());
    row
}

/// The offset that is the value of a row of `compacted_keys`, or the end of a key of `compacted_records`.
pub(crate) fn offset_of(bytes: &[u8]) -> Option<i64> {
    bytes.last_chunk().map(|offset| i64::from_be_bytes(*offset))
}

/// Feeds `compacted_keys`.
struct NewestOfKeys;

impl Feed for NewestOfKeys {
    fn rows(&self, record: &FedRecord<'_>, rows: &mut Vec<FedRow>) {
        if let Some(key) = key_of(record.properties) {
            let row = key_row(record.topic, record.queue_id, key);
            rows.push(FedRow::newest(COMPACTED_KEYS, &row));
        }
    }

    fn changed(&self, _key: &[u8], _is_set: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_at_the_beginning_counts() {
        let plain = "KEYS\u{1}k 1\u{2}TAGS\u{1}a\u{2}";
        let marked = compacted(plain);
        assert_eq!(properties::get(&marked, property::COMPACTED), Some("1"));
        assert_eq!(key_of(marked.as_bytes()), Some("k 1"));
        assert_eq!(key_of(plain.as_bytes()), None);
        let behind = [plain, MARK].concat();
        assert_eq!(key_of(behind.as_bytes()), None);
        for without in ["TAGS\u{1}a\u{2}", "KEYS\u{1} \u{2}", ""] {
            assert_eq!(key_of(compacted(without).as_bytes()), None, "{without:?}");
        }
    }

    #[test]
    fn rows_say_their_queue() {
        let key = key_row("orders", 7, "k\0");
        assert_eq!(queue_of(&key), Some(("orders", 7, &b"k\0"[..])));
        let record = record_row("orders", 7, 513);
        assert_eq!(offset_of(&record), Some(513));
        assert!(record < record_row("orders", 7, 514) && record < record_row("orders", 8, 0));
        assert_eq!(queue_of(b"orders"), None);
    }
}
