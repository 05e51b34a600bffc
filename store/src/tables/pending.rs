//! Changes that the tables on disk do not hold yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::settings::TableId;

/// Changes of one table on disk, in order.
pub(super) type Ordered = BTreeMap<Box<[u8]>, Option<Bytes>>;

/// Changes by key; the last one of a key counts.
#[derive(Clone, Default)]
pub(crate) struct Pending {
    /// Of tables in memory.
    pub(super) in_memory: HashMap<(TableId, Box<str>), Option<Bytes>, RandomState>,
    /// Of tables on disk, which are read in order.
    pub(super) on_disk: HashMap<TableId, Ordered, RandomState>,
    /// Queues that were deleted with their topic: what is kept of their messages below an offset goes.
    pub(super) deleted: BTreeMap<(Box<str>, i32), i64>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.in_memory.is_empty() && self.on_disk.is_empty() && self.deleted.is_empty()
    }

    pub(crate) fn put(&mut self, table: TableId, key: &str, value: Option<&[u8]>) {
        let value = value.map(Bytes::copy_from_slice);
        self.in_memory.insert((table, key.into()), value);
    }

    pub(crate) fn put_on_disk(&mut self, table: TableId, key: &[u8], value: Option<&[u8]>) {
        let value = value.map(Bytes::copy_from_slice);
        let rows = self.on_disk.entry(table).or_default();
        rows.insert(key.into(), value);
    }

    /// As [`put_on_disk`](Self::put_on_disk), where the largest value counts.
    pub(crate) fn put_newest(&mut self, table: TableId, key: &[u8], value: &[u8]) {
        let rows = self.on_disk.entry(table).or_default();
        let known = rows.get(key).and_then(Option::as_ref);
        if known.is_none_or(|known| **known < *value) {
            rows.insert(key.into(), Some(Bytes::copy_from_slice(value)));
        }
    }

    /// A queue was deleted with its topic: its messages below an offset.
    pub(crate) fn delete_below(&mut self, topic: &str, queue_id: i32, offset: i64) {
        let below = self.deleted.entry((topic.into(), queue_id)).or_default();
        *below = (*below).max(offset);
    }

    /// Takes what came before this back; what came later counts.
    pub(crate) fn put_before(&mut self, earlier: Self) {
        for (key, value) in earlier.in_memory {
            self.in_memory.entry(key).or_insert(value);
        }
        for (table, rows) in earlier.on_disk {
            let later = self.on_disk.entry(table).or_default();
            for (key, value) in rows {
                later.entry(key).or_insert(value);
            }
        }
        for ((topic, queue_id), offset) in earlier.deleted {
            self.delete_below(&topic, queue_id, offset);
        }
    }

    /// Changes of a table on disk, from a key on and below another one, in order.
    pub(crate) fn range(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = (&[u8], Option<&Bytes>)> {
        let bounds = (
            Bound::Included(from),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        // A range that ends before it begins is empty.
        let is_empty = to.is_some_and(|to| to <= from);
        let rows = self.on_disk.get(&table).filter(|_| !is_empty);
        rows.into_iter()
            .flat_map(move |rows| rows.range::<[u8], _>(bounds))
            .map(|(key, value)| (&**key, value.as_ref()))
    }
}
