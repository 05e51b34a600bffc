//! How far groups have consumed: in memory, written to the log at most once a second while something changes, and at the end. What an
//! administrator changes is written before the answer.
//!
//! A replica keeps what consumers tell it until the log of its master says it, and passes it on to the master (`group/pass.rs`): only
//! forward. One that becomes the master stores what it kept.
//!
//! A commit is taken only while there is room to store what waits to be stored with it. A full disk keeps room for that (see
//! [`rmq_store::Settings::check_progress`]); where this is used up, the commit is refused as a message is.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_protocol::message::LogPosition;
use rmq_store::{AppendError, Change, SettingsError};
use tokio::sync::Notify;

use crate::data::Data;
use crate::tables::offsets::{self, Key, OffsetTable, Offsets, Progress, key};

/// Offsets of all groups.
pub(crate) struct ConsumerOffsets {
    store: Data,
    table: Arc<OffsetTable>,
    /// What is put into the log is put by one at a time, so that the newest value is the last there.
    saving: Mutex<()>,
    /// Something is to be saved soon.
    changed: Notify,
    /// A replica has offsets for its master.
    told: Notify,
}

/// Where what was appended ends in the log; nothing was when there was nothing to change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removed {
    /// Where the record of the first change ends.
    pub(crate) first_end: Option<LogPosition>,
    /// Where everything ends.
    pub(crate) end: Option<LogPosition>,
}

/// How an offset is noted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Note {
    /// As a consumer says; refused where it cannot be stored.
    Commit,
    /// Nobody hears a refusal.
    Anyway,
    /// As a replica says: only forward.
    Raise,
}

impl ConsumerOffsets {
    /// The offsets of a store that was opened with `table`.
    pub(crate) fn new(store: &Data, table: Arc<OffsetTable>) -> Self {
        table.lock().copies = store.master().is_err();
        Self {
            store: store.clone(),
            table,
            saving: Mutex::new(()),
            changed: Notify::new(),
            told: Notify::new(),
        }
    }

    /// The broker is the master from now on, and stores what consumers told it as a replica.
    pub(crate) fn lead(&self) {
        self.table.lock().lead();
        self.changed.notify_one();
    }

    /// Remembers that `group` continues at `offset`. Ignored while a reset of this queue is pending.
    ///
    /// # Errors
    /// It could not be stored: nothing is changed.
    pub(crate) fn commit(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), AppendError> {
        self.note(topic, group, queue_id, offset, Note::Commit)
    }

