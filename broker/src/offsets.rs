//! How far groups have consumed: in memory, written to the log at most once a second while something changes, and at the end. What an
//! administrator changes is written before the answer.
//!
//! A commit is taken only while there is room to store what waits to be stored with it. A full disk keeps room for that (see
//! [`rmq_store::Settings::check_progress`]); where this is used up, the commit is refused as a message is.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;
use rmq_store::{AppendError, Change, SettingsError, Store, Table};
use tokio::sync::Notify;

/// `topic@group`, the key that tools know (apache/rocketmq `ConsumerOffsetManager`).
type Key = Box<str>;

/// Bytes of a stored change beside its key and its offsets.
const CHANGE_BYTES: usize = 7;
/// Bytes of one queue's offset.
const OFFSET_BYTES: usize = 12;

/// Offsets of all groups.
pub(crate) struct ConsumerOffsets {
    store: Store,
    state: Mutex<State>,
    /// What is put into the log is put by one at a time, so that the newest value is the last there.
    saving: Mutex<()>,
    /// Something is to be saved soon.
    changed: Notify,
}

/// Offset by queue, by key.
type Offsets = HashMap<Key, BTreeMap<i32, i64>, foldhash::fast::RandomState>;

#[derive(Default)]
struct State {
    table: Offsets,
    changed: HashSet<Key, foldhash::fast::RandomState>,
    /// At least what storing `changed` takes.
    changed_bytes: usize,
    /// Commits could not be kept when the last one was noted.
    unkept: bool,
    /// Offsets set by an administrator: the next pull from another place is told to go there.
    reset: HashMap<(Key, i32), i64, foldhash::fast::RandomState>,
}

fn key(topic: &str, group: &str) -> Key {
    [topic, "@", group].concat().into_boxed_str()
}

impl ConsumerOffsets {
    pub(crate) fn load(store: &Store) -> Self {
        let mut state = State::default();
        for (name, value) in store.settings().scan(Table::ConsumerOffsets) {
            match decode(&value) {
                Some(offsets) => {
                    state.table.insert(name.into_boxed_str(), offsets);
                }
                None => tracing::error!(
                    of = name,
                    "stored consumer offsets cannot be read and are ignored"
                ),
            }
        }
        Self {
            store: store.clone(),
            state: Mutex::new(state),
            saving: Mutex::new(()),
            changed: Notify::new(),
        }
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
        self.note(topic, group, queue_id, offset, false)
    }

    /// As [`commit`](Self::commit), for one that cannot be refused: where it cannot be stored it counts until the broker stops, and the
    /// log of the process says so once.
    pub(crate) fn commit_anyway(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        // Remembered in either case.
        let _ = self.note(topic, group, queue_id, offset, true);
    }

    fn note(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        offset: i64,
        anyway: bool,
    ) -> Result<(), AppendError> {
        let key = key(topic, group);
        let mut state = self.state.lock();
        if !state.reset.is_empty() && state.reset.contains_key(&(key.clone(), queue_id)) {
            return Ok(());
        }
        let bytes = state.changed_bytes + state.bytes_with(&key);
        let kept = self.store.settings().check_progress(bytes);
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
        state.set(key, queue_id, offset);
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
        self.state
            .lock()
            .table
            .get(&key(topic, group))
            .and_then(|offsets| offsets.get(&queue_id))
            .copied()
    }

    /// All offsets of a group in a topic.
    pub(crate) fn of(&self, topic: &str, group: &str) -> BTreeMap<i32, i64> {
        let state = self.state.lock();
        state
            .table
            .get(&key(topic, group))
            .cloned()
            .unwrap_or_default()
    }

    /// Sets offsets by decree; returns when that is as durable as a message.
    ///
    /// # Errors
    /// It could not be stored.
    pub(crate) async fn reset(
        &self,
        topic: &str,
        group: &str,
        offsets: &[(i32, i64)],
    ) -> Result<(), SettingsError> {
        let key = key(topic, group);
        let end = {
            let _saving = self.saving.lock();
            let mut wanted = self
                .state
                .lock()
                .table
                .get(&key)
                .cloned()
                .unwrap_or_default();
            wanted.extend(offsets.iter().copied());
            let change = Change::set(Table::ConsumerOffsets, &*key, encode(&wanted));
            let end = self.store.settings().put(&[change])?;
            let mut state = self.state.lock();
            for (queue_id, offset) in offsets {
                state.set(key.clone(), *queue_id, *offset);
                state.reset.insert((key.clone(), *queue_id), *offset);
            }
            end
        };
        self.changed.notify_one();
        self.store.settings().wait(end).await
    }

