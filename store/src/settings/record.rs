//! The body of a settings record, version 1. All numbers big-endian. The record's own CRC covers it.
//!
//! ```text
//!  0  4  "RMQS"
//!  4  2  version = 1
//!  6  4  number of changes
//!        then each change:
//!        1  table (Table as u8)
//!        2  bytes of the key
//!        4  bytes of the value, 0xFFFF_FFFF = the key is removed
//!           key, value
//! ```

use std::ops::Range;

use bytes::{Buf, BufMut, Bytes};

use super::{Change, SettingsError, Table};

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

/// Encodes changes into as few records as the size limit allows.
pub(crate) fn encode(changes: &[Change]) -> Result<Vec<Encoded>, SettingsError> {
    for change in changes {
        if change.key.is_empty() || change.key.len() > usize::from(u16::MAX) {
            return Err(SettingsError::Key {
                table: change.table,
                len: change.key.len(),
            });
        }
        let len = change.value.as_ref().map_or(0, Bytes::len);
        if len > VALUE_BYTES_MAX {
            return Err(SettingsError::Value {
                table: change.table,
                key: change.key.clone(),
                len,
            });
        }
    }
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
    Ok(bodies)
}

fn encode_one(changes: &[Change], bytes: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(bytes);
    body.put_slice(MARK);
    body.put_u16(VERSION);
    body.put_u32(changes.len() as u32);
    for change in changes {
        body.put_u8(change.table as u8);
        body.put_u16(change.key.len() as u16);
        body.put_u32(
            change
                .value
                .as_ref()
                .map_or(REMOVED, |value| value.len() as u32),
        );
        body.put_slice(change.key.as_bytes());
        if let Some(value) = &change.value {
            body.put_slice(value);
        }
    }
    body
}

/// Decodes a record's body.
pub(crate) fn decode(mut body: &[u8]) -> Result<Vec<Change>, RecordError> {
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
        let code = body.get_u8();
        let table = Table::from_u8(code).ok_or(RecordError::Table(code))?;
        let key_len = usize::from(body.get_u16());
        let value_len = body.get_u32();
        let key = body.get(..key_len).ok_or(RecordError::Short)?;
        let key = std::str::from_utf8(key)
            .map_err(|_| RecordError::Key)?
            .to_owned();
        body.advance(key_len);
        let value = if value_len == REMOVED {
            None
        } else {
            let (value, rest) = body
                .split_at_checked(value_len as usize)
                .ok_or(RecordError::Short)?;
            body = rest;
            // An own copy: a slice would keep the whole record alive.
            Some(Bytes::copy_from_slice(value))
        };
        changes.push(Change { table, key, value });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let value = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
        (0..Table::ALL.len(), "[a-zA-Z%@_0-9é]{1,40}", value).prop_map(|(table, key, value)| {
            Change {
                table: Table::ALL[table],
                key,
                value: value.map(Bytes::from),
            }
        })
    }

    proptest! {
        #[test]
        fn round_trip(changes in proptest::collection::vec(change(), 0..50)) {
            let mut back = Vec::new();
            for (body, part) in encode(&changes).unwrap() {
                prop_assert_eq!(part.start, back.len());
                back.extend(decode(&body).unwrap());
            }
            prop_assert_eq!(back, changes);
        }

        #[test]
        fn hostile_bodies_give_an_error(mut body in proptest::collection::vec(any::<u8>(), 0..100), marked in any::<bool>()) {
            if marked && body.len() >= 6 {
                body[..6].copy_from_slice(b"RMQS\0\x01");
            }
            let _ = decode(&body);
        }
    }

    #[test]
    fn splits_large_sets_and_refuses_bad_keys() {
        let changes: Vec<Change> = (0..5)
            .map(|i| Change::set(Table::Kv, format!("k{i}"), vec![0u8; 600_000]))
            .collect();
        assert_eq!(encode(&changes).unwrap().len(), 5);
        let small: Vec<Change> = (0..10_000)
            .map(|i| Change::set(Table::ConsumerOffsets, format!("k{i}"), vec![0u8; 8]))
            .collect();
        assert_eq!(encode(&small).unwrap().len(), 1);
        assert!(matches!(
            encode(&[Change::remove(Table::Kv, "")]),
            Err(SettingsError::Key { len: 0, .. })
        ));
        let large = Change::set(Table::Kv, "k", vec![0u8; VALUE_BYTES_MAX + 1]);
        assert!(matches!(encode(&[large]), Err(SettingsError::Value { .. })));
    }

    #[test]
    fn names_what_it_cannot_read() {
        let mut body = encode(&[Change::remove(Table::Kv, "k")])
            .unwrap()
            .remove(0)
            .0;
        body[5] = 2;
        assert_eq!(decode(&body), Err(RecordError::Version(2)));
        body[5] = 1;
        body[10] = 99;
        assert_eq!(decode(&body), Err(RecordError::Table(99)));
        assert_eq!(decode(&body[..body.len() - 1]), Err(RecordError::Table(99)));
        body[10] = 7;
        assert_eq!(decode(&body[..body.len() - 1]), Err(RecordError::Short));
    }
}