    /// As [`commit`](Self::commit), unless the group continues behind `offset` already: what a replica was told.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub(crate) fn raise(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        offset: i64,
    ) -> Result<(), AppendError> {
        self.note(topic, group, queue_id, offset, Note::Raise)
    }

    /// Waits until there are offsets for the master. The result has at most so many of them.
    pub(crate) async fn to_pass(&self, max: usize) -> BTreeMap<String, Offsets> {
        loop {
            let told = self.told.notified();
            let table = self.table.lock().to_pass(max);
            if !table.is_empty() {
                return table;
            }
            told.await;
        }
    }

    /// The master has been told these.
    pub(crate) fn passed(&self, table: &BTreeMap<String, Offsets>) {
        self.table.lock().passed(table);
    }

    /// Another master, or another life of the same, has been told nothing.
    pub(crate) fn pass_again(&self) {
        self.table.lock().pass_again();
    }

    /// As [`commit`](Self::commit), for one that cannot be refused: where it cannot be stored it counts until the broker stops, and the
    /// log of the process says so once.
    pub(crate) fn commit_anyway(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        // Remembered in either case.
        let _ = self.note(topic, group, queue_id, offset, Note::Anyway);
    }

    fn note(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        offset: i64,
        how: Note,
    ) -> Result<(), AppendError> {
        let key = key(topic, group);
        let mut state = self.table.lock();
        if state.copies {
            if state.tell(&key, queue_id, offset) {
                self.told.notify_one();
            }
            return Ok(());
        }
        if !state.reset.is_empty() && state.reset.contains_key(&(key.clone(), queue_id)) {
            return Ok(());
        }
        let known = state.newest(&key).and_then(|known| known.get(&queue_id));
        if how == Note::Raise && known.is_some_and(|known| *known >= offset) {
            return Ok(());
        }
        let anyway = how == Note::Anyway;
        let bytes = state.changed_bytes_with(&key);
        let kept = self
            .store
            .master()
            .and_then(|master| master.settings().check_progress(bytes));
        match &kept {
            Ok(()) => state.unkept = false,
            Err(error) => {
                if anyway && !std::mem::replace(&mut state.unkept, true) {
                    tracing::error!(
                        topic,
                        group,
                        queue_id,
                        "progress of consumers that cannot be refused is only in memory from now on: {error}"
                    );
                }
                if !anyway {
                    return kept;
                }
            }
        }
        state.set(&key, queue_id, offset);
        drop(state);
        self.changed.notify_one();
        kept
    }

    /// Ready when something is to be saved.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Has everybody's progress saved soon.
    pub(crate) fn note_progress(&self) {
        self.changed.notify_one();
    }

    pub(crate) fn get(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        self.table
            .lock()
            .get(&key(topic, group))
            .and_then(|offsets| offsets.get(&queue_id))
            .copied()
    }

    /// Of how many pairs of topic and group offsets are kept.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }

    /// All offsets of a group in a topic.
    pub(crate) fn of(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        let state = self.table.lock();
        let offsets = state.get(&key(topic, group));
        offsets.cloned().unwrap_or_default()
    }

    /// Sets offsets by decree; returns when that is as durable as a message.
    ///
    /// # Errors
    /// It could not be stored.
    pub(crate) async fn reset(
        &self,
        topic: &str,
        group: &str,
        resets: &[(i32, i64)],
    ) -> Result<(), SettingsError> {
        let key = key(topic, group);
        let end = {
            let _saving = self.saving.lock();
            let mut wanted = self.table.lock().newest(&key).cloned();
            let wanted_offsets = wanted.get_or_insert_default();
            wanted_offsets.extend(resets.iter().copied());
            let change = offsets::change(&key, wanted.as_ref());
            let end = self.store.settings()?.put(&[change])?;
            let mut state = self.table.lock();
            for (queue_id, offset) in resets {
                state.reset.insert((key.clone(), *queue_id), *offset);
            }
            state.replaced(&key, wanted, end.0);
            end
        };
        self.store.settings()?.wait(end).await
    }

    /// The offset that a reset wants; asked once.
    pub(crate) fn take_reset(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        let mut state = self.table.lock();
        if state.reset.is_empty() {
            return None;
        }
        state.reset.remove(&(key(topic, group), queue_id))
    }

    /// Topics that a group has offsets of.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<String> {
        self.names(|topic, other| (other == group).then(|| topic.to_owned()))
    }

    /// Groups that have offsets of a topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<String> {
        self.names(|other, group| (other == topic).then(|| group.to_owned()))
    }

    fn names(&self, pick: impl Fn(&str, &str) -> Option<String>) -> Vec<String> {
        let state = self.table.lock();
        let mut names: Vec<String> = state
            .iter()
            .filter_map(|(key, _)| offsets::topic_and_group(key))
            .filter_map(|(topic, group)| pick(topic, group))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Everything, by `topic@group`.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<i32, i64>> {
        self.table
            .lock()
            .iter()
            .map(|(key, offsets)| (key.to_string(), offsets.clone()))
            .collect()
    }

    /// Copies the offsets of one group to another; returns when that is as durable as a message.
    ///
    /// # Errors
    /// It could not be stored: nothing is changed.
    pub(crate) async fn clone_group(
        &self,
        topics: &[String],
        from: &str,
        to: &str,
    ) -> Result<(), SettingsError> {
        self.change_now(|progress| {
            let copies = topics.iter().filter_map(|topic| {
                let offsets = progress.get(&key(topic, from))?;
                Some((key(topic, to), Some(offsets.clone())))
            });
            copies.collect()
        })
        .await
    }

    /// Appends changes, and with them the removal of the offsets of a topic: one record, where they fit one. Returns where the record
    /// of the first change ends, and where everything ends.
    ///
    /// # Errors
    /// It could not be stored.
    pub(crate) fn remove_topic_with(
        &self,
        changes: Vec<Change>,
        topic: &str,
    ) -> Result<Removed, SettingsError> {
        self.remove_with(changes, |key| {
            offsets::topic_and_group(key).is_some_and(|(other, _)| other == topic)
        })
    }

    /// As [`remove_topic_with`](Self::remove_topic_with), for the offsets of a group.
    pub(crate) fn remove_group_with(
        &self,
        changes: Vec<Change>,
        group: &str,
    ) -> Result<Removed, SettingsError> {
        self.remove_with(changes, |key| {
            offsets::topic_and_group(key).is_some_and(|(_, other)| other == group)
        })
    }

    fn remove_with(
        &self,
        changes: Vec<Change>,
        matches: impl Fn(&str) -> bool,
    ) -> Result<Removed, SettingsError> {
        self.append(changes, |progress| {
            let gone = progress.iter().filter(|(key, _)| matches(key));
            gone.map(|(key, _)| (key.into(), None)).collect()
        })
    }

    /// Stores new values of some keys; they count at once.
    async fn change_now(
        &self,
        values: impl FnOnce(&Progress) -> Vec<(Key, Option<Offsets>)>,
    ) -> Result<(), SettingsError> {
        match self.append(Vec::new(), values)?.end {
            Some(end) => self.store.settings()?.wait(end).await,
            None => Ok(()),
        }
    }

    /// Appends changes of other tables, then new values of some keys, which count at once.
    fn append(
        &self,
        mut changes: Vec<Change>,
        values: impl FnOnce(&Progress) -> Vec<(Key, Option<Offsets>)>,
    ) -> Result<Removed, SettingsError> {
        let _saving = self.saving.lock();
        let mut values = values(&self.table.lock());
        let others = changes.len();
        let stored = values
            .iter()
            .map(|(key, offsets)| offsets::change(key, offsets.as_ref()));
        changes.extend(stored);
        let mut removed = Removed::default();
        self.store
            .settings()?
            .put_each(&changes, &mut |part, end| {
                removed.first_end.get_or_insert(end);
                removed.end = Some(end);
                let part = part.start.saturating_sub(others)..part.end.saturating_sub(others);
                let mut state = self.table.lock();
                for (key, offsets) in values.get_mut(part).unwrap_or_default() {
                    state.replaced(key, offsets.take(), end.0);
                }
            })?;
        Ok(removed)
    }

    /// Puts what changed since the last time into the log. It is as durable as any message written there.
    pub(crate) fn save(&self) -> Result<(), SettingsError> {
        let saving = self.saving.lock();
        let (keys, changes) = self.table.lock().take_changed();
        if changes.is_empty() {
            return Ok(());
        }
        let mut done = 0;
        let stored = self.store.settings()?.put_each(&changes, &mut |part, end| {
            done = part.end;
            let saved = keys.get(part).unwrap_or_default();
            self.table.lock().saved(saved, end.0);
        });
        if let Err(error) = stored {
            // Tried again the next time.
            let left = keys.get(done..).unwrap_or_default();
            self.table.lock().give_back(left);
            return Err(error);
        }
        drop(saving);
        self.store.write_out().map_err(SettingsError::Append)
    }
}
