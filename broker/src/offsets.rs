//! How far groups have consumed: in memory, written to the log at most once a second while something changes, and at the end.

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::Mutex;
use rmq_store::{Change, SettingsError, Store, Table};
use tokio::sync::Notify;

/// `topic@group`, the key that tools know (apache/rocketmq `ConsumerOffsetManager`).
type Key = Box<str>;

/// Offsets of all groups.
pub(crate) struct ConsumerOffsets {
    store: Store,
    state: Mutex<State>,
    /// Something is to be saved soon.
    changed: Notify,
}

#[derive(Default)]
struct State {
    table: HashMap<Key, BTreeMap<i32, i64>, foldhash::fast::RandomState>,
    changed: HashSet<Key, foldhash::fast::RandomState>,
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
            changed: Notify::new(),
        }
    }

    /// Remembers that `group` goes on at `offset`. Ignored while a reset of this queue is pending.
    pub(crate) fn commit(&self, topic: &str, group: &str, queue_id: i32, offset: i64) {
        let key = key(topic, group);
        let mut state = self.state.lock();
        if !state.reset.is_empty() && state.reset.contains_key(&(key.clone(), queue_id)) {
            return;
        }
        state.set(key, queue_id, offset);
        drop(state);
        self.changed.notify_one();
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

    /// Sets offsets by decree.
    pub(crate) fn reset(&self, topic: &str, group: &str, offsets: &[(i32, i64)]) {
        let key = key(topic, group);
        let mut state = self.state.lock();
        for (queue_id, offset) in offsets {
            state.set(key.clone(), *queue_id, *offset);
            state.reset.insert((key.clone(), *queue_id), *offset);
        }
        drop(state);
        self.changed.notify_one();
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

    /// Copies the offsets of one group to another.
    pub(crate) fn clone_group(&self, topic: &str, from: &str, to: &str) {
        let mut state = self.state.lock();
        if let Some(offsets) = state.table.get(&key(topic, from)).cloned() {
            let to = key(topic, to);
            state.changed.insert(to.clone());
            state.table.insert(to, offsets);
        }
        drop(state);
        self.changed.notify_one();
    }

    pub(crate) fn remove_topic(&self, topic: &str) {
        self.remove(|key| key.split_once('@').is_some_and(|(other, _)| other == topic));
    }

    pub(crate) fn remove_group(&self, group: &str) {
        self.remove(|key| key.split_once('@').is_some_and(|(_, other)| other == group));
    }

    fn remove(&self, matches: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        let gone: Vec<Key> = state
            .table
            .keys()
            .filter(|key| matches(key))
            .cloned()
            .collect();
        for key in gone {
            state.table.remove(&key);
            state.changed.insert(key);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Puts what changed since the last time into the log. It is as durable as any message written there.
    pub(crate) fn save(&self) -> Result<(), SettingsError> {
        let changes: Vec<Change> = {
            let mut state = self.state.lock();
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
                state.changed.insert(change.key.clone().into_boxed_str());
            }
            return Err(error);
        }
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
        if !self.changed.contains(&key) {
            self.changed.insert(key);
        }
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
