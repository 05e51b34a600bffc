//! Reading the tables: all rows of tables in memory at the start, rows of tables on disk, heads of queues.

use std::ops::Bound;
use std::sync::atomic::Ordering;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use rmq_protocol::message::LogPosition;
use rmq_protocol::names::LMQ_PREFIX;

use super::backend::guarded;
use super::error::TablesError;
use super::file::Tables;
use super::rows::{
    HEADS, LightHeads, decode_head, existing, head_key, in_memory, light_begin_key, on_disk,
};
use crate::error::ReadError;
use crate::further::LIGHT_QUEUE_ID;
use crate::queue::QueueHead;
use crate::settings::Applied;

impl Tables {
    /// Shows each row to the tables in memory.
    pub(crate) fn load(&self) -> Result<(), TablesError> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else {
            return Ok(());
        };
        let end = LogPosition(self.applied_to());
        let mut refused = Ok(());
        let load = || -> Result<(), redb::Error> {
            let read = database.begin_read()?;
            for table in self.declared.all().filter(|table| !table.is_on_disk()) {
                let Some(rows) = existing(read.open_table(in_memory(table.name)))? else {
                    continue;
                };
                for row in rows.iter()? {
                    let (key, value) = row?;
                    let row = Applied::new(key.value(), Some(value.value()), end);
                    if let Err(error) = self.declared.apply(table.id, &row) {
                        refused = Err(error.to_string());
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        guarded(load)
            .and(refused)
            .map_err(|error| self.failed("reading", error))
    }

    /// A look at the rows of a table on disk as they are now; `None`: the file was never written.
    pub(crate) fn begin(&self, name: &str) -> Result<Option<ReadTransaction>, ReadError> {
        self.look(name, |database| Ok(Some(database.begin_read()?)))
    }

    /// Shows rows of a table on disk in order, from a key on and below another one, until `visit` says no.
    pub(crate) fn visit(
        &self,
        read: &ReadTransaction,
        name: &str,
        from: &[u8],
        to: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), ReadError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        self.look(name, |_| {
            let Some(rows) = existing(read.open_table(on_disk(name)))? else {
                return Ok(());
            };
            let to = to.map_or(Bound::Unbounded, Bound::Excluded);
            for row in rows.range::<&[u8]>((Bound::Included(from), to))? {
                let (key, value) = row?;
                if !visit(key.value(), value.value()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn look<T: Default>(
        &self,
        name: &str,
        look_up: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, ReadError> {
        self.read(look_up).map_err(|error| ReadError::Table {
            table: name.to_owned(),
            reason: error.to_string(),
        })
    }

    /// The head of a queue.
    pub(crate) fn head(&self, topic: &str, queue_id: i32) -> Result<Option<QueueHead>, ReadError> {
        self.of_queues(topic, |database| {
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(None);
            };
            let found = heads.get(&*head_key(topic, queue_id))?;
            Ok(found.and_then(|value| decode_head(value.value())))
        })
    }

    /// The heads of every queue of a topic, by id.
    pub(crate) fn heads_of(&self, topic: &str) -> Result<Vec<(i32, QueueHead)>, ReadError> {
        self.of_queues(topic, |database| {
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(Vec::new());
            };
            let (from, to) = (head_key(topic, i32::MIN), head_key(topic, i32::MAX));
            let mut found = Vec::new();
            for row in heads.range(&*from..=&*to)? {
                let (key, value) = row?;
                let (key, value) = (key.value(), decode_head(value.value()));
                if let (Some(id), Some(head)) = (key.last_chunk::<4>(), value) {
                    found.push(((u32::from_be_bytes(*id) ^ (1 << 31)) as i32, head));
                }
            }
            Ok(found)
        })
    }

    /// What the heads say of light queues.
    pub(crate) fn light_heads(&self) -> Result<LightHeads, TablesError> {
        let database = self.database.read();
        let Some(database) = database.as_ref() else {
            return Ok(LightHeads::default());
        };
        let look = || -> Result<LightHeads, redb::Error> {
            let mut light = LightHeads::default();
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(light);
            };
            let begin = light_begin_key();
            for row in heads.range(LMQ_PREFIX.as_bytes()..)? {
                let (key, value) = row?;
                if !key.value().starts_with(LMQ_PREFIX.as_bytes()) {
                    break;
                }
                if key.value() == begin {
                    light.begin = decode_head(value.value()).map_or(0, |head| head.next);
                } else {
                    light.count += 1;
                }
            }
            Ok(light)
        };
        guarded(look).map_err(|error| self.failed("reading", error))
    }

    /// Heads of light queues in order of their topics, at most `max` that follow a topic.
    pub(crate) fn light_heads_behind(
        &self,
        topic: Option<&str>,
        max: usize,
    ) -> Result<Vec<(Box<str>, QueueHead)>, TablesError> {
        self.read(|database| {
            let mut found = Vec::new();
            let Some(heads) = existing(database.begin_read()?.open_table(HEADS))? else {
                return Ok(found);
            };
            let from = match topic {
                Some(topic) => head_key(topic, LIGHT_QUEUE_ID),
                None => light_begin_key(),
            };
            let after = (Bound::Excluded(&*from), Bound::Unbounded);
            for row in heads.range::<&[u8]>(after)? {
                let (key, value) = row?;
                let key = key.value();
                if found.len() == max || !key.starts_with(LMQ_PREFIX.as_bytes()) {
                    break;
                }
                let topic = key.split_last_chunk::<5>().map(|(topic, _)| topic);
                let topic = topic.and_then(|topic| std::str::from_utf8(topic).ok());
                if let (Some(topic), Some(head)) = (topic, decode_head(value.value())) {
                    found.push((topic.into(), head));
                }
            }
            Ok(found)
        })
    }

    fn of_queues<T: Default>(
        &self,
        topic: &str,
        look_up: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, ReadError> {
        self.read(look_up).map_err(|error| ReadError::Queues {
            topic: topic.to_owned(),
            reason: error.to_string(),
        })
    }

    pub(super) fn read<T: Default>(
        &self,
        look_up: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, TablesError> {
        if !self.complete.load(Ordering::Acquire) {
            // Nothing was written to them so far.
            return Ok(T::default());
        }
        // A failure may have closed them.
        self.reopen()?;
        let outcome = {
            let database = self.database.read();
            match database.as_ref() {
                Some(database) => guarded(|| look_up(database)),
                None => Err("they were closed after a failure a moment ago".to_owned()),
            }
        };
        outcome.map_err(|problem| {
            let error = self.fails("reading", problem);
            self.put_down();
            error
        })
    }
}
