//! What the tables file has of compaction topics ([`crate::compacted`]).

use std::sync::atomic::Ordering;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::backend::guarded;
use super::compacted::{Candidate, InUse, KEYS, RECORDS, end_of, keep};
use super::error::TablesError;
use super::file::Tables;
use super::rows::existing;
use crate::compacted::{RECORDS_NAME, of_queue, offset_of, queue_of, record_row};
use crate::error::ReadError;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl Tables {
    /// Looks which of the tables have rows.
    pub(super) fn find_compacted(&self, database: &Database) -> Result<(), redb::Error> {
        let read = database.begin_read()?;
        let has_rows = |opened: Result<Rows, redb::TableError>| -> Result<bool, redb::Error> {
            Ok(match existing(opened)? {
                Some(rows) => !rows.is_empty()?,
                None => false,
            })
        };
        let InUse {
            keys: by_key,
            records: copies,
        } = &self.compacted;
        by_key.store(has_rows(read.open_table(KEYS))?, Ordering::Release);
        copies.store(has_rows(read.open_table(RECORDS))?, Ordering::Release);
        Ok(())
    }

    /// Rows of `compacted_keys` were written.
    pub(super) fn note_compacted(&self) {
        self.compacted.keys.store(true, Ordering::Release);
    }

    /// Whether there are, or were, messages of compaction topics.
    pub(crate) fn has_compacted(&self) -> bool {
        self.compacted.keys.load(Ordering::Acquire)
            || self.compacted.records.load(Ordering::Acquire)
    }

    /// The queues that have newest messages of keys.
    pub(crate) fn compacted_queues(&self) -> Result<Vec<(String, i32)>, TablesError> {
        self.read(|database| {
            let mut found = Vec::new();
            let Some(keys) = existing(database.begin_read()?.open_table(KEYS))? else {
                return Ok(found);
            };
            let mut from = Vec::new();
            while let Some(row) = keys.range::<&[u8]>(&*from..)?.next() {
                let (key, _) = row?;
                match queue_of(key.value()) {
                    Some((topic, id, _)) => {
                        from = end_of(&of_queue(topic, id));
                        found.push((topic.to_owned(), id));
                    }
                    // Never written; the next key is looked at.
                    None => from = [key.value(), &[0]].concat(),
                }
            }
            Ok(found)
        })
    }

    /// Copies those of the records that are still the newest of their keys, durably. The rows of those without a body go.
    pub(crate) fn keep(&self, candidates: &[Candidate]) -> Result<(), TablesError> {
        self.health
            .check_writable()
            .map_err(|error| self.failed("writing", error))?;
        self.reopen()?;
        let outcome = {
            let database = self.database.read();
            match database.as_ref() {
                Some(database) => guarded(|| keep(database, candidates)),
                None => Err("the file is not open".to_owned()),
            }
        };
        match outcome {
            Ok(copies) => {
                if copies > 0 {
                    self.compacted.records.store(true, Ordering::Release);
                }
                Ok(())
            }
            Err(problem) => {
                let error = self.fails("writing", problem);
                self.put_down();
                Err(error)
            }
        }
    }

    /// The offset of the first copy of a queue in a range of offsets.
    pub(crate) fn first_copy(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        to: i64,
    ) -> Result<Option<i64>, ReadError> {
        let mut first = None;
        self.copies(topic, queue_id, from, to, &mut |offset, _| {
            first = Some(offset);
            false
        })?;
        Ok(first)
    }

    /// Shows the copies of a queue in a range of offsets, in order, until `visit` says no.
    pub(crate) fn copies(
        &self,
        topic: &str,
        queue_id: i32,
        from: i64,
        to: i64,
        visit: &mut dyn FnMut(i64, &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        if !self.compacted.records.load(Ordering::Acquire) {
            return Ok(());
        }
        let Some(read) = self.begin(RECORDS_NAME)? else {
            return Ok(());
        };
        let from = record_row(topic, queue_id, from.max(0));
        let to = record_row(topic, queue_id, to.max(0));
        self.visit(&read, RECORDS_NAME, &from, Some(&to), &mut |key, record| {
            offset_of(key).is_none_or(|offset| visit(offset, record))
        })
    }
}
