//! How the tables of compaction topics ([`crate::compacted`]) change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redb::{Database, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use super::pending::Ordered;
use crate::compacted::{
    KEYS_NAME, RECORDS_NAME, key_row, of_queue, offset_of, queue_of, record_row,
};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The newest message of each key.
pub(super) const KEYS: Definition = TableDefinition::new(KEYS_NAME);
/// Records whose segments are gone.
pub(super) const RECORDS: Definition = TableDefinition::new(RECORDS_NAME);

/// Whether the tables have rows, as far as is known: stores without compaction topics ask nothing.
#[derive(Default)]
pub(super) struct InUse {
    pub(super) keys: AtomicBool,
    pub(super) records: AtomicBool,
}

/// A record of a segment that is to go.
pub(crate) struct Candidate {
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) key: String,
    pub(crate) offset: i64,
    /// The record; `None`: it has no body, and removes its key.
    pub(crate) record: Option<Vec<u8>>,
}

/// Gives keys their newest records. The copy that a row named before goes.
pub(super) fn write_keys(
    transaction: &WriteTransaction,
    changed: &Ordered,
) -> Result<(), redb::Error> {
    let mut keys = transaction.open_table(KEYS)?;
    let mut records = transaction.open_table(RECORDS)?;
    for (key, value) in changed {
        let newest = value.as_deref().and_then(offset_of);
        let (Some(value), Some(newest)) = (value, newest) else {
            continue;
        };
        let before = keys.get(&**key)?.and_then(|row| offset_of(row.value()));
        if before.is_some_and(|before| before >= newest) {
            continue;
        }
        if let (Some(before), Some((topic, id, _))) = (before, queue_of(key)) {
            records.remove(&*record_row(topic, id, before))?;
        }
        keys.insert(&**key, &**value)?;
    }
    Ok(())
}

/// Removes what is kept of queues that were deleted with their topics.
pub(super) fn remove_deleted(
    transaction: &WriteTransaction,
    deleted: &BTreeMap<(Box<str>, i32), i64>,
) -> Result<(), redb::Error> {
    if deleted.is_empty() {
        return Ok(());
    }
    let is_there = |name: &str| -> Result<bool, redb::Error> {
        Ok(transaction.list_tables()?.any(|table| table.name() == name))
    };
    if !is_there(KEYS_NAME)? {
        return Ok(());
    }
    let mut keys = transaction.open_table(KEYS)?;
    let mut records = transaction.open_table(RECORDS)?;
    for ((topic, id), below) in deleted {
        let from = of_queue(topic, *id);
        let to = end_of(&from);
        keys.retain_in(&*from..&*to, |_, newest| {
            offset_of(newest).is_none_or(|offset| offset >= *below)
        })?;
        let to = record_row(topic, *id, *below);
        records.retain_in(&*from..&*to, |_, _| false)?;
    }
    Ok(())
}

/// The first key behind all that begin with these bytes of a queue.
pub(super) fn end_of(queue: &[u8]) -> Vec<u8> {
    let mut end = queue.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Copies those of the records that are still the newest of their keys, durably, and removes the rows of those without a body. Returns how many were
/// copied.
pub(super) fn keep(database: &Database, candidates: &[Candidate]) -> Result<usize, redb::Error> {
    let transaction = database.begin_write()?;
    let (mut copies, mut removed) = (0, 0);
    {
        let mut keys = transaction.open_table(KEYS)?;
        let mut records = transaction.open_table(RECORDS)?;
        for candidate in candidates {
            let (topic, id) = (&*candidate.topic, candidate.queue_id);
            let key = key_row(topic, id, &candidate.key);
            let newest = keys.get(&*key)?.and_then(|row| offset_of(row.value()));
            if newest != Some(candidate.offset) {
                continue;
            }
            match &candidate.record {
                Some(record) => {
                    records.insert(&*record_row(topic, id, candidate.offset), &**record)?;
                    copies += 1;
                }
                None => {
                    keys.remove(&*key)?;
                    removed += 1;
                }
            }
        }
    }
    match copies + removed {
        0 => transaction.abort()?,
        _ => transaction.commit()?,
    }
    Ok(copies)
}
