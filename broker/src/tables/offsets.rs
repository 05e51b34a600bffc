//! The table of consumers' progress: key = `topic@group` (apache/rocketmq `ConsumerOffsetManager`), value = pairs of queue (u32) and offset (i64),
//! little-endian. It runs ahead of the log: a commit counts at once, and its record follows within a second. At a replica that record is its
//! master's: what consumers tell the replica counts there until the log says it.

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use rmq_store::{Applied, Apply, Change, ReadError};

use super::ids::CONSUMER_OFFSETS;
use super::rows::{Keyed, Rows};

/// `topic@group`.
pub(crate) type Key = Box<str>;
/// Offset by queue.
pub(crate) type Offsets = BTreeMap<i32, i64>;

/// What a group has consumed of a topic.
#[derive(Clone)]
struct Consumed {
    key: Key,
    offsets: Offsets,
}

impl Consumed {
    fn new(key: &str, offsets: Offsets) -> Self {
        let key = key.into();
        Self { key, offsets }
    }
}

impl Keyed for Consumed {
    fn key(&self) -> &str {
        &self.key
    }
}

/// What a group that is named as a light queue begins with, behind the topic.
const LIGHT_GROUP: &str = "@%LMQ%";
/// Bytes of a stored change beside its key and its offsets.
const CHANGE_BYTES: usize = 7;
/// Bytes of one queue's offset.
const OFFSET_BYTES: usize = 12;

pub(crate) fn key(topic: &str, group: &str) -> Key {
    [topic, "@", group].concat().into_boxed_str()
}

/// Topic and group of a key. Names of light queues and of their groups may have an `@`, other groups have none.
pub(crate) fn topic_and_group(key: &str) -> Option<(&str, &str)> {
    let light = key.rfind(LIGHT_GROUP).filter(|at| *at > 0);
    let at = light.or_else(|| key.rfind('@'))?;
    Some((key.get(..at)?, key.get(at + 1..)?))
}

/// The change that keeps the offsets of a key; `None` forgets them.
pub(crate) fn change(key: &str, offsets: Option<&Offsets>) -> Change {
    match offsets {
        Some(offsets) => Change::set(CONSUMER_OFFSETS, key, encode(offsets)),
        None => Change::remove(CONSUMER_OFFSETS, key),
    }
}

/// The offsets of a broker's groups.
#[derive(Default)]
pub(crate) struct OffsetTable(Mutex<Progress>);

/// The rows, and which of them are to be stored.
#[derive(Default)]
pub(crate) struct Progress {
    rows: Rows<Consumed>,
    changed: HashSet<Key, RandomState>,
    /// At least what storing `changed` takes.
    changed_bytes: usize,
    /// Commits could not be kept when the last one was noted.
    pub(crate) unkept: bool,
    /// Offsets set by an administrator: the next pull from another place is told to go there.
    pub(crate) reset: HashMap<(Key, i32), i64, RandomState>,
    /// Of a replica: what consumers told it and its log does not say yet. Ahead of the log in `rows`, too.
    told: HashMap<Key, BTreeMap<i32, Told>, RandomState>,
    /// Whether commits wait in `told` for the master.
    pub(crate) copies: bool,
}

/// An offset that a consumer told a replica.
#[derive(Debug, Clone, Copy)]
struct Told {
    offset: i64,
    /// The master has it, in memory at least.
    is_passed: bool,
}

impl OffsetTable {
    /// Held for moments only, and never while something is appended.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock()
    }
}

impl Progress {
    /// Sets an offset ahead of the log. Its record is to follow.
    pub(crate) fn set(&mut self, key: &str, queue_id: i32, offset: i64) {
        let known = self.newest(key);
        if known.is_some_and(|offsets| offsets.get(&queue_id) == Some(&offset)) {
            return;
        }
        self.note_change(key);
        self.ahead_mut(key).insert(queue_id, offset);
    }

    /// A replica notes an offset for its master. The offset only rises, because the master's log may be ahead of the consumer. Returns
    /// whether the master has something to hear.
    pub(crate) fn tell(&mut self, key: &str, queue_id: i32, offset: i64) -> bool {
        let known = self.newest(key).and_then(|offsets| offsets.get(&queue_id));
        if known.is_some_and(|known| *known >= offset) {
            return false;
        }
        let told = Told {
            offset,
            is_passed: false,
        };
        let of_key = self.told.entry(key.into()).or_default();
        of_key.insert(queue_id, told);
        self.ahead_mut(key).insert(queue_id, offset);
        true
    }

    /// The offsets that the master has not heard, at most `max` of them.
    pub(crate) fn to_pass(&self, max: usize) -> BTreeMap<String, Offsets> {
        let mut table: BTreeMap<String, Offsets> = BTreeMap::new();
        let all = self.told.iter().flat_map(|(key, told)| {
            let waiting = told.iter().filter(|(_, told)| !told.is_passed);
            waiting.map(move |(queue_id, told)| (key, *queue_id, told.offset))
        });
        for (key, queue_id, offset) in all.take(max) {
            let of_key = table.entry(key.to_string()).or_default();
            of_key.insert(queue_id, offset);
        }
        table
    }