    /// The offset that a reset wants; asked once.
    pub(crate) fn take_reset(&self, topic: &str, group: &str, queue_id: i32) -> Option<i64> {
        let mut state = self.state.lock();
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
        let state = self.state.lock();
        let mut names: Vec<String> = state
            .table
            .keys()
            .filter_map(|key| key.split_once('@'))
            .filter_map(|(topic, group)| pick(topic, group))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// Everything, by `topic@group`.
    pub(crate) fn all(&self) -> BTreeMap<String, BTreeMap<i32, i64>> {
        self.state
            .lock()
            .table
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
        self.change_now(|table| {
            let copies = topics.iter().filter_map(|topic| {
                let offsets = table.get(&key(topic, from))?;
                Some((key(topic, to), Some(offsets.clone())))
            });
            copies.collect()
        })
        .await
    }

    /// Forgets the offsets of a topic; returns when that is as durable as a message.
    pub(crate) async fn remove_topic(&self, topic: &str) -> Result<(), SettingsError> {
        self.remove(|key| key.split_once('@').is_some_and(|(other, _)| other == topic))
            .await
    }

    /// Forgets the offsets of a group; returns when that is as durable as a message.
    pub(crate) async fn remove_group(&self, group: &str) -> Result<(), SettingsError> {
        self.remove(|key| key.split_once('@').is_some_and(|(_, other)| other == group))
            .await
    }

    async fn remove(&self, matches: impl Fn(&str) -> bool) -> Result<(), SettingsError> {
        self.change_now(|table| {
            let gone = table.keys().filter(|key| matches(key));
            gone.map(|key| (key.clone(), None)).collect()
        })
        .await
    }

    /// Stores new values of some keys, then makes them the current ones.
    async fn change_now(
        &self,
        values: impl FnOnce(&Offsets) -> Vec<(Key, Option<BTreeMap<i32, i64>>)>,
    ) -> Result<(), SettingsError> {
        let end = {
            let _saving = self.saving.lock();
            let values = values(&self.state.lock().table);
            if values.is_empty() {
                return Ok(());
            }
            let changes: Vec<Change> = values
                .iter()
                .map(|(key, offsets)| match offsets {
                    Some(offsets) => Change::set(Table::ConsumerOffsets, &**key, encode(offsets)),
                    None => Change::remove(Table::ConsumerOffsets, &**key),
                })
                .collect();
            let end = self.store.settings().put(&changes)?;
            let mut state = self.state.lock();
            for (key, offsets) in values {
                match offsets {
                    Some(offsets) => drop(state.table.insert(key, offsets)),
                    None => drop(state.table.remove(&key)),
                }
            }
            end
        };
        self.store.settings().wait(end).await
    }

    /// Puts what changed since the last time into the log. It is as durable as any message written there.
    pub(crate) fn save(&self) -> Result<(), SettingsError> {
        let saving = self.saving.lock();
        let changes: Vec<Change> = {
            let mut state = self.state.lock();
            state.changed_bytes = 0;
            let changed = std::mem::take(&mut state.changed);
            changed
                .into_iter()
                .map(|key| match state.table.get(&key) {
                    Some(offsets) => Change::set(Table::ConsumerOffsets, &*key, encode(offsets)),
                    None => Change::remove(Table::ConsumerOffsets, &*key),
                })
                .collect()
        };
        if changes.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.store.settings().put(&changes) {
            // Tried again the next time.
            let mut state = self.state.lock();
            for change in &changes {
                state.note_change(change.key.clone().into_boxed_str());
            }
            return Err(error);
        }
        drop(saving);
        self.store.write_out().map_err(SettingsError::Append)
    }
}

impl State {
    fn set(&mut self, key: Key, queue_id: i32, offset: i64) {
        match self.table.get_mut(&key) {
            Some(offsets) => {
                if offsets.insert(queue_id, offset) == Some(offset) {
                    return;
                }
            }
            None => {
                self.table
                    .insert(key.clone(), BTreeMap::from([(queue_id, offset)]));
            }
        }
        self.note_change(key);
    }

    fn note_change(&mut self, key: Key) {
        self.changed_bytes += self.bytes_with(&key);
        if !self.changed.contains(&key) {
            self.changed.insert(key);
        }
    }

    /// What storing takes more when the offset of one more queue of `key` changes.
    fn bytes_with(&self, key: &Key) -> usize {
        if self.changed.contains(key) {
            return OFFSET_BYTES;
        }
        let queues = self.table.get(key).map_or(0, BTreeMap::len);
        CHANGE_BYTES + key.len() + OFFSET_BYTES * (queues + 1)
    }
}

/// Pairs of queue (u32) and offset (i64), little-endian.
fn encode(offsets: &BTreeMap<i32, i64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(offsets.len() * 12);
    for (queue_id, offset) in offsets {
        bytes.extend_from_slice(&queue_id.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<i32, i64>> {
    let (pairs, rest) = bytes.as_chunks::<12>();
    if !rest.is_empty() {
        return None;
    }
    Some(
        pairs
            .iter()
            .map(|pair| {
                let [a, b, c, d, offset @ ..] = *pair;
                (i32::from_le_bytes([a, b, c, d]), i64::from_le_bytes(offset))
            })
            .collect(),
    )
}
