//! Tables: named sets of keys and values that live in the log. The owner of a store declares its tables when it opens the store; the
//! store knows their numbers, and nothing of their meaning.

use std::fmt;
use std::sync::Arc;

use rmq_protocol::message::LogPosition;

use super::feed::{FedRecord, FedRows, Feed};
use super::table_id::TableId;
use super::values::Values;
use crate::error::ReadError;
use crate::queue::QueueRef;

/// The store's own table: the head of each queue. A change of this table in a settings record deletes the queues of the topic that is its key.
pub(crate) const QUEUE_HEADS: TableId = TableId::new(5);
/// Numbers of tables that belong to the store: heads of queues, and what is kept of compaction topics.
const OWN_NUMBERS: [u8; 4] = [0, 5, 11, 12];
/// Names of tables on disk that belong to the store.
const OWN_NAMES: [&str; 4] = ["meta", "queue_heads", "compacted_keys", "compacted_records"];

/// One table, as the owner of a store declares it.
#[derive(Clone)]
pub struct Table {
    pub(crate) id: TableId,
    pub(crate) name: &'static str,
    pub(crate) kind: TableKind,
    pub(crate) is_progress: bool,
    feed: Option<Arc<dyn Feed>>,
}

/// How the current values of a table are held.
#[derive(Clone)]
pub(crate) enum TableKind {
    Values,
    Applied(Arc<dyn Apply>),
    OnDisk,
}

impl Table {
    /// A table whose values the store holds in memory as bytes. For few and small values; see [`Store::value`](crate::Store::value).
    #[must_use]
    pub const fn values(id: TableId, name: &'static str) -> Self {
        Self::new(id, name, TableKind::Values)
    }

    /// A table that its owner holds in memory. The store holds no second copy: `apply` is told every row when the store opens, and then
    /// every change in log order.
    #[must_use]
    pub fn applied(id: TableId, name: &'static str, apply: Arc<dyn Apply>) -> Self {
        Self::new(id, name, TableKind::Applied(apply))
    }

    /// A table that is held on disk, ordered by the bytes of its keys, for any number of rows; see
    /// [`Store::rows`](crate::Store::rows).
    #[must_use]
    pub const fn on_disk(id: TableId, name: &'static str) -> Self {
        Self::new(id, name, TableKind::OnDisk)
    }

    const fn new(id: TableId, name: &'static str, kind: TableKind) -> Self {
        Self {
            id,
            name,
            kind,
            is_progress: false,
            feed: None,
        }
    }

    /// Messages set and remove rows of this table by being in the log: what follows from a message counts together with the message, or
    /// not at all.
    #[must_use]
    pub fn fed_by(mut self, feed: Arc<dyn Feed>) -> Self {
        self.feed = Some(feed);
        self
    }

    /// The table holds progress, which changes all the time and is kept on a full disk too.
    #[must_use]
    pub fn progress(mut self) -> Self {
        self.is_progress = true;
        self
    }

    /// Whether it is held in no memory.
    pub(crate) fn is_on_disk(&self) -> bool {
        matches!(self.kind, TableKind::OnDisk)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.id)
    }
}

/// A table in memory that follows the log.
pub trait Apply: Send + Sync {
    /// One change. Changes come in log order, one at a time: first the rows of the tables on disk, then the log behind them, both
    /// while the store opens, then each record when it is confirmed, own and copied ones alike. A change is applied before its writer is told that it is
    /// acknowledged.
    ///
    /// It is called in the path of the append: it does no I/O, and takes no lock that is held anywhere while something is
    /// appended, written or waited for.
    ///
    /// # Errors
    /// The table cannot follow the log: the store does not open, or takes no writes from now on.
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError>;
}

/// Looks a queue up, and makes it when it never was.
pub(crate) type QueueLookUp<'a> = dyn Fn(&str, i32) -> Result<QueueRef, ReadError> + 'a;

/// A change on its way into a table.
pub struct Applied<'a> {
    /// The key.
    pub key: &'a str,
    /// The value; `None`: the key is removed.
    pub value: Option<&'a [u8]>,
    /// Log position after the record of the change. Of a row of the tables on disk: up to where they hold the log.
    pub end: LogPosition,
    /// When the record was stored, Unix milliseconds; 0 of a row of the tables on disk.
    pub store_ms: i64,
    queues: Option<&'a QueueLookUp<'a>>,
}