    /// The master has been told these.
    pub(crate) fn passed(&mut self, table: &BTreeMap<String, Offsets>) {
        for (key, offsets) in table {
            let Some(told) = self.told.get_mut(key.as_str()) else {
                continue;
            };
            for (queue_id, offset) in offsets {
                let now = told.get_mut(queue_id);
                if let Some(now) = now.filter(|now| now.offset == *offset) {
                    now.is_passed = true;
                }
            }
        }
    }

    /// Another master, or another life of the same: it is told everything again that the log does not say.
    pub(crate) fn pass_again(&mut self) {
        let told = self.told.values_mut().flat_map(BTreeMap::values_mut);
        told.for_each(|told| told.is_passed = false);
    }

    /// From now on offsets are stored here: also those that the master before was not told, or did not store.
    pub(crate) fn lead(&mut self) {
        self.copies = false;
        for key in std::mem::take(&mut self.told).into_keys() {
            self.note_change(&key);
        }
    }

    /// The log of the master has said the offsets of a key. What it was told before, it says with this or has put aside.
    fn heed(&mut self, key: &str, logged: Option<Offsets>) {
        let Some(mut told) = self.told.remove(key) else {
            return;
        };
        let mut offsets = logged.unwrap_or_else(|| {
            told.clear();
            Offsets::new()
        });
        told.retain(|queue_id, told| {
            let known = offsets.get(queue_id);
            !told.is_passed && known.is_none_or(|known| *known < told.offset)
        });
        if told.is_empty() {
            return self.rows.drop_ahead(key);
        }
        let ahead = told.iter().map(|(queue_id, told)| (*queue_id, told.offset));
        offsets.extend(ahead);
        *self.ahead_mut(key) = offsets;
        self.told.insert(key.into(), told);
    }

    /// The offsets of a key that count.
    pub(crate) fn get(&self, key: &str) -> Option<&Offsets> {
        self.rows.get(key).map(|row| &row.offsets)
    }

    /// The offsets of a key as they are when everything that was appended is confirmed.
    pub(crate) fn newest(&self, key: &str) -> Option<&Offsets> {
        self.rows.newest(key).map(|row| &row.offsets)
    }

    fn ahead_mut(&mut self, key: &str) -> &mut Offsets {
        let new = || Consumed::new(key, Offsets::new());
        &mut self.rows.ahead_mut(key, new).offsets
    }

    /// The number of keys.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Each key with its offsets, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Offsets)> {
        self.rows.iter().map(|row| (&*row.key, &row.offsets))
    }

    fn note_change(&mut self, key: &str) {
        self.changed_bytes += self.bytes_with(key);
        if !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
    }

    /// What storing everything that changed takes, with the offset of one more queue of `key`.
    pub(crate) fn changed_bytes_with(&self, key: &str) -> usize {
        self.changed_bytes + self.bytes_with(key)
    }

    fn bytes_with(&self, key: &str) -> usize {
        if self.changed.contains(key) {
            return OFFSET_BYTES;
        }
        let queues = self.newest(key).map_or(0, BTreeMap::len);
        CHANGE_BYTES + key.len() + OFFSET_BYTES * (queues + 1)
    }

    /// Takes the keys that are to be stored now, with their changes.
    pub(crate) fn take_changed(&mut self) -> (Vec<Key>, Vec<Change>) {
        self.changed_bytes = 0;
        let keys: Vec<Key> = std::mem::take(&mut self.changed).into_iter().collect();
        let changes = keys
            .iter()
            .map(|key| change(key, self.newest(key)))
            .collect();
        (keys, changes)
    }

    /// They are to be stored again.
    pub(crate) fn give_back(&mut self, keys: &[Key]) {
        for key in keys {
            self.note_change(key);
        }
    }

    /// What was taken of these keys was appended with a record that ends at `end`.
    pub(crate) fn saved(&mut self, keys: &[Key], end: u64) {
        for key in keys {
            // What has changed meanwhile is ahead of this record too.
            if !self.changed.contains(key) {
                self.rows.newest_appended(key, end);
            }
        }
    }

    /// New offsets of a key were appended with a record that ends at `end`; they count at once. An offset that was committed meanwhile
    /// and that they do not name stays.
    pub(crate) fn replaced(&mut self, key: &str, offsets: Option<Offsets>, end: u64) {
        match offsets {
            Some(offsets) if self.changed.contains(key) => {
                self.ahead_mut(key).extend(offsets);
            }
            offsets => {
                self.changed.remove(key);
                let row = offsets.map(|offsets| Consumed::new(key, offsets));
                self.rows.appended(key, row, end, true);
            }
        }
    }
}

