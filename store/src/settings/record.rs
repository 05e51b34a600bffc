//! The body of a settings record, version 1. All numbers big-endian. The record's own CRC covers it.
//!
//! ```text
//!  0  4  "RMQS"
//!  4  2  version = 1
//!  6  4  number of changes
//!        then each change:
//!        1  number of the table; 5 deletes the queues of the topic that is the key
//!        2  bytes of the key
//!        4  bytes of the value, 0xFFFF_FFFF = the key is removed
//!           key (UTF-8 in tables in memory), value
//! ```

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};

use super::change::{Change, ChangeRef};
use super::table::{Declared, QUEUE_HEADS};
use super::table_id::TableId;

/// Largest value of one key.
pub(super) const VALUE_BYTES_MAX: usize = 1 << 20;
/// A record is closed when the next change would make its body larger than this.
const BODY_BYTES: usize = 1 << 20;
const MARK: &[u8; 4] = b"RMQS";
const VERSION: u16 = 1;
const HEADER: usize = 10;
const REMOVED: u32 = u32::MAX;

/// Why a settings record cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RecordError {
    #[error("it does not begin with the mark of a settings record")]
    Mark,
    #[error(
        "it has format version {0}, this program reads version {VERSION}: use the version of rmq that wrote it, or a later one"
    )]
    Version(u16),
    #[error("it ends in the middle of a change")]
    Short,
    #[error(
        "it names table {0}, which this version of rmq does not know: use the version of rmq that wrote it, or a later one"
    )]
    Table(u8),
    #[error("a key is not UTF-8")]
    Key,
}

/// The body of one record, and which of the changes it holds.
pub(crate) type Encoded = (Vec<u8>, Range<usize>);

/// Encodes changes into as few records as the size limit allows. Neighbours that fit one record together are in one.
pub(crate) fn encode(changes: &[Change]) -> Vec<Encoded> {
    let mut bodies = Vec::new();
    let mut from = 0;
    while from < changes.len() {
        let mut bytes = HEADER;
        let mut to = from;
        while let Some(change) = changes.get(to) {
            let more = 7 + change.key.len() + change.value.as_ref().map_or(0, Bytes::len);
            if to > from && bytes + more > BODY_BYTES {
                break;
            }
            bytes += more;
            to += 1;
        }
        let part = changes.get(from..to).unwrap_or_default();
        bodies.push((encode_one(part, bytes), from..to));
        from = to;
    }
    bodies
}

fn encode_one(changes: &[Change], bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes);
    body.put_slice(MARK);
    body.put_u16(VERSION);
    body.put_u32(changes.len() as u32);
    for change in changes {
        body.put_u8(change.table.number());
        body.put_u16(change.key.len() as u16);
        body.put_u32(
            change
                .value
                .as_ref()
                .map_or(REMOVED, |value| value.len() as u32),
        );
        body.put_slice(&change.key);
        if let Some(value) = &change.value {
            body.put_slice(value);
        }
    }
    body
}

/// Decodes a record's body, all of it or nothing.
pub(crate) fn decode<'a>(
    mut body: &'a [u8],
    declared: &Declared,
) -> Result<Vec<ChangeRef<'a>>, RecordError> {
    if body.len() < HEADER || !body.starts_with(MARK) {
        return Err(RecordError::Mark);
    }
    body.advance(4);
    let version = body.get_u16();
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let count = body.get_u32() as usize;
    // A count is not trusted for reserving: each change takes at least 8 bytes.
    let mut changes = Vec::with_capacity(count.min(body.len() / 8));
    for _ in 0..count {
        if body.len() < 7 {
            return Err(RecordError::Short);
        }
        let table = TableId::new(body.get_u8());
        let is_text = match declared.get(table) {
            Some(table) => !table.is_on_disk(),
            None if table == QUEUE_HEADS => true,
            None => return Err(RecordError::Table(table.number())),
        };
        let key_len = usize::from(body.get_u16());
        let value_len = body.get_u32();
        let (key, rest) = body.split_at_checked(key_len).ok_or(RecordError::Short)?;
        if is_text && std::str::from_utf8(key).is_err() {
            return Err(RecordError::Key);
        }
        body = rest;
        let value = if value_len == REMOVED {
            None
        } else {
            let (value, rest) = body
                .split_at_checked(value_len as usize)
                .ok_or(RecordError::Short)?;
            body = rest;
            Some(value)
        };
        changes.push(ChangeRef { table, key, value });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::Table;

    const TEXT: TableId = TableId::new(1);
    const BYTES: TableId = TableId::new(200);

    fn declared() -> Declared {
        Declared::new(&[Table::values(TEXT, "text"), Table::on_disk(BYTES, "bytes")])
    }

    fn change() -> impl Strategy<Value = Change> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        let bytes = proptest::collection::vec(any::<u8>(), 1..40);
        (0..3, "[a-zA-Z%@_0-9é]{1,40}", bytes, value).prop_map(|(table, text, bytes, value)| {
            let (table, key) = match table {
                0 => (TEXT, text.into_bytes()),
                1 => (QUEUE_HEADS, text.into_bytes()),
                _ => (BYTES, bytes),
            };
            Change {
                table,
                key,
                value: value.map(Bytes::from),
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(changes in proptest::collection::vec(change(), 0..50)) {
            let bodies = encode(&changes);
            let declared = declared();
            let back: Vec<_> = bodies.iter().flat_map(|(body, _)| decode(body, &declared).unwrap()).collect();
            let wanted: Vec<_> = changes
                .iter()
                .map(|change| ChangeRef { table: change.table, key: &change.key, value: change.value.as_deref() })
                .collect();
            prop_assert_eq!(back, wanted);
        }

        #[test]
        fn hostile_bodies_give_an_error(mut body in proptest::collection::vec(any::<u8>(), 0..100), marked in any::<bool>()) {
            if marked && body.len() >= 6 {
                body[..6].copy_from_slice(b"RMQS\0\x01");
            }
            let _ = decode(&body, &declared());
        }
    }

    #[test]
    fn splits_large_sets_only() {
        let changes: Vec<Change> = (0..5)
            .map(|i| Change::set(TEXT, format!("k{i}"), vec![0u8; 600_000]))
            .collect();
        assert_eq!(encode(&changes).len(), 5);
        let small: Vec<Change> = (0..10_000)
            .map(|i| Change::set(TEXT, format!("k{i}"), vec![0u8; 8]))
            .collect();
        assert_eq!(encode(&small).len(), 1);
        // A deletion is never split: its key is the longest one that there is.
        let longest = vec![b'x'; usize::from(u16::MAX)];
        let deletion = [
            Change::remove(TEXT, longest.clone()),
            Change::delete_queues(longest),
        ];
        assert_eq!(encode(&deletion).len(), 1);
    }

    #[test]
    fn names_what_it_cannot_read() {
        let declared = declared();
        let mut body = encode(&[Change::remove(TEXT, "k")]).remove(0).0;
        body[5] = 2;
        assert_eq!(decode(&body, &declared), Err(RecordError::Version(2)));
        body[5] = 1;
        body[10] = 99;
        let short = body.len() - 1;
        assert_eq!(decode(&body, &declared), Err(RecordError::Table(99)));
        assert_eq!(
            decode(&body[..short], &declared),
            Err(RecordError::Table(99))
        );
        body[10] = 1;
        assert_eq!(decode(&body[..short], &declared), Err(RecordError::Short));
        body[short] = 0xFF;
        assert_eq!(decode(&body, &declared), Err(RecordError::Key));
        body[10] = 200;
        assert!(decode(&body, &declared).is_ok());
    }
}