impl<'a> Applied<'a> {
    /// A change of a store that is being opened.
    #[must_use]
    pub fn new(key: &'a str, value: Option<&'a [u8]>, end: LogPosition) -> Self {
        Self {
            key,
            value,
            end,
            store_ms: 0,
            queues: None,
        }
    }

    pub(crate) fn at(mut self, store_ms: i64, queues: Option<&'a QueueLookUp<'a>>) -> Self {
        (self.store_ms, self.queues) = (store_ms, queues);
        self
    }

    /// Whether the store is open, so that queues can be looked up. Before, their ends are not known.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.queues.is_some()
    }

    /// A queue, made when it never was. `None` while the store opens: look the queue up when the store is open. A queue that was
    /// looked up before its record was appended is in memory, and no disk is asked.
    ///
    /// # Errors
    /// The queue is not in memory, and the disk does not say whether it ever was.
    #[must_use]
    pub fn queue(&self, topic: &str, queue_id: i32) -> Option<Result<QueueRef, ReadError>> {
        self.queues.map(|look_up| look_up(topic, queue_id))
    }
}

impl fmt::Debug for Applied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Applied")
            .field("key", &self.key)
            .field("bytes", &self.value.map(<[u8]>::len))
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// The tables of one open store.
#[derive(Default)]
pub(crate) struct Declared {
    /// Few: found one after the other.
    tables: Vec<(Table, Values)>,
}

impl Declared {
    pub(crate) fn new(tables: &[Table]) -> Self {
        Self {
            tables: tables
                .iter()
                .map(|table| (table.clone(), Values::default()))
                .collect(),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().map(|(table, _)| table)
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&Table> {
        self.find(id).map(|(table, _)| table)
    }

    fn find(&self, id: TableId) -> Option<&(Table, Values)> {
        self.tables.iter().find(|(table, _)| table.id == id)
    }

    /// The values of a table that the store holds in memory.
    pub(crate) fn values(&self, id: TableId) -> Option<&Values> {
        let (table, values) = self.find(id)?;
        matches!(table.kind, TableKind::Values).then_some(values)
    }

    /// The rows that a record sets or removes.
    #[inline]
    pub(crate) fn fed_by(&self, record: &FedRecord<'_>) -> FedRows {
        let mut rows = Vec::new();
        for feed in self
            .tables
            .iter()
            .filter_map(|(table, _)| table.feed.as_ref())
        {
            feed.rows(record, &mut rows);
        }
        (!rows.is_empty()).then(|| rows.into_boxed_slice())
    }

    /// Whether messages set and remove rows of a table in memory.
    pub(crate) fn is_fed_in_memory(&self, id: TableId) -> bool {
        self.get(id)
            .is_some_and(|table| table.feed.is_some() && !table.is_on_disk())
    }

    /// Tells who feeds a table on disk of a change.
    pub(crate) fn changed(&self, id: TableId, key: &[u8], is_set: bool) {
        if let Some(feed) = self.get(id).and_then(|table| table.feed.as_ref()) {
            feed.changed(key, is_set);
        }
    }

    /// Applies a change to a table in memory.
    pub(crate) fn apply(&self, id: TableId, change: &Applied<'_>) -> Result<(), ReadError> {
        match self.find(id) {
            Some((table, values)) => match &table.kind {
                TableKind::Values => {
                    values.apply(change.key, change.value);
                    Ok(())
                }
                TableKind::Applied(apply) => apply.apply(change),
                TableKind::OnDisk => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// What is wrong with a set of tables.
pub(crate) fn problems(tables: &[Table]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let earlier = tables.get(..index).unwrap_or_default();
        if OWN_NUMBERS.contains(&table.id.number()) || OWN_NAMES.contains(&table.name) {
            problems.push(format!(
                "table {table:?} has a number or name that is the store's own"
            ));
        }
        if let Some(other) = earlier
            .iter()
            .find(|other| other.id == table.id || other.name == table.name)
        {
            problems.push(format!(
                "tables {other:?} and {table:?} have one number or name"
            ));
        }
    }
    problems
}
