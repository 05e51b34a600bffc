//! The rows of the tables, and the transactions that read and write them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};
use rmq_protocol::names::LMQ_PREFIX;

use super::backend::Backend;
use super::compacted;
use super::pending::Pending;
use crate::compacted::COMPACTED_KEYS;
use crate::disk_error::{Effect, meaning};
use crate::further::LIGHT_QUEUE_ID;
use crate::queue::{QueueHead, QueueRef};
use crate::settings::Declared;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const HEADS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("queue_heads");
/// The format of the file.
pub(super) const FORMAT: u64 = 1;
/// redb's cache. Reads of settings come from memory, and heads are read once, so little is enough.
const CACHE_BYTES: usize = 4 << 20;
const HEAD_BYTES: usize = 24;

#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("damaged ({0})")]
    Damaged(String),
    #[error("not finished")]
    Unfinished,
    #[error("format {0}")]
    Format(u64),
    /// The file cannot be opened now, which says nothing about what is in it.
    #[error("{problem}")]
    Disk { problem: String, is_final: bool },
}

pub(super) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens a database and walks every page of it once.
pub(super) fn check(backend: Backend) -> Result<(Database, u64), LoadError> {
    let damaged = |error: &dyn std::fmt::Display| LoadError::Damaged(error.to_string());
    let empty = backend.len().map_err(|error| LoadError::Disk {
        problem: error.to_string(),
        is_final: meaning(&error).effect == Effect::ReadOnly,
    })? == 0;
    if empty {
        return Err(LoadError::Damaged("empty".to_owned()));
    }
    let repaired = Arc::new(AtomicBool::new(false));
    let mut builder = builder();
    let seen = Arc::clone(&repaired);
    builder.set_repair_callback(move |_| seen.store(true, Ordering::Relaxed));
    let mut database = builder
        .create_with_backend(backend)
        .map_err(|error| damaged(&error))?;
    // A repair, after a crash, has already checked every page.
    if !repaired.load(Ordering::Relaxed) {
        database
            .check_integrity()
            .map_err(|error| damaged(&error))?;
    }
    let meta = || -> Result<(Option<u64>, Option<u64>), redb::Error> {
        let Some(meta) = existing(database.begin_read()?.open_table(META))? else {
            return Ok((None, None));
        };
        let value = |key: &str| meta.get(key).map(|found| found.map(|value| value.value()));
        Ok((value("format")?, value("applied_to")?))
    };
    match meta().map_err(|error| damaged(&error))? {
        (Some(FORMAT), Some(applied_to)) => Ok((database, applied_to)),
        (None, None) => Err(LoadError::Unfinished),
        (Some(FORMAT) | None, _) => {
            Err(LoadError::Damaged("without their log position".to_owned()))
        }
        (Some(found), _) => Err(LoadError::Format(found)),
    }
}

pub(super) fn write(
    database: &Database,
    declared: &Declared,
    changes: &Pending,
    heads: &[(&QueueRef, QueueHead)],
    applied_to: u64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let name = |id| declared.get(id).map(|table| table.name);
        let mut sorted: Vec<_> = changes.in_memory.iter().collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        for group in sorted.chunk_by(|a, b| a.0.0 == b.0.0) {
            let Some(name) = group.first().and_then(|((table, _), _)| name(*table)) else {
                continue;
            };
            let mut rows = transaction.open_table(in_memory(name))?;
            for ((_, key), value) in group {
                match value {
                    Some(value) => drop(rows.insert(&**key, &**value)?),
                    None => drop(rows.remove(&**key)?),
                }
            }
        }
        for (table, changed) in &changes.on_disk {
            if *table == COMPACTED_KEYS {
                compacted::write_keys(&transaction, changed)?;
                continue;
            }
            let Some(name) = name(*table) else {
                continue;
            };
            let mut rows = transaction.open_table(on_disk(name))?;
            for (key, value) in changed {
                match value {
                    Some(value) => drop(rows.insert(&**key, &**value)?),
                    None => drop(rows.remove(&**key)?),
                }
            }
        }
        compacted::remove_deleted(&transaction, &changes.deleted)?;
        let mut sorted: Vec<_> = heads
            .iter()
            .map(|(queue, head)| (head_key(queue.topic(), queue.queue_id()), head))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut rows = transaction.open_table(HEADS)?;
        for (key, head) in sorted {
            rows.insert(&*key, &encode_head(head)[..])?;
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("applied_to", applied_to)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What the heads say of light queues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LightHeads {
    /// Light queues with a head.
    pub(crate) count: usize,
    /// Where a light queue begins that has none.
    pub(crate) begin: i64,
}

/// The key of the head that says where a light queue begins that has none. No light queue has the prefix alone as its name.
pub(super) fn light_begin_key() -> Vec<u8> {
    head_key(LMQ_PREFIX, LIGHT_QUEUE_ID)
}

/// Removes the heads of light queues, and says where such a queue begins from now on.
pub(super) fn forget_light(
    database: &Database,
    topics: &[Box<str>],
    begin: i64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut heads = transaction.open_table(HEADS)?;
        for topic in topics {
            heads.remove(&*head_key(topic, LIGHT_QUEUE_ID))?;
        }
        let head = QueueHead {
            next: begin,
            floor: begin,
            last: 0,
        };
        heads.insert(&*light_begin_key(), &encode_head(&head)[..])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Rows of a table in memory.
pub(super) fn in_memory(name: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(name)
}

/// Rows of a table on disk, ordered by the bytes of their keys.
pub(super) fn on_disk(name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(name)
}

/// A table that was never written does not exist.
pub(super) fn existing<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn head_key(topic: &str, queue_id: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(topic.len() + 5);
    key.extend_from_slice(topic.as_bytes());
    key.push(0);
    key.extend_from_slice(&((queue_id as u32) ^ (1 << 31)).to_be_bytes());
    key
}

pub(super) fn encode_head(head: &QueueHead) -> [u8; HEAD_BYTES] {
    let mut bytes = [0; HEAD_BYTES];
    bytes[..8].copy_from_slice(&head.next.to_le_bytes());
    bytes[8..16].copy_from_slice(&head.floor.to_le_bytes());
    bytes[16..].copy_from_slice(&head.last.to_le_bytes());
    bytes
}

pub(super) fn decode_head(bytes: &[u8]) -> Option<QueueHead> {
    let (words, rest) = bytes.as_chunks::<8>();
    let [next, floor, last] = words else {
        return None;
    };
    rest.is_empty().then(|| QueueHead {
        next: i64::from_le_bytes(*next),
        floor: i64::from_le_bytes(*floor),
        last: u64::from_le_bytes(*last),
    })
}
