//! Taking a snapshot of an open store.

use rmq_protocol::message::LogPosition;

use super::format::{CHUNK_BYTES_MAX, Item, SnapshotHeader, chunk};
use crate::compacted::{KEYS_NAME, RECORDS_NAME};
use crate::log_reader::LogReader;
use crate::store::Store;
use crate::tables::{Look, RowsOf};

/// Why a snapshot cannot be taken, or ends early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// This store is being made from a snapshot itself.
    #[error(
        "this store is being copied itself: its log ends at {end}, and its tables are those at {position}"
    )]
    Incomplete {
        /// Where its log ends.
        end: u64,
        /// Where its tables are.
        position: u64,
    },
    /// The log cannot be copied from anywhere up to the position of the snapshot.
    #[error(
        "the log is damaged from {from} to {to}, in the segment that is written: repair it from another member, or try again when the next segment has begun"
    )]
    Damaged {
        /// The first damaged byte.
        from: u64,
        /// The byte after the last.
        to: u64,
    },
    /// It is not known any more which masters have written the log from where it begins.
    #[error(
        "the log has too many epochs to be copied from the beginning of a segment: try again when the next segment has begun"
    )]
    Epochs,
    /// The tables cannot be written up to what is visible, or read.
    #[error("a snapshot of the tables cannot be taken: {reason}")]
    Tables {
        /// What failed.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A snapshot that is being sent. The store goes on meanwhile; its tables file keeps what changes for as long as this lives.
pub struct Snapshot {
    store: Store,
    look: Look,
    header: SnapshotHeader,
    /// The table that rows are taken of, and the last row of it.
    table: usize,
    key: Option<Vec<u8>>,
    rows: u64,
    /// Items that are in no chunk yet.
    items: Vec<u8>,
    is_over: bool,
    next_chunk: u64,
}

impl Store {
    /// A snapshot of what is visible now. Its chunks are read one by one; each may wait for the disk. The caller sees to it that the log from
    /// the [header's](SnapshotHeader) positions on stays until it is copied
    /// ([`RetentionRound::needed_from`](crate::RetentionRound::needed_from)).
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        if let Some(position) = self.incomplete_below() {
            return Err(SnapshotError::Incomplete {
                end: self.positions().written,
                position: position.0,
            });
        }
        let log = self.log();
        let files = &log.files;
        let (look, segment) = loop {
            let look = self.while_open(|| log.dispatcher.look_at_tables());
            let look = look.ok_or(SnapshotError::Closed)?.map_err(failed)?;
            let segment = files.segment(look.applied_to);
            let segment = segment.map_or(look.applied_to, |segment| segment.base());
            // Whatever the other store takes of the log below, its tables have what compaction topics keep of that.
            if log.dispatcher.is_compacted_below(segment) {
                break (look, segment);
            }
            drop(look);
            let compacted = self.while_open(|| log.dispatcher.compact_below(segment));
            compacted.ok_or(SnapshotError::Closed)?.map_err(failed)?;
        };
        let position = look.applied_to;
        let oldest = LogReader::start(&**files);
        let mut begins = oldest.min(segment);
        for range in self.damage().iter().filter(|range| range.from < position) {
            // From the next segment on everything can be read.
            begins = begins.max(LogReader::segment_end(&**files, range.to.saturating_sub(1)));
            if begins > segment {
                return Err(SnapshotError::Damaged {
                    from: range.from,
                    to: range.to,
                });
            }
        }
        let epochs = self.epochs();
        if let Some(first) = epochs.first().filter(|first| first.first.0 > begins) {
            begins = LogReader::segment_end(&**files, first.first.0 - 1);
            if begins > segment {
                return Err(SnapshotError::Epochs);
            }
        }
        // Stores of versions that know no compaction topics take the others.
        let own = [KEYS_NAME, RECORDS_NAME].into_iter();
        let own = own.filter(|_| log.dispatcher.has_compacted());
        let own = own.map(|name| RowsOf::OnDisk(name.to_owned()));
        let tables = std::iter::once(RowsOf::Heads).chain(log.config.tables.iter().map(|table| {
            let name = table.name.to_owned();
            match table.is_on_disk() {
                true => RowsOf::OnDisk(name),
                false => RowsOf::InMemory(name),
            }
        }));
        let header = SnapshotHeader {
            position: LogPosition(position),
            begins: LogPosition(begins),
            segment: LogPosition(segment),
            segment_bytes: log.config.segment_bytes,
            epochs: epochs
                .into_iter()
                .filter(|epoch| epoch.first.0 <= position)
                .collect(),
            tables: tables.chain(own).collect(),
        };
        let mut items = Vec::new();
        Item::Header(header.clone()).write(&mut items);
        Ok(Snapshot {
            store: self.clone(),
            look,
            header,
            table: 0,
            key: None,
            rows: 0,
            items,
            is_over: false,
            next_chunk: 0,
        })
    }
}

impl Snapshot {
    /// What it is of.
    #[must_use]
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The next chunk, at most 257 KiB; `None`: there is no other.
    ///
    /// # Errors
    /// [`SnapshotError::Tables`]: the tables cannot be read; [`SnapshotError::Closed`].
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        while self.items.len() < CHUNK_BYTES_MAX && !self.is_over {
            self.more()?;
        }
        if self.items.is_empty() {
            return Ok(None);
        }
        let rest = self.items.split_off(self.items.len().min(CHUNK_BYTES_MAX));
        let content = std::mem::replace(&mut self.items, rest);
        let bytes = chunk(self.next_chunk, &content);
        self.next_chunk += 1;
        Ok(Some(bytes))
    }

    /// Adds items.
    fn more(&mut self) -> Result<(), SnapshotError> {
        let Some(table) = self.header.tables.get(self.table) else {
            Item::End(self.rows).write(&mut self.items);
            self.is_over = true;
            return Ok(());
        };
        let log = self.store.log();
        let (look, key) = (&self.look, self.key.as_deref());
        let rows = self
            .store
            .while_open(|| {
                log.dispatcher
                    .rows_behind(look, table, key, CHUNK_BYTES_MAX)
                    .map_err(failed)
            })
            .ok_or(SnapshotError::Closed)??;
        if self.key.is_none() && !rows.is_empty() {
            Item::Table(table.clone()).write(&mut self.items);
        }
        self.rows += rows.len() as u64;
        match rows.last() {
            Some((key, _)) => self.key = Some(key.clone()),
            None => {
                self.table += 1;
                self.key = None;
            }
        }
        for row in rows {
            Item::Row(row).write(&mut self.items);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("header", &self.header)
            .field("next_chunk", &self.next_chunk)
            .finish_non_exhaustive()
    }
}

fn failed(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Tables {
        reason: error.to_string(),
    }
}
