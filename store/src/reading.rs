//! What an open store gives to readers: queues, messages, tables, and its log to replicas.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use rmq_protocol::message::{LogPosition, QueueOffset};

use crate::commit_log::LogPiece;
use crate::derived::by_time::Boundary;
use crate::error::ReadError;
use crate::further::LIGHT_QUEUE_ID;
use crate::index::keys::KeyKind;
use crate::queue::QueueRef;
use crate::read::{self, EntryFilter, ReadLimits, ReadOutcome, RecordSlice, Temperature};
use crate::settings::{Row, TableId, Values};
use crate::store::Store;

impl Store {
    /// The queue, created when it never was. Look it up once and keep it.
    ///
    /// # Errors
    /// [`ReadError::Queues`]: it is not in memory, and the disk does not say whether it ever was.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Result<QueueRef, ReadError> {
        self.log().dispatcher.queue(topic, queue_id)
    }

    /// The queue, if it ever was.
    ///
    /// # Errors
    /// As [`Store::queue`].
    pub fn find_queue(&self, topic: &str, queue_id: i32) -> Result<Option<QueueRef>, ReadError> {
        self.log().dispatcher.find_queue(topic, queue_id)
    }

    /// How many light queues (`%LMQ%…`) there are: those that have messages, and those that somebody holds. The others are forgotten when a segment of
    /// the log has been removed.
    #[must_use]
    pub fn light_queues(&self) -> usize {
        self.log().dispatcher.light_queues()
    }

    /// A light queue that there is not: empty, at the offset at which it begins when it gets a message.
    #[must_use]
    pub fn light_queue_to_come(&self, name: &str) -> QueueRef {
        let begin = self.log().dispatcher.light_begin();
        QueueRef::nowhere(name, LIGHT_QUEUE_ID, begin)
    }

    /// Every queue of a topic that ever was, sorted by id.
    ///
    /// # Errors
    /// As [`Store::queue`].
    pub fn queues_of(&self, topic: &str) -> Result<Vec<QueueRef>, ReadError> {
        self.log().dispatcher.queues_of(topic)
    }

    /// Reads messages of a queue from offset `from` on.
    #[must_use]
    pub fn read(
        &self,
        queue: &QueueRef,
        from: QueueOffset,
        limits: ReadLimits,
        filter: &dyn EntryFilter,
        temperature: Temperature,
    ) -> ReadOutcome {
        read::read(self.log(), queue, from.0, limits, filter, temperature)
    }

    /// The record that begins at `position`. Its place and checksum are checked. May wait for the disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn record_at(&self, position: LogPosition) -> Result<RecordSlice, ReadError> {
        let end = self.log().files.positions.confirmed.load(Ordering::Acquire);
        if position.0 >= end {
            return Err(ReadError::BeyondEnd {
                position: position.0,
                end,
            });
        }
        self.log()
            .files
            .intact_record(position.0)
            .map(RecordSlice::new)
    }

    /// Messages with a key, newest first, stored between `from_ms` and `to_ms`, at most `max`. Each is read when it is asked for. May
    /// wait for the disk.
    pub fn find_by_key<'a>(
        &'a self,
        topic: &str,
        key: &str,
        kind: KeyKind,
        max: usize,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = RecordSlice> + use<'a> {
        let positions = self
            .log()
            .dispatcher
            .find_by_key(topic, key, kind, max, from_ms, to_ms);
        positions
            .into_iter()
            .filter_map(move |position| self.log().files.intact_record(position).ok())
            .map(RecordSlice::new)
    }

    /// The offset of a queue at a store time, as upstream's search by timestamp. May wait for the disk.
    ///
    /// # Errors
    /// [`ReadError::NoRecord`] while a damaged part of the index is being rebuilt.
    pub fn offset_by_time(
        &self,
        queue: &QueueRef,
        ms: i64,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        self.log()
            .dispatcher
            .offset_by_time(queue, ms, boundary)
            .map(QueueOffset)
            .map_err(|error| ReadError::NoRecord {
                position: self.positions().min,
                reason: error.to_string(),
            })
    }

    /// Store time of the oldest message of a queue, Unix milliseconds. May wait for the disk.
    #[must_use]
    pub fn earliest_store_time(&self, queue: &QueueRef) -> Option<i64> {
        self.log().dispatcher.earliest_store_time(queue)
    }

    /// The value of a key in a table of [values](crate::Table::values), as of what is visible.
    #[must_use]
    pub fn value(&self, table: TableId, key: &str) -> Option<Bytes> {
        self.log().dispatcher.declared().values(table)?.get(key)
    }

    /// Every key and value of a table of [values](crate::Table::values), sorted by key, as of what is visible.
    #[must_use]
    pub fn values(&self, table: TableId) -> Vec<(String, Bytes)> {
        let values = self.log().dispatcher.declared().values(table);
        values.map(Values::scan).unwrap_or_default()
    }

    /// At most `max` rows of a table [on disk](crate::Table::on_disk), in order, from a key on and below another one (`None`: to the end), as
    /// of one log position. May wait for the disk. To continue: the last key and one byte 0 more.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn rows(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<Row>, ReadError> {
        let dispatcher = &self.log().dispatcher;
        match dispatcher.declared().get(table) {
            Some(table) if table.is_on_disk() => dispatcher.rows(table, from, to, max),
            _ => Ok(Vec::new()),
        }
    }

    /// What was written from `from` on, for a replica: whole records of at most `bytes_max` bytes, or one that is larger, as they lie in the log.
    /// `None` at the end of the log. May wait for the disk.
    ///
    /// # Errors
    /// See [`ReadError`]: nothing begins at `from`, or it cannot be read.
    pub fn log_piece(
        &self,
        from: LogPosition,
        bytes_max: usize,
    ) -> Result<Option<LogPiece>, ReadError> {
        self.log_piece_in(from, bytes_max, Vec::new())
    }

    /// As [`log_piece`](Self::log_piece), with the bytes in a buffer of a piece before: a new one costs as much as the read. What it has is of no
    /// use any more.
    ///
    /// # Errors
    /// As [`log_piece`](Self::log_piece). The buffer is gone then.
    pub fn log_piece_in(
        &self,
        from: LogPosition,
        bytes_max: usize,
        buffer: Vec<u8>,
    ) -> Result<Option<LogPiece>, ReadError> {
        self.log().files.piece(from.0, bytes_max, buffer)
    }

    /// As [`log_piece`](Self::log_piece), of what is confirmed below `end`, for a copy that is kept elsewhere: what the disk gave for it is not kept
    /// in memory, where it would take the place of what consumers read.
    ///
    /// # Errors
    /// As [`log_piece`](Self::log_piece).
    pub fn log_piece_aside(
        &self,
        end: LogPosition,
        from: LogPosition,
        bytes_max: usize,
    ) -> Result<Option<LogPiece>, ReadError> {
        let files = &self.log().files;
        let confirmed = files.positions.confirmed.load(Ordering::Acquire);
        files.piece_aside(end.0.min(confirmed), from.0, bytes_max)
    }
}