impl Apply for OffsetTable {
    fn apply(&self, change: &Applied<'_>) -> Result<(), ReadError> {
        let (key, end) = (change.key, change.end.0);
        let mut progress = self.lock();
        if progress.rows.settle(key, end) {
            return Ok(());
        }
        let offsets = change.value.and_then(|value| {
            let offsets = decode(value);
            if offsets.is_none() {
                tracing::error!(
                    of = key,
                    "stored consumer offsets cannot be read and are ignored"
                );
            }
            offsets
        });
        let logged = (!progress.told.is_empty()).then(|| offsets.clone());
        let row = offsets.map(|offsets| Consumed::new(key, offsets));
        progress.rows.apply(key, row, end);
        if let Some(logged) = logged {
            progress.heed(key, logged);
        }
        Ok(())
    }
}

fn encode(offsets: &Offsets) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(offsets.len() * 12);
    for (queue_id, offset) in offsets {
        bytes.extend_from_slice(&queue_id.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Offsets> {
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

#[cfg(test)]
mod tests {
    use rmq_protocol::message::LogPosition;

    use super::*;

    const KEY: &str = "orders@g";

    #[test]
    fn a_key_is_a_topic_and_a_group() {
        for (topic, group) in [
            ("orders", "g"),
            ("%LMQ%p2p%a@b", "g"),
            ("%LMQ%p2p%a@b", "%LMQ%a@@b"),
            ("orders", "%LMQ%a@b"),
            ("", "g"),
        ] {
            assert_eq!(topic_and_group(&key(topic, group)), Some((topic, group)));
        }
        assert_eq!(topic_and_group("orders"), None);
    }

    fn says(table: &OffsetTable, offsets: Option<&[(i32, i64)]>, end: u64) {
        let value = offsets.map(|offsets| encode(&offsets.iter().copied().collect()));
        let change = Applied::new(KEY, value.as_deref(), LogPosition(end));
        table.apply(&change).expect("applied");
    }

    fn counts(table: &OffsetTable) -> Vec<(i32, i64)> {
        let state = table.lock();
        let offsets = state.get(KEY).into_iter().flatten();
        offsets
            .map(|(queue_id, offset)| (*queue_id, *offset))
            .collect()
    }

    fn to_pass(table: &OffsetTable) -> Vec<(i32, i64)> {
        let state = table.lock().to_pass(10);
        state.into_values().flatten().collect()
    }

    #[test]
    fn what_a_replica_was_told_counts_until_the_log_of_the_master_says_it() {
        let table = OffsetTable::default();
        says(&table, Some(&[(0, 10), (1, 10)]), 100);
        assert!(!table.lock().tell(KEY, 0, 5), "only forward");
        assert!(table.lock().tell(KEY, 0, 50));
        assert_eq!(counts(&table), [(0, 50), (1, 10)]);
        // The master is behind there, and ahead elsewhere.
        says(&table, Some(&[(0, 20), (1, 30)]), 200);
        assert_eq!(counts(&table), [(0, 50), (1, 30)]);
        let told = table.lock().to_pass(10);
        assert!(table.lock().tell(KEY, 0, 60), "in between");
        table.lock().passed(&told);
        assert_eq!(to_pass(&table), [(0, 60)]);
        table
            .lock()
            .passed(&BTreeMap::from([(KEY.to_owned(), [(0, 60)].into())]));
        assert_eq!(to_pass(&table), []);
        table.lock().pass_again();
        assert_eq!(to_pass(&table), [(0, 60)]);
        says(&table, Some(&[(0, 60), (1, 30)]), 300);
        assert_eq!(to_pass(&table), []);
        assert_eq!(counts(&table), [(0, 60), (1, 30)]);
    }

    #[test]
    fn what_the_master_has_put_aside_or_removed_counts_no_more() {
        let table = OffsetTable::default();
        says(&table, Some(&[(0, 10)]), 100);
        assert!(table.lock().tell(KEY, 0, 50));
        let told = table.lock().to_pass(10);
        table.lock().passed(&told);
        assert_eq!(counts(&table), [(0, 50)]);
        // Somebody has set the group back there.
        says(&table, Some(&[(0, 3)]), 200);
        assert_eq!(counts(&table), [(0, 3)]);
        assert!(table.lock().tell(KEY, 0, 70));
        says(&table, None, 300);
        assert_eq!((counts(&table), to_pass(&table)), (vec![], vec![]));
    }

    #[test]
    fn a_replica_that_leads_stores_what_it_was_told() {
        let table = OffsetTable::default();
        says(&table, Some(&[(0, 10), (1, 10)]), 100);
        assert!(table.lock().tell(KEY, 0, 50));
        assert!(table.lock().take_changed().0.is_empty());
        table.lock().lead();
        let (keys, changes) = table.lock().take_changed();
        assert_eq!((keys.len(), changes.len()), (1, 1));
        table.lock().saved(&keys, 200);
        says(&table, Some(&[(0, 50), (1, 10)]), 200);
        assert_eq!(counts(&table), [(0, 50), (1, 10)]);
        assert!(table.lock().told.is_empty());
    }
}
